//! What clients may ask, within its limits.

use crate::{
    id::{self, RequestId, SessionId, TraceId},
    unit::Timestamp,
};

/// Most bytes of a learner's message.
pub const MESSAGE_BYTES_MAX: usize = 32_768;
/// Most bytes of a conversation's title.
pub const TITLE_BYTES_MAX: usize = 200;
/// Most entries of one page of history or sessions.
pub const PAGE_ENTRIES_MAX: u32 = 100;
/// Entries of a page whose request names no limit.
pub const PAGE_ENTRIES_DEFAULT: u32 = 50;
/// Most days that a report of usage goes back.
pub const USAGE_DAYS_MAX: u32 = 31;
/// Days of a report whose request names none.
pub const USAGE_DAYS_DEFAULT: u32 = 7;
/// Most months that a report of usage goes back.
pub const USAGE_MONTHS_MAX: u32 = 12;

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
    /// How much may still be used today and this month?
    Quota,
    /// What was used and what did it cost?
    Usage {
        /// The newest days, today included, 1 to [`USAGE_DAYS_MAX`].
        days: u32,
        /// The newest months, this one included, 0 to [`USAGE_MONTHS_MAX`].
        months: u32,
    },
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
            Self::Quota => "quota",
            Self::Usage { .. } => "usage",
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
