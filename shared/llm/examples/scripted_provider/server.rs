//! The scripted provider: a real HTTP server around the offline model.
//!
//! | call | does |
//! | --- | --- |
//! | `POST /v1/chat/completions` | streams what the newest user message scripts (see `offline::Script`), else what the offline model says; a query such as `?fail=cut&fail_after=2` is laid over the script |
//! | `POST /script?times=N` | the next N calls obey the script in the body, whatever they say themselves |
//! | `GET /stats` | what was served, as [`Stats`] |
//! | `GET /requests` | the bodies of the last 64 calls, oldest first, each with the call's headers but without its key |
//!
//! `timeout` and `hang` are both silence: how long is up to the caller.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sparkle_llm::offline::{Failure, Script, Tutor};
use sparkle_llm::{Llm, LlmError, Message, Piece, Prompt, Reply, Role, TokenUsage, ToolCall};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How many calls `GET /requests` remembers.
const REQUESTS_MAX: usize = 64;

/// How many orders can wait.
const ORDERS_MAX: usize = 10_000;

/// A provider that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct ScriptedProvider {
    address: SocketAddr,
    /// Where to look at what was served, and to give orders.
    pub(crate) desk: Arc<Desk>,
    _server: JoinSet<()>,
}

/// What was served since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Stats {
    /// Connections that were opened.
    pub(crate) connections: u64,
    /// Calls that were understood: the sum of the next three once all are over.
    pub(crate) calls: u64,
    /// Answers that came to their end.
    pub(crate) finished: u64,
    /// Answers whose caller went away.
    pub(crate) aborted: u64,
    /// Answers that failed as scripted.
    pub(crate) failed: u64,
    /// Pieces of text that were handed to the network, also of answers that did not finish.
    pub(crate) pieces: u64,
    /// What the calls cost: the reported usage of finished answers, and of the others the prompt
    /// and what was served of the answer. A call refused before its answer costs nothing.
    pub(crate) prompt_tokens: u64,
    /// See `prompt_tokens`.
    pub(crate) completion_tokens: u64,
}

/// What the calls have in common.
#[derive(Debug)]
pub(crate) struct Desk {
    llm: Llm,
    tutor: Tutor,
    stats: Mutex<Stats>,
    orders: Mutex<VecDeque<Script>>,
    requests: Mutex<VecDeque<Value>>,
}

impl ScriptedProvider {
    /// Serves on the listener.
    pub(crate) fn start(listener: TcpListener) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk {
            llm: Llm::Offline(Tutor::scripted().paced(Duration::ZERO)),
            tutor: Tutor::scripted(),
            stats: Mutex::default(),
            orders: Mutex::default(),
            requests: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/script", post(order))
            .route("/stats", get(stats))
            .route("/requests", get(requests))
            .with_state(Arc::clone(&desk));
        let counted = Arc::clone(&desk);
        let listener = listener.tap_io(move |_| locked(&counted.stats).connections += 1);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let Err(error) = axum::serve(listener, router).await else {
                return;
            };
            tracing::error!(%error, "the scripted provider has stopped");
        });
        Ok(Self {
            address,
            desk,
            _server: server,
        })
    }

    /// What `SPARKLE_LLM_BASE_URL` should be.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere does not make counts wrong.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn stats(State(desk): State<Arc<Desk>>) -> Json<Stats> {
    Json(desk.stats())
}

async fn requests(State(desk): State<Arc<Desk>>) -> Json<Vec<Value>> {
    Json(desk.requests())
}

#[derive(Deserialize)]
struct Order {
    #[serde(default = "once")]
    times: usize,
}

fn once() -> usize {
    1
}

async fn order(
    State(desk): State<Arc<Desk>>,
    Query(Order { times }): Query<Order>,
    Json(script): Json<Script>,
) -> StatusCode {
    desk.order(&script, times);
    StatusCode::NO_CONTENT
}

/// What a query lays over a script.
#[derive(Deserialize)]
struct Overlay {
    fail: Option<Failure>,
    fail_after: Option<usize>,
    pause_ms: Option<u64>,
    open_pause_ms: Option<u64>,
    retry_after_s: Option<u64>,
}

