//! Which turn of a conversation is run, and that nobody else runs it.
//!
//! The lease says which turn comes first. Normally it is the one that the message names; another one comes
//! first where its own message was lost, was overtaken, or is hidden behind a dead worker.

use std::time::Duration;

use sparkle_aws::{
    boot::Invocation,
    event::QueueRecord,
    failure::{Failure, causes},
    metric, queue,
    table::{
        TableError,
        conversations::Recent,
        leases::{Acquired, Held, Standing},
        turns::Turn,
    },
};
use sparkle_core::{frame::TurnJob, id::RequestId, ledger::Bill};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::{
    App, Clock, HELD_FOR, HOLD_EVERY,
    audience::Audience,
    judge::Check,
    memory::Wanted,
    stream::{insist, is_away},
    turn::{self, Stop},
};

/// How often a worker looks whether the one before it is done.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a message stays hidden at least after its worker died: one that comes again sooner was not
/// left by a death.
const SILENCE_MIN: Duration = HELD_FOR.saturating_sub(HOLD_EVERY.saturating_mul(2));
/// A turn is only begun while so much of the invocation is left.
const TURN_TIME_MIN: Duration = Duration::from_mins(3);
/// Left of the invocation when a worker stops waiting for another.
const WAIT_END: Duration = Duration::from_secs(30);
/// How soon a client has the last frames unless it is behind.
const PROMPT: Duration = Duration::from_millis(500);
/// How long the end of a turn waits for those that are behind. They miss the rest, and ask for it.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The lease is not to be had for now.
#[derive(Debug, thiserror::Error)]
enum Unserved {
    #[error("another worker is still at this conversation")]
    Busy,
    #[error("too little time is left for the next turn")]
    OutOfTime,
    #[error("the turn is not over and does not wait")]
    NotInLine,
}

/// Sees to it that the turn that a message names is over, and all before it.
pub(crate) async fn serve(
    app: &App,
    job: &TurnJob,
    record: &QueueRecord,
    at: &Invocation,
    clock: Clock,
) -> Result<(), Failure> {
    let mut session = Session {
        app,
        job,
        at,
        clock,
        audiences: Vec::new(),
        bills: Vec::new(),
        wanted: None,
        checks: Vec::new(),
        may_have_ended: false,
    };
    Box::pin(session.serve(record)).await?;
    // Behind a dead worker's message all that follow in the group are hidden; behind this one, as long as
    // somebody does not take the last frames.
    let bills = std::mem::take(&mut session.bills);
    let send = async {
        for bill in &bills {
            app.meter.send(bill).await;
        }
    };
    let wanted = session.wanted.take();
    let order = async {
        if let Some(wanted) = &wanted {
            wanted.order(app, clock).await;
        }
    };
    let (has_all, (), ()) = tokio::join!(session.drain(PROMPT), send, order);
    let is_slow = !has_all;
    if is_slow || record.group() != queue::group(job) {
        session.pass_on().await?;
    }
    if is_slow && !session.drain(DRAIN_MAX).await {
        warn!("clients did not take the end of an answer");
    }
    session.check().await;
    Ok(())
}

async fn recent(app: &App, job: &TurnJob) -> Result<Recent, TableError> {
    app.conversations
        .recent(&job.user_id, &job.session_id, app.prompts.messages_max())
        .await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    ToTheEnd,
    UntilTheLeaseWasLost,
}

struct Session<'a> {
    app: &'a App,
    job: &'a TurnJob,
    at: &'a Invocation,
    clock: Clock,
    /// Of the turns that were run, which may not have taken their last frames yet.
    audiences: Vec<Audience>,
    /// Of the turns that were run.
    bills: Vec<Bill>,
    /// After the last of them.
    wanted: Option<Wanted>,
    /// Of answers that were served for other words.
    checks: Vec<Check>,
    /// Whether a turn may have been ended here without its last frames being posted.
    may_have_ended: bool,
}

