//! Which calls to DynamoDB and SQS a turn makes before its first delta, and how many of them one after
//! the other.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use serde_yaml_ng::Value;
use sparkle_tests::{
    Client,
    bench::{Stack, Store, against, say},
    root,
};
use tokio::time::sleep;

use crate::{
    model::{Model, Question},
    relay::{Part, Relay, Side},
    repeat,
};

/// M7: sequential store round trips before the first token.
const ROUNDS_MAX: usize = 5;
/// The same, on an exact hit.
const HIT_ROUNDS_MAX: usize = 2;
/// How late every question reaches its store: far longer than a function takes to make the next call, so
/// that calls which are made at once are seen to overlap.
const LATER: Duration = Duration::from_millis(100);

/// One call, as a relay saw it.
#[derive(Debug, Clone)]
struct Call {
    caller: SocketAddr,
    operation: String,
    begun: Instant,
    ended: Option<Instant>,
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// Counts and prints them for two turns of one conversation, the second within a burst.
pub(crate) async fn measure(programs: &Path, model: &Model) -> Result<()> {
    let calls = Calls::default();
    let watch = || {
        let calls = Arc::clone(&calls);
        move |part: Part<'_>| note(&calls, &part)
    };
    // Its tables and queues are another's, which has no function read them.
    let stores = stores(programs).await?;
    let dynamodb = Relay::start(&without_scheme(&stores.process.dynamodb), LATER, watch()).await?;
    let sqs = Relay::start(&without_scheme(&stores.process.sqs), LATER, watch()).await?;
    let stack = Stack::start_with(programs, Store::Memory, Some(&model.base_url), |command| {
        command
            .env("SPARKLE_SQS_ENDPOINT", format!("http://{}", sqs.address))
            .env(
                "SPARKLE_DYNAMODB_ENDPOINT",
                format!("http://{}", dynamodb.address),
            )
            // So that a question finds what was sent just before it in its bucket.
            .env("SPARKLE_RATE_PER_SECOND", "1")
    })
    .await?;

    say(
        "\nstore round trips before the first delta, seen by relays in front of DynamoDB and SQS; what bears\n\
         a number began when the one before had ended, + is beside them, and the hold on the message is\n\
         waited for by nobody",
    )?;
    for learner in ["cold", "warm"] {
        let mut client = stack.connect(learner).await?;
        for (turn, pings) in [("after a rest", 0), ("within a burst", 3)] {
            for _ in 0..pings {
                client.ask("ping", json!({})).await?;
            }
            taken(&calls);
            let first_delta = first_delta(&mut client, &Question::new().message()).await?;
            let seen = taken(&calls);
            // The first start of every function is in the learner before.
            if learner == "warm" {
                show(&format!("a chat {turn}"), &seen, first_delta, ROUNDS_MAX)?;
            }
        }
    }
    let mut client = stack.connect("again").await?;
    let question = json!(repeat::QUESTION);
    for _ in 0..2 {
        first_delta(&mut client, &question).await?;
        // It is kept after its turn is over.
        sleep(20 * LATER).await;
    }
    taken(&calls);
    let first_delta = first_delta(&mut client, &question).await?;
    show(
        "a repeated question",
        &taken(&calls),
        first_delta,
        HIT_ROUNDS_MAX,
    )
}

/// A stack whose functions have no sources.
async fn stores(programs: &Path) -> Result<Stack> {
    let template = std::fs::read_to_string(root().join("template.yaml"))?;
    let mut template: Value = serde_yaml_ng::from_str(&template)?;
    let resources = template["Resources"].as_mapping_mut();
    for (_, resource) in resources.context("no resources")?.iter_mut() {
        if let Some(properties) = resource["Properties"].as_mapping_mut() {
            properties.remove("Events");
        }
    }
    // Below the repository: what stands in it is built from where the template is.
    let path = programs.join("template-without-sources.yaml");
    std::fs::write(&path, serde_yaml_ng::to_string(&template)?)?;
    Stack::start_with(programs, Store::Memory, None, |command| {
        command.arg("--template").arg(&path)
    })
    .await
}

fn show(what: &str, seen: &[Call], first_delta: Instant, rounds_max: usize) -> Result<()> {
    let before: Vec<_> = seen
        .iter()
        .filter_map(|call| Some((call, call.ended.filter(|&ended| ended <= first_delta)?)))
        .collect();
    ensure!(!before.is_empty(), "no call went through the relays");
    let begin = before.iter().map(|(call, _)| call.begun).min();
    let begin = begin.context("no call")?;
    // What follows the message in the queue is the worker's.
    let is_queued = |call: &Call| call.operation.contains("SendMessage");
    let queued = before.iter().find(|(call, _)| is_queued(call));
    let queued_at = queued.map_or(begin, |(call, _)| call.begun);
    let chain = longest_chain(&before);
    say(&format!("  {what}, of a connection that is known"))?;
    for (call, ended) in &before {
        let ms = |span: Duration| span.as_secs_f64() * 1_000.0;
        let function = if call.begun <= queued_at {
            "ws-message"
        } else {
            "turn-worker"
        };
        let place = chain
            .iter()
            .position(|on_chain| on_chain.begun == call.begun);
        say(&format!(
            "    {:>4}  {:>7.2} +{:>6.2} ms  {function:<12} {}",
            place.map_or("+".to_owned(), |place| format!("{}.", place + 1)),
            ms(call.begun - begin),
            ms(*ended - call.begun),
            call.operation
        ))?;
    }
    let figure = format!("{} of {} calls", chain.len(), before.len());
    against(
        &format!("M7: at most {rounds_max} sequential store round trips before the first token"),
        &figure,
        chain.len() <= rounds_max,
    )
}

/// What Lambda's pollers ask of the queue, not the functions.
const PLATFORM: [&str; 2] = ["AmazonSQS.ReceiveMessage", "AmazonSQS.DeleteMessage"];
/// Renews the worker's hold on its message beside the turn, which does not wait for it.
const BESIDE: &str = "AmazonSQS.ChangeMessageVisibility";

/// The most calls of which each began when the one before had ended: the first to end, and so on.
fn longest_chain<'a>(calls: &[(&'a Call, Instant)]) -> Vec<&'a Call> {
    let mut by_end = calls.to_vec();
    by_end.sort_by_key(|(_, ended)| *ended);
    let mut chain = Vec::new();
    let mut free_from = None;
    for (call, ended) in by_end
        .into_iter()
        .filter(|(call, _)| call.operation != BESIDE)
    {
        if free_from.is_none_or(|from| call.begun >= from) {
            chain.push(call);
            free_from = Some(ended);
        }
    }
    chain
}

