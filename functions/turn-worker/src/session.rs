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
use sparkle_core::{chat, frame::TurnJob, id::RequestId};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::{
    App, Clock, HELD_FOR, HOLD_EVERY,
    turn::{self, Stop},
};

/// How often a worker looks whether the one before it is done.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long it does so before it leaves its message to a later delivery.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// How long a message stays hidden at least after its worker died: one that comes again sooner was not
/// left by a death.
const SILENCE_MIN: Duration = HELD_FOR.saturating_sub(HOLD_EVERY.saturating_mul(2));
/// A turn is only begun while so much of the invocation is left.
const TURN_TIME_MIN: Duration = Duration::from_mins(3);

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
    let session = Session {
        app,
        job,
        at,
        clock,
    };
    let patience = Instant::now() + WAIT_MAX;
    loop {
        let (acquired, recent) = tokio::join!(
            app.leases.acquire(job, &at.id, clock.now()),
            app.conversations
                .recent(&job.user_id, &job.session_id, chat::HISTORY_MESSAGES_MAX),
        );
        let acquired = acquired.inspect_err(|error| {
            // Never without the lease: the message comes again.
            error!(error = causes(error), "the lease cannot be taken");
            metric::count("lease_failures_total", 1, &[], clock.now());
        })?;
        match acquired {
            Acquired::Held(held) => {
                let first = held.standing.waiting.first().cloned();
                let first = first.ok_or(TableError::Corrupt("waiting"))?;
                let ran = session.run(&first, *held, recent?).await?;
                if ran == Ran::ToTheEnd && first == job.request_id {
                    break;
                }
                if clock.instant(at.deadline) < Instant::now() + TURN_TIME_MIN {
                    return Err(Failure::retry(Unserved::OutOfTime));
                }
            }
            Acquired::Denied(standing) if waits(standing.as_ref(), &job.request_id) => {
                if Instant::now() >= patience {
                    return Err(Failure::retry(Unserved::Busy));
                }
                sleep(LOOK_EVERY).await;
            }
            Acquired::Denied(_) => {
                match app
                    .turns
                    .find(&job.user_id, &job.request_id, clock.now())
                    .await?
                {
                    Some(Turn::Unanswered(_)) => return Err(Failure::fatal(Unserved::NotInLine)),
                    Some(Turn::Answered {
                        last_seq,
                        finished_at,
                    }) => {
                        let is_late = finished_at.after(SILENCE_MIN) <= clock.now();
                        if record.is_redelivered() && is_late {
                            turn::say_again(app, job, last_seq, clock.now()).await?;
                        }
                        info!("turn is over already");
                        break;
                    }
                    None => {
                        info!("turn is too old to be known");
                        break;
                    }
                }
            }
        }
    }
    // Behind a dead worker's message all that follow in the group are hidden.
    if record.group() != queue::group(job) {
        session.pass_on().await?;
    }
    Ok(())
}

fn waits(standing: Option<&Standing>, request: &RequestId) -> bool {
    standing.is_some_and(|standing| standing.waits(request))
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
}

impl Session<'_> {
    /// Runs the first turn, whose lease is held.
    async fn run(&self, first: &RequestId, held: Held, recent: Recent) -> Result<Ran, Failure> {
        let Self {
            app, job, clock, ..
        } = *self;
        let others;
        let first = if *first == job.request_id {
            job
        } else {
            match app.turns.find(&job.user_id, first, clock.now()).await? {
                Some(Turn::Unanswered(turn)) => {
                    others = turn;
                    &*others
                }
                Some(Turn::Answered { .. }) | None => {
                    app.leases.drop_first(&held.lease, first).await?;
                    return Ok(Ran::ToTheEnd);
                }
            }
        };
        // What was read beside taking the lease may be older than it.
        let recent = if recent.length == held.length {
            recent
        } else {
            app.conversations
                .recent(&job.user_id, &job.session_id, chat::HISTORY_MESSAGES_MAX)
                .await?
        };
        match Box::pin(turn::run(app, first, held, &recent, self.at, clock)).await {
            Ok(()) => Ok(Ran::ToTheEnd),
            Err(Stop::Lost) => {
                warn!("the lease was lost, another goes on");
                metric::count("lease_losses_total", 1, &[], clock.now());
                Ok(Ran::UntilTheLeaseWasLost)
            }
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }

    /// Queues the next turn again.
    async fn pass_on(&self) -> Result<(), Failure> {
        let Self {
            app, job, clock, ..
        } = *self;
        let (user, session) = (&job.user_id, &job.session_id);
        let rung = app
            .leases
            .ring(user, session, Duration::ZERO, clock.now())
            .await?;
        if let Some((ring, next)) = rung
            && let Some(Turn::Unanswered(turn)) = app.turns.find(user, &next, clock.now()).await?
        {
            app.queue.send_again(&turn, ring).await?;
        }
        Ok(())
    }
}
