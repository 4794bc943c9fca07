//! What clients may ask and what they are told: the frames of the public protocol as domain values.
//!
//! `sparkle-wire` turns bytes into these and these into bytes. Everything here is already valid:
//! within its limits, ids well formed, enumerations closed.

use crate::{
    cache::entry::Origin,
    id::{ConnectionId, RequestId, SessionId, StreamId, TraceId, UserId},
    policy::Tier,
    price::Model,
    profile::{Manner, UserContext},
    unit::Timestamp,
};

mod error;
mod metering;
mod request;
mod whole;

pub use error::{ErrorBody, ErrorCode};
pub use metering::{Alert, AlertKind, Budget, Period, Quota, Usage, UsageReport, Window};
pub use request::{
    COMMENT_BYTES_MAX, CachePolicy, Chat, ClientFrame, Feedback, Lookup, MESSAGE_BYTES_MAX,
    PAGE_ENTRIES_DEFAULT, PAGE_ENTRIES_MAX, Rating, Request, SessionsRequest, TARGET_ID_BYTES_MAX,
    TITLE_BYTES_MAX, Target, USAGE_DAYS_DEFAULT, USAGE_DAYS_MAX, USAGE_MONTHS_MAX, is_label,
    is_language,
};
pub use whole::{deltas, last_frames};

/// How a frame is written: each side answers in the one the other last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// JSON text.
    #[default]
    Json,
    /// Protobuf in base64.
    Protobuf,
}

/// How payloads travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Encoding {
    /// As they are.
    #[default]
    Plain,
    /// Deflated, where that is smaller on the wire.
    Deflate,
}

impl Encoding {
    /// The word on the wire, in jobs and in storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Deflate => "deflate",
        }
    }

    /// The encoding that a word stands for; plain for an unknown one, which every client reads.
    pub fn of_word(word: &str) -> Self {
        [Self::Plain, Self::Deflate]
            .into_iter()
            .find(|encoding| encoding.as_str() == word)
            .unwrap_or_default()
    }
}

/// How a frame is written, or how a client wants its frames written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Format {
    /// Of the whole frame.
    pub codec: Codec,
    /// Of its payload.
    pub encoding: Encoding,
}

/// A frame to a client. Frames are lean: what a client can know already is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerFrame {
    /// What it says.
    pub body: Body,
    /// On `ack`, `error`, the frame with `seq` 1 and the final frame.
    pub request_id: Option<RequestId>,
    /// On `ack`.
    pub trace_id: Option<TraceId>,
    /// On `ack` and `done`.
    pub timestamp: Option<Timestamp>,
    /// Place in the request's stream, from 1; none on answers that are no stream.
    pub seq: Option<u32>,
    /// The request's stream; none where no request could be made out.
    pub stream: Option<StreamId>,
}

impl ServerFrame {
    /// The one frame that answers a request which is no stream, or that refuses it.
    pub fn answer(user: &UserId, request_id: &RequestId, body: Body) -> Self {
        Self {
            body,
            request_id: Some(request_id.clone()),
            trace_id: None,
            timestamp: None,
            seq: None,
            stream: Some(StreamId::of(user, request_id)),
        }
    }

    /// Says that a frame could not be understood so far as to know which request it was.
    pub fn refusal(request_id: Option<RequestId>, error: ErrorBody) -> Self {
        Self {
            request_id,
            ..Self::unasked(Body::Error(error))
        }
    }

    /// What belongs to no request, such as an alert.
    pub fn unasked(body: Body) -> Self {
        Self {
            body,
            request_id: None,
            trace_id: None,
            timestamp: None,
            seq: None,
            stream: None,
        }
    }
}

/// A frame of a stream as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFrame {
    /// Its place in the stream, from 1.
    pub seq: u32,
    /// As `sparkle_wire::frame::encode_stored` wrote it.
    pub bytes: Vec<u8>,
}

