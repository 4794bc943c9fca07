//! Triggered by the queue of turns, one message at a time. Writes the stream's frames, then in one
//! transaction the turn's end and the conversation's new messages, and may order a summary. Idempotency key: user and `request_id`.

use sparkle_aws::{
    boot,
    learners::Learners,
    meter::Meter,
    push::Push,
    queue::{SummaryQueue, TurnQueue},
    table::{
        connections::Connections, conversations::Conversations, leases::Leases,
        summaries::Summaries, turns::Turns,
    },
};
use turn_worker::{App, Cache, Prompts, model};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let aws = boot::aws()?;
    let app = App {
        connections: Connections::open(&aws)?,
        turns: Turns::open(&aws)?,
        leases: Leases::open(&aws)?,
        conversations: Conversations::open(&aws)?,
        summaries: Summaries::open(&aws)?,
        queue: TurnQueue::open(&aws)?,
        summary_queue: SummaryQueue::open(&aws)?,
        push: Push::open(&aws)?,
        meter: Meter::open(&aws)?,
        cache: Cache::open(&aws).await?,
        learners: Learners::open(&aws)?,
        llm: model::open(&aws).await?,
        prompts: Prompts::from_environment()?,
    };
    boot::serve(async |event, at| turn_worker::handle(&app, event, at).await).await
}
