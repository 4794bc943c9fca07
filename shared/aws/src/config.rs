//! The environment: every name that a function reads, and the only code that reads one (invariant A7).
//!
//! | name | meaning |
//! | --- | --- |
//! | `SPARKLE_TABLE_*`, `SPARKLE_QUEUE_*` | names of tables, URLs of queues |
//! | `SPARKLE_PUSH_ENDPOINT` | where `@connections` is served |
//! | `SPARKLE_JWT_ISSUER`, `SPARKLE_JWT_AUDIENCE` | what a token must say |
//! | `SPARKLE_JWKS_URL` | keys of RS256 and ES256 tokens; if unset, tokens are HS256 |
//! | `SPARKLE_JWT_SECRET`, `SPARKLE_JWT_SECRET_NAME` | the HS256 key itself, or its name in Secrets Manager |
//! | `SPARKLE_LLM_BASE_URL` | an OpenAI-compatible endpoint; if unset, the offline model answers |
//! | `SPARKLE_LLM_MODEL` | models that may be asked unless operators name others, comma-separated, the default first; if unset, `gpt-4o-mini` of an endpoint |
//! | `SPARKLE_LLM_API_KEY`, `SPARKLE_LLM_API_KEY_SECRET_NAME` | its key, or the key's name in Secrets Manager |
//! | `SPARKLE_LLM_TIMEOUT_SECONDS` | longest silence of the endpoint, 30 s if unset |
//! | `SPARKLE_LLM_TOKENIZER` | `o200k` or `cl100k`: the tokenizer of an endpoint's models, if it is known; OpenAI's own are known without it |
//! | `SPARKLE_CONTEXT_WHOLE`, `SPARKLE_CONTEXT_SUMMARY_OVER`, `SPARKLE_CONTEXT_LEAST` | messages of history: at most, before a summary, at least; 10, 20 and 5 if unset |
//! | `SPARKLE_LLM_SCRIPTED` | `1` lets tests script the offline model |
//! | `SPARKLE_SUMMARY_BASE_URL` | the endpoint that writes summaries; if unset, the one that answers, with its key |
//! | `SPARKLE_SUMMARY_MODEL` | the model that writes summaries; if unset, the cheapest of those that may be asked |
//! | `SPARKLE_SUMMARY_API_KEY`, `SPARKLE_SUMMARY_API_KEY_SECRET_NAME` | the key of `SPARKLE_SUMMARY_BASE_URL`, or the key's name in Secrets Manager |
//! | `SPARKLE_SUMMARY_TOKENS_MAX` | longest summary, 512 tokens if unset |
//! | `SPARKLE_SUMMARY_BACKLOG_MAX` | orders for summaries that may wait before no more are given, 1,000 if unset |
//! | `SPARKLE_CACHE_DAYS` | how long answers are kept, 7 days if unset |
//! | `SPARKLE_CACHE_SHARED` | `1` lets answers that hold nothing of a learner be given to others |
//! | `SPARKLE_CACHE_WRONG_PERCENT_MAX` | of a hundred answers that are served for other words how many may be wrong, with 95 % confidence, before none is; 5 if unset |
//! | `SPARKLE_CACHE_JUDGE_MODEL` | decides where it is in doubt whether two questions ask the same; none if unset: doubt is a no |
//! | `SPARKLE_CACHE_CHECKED_PERCENT` | of a hundred answers that are served for other words how many that model checks; 10 if unset |
//! | `SPARKLE_CACHE_WEIGHTS` | the folder of the bundled model; if unset, only the same question is found |
//! | `SPARKLE_CACHE_VERSION` | another number, and no answer of before is found; 1 if unset |
//! | `SPARKLE_EMBEDDING_BASE_URL` | an OpenAI-compatible endpoint of vectors, or `bedrock`; if unset, they are the bundled model's |
//! | `SPARKLE_EMBEDDING_MODEL`, `SPARKLE_EMBEDDING_DIMENSION` | its model, and how many numbers its vectors have, 1,024 if unset |
//! | `SPARKLE_EMBEDDING_API_KEY`, `SPARKLE_EMBEDDING_API_KEY_SECRET_NAME` | its key, or the key's name in Secrets Manager |
//! | `SPARKLE_RATE_PER_SECOND`, `SPARKLE_RATE_BURST` | frames that a learner may send |
//! | `SSL_CERT_FILE` | a file of the only root certificates to trust; if unset, those that are compiled in |
//! | `RUST_LOG` | levels of logs, `info` if unset |
//! | `AWS_*` | region, credentials and endpoints, as in every AWS SDK, but no profiles |

