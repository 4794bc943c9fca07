//! How the gateway refuses an HTTP request: status, `x-amzn-ErrorType` and a JSON message, which is
//! what the AWS SDKs tell errors apart by.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    error_type: &'static str,
    pub(super) message: &'static str,
}

impl Refusal {
    pub(super) const UNAUTHORIZED: Self = Self::new(
        StatusCode::UNAUTHORIZED,
        "UnauthorizedException",
        "Unauthorized",
    );
    pub(super) const FORBIDDEN: Self =
        Self::new(StatusCode::FORBIDDEN, "ForbiddenException", "Forbidden");
    pub(super) const TOO_MANY_REQUESTS: Self = Self::new(
        StatusCode::TOO_MANY_REQUESTS,
        "TooManyRequestsException",
        "Too Many Requests",
    );
    pub(super) const INTERNAL: Self = Self::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalServerErrorException",
        "Internal server error",
    );
    pub(super) const BAD_GATEWAY: Self = Self {
        status: StatusCode::BAD_GATEWAY,
        ..Self::INTERNAL
    };
    pub(super) const UNAVAILABLE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "ServiceUnavailableException",
        "Service Unavailable",
    );
    /// Its message is an error frame's too: `{"message": "Endpoint request timed out", …}` is what
    /// clients of real APIs have been written to ignore.
    pub(super) const TIMED_OUT: Self = Self::new(
        StatusCode::GATEWAY_TIMEOUT,
        "GatewayTimeoutException",
        "Endpoint request timed out",
    );

    pub(super) const fn new(
        status: StatusCode,
        error_type: &'static str,
        message: &'static str,
    ) -> Self {
        Self {
            status,
            error_type,
            message,
        }
    }

    /// What an authorizer's policy that does not allow is answered with.
    pub(super) const fn denied(message: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, ACCESS_DENIED, message)
    }

    /// The response, with `request_id` in its headers.
    pub(super) fn answer(&self, request_id: &str) -> Response {
        // Observed on real APIs: a denied request's message alone has a capital M.
        let name = if self.error_type == ACCESS_DENIED {
            "Message"
        } else {
            "message"
        };
        let headers = [
            ("content-type", "application/json"),
            ("x-amzn-errortype", self.error_type),
            ("x-amzn-requestid", request_id),
        ];
        (
            self.status,
            headers,
            json!({ name: self.message }).to_string(),
        )
            .into_response()
    }
}

const ACCESS_DENIED: &str = "AccessDeniedException";
