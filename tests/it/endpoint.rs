//! A provider inside the test: the worst embedder there can be, which gives every text one and the same vector, and
//! a model each of whose answers can be told from all others.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::Response,
    response::IntoResponse,
    routing::post,
};
use serde_json::{Value, json};
use sparkle_tests::Options;
use tokio::{net::TcpListener, task::JoinSet};

/// How many numbers its vectors have.
pub(crate) const DIMENSION: usize = 8;
/// Every vector that it gives.
const VECTOR: [f64; DIMENSION] = [0.5, -0.25, 0.125, 1.0, -1.0, 0.75, 0.0, 0.3];

/// An OpenAI-compatible provider of chats and of vectors; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Endpoint {
    base_url: String,
    asked: Arc<Mutex<Asked>>,
    _server: JoinSet<()>,
}

/// What it was asked, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// The newest message of each chat.
    pub(crate) chats: Vec<String>,
    /// The text of each vector.
    pub(crate) texts: Vec<String>,
}

impl Endpoint {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let asked = Arc::<Mutex<Asked>>::default();
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/embeddings", post(embedding))
            .with_state(Arc::clone(&asked));
        let mut server = JoinSet::new();
        server.spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self {
            base_url,
            asked,
            _server: server,
        })
    }

    /// A stack that asks it for answers.
    pub(crate) fn answering(&self) -> Options {
        Options::default()
            .variable("SPARKLE_LLM_BASE_URL", &self.base_url)
            .variable("SPARKLE_LLM_MODEL", "gpt-4o-mini")
    }

    /// A stack that asks it for answers and for vectors.
    pub(crate) fn options(&self) -> Options {
        self.answering()
            .variable("SPARKLE_EMBEDDING_BASE_URL", &self.base_url)
            .variable("SPARKLE_EMBEDDING_MODEL", "one-vector")
            .variable("SPARKLE_EMBEDDING_DIMENSION", DIMENSION.to_string())
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Asked {
        locked(&self.asked).clone()
    }
}

/// What a chat is answered: the number tells the answer, the rest how what it answers begins.
pub(crate) fn text_of(number: usize, message: &str) -> String {
    format!("[{number}] {message:.100}")
}

/// The number of an answer.
pub(crate) fn number_of(text: &str) -> Result<usize> {
    let number = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (number, _) = number.with_context(|| format!("not of this endpoint: {text}"))?;
    Ok(number.parse()?)
}

fn locked(asked: &Mutex<Asked>) -> MutexGuard<'_, Asked> {
    // A panic elsewhere does not make what was asked wrong.
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn chat(State(asked): State<Arc<Mutex<Asked>>>, Json(body): Json<Value>) -> Response<Body> {
    let messages = body["messages"].as_array().into_iter().flatten();
    let newest = messages.last().and_then(|last| last["content"].as_str());
    let newest = newest.unwrap_or_default().to_owned();
    let number = {
        let mut asked = locked(&asked);
        asked.chats.push(newest.clone());
        asked.chats.len()
    };
    let id = format!("numbered-{number}");
    let chunk = |delta: Value, reason: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason });
        json!({ "id": id, "object": "chat.completion.chunk", "choices": [choice] })
    };
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 });
    let events = [
        chunk(json!({ "content": text_of(number, &newest) }), Value::Null),
        chunk(json!({}), json!("stop")),
        json!({ "id": id, "choices": [], "usage": usage }),
    ];
    let mut stream: Vec<_> = events
        .iter()
        .map(|event| Ok::<_, Infallible>(Bytes::from(format!("data: {event}\n\n"))))
        .collect();
    stream.push(Ok(Bytes::from("data: [DONE]\n\n")));
    let body = Body::from_stream(futures_util::stream::iter(stream));
    ([("content-type", "text/event-stream")], body).into_response()
}

async fn embedding(State(asked): State<Arc<Mutex<Asked>>>, Json(body): Json<Value>) -> Json<Value> {
    let text = body["input"].as_str().unwrap_or_default();
    locked(&asked).texts.push(text.to_owned());
    Json(json!({
        "object": "list",
        "data": [{ "object": "embedding", "index": 0, "embedding": VECTOR }],
        "model": body["model"],
        "usage": { "prompt_tokens": 3, "total_tokens": 3 },
    }))
}
