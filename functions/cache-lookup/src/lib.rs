//! Says whether a question has an answer already, and asks no model: the answer to a JSON frame of the type
//! `lookup`, and to a direct invocation by another program of the account. It is the answer that `ws-message`
//! gives to the same question in Protobuf, which API Gateway cannot route by its type. What there is for a
//! question, and whom it is shown, is decided in `sparkle_aws::lookup`.
//!
//! Changes nothing but what the door notes (`sparkle_aws::door`), so every event may come twice.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sparkle_aws::{
    door::{Asked, Door},
    event::{RouteAnswer, SocketEvent},
    failure::Failure,
    learners::Learners,
    lookup::{Looked, Lookups, Reader},
    table::policies::Policies,
};
use sparkle_cache::Semantic;
use sparkle_core::{
    cache::{
        entry::{Kept, Similarity},
        sought::Sought,
    },
    frame::{Body, ErrorBody, ErrorCode, Lookup, Request},
    id::{InvalidId, UserId},
    notice,
    unit::Timestamp,
};
use sparkle_wire::frame::{self, FrameError};

/// What a warm instance keeps.
#[derive(Debug)]
#[expect(missing_docs, reason = "each type says what it is")]
pub struct App {
    pub door: Door,
    pub policies: Policies,
    pub lookups: Lookups,
    pub learners: Learners,
    pub semantic: Semantic,
}

/// Who asks.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum LookupEvent {
    /// A learner, by a frame.
    Frame(SocketEvent),
    /// A program that may invoke this function: for any learner. It is shown also what others asked first.
    Direct(Direct),
}

/// A question whose answer a program looks for.
#[derive(Deserialize)]
pub struct Direct {
    /// Whose answer it would be.
    user_id: String,
    /// The question, and the three by which it is asked: as in a frame's payload.
    message: String,
    #[serde(default)]
    language: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    model: String,
}

/// Without the words of a person.
impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

/// What the invocation is answered.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum LookupAnswer {
    /// To API Gateway; the learner's answer is posted to the socket.
    Frame(RouteAnswer),
    /// The payload of the protocol's `lookup_result` frame, in JSON.
    Direct(Box<RawValue>),
}

/// A direct invocation is not one.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("user_id is no learner's id")]
    UserId(#[source] InvalidId),
    #[error("{field} is not acceptable")]
    Question {
        field: String,
        #[source]
        source: FrameError,
    },
    #[error("model is none that is offered")]
    Model,
    #[error("the answer cannot be written")]
    Answer,
}

/// Answers one question.
///
/// # Errors
/// [`Failure`] for a frame only if nothing could be said to the client; for a direct invocation if a part of it is
/// not acceptable or a table is away. Cost: one read, and another every 10 s; for a frame also the door's.
pub async fn handle(
    app: &App,
    event: LookupEvent,
    now: Timestamp,
) -> Result<LookupAnswer, Failure> {
    match event {
        LookupEvent::Frame(event) => {
            let answer = async |asked: &Asked<'_>| app.answer(asked).await;
            let answered = app.door.answer(&event, now, answer).await?;
            Ok(LookupAnswer::Frame(answered))
        }
        LookupEvent::Direct(direct) => {
            let payload = app.look(direct, now).await?;
            Ok(LookupAnswer::Direct(payload))
        }
    }
}

impl App {
    async fn answer(&self, asked: &Asked<'_>) -> Result<Option<ErrorBody>, Failure> {
        let Request::Lookup(lookup) = &asked.frame.request else {
            // A frame that names two types, of which API Gateway took the other.
            let (code, language) = (ErrorCode::InvalidArgument, asked.language());
            return Ok(Some(notice::error_in(code, "type", language)));
        };
        let (of, now) = ((&self.policies, &self.learners), asked.now);
        let by_meaning = async |sought: &Sought| self.by_meaning(sought, lookup, now).await;
        self.lookups.answer(of, asked, lookup, by_meaning).await
    }

    /// An answer to a question that asks the same in other words.
    async fn by_meaning(
        &self,
        sought: &Sought,
        lookup: &Lookup,
        now: Timestamp,
    ) -> Option<(Kept, Similarity)> {
        let looked = self.semantic.find(sought, &lookup.message, now).await;
        looked.found.map(|found| (found.kept, found.similarity))
    }

    async fn look(&self, direct: Direct, now: Timestamp) -> Result<Box<RawValue>, Failure> {
        let user = UserId::parse(direct.user_id)
            .map_err(|invalid| Failure::fatal(Refused::UserId(invalid)))?;
        let question = Lookup {
            message: direct.message,
            language: direct.language,
            role: direct.role,
            model: direct.model,
        };
        let question = frame::check_lookup(question).map_err(|source| {
            let path = source.field.as_deref().unwrap_or_default();
            let field = path.trim_start_matches("payload.").to_owned();
            Failure::fatal(Refused::Question { field, source })
        })?;
        let reader = Reader::Operator;
        let manner = self.learners.of(&user, None, now).await.manner();
        let by_meaning = async |sought: &Sought| self.by_meaning(sought, &question, now).await;
        let question = (&question, by_meaning);
        let looked = self
            .lookups
            .find(&self.policies, (&user, &manner), question, reader, now);
        let Looked::Known(found) = looked.await? else {
            return Err(Failure::fatal(Refused::Model));
        };
        let payload = frame::encode_payload(&Body::LookupResult(found));
        payload.ok_or_else(|| Failure::fatal(Refused::Answer))
    }
}
