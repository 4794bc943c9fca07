//! Writes summaries: what is remembered of a conversation's older part, so that prompts stay short.
//!
//! Idempotency key: conversation and the newest message to be covered. What a summary covers already is not
//! asked for again; one order is in flight for a conversation and one invocation at work on it, by the
//! conditional writes of `sparkle_aws::table::summaries`. A summary is never urgent: without one a turn goes
//! on with the newest messages, and the next turn asks again. So an order is dropped when it is old, when the
//! learner's account has no room for it, or when the conversation is gone.
//!
//! A model that fails is tried again; after five failures in a row this instance asks it nothing for 30 s and
//! puts orders back. Instances do not tell each other: each finds out by itself, with five calls.

pub mod model;

use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sparkle_aws::{
    boot::Invocation,
    event::{self, QueueAnswer, QueueEvent, QueueRecord, Receipt},
    failure::{Failure, causes},
    meter::Meter,
    metric,
    queue::{DeadLetters, SummaryQueue},
    table::{
        conversations::Conversations,
        summaries::{Claimed, RUNS_FOR, Run, Summaries, Written},
    },
};
use sparkle_core::{
    frame::HistoryEntry,
    id::CallGroup,
    summary::{self, Breaker, Summary, SummaryJob},
    unit::{Timestamp, TokenUsage},
};
use sparkle_llm::{Llm, LlmError};
use sparkle_wire::job;
use tokio::time::{Instant, sleep};
use tracing::{Instrument, info, info_span, warn};

use model::{Asked, Failed};

/// An order that was not fulfilled by then is dropped: its conversation asks again.
const ORDER_LIFE: Duration = Duration::from_mins(10);
/// How often a run says that it is at work: three times before it is believed to be dead.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// When a message comes again whose model failed.
const RETRY_AFTER: Duration = Duration::from_secs(15);
/// Longest wait that a provider may ask for: within an order's life.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);
/// An order is given up after so many deliveries at each of which the model may have cost something.
const DELIVERIES_MAX: u32 = 5;
/// Most messages that one summary is made of.
const MESSAGES_MAX: u32 = 200;

/// What a warm instance keeps.
#[derive(Debug)]
#[expect(missing_docs, reason = "each type says what it is")]
pub struct App {
    pub summaries: Summaries,
    pub conversations: Conversations,
    pub queue: SummaryQueue,
    pub dead_letters: DeadLetters,
    pub meter: Meter,
    pub llm: Llm,
    /// Which model writes; the cheapest of those that are offered if none is named.
    pub model: Option<String>,
    /// Longest summary.
    pub tokens_max: u32,
    pub breaker: Mutex<Breaker>,
}

/// The time of an invocation, carried on by the runtime's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Timestamp,
    since: Instant,
}

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        self.began.after(self.since.elapsed())
    }
}

/// Why a message is to come again.
#[derive(Debug, thiserror::Error)]
enum PutBack {
    #[error("the model has failed too often")]
    Broken,
    #[error("another invocation is at it")]
    Busy,
    #[error("the model failed")]
    Model(#[source] LlmError),
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// There is a new summary.
    Written,
    /// There was one already, or nothing to make one of.
    Needless,
    /// The conversation is gone, or another invocation went on.
    Lost,
    /// The learner's account has no room for it.
    Denied,
    /// This conversation cannot be summarised for now.
    GivenUp,
    /// Another order is in flight.
    Superseded,
    /// It came too late.
    Expired,
}

impl Outcome {
    /// The word in metrics.
    fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Needless => "needless",
            Self::Lost => "lost",
            Self::Denied => "denied",
            Self::GivenUp => "given_up",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
        }
    }
}

/// Fulfils the orders of a batch, each by itself.
///
/// # Errors
/// Never; what failed is in the answer.
pub async fn handle(app: &App, event: QueueEvent, at: Invocation) -> Result<QueueAnswer, Failure> {
    let clock = Clock {
        began: at.now,
        since: Instant::now(),
    };
    let take = async |record: QueueRecord| {
        let order = match job::decode_summary(&record.body) {
            Ok(order) => order,
            Err(error) => return bury(app, &record, causes(&error), clock.now()).await,
        };
        let span = info_span!("summary", trace_id = order.trace_id.as_str());
        let fulfilling = fulfil(app, &order, &record, &at.id, clock).instrument(span);
        match Box::pin(fulfilling).await {
            Ok(outcome) => {
                count(outcome.as_str(), clock.now());
                Ok(())
            }
            // It will fail again and again.
            Err(Failure::Fatal(cause)) => bury(app, &record, causes(&*cause), clock.now()).await,
            Err(failure) => Err(failure),
        }
    };
    Ok(event::each(event, take).await)
}

