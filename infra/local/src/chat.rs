//! A chat in the terminal, over the real WebSocket.
//!
//! A cut does not lose a message: it is sent again under its own id, and what was shown already is
//! skipped by its place in the stream.

use std::{io::Write, time::Duration};

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use uuid::Uuid;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Longest silence on a running answer; the server gives a sign of life every 4 s.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How often a cut is mended before giving up.
const RECONNECTS_MAX: u32 = 10;
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Who chats, where, and about what.
#[derive(Debug)]
pub struct Chat {
    /// The stack's address, such as `127.0.0.1:3000`.
    pub address: String,
    /// The learner.
    pub user: String,
    /// The conversation.
    pub session: String,
}

impl Chat {
    /// A chat of `user` in the conversation `session`, or in a new one.
    pub fn new(address: String, user: String, session: Option<String>) -> Self {
        let session = session.unwrap_or_else(|| format!("t-{}", Uuid::new_v4().simple()));
        Self {
            address,
            user,
            session,
        }
    }

    /// Says `message` and shows the answer; without one, says what is typed until end of input.
    ///
    /// # Errors
    /// No stack answers, or it is away for too long.
    pub async fn run(&self, message: Option<String>) -> anyhow::Result<()> {
        let mut socket = self.connect().await?;
        if let Some(message) = message {
            return self.say(&mut socket, &message).await;
        }
        write(&format!(
            "Chatting as {} in {}. Ctrl-D ends.\n",
            self.user, self.session
        ))?;
        let mut lines = BufReader::new(stdin()).lines();
        loop {
            write("\n> ")?;
            let Some(line) = lines.next_line().await? else {
                return write("\n");
            };
            if !line.trim().is_empty() {
                self.say(&mut socket, &line).await?;
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<Socket> {
        let token_url = format!("http://{}/token", self.address);
        let answer = reqwest::Client::new()
            .get(token_url)
            .query(&[("user", &self.user)])
            .send()
            .await;
        let answer = answer.with_context(|| {
            format!(
                "no stack answers at {}; start one with `cargo run` in another terminal",
                self.address
            )
        })?;
        let answer: Value = answer.error_for_status()?.json().await?;
        let token = answer
            .get("token")
            .and_then(Value::as_str)
            .context("the stack gave no token")?;
        let mut request = format!("ws://{}/", self.address).into_client_request()?;
        let protocols = format!("sparkle.v2, bearer.{token}").parse()?;
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocols);
        Ok(connect_async(request).await?.0)
    }

    /// Says one message and shows its answer, over as many connections as that takes.
    async fn say(&self, socket: &mut Socket, message: &str) -> anyhow::Result<()> {
        let request_id = Uuid::new_v4().to_string();
        let frame = json!({
            "version": "2.0",
            "type": "chat",
            "request_id": request_id,
            "payload": { "session_id": self.session, "message": message },
        });
        let mut shown = Shown::default();
        for _ in 0..RECONNECTS_MAX {
            if socket.send(Message::text(frame.to_string())).await.is_ok()
                && shown.follow(socket, &request_id).await?
            {
                return Ok(());
            }
            sleep(RECONNECT_PAUSE).await;
            if let Ok(fresh) = self.connect().await {
                *socket = fresh;
            }
        }
        bail!(
            "the connection is lost; the answer will be in the conversation {}",
            self.session
        )
    }
}

/// What of an answer is on the screen.
#[derive(Default)]
struct Shown {
    last_seq: u64,
    stream: Option<u64>,
}

impl Shown {
    /// Shows frames until the answer is over (true) or the connection (false).
    async fn follow(&mut self, socket: &mut Socket, request_id: &str) -> anyhow::Result<bool> {
        while let Ok(Some(Ok(message))) = timeout(SILENCE_MAX, socket.next()).await {
            let Message::Text(text) = message else {
                continue;
            };
            let Ok(frame) = serde_json::from_str::<Value>(&text) else {
                continue;
            };
            let names_request = frame.get("request_id").and_then(Value::as_str) == Some(request_id);
            if names_request {
                self.stream = frame.get("stream").and_then(Value::as_u64).or(self.stream);
            }
            let is_ours = names_request
                || (self.stream.is_some()
                    && frame.get("stream").and_then(Value::as_u64) == self.stream);
            if is_ours && self.show(&frame)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Shows one frame; true if it is the last.
    fn show(&mut self, frame: &Value) -> anyhow::Result<bool> {
        let seq = frame.get("seq").and_then(Value::as_u64).unwrap_or_default();
        if seq != 0 && seq <= self.last_seq {
            return Ok(false);
        }
        self.last_seq = self.last_seq.max(seq);
        let payload = frame.get("payload").unwrap_or(&Value::Null);
        let text = |name: &str| {
            payload
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let number = |name: &str| {
            payload
                .get(name)
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        match frame.get("type").and_then(Value::as_str) {
            Some("delta") => {
                if payload
                    .get("restart")
                    .and_then(Value::as_bool)
                    .unwrap_or_default()
                {
                    write("\n[starting over]\n")?;
                }
                write(text("text"))?;
            }
            Some("usage") => write(&format!(
                "\n[{} + {} tokens, {} millionths of a dollar{}]",
                number("prompt_tokens"),
                number("completion_tokens"),
                number("cost_microusd"),
                if payload.get("estimated").is_some() {
                    ", estimated"
                } else {
                    ""
                },
            ))?,
            Some("done") => {
                write("\n")?;
                return Ok(true);
            }
            Some("error") => {
                write(&format!("\n{} ({})\n", text("message"), text("code")))?;
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
