//! From an upgrade request to an open connection, and what happens at its end.
//!
//! The upgrade is held until the authorizer and `$connect` have answered. That runs in a task of
//! its own, because hyper drops a request's future when the client hangs up, and a `$connect` that
//! has run must be followed by a `$disconnect`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use crate::lambda::InvokeError;

use super::Gateway;
use super::connection::{self, Connection, Ending};
use super::dispatch::Outcome;
use super::event::{self, Opening, Stamp, Upgrade};
use super::policy::{self, Verdict};
use super::refusal::Refusal;
use super::route;

const BAD_REQUEST: Refusal = Refusal::new(
    StatusCode::BAD_REQUEST,
    "BadRequestException",
    "Bad Request",
);
const URI_TOO_LONG: Refusal = Refusal::new(
    StatusCode::URI_TOO_LONG,
    "RequestUriTooLongException",
    "URI Too Long",
);
const UPGRADE_REQUIRED: Refusal = Refusal::new(
    StatusCode::UPGRADE_REQUIRED,
    "BadRequestException",
    "Upgrade Required",
);

/// What an authorizer says to have its client answered with 401 instead of 500.
const UNAUTHORIZED: &str = "Unauthorized";

/// A handshake that is in order and waits for the authorizer and `$connect`.
struct Pending {
    opening: Opening,
    upgrade: Upgrade,
    on_upgrade: OnUpgrade,
    /// The 101 that goes out if both let it through.
    switching: Response,
    /// Its place among those that wait.
    permit: OwnedSemaphorePermit,
}

/// Lets everything through to the routes except WebSocket upgrades and the stage's own path.
pub(super) async fn intercept(
    State(gateway): State<Gateway>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().trim_matches('/');
    let at_stage = path == gateway.stage();
    let at_api = at_stage || path.is_empty();
    let upgrade = request.headers().get(header::UPGRADE);
    let wants_socket = upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let answer = match (wants_socket, at_api) {
        (true, true) => gateway.upgrade(&mut request).await,
        (true, false) => Err(Refusal::FORBIDDEN),
        (false, _) if at_stage => Err(UPGRADE_REQUIRED),
        (false, _) => return next.run(request).await,
    };
    answer.unwrap_or_else(|refusal| refusal.answer(&gateway.clock().id()))
}

impl Gateway {
    /// Answers an upgrade request once the authorizer and `$connect` have. Documented are 401, 403
    /// and 429; that a URL over the limit gets 414, a `$connect` that hangs 504, and that any other
    /// status of `$connect` is passed on, is unconfirmed.
    async fn upgrade(&self, request: &mut Request) -> Result<Response, Refusal> {
        if !self.0.new_connections.take() {
            self.complain("upgrade", "too many new connections a second");
            return Err(Refusal::TOO_MANY_REQUESTS);
        }
        let Ok(permit) = Arc::clone(&self.0.handshakes).try_acquire_owned() else {
            self.complain("upgrade", "too many upgrades wait for their functions");
            return Err(Refusal::TOO_MANY_REQUESTS);
        };
        if *self.0.closing.borrow() {
            return Err(Refusal::UNAVAILABLE);
        }
        let uri = request
            .uri()
            .path_and_query()
            .map_or("", |uri| uri.as_str());
        if uri.len() > self.limits().uri_bytes_max {
            return Err(URI_TOO_LONG);
        }
        let Ok(switching) = create_response_with_body(request, Body::empty) else {
            return Err(BAD_REQUEST);
        };
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let source_ip = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip());
        let (opening, upgrade) =
            event::open(request, source_ip.to_string(), self.stage(), self.clock());
        let on_upgrade = hyper::upgrade::on(request);
        let pending = Pending {
            opening,
            upgrade,
            on_upgrade,
            switching,
            permit,
        };