async fn bury(
    app: &App,
    record: &QueueRecord,
    reason: String,
    now: Timestamp,
) -> Result<(), Failure> {
    warn!(reason, "an order cannot be fulfilled");
    count("refused", now);
    app.dead_letters.bury(record, &reason).await
}

fn count(status: &str, now: Timestamp) {
    metric::count("summaries_total", 1, &[("status", status)], now);
}

async fn fulfil(
    app: &App,
    order: &SummaryJob,
    record: &QueueRecord,
    runner: &str,
    clock: Clock,
) -> Result<Outcome, Failure> {
    if order.requested_at.after(ORDER_LIFE) <= clock.now() {
        return Ok(Outcome::Expired);
    }
    if let Some(wait) = app.breaker(|breaker| breaker.wait(clock.now())) {
        return put_back(app, record, wait, PutBack::Broken, clock.now()).await;
    }
    // Before anything that a crash could leave half-done: from here on the message comes again soon.
    hide(app, &record.receipt, RUNS_FOR).await;
    let claimed = app.summaries.claim(order, runner, clock.now()).await?;
    let run = match claimed {
        Claimed::Run(run) => run,
        Claimed::Busy => {
            return put_back(app, record, RETRY_AFTER, PutBack::Busy, clock.now()).await;
        }
        Claimed::Superseded => return Ok(Outcome::Superseded),
    };
    let written = tokio::select! {
        biased;
        never = stay(app, &record.receipt, &run, clock) => match never {},
        written = summarise(app, order, record, &run, clock) => written,
    };
    match written {
        Ok(outcome) => Ok(outcome),
        Err(Unwritten::Model(failed)) => fail(app, record, &run, failed, clock).await,
        Err(Unwritten::Failed(failure)) => {
            if let Err(error) = app.summaries.put_back(&run).await {
                warn!(error = causes(&error), "a run ends by its time");
            }
            Err(failure)
        }
    }
}

/// Says again and again that a run is at work: after a crash its message comes again soon.
#[expect(
    clippy::infinite_loop,
    reason = "it ends when the run does and it is dropped"
)]
async fn stay(app: &App, receipt: &Receipt, run: &Run, clock: Clock) -> Infallible {
    loop {
        sleep(RENEW_EVERY).await;
        let renewing = app.summaries.renew(run, clock.now());
        let ((), renewed) = tokio::join!(hide(app, receipt, RUNS_FOR), renewing);
        if let Err(error) = renewed {
            warn!(error = causes(&error), "a run cannot be renewed");
        }
    }
}

async fn hide(app: &App, receipt: &Receipt, span: Duration) {
    if let Err(failure) = app.queue.hold(receipt, span).await {
        warn!(error = causes(&failure), "the message cannot be held");
    }
}

/// Has a message come again after a while.
async fn put_back(
    app: &App,
    record: &QueueRecord,
    wait: Duration,
    why: PutBack,
    now: Timestamp,
) -> Result<Outcome, Failure> {
    count("put_back", now);
    hide(app, &record.receipt, wait).await;
    Err(Failure::retry(why))
}

