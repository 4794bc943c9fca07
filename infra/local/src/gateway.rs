//! The API Gateway WebSocket API of the local cloud.
//!
//! Hides the upgrade held open for the authorizer and `$connect`, the events functions receive,
//! route selection, `@connections`, every quota of the real service, and the ways a connection
//! ends. Where AWS documents a number or a shape it is used; what is only known from observed
//! traffic says so where it stands. Kept simple on purpose: no route responses (a function's body
//! is dropped, as for every API that SAM's `WebSocketApi` makes), no identity sources (the
//! authorizer always runs), no access check of `@connections` beyond the presence of a signature.

mod clock;
mod connection;
mod dispatch;
mod event;
mod handshake;
mod management;
mod outgoing;
mod policy;
mod rate;
mod refusal;
mod route;
mod tasks;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio::sync::{Semaphore, watch};

use crate::lambda::Lambda;
use crate::metrics::Metrics;
use crate::template::WebSocketApi;

use clock::Clock;
use connection::Connection;
use rate::Bucket;
use tasks::Tasks;

/// The quotas of a WebSocket API, each with the real service's value as its default
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html>),
/// and the bounds that the service does not publish.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long the gateway waits for a function: 29 s. The function itself runs on.
    pub integration_timeout: Duration,
    /// Longest silence, counted in messages of either direction: 10 min.
    pub idle_timeout: Duration,
    /// Longest connection: 2 h.
    pub life: Duration,
    /// Largest payload of one frame, in either direction: 32 KiB.
    pub frame_bytes_max: usize,
    /// Largest message, in either direction: 128 KiB.
    pub message_bytes_max: usize,
    /// Longest request URI: 4,096 bytes.
    pub uri_bytes_max: usize,
    /// New connections a second, and at once: 500.
    pub connections_per_second: u32,
    /// Messages from clients and `@connections` requests a second, together: 10,000.
    pub requests_per_second: u32,
    /// As many of them at once: 5,000.
    pub requests_burst: u32,
    /// What happens to a binary frame.
    pub binary_frames: BinaryFrames,
    /// Messages of one connection whose functions run at once: 100, not published. At the limit
    /// the connection is not read until one of them has finished.
    pub in_flight_max: u32,
    /// Bytes of such messages: 2 MiB, not published. At the limit likewise.
    pub in_flight_bytes_max: u32,
    /// Messages that wait for one client: 256, not published. Past it a post gets 429.
    pub outgoing_messages_max: u32,
    /// Bytes that wait for one client: 1 MiB, not published. Past it a post gets 429.
    pub outgoing_bytes_max: u32,
    /// Upgrades that wait for their authorizer and `$connect` at once: 1,000, not published (but it
    /// is how many functions an account may run at once). Past it a client gets 429.
    pub handshakes_max: u32,
    /// How long an accepted upgrade or a post's body may take to arrive: 10 s, not published.
    pub handshake_timeout: Duration,
    /// How long a client may take to answer a close frame: 2 s, not published.
    pub close_timeout: Duration,
    /// How long [`Gateway::close_all`] may take: 5 s.
    pub shutdown_timeout: Duration,
}

/// What happens to a binary frame from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BinaryFrames {
    /// The connection is closed with 1003, as by the real service.
    Refuse,
    /// Functions get the base64 of its bytes, marked `isBase64Encoded`. A post that is standard
    /// base64, to a client whose last message was binary, goes out as a binary message of the bytes
    /// that it stands for. API Gateway has nothing like it; the form is that of its REST APIs.
    Carry,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            integration_timeout: Duration::from_secs(29),
            idle_timeout: Duration::from_mins(10),
            life: Duration::from_hours(2),
            frame_bytes_max: 32 * 1024,
            message_bytes_max: 128 * 1024,
            uri_bytes_max: 4_096,
            connections_per_second: 500,
            requests_per_second: 10_000,
            requests_burst: 5_000,
            binary_frames: BinaryFrames::Refuse,
            in_flight_max: 100,
            in_flight_bytes_max: 2 * 1024 * 1024,
            outgoing_messages_max: 256,
            outgoing_bytes_max: 1024 * 1024,
            handshakes_max: 1_000,
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

