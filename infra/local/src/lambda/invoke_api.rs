//! Hides the HTTP face of Lambda's Invoke API, as the AWS SDKs and the AWS CLI speak it.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{EVENT_BYTES_MAX, Invocation, InvokeError, Lambda, WhenBusy, function_arn, request_id};

/// Largest event of an asynchronous invocation, in bytes (Lambda quotas).
const ASYNC_EVENT_BYTES_MAX: usize = 1_048_576;

pub(super) fn router(lambda: Lambda) -> Router {
    Router::new()
        .route("/2015-03-31/functions", get(list))
        .route("/2015-03-31/functions/", get(list))
        .route("/2015-03-31/functions/{name}/invocations", post(invoke))
        .layer(DefaultBodyLimit::max(EVENT_BYTES_MAX))
        .with_state(lambda)
}

/// `ListFunctions`, in one page.
async fn list(State(lambda): State<Lambda>) -> Json<Value> {
    let functions = lambda.pools.values().map(|pool| {
        let function = &pool.executable.function;
        json!({
            "FunctionName": function.name,
            "FunctionArn": function_arn(&function.name),
            "Runtime": "provided.al2023",
            "Handler": "bootstrap",
            "Timeout": function.timeout.as_secs(),
            "MemorySize": function.memory_mb,
            "Version": "$LATEST",
        })
    });
    Json(json!({ "Functions": functions.collect::<Vec<_>>() }))
}

async fn invoke(
    State(lambda): State<Lambda>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let request_id = request_id();
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = header("x-amz-invocation-type").unwrap_or("RequestResponse");
    let invocation = Invocation {
        trace_header: header("x-amzn-trace-id").map(str::to_owned),
        when_busy: WhenBusy::Refuse,
    };
    let answer = match read_event(&lambda, &name, body) {
        Err(refusal) => *refusal,
        Ok(event) => match kind {
            "RequestResponse" => {
                let id = request_id.clone();
                let (tail, log) = oneshot::channel();
                let tail = (header("x-amz-log-type") == Some("Tail")).then_some(tail);
                let result = lambda.invoke_as(id, &name, event, invocation, tail).await;
                with_log(answer(&name, result), log)
            }
            "Event" => {
                let trace_header = invocation.trace_header;
                invoke_later(&lambda, request_id.clone(), &name, event, trace_header)
            }
            "DryRun" => StatusCode::NO_CONTENT.into_response(),
            other => refusal(
                StatusCode::BAD_REQUEST,
                "InvalidParameterValueException",
                &format!("invocation type {other} is not RequestResponse, Event or DryRun"),
            ),
        },
    };
    ([("x-amzn-requestid", request_id)], answer).into_response()
}

/// The event, if there is such a function and it is JSON of a size that Lambda takes.
fn read_event(
    lambda: &Lambda,
    name: &str,
    body: Result<Bytes, BytesRejection>,
) -> Result<Bytes, Box<Response>> {
    if let Err(error) = lambda.pool(name) {
        return Err(Box::new(answer(name, Err(error))));
    }
    let event = body.map_err(|rejection| {
        Box::new(match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(EVENT_BYTES_MAX),
            status => refusal(
                status,
                "InvalidRequestContentException",
                &rejection.body_text(),
            ),
        })
    })?;
    if event.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(&event) {
        let message = format!("Could not parse request body into json: {error}");
        let status = StatusCode::BAD_REQUEST;
        return Err(Box::new(refusal(
            status,
            "InvalidRequestContentException",
            &message,
        )));
    }
    Ok(event)
}

fn invoke_later(
    lambda: &Lambda,
    request_id: String,
    name: &str,
    event: Bytes,
    trace_header: Option<String>,
) -> Response {
    if event.len() > ASYNC_EVENT_BYTES_MAX {
        return too_large(ASYNC_EVENT_BYTES_MAX);
    }
    match lambda.invoke_later(request_id, name, event, trace_header) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => answer(name, Err(error)),
    }
}

/// Adds the end of the invocation's log, if it was asked for.
fn with_log(mut response: Response, mut log: oneshot::Receiver<Vec<u8>>) -> Response {
    if let Ok(log) = log.try_recv()
        && let Ok(log) = HeaderValue::from_str(&STANDARD.encode(log))
    {
        response.headers_mut().insert("x-amz-log-result", log);
    }
    response
}

fn answer(name: &str, result: Result<Bytes, InvokeError>) -> Response {
    let error = match result {
        Ok(payload) => return executed(payload).into_response(),
        Err(error) => error,
    };
    if let Some(payload) = error.payload() {
        return ([("x-amz-function-error", "Unhandled")], executed(payload)).into_response();
    }
    match error {
        InvokeError::NotFound { .. } => refusal(
            StatusCode::NOT_FOUND,
            "ResourceNotFoundException",
            &format!("Function not found: {}", function_arn(name)),
        ),
        InvokeError::Throttled { .. } => refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequestsException",
            "Rate Exceeded.",
        ),
        InvokeError::EventTooLarge { bytes_max, .. } => too_large(bytes_max),
        other => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "ServiceException",
            &other.to_string(),
        ),
    }
}

fn executed(payload: Bytes) -> impl IntoResponse {
    (
        [
            ("content-type", "application/json"),
            ("x-amz-executed-version", "$LATEST"),
        ],
        payload,
    )
}

fn too_large(bytes_max: usize) -> Response {
    refusal(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestTooLargeException",
        &format!("Request must be smaller than {bytes_max} bytes for the InvokeFunction operation"),
    )
}

fn refusal(status: StatusCode, kind: &str, message: &str) -> Response {
    let blame = if status.is_server_error() {
        "Service"
    } else {
        "User"
    };
    let body = json!({ "Type": blame, "Message": message, "message": message });
    (status, [("x-amzn-errortype", kind)], Json(body)).into_response()
}
