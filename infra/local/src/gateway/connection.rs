//! One open WebSocket: reading, writing, its two time limits, and how it ends.
//!
//! It speaks to tungstenite directly because axum's WebSocket can neither send fragments nor tell
//! one protocol error from another.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::clock::Clock;
use super::event::{Inbound, Opening};
use super::outgoing::{Outgoing, Writer};
use super::{BinaryFrames, Gateway, Limits};

/// Small, because most of many thousand sockets are idle; a larger frame gets its room when its
/// header has been read.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// What may wait in tungstenite besides one frame: its header, and a pong. Without a bound, answers
/// to a client that sends pings and never reads would pile up.
const WRITE_BUFFER_SPARE_BYTES: usize = 256;

/// What the rest of the gateway knows of an open connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) opening: Opening,
    /// `requestContext.authorizer` of its events.
    pub(super) authorizer: Option<Map<String, Value>>,
    /// One permit for each invocation that a message may have running.
    in_flight: Arc<Semaphore>,
    /// One permit for each byte of those messages, and how many there are.
    in_flight_bytes: (Arc<Semaphore>, u32),
    outgoing: mpsc::Sender<Outgoing>,
    /// One permit for each byte that may wait to be written.
    room: Arc<Semaphore>,
    last_active_ms: AtomicU64,
    /// Whether the client's last message was binary.
    speaks_binary: AtomicBool,
    deleted: Notify,
}

/// A message's right to run, given back when dropped.
#[derive(Debug)]
pub(super) struct Running(
    #[expect(dead_code, reason = "held")] OwnedSemaphorePermit,
    #[expect(dead_code, reason = "held")] OwnedSemaphorePermit,
);

/// What became of a message for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It will be written after every message pushed before it.
    Queued,
    /// The client does not read fast enough: too much is waiting for it.
    Full,
    /// The connection is closing.
    Gone,
}

/// How a connection ended: what `$disconnect` is told. Documented are 1003, 1009 and their causes;
/// 1001 `Going away` and the texts of 1005 and 1006 are from logged events; the other texts are
/// unconfirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// A WebSocket close code.
    pub(super) status: u16,
    pub(super) reason: String,
    by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Client,
    Gateway,
    Loss,
}

impl Ending {
    /// The TCP connection broke, or never became a socket.
    pub(super) fn lost() -> Self {
        Self {
            status: 1006,
            reason: "Connection closed abnormally".to_owned(),
            by: By::Loss,
        }
    }

    fn by_client(frame: Option<CloseFrame>) -> Self {
        let (status, reason) = frame.map_or_else(
            || (1005, "Client-side close frame status not set".to_owned()),
            |frame| (frame.code.into(), frame.reason.as_str().to_owned()),
        );
        Self {
            status,
            reason,
            by: By::Client,
        }
    }

    fn by_gateway(code: CloseCode, reason: &str) -> Self {
        Self {
            status: code.into(),
            reason: reason.to_owned(),
            by: By::Gateway,
        }
    }

    fn going_away() -> Self {
        Self::by_gateway(CloseCode::Away, "Going away")
    }

    /// Whether the client broke a rule.
    fn is_for_cause(&self) -> bool {
        let harmless = [CloseCode::Away, CloseCode::Normal].map(u16::from);
        self.by == By::Gateway && !harmless.contains(&self.status)
    }

    /// What a failed read means: the client broke a rule, or is gone.
    fn of_read(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => Self::by_gateway(CloseCode::Size, "Message or frame too long"),
            Error::Utf8(_) => Self::by_gateway(CloseCode::Invalid, "Text is not UTF-8"),
            Error::Protocol(
                tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )
            | Error::Io(_) => Self::lost(),
            _ => Self::by_gateway(CloseCode::Protocol, "Protocol error"),
        }
    }
}

