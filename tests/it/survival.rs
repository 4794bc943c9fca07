//! Turns whose worker dies, hangs or loses what it needs, and clients whose sockets do not last: nothing
//! that was acknowledged is lost, doubled or out of order.

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use sparkle_tests::{
    Client, Options, PATIENCE, Stack,
    follow::Following,
    http,
    processes::{self, Activity},
};
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::{
    durable::slow,
    fault::{Faulty, entries},
    provider::Provider,
};

const WORKER: &str = "turn-worker";
/// Longer than a lease holds.
const BEYOND_A_LEASE: Duration = Duration::from_secs(17);

/// The only worker that is at work.
fn busy_worker(stack: &Stack) -> Result<u32> {
    let workers = processes::of_function(stack.pid(), WORKER);
    let mut busy = workers
        .iter()
        .filter(|worker| worker.activity == Activity::Awake);
    let worker = busy.next().context("no worker is busy")?;
    ensure!(busy.next().is_none(), "more than one worker is busy");
    Ok(worker.pid)
}

/// Follows a stream to its end, on a new socket whenever one is closed, and says how often that was.
async fn persist(stack: &Stack, client: &mut Client, stream: &mut Following) -> Result<usize> {
    let mut closed = 0;
    while !stream.is_over() {
        match client.frame().await {
            Ok(frame) => {
                stream.take(&frame)?;
            }
            Err(error) => {
                ensure!(format!("{error:#}").contains("closed"), "{error:#}");
                closed += 1;
                *client = stack.connect("ann").await?;
                stream.resume(client).await?;
            }
        }
    }
    Ok(closed)
}

/// That the stream is the whole text, each frame once, and the conversation holds it once.
async fn check(stack: &Stack, stream: &Following, text: &str) -> Result<()> {
    assert_eq!(stream.text(), text);
    assert_eq!(stream.last()["payload"]["finish_reason"], "stop");
    assert_eq!((stream.doubled, stream.early), (0, 0));
    let mut client = stack.connect("ann").await?;
    let kept = entries(&mut client, "s1").await?;
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(kept[1]["text"], text);
    Ok(())
}

