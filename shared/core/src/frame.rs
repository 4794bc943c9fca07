//! What clients may ask and what they are told: the frames of the public protocol as domain values.
//!
//! `sparkle-wire` turns bytes into these and these into bytes. Everything here is already valid:
//! within its limits, ids well formed, enumerations closed.

use crate::{
    id::{self, ConnectionId, RequestId, SessionId, StreamId, TraceId, UserId},
    price::Model,
    unit::{MicroUsd, Timestamp, TokenUsage},
};

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

/// Most bytes of a learner's message.
pub const MESSAGE_BYTES_MAX: usize = 32_768;
/// Most bytes of a conversation's title.
pub const TITLE_BYTES_MAX: usize = 200;
/// Most entries of one page of history or sessions.
pub const PAGE_ENTRIES_MAX: u32 = 100;
/// Entries of a page whose request names no limit.
pub const PAGE_ENTRIES_DEFAULT: u32 = 50;

/// A frame from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFrame {
    /// Chosen by the client; what makes a repeated frame the same request.
    pub request_id: RequestId,
    /// The client's trace, if it named one.
    pub trace_id: Option<TraceId>,
    /// What it asks.
    pub request: Request,
}

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Say something to the tutor.
    Chat(Chat),
    /// Stop an answer.
    Cancel {
        /// The `chat` whose answer is meant.
        request_id: RequestId,
    },
    /// Follow an answer from where a lost connection left it.
    Resume {
        /// The `chat` whose answer is meant.
        request_id: RequestId,
        /// The last frame that the client has; 0 for none.
        after_seq: u32,
    },
    /// Is anybody there?
    Ping,
    /// Read a conversation, newest first.
    History {
        /// Which one.
        session_id: SessionId,
        /// Only what stands before this position.
        before: Option<u64>,
        /// At most so many entries, 1 to [`PAGE_ENTRIES_MAX`].
        limit: u32,
    },
    /// List, rename or delete conversations.
    Sessions(SessionsRequest),
    /// Which models may be asked?
    Models,
    /// Prove again who is speaking, with a fresh token.
    Auth {
        /// A JWT.
        token: String,
    },
}

impl Request {
    /// The `type` on the wire, also the `method` of metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Chat(_) => "chat",
            Self::Cancel { .. } => "cancel",
            Self::Resume { .. } => "resume",
            Self::Ping => "ping",
            Self::History { .. } => "history",
            Self::Sessions(_) => "sessions",
            Self::Models => "models",
            Self::Auth { .. } => "auth",
        }
    }
}

/// A learner's message and how it wants to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// The conversation; none starts one.
    pub session_id: Option<SessionId>,
    /// Who the client says it is; must be the token's user.
    pub user_id: Option<String>,
    /// 1 to [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// BCP 47, or empty.
    pub language: String,
    /// The tutor's part, or empty.
    pub role: String,
    /// The model to ask, or empty for the default.
    pub model: String,
    /// What the answer cache may do.
    pub cache: CachePolicy,
}

impl Chat {
    /// Stands for what is asked: the same for every copy of a frame, another for any other question.
    pub fn digest(&self) -> String {
        let session = self.session_id.as_ref().map_or("", SessionId::as_str);
        let (language, role, model) = (&*self.language, &*self.role, &*self.model);
        id::digest(&[
            session,
            &self.message,
            language,
            role,
            model,
            self.cache.as_str(),
        ])
    }
}

/// What the answer cache may do for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CachePolicy {
    /// Read and store.
    #[default]
    Use,
    /// Neither read, nor store, nor join another's call.
    Bypass,
    /// Answer from the cache or not at all.
    Only,
}

impl CachePolicy {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Use => "",
            Self::Bypass => "bypass",
            Self::Only => "only",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Use, Self::Bypass, Self::Only]
            .into_iter()
            .find(|policy| policy.as_str() == word)
    }
}

/// List, rename or delete conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionsRequest {
    /// Newest first.
    List {
        /// Only those last used before this moment.
        before: Option<Timestamp>,
        /// At most so many, 1 to [`PAGE_ENTRIES_MAX`].
        limit: u32,
    },
    /// Give one a title.
    Rename {
        /// Which one.
        session_id: SessionId,
        /// 1 to [`TITLE_BYTES_MAX`] bytes.
        title: String,
    },
    /// Forget one with all that was said in it.
    Delete {
        /// Which one.
        session_id: SessionId,
    },
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
            body: Body::Error(error),
            request_id,
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
    /// Somebody is there.
    Pong,
    /// The request was refused, or its answer failed.
    Error(ErrorBody),
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

/// What an answer consumed and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens, as the provider counted them.
    pub tokens: TokenUsage,
    /// Whether the provider sent no count and this is ours.
    pub estimated: bool,
    /// At the price list's rate.
    pub cost: MicroUsd,
}

/// The answer is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The provider's id of the answer, if it gave one.
    pub response_id: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
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

/// Why a request was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// The stable code.
    pub code: ErrorCode,
    /// For the person who reads it, in their language.
    pub message: String,
    /// How long to wait before the same request may succeed; none if waiting does not help.
    pub retry_after_ms: Option<u64>,
    /// The field that is wrong, if one is.
    pub field: Option<String>,
}

/// Every error a client can be told. The names are the protocol's and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the protocol's own names; notice.rs says what each means"
)]
pub enum ErrorCode {
    BadFrame,
    UnsupportedVersion,
    UnknownType,
    InvalidArgument,
    TooLarge,
    Unauthenticated,
    Forbidden,
    NotFound,
    RateLimited,
    QuotaExceeded,
    BudgetExceeded,
    ContentBlocked,
    CircuitBreakerOpen,
    ProviderError,
    Timeout,
    Unavailable,
    Internal,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::BadFrame,
        Self::UnsupportedVersion,
        Self::UnknownType,
        Self::InvalidArgument,
        Self::TooLarge,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::BudgetExceeded,
        Self::ContentBlocked,
        Self::CircuitBreakerOpen,
        Self::ProviderError,
        Self::Timeout,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The word on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadFrame => "BAD_FRAME",
            Self::UnsupportedVersion => "UNSUPPORTED_VERSION",
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::TooLarge => "TOO_LARGE",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::RateLimited => "RATE_LIMITED",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::BudgetExceeded => "BUDGET_EXCEEDED",
            Self::ContentBlocked => "CONTENT_BLOCKED",
            Self::CircuitBreakerOpen => "CIRCUIT_BREAKER_OPEN",
            Self::ProviderError => "PROVIDER_ERROR",
            Self::Timeout => "TIMEOUT",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::CircuitBreakerOpen
                | Self::ProviderError
                | Self::Timeout
                | Self::Unavailable
                | Self::Internal
        )
    }
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
}

impl TurnJob {
    /// The stream of its frames.
    pub fn stream(&self) -> StreamId {
        StreamId::of(&self.user_id, &self.request_id)
    }
}