impl Session<'_> {
    async fn serve(&mut self, record: &QueueRecord) -> Result<(), Failure> {
        let Self {
            app,
            job,
            at,
            clock,
            ..
        } = *self;
        // What was said before is read beside the first try to take the lease; after another had it,
        // only under it.
        let mut early = None;
        let mut is_first_try = true;
        loop {
            let acquired = if is_first_try {
                let (acquired, read) = tokio::join!(
                    app.leases.acquire(job, &at.id, clock.now()),
                    recent(app, job)
                );
                early = read.ok();
                acquired
            } else {
                app.leases.acquire(job, &at.id, clock.now()).await
            };
            is_first_try = false;
            match acquired {
                Ok(Acquired::Held(held)) => {
                    let first = held.lease.request_id().clone();
                    let ran = self.run(&first, *held, early.take()).await?;
                    if ran == Ran::ToTheEnd && first == job.request_id {
                        return Ok(());
                    }
                    if clock.instant(at.deadline) < Instant::now() + TURN_TIME_MIN {
                        return Err(Failure::retry(Unserved::OutOfTime));
                    }
                }
                Ok(Acquired::Denied(standing)) if waits(standing.as_ref(), &job.request_id) => {
                    self.wait().await?;
                }
                Ok(Acquired::Denied(_)) => return self.end(record).await,
                Err(error) => {
                    // Never without the lease.
                    error!(error = causes(&error), "the lease cannot be taken");
                    metric::count("lease_failures_total", 1, &[], clock.now());
                    if !is_away(&error) {
                        return Err(error.into());
                    }
                    self.wait().await?;
                }
            }
        }
    }

    /// Leaves it to others for a moment.
    async fn wait(&self) -> Result<(), Failure> {
        let now = Instant::now();
        if self.clock.instant(self.at.deadline) < now + WAIT_END {
            return Err(Failure::retry(Unserved::Busy));
        }
        sleep(LOOK_EVERY).await;
        Ok(())
    }

    /// The turn does not wait (any more).
    async fn end(&self, record: &QueueRecord) -> Result<(), Failure> {
        let Self {
            app, job, clock, ..
        } = *self;
        let (user, request) = (&job.user_id, &job.request_id);
        match app.turns.find(user, request, clock.now()).await? {
            Some(Turn::Unanswered(_)) => Err(Failure::fatal(Unserved::NotInLine)),
            Some(Turn::Answered {
                last_seq,
                finished_at,
            }) => {
                let is_late = finished_at.after(SILENCE_MIN) <= clock.now();
                if self.may_have_ended || (record.is_redelivered() && is_late) {
                    turn::say_again(app, job, last_seq, clock.now()).await?;
                }
                info!("turn is over already");
                Ok(())
            }
            None => {
                info!("turn is too old to be known");
                Ok(())
            }
        }
    }

    /// Runs the first turn, whose lease is held.
    async fn run(
        &mut self,
        first: &RequestId,
        held: Held,
        early: Option<Recent>,
    ) -> Result<Ran, Failure> {
        let Self {
            app,
            job,
            at,
            clock,
            ..
        } = *self;
        let others;
        let first = if *first == job.request_id {
            job
        } else {
            match app.turns.find(&job.user_id, first, clock.now()).await? {
                // In another conversation under the same id, once its time here was over.
                Some(Turn::Unanswered(turn)) if turn.session_id == job.session_id => {
                    others = turn;
                    &*others
                }
                _ => {
                    app.leases
                        .drop_first(&held.lease, &held.standing, clock.now())
                        .await?;
                    return Ok(Ran::ToTheEnd);
                }
            }
        };
        let recent = match early {
            // Otherwise it is older than the lease.
            Some(recent) if recent.length == held.length => recent,
            _ => insist(async || recent(app, job).await).await?,
        };
        match Box::pin(turn::run(app, first, held, &recent, at, clock)).await {
            Ok(over) => {
                self.audiences.push(over.audience);
                self.bills.extend(over.bill);
                self.wanted = over.wanted;
                self.checks.extend(over.check);
                if let Some(keeping) = over.keeping {
                    // At once: the next turn may ask the same.
                    app.cache.keep(keeping, clock).await;
                }
                Ok(Ran::ToTheEnd)
            }
            Err(stop @ (Stop::Lost | Stop::LostAtTheEnd)) => {
                warn!("the lease was lost, another goes on");
                metric::count("lease_losses_total", 1, &[], clock.now());
                self.may_have_ended |= matches!(stop, Stop::LostAtTheEnd);
                Ok(Ran::UntilTheLeaseWasLost)
            }
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }

    /// Has some answers checked that were served, while others go on with the conversation. It is over, whatever
    /// becomes of that.
    async fn check(&mut self) {
        let (app, clock) = (self.app, self.clock);
        let checks = std::mem::take(&mut self.checks);
        let has_time = Instant::now() + WAIT_END < clock.instant(self.at.deadline);
        if checks.is_empty() || !has_time || self.pass_on().await.is_err() {
            return;
        }
        for check in &checks {
            app.check(check, clock).await;
        }
    }

    /// Waits until everybody has the last frames, for `span` at most; whether they have.
    async fn drain(&mut self, span: Duration) -> bool {
        let until = Instant::now() + span;
        let mut have_all = true;
        for audience in &mut self.audiences {
            let left = until.saturating_duration_since(Instant::now());
            have_all &= audience.drain(left).await;
        }
        have_all
    }

    /// Has the next turn run by another worker: any turn that waits will do as a message.
    async fn pass_on(&self) -> Result<(), Failure> {
        let Self {
            app, job, clock, ..
        } = *self;
        let (user, session) = (&job.user_id, &job.session_id);
        let Some(standing) = app.leases.find(user, session).await? else {
            return Ok(());
        };
        if standing.is_live(clock.now()) {
            return Ok(());
        }
        for next in &standing.waiting {
            if let Some(Turn::Unanswered(turn)) = app.turns.find(user, next, clock.now()).await? {
                let ring = standing.next_ring();
                app.queue.send_again(&turn, ring).await?;
                app.leases
                    .note_ring(user, session, ring, clock.now())
                    .await?;
                break;
            }
        }
        Ok(())
    }
}

fn waits(standing: Option<&Standing>, request: &RequestId) -> bool {
    standing.is_some_and(|standing| standing.waits(request))
}