/// Asks one question and reads the whole answer.
async fn first_delta(client: &mut Client, message: &serde_json::Value) -> Result<Instant> {
    let payload = json!({ "session_id": "s1", "message": message });
    client.request("chat", payload).await?;
    let mut first_delta = None;
    loop {
        let frame = client.frame().await?;
        match frame["type"].as_str() {
            Some("delta") => first_delta = first_delta.or(Some(Instant::now())),
            Some("error") => anyhow::bail!("a turn failed: {frame}"),
            Some("done") => return first_delta.context("an answer without text"),
            _ => {}
        }
    }
}

fn taken(calls: &Calls) -> Vec<Call> {
    std::mem::take(&mut *calls.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Both services speak AWS's JSON protocol, one call after the other on a connection: the head says what
/// is asked, and a body that may come later names the table.
fn note(calls: &Calls, part: &Part<'_>) {
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8_lossy(part.bytes);
    if part.from == Side::Caller
        && let Some(target) = after(&text, "x-amz-target: ")
    {
        let operation = target.split(['\r', '\n']).next().unwrap_or_default();
        if PLATFORM.contains(&operation) {
            return;
        }
        calls.push(Call {
            caller: part.caller,
            operation: operation.replace("DynamoDB_20120810.", ""),
            begun: part.at,
            ended: None,
        });
    }
    let latest = calls
        .iter_mut()
        .rev()
        .find(|call| call.caller == part.caller);
    let Some(call) = latest else { return };
    match part.from {
        Side::Callee => call.ended = Some(part.at),
        Side::Caller => {
            if let Some(table) = after(&text, "\"TableName\":\"") {
                call.operation.push(' ');
                call.operation
                    .push_str(table.split('"').next().unwrap_or_default());
            }
        }
    }
}

fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

fn without_scheme(url: &str) -> String {
    url.replace("http://", "")
}