impl Connection {
    /// A connection whose `$connect` was accepted, and what [`serve`] will write to it.
    pub(super) fn new(
        opening: Opening,
        authorizer: Option<Map<String, Value>>,
        limits: &Limits,
        clock: &Clock,
    ) -> (Self, mpsc::Receiver<Outgoing>) {
        let permits = |count: u32| usize::try_from(count.max(1)).unwrap_or(1);
        let (sender, receiver) = mpsc::channel(permits(limits.outgoing_messages_max));
        let connection = Self {
            opening,
            authorizer,
            in_flight: Arc::new(Semaphore::new(permits(limits.in_flight_max))),
            in_flight_bytes: (
                Arc::new(Semaphore::new(permits(limits.in_flight_bytes_max))),
                limits.in_flight_bytes_max.max(1),
            ),
            outgoing: sender,
            room: Arc::new(Semaphore::new(permits(limits.outgoing_bytes_max))),
            last_active_ms: AtomicU64::new(clock.now_ms()),
            speaks_binary: AtomicBool::new(false),
            deleted: Notify::new(),
        };
        (connection, receiver)
    }

    /// Waits until a message of so many bytes may have its function run; it may as long as what
    /// this returns is held.
    pub(super) async fn may_run(&self, bytes: usize) -> Option<Running> {
        let (room, all) = &self.in_flight_bytes;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(*all);
        let place = Arc::clone(&self.in_flight).acquire_owned().await.ok()?;
        let room = Arc::clone(room).acquire_many_owned(bytes).await.ok()?;
        Some(Running(place, room))
    }

    /// Hands a message to the writer, as text unless the client speaks binary. Never waits.
    pub(super) fn push(&self, text: Bytes) -> Pushed {
        // An empty message takes its place in the queue too.
        let bytes = u32::try_from(text.len().max(1)).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bytes) else {
            return Pushed::Full;
        };
        let message = if self.speaks_binary.load(Ordering::Relaxed) {
            Outgoing::binary(text, room)
        } else {
            Outgoing::text(text, room)
        };
        match self.outgoing.try_send(message) {
            Ok(()) => Pushed::Queued,
            Err(TrySendError::Full(_)) => Pushed::Full,
            Err(TrySendError::Closed(_)) => Pushed::Gone,
        }
    }

    /// Has the connection closed, after what was pushed before.
    pub(super) fn delete(&self) {
        self.deleted.notify_one();
    }

    /// Unix time in milliseconds of the last message in either direction.
    pub(super) fn last_active_ms(&self) -> u64 {
        self.last_active_ms.load(Ordering::Relaxed)
    }

    /// A whole message went one way. Frames, fragments and bytes of one do not count: a client
    /// that sends them one a second is idle.
    fn touch(&self, clock: &Clock) {
        self.last_active_ms.store(clock.now_ms(), Ordering::Relaxed);
    }

    /// Ends when no message went either way for `limit`.
    ///
    /// AWS documents "10 minutes idle" and not whether pings count. Only messages count here, so
    /// that a client which relies on pings is found out before it meets the stricter reading.
    async fn idle(&self, limit: Duration, clock: &Clock) -> Ending {
        loop {
            let idle = Duration::from_millis(clock.now_ms().saturating_sub(self.last_active_ms()));
            match limit.checked_sub(idle) {
                None | Some(Duration::ZERO) => return Ending::going_away(),
                Some(left) => sleep(left).await,
            }
        }
    }
}

