//! Hides the HTTP face of the Lambda Runtime API that one process talks to.
//!
//! Each process has a listener of its own, so that `AWS_LAMBDA_RUNTIME_API` is `host:port` as on
//! Lambda and a call needs no further identity. The protocol's states are in `instance`.

use std::{io, net::SocketAddr};

use axum::serve::ListenerExt;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// Largest answer of a function, in bytes (Lambda quotas, synchronous invocation).
pub(super) const RESPONSE_BYTES_MAX: usize = 6_291_556;
/// How much of an answer is read at all: one that is a little too large must not cost the
/// connection, and with it the process.
const BODY_BYTES_MAX: usize = 4 * RESPONSE_BYTES_MAX;
/// The process waits for each call's answer, so more than a few calls never queue.
const CALLS_MAX: usize = 16;

/// What a process says.
#[derive(Debug)]
pub(super) enum Call {
    /// It is ready for an event. Without one it waits; dropping the sender refuses the call.
    Next(oneshot::Sender<Work>),
    /// It has dealt with its event. Dropping the sender refuses the call.
    Finished {
        request_id: String,
        outcome: Outcome,
        accepted: oneshot::Sender<()>,
    },
    /// It cannot start.
    InitError(Bytes),
}

/// How an event was dealt with.
#[derive(Debug)]
pub(super) enum Outcome {
    Response(Bytes),
    Error(Bytes),
    TooLarge,
}

/// One event for a process.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) request_id: String,
    pub(super) deadline_unix_ms: u128,
    pub(super) function_arn: String,
    pub(super) trace_header: String,
    pub(super) event: Bytes,
}

/// A process's Runtime API. Dropping it closes the listener.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    pub(super) address: SocketAddr,
    pub(super) calls: mpsc::Receiver<Call>,
    _server: JoinSet<()>,
}

impl RuntimeApi {
    pub(super) async fn listen() -> io::Result<RuntimeApi> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (sender, calls) = mpsc::channel(CALLS_MAX);
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{request_id}/response",
                post(response),
            )
            .route(
                "/2018-06-01/runtime/invocation/{request_id}/error",
                post(error),
            )
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(sender);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "a function's runtime api ended");
            }
        });
        Ok(RuntimeApi {
            address,
            calls,
            _server: server,
        })
    }
}

type Calls = State<mpsc::Sender<Call>>;

async fn next(State(calls): Calls) -> Response {
    let (sender, work) = oneshot::channel();
    if calls.send(Call::Next(sender)).await.is_err() {
        return refused(StatusCode::GONE, "InstanceEnded", "this instance has ended");
    }
    match work.await {
        Ok(work) => work.into_response(),
        Err(_) => refused(
            StatusCode::FORBIDDEN,
            "InvalidStateTransition",
            "the instance is ending, or its last event is still open",
        ),
    }
}

async fn response(
    calls: Calls,
    request_id: Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    finished(
        calls,
        request_id,
        body.map(|body| outcome(body, Outcome::Response)),
    )
    .await
}

async fn error(
    calls: Calls,
    request_id: Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    finished(
        calls,
        request_id,
        body.map(|body| outcome(body, Outcome::Error)),
    )
    .await
}

fn outcome(body: Bytes, as_what: impl FnOnce(Bytes) -> Outcome) -> Outcome {
    match body.len() {
        ..=RESPONSE_BYTES_MAX => as_what(body),
        _ => Outcome::TooLarge,
    }
}

async fn finished(
    State(calls): Calls,
    Path(request_id): Path<String>,
    outcome: Result<Outcome, BytesRejection>,
) -> Response {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Outcome::TooLarge,
        // The body was cut: the process died, and its exit says more.
        Err(rejection) => return rejection.into_response(),
    };
    let answer = match &outcome {
        Outcome::TooLarge => {
            let message = format!("the response is over {RESPONSE_BYTES_MAX} bytes");
            refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                &message,
            )
        }
        Outcome::Response(_) | Outcome::Error(_) => accepted(),
    };
    let (sender, taken) = oneshot::channel();
    let call = Call::Finished {
        request_id,
        outcome,
        accepted: sender,
    };
    if calls.send(call).await.is_err() || taken.await.is_err() {
        return refused(
            StatusCode::BAD_REQUEST,
            "InvalidRequestID",
            "no such event is open",
        );
    }
    answer
}

async fn init_error(State(calls): Calls, body: Bytes) -> Response {
    if calls.send(Call::InitError(body)).await.is_err() {
        return refused(StatusCode::GONE, "InstanceEnded", "this instance has ended");
    }
    accepted()
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "status": "OK" }))).into_response()
}

fn refused(status: StatusCode, kind: &str, message: &str) -> Response {
    (
        status,
        Json(json!({ "errorType": kind, "errorMessage": message })),
    )
        .into_response()
}

impl IntoResponse for Work {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &str| {
            // A value that no header can carry (a caller's odd trace header) is left out.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("content-type", "application/json");
        set("lambda-runtime-aws-request-id", &self.request_id);
        set(
            "lambda-runtime-deadline-ms",
            &self.deadline_unix_ms.to_string(),
        );
        set("lambda-runtime-invoked-function-arn", &self.function_arn);
        set("lambda-runtime-trace-id", &self.trace_header);
        (headers, self.event).into_response()
    }
}
