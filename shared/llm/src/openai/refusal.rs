//! What a provider says instead of an answer, or in the middle of one, as an error that tells the
//! caller what to do.
//!
//! Providers agree on the status codes and on little else, so the status decides, then the code or
//! type in the body, and the words only where nothing else tells a long prompt from a bad one.

use std::time::Duration;

use serde_json::Value;

use crate::error::{LlmError, ProviderText};

/// The longest pause that a provider may ask for.
const RETRY_AFTER_MAX_S: u64 = 3600;

/// The error for an HTTP status other than 200. `body` is of any kind.
pub(super) fn from_response(status: u16, retry_after: Option<Duration>, body: &str) -> LlmError {
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::from(body));
    let refusal = Refusal::read(&body);
    refusal.judged(Some(status), retry_after)
}

/// The error that an event of a stream or a JSON body with status 200 holds, if it holds one:
/// `{"error": …}`, or vLLM's `{"object": "error", …}`.
pub(super) fn in_event(event: &Value) -> Option<LlmError> {
    let has_error = event.get("error").is_some_and(|error| !error.is_null());
    if !has_error && event.get("object").and_then(Value::as_str) != Some("error") {
        return None;
    }
    let refusal = Refusal::read(event);
    let status = refusal
        .code
        .parse()
        .ok()
        .filter(|code| (300..600).contains(code));
    Some(refusal.judged(status, None))
}

/// `Retry-After` in seconds. The other form, a date, is rare here and needs a clock: no hint then.
pub(super) fn retry_after(header: &str) -> Option<Duration> {
    let whole = header.trim().split('.').next()?;
    let seconds: u64 = whole.parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_MAX_S)))
}

struct Refusal {
    /// The error's code, else its type; `""` if it has neither.
    code: String,
    message: String,
}

impl Refusal {
    /// From `{"error": {message, type, code}}`, `{"error": "…"}`, `{message, …}` or plain text.
    fn read(body: &Value) -> Self {
        let error = body
            .get("error")
            .filter(|error| !error.is_null())
            .unwrap_or(body);
        let text = |name: &str| match error.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        Self {
            code: text("code").or_else(|| text("type")).unwrap_or_default(),
            message: text("message").unwrap_or_else(|| match error {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }),
        }
    }

    fn judged(&self, status: Option<u16>, retry_after: Option<Duration>) -> LlmError {
        let said = ProviderText::new(&self.message);
        let is_about_prompt = matches!(status, None | Some(400 | 413 | 422));
        if is_about_prompt && self.is_about_length() {
            return LlmError::TooLong { said };
        }
        if is_about_prompt && self.is_from_filter() {
            return LlmError::Blocked { said };
        }
        // OpenAI says 429 where the money is gone, which no pause brings back.
        if self.code == "insufficient_quota" {
            return LlmError::Refused {
                status: status.unwrap_or_default(),
                said,
            };
        }
        match status {
            Some(429) => LlmError::RateLimited { retry_after, said },
            Some(status @ (300..=399 | 401..=405)) => LlmError::Refused { status, said },
            // A gateway gave up on a provider that may have answered all the same.
            Some(504 | 524) => LlmError::Cut { source: None },
            Some(408 | 409 | 425) => LlmError::Unavailable { said, source: None },
            Some(400..=499) => LlmError::Invalid { said },
            Some(_) => LlmError::Unavailable { said, source: None },
            None if self.code.contains("rate_limit") => LlmError::RateLimited { retry_after, said },
            None if self.code.contains("authentication") || self.code.contains("permission") => {
                LlmError::Refused { status: 0, said }
            }
            None if self.code.contains("invalid_request") || self.code == "BadRequestError" => {
                LlmError::Invalid { said }
            }
            None => LlmError::Unavailable { said, source: None },
        }
    }

