//! What a million chats cost on AWS, by the published price list (M17).
//!
//!     cargo bench -p sparkle-tests --bench cost
//!
//! Runs chats of 500-token answers at a model's usual pace through the real stack and counts what AWS
//! would bill: messages of the gateway, requests and units of DynamoDB, requests of SQS, time and memory
//! of the functions, traffic and logs. A relay between the functions and DynamoDB asks every call for its
//! `ConsumedCapacity`. What the model itself costs is not in it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Response, StatusCode},
};
use serde_json::{Value, json};
use sparkle_tests::{
    bench::{Profile, Provider, Stack, Store, against, describe_machine, say},
    http,
};
use tokio::{net::TcpListener, task::JoinSet};

const LEARNERS: usize = 6;
const CHATS_EACH: usize = 4;
/// An answer of 500 tokens of 4 characters, begun after half a second, 80 tokens a second.
const TOKENS: usize = 500;
const TOKEN: &str = "abc ";
const OPEN_PAUSE_MS: u64 = 500;
const TOKEN_PAUSE_MS: u64 = 12;

/// us-east-1, arm64, without free tier; dollars. Sources: the services' price pages as gathered in
/// 2026-11. Each is for the unit that it is named by; those that reports need too are `core`'s.
mod price {
    use sparkle_core::platform;

    /// Billionths of a dollar for one are thousandths for a million.
    const THOUSAND: f64 = 1_000.0;
    pub(crate) const GATEWAY_MILLION_MESSAGES: f64 =
        platform::GATEWAY_MESSAGE_NANO_USD as f64 / THOUSAND;
    pub(crate) const GATEWAY_MILLION_MINUTES: f64 =
        platform::GATEWAY_MINUTE_NANO_USD as f64 / THOUSAND;
    pub(crate) const LAMBDA_MILLION_REQUESTS: f64 =
        platform::LAMBDA_REQUEST_NANO_USD as f64 / THOUSAND;
    pub(crate) const LAMBDA_GB_SECOND: f64 = platform::LAMBDA_GB_SECOND_NANO_USD as f64 / 1e9;
    pub(crate) const DYNAMODB_MILLION_WRITES: f64 =
        platform::DYNAMODB_WRITE_NANO_USD as f64 / THOUSAND;
    pub(crate) const DYNAMODB_MILLION_READS: f64 =
        platform::DYNAMODB_READ_NANO_USD as f64 / THOUSAND;
    pub(crate) const SQS_MILLION_REQUESTS: f64 = platform::SQS_REQUEST_NANO_USD as f64 / THOUSAND;
    pub(crate) const EGRESS_GB: f64 = 0.09;
    pub(crate) const LOGS_GB: f64 = 0.50;
}
/// One message of the gateway is billed for each 32 KB begun.
const MESSAGE_BYTES: usize = 32 * 1024;
/// M17.
const TARGET_DOLLARS: f64 = 75.0;
/// The turn worker hides its message when it begins and every 5 s after.
const HIDE_EVERY_MS: f64 = 5_000.0;
const GB: f64 = 1024.0 * 1024.0 * 1024.0;

#[tokio::main]
async fn main() -> Result<()> {
    describe_machine(Profile::Debug)?;
    let programs = Profile::Debug.build()?;
    let provider = Provider::start(&programs).await?;
    script(&provider).await?;
    // The first stack is only the database of the second.
    let database = Stack::start(&programs, Store::Memory, None).await?;
    let meter = Meter::start(&database.process.dynamodb).await?;
    let model = Some(provider.base_url.as_str());
    let stack = Stack::start_with(&programs, Store::Memory, model, |command| {
        command
            .env("SPARKLE_DYNAMODB_ENDPOINT", &meter.url)
            .env("RUST_LOG", "info,sparkle_local::lambda=debug")
            .env("NO_COLOR", "1")
    })
    .await?;
    say(&format!(
        "chats        {CHATS_EACH} each by {LEARNERS} learners at once, one connection each; answers of {TOKENS} tokens at \
         {} a second\nstore        dynoxide in memory, its ConsumedCapacity believed\n",
        1_000 / TOKEN_PAUSE_MS
    ))?;
    let mut learners = JoinSet::new();
    for number in 0..LEARNERS {
        let mut client = stack.connect(&format!("learner-{number}")).await?;
        learners.spawn(async move {
            let mut wire = Wire::default();
            for chat in 0..CHATS_EACH {
                wire.add(chats(&mut client, chat).await?);
            }
            anyhow::Ok(wire)
        });
    }
    let mut wire = Wire::default();
    while let Some(learner) = learners.join_next().await {
        wire.add(learner??);
    }
    let log = stack.stop().await?;
    print(&wire, &meter.tally(), &functions(&log)?, &log)
}

