//! What a client is told that went wrong.

use std::time::Duration;

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

impl ErrorBody {
    /// With how long to wait, in whole milliseconds and at least one.
    #[must_use]
    pub fn retry_in(self, span: Duration) -> Self {
        let retry_after_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..self
        }
    }
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
