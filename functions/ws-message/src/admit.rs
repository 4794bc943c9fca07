//! Accepting a `chat`: once, durably, in order.

use sparkle_aws::{
    failure::Failure,
    push::Posted,
    table::turns::{Begun, Cancelled},
};
use sparkle_core::{
    frame::{Ack, Body, CachePolicy, Chat, ErrorBody, ErrorCode, ServerFrame, TurnJob},
    id::{RequestId, SessionId, StreamId},
    notice,
    price::Model,
};
use sparkle_wire::frame;
use tracing::info;

use super::Asked;

impl Asked<'_> {
    /// Accepts a message, or says why not. Once it is acknowledged it will be answered, whatever
    /// crashes. Cost: one write, one message, one post.
    pub(crate) async fn admit(&self, chat: &Chat) -> Result<Option<ErrorBody>, Failure> {
        let (user_id, request_id) = (&self.identity.user_id, &self.frame.request_id);
        let refused = |code, field| Ok(Some(notice::error_in(code, field, self.language())));
        let named = chat.user_id.as_deref().unwrap_or(user_id.as_str());
        if named != user_id.as_str() {
            return refused(ErrorCode::Forbidden, "payload.user_id");
        }
        let Some(model) = self.app.catalogue.find(&chat.model) else {
            return refused(ErrorCode::InvalidArgument, "payload.model");
        };
        if chat.cache == CachePolicy::Only {
            // Nothing is cached in this release, so nothing could answer.
            return refused(ErrorCode::NotFound, "payload.cache");
        }
        let turns = &self.app.turns;
        let begun = turns
            .begin(user_id, request_id, &chat.digest(), self.now)
            .await?;
        let last_seq = match begun {
            Begun::Different => return refused(ErrorCode::InvalidArgument, "request_id"),
            Begun::New => 0,
            Begun::Unanswered => turns.last_seq(user_id, request_id, self.now).await?,
            Begun::Answered { last_seq } => last_seq,
        };
        let started = || SessionId::started_by(user_id, request_id);
        let session_id = chat.session_id.clone().unwrap_or_else(started);
        let ack = Ack {
            duplicate: begun != Begun::New,
            session_id: Some(session_id.clone()),
            last_seq,
            finished: matches!(begun, Begun::Answered { .. }),
        };
        if ack.finished {
            self.acknowledge(ack).await?;
            return self.replay(request_id).await.map(|()| None);
        }
        // Also for a duplicate: the first copy may have died right here. Twice is once to the queue.
        self.app
            .queue
            .send(&self.turn(chat, session_id, model))
            .await?;
        info!(duplicate = ack.duplicate, "turn accepted");
        self.acknowledge(ack).await?;
        Ok(None)
    }

    fn turn(&self, chat: &Chat, session_id: SessionId, model: &Model) -> TurnJob {
        TurnJob {
            user_id: self.identity.user_id.clone(),
            session_id,
            request_id: self.frame.request_id.clone(),
            message: chat.message.clone(),
            language: chat.language.clone(),
            role: chat.role.clone(),
            model: model.id.clone(),
            destination: self.destination.clone(),
            trace_id: self.trace_id.clone(),
            accepted_at: self.now,
        }
    }

    async fn acknowledge(&self, ack: Ack) -> Result<Posted, Failure> {
        self.post(&ServerFrame {
            body: Body::Ack(ack),
            request_id: Some(self.frame.request_id.clone()),
            trace_id: Some(self.trace_id.clone()),
            timestamp: Some(self.now),
            seq: None,
            stream: Some(StreamId::of(&self.identity.user_id, &self.frame.request_id)),
        })
        .await
    }

    /// Posts a finished stream again, from its beginning.
    async fn replay(&self, request_id: &RequestId) -> Result<(), Failure> {
        let stored = self
            .app
            .turns
            .frames(&self.identity.user_id, request_id, 0, self.now)
            .await?;
        for bytes in stored {
            let Some(text) = frame::decode_stored(&bytes, self.destination.format) else {
                continue;
            };
            if self.app.post(self.destination, text).await? == Posted::Gone {
                break;
            }
        }
        Ok(())
    }

    /// Asks for an answer to be stopped; its stream's `done` is the reply. Cost: one write.
    pub(crate) async fn cancel(
        &self,
        request_id: &RequestId,
    ) -> Result<Option<ErrorBody>, Failure> {
        let user_id = &self.identity.user_id;
        Ok(
            match self.app.turns.cancel(user_id, request_id, self.now).await? {
                Cancelled::Asked => None,
                Cancelled::Nothing => Some(notice::error(ErrorCode::NotFound, self.language())),
            },
        )
    }
}