use std::time::Duration;

use sparkle_core::{cache::sought, price::PriceListError};

/// The environment is not what this function needs.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable is not set.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// A variable does not hold a whole number that is at least 1.
    #[error("the environment variable {0} is not a whole number of at least 1")]
    NotANumber(&'static str),
    /// A variable does not hold a whole number from 0 to 100.
    #[error("the environment variable {0} is not a whole number from 0 to 100")]
    NotAPercentage(&'static str),
    /// A secret could not be fetched.
    #[error("the secret named by {name} could not be fetched")]
    Secret {
        /// The variable that names it.
        name: &'static str,
        /// Why.
        source: Box<aws_sdk_secretsmanager::Error>,
    },
    /// A secret has no text.
    #[error("the secret named by {0} holds no text")]
    EmptySecret(&'static str),
    /// `SSL_CERT_FILE` names no file of root certificates in PEM.
    #[error("the file that SSL_CERT_FILE names holds no usable root certificates in PEM")]
    Certificates(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An HTTP client could not be made.
    #[error("no HTTP client could be made")]
    Http(#[from] reqwest::Error),
    /// A name of a model is none.
    #[error("what SPARKLE_LLM_MODEL names cannot be offered")]
    Models(#[from] PriceListError),
}

/// Ids of the models that this deployment offers where operators say nothing else, separated by commas; empty
/// without an endpoint.
pub fn offered_models() -> String {
    let of_endpoint = || optional("SPARKLE_LLM_BASE_URL").map(|_| "gpt-4o-mini".to_owned());
    let offered = optional("SPARKLE_LLM_MODEL").or_else(of_endpoint);
    offered.unwrap_or_default()
}

/// What operators have decided about the answer cache.
///
/// # Errors
/// [`ConfigError::NotANumber`], [`ConfigError::NotAPercentage`].
pub fn cache() -> Result<sought::Settings, ConfigError> {
    let default = sought::Settings::default();
    let days = positive_or_unset("SPARKLE_CACHE_DAYS")?;
    let life = days.map(|days| Duration::from_hours(24).saturating_mul(days));
    Ok(sought::Settings {
        version: positive_or_unset("SPARKLE_CACHE_VERSION")?.unwrap_or(default.version),
        is_shared: optional("SPARKLE_CACHE_SHARED").as_deref() == Some("1"),
        life: life.unwrap_or(default.life),
        wrong_percent_max: positive_or_unset("SPARKLE_CACHE_WRONG_PERCENT_MAX")?
            .unwrap_or(default.wrong_percent_max),
        judge: optional("SPARKLE_CACHE_JUDGE_MODEL"),
        checked_percent: percent_or_unset("SPARKLE_CACHE_CHECKED_PERCENT")?
            .unwrap_or(default.checked_percent),
    })
}

/// A variable, if it is set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the environment"
)]
pub fn optional(name: &'static str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable that must be set.
///
/// # Errors
/// [`ConfigError::Missing`] names it, so that a cold start fails by name.
pub fn required(name: &'static str) -> Result<String, ConfigError> {
    optional(name).ok_or(ConfigError::Missing(name))
}

/// A variable that must hold a whole number of at least 1.
///
/// # Errors
/// [`ConfigError`] names it if it is unset or something else.
pub fn positive(name: &'static str) -> Result<u32, ConfigError> {
    positive_or_unset(name)?.ok_or(ConfigError::Missing(name))
}

/// A variable that holds a whole number from 0 to 100 if it is set.
fn percent_or_unset(name: &'static str) -> Result<Option<u32>, ConfigError> {
    let percent = |text: String| {
        let percent = text.parse().ok().filter(|&percent| percent <= 100);
        percent.ok_or(ConfigError::NotAPercentage(name))
    };
    optional(name).map(percent).transpose()
}

/// A variable that holds a whole number of at least 1 if it is set.
///
/// # Errors
/// [`ConfigError::NotANumber`] names it if it is something else.
pub fn positive_or_unset(name: &'static str) -> Result<Option<u32>, ConfigError> {
    let number = |text: String| {
        let number = text.parse().ok().filter(|&number| number > 0);
        number.ok_or(ConfigError::NotANumber(name))
    };
    optional(name).map(number).transpose()
}
