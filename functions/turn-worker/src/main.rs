//! Triggered by the queue of turns, one message at a time. Writes the stream's frames, then in one
//! transaction the turn's end and the conversation's new messages. Idempotency key: user and `request_id`.

use sparkle_aws::{
    boot, config,
    push::Push,
    queue::TurnQueue,
    table::{connections::Connections, conversations::Conversations, leases::Leases, turns::Turns},
};
use turn_worker::{App, model};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let aws = boot::aws()?;
    let app = App {
        connections: Connections::open(&aws)?,
        turns: Turns::open(&aws)?,
        leases: Leases::open(&aws)?,
        conversations: Conversations::open(&aws)?,
        queue: TurnQueue::open(&aws)?,
        push: Push::open(&aws)?,
        llm: model::open(&aws).await?,
        catalogue: config::catalogue()?,
    };
    boot::serve(async |event, at| turn_worker::handle(&app, event, at).await).await
}
