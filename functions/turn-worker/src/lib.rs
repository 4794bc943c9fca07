//! Answers a message: the turn, from the queue to the last frame.
//!
//! Idempotency key: user and `request_id`. A turn that is over is not run again; one that an earlier
//! attempt left half-way is answered anew, and its client told to discard what it showed.

mod answer;
mod stream;
mod turn;

use sparkle_aws::{
    event::{self, QueueAnswer, QueueEvent, QueueRecord},
    failure::Failure,
    push::Push,
    table::{connections::Connections, conversations::Conversations, turns::Turns},
};
use sparkle_core::{price::Catalogue, unit::Timestamp};
use sparkle_llm::Llm;
use sparkle_wire::job;
use tracing::{Instrument, info_span};

/// What a warm instance keeps.
#[derive(Debug)]
#[expect(missing_docs, reason = "each type says what it is")]
pub struct App {
    pub connections: Connections,
    pub turns: Turns,
    pub conversations: Conversations,
    pub push: Push,
    pub llm: Llm,
    pub catalogue: Catalogue,
}

/// Answers the messages of a batch, in order.
///
/// # Errors
/// Never; what failed is in the answer. A provider that fails is no failure here: its turn ends with
/// an `error` frame.
pub async fn handle(app: &App, event: QueueEvent, now: Timestamp) -> Result<QueueAnswer, Failure> {
    Ok(event::in_order(event, async |record: QueueRecord| {
        let turn = job::decode_turn(&record.body).map_err(Failure::fatal)?;
        let span = info_span!("turn", trace_id = turn.trace_id.as_str());
        turn::run(app, &turn, now).instrument(span).await
    })
    .await)
}