async fn chat(
    State(desk): State<Arc<Desk>>,
    Query(overlay): Query<Overlay>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response<Body> {
    desk.remember(&headers, &body);
    let Some(prompt) = prompt(&body) else {
        return refusal(&LlmError::Garbage { what: "not a chat" });
    };
    let mut visit = Visit::begin(Arc::clone(&desk), wants_usage(&body));
    let begun = match desk.script(&prompt, &overlay) {
        Some(script) => {
            let is_silent = script.fail_after == 0
                && matches!(script.fail, Some(Failure::Timeout | Failure::Hang));
            if is_silent {
                // Dropped, and counted, when the caller goes away.
                return std::future::pending().await;
            }
            desk.tutor.perform(script, &prompt).await
        }
        None => desk.llm.stream(&prompt).await,
    };
    match begun {
        Ok(reply) => visit.reply = Some(reply),
        Err(error @ (LlmError::Cut { .. } | LlmError::Garbage { .. })) => {
            visit.fail(&error);
        }
        Err(error) => {
            visit.end = End::Failed;
            return refusal(&error);
        }
    }
    let body = Body::from_stream(futures_util::stream::unfold(visit, |mut visit| async {
        let event = visit.next().await?;
        Some((event, visit))
    }));
    ([("content-type", "text/event-stream")], body).into_response()
}

impl Desk {
    /// What `GET /stats` says.
    pub(crate) fn stats(&self) -> Stats {
        *locked(&self.stats)
    }

    /// What `GET /requests` says.
    pub(crate) fn requests(&self) -> Vec<Value> {
        locked(&self.requests).iter().cloned().collect()
    }

    /// What `POST /script` does: the next calls, at most [`ORDERS_MAX`], obey this script.
    pub(crate) fn order(&self, script: &Script, times: usize) {
        let mut orders = locked(&self.orders);
        let room = ORDERS_MAX.saturating_sub(orders.len());
        orders.extend(std::iter::repeat_n(script.clone(), times.min(room)));
    }

    fn remember(&self, headers: &HeaderMap, body: &Value) {
        let headers: serde_json::Map<String, Value> = headers
            .iter()
            .filter(|(name, _)| *name != "authorization")
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into(),
                )
            })
            .collect();
        let mut requests = locked(&self.requests);
        if requests.len() == REQUESTS_MAX {
            requests.pop_front();
        }
        requests.push_back(json!({"headers": headers, "body": body}));
    }

    fn script(&self, prompt: &Prompt, overlay: &Overlay) -> Option<Script> {
        let order = locked(&self.orders).pop_front();
        let script = order.or_else(|| Script::of(prompt)?.ok());
        if overlay.fail.is_none() && overlay.pause_ms.is_none() && overlay.open_pause_ms.is_none() {
            return script;
        }
        let mut script = script.unwrap_or_else(|| Script {
            pieces: ["one ", "two ", "three"].map(str::to_owned).to_vec(),
            ..Script::default()
        });
        script.fail = overlay.fail.or(script.fail);
        script.fail_after = overlay.fail_after.unwrap_or(script.fail_after);
        script.pause_ms = overlay.pause_ms.unwrap_or(script.pause_ms);
        script.open_pause_ms = overlay.open_pause_ms.unwrap_or(script.open_pause_ms);
        script.retry_after_s = overlay.retry_after_s.or(script.retry_after_s);
        Some(script)
    }
}

/// One call, from the first look at it until its answer is over or its caller gone.
struct Visit {
    desk: Arc<Desk>,
    /// Of its answer, another for each call.
    id: String,
    reply: Option<Reply>,
    wants_usage: bool,
    calls: Vec<ToolCall>,
    events: VecDeque<Result<Bytes, std::io::Error>>,
    cost: TokenUsage,
    end: End,
}

#[derive(PartialEq)]
enum End {
    NotYet,
    Finished,
    Failed,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut stats = locked(&self.desk.stats);
        match self.end {
            End::NotYet => stats.aborted += 1,
            End::Finished => stats.finished += 1,
            End::Failed => stats.failed += 1,
        }
        let cost = match (&self.end, &self.reply) {
            (End::NotYet | End::Failed, Some(reply)) => reply.served().bill().unwrap_or_default(),
            _ => self.cost,
        };
        stats.prompt_tokens += u64::from(cost.prompt_tokens);
        stats.completion_tokens += u64::from(cost.completion_tokens);
    }
}

impl Visit {
    fn begin(desk: Arc<Desk>, wants_usage: bool) -> Self {
        let calls = {
            let mut stats = locked(&desk.stats);
            stats.calls += 1;
            stats.calls
        };
        Self {
            desk,
            id: format!("scripted-{calls}"),
            reply: None,
            wants_usage,
            calls: Vec::new(),
            events: VecDeque::new(),
            cost: TokenUsage::default(),
            end: End::NotYet,
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        while self.events.is_empty() {
            match self.reply.as_mut()?.next().await? {
                Ok(Piece::Text(text)) => {
                    locked(&self.desk.stats).pieces += 1;
                    self.chunk(&json!({"content": text}), None);
                }
                Ok(Piece::ToolCall(call)) => self.calls.push(call),
                Ok(Piece::Finish { reason, usage, .. }) => {
                    self.finish(reason.as_str(), usage.unwrap_or_default());
                }
                Err(LlmError::Timeout { .. }) => return std::future::pending().await,
                Err(error) => self.fail(&error),
            }
        }
        if let Some(Err(_)) = self.events.front() {
            // Lets what came before the cut out on the wire: hyper flushes when a body has to wait.
            tokio::task::yield_now().await;
        }
        self.events.pop_front()
    }

    fn event(&mut self, data: &str) {
        self.events
            .push_back(Ok(Bytes::from(format!("data: {data}\n\n"))));
    }

    fn chunk(&mut self, delta: &Value, finish_reason: Option<&str>) {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
        let chunk = json!({"id": self.id, "object": "chat.completion.chunk", "choices": [choice]});
        self.event(&chunk.to_string());
    }

    fn finish(&mut self, reason: &str, usage: TokenUsage) {
        self.tool_calls();
        self.chunk(&json!({}), Some(reason));
        if self.wants_usage {
            let report = json!({"id": self.id, "choices": [], "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
                "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
            }});
            self.event(&report.to_string());
        }
        self.event("[DONE]");
        self.cost = usage;
        self.end = End::Finished;
    }