        let (answer, answered) = oneshot::channel();
        self.0.tasks.spawn(self.clone().accompany(pending, answer));
        answered.await.unwrap_or(Err(Refusal::UNAVAILABLE))
    }

    /// The whole life of a connection. `answer` takes the response that the upgrade waits for; if
    /// nobody waits for it any more, the client is gone.
    async fn accompany(self, pending: Pending, answer: oneshot::Sender<Result<Response, Refusal>>) {
        let Pending {
            opening,
            upgrade,
            on_upgrade,
            mut switching,
            permit,
        } = pending;
        let authorizer = match self.admit(&opening, &upgrade).await {
            Ok((authorizer, protocol)) => {
                if let Some(protocol) = protocol {
                    switching
                        .headers_mut()
                        .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
                }
                authorizer
            }
            Err(refusal) => return drop(answer.send(Err(refusal))),
        };
        drop((upgrade, permit));

        let (connection, outgoing) =
            Connection::new(opening, authorizer, self.limits(), self.clock());
        let connection = Arc::new(connection);
        let registration = Registration::new(&self, &connection);
        let ending = if answer.send(Ok(switching)).is_err() {
            Ending::lost()
        } else {
            match timeout(self.limits().handshake_timeout, on_upgrade).await {
                Ok(Ok(socket)) => {
                    let forget = || drop(registration);
                    let socket = TokioIo::new(socket);
                    connection::serve(&self, &connection, socket, outgoing, forget).await
                }
                Ok(Err(_)) | Err(_) => Ending::lost(),
            }
        };
        self.disconnect(&connection, &ending).await;
    }

    /// Asks the authorizer and `$connect`. What they let through comes with what the authorizer
    /// said of the client, and the subprotocol that `$connect` chose.
    async fn admit(
        &self,
        opening: &Opening,
        upgrade: &Upgrade,
    ) -> Result<(Option<Map<String, Value>>, Option<HeaderValue>), Refusal> {
        let authorizer = match &self.0.api.authorizer {
            Some(function) => Some(self.authorize(function, opening, upgrade).await?),
            None => None,
        };
        let Some(function) = self.0.api.routes.get(route::CONNECT) else {
            return Ok((authorizer, None));
        };
        let stamp = Stamp::new(self.clock());
        let event = event::connect(opening, upgrade, &stamp, authorizer.as_ref());
        let trace_header = Some(upgrade.trace_header.clone());
        let outcome = self.integrate(function, &event, trace_header, None);
        let answer = match outcome.await.logged(function) {
            Outcome::Answered(answer) => route::proxy_answer(&answer),
            Outcome::Failed(_) => None,
            Outcome::TimedOut => return Err(Refusal::TIMED_OUT),
        };
        // Unconfirmed: 502 is what clients report of a `$connect` that failed or answered in no proxy form; no
        // page of AWS's was found that says so.
        let answer = answer.ok_or(Refusal::BAD_GATEWAY)?;
        match StatusCode::from_u16(answer.status) {
            Ok(status) if status.is_success() => {
                let protocol = answer
                    .protocol
                    .and_then(|name| HeaderValue::try_from(name).ok());
                Ok((authorizer, protocol))
            }
            Ok(StatusCode::UNAUTHORIZED) => Err(Refusal::UNAUTHORIZED),
            Ok(StatusCode::FORBIDDEN) => Err(Refusal::FORBIDDEN),
            Ok(status) if !status.is_informational() => {
                let message = status.canonical_reason().unwrap_or("Refused");
                Err(Refusal::new(status, "ConnectRefusedException", message))
            }
            Ok(_) | Err(_) => Err(Refusal::BAD_GATEWAY),
        }
    }

    /// Asks the REQUEST authorizer, and returns `requestContext.authorizer` of every later event.
    async fn authorize(
        &self,
        function: &str,
        opening: &Opening,
        upgrade: &Upgrade,
    ) -> Result<Map<String, Value>, Refusal> {
        let asked_at = Instant::now();
        let event = event::authorizer(opening, upgrade, &Stamp::new(self.clock()));
        let trace_header = Some(upgrade.trace_header.clone());
        let outcome = self.integrate(function, &event, trace_header, None);
        let answer = match outcome.await {
            Outcome::Answered(answer) => answer,
            Outcome::Failed(Some(error)) if says_unauthorized(&error) => {
                return Err(Refusal::UNAUTHORIZED);
            }
            other => {
                drop(other.logged(function));
                return Err(Refusal::INTERNAL);
            }
        };
        match policy::judge(&answer, &event::method_arn(&opening.stage)) {
            Verdict::Allow(mut authorizer) => {
                let latency_ms = u64::try_from(asked_at.elapsed().as_millis()).unwrap_or(u64::MAX);
                authorizer.insert("integrationLatency".to_owned(), json!(latency_ms));
                Ok(authorizer)
            }
            Verdict::ExplicitDeny => Err(Refusal::denied(
                "User is not authorized to access this resource with an explicit deny",
            )),
            Verdict::ImplicitDeny => Err(Refusal::denied(
                "User is not authorized to access this resource",
            )),
            Verdict::Misconfigured(why) => {
                tracing::warn!(function, why, "authorizer not understood");
                Err(Refusal::INTERNAL)
            }
        }
    }
}

fn says_unauthorized(error: &InvokeError) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said {
        error_message: String,
    }
    let said = error.payload();
    let said = said.and_then(|payload| serde_json::from_slice::<Said>(&payload).ok());
    said.is_some_and(|said| said.error_message == UNAUTHORIZED)
}

/// An entry in the table of open connections, for as long as it is held: a guard, so that not even
/// a panic leaves a dead one.
struct Registration<'a> {
    gateway: &'a Gateway,
    id: String,
}

impl<'a> Registration<'a> {
    fn new(gateway: &'a Gateway, connection: &Arc<Connection>) -> Self {
        let id = connection.opening.connection_id.clone();
        gateway.set_open(|open| drop(open.insert(id.clone(), Arc::clone(connection))));
        Self { gateway, id }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.gateway.set_open(|open| drop(open.remove(&self.id)));
    }
}
