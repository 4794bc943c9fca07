//! A connection to the stack that is made anew as often as it breaks.
//!
//! Hides tokens, the handshake, the pauses between attempts, and the frames that mean "connect again".

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Attempts in a row, none of which was answered with a frame.
const ATTEMPTS_MAX: u32 = 15;
/// The longest pause before the second attempt; it doubles with every further one.
const PAUSE_FIRST_MS: u64 = 500;
const PAUSE_MAX_MS: u64 = 10_000;
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// What happens on a link.
pub(super) enum Event {
    /// A frame came.
    Frame(Value),
    /// The connection is gone; the next event is another one.
    Lost,
    /// There is a connection again. What was sent on the last one may not have arrived.
    Open,
}

/// A connection, or the attempts at another one.
pub(super) struct Link {
    address: String,
    user: String,
    socket: Option<Socket>,
    attempts: u32,
}

impl Link {
    /// Connects to the stack at `address` as `user`.
    ///
    /// # Errors
    /// No stack answers there.
    pub(super) async fn open(address: &str, user: &str) -> anyhow::Result<Self> {
        Ok(Self {
            address: address.to_owned(),
            user: user.to_owned(),
            socket: Some(connect(address, user).await?),
            attempts: 0,
        })
    }

    /// Whether frames can be sent.
    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Gives up this connection.
    pub(super) fn hang_up(&mut self) {
        self.socket = None;
    }

    /// Sends a frame. That it could not be sent is told by the next event.
    pub(super) async fn send(&mut self, frame: &Value) {
        if let Some(socket) = &mut self.socket {
            // Where this fails, reading fails as well.
            drop(socket.send(Message::text(frame.to_string())).await);
        }
    }

    /// Waits for the next event, and connects where there is no connection. May be dropped at any time.
    ///
    /// # Errors
    /// No attempt to connect succeeded for about two minutes.
    pub(super) async fn next(&mut self) -> anyhow::Result<Event> {
        if let Some(socket) = &mut self.socket {
            let event = event(socket).await;
            match &event {
                Event::Frame(frame) if is_lock_out(frame) => {
                    // A fresh token may help; if not, the pauses grow.
                    self.socket = None;
                    return Ok(Event::Lost);
                }
                Event::Frame(frame) if is_type(frame, "reconnect") => {
                    self.socket = None;
                    return Ok(Event::Lost);
                }
                Event::Frame(_) => self.attempts = 0,
                Event::Lost | Event::Open => self.socket = None,
            }
            return Ok(event);
        }
        loop {
            if self.attempts == ATTEMPTS_MAX {
                bail!("{} cannot be reached", self.address);
            }
            let pause = pause(self.attempts);
            self.attempts += 1;
            sleep(pause).await;
            let attempt = timeout(CONNECT_MAX, connect(&self.address, &self.user)).await;
            if let Ok(Ok(socket)) = attempt {
                self.socket = Some(socket);
                return Ok(Event::Open);
            }
        }
    }
}

/// The next frame, or the end of the connection.
async fn event(socket: &mut Socket) -> Event {
    while let Some(Ok(message)) = socket.next().await {
        match message {
            // What has no type is not of the protocol: the gateway's own messages.
            Message::Text(text) => {
                if let Ok(frame) = serde_json::from_str::<Value>(&text)
                    && frame.get("type").is_some()
                {
                    return Event::Frame(frame);
                }
            }
            Message::Close(_) => break,
            _ => {}
        }
    }
    Event::Lost
}

fn is_type(frame: &Value, name: &str) -> bool {
    frame.get("type").and_then(Value::as_str) == Some(name)
}

fn is_lock_out(frame: &Value) -> bool {
    let code = frame.pointer("/payload/code").and_then(Value::as_str);
    is_type(frame, "error") && code == Some("UNAUTHENTICATED")
}

/// A random pause, so that the clients of a stack that was away do not come back all at once.
fn pause(attempts: u32) -> Duration {
    let doubled = PAUSE_FIRST_MS.saturating_mul(1 << attempts.min(16));
    Duration::from_millis(fastrand::u64(..=doubled.min(PAUSE_MAX_MS)))
}

/// A connection with a fresh token.
async fn connect(address: &str, user: &str) -> anyhow::Result<Socket> {
    let answer = reqwest::Client::new()
        .get(format!("http://{address}/token"))
        .query(&[("user", user)])
        .send()
        .await;
    let answer = answer.with_context(|| {
        format!("no stack answers at {address}; start one with `cargo run` in another terminal")
    })?;
    let answer: Value = answer.error_for_status()?.json().await?;
    let token = answer.get("token").and_then(Value::as_str);
    let token = token.context("the stack gave no token")?;
    let mut request = format!("ws://{address}/").into_client_request()?;
    let protocols = format!("sparkle.v2, bearer.{token}").parse()?;
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocols);
    Ok(connect_async(request).await?.0)
}