/// Serves an open connection until it ends. `forget` is called as soon as that is decided, before
/// the closing handshake, which is bounded by [`Limits::close_timeout`].
pub(super) async fn serve<Io: AsyncRead + AsyncWrite + Unpin>(
    gateway: &Gateway,
    connection: &Arc<Connection>,
    io: Io,
    outgoing: mpsc::Receiver<Outgoing>,
    forget: impl FnOnce(),
) -> Ending {
    let limits = gateway.limits();
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(limits.frame_bytes_max + WRITE_BUFFER_SPARE_BYTES)
        .max_frame_size(Some(limits.frame_bytes_max))
        .max_message_size(Some(limits.message_bytes_max));
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let (sink, mut stream) = socket.split();
    let mut writer = Writer::new(sink, outgoing, limits.frame_bytes_max);

    let ending = tokio::select! {
        ending = read(&mut stream, gateway, connection) => ending,
        _broken = writer.run(|| connection.touch(gateway.clock())) => Ending::lost(),
        ending = connection.idle(limits.idle_timeout, gateway.clock()) => ending,
        () = sleep(limits.life) => Ending::going_away(),
        () = gateway.closing() => Ending::going_away(),
        () = connection.deleted.notified() => {
            Ending::by_gateway(CloseCode::Normal, "Connection deleted")
        }
    };
    forget();
    if ending.is_for_cause() {
        gateway.complain(&connection.opening.connection_id, &ending.reason);
    }
    if timeout(limits.close_timeout, close(&ending, writer, stream))
        .await
        .is_err()
    {
        tracing::debug!(
            id = connection.opening.connection_id,
            "no closing handshake"
        );
    }
    ending
}

/// Reads until the client closes, breaks a rule or is gone.
async fn read<Io: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut SplitStream<WebSocketStream<Io>>,
    gateway: &Gateway,
    connection: &Arc<Connection>,
) -> Ending {
    loop {
        match stream.next().await {
            None => return Ending::lost(),
            Some(Err(error)) => return Ending::of_read(&error),
            Some(Ok(Message::Close(frame))) => return Ending::by_client(frame),
            Some(Ok(Message::Text(text))) => {
                connection.touch(gateway.clock());
                connection.speaks_binary.store(false, Ordering::Relaxed);
                let message = Inbound::Text(text.as_str());
                gateway.receive(connection, message).await;
            }
            Some(Ok(Message::Binary(bytes))) => match gateway.limits().binary_frames {
                BinaryFrames::Refuse => {
                    return Ending::by_gateway(
                        CloseCode::Unsupported,
                        "Binary frames are not supported",
                    );
                }
                BinaryFrames::Carry => {
                    connection.touch(gateway.clock());
                    connection.speaks_binary.store(true, Ordering::Relaxed);
                    gateway.receive(connection, Inbound::Binary(&bytes)).await;
                }
            },
            // tungstenite answers pings itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
        }
    }
}

/// The closing handshake, from whichever side it began.
async fn close<Io: AsyncRead + AsyncWrite + Unpin>(
    ending: &Ending,
    mut writer: Writer<Io>,
    mut stream: SplitStream<WebSocketStream<Io>>,
) {
    match ending.by {
        By::Loss => {}
        // Reading on is what sends tungstenite's reply.
        By::Client => while let Some(Ok(_)) = stream.next().await {},
        By::Gateway => {
            let reason = ending.reason.as_str().into();
            let frame = CloseFrame {
                code: CloseCode::from(ending.status),
                reason,
            };
            if writer.close(frame).await.is_err() {
                return;
            }
            while let Some(Ok(_)) = stream.next().await {}
            if let Ok(socket) = writer.sink.reunite(stream)
                && let Err(error) = drain(socket).await
            {
                tracing::debug!(%error, "the client did not wait for the end");
            }
        }
    }
}

