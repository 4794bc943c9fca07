//! The JSON events that functions receive, as API Gateway builds them.
//!
//! Shapes follow events that were logged from real APIs: the members of `requestContext`, headers
//! only on `$connect` and `$disconnect`, and on `$disconnect` the four that are left of them.

use axum::extract::{Query, Request};
use axum::http::{HeaderMap, HeaderName, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::clock::{self, Clock};
use crate::listen::SentNames;

/// API Gateway's id for the one API there is here.
pub(super) const API_ID: &str = "local";

/// What stays the same in every event of one connection.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) connection_id: String,
    /// Unix time in milliseconds.
    pub(super) connected_at_ms: u64,
    pub(super) source_ip: String,
    pub(super) user_agent: Option<String>,
    pub(super) stage: String,
    /// The `Host` header's value, port included: where `@connections` is reached.
    domain_name: String,
}

/// What only the upgrade request has: needed by the authorizer and `$connect`, then dropped.
#[derive(Debug)]
pub(super) struct Upgrade {
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    /// The value of the request's `X-Amzn-Trace-Id`, its own or a new one.
    pub(super) trace_header: String,
}

/// A message of a client.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inbound<'a> {
    /// What a real API carries.
    Text(&'a str),
    /// Only with [`super::BinaryFrames::Carry`].
    Binary(&'a [u8]),
}

impl Inbound<'_> {
    /// Its size in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// One event's own id and time.
#[derive(Debug)]
pub(super) struct Stamp {
    pub(super) request_id: String,
    at_ms: u64,
}

impl Stamp {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            request_id: clock.id(),
            at_ms: clock.now_ms(),
        }
    }
}

/// Reads an upgrade request. Header values that are not UTF-8 are shown with U+FFFD.
pub(super) fn open(
    request: &Request,
    source_ip: String,
    stage: &str,
    clock: &Clock,
) -> (Opening, Upgrade) {
    let text = |name: HeaderName| request.headers().get(name).map(|v| lossy(v.as_bytes()));
    let domain_name = text(header::HOST).unwrap_or_else(|| "localhost".to_owned());
    let port = domain_name
        .rsplit_once(':')
        .map_or("80", |(_, port)| port)
        .to_owned();
    let trace_name = HeaderName::from_static("x-amzn-trace-id");
    let trace_header = text(trace_name.clone()).unwrap_or_else(|| clock.trace_header());

    let mut headers = shown(request.headers(), request.extensions().get());
    let left_out = [
        "connection",
        "upgrade",
        "content-length",
        trace_name.as_str(),
    ];
    headers.retain(|(name, _)| !left_out.iter().any(|out| name.eq_ignore_ascii_case(out)));
    headers.push(("X-Amzn-Trace-Id".to_owned(), trace_header.clone()));
    headers.push(("X-Forwarded-For".to_owned(), source_ip.clone()));
    headers.push(("X-Forwarded-Port".to_owned(), port));
    headers.push(("X-Forwarded-Proto".to_owned(), "http".to_owned()));

    let opening = Opening {
        connection_id: clock.id(),
        connected_at_ms: clock.now_ms(),
        source_ip,
        user_agent: text(header::USER_AGENT),
        stage: stage.to_owned(),
        domain_name,
    };
    (
        opening,
        Upgrade {
            headers,
            query: query(request.uri()),
            trace_header,
        },
    )
}

/// What the IAM policy of an authorizer must allow.
pub(super) fn method_arn(stage: &str) -> String {
    format!("arn:aws:execute-api:us-east-1:000000000000:{API_ID}/{stage}/$connect")
}

