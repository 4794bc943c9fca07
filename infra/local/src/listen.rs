//! Accepting connections: HTTP/1.1 on a port of this machine, with every wait bounded.
//!
//! Hides what `axum::serve` leaves open: a client that never finishes the head of its request or its
//! body, more clients than there are file descriptors, and small writes that wait for an
//! acknowledgement. A client that has asked for something is never given up for one that has not.

mod head;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::Request;
use futures_util::{StreamExt, stream};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::metrics::Metrics;

use head::Head;
pub use head::SentNames;

/// More descriptors than anybody needs; some systems name no hard limit, or one of a billion.
const DESCRIPTORS_MAX: u64 = 1 << 20;
/// Descriptors left to functions, files and listeners: a quarter, and at most this many.
const RESERVED_DESCRIPTORS_MAX: u64 = 1_024;
/// How long accepting pauses when the system gives no descriptor.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the same complaint is logged.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// How long clients may take and how many there may be.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// How long a new client may take until the head of its first request has arrived: 10 s.
    pub first_head: Duration,
    /// How long a connection may stay silent between requests, the next head included: 60 s, more
    /// than functions keep theirs without noticing that they were closed.
    pub next_head: Duration,
    /// How long the body of a request may take: 60 s.
    pub body: Duration,
    /// Largest head: 32 KiB. Past it the answer is 431.
    pub head_bytes_max: usize,
    /// Clients that have not asked for anything yet: 1,024. Past it the oldest is cut off.
    pub waiting_max: usize,
    /// Open connections, sockets included. At the limit nobody is accepted until one ends.
    pub connections_max: u64,
}

impl Default for Bounds {
    /// With as many connections as the file descriptors of this process allow.
    fn default() -> Self {
        let descriptors = getrlimit(Resource::Nofile)
            .current
            .unwrap_or(DESCRIPTORS_MAX);
        let reserved = (descriptors / 4).min(RESERVED_DESCRIPTORS_MAX);
        Self {
            first_head: Duration::from_secs(10),
            next_head: Duration::from_mins(1),
            body: Duration::from_mins(1),
            head_bytes_max: 32 * 1024,
            waiting_max: 1_024,
            connections_max: descriptors - reserved,
        }
    }
}

/// Raises the limit of open files to what this process may have: each client needs one, and many
/// systems begin with 1,024 or less. Where it cannot be raised, it stays.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit
        .maximum
        .unwrap_or(DESCRIPTORS_MAX)
        .min(DESCRIPTORS_MAX);
    if limit.current.is_none_or(|soft| soft >= hard) {
        return;
    }
    let raised = Rlimit {
        current: Some(hard),
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::debug!(hard, "files that may be open at once"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}

/// Serves `router` on `listener` until it is dropped, and every connection with it. Handlers find
/// the client's address in `ConnectInfo<SocketAddr>`; `open_connections` counts the connections.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: Metrics,
    bounds: Bounds,
) -> Infallible {
    let door = Arc::new(Door::new(metrics, bounds));
    let mut connections = JoinSet::new();
    loop {
        let place = door.place().await;
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    at_once(&stream);
                    let arrival = Arrival::new(&door);
                    let socket = Socket { stream, head: Head::new(), place };
                    connections.spawn(converse(socket, peer, router.clone(), arrival));
                }
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    door.complain(&format!("no connection can be accepted: {error}"));
                    door.make_room();
                    sleep(PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
        }
    }
}

