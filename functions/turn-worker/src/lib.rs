//! Answers messages: the turns, from the queue to the last frame.
//!
//! Idempotency key: user and `request_id`. A message on the queue only says that a turn waits; which turn
//! is run, and that nobody else runs it, is decided by the conversation's lease (`session`). A turn that
//! is over is not run again; one that an earlier attempt left half-way is answered anew, and its stream
//! goes on where it broke off.

mod answer;
mod audience;
mod judge;
mod known;
mod memory;
pub mod model;
mod prompt;
mod report;
mod session;
mod stream;
mod turn;

use std::{convert::Infallible, time::Duration};

use sparkle_aws::{
    boot::Invocation,
    event::{self, QueueAnswer, QueueEvent, QueueRecord, Receipt},
    failure::{Failure, causes},
    learners::Learners,
    meter::Meter,
    push::Push,
    queue::{SummaryQueue, TurnQueue},
    table::{
        connections::Connections, conversations::Conversations, leases::Leases,
        summaries::Summaries, turns::Turns,
    },
};
use sparkle_core::unit::Timestamp;
use sparkle_llm::Llm;
use sparkle_wire::job;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{Instrument, info_span, warn};

pub use known::Cache;
pub use prompt::Prompts;

/// How long a crash may keep a conversation waiting.
const HELD_FOR: Duration = Duration::from_secs(15);
/// How often a running turn renews its hold: three times before it ends.
const HOLD_EVERY: Duration = Duration::from_secs(5);

/// What a warm instance keeps.
#[derive(Debug)]
#[expect(missing_docs, reason = "each type says what it is")]
pub struct App {
    pub connections: Connections,
    pub turns: Turns,
    pub leases: Leases,
    pub conversations: Conversations,
    pub summaries: Summaries,
    pub queue: TurnQueue,
    pub summary_queue: SummaryQueue,
    pub push: Push,
    pub meter: Meter,
    pub cache: Cache,
    pub learners: Learners,
    pub llm: Llm,
    pub prompts: Prompts,
}

/// Answers the messages of a batch, in order.
///
/// # Errors
/// Never; what failed is in the answer. A provider that fails is no failure here: its turn ends with
/// an `error` frame.
pub async fn handle(app: &App, event: QueueEvent, at: Invocation) -> Result<QueueAnswer, Failure> {
    let clock = Clock {
        began: at.now,
        since: Instant::now(),
    };
    Ok(event::in_order(event, async |record: QueueRecord| {
        let running = async {
            let turn = job::decode_turn(&record.body).map_err(Failure::fatal)?;
            let span = info_span!("turn", trace_id = turn.trace_id.as_str());
            let serving = session::serve(app, &turn, &record, &at, clock);
            Box::pin(serving.instrument(span)).await
        };
        tokio::select! {
            biased;
            never = hold(app, &record.receipt) => match never {},
            over = Box::pin(running) => over,
        }
    })
    .await)
}

/// The time of an invocation, carried on by the runtime's clock.
#[derive(Debug, Clone, Copy)]
struct Clock {
    began: Timestamp,
    since: Instant,
}

impl Clock {
    fn now(&self) -> Timestamp {
        self.began.after(self.since.elapsed())
    }

    /// When it will be `at`; at once if that is past.
    fn instant(&self, at: Timestamp) -> Instant {
        let ahead_ms = at.unix_ms().saturating_sub(self.began.unix_ms());
        self.since + Duration::from_millis(u64::try_from(ahead_ms).unwrap_or(0))
    }
}

/// Keeps the message hidden while its turn runs, a little at a time: after a crash it is delivered
/// again within [`HELD_FOR`] and not after the queue's whole visibility timeout, for which the
/// conversation would stand still.
#[expect(
    clippy::infinite_loop,
    reason = "it ends when the turn does and it is dropped"
)]
async fn hold(app: &App, receipt: &Receipt) -> Infallible {
    let mut beats = interval(HOLD_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        if let Err(failure) = app.queue.hold(receipt, HELD_FOR).await {
            warn!(error = causes(&failure), "the message cannot be held");
        }
    }
}