async fn script(provider: &Provider) -> Result<()> {
    let script = json!({
        "pieces": vec![TOKEN; TOKENS], "pause_ms": TOKEN_PAUSE_MS, "open_pause_ms": OPEN_PAUSE_MS,
    });
    let url = provider.base_url.replace("/v1", "/script");
    let order = http().post(url).query(&[("times", LEARNERS * CHATS_EACH)]);
    order.json(&script).send().await?.error_for_status()?;
    Ok(())
}

/// What went over the sockets.
#[derive(Default, Clone, Copy)]
struct Wire {
    chats: usize,
    billed_messages: usize,
    frames_down: usize,
    bytes_down: usize,
}

impl Wire {
    fn add(&mut self, other: Wire) {
        self.chats += other.chats;
        self.billed_messages += other.billed_messages;
        self.frames_down += other.frames_down;
        self.bytes_down += other.bytes_down;
    }
}

/// One chat, from its frame to its `done`.
async fn chats(client: &mut sparkle_tests::Client, chat: usize) -> Result<Wire> {
    let message = format!("Please explain photosynthesis once more, part {chat} of the lesson.");
    let payload = json!({ "session_id": "s1", "message": message });
    client.request("chat", payload).await?;
    let mut wire = Wire {
        chats: 1,
        billed_messages: 1,
        ..Wire::default()
    };
    let (mut text_bytes, mut is_acknowledged, mut is_done) = (0, false, false);
    while !(is_acknowledged && is_done) {
        let text = client.receive().await?;
        wire.billed_messages += text.len().div_ceil(MESSAGE_BYTES);
        wire.frames_down += 1;
        wire.bytes_down += text.len();
        let frame: Value = serde_json::from_str(&text)?;
        ensure!(frame["type"] != "error", "a turn failed: {frame}");
        is_acknowledged |= frame["type"] == "ack";
        is_done |= frame["type"] == "done";
        text_bytes += frame["payload"]["text"].as_str().map_or(0, str::len);
    }
    ensure!(
        text_bytes == TOKENS * TOKEN.len(),
        "an answer of {text_bytes} bytes"
    );
    Ok(wire)
}

/// Invocations of one function.
#[derive(Default, Clone, Copy)]
struct Invocations {
    count: f64,
    duration_ms: f64,
    gb_seconds: f64,
}

/// From the lines `REPORT function="…" request_id="…" duration_ms=… … memory_mb=…`.
fn functions(log: &str) -> Result<BTreeMap<String, Invocations>> {
    let mut functions: BTreeMap<String, Invocations> = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("REPORT")) {
        let field = |name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}="))?;
            rest.split_whitespace()
                .next()
                .map(|value| value.trim_matches('"'))
        };
        let number = |name| field(name).and_then(|value| value.parse::<f64>().ok());
        let function = field("function").context("a REPORT without a function")?;
        let duration_ms = number("duration_ms").context("a REPORT without a duration")?;
        let memory_mb = number("memory_mb").context("a REPORT without memory")?;
        let invocations = functions.entry(function.to_owned()).or_default();
        invocations.count += 1.0;
        invocations.duration_ms += duration_ms;
        invocations.gb_seconds += duration_ms / 1_000.0 * memory_mb / 1_024.0;
    }
    ensure!(
        functions.contains_key("turn-worker"),
        "no REPORT in the log"
    );
    Ok(functions)
}

