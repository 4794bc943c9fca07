//! Hides the HTTP between a function and a service: who calls what, handing it on, and how each
//! fault looks on the wire.
//!
//! Requests are small and read whole; answers stream through as they come. A function's base URL is
//! `/{target}/{function}/{instance}`, which is how the proxy knows who calls.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header, request::Parts},
};
use futures_util::{StreamExt, stream};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinSet, yield_now},
    time::sleep,
};

use super::{
    Faults,
    plan::{Answer, Call, Fault, Moment, Place, Target},
    refusal,
};

/// Largest request: DynamoDB takes 16 MiB, and nobody more.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How much of an answer is read that the caller does not get, or not first.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long no connection is accepted after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Headers that are about one connection, not about the message (RFC 9110, 7.6.1).
const HOP_HEADERS: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

/// The connection to the caller is to be dropped.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Dropped;

/// A request, read whole, that can be sent more than once.
struct Forward {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

pub(super) async fn serve(faults: Faults, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(faults.clone(), stream));
                }
                // Out of file descriptors, most likely: what is open may end.
                Err(error) => {
                    tracing::warn!(%error, "the fault proxy cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(faults: Faults, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "calls of a connection may be late");
    }
    let service = service_fn(|request| pass(&faults, request));
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the fault proxy ended");
    }
}

/// Hands one call on, with what the plan has for it.
async fn pass(faults: &Faults, request: Request<Incoming>) -> Result<Response<Body>, Dropped> {
    let (parts, body) = request.into_parts();
    let Some((target, caller, path)) = whose(&parts) else {
        return Ok(plain(StatusCode::NOT_FOUND, "nothing here"));
    };
    let Some(origin) = faults.origin(target, &caller.function) else {
        return Ok(plain(StatusCode::NOT_FOUND, "no such service"));
    };
    // A caller that went away half-way has not called.
    let body = to_bytes(Body::new(body), REQUEST_BYTES_MAX)
        .await
        .map_err(|_cut_or_too_large| Dropped)?;
    let struck = faults.strike(&Call {
        target,
        name: name(target, &parts, path),
        function: &caller.function,
    });
    let url = format!("{origin}{path}{}", query(&parts));
    let mut headers = without_hops(parts.headers);
    // These two are made anew.
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    let forward = Forward {
        method: parts.method,
        url,
        headers,
        body,
    };
    sleep(Moment::Before.delay(&struck)).await;
    let answer = match struck.last() {
        None | Some(Fault::Delay { .. }) => forward.send(faults).await?,
        Some(Fault::Status {
            status,
            error,
            moment,
        }) => {
            if *moment == Moment::After {
                whole(forward.send(faults).await?).await?;
            }
            refusal::refuse(target, *status, error.as_deref())
        }
        Some(Fault::Cut(place)) => broken_off(faults, &forward, *place, End::Connection).await?,
        Some(Fault::Kill(place)) => {
            let end = End::Process(faults.clone(), caller);
            broken_off(faults, &forward, *place, end).await?
        }
        Some(Fault::Duplicate(which)) => {
            let first = whole(forward.send(faults).await?).await?;
            let second = forward.send(faults).await?;
            match which {
                Answer::Second => second,
                Answer::First => {
                    whole(second).await?;
                    first
                }
            }
        }
    };
    sleep(Moment::After.delay(&struck)).await;
    Ok(answer)
}

/// Who calls.
struct Caller {
    function: String,
    /// None if it is no instance of the local Lambda.
    instance_id: Option<u64>,
}

/// Target, caller and the path behind them.
fn whose(parts: &Parts) -> Option<(Target, Caller, &str)> {
    let path = parts.uri.path().strip_prefix('/')?;
    let (target, rest) = path.split_once('/')?;
    let target = Target::ALL.into_iter().find(|one| one.word() == target)?;
    let (function, rest) = rest.split_once('/')?;
    let (instance, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let caller = Caller {
        function: function.to_owned(),
        instance_id: instance.parse().ok(),
    };
    Some((target, caller, if path.is_empty() { "/" } else { path }))
}

fn query(parts: &Parts) -> String {
    let query = parts.uri.query();
    query.map_or_else(String::new, |query| format!("?{query}"))
}

/// What a call is named in the plan.
fn name<'a>(target: Target, parts: &'a Parts, path: &'a str) -> &'a str {
    match target {
        Target::Dynamodb | Target::Sqs => {
            let operation = parts.headers.get("x-amz-target");
            let operation = operation.and_then(|operation| operation.to_str().ok());
            let operation = operation.and_then(|operation| operation.rsplit('.').next());
            operation.unwrap_or_default()
        }
        Target::Connections => parts.method.as_str(),
        Target::Llm => path,
    }
}

impl Forward {
    /// Sends it. A service that cannot be reached looks like a cut, as it would without a proxy.
    async fn send(&self, faults: &Faults) -> Result<Response<Body>, Dropped> {
        let request = faults
            .0
            .http
            .request(self.method.clone(), &self.url)
            .headers(self.headers.clone())
            .body(self.body.clone());
        let answer = request.send().await.map_err(|error| {
            tracing::warn!(error = %error.without_url(), "the fault proxy cannot hand a call on");
            Dropped
        })?;
        let (parts, body) = Response::<reqwest::Body>::from(answer).into_parts();
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = parts.status;
        *response.headers_mut() = without_hops(parts.headers);
        Ok(response)
    }
}

/// Reads an answer to its end, so that its effect is over.
async fn whole(answer: Response<Body>) -> Result<Response<Body>, Dropped> {
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, ANSWER_BYTES_MAX)
        .await
        .map_err(|_cut_or_too_large| Dropped)?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// What ends when a call breaks off.
enum End {
    Connection,
    Process(Faults, Caller),
}

impl End {
    async fn come(self) -> Dropped {
        if let Self::Process(faults, caller) = self
            && let Some(instance_id) = caller.instance_id
        {
            faults.0.processes.kill(&caller.function, instance_id).await;
        }
        Dropped
    }
}

/// A call of which the caller gets no answer, or not all of it.
async fn broken_off(
    faults: &Faults,
    forward: &Forward,
    place: Place,
    end: End,
) -> Result<Response<Body>, Dropped> {
    match place {
        Place::BeforeEffect => {}
        Place::AfterEffect => {
            whole(forward.send(faults).await?).await?;
        }
        Place::AfterBytes(bytes) => return Ok(shortened(forward.send(faults).await?, bytes, end)),
    }
    Err(end.come().await)
}

/// An answer whose body breaks off.
fn shortened(answer: Response<Body>, bytes: u64, end: End) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let rest = usize::try_from(bytes).unwrap_or(usize::MAX);
    let pieces = body.into_data_stream().boxed();
    let pieces = stream::unfold(Some((pieces, rest, end)), async |state| {
        let (mut pieces, rest, end) = state?;
        if rest == 0 {
            // What has come so far is on its way before the connection goes.
            yield_now().await;
            return Some((Err(axum::Error::new(end.come().await)), None));
        }
        let piece = pieces.next().await?;
        let Ok(mut piece) = piece else {
            return Some((piece, None));
        };
        piece.truncate(rest);
        let rest = rest.saturating_sub(piece.len());
        Some((Ok(piece), Some((pieces, rest, end))))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

fn without_hops(mut headers: HeaderMap) -> HeaderMap {
    for name in &HOP_HEADERS {
        headers.remove(name);
    }
    headers
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
