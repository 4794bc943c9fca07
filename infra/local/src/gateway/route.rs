//! Which route a message takes, and what a route's function answered.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The route of an upgrade.
pub(super) const CONNECT: &str = "$connect";
/// The route of a connection's end.
pub(super) const DISCONNECT: &str = "$disconnect";
/// The route that takes what no other does.
pub(super) const DEFAULT: &str = "$default";

/// The key that `expression` (`$request.body.<path>`) selects from a message, if it selects one.
///
/// The selected value is stringified. Unconfirmed is what the real one does with the last three of
/// these, for which this takes the side that reaches a function. A body that is not JSON, a path that leads nowhere, and a
/// value that has no text (`null`, an object, an array) select nothing, which means `$default`.
/// So does a key that starts with `$`: a message never reaches `$connect` or `$disconnect`.
pub(super) fn key(expression: &str, body: &str) -> Option<String> {
    let path = expression
        .trim()
        .trim_start_matches("${")
        .trim_end_matches('}');
    let path = path.trim_start_matches('$').strip_prefix("request.body.")?;
    let body: Value = serde_json::from_str(body).ok()?;
    let selected = path
        .split('.')
        .try_fold(&body, |value, name| value.get(name))?;
    let key = match selected {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!key.starts_with('$')).then_some(key)
}

/// What a function behind a proxy integration answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProxyAnswer {
    /// HTTP status, 100 to 599.
    pub(super) status: u16,
    /// The value of the answer's `Sec-WebSocket-Protocol` header.
    pub(super) protocol: Option<String>,
}

/// The members API Gateway knows. One more and the answer is malformed: a function that returned
/// `{"statusCode":200,"Data":…}` had "Internal server error" sent to its client
/// (<https://github.com/middyjs/middy/issues/1219>).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "without route responses a body goes nowhere, but must be a string"
)]
struct Members {
    #[serde(deserialize_with = "status")]
    status_code: u16,
    headers: Option<HashMap<String, Value>>,
    multi_value_headers: Option<HashMap<String, Vec<Value>>>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

/// A status may come as a number or as its digits.
fn status<'de, D: Deserializer<'de>>(value: D) -> Result<u16, D::Error> {
    let status = match Value::deserialize(value)? {
        Value::String(digits) => digits.parse().ok(),
        Value::Number(number) => number
            .as_u64()
            .and_then(|number| u16::try_from(number).ok()),
        _ => None,
    };
    status
        .filter(|status| (100..=599).contains(status))
        .ok_or_else(|| serde::de::Error::custom("not an HTTP status"))
}

/// Reads a proxy integration's answer; `None` if API Gateway would call it malformed.
pub(super) fn proxy_answer(answer: &[u8]) -> Option<ProxyAnswer> {
    let members: Members = serde_json::from_slice(answer).ok()?;
    let is_protocol = |name: &str| name.eq_ignore_ascii_case("sec-websocket-protocol");
    let single = members
        .headers
        .iter()
        .flatten()
        .find(|(name, _)| is_protocol(name));
    let multiple = members.multi_value_headers.iter().flatten();
    let protocol = single
        .map(|(_, value)| value)
        .or_else(|| {
            multiple
                .filter(|(name, _)| is_protocol(name))
                .find_map(|(_, all)| all.first())
        })
        .and_then(Value::as_str)
        .map(str::to_owned);
    Some(ProxyAnswer {
        status: members.status_code,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_key_is_the_stringified_value_at_the_path() {
        let by_type = |body: &str| key("$request.body.type", body);
        assert_eq!(by_type(r#"{"type":"quota"}"#).as_deref(), Some("quota"));
        assert_eq!(by_type(r#"{"type":7}"#).as_deref(), Some("7"));
        assert_eq!(by_type(r#"{"type":true}"#).as_deref(), Some("true"));
        let deep = key("${request.body.a.b}", r#"{"a":{"b":"x"}}"#);
        assert_eq!(deep.as_deref(), Some("x"));
    }

    #[test]
    fn what_selects_nothing_is_left_to_default() {
        for body in [
            "",
            "text",
            "{",
            "[]",
            "7",
            "{}",
            r#"{"type":null}"#,
            r#"{"type":{}}"#,
        ] {
            assert_eq!(key("$request.body.type", body), None, "{body}");
        }
        for reserved in ["$connect", "$disconnect", "$default"] {
            let body = format!(r#"{{"type":"{reserved}"}}"#);
            assert_eq!(key("$request.body.type", &body), None);
        }
        assert_eq!(key("$request.header.type", r#"{"type":"x"}"#), None);
        assert_eq!(
            key("$request.body.type", &"[".repeat(100_000)),
            None,
            "deep nesting"
        );
    }

    #[test]
    fn a_proxy_answer_has_a_status_and_only_known_members() {
        let status = |answer: &str| proxy_answer(answer.as_bytes()).map(|answer| answer.status);
        assert_eq!(status(r#"{"statusCode":200}"#), Some(200));
        assert_eq!(status(r#"{"statusCode":"403","body":"no"}"#), Some(403));
        let full = r#"{"statusCode":200,"headers":{},"multiValueHeaders":{},"body":null,"isBase64Encoded":false}"#;
        assert_eq!(status(full), Some(200));
        for malformed in [
            "",
            "null",
            "{}",
            "\"ok\"",
            r#"{"statusCode":200,"Data":"x"}"#,
            r#"{"statusCode":99}"#,
            r#"{"statusCode":200,"body":{}}"#,
            r#"{"statusCode":-1}"#,
            r#"{"statusCode":"ok"}"#,
        ] {
            assert_eq!(status(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn a_subprotocol_is_found_in_either_kind_of_headers() {
        let protocol = |answer: &str| proxy_answer(answer.as_bytes()).and_then(|a| a.protocol);
        let single = r#"{"statusCode":200,"headers":{"sec-websocket-protocol":"chat"}}"#;
        assert_eq!(protocol(single).as_deref(), Some("chat"));
        let multiple =
            r#"{"statusCode":200,"multiValueHeaders":{"Sec-WebSocket-Protocol":["v2","v1"]}}"#;
        assert_eq!(protocol(multiple).as_deref(), Some("v2"));
    }
}
