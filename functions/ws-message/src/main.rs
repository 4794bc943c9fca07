//! Triggered by every frame of a client. Writes the turn, its place in the queue, and what the frame
//! asks to be changed. Idempotency key: user and `request_id`.

use sparkle_aws::{
    boot, config,
    push::Push,
    queue::TurnQueue,
    table::{
        connections::Connections, conversations::Conversations, leases::Leases, rates::Rates,
        turns::Turns,
    },
    token::Tokens,
};
use ws_message::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let aws = boot::aws()?;
    let app = App {
        connections: Connections::open(&aws)?,
        rates: Rates::open(&aws)?,
        turns: Turns::open(&aws)?,
        leases: Leases::open(&aws)?,
        conversations: Conversations::open(&aws)?,
        queue: TurnQueue::open(&aws)?,
        push: Push::open(&aws)?,
        tokens: Tokens::open(&aws).await?,
        catalogue: config::catalogue()?,
    };
    boot::serve(async |event, at| ws_message::handle(&app, event, at.now).await).await
}