/// Sends small writes as they come. Otherwise a frame that follows another waits for the client to
/// acknowledge the first, which it puts off for 40 ms.
fn at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "frames of a connection may be late");
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// One connection: its requests, until it is closed or becomes a WebSocket.
async fn converse(socket: Socket, peer: SocketAddr, router: Router, arrival: Arrival) {
    let arrival = Arc::new(arrival);
    let door = Arc::clone(&arrival.door);
    let routes = TowerToHyperService::new(router);
    let service = {
        let (arrival, head) = (Arc::clone(&arrival), socket.head.clone());
        service_fn(move |request: Request<Incoming>| {
            arrival.has_asked();
            let mut request = bounded(request, arrival.door.bounds.body);
            request.extensions_mut().insert(ConnectInfo(peer));
            if let Some(names) = head.names() {
                request.extensions_mut().insert(names);
            }
            routes.call(request)
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.bounds.next_head)
        .max_buf_size(door.bounds.head_bytes_max)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let ended = tokio::select! {
        ended = connection => ended,
        () = arrival.out_of_patience() => {
            door.complain("a client was cut off that did not finish the head of its request");
            return;
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection failed");
    }
}

/// The request with a body that fails if it takes longer than `patience` from now.
fn bounded(request: Request<Incoming>, patience: Duration) -> Request<Body> {
    if request.body().is_end_stream() {
        return request.map(Body::new);
    }
    let deadline = Instant::now() + patience;
    request.map(|body| {
        let chunks = Body::new(body).into_data_stream();
        Body::from_stream(stream::unfold(Some(chunks), move |chunks| async move {
            let mut chunks = chunks?;
            match timeout_at(deadline, chunks.next()).await {
                Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(chunks))),
                Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
                Ok(None) => None,
                Err(_late) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
            }
        }))
    })
}

/// What all connections of a port share.
struct Door {
    bounds: Bounds,
    metrics: Metrics,
    state: Mutex<State>,
    /// A place has become free.
    freed: Notify,
}

struct State {
    open: u64,
    /// Clients that have not asked for anything yet, by the order of their arrival.
    waiting: BTreeMap<u64, Arc<Notify>>,
    arrivals: u64,
    complained_at: Option<Instant>,
}

impl Door {
    fn new(metrics: Metrics, bounds: Bounds) -> Self {
        Self {
            bounds,
            metrics,
            state: Mutex::new(State {
                open: 0,
                waiting: BTreeMap::new(),
                arrivals: 0,
                complained_at: None,
            }),
            freed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there may be one connection more.
    async fn place(self: &Arc<Self>) -> Place {
        while self.state().open >= self.bounds.connections_max {
            self.complain("there are as many connections as this machine allows; others wait");
            self.cut_oldest();
            self.freed.notified().await;
        }
        self.count(|open| open + 1);
        Place(Arc::clone(self))
    }

    fn count(&self, change: impl FnOnce(u64) -> u64) {
        let mut state = self.state();
        state.open = change(state.open);
        // Waiting to accept takes a place too, but nobody is there.
        let open = u32::try_from(state.open.saturating_sub(1)).unwrap_or(u32::MAX);
        let help = "Open TCP connections of HTTP clients and WebSockets.";
        self.metrics.gauge("open_connections", help, open.into());
    }

    /// Gives up the client that has waited longest without asking for anything.
    fn cut_oldest(&self) {
        if let Some((_, cut)) = self.state().waiting.pop_first() {
            cut.notify_one();
        }
    }

    /// Gives up the quarter of those clients that has waited longest, and at least one.
    fn make_room(&self) {
        let waiting = self.state().waiting.len();
        for _ in 0..=waiting / 4 {
            self.cut_oldest();
        }
    }

    /// Logs, at most once a second.
    fn complain(&self, message: &str) {
        let now = Instant::now();
        let mut state = self.state();
        let is_recent = |at: Instant| now.duration_since(at) < COMPLAINT_INTERVAL;
        if !state.complained_at.is_some_and(is_recent) {
            state.complained_at = Some(now);
            tracing::warn!(open = state.open, "{message}");
        }
    }
}

/// The right to one connection, given back when dropped.
struct Place(Arc<Door>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count(|open| open.saturating_sub(1));
        self.0.freed.notify_one();
    }
}

/// A client that owes its first request.
struct Arrival {
    door: Arc<Door>,
    number: u64,
    cut: Arc<Notify>,
}

impl Arrival {
    fn new(door: &Arc<Door>) -> Self {
        let mut state = door.state();
        state.arrivals += 1;
        let (number, cut) = (state.arrivals, Arc::new(Notify::new()));
        state.waiting.insert(number, Arc::clone(&cut));
        let is_crowded = state.waiting.len() > door.bounds.waiting_max;
        drop(state);
        if is_crowded {
            door.cut_oldest();
        }
        Self {
            door: Arc::clone(door),
            number,
            cut,
        }
    }

    fn has_asked(&self) {
        self.door.state().waiting.remove(&self.number);
    }

    /// Ends when the client is to be given up, which it is not once it has asked.
    async fn out_of_patience(&self) {
        tokio::select! {
            () = self.cut.notified() => {}
            () = sleep(self.door.bounds.first_head) => {
                if !self.door.state().waiting.contains_key(&self.number) {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.has_asked();
    }
}

/// A connection that counts as open for as long as it is held, as a WebSocket too.
struct Socket {
    stream: TcpStream,
    head: Head,
    /// Given back when the connection has ended.
    place: Place,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.head.keep(read, self.place.0.bounds.head_bytes_max);
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