/// Why there is no summary.
enum Unwritten {
    Model(Failed),
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Unwritten {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Cost: two reads at once, what the call costs, and a write.
async fn summarise(
    app: &App,
    order: &SummaryJob,
    record: &QueueRecord,
    run: &Run,
    clock: Clock,
) -> Result<Outcome, Unwritten> {
    let (user, session) = (&order.user_id, &order.session_id);
    let covered = run.so_far.as_ref().map_or(0, |so_far| so_far.covers);
    let (length, since) = tokio::try_join!(
        app.conversations.length(user, session),
        app.conversations
            .between(user, session, (covered, order.upto), MESSAGES_MAX),
    )?;
    if length == 0 || covered > length {
        info!("the conversation is gone");
        return Ok(outcome_of(
            app.summaries.drop_by(run).await?,
            Outcome::Needless,
        ));
    }
    let upto = order.upto.min(length);
    let since: Vec<_> = since
        .into_iter()
        .filter(|message| message.position <= upto)
        .collect();
    let entries: Vec<HistoryEntry> = since.iter().map(|message| message.entry.clone()).collect();
    let Some(last) = since.last() else {
        return nothing_new(app, run, clock).await;
    };
    let so_far = run.so_far.as_ref().map(|so_far| so_far.text.as_str());
    let model = app.model(clock.now()).await?;
    let material = summary::material(so_far, &entries, app.material_bytes_max(&model));
    let Some(newest) = material
        .messages
        .checked_sub(1)
        .and_then(|last| since.get(last))
    else {
        warn!("the model's context has no room for a summary");
        return Ok(give_up(app, run, Outcome::GivenUp, clock).await?);
    };
    info!(
        messages = material.messages,
        left = last.position - newest.position,
        "a summary is to be written"
    );
    let earlier = if record.is_redelivered() {
        let calls = CallGroup::of_summary(session, &order.id);
        let right = app.summaries.right(run)?;
        let close = app.meter.close_earlier(user, &calls, &right, clock.now());
        match close.await? {
            Some(earlier) => earlier,
            None => return Ok(Outcome::Lost),
        }
    } else {
        TokenUsage::default()
    };
    let asked = app.ask_model(&model, order, (run, earlier), &material.text, clock);
    match asked.await? {
        Asked::Said(text, tokens) => {
            app.breaker(Breaker::succeed);
            let new = (text.trim(), newest.position, tokens);
            let written = app.summaries.keep(run, new, clock.now()).await?;
            Ok(outcome_of(written, Outcome::Written))
        }
        Asked::Denied => Ok(give_up(app, run, Outcome::Denied, clock).await?),
        Asked::Nothing => Ok(give_up(app, run, Outcome::GivenUp, clock).await?),
        Asked::Failed(failed) => Err(Unwritten::Model(failed)),
    }
}

fn outcome_of(written: Written, outcome: Outcome) -> Outcome {
    match written {
        Written::Kept => outcome,
        Written::Lost => Outcome::Lost,
    }
}

/// What is to be covered is: the summary stands for another hour, if there is one.
async fn nothing_new(app: &App, run: &Run, clock: Clock) -> Result<Outcome, Unwritten> {
    let written = match &run.so_far {
        Some(Summary {
            text,
            covers,
            tokens,
            ..
        }) => {
            let same = (text.as_str(), *covers, *tokens);
            app.summaries.keep(run, same, clock.now()).await?
        }
        None => app.summaries.drop_by(run).await?,
    };
    Ok(outcome_of(written, Outcome::Needless))
}

/// Leaves the conversation alone for a while.
async fn give_up(app: &App, run: &Run, outcome: Outcome, clock: Clock) -> Result<Outcome, Failure> {
    let rest = summary::rest_after(run.failures.saturating_add(1));
    let until = clock.now().after(rest);
    let given_up = app.summaries.give_up(run, until).await?;
    Ok(outcome_of(given_up, outcome))
}

/// The model failed: for this conversation, or for all.
async fn fail(
    app: &App,
    record: &QueueRecord,
    run: &Run,
    Failed { error, is_free }: Failed,
    clock: Clock,
) -> Result<Outcome, Failure> {
    let kind = error.kind();
    warn!(kind, error = causes(&error), "the model failed");
    let is_of_conversation = matches!(
        error,
        LlmError::TooLong { .. } | LlmError::Blocked { .. } | LlmError::Invalid { .. }
    );
    let is_costly = record.deliveries() >= DELIVERIES_MAX && !is_free;
    if !is_of_conversation {
        app.breaker(|breaker| breaker.fail(clock.now()));
    }
    if is_of_conversation || is_costly {
        return give_up(app, run, Outcome::GivenUp, clock).await;
    }
    app.summaries.put_back(run).await?;
    let wait = match error {
        LlmError::RateLimited {
            retry_after: Some(wait),
            ..
        } => wait.clamp(RETRY_AFTER, RETRY_AFTER_MAX),
        _ => RETRY_AFTER,
    };
    put_back(app, record, wait, PutBack::Model(error), clock.now()).await
}

impl App {
    fn breaker<T>(&self, look: impl FnOnce(&mut Breaker) -> T) -> T {
        look(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
