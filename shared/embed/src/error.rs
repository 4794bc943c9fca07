//! What can go wrong, named by what the caller can do about it. No variant holds text of a learner.

use std::path::PathBuf;

use thiserror::Error;

use crate::vector::VectorVersion;

/// The folder of weights cannot be used: the deployment is wrong, and no retry helps.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file is missing or cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what this version of the program expects.
    #[error("{file} is damaged or of another kind: {problem}")]
    Damaged {
        /// Its name.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl OpenError {
    pub(crate) fn damaged(file: &str, problem: impl Into<String>) -> Self {
        Self::Damaged {
            file: file.to_owned(),
            problem: problem.into(),
        }
    }
}

/// A text has no reading. The question is answered without the semantic cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// Nothing in it but white space and control characters.
    #[error("the text is blank")]
    Blank,
    /// Characters that the model does not know, such as those of other scripts. It would read them as one and the
    /// same, and take two questions for one that differ only in them.
    #[error("the text has characters that the model does not know")]
    Unknown,
    /// More than the model takes. A text is never cut: what is left may ask something else.
    #[error(
        "the text is longer than {} tokens or {} bytes",
        crate::bundled::TOKENS_MAX,
        crate::bundled::TEXT_BYTES_MAX
    )]
    TooLong,
}

/// Two texts cannot be judged. They count as different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// A text is longer than those that the verifier has learned from.
    #[error(
        "the text has {tokens} tokens, and texts over {} are not judged",
        crate::verifier::TOKENS_MAX
    )]
    TooLong {
        /// Those of the longer text.
        tokens: usize,
    },
}

/// Numbers that are no vector, or not one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VectorError {
    /// Made by another model, or of another length: similarity would mean nothing.
    #[error("a vector of {found} does not compare with those of {expected}")]
    Version {
        /// What the others are of.
        expected: VectorVersion,
        /// What this one is of.
        found: VectorVersion,
    },
    /// Not as many numbers as the version says.
    #[error("{found} numbers instead of {expected}")]
    Dimension {
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// All zero, infinite or not a number: it points nowhere.
    #[error("the vector has no direction")]
    NoDirection,
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A remote source of vectors that can never work with these settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// Not the address of an HTTP server, or one with a password or a `#` in it.
    #[error("the base URL of the embedding endpoint is not usable")]
    BaseUrl,
    /// It cannot stand in a header.
    #[error("the key of the embedding endpoint has characters that cannot be sent")]
    Key,
    /// Neither Titan's nor Cohere's.
    #[error("the embedding model is neither Titan's nor Cohere's")]
    Model,
    /// No usable TLS.
    #[error("TLS cannot be set up")]
    Tls(#[source] Source),
}

/// A text has no vector. The question is answered without the semantic cache.
#[derive(Debug, Error)]
pub enum EmbedError {
    /// The bundled model does not read it, and never will.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The provider is silent.
    #[error("the embedding endpoint did not answer in time")]
    Timeout,
    /// Too many calls for now.
    #[error("the embedding endpoint asks for a pause")]
    RateLimited {
        /// How long, where it says so; at most an hour.
        retry_after: Option<std::time::Duration>,
    },
    /// Key, address or model are wrong: an operator has to act.
    #[error("the embedding endpoint refuses these settings (status {status})")]
    Refused {
        /// HTTP status.
        status: u16,
    },
    /// It does not accept this text or model, and will not a second time.
    #[error("the embedding endpoint does not accept the request (status {status})")]
    Invalid {
        /// HTTP status.
        status: u16,
    },
    /// Not reachable, or it failed.
    #[error("the embedding endpoint cannot be reached or has failed")]
    Unavailable {
        /// HTTP status, where one came.
        status: Option<u16>,
        /// What failed on the way.
        source: Option<Source>,
    },
    /// What came is not an answer.
    #[error("the embedding endpoint's answer makes no sense: {what}")]
    Garbage {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The numbers that came are no vector of the model that was asked for.
    #[error("the embedding endpoint's numbers are no vector")]
    Vector(#[source] VectorError),
    /// The request cannot be signed.
    #[error("the request to Bedrock cannot be signed")]
    Unsigned {
        /// Why.
        source: Source,
    },
}
