//! What can go wrong, by what the caller can do about it.
//!
//! No `Display` here carries text of a prompt, of an answer or of the provider.

use std::error::Error;
use std::fmt;
use std::time::Duration;

type Source = Box<dyn Error + Send + Sync>;

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// The provider is silent. Trying again may help.
    #[error("the model did not answer in time ({phase})")]
    Timeout {
        /// What was waited for.
        phase: Phase,
    },
    /// Too many calls or tokens for now. Wait, then try again.
    #[error("the provider asks for a pause")]
    RateLimited {
        /// How long, where it says so; at most an hour.
        retry_after: Option<Duration>,
        /// Its own words.
        said: ProviderText,
    },
    /// Key, balance, address or model name are wrong: an operator has to act.
    #[error("the provider refuses these settings (status {status})")]
    Refused {
        /// HTTP status, 0 where the refusal came inside a stream.
        status: u16,
        /// Its own words.
        said: ProviderText,
    },
    /// The prompt does not fit the model. Shorten it, then try again.
    #[error("the prompt is longer than the model takes")]
    TooLong {
        /// The provider's own words.
        said: ProviderText,
    },
    /// The provider's own filter does not let this prompt through.
    #[error("the provider's filter refuses the prompt")]
    Blocked {
        /// Its own words.
        said: ProviderText,
    },
    /// The provider does not accept the request; it will not accept it a second time.
    #[error("the provider does not accept the request")]
    Invalid {
        /// Its own words.
        said: ProviderText,
    },
    /// Not reachable, or it failed. Trying again may help.
    #[error("the provider cannot be reached or has failed")]
    Unavailable {
        /// Its own words.
        said: ProviderText,
        /// What failed on the way.
        source: Option<Source>,
    },
    /// The answer ended before it was finished. What came until then is real.
    #[error("the answer was cut off")]
    Cut {
        /// What cut it, if anything is known.
        source: Option<Source>,
    },
    /// What came is not an answer.
    #[error("the provider's answer makes no sense: {what}")]
    Garbage {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl LlmError {
    /// Whether the same call may succeed a moment later. A caller that has shown part of an answer
    /// has to start that answer over.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. }
            | Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Cut { .. }
            | Self::Garbage { .. } => true,
            Self::Refused { .. }
            | Self::TooLong { .. }
            | Self::Blocked { .. }
            | Self::Invalid { .. } => false,
        }
    }

    /// Whether the provider refused to answer, before the first word, so that it counts nothing. False
    /// where that is not known.
    pub fn is_unserved(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Refused { .. }
            | Self::TooLong { .. }
            | Self::Blocked { .. }
            | Self::Invalid { .. }
            | Self::Unavailable { source: None, .. } => true,
            Self::Timeout { .. }
            | Self::Unavailable { .. }
            | Self::Cut { .. }
            | Self::Garbage { .. } => false,
        }
    }

    /// A short constant name, for metrics and spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::RateLimited { .. } => "rate_limited",
            Self::Refused { .. } => "refused",
            Self::TooLong { .. } => "too_long",
            Self::Blocked { .. } => "blocked",
            Self::Invalid { .. } => "invalid",
            Self::Unavailable { .. } => "unavailable",
            Self::Cut { .. } => "cut",
            Self::Garbage { .. } => "garbage",
        }
    }
}

/// What was waited for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A connection.
    Connect,
    /// The first event of the answer.
    FirstByte,
    /// The next event of the answer.
    Idle,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::FirstByte => "no first byte",
            Self::Idle => "silence in mid-answer",
        })
    }
}

/// The provider's own words about a failure, at most 500 characters, without control characters.
///
/// For an operator to read. They may quote the prompt, so `Debug` shows only their size.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ProviderText(String);

/// Characters kept of what a provider says.
const PROVIDER_TEXT_CHARS_MAX: usize = 500;

impl ProviderText {
    pub(crate) fn new(text: &str) -> Self {
        Self(
            text.chars()
                .filter(|c| !c.is_control())
                .take(PROVIDER_TEXT_CHARS_MAX)
                .collect(),
        )
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProviderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProviderText({} bytes)", self.0.len())
    }
}

/// Why no model can be made from the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The base URL cannot be one.
    #[error("SPARKLE_LLM_BASE_URL {problem}, for example https://api.openai.com/v1")]
    BaseUrl {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The key cannot be sent in a header.
    #[error("SPARKLE_LLM_API_KEY has characters that no HTTP header can carry")]
    ApiKey,
    /// No tokenizer of ours has that name.
    #[error("SPARKLE_LLM_TOKENIZER is neither o200k nor cl100k")]
    Tokenizer,
    /// TLS cannot be set up.
    #[error("the HTTP client for SPARKLE_LLM_BASE_URL cannot be set up")]
    Tls(#[source] Source),
}