/// What a frame to a client says.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// The request is accepted and will be answered.
    Ack(Ack),
    /// What the tutor is doing.
    Status {
        /// The state.
        state: State,
    },
    /// A piece of the answer.
    Delta {
        /// The text.
        text: String,
        /// Whether what was shown so far is to be discarded first.
        restart: bool,
    },
    /// What the answer consumed.
    Usage(Usage),
    /// The answer is complete.
    Done(Done),
    /// A page of a conversation.
    History {
        /// Which conversation.
        session_id: SessionId,
        /// Oldest first.
        entries: Vec<HistoryEntry>,
        /// Where the page before this one begins, if there is one.
        next_before: Option<u64>,
    },
    /// A page of conversations, or the one that was renamed.
    Sessions {
        /// Newest first.
        entries: Vec<SessionEntry>,
        /// Where the next page begins, if there is one.
        next_before: Option<Timestamp>,
    },
    /// What may be asked.
    Models {
        /// The default first.
        entries: Vec<Model>,
    },
    /// How much may be used, and is.
    Quota(Quota),
    /// What was used and what it cost.
    UsageReport(UsageReport),
    /// What the tutor knows of who asks.
    Profile(Box<UserContext>),
    /// Whether there is an answer already, and which.
    LookupResult(Option<Found>),
    /// A limit comes near or is reached; nobody asked.
    Alert(Alert),
    /// Somebody is there.
    Pong,
    /// The request was refused, or its answer failed.
    Error(ErrorBody),
}

/// An answer that was given before to a question that asks the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How alike the two questions are.
    pub origin: Origin,
    /// The answer.
    pub text: String,
    /// How long ago it was given, in s.
    pub age_seconds: u32,
}

/// The request is accepted and will be answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ack {
    /// Whether the request had been accepted before.
    pub duplicate: bool,
    /// The conversation it belongs to.
    pub session_id: Option<SessionId>,
    /// The last `seq` stored so far.
    pub last_seq: u32,
    /// Whether its stream is over.
    pub finished: bool,
}

/// What the tutor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Reading the question.
    Thinking,
    /// Writing the answer.
    Generating,
}

/// The answer is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The provider's id of the answer, if it gave one.
    pub response_id: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Where it came from.
    pub origin: Origin,
    /// Whether a summary stood for the older part of the conversation.
    pub summary_used: bool,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// It was complete.
    Stop,
    /// It reached the longest allowed.
    Length,
    /// The learner stopped it.
    Cancelled,
    /// The provider withheld it.
    Blocked,
}

impl FinishReason {
    /// The word on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
            Self::Blocked => "blocked",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Who said it.
    pub speaker: Speaker,
    /// What was said.
    pub text: String,
    /// When.
    pub at: Timestamp,
    /// The turn it belongs to.
    pub request_id: RequestId,
    /// How many tokens its text has, as its provider or tokenizer counted when it was said. Clients are not
    /// told.
    pub tokens: Option<u32>,
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speaker {
    /// The learner.
    User,
    /// The tutor.
    Assistant,
}

impl Speaker {
    /// The word on the wire and in storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One conversation in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEntry {
    /// Its id.
    pub session_id: SessionId,
    /// Its title: given, or the beginning of its first message.
    pub title: String,
    /// When it was last used.
    pub updated_at: Timestamp,
    /// How many messages it holds.
    pub messages: u64,
}

/// Where an answer goes: a socket and the way its client reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The socket.
    pub connection_id: ConnectionId,
    /// The codec that its client last spoke, and whether it takes deflated payloads.
    pub format: Format,
}

/// An accepted message on its way to the worker that answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnJob {
    /// Who asks.
    pub user_id: UserId,
    /// In which conversation.
    pub session_id: SessionId,
    /// Which request.
    pub request_id: RequestId,
    /// What was said.
    pub message: String,
    /// BCP 47, or empty.
    pub language: String,
    /// The tutor's part, or empty.
    pub role: String,
    /// The model to ask.
    pub model: String,
    /// Where the answer goes.
    pub destination: Destination,
    /// The trace of it all.
    pub trace_id: TraceId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What the learner's token said then.
    pub tier: Tier,
    /// What the answer cache may do.
    pub cache: CachePolicy,
    /// How the learner's profile wanted it answered then; none from a release that knew no profiles.
    pub manner: Option<Manner>,
}

impl TurnJob {
    /// The stream of its frames.
    pub fn stream(&self) -> StreamId {
        StreamId::of(&self.user_id, &self.request_id)
    }
}