    /// The calls woven into each other: first the heads, then the arguments three characters at a
    /// time, taking turns.
    fn tool_calls(&mut self) {
        let calls = std::mem::take(&mut self.calls);
        for (index, call) in calls.iter().enumerate() {
            let head = json!({"index": index, "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": ""}});
            self.chunk(&json!({"tool_calls": [head]}), None);
        }
        let mut rest: Vec<Vec<char>> = calls
            .iter()
            .map(|call| call.arguments.chars().rev().collect())
            .collect();
        while rest.iter().any(|chars| !chars.is_empty()) {
            for (index, chars) in rest
                .iter_mut()
                .enumerate()
                .filter(|(_, chars)| !chars.is_empty())
            {
                let part: String = chars
                    .split_off(chars.len().saturating_sub(3))
                    .iter()
                    .rev()
                    .collect();
                let delta = json!({"index": index, "function": {"arguments": part}});
                self.chunk(&json!({"tool_calls": [delta]}), None);
            }
        }
    }

    fn fail(&mut self, error: &LlmError) {
        self.end = End::Failed;
        match error {
            LlmError::Cut { .. } => self
                .events
                .push_back(Err(std::io::Error::other("scripted"))),
            LlmError::Garbage { .. } => self.event("{\"choices\": <html>"),
            other => self.event(&error_body(other).to_string()),
        }
    }
}

fn refusal(error: &LlmError) -> Response<Body> {
    let status = match error {
        LlmError::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
        LlmError::Refused { .. } => StatusCode::UNAUTHORIZED,
        LlmError::Unavailable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let mut response = (status, Json(error_body(error))).into_response();
    if let LlmError::RateLimited {
        retry_after: Some(pause),
        ..
    } = error
    {
        response
            .headers_mut()
            .insert("retry-after", pause.as_secs().into());
    }
    response
}

fn error_body(error: &LlmError) -> Value {
    let code = match error {
        LlmError::RateLimited { .. } => "rate_limit_exceeded",
        LlmError::Refused { .. } => "authentication_error",
        LlmError::TooLong { .. } => "context_length_exceeded",
        LlmError::Blocked { .. } => "content_filter",
        LlmError::Unavailable { .. } => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"message": "as scripted", "type": code, "code": code}})
}

fn wants_usage(body: &Value) -> bool {
    body.pointer("/stream_options/include_usage")
        .and_then(Value::as_bool)
        == Some(true)
}

fn prompt(body: &Value) -> Option<Prompt> {
    let messages = body.get("messages")?.as_array()?.iter().map(message);
    let cap = ["max_tokens", "max_completion_tokens"]
        .into_iter()
        .find_map(|name| body.get(name));
    let cap = cap
        .and_then(Value::as_u64)
        .and_then(|cap| u32::try_from(cap).ok());
    let model = body.get("model")?.as_str()?;
    Some(Prompt::new(
        model,
        messages.collect::<Option<_>>()?,
        cap.unwrap_or(u32::MAX),
    ))
}

fn message(message: &Value) -> Option<Message> {
    let role: Role = serde_json::from_value(message.get("role")?.clone()).ok()?;
    let text = message
        .get("content")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let calls = message.get("tool_calls").and_then(Value::as_array);
    let calls = calls.into_iter().flatten().map(|call| {
        let text = |pointer: &str| Some(call.pointer(pointer)?.as_str()?.to_owned());
        Some(ToolCall {
            id: text("/id")?,
            name: text("/function/name")?,
            arguments: text("/function/arguments")?,
        })
    });
    let tool_call_id = message.get("tool_call_id").and_then(Value::as_str);
    Some(Message {
        role,
        text: text.to_owned(),
        tool_calls: calls.collect::<Option<_>>()?,
        tool_call_id: tool_call_id.map(str::to_owned),
    })
}
