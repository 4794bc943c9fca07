//! What is remembered of a conversation's older part: reading it for a turn, and ordering it afterwards.
//!
//! Nothing here ever fails a turn: without a summary it goes on with the newest messages.

use std::time::Duration;

use sparkle_aws::{
    boot::Invocation,
    failure::{Failure, causes},
    metric,
    table::summaries::Ordered,
};
use sparkle_core::{
    frame::TurnJob,
    id::{self, RequestId},
    summary::{Summary, SummaryJob},
};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{App, Clock};

/// An order takes no longer: the next turn of the conversation may be waiting.
const ORDER_TIME_MAX: Duration = Duration::from_secs(2);

/// The summary that may stand for the older part of a conversation of `length` messages. Cost: one read
/// where there may be one.
pub(crate) async fn recall(app: &App, job: &TurnJob, length: u64, clock: Clock) -> Option<Summary> {
    if length <= app.prompts.settings.summary_over {
        return None;
    }
    let (user, session) = (&job.user_id, &job.session_id);
    let read = app.summaries.usable(user, session, length, clock.now());
    read.await.unwrap_or_else(|error| {
        warn!(error = causes(&error), "the summary cannot be read");
        None
    })
}

/// A summary that a conversation is to have.
#[derive(Debug)]
pub(crate) struct Wanted {
    order: SummaryJob,
    /// By the summary that the turn has read.
    covered: u64,
}

impl Wanted {
    /// After a turn, with which its conversation has `length` messages.
    pub(crate) fn after(
        app: &App,
        job: &TurnJob,
        length: u64,
        summary: Option<&Summary>,
        at: &Invocation,
        clock: Clock,
    ) -> Option<Self> {
        let covered = summary.map(|summary| summary.covers);
        let upto = app.prompts.settings.wanted(length, covered)?;
        let (user, session) = (job.user_id.as_str(), job.session_id.as_str());
        // Nobody who chooses request ids can know that of the invocation.
        let digest = id::digest(&[user, session, &upto.to_string(), &at.id]);
        let name = format!("summary-{}", digest.get(..32).unwrap_or_default());
        Some(Self {
            covered: covered.unwrap_or(0),
            order: SummaryJob {
                id: RequestId::parse(name).ok()?,
                user_id: job.user_id.clone(),
                session_id: job.session_id.clone(),
                trace_id: job.trace_id.clone(),
                upto,
                requested_at: clock.now(),
                tier: job.tier,
            },
        })
    }

    /// Orders it, unless an order is in flight, a newer summary is there or too many wait. Cost: a write and a message, and every 10 s a
    /// look at the queue.
    pub(crate) async fn order(&self, app: &App, clock: Clock) {
        match timeout(ORDER_TIME_MAX, self.give(app, clock)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => warn!(error = causes(&failure), "no summary is ordered"),
            Err(_late) => warn!("no summary is ordered in time"),
        }
    }

    async fn give(&self, app: &App, clock: Clock) -> Result<(), Failure> {
        if app.summary_queue.is_full(clock.now()).await? {
            metric::count("summaries_shed_total", 1, &[], clock.now());
            return Ok(());
        }
        if app
            .summaries
            .order(&self.order, self.covered, clock.now())
            .await?
            == Ordered::New
        {
            app.summary_queue.send(&self.order).await?;
            info!(upto = self.order.upto, "a summary is ordered");
        }
        Ok(())
    }
}
