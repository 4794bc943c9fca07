//! Accepting a `chat`: once, durably, in order.

use std::time::Duration;

use sparkle_aws::{
    failure::{Failure, causes},
    metric,
    push::Posted,
    table::{
        leases::Start,
        turns::{Begun, Turn},
    },
};
use sparkle_core::{
    frame::{Ack, Body, Chat, ErrorBody, ErrorCode, ServerFrame, TurnJob},
    id::{RequestId, SessionId, StreamId},
    notice,
    price::Listed,
    profile::Manner,
};
use tokio::time::sleep;
use tracing::{info, warn};

use super::Answering;

/// When a learner may try again whose conversation holds too many unanswered questions.
const FULL_RETRY: Duration = Duration::from_secs(5);

/// How often a turn is offered to the queue, beyond the SDK's own tries of at most 5 s together: all of it
/// must end within the function's 29 s.
const QUEUE_TRIES_MAX: u32 = 4;
/// Pause before it is offered again.
const QUEUE_PAUSE: Duration = Duration::from_millis(500);

impl Answering<'_> {
    /// Accepts a message, or says why not. Once it is acknowledged it will be answered, whatever
    /// crashes. Cost: one transaction, one message, one post, a read of a learner who is new here; a duplicate: see [`Self::follow`].
    pub(crate) async fn admit(&self, chat: &Chat) -> Result<Option<ErrorBody>, Failure> {
        let (user_id, request_id) = (&self.asked.identity.user_id, &self.asked.frame.request_id);
        let refused = |code, field| Ok(Some(notice::error_in(code, field, self.asked.language())));
        let named = chat.user_id.as_deref().unwrap_or(user_id.as_str());
        if named != user_id.as_str() {
            return refused(ErrorCode::Forbidden, "payload.user_id");
        }
        let catalogue = self.app.policies.catalogue(self.asked.now).await?;
        let Some(model) = catalogue.find(&chat.model) else {
            return refused(ErrorCode::InvalidArgument, "payload.model");
        };
        let turn = self.turn(chat, model, self.manner().await);
        let (app, digest) = (self.app, chat.digest());
        if Box::pin(self.answer_at_once(&turn, &digest)).await {
            return Ok(None);
        }
        let begun = self.begin(&turn, &digest).await?;
        let ack = Ack {
            session_id: Some(turn.session_id.clone()),
            ..Ack::default()
        };
        match begun {
            Begun::Different => refused(ErrorCode::InvalidArgument, "request_id"),
            Begun::Full => {
                let error = notice::error(ErrorCode::RateLimited, self.asked.language());
                Ok(Some(error.retry_in(FULL_RETRY)))
            }
            Begun::New => {
                // It stands in line, so it is accepted whatever fails from here on: were it refused now,
                // it would be answered all the same.
                self.enqueue(&turn).await;
                info!(duplicate = false, "turn accepted");
                if let Err(failure) = self.acknowledge(request_id, ack).await {
                    warn!(
                        error = causes(&failure),
                        "an accepted turn is not acknowledged"
                    );
                }
                Ok(None)
            }
            Begun::Before(Turn::Unanswered(turn)) => {
                // The first copy may have died before this. Twice is once to the queue.
                app.queue.send(&turn).await?;
                info!(duplicate = true, "turn accepted");
                let ack = Ack {
                    duplicate: true,
                    ..ack
                };
                self.follow(&turn, Start::Whole, ack).await
            }
            Begun::Before(Turn::Answered { last_seq, .. }) => {
                let ack = Ack {
                    duplicate: true,
                    last_seq,
                    finished: true,
                    ..ack
                };
                self.acknowledge(request_id, ack).await?;
                self.replay(request_id, 0).await?;
                Ok(None)
            }
        }
    }

    /// Queues a turn that stands in line. If the queue does not take it, the next that is asked about it
    /// has it run.
    async fn enqueue(&self, turn: &TurnJob) {
        for _ in 0..QUEUE_TRIES_MAX {
            let Err(failure) = self.app.queue.send(turn).await else {
                return;
            };
            warn!(
                error = causes(&failure),
                "an accepted turn is not queued yet"
            );
            sleep(QUEUE_PAUSE).await;
        }
        metric::count("turns_unqueued_total", 1, &[], self.asked.now);
    }

    /// Begins a turn. If it cannot be known whether it is begun, it is looked up.
    async fn begin(&self, turn: &TurnJob, digest: &str) -> Result<Begun, Failure> {
        let turns = &self.app.turns;
        let begun = turns
            .begin(&self.app.leases, turn, digest, self.asked.now)
            .await;
        let error = match begun {
            Ok(begun) => return Ok(begun),
            Err(error) => error,
        };
        let found = turns
            .find(&turn.user_id, &turn.request_id, self.asked.now)
            .await?;
        match found {
            Some(Turn::Unanswered(found)) if *found == *turn => Ok(Begun::New),
            _ => Err(error.into()),
        }
    }

    /// How the learner wants to be answered. Cost: nothing where this instance knows them, else one read.
    async fn manner(&self) -> Manner {
        let (user_id, stamp) = (&self.asked.identity.user_id, self.asked.profile_stamp);
        let known = self.app.learners.of(user_id, stamp, self.asked.now);
        known.await.manner()
    }

    fn turn(&self, chat: &Chat, model: &Listed, manner: Manner) -> TurnJob {
        let (user_id, request_id) = (&self.asked.identity.user_id, &self.asked.frame.request_id);
        let started = || SessionId::started_by(user_id, request_id);
        TurnJob {
            user_id: user_id.clone(),
            session_id: chat.session_id.clone().unwrap_or_else(started),
            request_id: request_id.clone(),
            message: chat.message.clone(),
            language: chat.language.clone(),
            role: chat.role.clone(),
            model: model.id.clone(),
            destination: self.asked.destination.clone(),
            trace_id: self.asked.trace_id.clone(),
            accepted_at: self.asked.now,
            tier: self.asked.identity.tier,
            cache: chat.cache,
            manner: Some(manner),
        }
    }

    /// Acknowledges this frame, which is about the stream of `request`.
    pub(crate) async fn acknowledge(
        &self,
        request: &RequestId,
        ack: Ack,
    ) -> Result<Posted, Failure> {
        self.asked
            .post(&ServerFrame {
                body: Body::Ack(ack),
                request_id: Some(self.asked.frame.request_id.clone()),
                trace_id: Some(self.asked.trace_id.clone()),
                timestamp: Some(self.asked.now),
                seq: None,
                stream: Some(StreamId::of(&self.asked.identity.user_id, request)),
            })
            .await
    }
}