/// Log lines a second about clients that break a rule; what is more is only counted.
const COMPLAINTS_PER_SECOND: u32 = 10;

/// The gateway. Cheap to clone; every clone is the same one.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

struct Shared {
    api: WebSocketApi,
    lambda: Lambda,
    metrics: Metrics,
    limits: Limits,
    clock: Clock,
    new_connections: Bucket,
    requests: Bucket,
    handshakes: Arc<Semaphore>,
    complaints: Bucket,
    open: Mutex<HashMap<String, Arc<Connection>>>,
    tasks: Tasks,
    closing: watch::Sender<bool>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self
            .0
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        f.debug_struct("Gateway")
            .field("api", &self.0.api)
            .field("open", &open)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway for `api` with no connection yet.
    pub fn new(api: WebSocketApi, lambda: Lambda, metrics: Metrics, limits: Limits) -> Self {
        let new_connections =
            Bucket::new(limits.connections_per_second, limits.connections_per_second);
        let requests = Bucket::new(limits.requests_per_second, limits.requests_burst);
        let handshakes = usize::try_from(limits.handshakes_max).unwrap_or(usize::MAX);
        Self(Arc::new(Shared {
            api,
            lambda,
            metrics,
            limits,
            clock: Clock::new(),
            new_connections,
            requests,
            handshakes: Arc::new(Semaphore::new(handshakes.min(Semaphore::MAX_PERMITS))),
            complaints: Bucket::new(COMPLAINTS_PER_SECOND, COMPLAINTS_PER_SECOND),
            open: Mutex::default(),
            tasks: Tasks::default(),
            closing: watch::Sender::new(false),
        }))
    }

    /// Puts the gateway in front of `page`: WebSocket upgrades of `/` and `/{stage}`, and
    /// `@connections` with and without the stage. Everything else is for `page`, `GET /` included.
    ///
    /// Served with `into_make_service_with_connect_info::<SocketAddr>()` events show the client's
    /// address; otherwise 127.0.0.1.
    pub fn router(&self, page: Router) -> Router {
        page.merge(management::router(self.clone()))
            .layer(from_fn_with_state(self.clone(), handshake::intercept))
    }

    /// Closes every socket with 1001, runs their `$disconnect` best effort and waits for what
    /// runs, all within [`Limits::shutdown_timeout`]. New upgrades get 503. Call it before
    /// [`Lambda::shutdown`].
    pub async fn close_all(&self) {
        self.0.closing.send_replace(true);
        self.0.tasks.finish(self.0.limits.shutdown_timeout).await;
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn stage(&self) -> &str {
        &self.0.api.stage
    }

    /// The connection of this id, if it is open: neither connecting nor closing.
    fn connection(&self, id: &str) -> Option<Arc<Connection>> {
        self.0
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Completes when [`Gateway::close_all`] has been called.
    async fn closing(&self) {
        // The sender lives as long as the gateway.
        drop(
            self.0
                .closing
                .subscribe()
                .wait_for(|closing| *closing)
                .await,
        );
    }

    /// Counts a client that was refused or closed for what it did, and logs it unless there are
    /// many: no client may fill the log.
    fn complain(&self, about: &str, why: &str) {
        let help = "Clients refused or closed for what they did.";
        self.0.metrics.counter("gateway_refusals", help, 1);
        if self.0.complaints.take() {
            tracing::warn!(about, why, "client refused");
        }
    }

    /// Changes the table of open connections, and the gauge with it.
    fn set_open(&self, change: impl FnOnce(&mut HashMap<String, Arc<Connection>>)) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut open);
        let sockets = u32::try_from(open.len()).unwrap_or(u32::MAX);
        self.0.metrics.gauge(
            "active_sessions",
            "Open WebSocket connections.",
            sockets.into(),
        );
    }
}
