//! How an error turns into what the platform does next.
//!
//! The platform has three reactions: refuse the handshake, try again, or stop and look. What is wrong
//! with a frame is no failure but an answer: an `error` frame.

use std::error::Error;

use lambda_runtime::Diagnostic;
use sparkle_core::frame::ErrorCode;

/// An invocation or a message did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A client may not connect. API Gateway answers 401 to this error message and no other.
    #[error("Unauthorized")]
    Unauthorized,
    /// It may succeed when tried again: a service was slow, busy or away.
    #[error("failed for now")]
    Retry(#[source] Box<dyn Error + Send + Sync>),
    /// It will never succeed: a defect, or input that no release of ours wrote.
    #[error("failed for good")]
    Fatal(#[source] Box<dyn Error + Send + Sync>),
}

impl Failure {
    /// May succeed when tried again.
    pub fn retry(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::Retry(Box::new(cause))
    }

    /// Will never succeed.
    pub fn fatal(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::Fatal(Box::new(cause))
    }

    /// What a waiting client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unauthorized => ErrorCode::Unauthenticated,
            Self::Retry(_) => ErrorCode::Unavailable,
            Self::Fatal(_) => ErrorCode::Internal,
        }
    }
}

/// To the Runtime API. The type is stable, so that alarms can name it; the causes go to the log only.
impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        let error_type = match &failure {
            Failure::Unauthorized => "Unauthorized",
            Failure::Retry(_) => "Retry",
            Failure::Fatal(_) => "Fatal",
        };
        if !matches!(failure, Failure::Unauthorized) {
            tracing::error!(error = causes(&failure), "invocation failed");
        }
        Self {
            error_type: error_type.to_owned(),
            error_message: failure.to_string(),
        }
    }
}

/// An error and its causes in one line, outermost first.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}
