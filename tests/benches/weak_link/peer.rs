//! The peer: a server that hands on every token at once as an envelope of six JSON fields.
//!
//! It spares itself all that Sparkle does besides: it checks nobody's token, keeps nothing, and asks the
//! same provider as soon as the question is there.

use std::{net::SocketAddr, time::Instant};

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sparkle_tests::http;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

/// Some moment as Unix ms: what matters is how long it is when written.
const NOW_MS: u64 = 1_790_000_000_000;

/// The server; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    _server: JoinSet<()>,
}

impl Peer {
    pub(crate) async fn start(base_url: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let url = format!("{base_url}/chat/completions");
        let client = http();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(serve(connection, client.clone(), url.clone()));
            }
        });
        Ok(Self {
            address,
            _server: server,
        })
    }
}

async fn serve(connection: TcpStream, client: reqwest::Client, url: String) -> Result<()> {
    connection.set_nodelay(true)?;
    let mut socket = accept_async(connection).await?;
    while let Some(Ok(Message::Text(question))) = socket.next().await {
        let begun = Instant::now();
        let question: Value = serde_json::from_str(question.as_str())?;
        let messages = json!([{ "role": "user", "content": question["payload"]["message"] }]);
        let body = json!({ "model": "gpt-4o-mini", "stream": true, "messages": messages });
        let mut answer = client.post(&url).json(&body).send().await?;
        let envelope = |kind: &str, payload: Value| {
            let frame = json!({
                "version": "2.0",
                "type": kind,
                "payload": payload,
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                "request_id": question["request_id"],
                "timestamp": NOW_MS + begun.elapsed().as_secs(),
            });
            Message::text(frame.to_string())
        };
        let mut rest = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if let Some(text) = token(&line)? {
                    socket
                        .send(envelope("delta", json!({ "text": text })))
                        .await?;
                }
            }
        }
        socket
            .send(envelope("done", json!({ "finish_reason": "stop" })))
            .await?;
    }
    Ok(())
}

/// The text in a line of a streamed answer.
fn token(line: &[u8]) -> Result<Option<String>> {
    let line = std::str::from_utf8(line)?.trim();
    let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
        return Ok(None);
    };
    let chunk: Value = serde_json::from_str(data).context("a chunk")?;
    let text = chunk["choices"][0]["delta"]["content"].as_str();
    Ok(text.map(str::to_owned))
}
