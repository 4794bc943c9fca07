//! Hides how [`Access`] stands in front of each service: as a layer of those that are served in this
//! process, as a relay to DynamoDB, whose engine takes nothing but connections.

use std::{io, time::Duration};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    sync::Mutex,
    task::JoinSet,
};

use super::{Access, Denied};

/// More than any request of DynamoDB (16 MB) or SQS (1 MiB of text, escaped).
const REQUEST_BYTES_MAX: usize = 17 * 1024 * 1024;
/// An SDK's head has about ten headers and 1 KB.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 64 * 1024;
const CHUNK_BYTES: usize = 16 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// SQS, as far as the caller may use it.
pub fn sqs(access: &Access, service: Router) -> Router {
    service.layer(from_fn_with_state(access.clone(), guard_sqs))
}

async fn guard_sqs(State(access): State<Access>, request: Request, next: Next) -> Response {
    #[derive(Deserialize)]
    struct Target {
        #[serde(rename = "QueueUrl")]
        queue_url: Option<String>,
    }
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, REQUEST_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let target = serde_json::from_slice::<Target>(&body).ok();
    let url = target
        .and_then(|target| target.queue_url)
        .unwrap_or_default();
    let queue = url.rsplit('/').next().filter(|name| !name.is_empty());
    let operation = operation_of(text(&head.headers, "x-amz-target"));
    match access.sqs(
        text(&head.headers, header::AUTHORIZATION.as_str()),
        operation,
        queue.unwrap_or("*"),
    ) {
        Ok(()) => next.run(Request::from_parts(head, body.into())).await,
        Err(denied) => refuse(&denied),
    }
}

/// The gateway, its `@connections` as far as the caller may use them.
pub fn connections(access: &Access, gateway: Router) -> Router {
    gateway.layer(from_fn_with_state(access.clone(), guard_connections))
}

async fn guard_connections(State(access): State<Access>, request: Request, next: Next) -> Response {
    let authorization = text(request.headers(), header::AUTHORIZATION.as_str());
    let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let denied = match parts.as_slice() {
        ["@connections", id] | [_, "@connections", id] => {
            access.connections(authorization, request.method().as_str(), id)
        }
        _ => Ok(()),
    };
    match denied {
        Ok(()) => next.run(request).await,
        Err(denied) => refuse(&denied),
    }
}

/// DynamoDB at `upstream`, as far as the caller may use it. Serves until it is dropped.
///
/// A relay of bytes that reads no more of them than it must: a proxy that takes requests apart and makes
/// them anew costs each call of a debug build a millisecond, and a turn makes a dozen.
pub async fn dynamodb(listener: TcpListener, access: Access, upstream: String) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn(relay(client, access.clone(), upstream.clone()));
                }
                // Too many open files, most likely: others will be closed.
                Err(error) => {
                    tracing::warn!(%error, "a connection to DynamoDB is not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn relay(client: TcpStream, access: Access, upstream: String) {
    if let Err(error) = relay_requests(client, &access, &upstream).await {
        tracing::debug!(%error, "a connection to DynamoDB ended");
    }
}

async fn relay_requests(client: TcpStream, access: &Access, upstream: &str) -> io::Result<()> {
    let service = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    service.set_nodelay(true)?;
    let (mut asks, tells) = client.into_split();
    let (mut answers, mut asked) = service.into_split();
    // Both sides of the relay write here, never at once: a client waits for one answer before it
    // sends the next request.
    let tells = Mutex::new(tells);
    let down = async {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let length = answers.read(&mut chunk).await?;
            if length == 0 {
                return tells.lock().await.shutdown().await;
            }
            tells
                .lock()
                .await
                .write_all(chunk.get(..length).unwrap_or_default())
                .await?;
        }
    };
    let up = async {
        let mut waiting = Vec::new();
        while let Some(request) = next_request(&mut asks, &mut waiting).await? {
            match access.dynamodb(&request.authorization, &request.operation, request.body()) {
                Ok(()) => asked.write_all(&request.bytes).await?,
                Err(denied) => {
                    let answer = denied_in_http(&denied);
                    tells.lock().await.write_all(answer.as_bytes()).await?;
                }
            }
        }
        asked.shutdown().await
    };
    tokio::try_join!(up, down).map(|_| ())
}

/// A request as it came, and what is to be known of it.
struct WholeRequest {
    bytes: Vec<u8>,
    head_bytes: usize,
    authorization: String,
    operation: String,
}

impl WholeRequest {
    fn body(&self) -> &[u8] {
        self.bytes.get(self.head_bytes..).unwrap_or_default()
    }
}

/// The next request; none once the client has closed. `waiting` holds what came after the last one.
async fn next_request(
    from: &mut OwnedReadHalf,
    waiting: &mut Vec<u8>,
) -> io::Result<Option<WholeRequest>> {
    loop {
        if let Some(mut request) = head(waiting)? {
            let length = request.bytes.len();
            while waiting.len() < length {
                if from.read_buf(waiting).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            request.bytes = waiting.drain(..length).collect();
            return Ok(Some(request));
        }
        if from.read_buf(waiting).await? == 0 {
            return Ok(None);
        }
    }
}

/// The head of the request that `waiting` begins with, once it is there. `bytes` has its whole length,
/// still empty.
fn head(waiting: &[u8]) -> io::Result<Option<WholeRequest>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head_bytes = match request.parse(waiting) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if waiting.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(invalid("a head that does not end")),
        Err(_) => return Err(invalid("no HTTP")),
    };
    let value = |name: &str| {
        let mut headers = request.headers.iter();
        let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let body_bytes = match (value("content-length"), value("transfer-encoding")) {
        (Some(length), None) => {
            let length = length.trim().parse();
            length.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
        }
        (None, None) => 0_usize,
        (_, Some(_)) => return Err(invalid("a body in chunks")),
    };
    if body_bytes > REQUEST_BYTES_MAX {
        return Err(invalid("a body over 16 MB"));
    }
    let target = value("x-amz-target").unwrap_or_default();
    Ok(Some(WholeRequest {
        bytes: vec![0; head_bytes.saturating_add(body_bytes)],
        head_bytes,
        authorization: value("authorization").unwrap_or_default().to_owned(),
        operation: operation_of(target).to_owned(),
    }))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// `PutItem` of `DynamoDB_20120810.PutItem`.
fn operation_of(target: &str) -> &str {
    target.rsplit('.').next().unwrap_or_default()
}

const KIND: &str = "AccessDeniedException";

/// In the form that every SDK reads. Says it in the log too: functions seldom do.
fn body_of(denied: &Denied) -> String {
    tracing::warn!("{denied}");
    let message = denied.to_string();
    let kind = format!("com.amazon.coral.service#{KIND}");
    json!({ "__type": kind, "Message": message, "message": message }).to_string()
}

fn denied_in_http(denied: &Denied) -> String {
    let body = body_of(denied);
    let length = body.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.0\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// That SQS and `@connections` name it as DynamoDB does is unconfirmed.
fn refuse(denied: &Denied) -> Response {
    let mut response = (StatusCode::FORBIDDEN, body_of(denied)).into_response();
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    let kind = HeaderValue::from_static(KIND);
    response.headers_mut().insert("x-amzn-errortype", kind);
    response
}