fn print(
    wire: &Wire,
    tables: &BTreeMap<String, Units>,
    functions: &BTreeMap<String, Invocations>,
    log: &str,
) -> Result<()> {
    let chats = wire.chats as f64;
    let mut total = 0.0;
    // Dollars for a million chats are micro-dollars for one.
    let mut row = |part: &str, per_chat: f64, unit: &str, microdollars_each: f64| {
        let dollars = per_chat * microdollars_each;
        total += dollars;
        say(&format!(
            "  {part:<44}{per_chat:>10.3} {unit:<10}{dollars:>9.2}"
        ))
    };
    say(&format!(
        "  {:<44}{:>10} {:<10}{:>9}",
        "part", "per chat", "", "$ / 1M"
    ))?;
    let messages = wire.billed_messages as f64 / chats;
    row(
        "gateway: messages, both ways",
        messages,
        "messages",
        price::GATEWAY_MILLION_MESSAGES,
    )?;
    row(
        "gateway: a minute of connection a chat (assumed)",
        1.0,
        "minutes",
        price::GATEWAY_MILLION_MINUTES,
    )?;
    for (name, invocations) in functions {
        let count = invocations.count / chats;
        row(
            &format!("{name}: requests"),
            count,
            "requests",
            price::LAMBDA_MILLION_REQUESTS,
        )?;
        let gb_seconds = invocations.gb_seconds / chats;
        row(
            &format!("{name}: time × memory"),
            gb_seconds,
            "GB-s",
            price::LAMBDA_GB_SECOND * 1e6,
        )?;
    }
    for (operation, units) in tables {
        let (kind, price) = match units.kind() {
            Kind::Read => ("reads", price::DYNAMODB_MILLION_READS),
            Kind::Write => ("writes", price::DYNAMODB_MILLION_WRITES),
        };
        let title = format!("{operation} ({:.1} calls)", units.calls as f64 / chats);
        row(&title, units.capacity / chats, kind, price)?;
    }
    let worker_ms = functions["turn-worker"].duration_ms / functions["turn-worker"].count;
    // Sent, received, deleted, and hidden as long as the worker runs; polls of an idle queue are not in it.
    let requests = 4.0 + (worker_ms / HIDE_EVERY_MS).floor();
    row(
        "SQS (computed from the worker's time)",
        requests,
        "requests",
        price::SQS_MILLION_REQUESTS,
    )?;
    let down_gb = wire.bytes_down as f64 / chats / GB;
    row(
        "traffic to clients",
        down_gb * 1e6,
        "GB / 1M",
        price::EGRESS_GB,
    )?;
    let logged = log.lines().filter(|line| line.starts_with('{'));
    let log_gb = logged.map(|line| line.len() + 1).sum::<usize>() as f64 / chats / GB;
    row("logs and metrics", log_gb * 1e6, "GB / 1M", price::LOGS_GB)?;
    say(&format!("  {:<65}{total:>9.2}\n", "together"))?;
    let frames = wire.frames_down as f64 / chats;
    say(&format!(
        "frames to the client for an answer, with its ack, usage and done: {frames:.1}"
    ))?;
    against(
        "M17: platform cost of a million chats, 75 dollars or less",
        &format!("{total:.2} dollars"),
        total <= TARGET_DOLLARS,
    )?;
    say(
        "Function times are this machine's: AWS's own store answers in milliseconds rather than microseconds,\n\
         but the model's pace, which is most of the worker's time, is the same there.",
    )
}

/// Capacity that one operation on one table used.
#[derive(Default, Clone)]
struct Units {
    operation: String,
    calls: usize,
    capacity: f64,
}

enum Kind {
    Read,
    Write,
}

impl Units {
    fn kind(&self) -> Kind {
        match self.operation.as_str() {
            "GetItem" | "Query" | "BatchGetItem" | "TransactGetItems" | "Scan" => Kind::Read,
            _ => Kind::Write,
        }
    }
}

/// A relay in front of DynamoDB that has each call say what it consumed.
struct Meter {
    url: String,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

struct Shared {
    upstream: String,
    http: reqwest::Client,
    tally: Mutex<BTreeMap<String, Units>>,
}

impl Meter {
    async fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            http: http(),
            tally: Mutex::default(),
        });
        let router = Router::new()
            .fallback(relay)
            .with_state(Arc::clone(&shared));
        let mut server = JoinSet::new();
        server.spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self {
            url,
            shared,
            _server: server,
        })
    }

    fn tally(&self) -> BTreeMap<String, Units> {
        let tally = self
            .shared
            .tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        tally.clone()
    }
}

async fn relay(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    shared.relay(&headers, &body).await.unwrap_or_else(|error| {
        let mut answer = Response::new(Body::from(format!("{error:#}")));
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
        answer
    })
}

impl Shared {
    async fn relay(&self, headers: &HeaderMap, body: &Bytes) -> Result<Response<Body>> {
        let target = headers.get("x-amz-target").context("no target")?.to_str()?;
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let is_of_items = operation.contains("Item") || operation == "Query";
        let mut request: Value = serde_json::from_slice(body)?;
        if is_of_items {
            request["ReturnConsumedCapacity"] = json!("TOTAL");
        }
        let mut call = self.http.post(&self.upstream).body(request.to_string());
        for name in [
            "x-amz-target",
            "content-type",
            "authorization",
            "x-amz-date",
        ] {
            if let Some(value) = headers.get(name) {
                call = call.header(name, value);
            }
        }
        let answer = call.send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        if is_of_items {
            self.note(&operation, &serde_json::from_slice(&body)?);
        }
        let mut relayed = Response::new(Body::from(body));
        *relayed.status_mut() = status;
        let json = "application/x-amz-json-1.0".try_into()?;
        relayed.headers_mut().insert("content-type", json);
        Ok(relayed)
    }

    /// A call that was refused by its condition is billed too, and says nothing of it: it counts as one.
    fn note(&self, operation: &str, answer: &Value) {
        let consumed = &answer["ConsumedCapacity"];
        let consumed = consumed
            .as_array()
            .cloned()
            .unwrap_or(vec![consumed.clone()]);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        for consumed in consumed {
            let table = consumed["TableName"].as_str().unwrap_or("refused");
            let units = tally.entry(format!("{table}: {operation}")).or_default();
            operation.clone_into(&mut units.operation);
            units.calls += 1;
            units.capacity += consumed["CapacityUnits"].as_f64().unwrap_or(1.0);
        }
    }
}