    fn is_about_length(&self) -> bool {
        let message = self.message.to_lowercase();
        self.code == "context_length_exceeded"
            || [
                "context length",
                "context window",
                "context size",
                "prompt is too long",
            ]
            .iter()
            .any(|words| message.contains(words))
    }

    /// Azure's `content_filter`, OpenAI's `content_policy_violation`, `DashScope`'s
    /// `data_inspection_failed`.
    fn is_from_filter(&self) -> bool {
        matches!(
            self.code.as_str(),
            "content_filter" | "content_policy_violation" | "data_inspection_failed"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_what_the_caller_can_do() {
        let kind = |status, body: &str| from_response(status, None, body).kind();
        assert_eq!(kind(302, ""), "refused");
        assert_eq!(
            kind(
                400,
                r#"{"error":{"message":"bad","type":"invalid_request_error"}}"#
            ),
            "invalid"
        );
        assert_eq!(
            kind(
                400,
                r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#
            ),
            "too_long"
        );
        assert_eq!(
            kind(
                400,
                r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","code":400}"#
            ),
            "too_long"
        );
        assert_eq!(
            kind(400, r#"{"error":{"message":"x","code":"content_filter"}}"#),
            "blocked"
        );
        assert_eq!(kind(401, "no"), "refused");
        assert_eq!(
            kind(402, r#"{"error":{"message":"Insufficient Balance"}}"#),
            "refused"
        );
        assert_eq!(kind(403, ""), "refused");
        assert_eq!(kind(404, "<html>"), "refused");
        assert_eq!(kind(408, ""), "unavailable");
        assert_eq!(kind(418, ""), "invalid");
        assert_eq!(kind(422, "[1,2]"), "invalid");
        assert_eq!(
            kind(
                429,
                r#"{"error":{"message":"slow","code":"rate_limit_exceeded"}}"#
            ),
            "rate_limited"
        );
        assert_eq!(
            kind(
                429,
                r#"{"error":{"message":"pay","code":"insufficient_quota"}}"#
            ),
            "refused"
        );
        assert_eq!(kind(500, "null"), "unavailable");
        assert_eq!(kind(503, ""), "unavailable");
        assert_eq!(kind(204, ""), "unavailable");
    }

    #[test]
    fn an_error_inside_a_stream_is_found_and_judged() {
        let kind = |event: &str| {
            in_event(&serde_json::from_str(event).expect("JSON")).map(|error| error.kind())
        };
        assert_eq!(kind(r#"{"choices":[],"error":null}"#), None);
        assert_eq!(
            kind(r#"{"error":{"message":"x","type":"server_error"}}"#),
            Some("unavailable")
        );
        assert_eq!(
            kind(r#"{"error":{"message":"x","code":429}}"#),
            Some("rate_limited")
        );
        assert_eq!(
            kind(r#"{"error":{"message":"x","code":"rate_limit_exceeded"}}"#),
            Some("rate_limited")
        );
        assert_eq!(kind(r#"{"error":"overloaded"}"#), Some("unavailable"));
        assert_eq!(
            kind(r#"{"object":"error","message":"bad","code":400}"#),
            Some("invalid")
        );
        assert_eq!(kind(r#"{"error":{"code":401}}"#), Some("refused"));
    }

    #[test]
    fn a_pause_is_read_in_seconds_and_bounded() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(" 1.5 "), Some(Duration::from_secs(1)));
        assert_eq!(retry_after("99999999"), Some(Duration::from_hours(1)));
        assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(retry_after("-1"), None);
    }

    #[test]
    fn the_providers_words_are_kept_but_not_shown() {
        let long = format!(
            r#"{{"error":{{"message":"secret\n{}"}}}}"#,
            "很".repeat(600)
        );
        let error = from_response(500, None, &long);
        assert!(!format!("{error} {error:?}").contains("secret"));
        let LlmError::Unavailable { said, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(said.as_str().chars().count(), 500);
        assert!(said.as_str().starts_with("secret很"));
    }
}