/// The event of a REQUEST authorizer, as its page shows one
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html>):
/// unlike `$connect`'s it has the headers of the upgrade itself, in this writing. That the query
/// members are empty objects where there is no query is unconfirmed.
pub(super) fn authorizer(opening: &Opening, upgrade: &Upgrade, stamp: &Stamp) -> Value {
    let of_upgrade = [
        ("Connection", "upgrade"),
        ("content-length", "0"),
        ("Upgrade", "websocket"),
    ];
    let mut headers = upgrade.headers.clone();
    headers.extend(of_upgrade.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut event = opened(opening, &headers, &upgrade.query, stamp, None);
    event.insert("type".to_owned(), json!("REQUEST"));
    event.insert("methodArn".to_owned(), json!(method_arn(&opening.stage)));
    event.insert("stageVariables".to_owned(), json!({}));
    for name in ["queryStringParameters", "multiValueQueryStringParameters"] {
        event.entry(name).or_insert_with(|| json!({}));
    }
    Value::Object(event)
}

/// The event of `$connect`, whose headers lack those of the upgrade itself, as logged from real APIs
/// (<https://github.com/aws/aws-lambda-java-libs/issues/71>,
/// <https://github.com/mousabaker/aws-lambda-typing/pull/65>). Without a query there are no query members, as in the real one.
pub(super) fn connect(
    opening: &Opening,
    upgrade: &Upgrade,
    stamp: &Stamp,
    authorizer: Option<&Map<String, Value>>,
) -> Value {
    let mut event = opened(opening, &upgrade.headers, &upgrade.query, stamp, authorizer);
    event.insert("isBase64Encoded".to_owned(), json!(false));
    Value::Object(event)
}

/// What the two events of an upgrade have in common.
fn opened(
    opening: &Opening,
    headers: &[(String, String)],
    query: &[(String, String)],
    stamp: &Stamp,
    authorizer: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let context = context(opening, stamp, "$connect", "CONNECT", authorizer);
    let mut event = Map::new();
    event.insert("headers".to_owned(), last_values(headers));
    event.insert("multiValueHeaders".to_owned(), all_values(headers));
    event.insert("requestContext".to_owned(), Value::Object(context));
    if !query.is_empty() {
        let (last, all) = (last_values(query), all_values(query));
        event.insert("queryStringParameters".to_owned(), last);
        event.insert("multiValueQueryStringParameters".to_owned(), all);
    }
    event
}

/// The event of a message that took `route_key`.
pub(super) fn message(
    opening: &Opening,
    stamp: &Stamp,
    authorizer: Option<&Map<String, Value>>,
    route_key: &str,
    message_id: &str,
    message: Inbound<'_>,
) -> Value {
    let mut context = context(opening, stamp, route_key, "MESSAGE", authorizer);
    context.insert("messageId".to_owned(), json!(message_id));
    let (body, is_base64) = match message {
        Inbound::Text(text) => (json!(text), false),
        Inbound::Binary(bytes) => (json!(STANDARD.encode(bytes)), true),
    };
    json!({ "requestContext": context, "body": body, "isBase64Encoded": is_base64 })
}

/// The event of `$disconnect`; `status` is a WebSocket close code.
pub(super) fn disconnect(
    opening: &Opening,
    stamp: &Stamp,
    authorizer: Option<&Map<String, Value>>,
    status: u16,
    reason: &str,
) -> Value {
    let mut context = context(opening, stamp, "$disconnect", "DISCONNECT", authorizer);
    context.insert("disconnectStatusCode".to_owned(), json!(status));
    context.insert("disconnectReason".to_owned(), json!(reason));
    let host = &opening.domain_name;
    json!({
        "headers":
            { "Host": host, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": "" },
        "multiValueHeaders":
            { "Host": [host], "x-api-key": [""], "X-Forwarded-For": [""], "x-restapi": [""] },
        "requestContext": context,
        "isBase64Encoded": false,
    })
}

/// A frame that the gateway itself sends to a client, spaced as the real one. No page of AWS's
/// describes it: the form is that of logged ones, and which message goes with which failure is
/// unconfirmed but for `Internal server error` and `Endpoint request timed out`.
pub(super) fn error_frame(message: &str, connection_id: &str, request_id: &str) -> String {
    let (message, connection_id, request_id) =
        (json!(message), json!(connection_id), json!(request_id));
    format!(r#"{{"message": {message}, "connectionId":{connection_id}, "requestId":{request_id}}}"#)
}

fn context(
    opening: &Opening,
    stamp: &Stamp,
    route_key: &str,
    event_type: &str,
    authorizer: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut identity = Map::new();
    identity.insert("sourceIp".to_owned(), json!(opening.source_ip));
    if let Some(user_agent) = &opening.user_agent {
        identity.insert("userAgent".to_owned(), json!(user_agent));
    }
    let context = json!({
        "routeKey": route_key,
        "eventType": event_type,
        "extendedRequestId": stamp.request_id,
        "requestTime": clock::request_time(stamp.at_ms),
        "messageDirection": "IN",
        "stage": opening.stage,
        "connectedAt": opening.connected_at_ms,
        "requestTimeEpoch": stamp.at_ms,
        "identity": identity,
        "requestId": stamp.request_id,
        "domainName": opening.domain_name,
        "connectionId": opening.connection_id,
        "apiId": API_ID,
    });
    let mut context = match context {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    if let Some(authorizer) = authorizer {
        context.insert("authorizer".to_owned(), Value::Object(authorizer.clone()));
    }
    context
}

/// Headers under the names that the client sent them with or, where those are not known, that most
/// clients write: hyper hands them over in lower case.
fn shown(headers: &HeaderMap, sent: Option<&SentNames>) -> Vec<(String, String)> {
    let shown = |name: &HeaderName| {
        let sent = sent.and_then(|sent| sent.find(name.as_str()));
        sent.map_or_else(|| capitalized(name), str::to_owned)
    };
    headers
        .iter()
        .map(|(name, value)| (shown(name), lossy(value.as_bytes())))
        .collect()
}

fn capitalized(name: &HeaderName) -> String {
    let capitalize = |word: &str| -> String {
        if word == "websocket" {
            return "WebSocket".to_owned();
        }
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect()
    };
    name.as_str()
        .split('-')
        .map(capitalize)
        .collect::<Vec<String>>()
        .join("-")
}

fn query(uri: &Uri) -> Vec<(String, String)> {
    Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map(|Query(pairs)| pairs)
        .unwrap_or_default()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn last_values(pairs: &[(String, String)]) -> Value {
    pairs
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect::<Map<_, _>>()
        .into()
}

fn all_values(pairs: &[(String, String)]) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for (name, value) in pairs {
        let values = all.entry(name.clone()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(json!(value));
        }
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn opened(uri: &str) -> (Opening, Upgrade) {
        let request = axum::http::Request::builder()
            .uri(uri)
            .header("host", "127.0.0.1:3000")
            .header("user-agent", "probe/1")
            .header("sec-websocket-key", "k")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        let request = request.body(Body::empty()).unwrap();
        open(&request, "10.0.0.9".to_owned(), "dev", &Clock::new())
    }

    #[tokio::test]
    async fn the_authorizer_event_has_the_documented_members() {
        let (opening, upgrade) = opened("/?token=a%20b&x=1&x=2");
        let event = authorizer(&opening, &upgrade, &Stamp::new(&Clock::new()));
        assert_eq!(event["type"], "REQUEST");
        assert_eq!(
            event["methodArn"],
            "arn:aws:execute-api:us-east-1:000000000000:local/dev/$connect"
        );
        assert_eq!(event["headers"]["Host"], "127.0.0.1:3000");
        assert_eq!(event["headers"]["Sec-WebSocket-Key"], "k");
        assert_eq!(event["headers"]["Cookie"], "b=2");
        assert_eq!(event["multiValueHeaders"]["Cookie"], json!(["a=1", "b=2"]));
        assert_eq!(event["headers"]["X-Forwarded-For"], "10.0.0.9");
        assert_eq!(event["headers"]["X-Forwarded-Port"], "3000");
        assert_eq!(event["headers"]["Connection"], "upgrade");
        assert_eq!(event["multiValueHeaders"]["content-length"], json!(["0"]));
        assert_eq!(
            event["queryStringParameters"],
            json!({ "token": "a b", "x": "2" })
        );
        assert_eq!(
            event["multiValueQueryStringParameters"]["x"],
            json!(["1", "2"])
        );
        assert_eq!(event["stageVariables"], json!({}));
        let context = &event["requestContext"];
        assert_eq!(context["routeKey"], "$connect");
        assert_eq!(context["eventType"], "CONNECT");
        assert_eq!(context["messageDirection"], "IN");
        assert_eq!(
            context["identity"],
            json!({ "sourceIp": "10.0.0.9", "userAgent": "probe/1" })
        );
        assert_eq!(context["domainName"], "127.0.0.1:3000");
        assert_eq!(context["connectionId"], json!(opening.connection_id));
        assert_eq!(context["apiId"], "local");
        assert_eq!(context["connectedAt"], json!(opening.connected_at_ms));
        assert_eq!(context["requestId"], context["extendedRequestId"]);
    }

    #[tokio::test]
    async fn connect_without_a_query_has_no_query_members() {
        let (opening, upgrade) = opened("/");
        let event = connect(&opening, &upgrade, &Stamp::new(&Clock::new()), None);
        assert!(event.get("queryStringParameters").is_none());
        assert!(event["requestContext"].get("authorizer").is_none());
    }

    #[tokio::test]
    async fn message_and_disconnect_carry_their_own_members() {
        let (opening, _) = opened("/");
        let mut authorizer = Map::new();
        authorizer.insert("principalId".to_owned(), json!("u1"));
        let stamp = Stamp::new(&Clock::new());
        let sent = message(
            &opening,
            &stamp,
            Some(&authorizer),
            "$default",
            "m1",
            Inbound::Text("你好"),
        );
        assert_eq!(sent["body"], "你好");
        assert_eq!(sent["requestContext"]["messageId"], "m1");
        assert_eq!(sent["requestContext"]["authorizer"]["principalId"], "u1");
        assert!(sent.get("headers").is_none());
        let gone = disconnect(&opening, &stamp, Some(&authorizer), 1001, "Going away");
        assert_eq!(gone["requestContext"]["disconnectStatusCode"], 1001);
        assert_eq!(gone["requestContext"]["disconnectReason"], "Going away");
        assert_eq!(gone["headers"]["x-restapi"], "");
    }

    #[test]
    fn an_error_frame_is_spaced_as_the_real_one() {
        assert_eq!(
            error_frame("Internal server error", "a=", "b="),
            r#"{"message": "Internal server error", "connectionId":"a=", "requestId":"b="}"#
        );
    }
}