#[tokio::test]
async fn an_answer_outlives_its_function_its_socket_and_a_silent_client() -> Result<()> {
    let (long, text) = slow(160, 50);
    for (flag, time, closes) in [
        ("--connection-life", "2s", true),
        ("--integration-timeout", "4s", false),
    ] {
        let stack = Options::default()
            .argument(flag)
            .argument(time)
            .start()
            .await?;
        let mut client = stack.connect("ann").await?;
        let mut stream = Following::of("r1");
        stream.chat(&mut client, "s1", &long).await?;
        stream.acknowledged(&mut client, 1).await?;
        let closed = persist(&stack, &mut client, &mut stream).await?;
        assert_eq!(closed > 0, closes, "{flag}: closed {closed} times");
        check(&stack, &stream, &text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_slow_to_begin_outlives_an_idle_socket() -> Result<()> {
    let stack = Options::default()
        .argument("--idle-timeout")
        .argument("2s")
        .start()
        .await?;
    let script = json!({ "pieces": ["late ", "but ", "whole"], "open_pause_ms": 7_000 });
    let mut client = stack.connect("ann").await?;
    let mut stream = Following::of("r1");
    stream
        .chat(&mut client, "s1", &format!("#script {script}"))
        .await?;
    stream.acknowledged(&mut client, 1).await?;
    let closed = persist(&stack, &mut client, &mut stream).await?;
    assert!(closed > 0);
    check(&stack, &stream, "late but whole").await
}

#[tokio::test]
async fn a_worker_killed_in_mid_answer_is_followed_by_another() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let (message, text) = slow(60, 50);
    let mut client = stack.connect("ann").await?;
    let mut stream = Following::of("r1");
    stream.chat(&mut client, "s1", &message).await?;
    stream.grown(&mut client, 5).await?;
    stream.acknowledged(&mut client, 1).await?;
    let (seen, killed_at) = (stream.contiguous(), Instant::now());
    processes::kill(busy_worker(&stack)?)?;
    while stream.contiguous() == seen {
        stream.take(&client.frame().await?)?;
    }
    // The frames that were on their way are the first after the kill.
    stream.to_the_end(&mut client).await?;
    eprintln!(
        "a killed worker's turn was over after {:?}",
        killed_at.elapsed()
    );
    assert_eq!(stream.restarts(), 0);
    check(&stack, &stream, &text).await?;
    assert_eq!(provider.stats().await?["calls"], 2);
    assert_eq!(stream_cost_is_estimated(&stream), Some(true));
    Ok(())
}

fn stream_cost_is_estimated(stream: &Following) -> Option<bool> {
    let usage = stream.frames().find(|frame| frame["type"] == "usage")?;
    usage["payload"]["estimated"].as_bool()
}

/// Where a worker dies, each once, in a turn of some twenty frames.
const IN_THE_WORKER: [&str; 10] = [
    "target: sqs, call: ChangeMessageVisibility, moment: before",
    "target: dynamodb, call: UpdateItem, moment: before",
    "target: dynamodb, call: UpdateItem, moment: after",
    "target: llm, moment: before",
    "target: llm, moment: after, bytes: 900",
    "target: dynamodb, call: UpdateItem, moment: after, after: 5",
    "target: connections, call: POST, moment: before, after: 5",
    "target: connections, call: POST, moment: after, after: 5",
    "target: dynamodb, call: TransactWriteItems, moment: before",
    "target: dynamodb, call: TransactWriteItems, moment: after",
];

#[tokio::test]
async fn a_worker_may_die_at_any_point() -> Result<()> {
    try_join_all(IN_THE_WORKER.map(dies)).await?;
    Ok(())
}

async fn dies(point: &str) -> Result<()> {
    let (message, text) = slow(40, 30);
    let provider = Provider::start().await?;
    let faulty = Faulty::start(
        provider.options(),
        &format!("rules: [{{{point}, function: {WORKER}, fault: kill, times: 1}}]"),
    )
    .await?;
    let mut client = faulty.stack.connect("ann").await?;
    let mut stream = Following::of("r1");
    stream.chat(&mut client, "s1", &message).await?;
    let begun = Instant::now();
    // As a client does that hears nothing for longer than a sign of life takes.
    while !stream.is_over() {
        match client.receive_within(Duration::from_secs(8)).await {
            Ok(text) => {
                stream.take(&serde_json::from_str(&text)?)?;
            }
            Err(_) => {
                ensure!(begun.elapsed() < PATIENCE, "{point}: it is never over");
                stream.resume(&mut client).await?;
            }
        }
    }
    eprintln!("{point}: over after {:?}", begun.elapsed());
    assert_eq!(faulty.injected(0).await?, 1, "{point}");
    assert_eq!(stream.text(), text, "{point}");
    assert_eq!((stream.restarts(), stream.early), (0, 0), "{point}");
    // Who asks for the end, `usage` and `done`, in the moment in which it is said gets it twice.
    assert!(stream.doubled <= 2, "{point}: {}", stream.doubled);
    let calls = provider.stats().await?["calls"].as_u64();
    assert!(calls <= Some(2), "{point}: {calls:?}");
    let kept = entries(&mut faulty.stack.connect("ann").await?, "s1").await?;
    assert_eq!((kept.len(), &kept[1]["text"]), (2, &json!(text)), "{point}");
    Ok(())
}

#[tokio::test]
async fn an_answer_that_comes_out_differently_says_so() -> Result<()> {
    let provider = Provider::start().await?;
    let plan = format!(
        "rules: [{{target: connections, call: POST, function: {WORKER}, fault: kill, \
         moment: after, after: 6, times: 1}}]"
    );
    let faulty = Faulty::start(provider.options(), &plan).await?;
    let (message, _) = slow(40, 50);
    let other: Vec<String> = (0..40).map(|n| format!("第{}步 ", n * n)).collect();
    // The first call gets this, the second what the message asks for.
    let url = provider.base_url().replace("/v1", "/script?times=1");
    let script = json!({ "pieces": other, "pause_ms": 50 });
    http()
        .post(url)
        .json(&script)
        .send()
        .await?
        .error_for_status()?;
    let mut client = faulty.stack.connect("ann").await?;
    let mut stream = Following::of("r1");
    stream.chat(&mut client, "s1", &message).await?;
    stream.grown(&mut client, 6).await?;
    let shown = stream.text();
    assert!(other.concat().starts_with(&shown) && !shown.is_empty());
    stream.to_the_end(&mut client).await?;
    assert_eq!(stream.restarts(), 1);
    check(&faulty.stack, &stream, &slow(40, 50).1).await
}

#[tokio::test]
async fn a_worker_that_hangs_past_its_lease_changes_nothing() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let (message, text) = slow(60, 50);
    let mut client = stack.connect("ann").await?;
    let mut stream = Following::of("r1");
    stream.chat(&mut client, "s1", &message).await?;
    stream.grown(&mut client, 5).await?;
    let hung = busy_worker(&stack)?;
    processes::stop(hung)?;
    // The time is what the test is about: past the lease, whoever took over is at work or done.
    sleep(BEYOND_A_LEASE).await;
    stream.to_the_end(&mut client).await?;
    processes::resume(hung)?;
    let gave_up = async {
        while !stack.get("/metrics").await?.contains("lease_losses_total") {
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, gave_up)
        .await
        .context("the one that hung never noticed")??;
    stream.settled(&mut client).await?;
    assert_eq!(stream.restarts(), 0);
    check(&stack, &stream, &text).await?;
    assert_eq!(provider.stats().await?["calls"], 2);
    Ok(())
}

#[tokio::test]
async fn no_turn_runs_while_the_lease_cannot_be_taken() -> Result<()> {
    let provider = Provider::start().await?;
    let plan = format!(
        "rules: [{{target: dynamodb, call: UpdateItem, function: {WORKER}, fault: status, \
         status: 500}}]"
    );
    let faulty = Faulty::start(provider.options(), &plan).await?;
    let mut client = faulty.stack.connect("ann").await?;
    let mut stream = Following::of("r1");
    let (message, text) = slow(5, 0);
    stream.chat(&mut client, "s1", &message).await?;
    stream.acknowledged(&mut client, 1).await?;
    let counted = async {
        while !faulty
            .stack
            .get("/metrics")
            .await?
            .contains("lease_failures_total")
        {
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, counted)
        .await
        .context("never counted")??;
    assert_eq!(provider.stats().await?["calls"], 0);
    faulty.plan("rules: []").await?;
    stream.to_the_end(&mut client).await?;
    check(&faulty.stack, &stream, &text).await?;
    assert_eq!(provider.stats().await?["calls"], 1);
    let log = faulty.stack.kill().await?;
    assert!(log.contains("the lease cannot be taken"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_every_frame_in_order() -> Result<()> {
    let plan = format!(
        "rules: [{{target: connections, call: POST, function: {WORKER}, fault: status, \
         status: 429, after: 3, times: 12}}]"
    );
    let faulty = Faulty::start(Options::default(), &plan).await?;
    let (message, text) = slow(40, 50);
    let mut client = faulty.stack.connect("ann").await?;
    let mut stream = Following::of("r1");
    stream.chat(&mut client, "s1", &message).await?;
    stream.to_the_end(&mut client).await?;
    assert_eq!(faulty.injected(0).await?, 12);
    check(&faulty.stack, &stream, &text).await
}

#[tokio::test]
async fn a_client_that_is_gone_in_mid_answer_ends_the_posts_and_not_the_turn() -> Result<()> {
    let plan = format!(
        "rules: [{{target: connections, call: POST, function: {WORKER}, fault: status, \
         status: 410, after: 3}}]"
    );
    let faulty = Faulty::start(Options::default(), &plan).await?;
    let (message, text) = slow(40, 50);
    let mut client = faulty.stack.connect("ann").await?;
    let mut stream = Following::of("r1");
    stream.chat(&mut client, "s1", &message).await?;
    stream.acknowledged(&mut client, 1).await?;
    stream.grown(&mut client, 3).await?;
    let kept = async {
        while entries(&mut client, "s1").await?.is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, kept).await.context("never kept")??;
    // One was refused, and no other was tried.
    assert_eq!(faulty.injected(0).await?, 1);
    let mut client = faulty.stack.connect("ann").await?;
    stream.resume(&mut client).await?;
    stream.to_the_end(&mut client).await?;
    check(&faulty.stack, &stream, &text).await
}
