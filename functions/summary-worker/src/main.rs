//! Triggered by the queue of orders for summaries. Writes the conversation's summary, and what the call of
//! the model cost. Idempotency key: conversation and the newest message to be covered.

use std::sync::Mutex;

use sparkle_aws::{
    boot, config,
    meter::Meter,
    queue::{DeadLetters, SummaryQueue},
    table::{conversations::Conversations, summaries::Summaries},
};
use summary_worker::{App, model};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let aws = boot::aws()?;
    let app = App {
        summaries: Summaries::open(&aws)?,
        conversations: Conversations::open(&aws)?,
        queue: SummaryQueue::open(&aws)?,
        dead_letters: DeadLetters::open(&aws)?,
        meter: Meter::open(&aws)?,
        llm: model::open(&aws).await?,
        model: config::optional("SPARKLE_SUMMARY_MODEL"),
        tokens_max: model::tokens_max()?,
        breaker: Mutex::default(),
    };
    boot::serve(async |event, at| summary_worker::handle(&app, event, at).await).await
}
