//! A provider that hands out tokens at a steady pace and knows when it did.
//!
//! It speaks as much of the OpenAI protocol as both servers need: one streamed answer per connection.
//! What it answers was planned for the text of the newest message.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep_until},
};

const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// The provider; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Pacer {
    pub(crate) base_url: String,
    plans: Plans,
    _server: JoinSet<()>,
}

type Plans = Arc<Mutex<HashMap<String, Plan>>>;

/// An answer: its tokens, their pace, and when each left.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) tokens: Vec<String>,
    pub(crate) per_second: u32,
    pub(crate) left_at: Vec<Instant>,
}

impl Pacer {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let plans = Plans::default();
        let known = Arc::clone(&plans);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut calls = JoinSet::new();
            while let Ok((call, _)) = listener.accept().await {
                while calls.try_join_next().is_some() {}
                calls.spawn(serve(call, Arc::clone(&known)));
            }
        });
        Ok(Self {
            base_url,
            plans,
            _server: server,
        })
    }

    /// Answers this message so.
    pub(crate) fn plan(&self, message: &str, tokens: Vec<String>, per_second: u32) {
        let plan = Plan {
            tokens,
            per_second,
            left_at: Vec::new(),
        };
        locked(&self.plans).insert(message.to_owned(), plan);
    }

    /// What became of the plan for this message.
    pub(crate) fn done(&self, message: &str) -> Result<Plan> {
        let plan = locked(&self.plans).remove(message);
        plan.context("an answer that was not planned")
    }
}

fn locked(plans: &Plans) -> MutexGuard<'_, HashMap<String, Plan>> {
    // A panic elsewhere does not make times wrong.
    plans.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(call: TcpStream, plans: Plans) -> Result<()> {
    call.set_nodelay(true)?;
    let mut call = BufReader::new(call);
    let mut length = 0;
    loop {
        let mut line = String::new();
        call.read_line(&mut line).await?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    ensure!(length <= REQUEST_BYTES_MAX, "a request of {length} bytes");
    let mut body = vec![0; length];
    call.read_exact(&mut body).await?;
    let body: Value = serde_json::from_slice(&body)?;
    let messages = body["messages"].as_array().context("messages")?;
    let message = messages.last().and_then(|last| last["content"].as_str());
    let message = message.context("a message")?;
    let plan = locked(&plans).get(message).cloned();
    let plan = plan.context("a message without a plan")?;

    call.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
    )
    .await?;
    let begun = Instant::now();
    let mut place = 0;
    for token in &plan.tokens {
        place += 1;
        sleep_until(begun + Duration::from_secs(1) * place / plan.per_second).await;
        if let Some(plan) = locked(&plans).get_mut(message) {
            plan.left_at.push(Instant::now());
        }
        tell(&mut call, &json!({ "content": token }), None).await?;
    }
    tell(&mut call, &json!({}), Some("stop")).await?;
    call.write_all(b"data: [DONE]\n\n").await?;
    Ok(call.shutdown().await?)
}

async fn tell(
    call: &mut BufReader<TcpStream>,
    delta: &Value,
    finish_reason: Option<&str>,
) -> Result<()> {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason });
    let chunk = json!({ "id": "paced", "object": "chat.completion.chunk", "choices": [choice] });
    Ok(call
        .write_all(format!("data: {chunk}\n\n").as_bytes())
        .await?)
}
