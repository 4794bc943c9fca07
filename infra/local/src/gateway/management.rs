//! `@connections`: what a backend does to an open connection from outside.
//!
//! Answers and errors have the form that the AWS SDKs read: an `x-amzn-ErrorType` header and a
//! JSON `message`. Signatures are not checked, only that there is one.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::connection::{Connection, Pushed};
use super::refusal::Refusal;
use super::{Gateway, clock};

/// API Gateway's payload limit: what is over the limit of a message is still read up to here, so
/// that the client gets to read its 413.
const DISCARDED_BYTES_MAX: usize = 10 * 1024 * 1024;

/// What is not even of the form of an id. That real APIs tell it from an unknown one is reported
/// (<https://github.com/localstack/localstack/issues/4694>).
const MALFORMED: Refusal = Refusal::new(
    StatusCode::BAD_REQUEST,
    "BadRequestException",
    "Invalid connectionId",
);
const GONE: Refusal = Refusal::new(StatusCode::GONE, "GoneException", "Gone");
const TOO_LARGE: Refusal = Refusal::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "PayloadTooLargeException",
    "Payload too large",
);
const LIMIT_EXCEEDED: Refusal = Refusal::new(
    StatusCode::TOO_MANY_REQUESTS,
    "LimitExceededException",
    "Too Many Requests",
);
const UNSIGNED: Refusal = Refusal::new(
    StatusCode::FORBIDDEN,
    "MissingAuthenticationTokenException",
    "Missing Authentication Token",
);
const BODY_TIMED_OUT: Refusal = Refusal::new(
    StatusCode::REQUEST_TIMEOUT,
    "RequestTimeoutException",
    "Request timed out",
);

/// Which connection, as the path says it: with the stage, or without as behind a custom domain.
#[derive(Deserialize)]
struct Target {
    stage: Option<String>,
    id: String,
}

/// The routes of `@connections`.
pub(super) fn router(gateway: Gateway) -> Router {
    let methods = || get(manage).post(manage).delete(manage);
    Router::new()
        .route("/@connections/{id}", methods())
        .route("/{stage}/@connections/{id}", methods())
        .with_state(gateway)
}

async fn manage(
    State(gateway): State<Gateway>,
    Path(target): Path<Target>,
    request: Request,
) -> Response {
    let answer = answer(&gateway, &target, request).await;
    answer.unwrap_or_else(|refusal| refusal.answer(&gateway.clock().id()))
}

async fn answer(gateway: &Gateway, target: &Target, request: Request) -> Result<Response, Refusal> {
    let query = request.uri().query().unwrap_or_default();
    if !request.headers().contains_key(header::AUTHORIZATION) && !query.contains("X-Amz-Signature=")
    {
        return Err(UNSIGNED);
    }
    if target
        .stage
        .as_deref()
        .is_some_and(|stage| stage != gateway.stage())
    {
        return Err(Refusal::FORBIDDEN);
    }
    if !gateway.0.requests.take() {
        return Err(LIMIT_EXCEEDED);
    }
    if URL_SAFE.decode(&target.id).is_err() {
        return Err(MALFORMED);
    }
    let method = request.method().clone();
    if method == Method::POST {
        let limits = gateway.limits();
        let data = read(request.into_body(), limits.message_bytes_max);
        let data = timeout(limits.handshake_timeout, data).await;
        let data = data.map_err(|_elapsed| BODY_TIMED_OUT)??;
        // Looked up after the body was read: the connection may have gone meanwhile.
        return post(gateway.connection(&target.id).ok_or(GONE)?.as_ref(), data);
    }
    let connection = gateway.connection(&target.id).ok_or(GONE)?;
    if method == Method::DELETE {
        // Its close frame, 1000 after all that was posted before, is unconfirmed.
        connection.delete();
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(inspect(&connection))
}

/// A message is text; what is not UTF-8 in it arrives as U+FFFD (unconfirmed: no page of AWS's says
/// what becomes of such bytes).
fn post(connection: &Connection, data: Bytes) -> Result<Response, Refusal> {
    let text = match std::str::from_utf8(&data) {
        Ok(_) => data,
        Err(_) => String::from_utf8_lossy(&data).into_owned().into(),
    };
    match connection.push(text) {
        Pushed::Queued => Ok(StatusCode::OK.into_response()),
        Pushed::Full => Err(LIMIT_EXCEEDED),
        Pushed::Gone => Err(GONE),
    }
}

fn inspect(connection: &Connection) -> Response {
    let opening = &connection.opening;
    let body = json!({
        "connectedAt": clock::iso_8601(opening.connected_at_ms),
        "identity": {
            "sourceIp": opening.source_ip,
            "userAgent": opening.user_agent.as_deref().unwrap_or_default(),
        },
        "lastActiveAt": clock::iso_8601(connection.last_active_ms()),
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

/// A body of up to `bytes_max`. A larger one is read to its end, and dropped.
async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let mut body = body.into_data_stream();
    let (mut data, mut bytes) = (Vec::new(), 0_usize);
    while let Some(chunk) = body.next().await {
        // The client broke off; nobody will read this answer.
        let Ok(chunk) = chunk else {
            return Err(BODY_TIMED_OUT);
        };
        bytes = bytes.saturating_add(chunk.len());
        if bytes > DISCARDED_BYTES_MAX {
            break;
        }
        if bytes > bytes_max {
            data = Vec::new();
        } else {
            data.extend_from_slice(&chunk);
        }
    }
    if bytes > bytes_max {
        Err(TOO_LARGE)
    } else {
        Ok(data.into())
    }
}
