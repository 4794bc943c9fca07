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
};
use sparkle_wire::frame;
use tracing::info;

use super::Asked;

impl Asked<'_> {
    /// Accepts a message, or says why not. Once it is acknowledged it will be answered, whatever
    /// crashes. Cost: one write, one message, one post.
    pub(crate) async fn admit(&self, chat: &Chat) -> Result<Option<ErrorBody>, Failure> {
        let language = self.language();
        let user_id = &self.identity.user_id;
        if chat
            .user_id
            .as_ref()
            .is_some_and(|claimed| claimed != user_id.as_str())
        {
            return Ok(Some(notice::error_in(
                ErrorCode::Forbidden,
                "payload.user_id",
                language,
            )));
        }
        let Some(model) = self.app.catalogue.find(&chat.model) else {
            let code = ErrorCode::InvalidArgument;
            return Ok(Some(notice::error_in(code, "payload.model", language)));
        };
        if chat.cache == CachePolicy::Only {
            // Nothing is cached in this release, so there is nothing that this could be answered with.
            return Ok(Some(notice::error_in(
                ErrorCode::NotFound,
                "payload.cache",
                language,
            )));
        }
        let request_id = &self.frame.request_id;
        let session_id = chat
            .session_id
            .clone()
            .unwrap_or_else(|| SessionId::started_by(user_id, request_id));

        let begun = self
            .app
            .turns
            .begin(user_id, request_id, &chat.digest(), self.now)
            .await?;
        let ack = match begun {
            Begun::Different => {
                let code = ErrorCode::InvalidArgument;
                return Ok(Some(notice::error_in(code, "request_id", language)));
            }
            Begun::New => Ack {
                session_id: Some(session_id.clone()),
                ..Ack::default()
            },
            Begun::Unanswered => Ack {
                duplicate: true,
                session_id: Some(session_id.clone()),
                last_seq: self
                    .app
                    .turns
                    .last_seq(user_id, request_id, self.now)
                    .await?,
                finished: false,
            },
            Begun::Answered { last_seq } => Ack {
                duplicate: true,
                session_id: Some(session_id.clone()),
                last_seq,
                finished: true,
            },
        };
        if ack.finished {
            self.acknowledge(ack).await?;
            self.replay(request_id).await?;
            return Ok(None);
        }
        // Also for a duplicate: the first copy may have died right here. Twice is once to the queue.
        let turn = TurnJob {
            user_id: user_id.clone(),
            session_id,
            request_id: request_id.clone(),
            message: chat.message.clone(),
            language: chat.language.clone(),
            role: chat.role.clone(),
            model: model.id.clone(),
            destination: self.destination.clone(),
            trace_id: self.trace_id.clone(),
            accepted_at: self.now,
        };
        self.app.queue.send(&turn).await?;
        info!(duplicate = ack.duplicate, "turn accepted");
        self.acknowledge(ack).await?;
        Ok(None)
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
            let Some(text) = frame::decode_stored(&bytes, self.destination.codec) else {
                continue;
            };
            let connection_id = &self.destination.connection_id;
            if self.app.push.post(connection_id, text).await? == Posted::Gone {
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