/// Reads until the client hangs up. After an error tungstenite reads no further, and a socket that
/// is closed with bytes unread is reset: the client would lose the close frame that says why.
async fn drain<Io: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<Io>,
) -> io::Result<()> {
    let io = socket.get_mut();
    io.shutdown().await?;
    let mut discarded = [0; 4 * 1024];
    while io.read(&mut discarded).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::body::Body;
    use axum::extract::Request;
    use futures_util::SinkExt;
    use tokio::time::{Instant, advance, interval};

    use super::super::event;
    use super::*;
    use crate::lambda::Lambda;
    use crate::metrics::Metrics;
    use crate::template::WebSocketApi;

    fn opened(limits: &Limits, clock: &Clock) -> (Connection, mpsc::Receiver<Outgoing>) {
        let request = Request::new(Body::empty());
        let (opening, _) = event::open(&request, "127.0.0.1".to_owned(), "dev", clock);
        Connection::new(opening, None, limits, clock)
    }

    /// A whole connection over a pipe, on the virtual clock: how it is closed, and after how long.
    /// The client says something every `every`.
    async fn lived(every: Duration) -> (Ending, CloseFrame, Duration) {
        let api = WebSocketApi {
            logical_id: "WebSocketApi".to_owned(),
            stage: "dev".to_owned(),
            route_selection_expression: "$request.body.type".to_owned(),
            authorizer: None,
            routes: BTreeMap::new(),
        };
        let metrics = Metrics::default();
        let lambda = Lambda::start(Vec::new(), metrics.clone()).await.unwrap();
        let gateway = Gateway::new(api, lambda, metrics, Limits::default());
        let (connection, outgoing) = opened(gateway.limits(), gateway.clock());
        let connection = Arc::new(connection);
        let (client_io, gateway_io) = tokio::io::duplex(64 * 1024);
        let client = async {
            let socket = WebSocketStream::from_raw_socket(client_io, Role::Client, None).await;
            let (mut sink, mut stream) = socket.split();
            let mut pace = interval(every);
            loop {
                tokio::select! {
                    said = stream.next() => match said.unwrap().unwrap() {
                        Message::Close(frame) => return frame.unwrap(),
                        // The API has no route: each message is answered with an error frame.
                        other => assert!(other.is_text()),
                    },
                    _ = pace.tick() => sink.send(Message::text("busy")).await.unwrap(),
                }
            }
        };
        let opened_at = Instant::now();
        let served = serve(&gateway, &connection, gateway_io, outgoing, || {});
        let (ending, frame) = tokio::join!(served, client);
        (ending, frame, opened_at.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_ends_after_10_minutes_and_a_busy_one_after_2_hours() {
        for (every, after) in [
            (Duration::from_hours(24), Duration::from_mins(10)),
            (Duration::from_mins(11), Duration::from_mins(10)),
            (Duration::from_mins(9), Duration::from_hours(2)),
        ] {
            let (ending, frame, lived) = lived(every).await;
            assert_eq!(ending, Ending::going_away());
            assert_eq!(frame.code, CloseCode::Away);
            // The clock counts whole milliseconds, and each message takes a part of one.
            let late = lived.checked_sub(after).unwrap();
            assert!(
                late < Duration::from_secs(1),
                "{lived:?} instead of {after:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_counts_from_the_last_message() {
        let (clock, limits) = (Clock::new(), Limits::default());
        let (connection, _outgoing) = opened(&limits, &clock);
        let opened_at = Instant::now();
        advance(Duration::from_mins(9)).await;
        connection.touch(&clock);
        let ending = connection.idle(limits.idle_timeout, &clock).await;
        assert_eq!(
            (ending.status, ending.reason.as_str()),
            (1001, "Going away")
        );
        assert_eq!(opened_at.elapsed(), Duration::from_mins(19));
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_full_by_bytes_and_by_messages() {
        let (clock, limits) = (Clock::new(), Limits::default());
        let (connection, mut outgoing) = opened(&limits, &clock);
        let large = Bytes::from(vec![b'x'; limits.message_bytes_max]);
        let queued = (0..100)
            .filter(|_| connection.push(large.clone()) == Pushed::Queued)
            .count();
        assert_eq!(queued, 8, "1 MiB of 128 KiB messages");
        drop(outgoing.recv().await);
        assert_eq!(
            connection.push(large),
            Pushed::Queued,
            "a written message gives its room back"
        );

        let (connection, outgoing) = opened(&limits, &clock);
        let empty = || connection.push(Bytes::new());
        assert_eq!((0..300).filter(|_| empty() == Pushed::Queued).count(), 256);
        assert_eq!(empty(), Pushed::Full);
        drop(outgoing);
        assert_eq!(empty(), Pushed::Gone);
    }
}
