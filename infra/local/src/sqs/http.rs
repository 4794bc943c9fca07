//! The AWS JSON 1.0 protocol over HTTP: one path, the operation in `x-amz-target`.

mod messages;
mod queues;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Sqs;
use super::error::SqsError;

/// A request of 1 MiB of text may be six times as long with every character escaped.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Lambda's and API Gateway's way of passing a trace on; SQS keeps it with the message.
const TRACE_HEADER: &str = "x-amzn-trace-id";

/// Serves the operations at any path: SDKs post to `/`, some to the queue's URL.
pub(super) fn router(sqs: Sqs) -> Router {
    Router::new()
        .route("/", post(serve))
        .route("/{*path}", post(serve))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(sqs)
}

async fn serve(State(sqs): State<Sqs>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&sqs, &headers, &body).await.map(Body::from)
}

/// Answers one request.
pub(super) async fn answer(sqs: &Sqs, headers: &HeaderMap, body: &[u8]) -> Response<Bytes> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let operation = text("x-amz-target")
        .and_then(|target| target.strip_prefix("AmazonSQS."))
        .unwrap_or_default();
    match operate(sqs, operation, body, text(TRACE_HEADER)).await {
        Ok(output) => respond(StatusCode::OK, &output),
        Err(error) => refuse(operation, &error),
    }
}

async fn operate(
    sqs: &Sqs,
    operation: &str,
    body: &[u8],
    trace_header: Option<&str>,
) -> Result<Value, SqsError> {
    match operation {
        "CreateQueue" => queues::create(sqs, read(body)?).await,
        "GetQueueUrl" => queues::url(sqs, read(body)?).await,
        "ListQueues" => queues::list(sqs, read(body)?).await,
        "GetQueueAttributes" => queues::attributes(sqs, read(body)?).await,
        "SetQueueAttributes" => queues::set_attributes(sqs, read(body)?).await,
        "DeleteQueue" => queues::delete(sqs, read(body)?).await,
        "PurgeQueue" => queues::purge(sqs, read(body)?).await,
        "ListDeadLetterSourceQueues" => queues::dead_letter_sources(sqs, read(body)?).await,
        "StartMessageMoveTask" => queues::start_move(sqs, read(body)?).await,
        "SendMessage" => messages::send(sqs, read(body)?, trace_header).await,
        "SendMessageBatch" => messages::send_batch(sqs, read(body)?, trace_header).await,
        "ReceiveMessage" => messages::receive(sqs, read(body)?).await,
        "DeleteMessage" => messages::delete(sqs, read(body)?).await,
        "DeleteMessageBatch" => messages::delete_batch(sqs, read(body)?).await,
        "ChangeMessageVisibility" => messages::change_visibility(sqs, read(body)?).await,
        "ChangeMessageVisibilityBatch" => messages::change_visibility_batch(sqs, read(body)?).await,
        other => Err(SqsError::UnsupportedOperation(other.to_owned())),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    serde_json::from_slice(body).map_err(SqsError::Malformed)
}

fn respond(status: StatusCode, output: &Value) -> Response<Bytes> {
    const AWS_JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");
    let mut response = Response::new(Bytes::from(output.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, AWS_JSON);
    response
}

fn refuse(operation: &str, error: &SqsError) -> Response<Bytes> {
    let (status, fault) = if error.is_senders_fault() {
        (StatusCode::BAD_REQUEST, "Sender")
    } else {
        tracing::error!(
            operation,
            error = error as &dyn std::error::Error,
            "queue failed"
        );
        (StatusCode::INTERNAL_SERVER_ERROR, "Receiver")
    };
    let output = json!({
        "__type": format!("com.amazonaws.sqs#{}", error.shape()),
        "message": error.sentence(),
    });
    let mut response = respond(status, &output);
    if let Ok(code) = HeaderValue::from_str(&format!("{};{fault}", error.query_code())) {
        let name = HeaderName::from_static("x-amzn-query-error");
        response.headers_mut().insert(name, code);
    }
    response
}

/// A queue's name from its URL. Only the last part counts, so that any host name will do.
fn queue_name(url: &str) -> Result<&str, SqsError> {
    match url.rsplit('/').next() {
        Some(name) if !name.is_empty() => Ok(name),
        _ => Err(SqsError::MissingParameter("QueueUrl")),
    }
}
