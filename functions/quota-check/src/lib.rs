//! Says what a learner may still use, and asks no model: the answer to a JSON frame of the type `quota`, and
//! to a direct invocation by another program of the account. It is the answer that `ws-message` gives to the
//! same question in Protobuf, which API Gateway cannot route by its type.
//!
//! Changes nothing but what the door notes (`sparkle_aws::door`), so every event may come twice.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sparkle_aws::{
    door::{Asked, Door},
    event::{RouteAnswer, SocketEvent},
    failure::Failure,
    table::{TableError, accounts::Accounts, policies::Policies},
};
use sparkle_core::{
    frame::{Body, ErrorBody, ErrorCode, Request},
    id::{InvalidId, UserId},
    notice,
    policy::Tier,
    unit::Timestamp,
};
use sparkle_wire::frame;

/// What a warm instance keeps.
#[derive(Debug)]
#[expect(missing_docs, reason = "each type says what it is")]
pub struct App {
    pub door: Door,
    pub accounts: Accounts,
    pub policies: Policies,
}

/// Who asks.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum QuotaEvent {
    /// A learner, by a frame.
    Frame(SocketEvent),
    /// A program that may invoke this function: for any learner.
    Direct {
        /// The learner.
        user_id: String,
        /// The tier of their token; without it the free one, unless an operator set another.
        #[serde(default)]
        tier: String,
    },
}

/// What the invocation is answered.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum QuotaAnswer {
    /// To API Gateway; the learner's answer is posted to the socket.
    Frame(RouteAnswer),
    /// The payload of the protocol's `quota` frame, in JSON.
    Direct(Box<RawValue>),
}

/// A direct invocation is not one.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("user_id is no learner's id")]
    UserId(#[source] InvalidId),
    #[error("the answer cannot be written")]
    Answer,
}

/// Answers one question.
///
/// # Errors
/// [`Failure`] for a frame only if nothing could be said to the client; for a direct invocation if its
/// `user_id` is none or a table is away. Cost: one read, and another every 10 s; for a frame also the door's.
pub async fn handle(app: &App, event: QuotaEvent, now: Timestamp) -> Result<QuotaAnswer, Failure> {
    match event {
        QuotaEvent::Frame(event) => {
            let answer = async |asked: &Asked<'_>| app.answer(asked).await;
            let answered = app.door.answer(&event, now, answer).await?;
            Ok(QuotaAnswer::Frame(answered))
        }
        QuotaEvent::Direct { user_id, tier } => {
            let user_id = UserId::parse(user_id)
                .map_err(|invalid| Failure::fatal(Refused::UserId(invalid)))?;
            let body = app.quota(&user_id, Tier::of_word(&tier), now).await?;
            let payload = frame::encode_payload(&body);
            let payload = payload.ok_or_else(|| Failure::fatal(Refused::Answer))?;
            Ok(QuotaAnswer::Direct(payload))
        }
    }
}

impl App {
    async fn answer(&self, asked: &Asked<'_>) -> Result<Option<ErrorBody>, Failure> {
        if asked.frame.request != Request::Quota {
            // A frame that names two types, of which API Gateway took the other.
            let (code, language) = (ErrorCode::InvalidArgument, asked.language());
            return Ok(Some(notice::error_in(code, "type", language)));
        }
        let identity = asked.identity;
        let body = self.quota(&identity.user_id, identity.tier, asked.now);
        asked.reply(body.await?).await?;
        Ok(None)
    }

    async fn quota(&self, user: &UserId, tier: Tier, now: Timestamp) -> Result<Body, TableError> {
        let account = self.accounts.standing(&self.policies, user, tier, now);
        Ok(Body::Quota(account.await?.shown(tier)))
    }
}
