//! What clients may ask, within its limits.

use crate::{
    id::{self, RequestId, SessionId, TraceId},
    profile::Change,
    unit::Timestamp,
};

/// Most bytes of a learner's message.
pub const MESSAGE_BYTES_MAX: usize = 32_768;
/// Most bytes of what a learner says of an answer.
pub const COMMENT_BYTES_MAX: usize = 2_000;
/// Most bytes of what names the answer: ours have 64, providers' about 50.
pub const TARGET_ID_BYTES_MAX: usize = 256;
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

/// The longest tag that RFC 5646 section 4.4.1 asks to support.
const LANGUAGE_BYTES_MAX: usize = 35;
const LABEL_BYTES_MAX: usize = 64;

/// Whether a text is written like a BCP 47 tag, or empty.
pub fn is_language(text: &str) -> bool {
    let is_of_tag = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    text.len() <= LANGUAGE_BYTES_MAX && text.bytes().all(is_of_tag)
}

/// Whether a text may name the tutor's part or a model: at most 64 of `A-Za-z0-9-_.:/`.
pub fn is_label(text: &str) -> bool {
    let is_of_label = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b);
    text.len() <= LABEL_BYTES_MAX && text.bytes().all(is_of_label)
}

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
    /// What does the tutor know of me?
    Profile,
    /// Change what the tutor knows of me.
    ChangeProfile(Change),
    /// Is there an answer to this already?
    Lookup(Lookup),
    /// How good was it?
    Feedback(Feedback),
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
            Self::Profile => "profile.get",
            Self::ChangeProfile(_) => "profile.update",
            Self::Lookup(_) => "lookup",
            Self::Feedback(_) => "feedback",
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

/// A question whose answer is looked for among those that were given: no model is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// 1 to [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// BCP 47, or empty.
    pub language: String,
    /// The tutor's part, or empty.
    pub role: String,
    /// The model that would be asked, or empty for the default.
    pub model: String,
}

/// What a learner thinks of what it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// Of what.
    pub target: Target,
    /// Of which one, 1 to [`TARGET_ID_BYTES_MAX`] bytes: of an answer the request's id or the provider's.
    pub id: String,
    /// How good it was.
    pub rating: Rating,
    /// What there is to say of it, at most [`COMMENT_BYTES_MAX`] bytes; may be empty.
    pub comment: String,
}

/// What feedback is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The answer of a turn.
    Answer,
    /// A node of the knowledge graph.
    Node,
}

impl Target {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Node => "node",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Answer, Self::Node]
            .into_iter()
            .find(|target| target.as_str() == word)
    }
}

/// How good something was: 1, the worst, to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rating(u32);

impl Rating {
    /// The best that rejects an answer.
    const REJECTS_MAX: Self = Self(2);

    /// The rating of so many stars.
    pub fn of_stars(stars: u32) -> Option<Self> {
        (1..=5).contains(&stars).then_some(Self(stars))
    }

    /// 1 to 5.
    pub fn stars(self) -> u32 {
        self.0
    }

    /// Whether the answer is to be served to nobody any more.
    pub fn rejects(self) -> bool {
        self <= Self::REJECTS_MAX
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
