//! Hides how each service words its errors, so that an SDK takes an injected one for real.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use serde_json::{Value, json};

use super::plan::Target;

/// What every injected error says of itself.
const MESSAGE: &str = "Injected by --fault.";

/// The service's answer with this status: the error by this name, or the one usual for the status.
pub(super) fn refuse(target: Target, status: StatusCode, error: Option<&str>) -> Response<Body> {
    let error = error.unwrap_or_else(|| usual(target, status));
    let (content_type, body) = match target {
        Target::Dynamodb => (AWS_JSON, dynamodb(error)),
        Target::Sqs => (
            AWS_JSON,
            json!({ "__type": format!("com.amazonaws.sqs#{error}"), "message": MESSAGE }),
        ),
        Target::Connections => (JSON, json!({ "message": MESSAGE })),
        Target::Llm => (
            JSON,
            json!({ "error": { "message": MESSAGE, "type": error, "param": null, "code": error } }),
        ),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("x-amzn-requestid", HeaderValue::from_static("fault"));
    match target {
        Target::Connections => {
            if let Ok(error) = HeaderValue::from_str(error) {
                headers.insert("x-amzn-errortype", error);
            }
        }
        Target::Sqs => {
            let blame = if status.is_server_error() {
                "Receiver"
            } else {
                "Sender"
            };
            if let Ok(error) = HeaderValue::from_str(&format!("{error};{blame}")) {
                headers.insert("x-amzn-query-error", error);
            }
        }
        Target::Dynamodb | Target::Llm => {}
    }
    response
}

const AWS_JSON: &str = "application/x-amz-json-1.0";
const JSON: &str = "application/json";

/// A cancelled transaction has to say why: somebody else had the item, which is what may be retried.
fn dynamodb(error: &str) -> Value {
    let mut body = json!({
        "__type": format!("com.amazonaws.dynamodb.v20120810#{error}"),
        "message": MESSAGE,
    });
    if error == "TransactionCanceledException"
        && let Value::Object(members) = &mut body
    {
        let reason = json!([{ "Code": "TransactionConflict", "Message": MESSAGE }]);
        members.insert("CancellationReasons".to_owned(), reason);
    }
    body
}

/// The error that the service gives most often with this status (the services' API references,
/// "Common errors").
fn usual(target: Target, status: StatusCode) -> &'static str {
    match (target, status.as_u16()) {
        (Target::Dynamodb, 400) => "ProvisionedThroughputExceededException",
        (Target::Dynamodb, 500) => "InternalServerError",
        (Target::Dynamodb, 413) => "RequestEntityTooLarge",
        (Target::Sqs, 400) => "RequestThrottled",
        (Target::Sqs, 500) => "InternalError",
        (Target::Connections, 400) => "BadRequestException",
        (Target::Connections, 410) => "GoneException",
        (Target::Connections, 413) => "PayloadTooLargeException",
        (Target::Connections, 429) => "LimitExceededException",
        (Target::Connections, 403) => "ForbiddenException",
        (Target::Connections, 500) => "InternalServerErrorException",
        (Target::Dynamodb | Target::Sqs, 403) => "AccessDeniedException",
        (Target::Llm, 401) => "invalid_api_key",
        (Target::Llm, 429) => "rate_limit_exceeded",
        (Target::Llm, 400..500) => "invalid_request_error",
        (Target::Llm, _) => "server_error",
        (_, 429) => "ThrottlingException",
        (_, 400..500) => "ValidationException",
        (_, 503) => "ServiceUnavailable",
        _ => "InternalFailure",
    }
}
