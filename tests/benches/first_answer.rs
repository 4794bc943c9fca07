//! How long a newcomer and a learner wait.
//!
//!     cargo bench -p sparkle-tests --bench first_answer                    from a built stack on
//!     cargo bench -p sparkle-tests --bench first_answer -- --clean-clone   from a clean clone on
//!
//! Measures the program that `cargo run` starts, in the profile that `cargo run` builds, over the real
//! WebSocket, with everything that this release has switched on (authorizer, rate limit, durable turns,
//! stored frames, logs, metrics). The model is the offline one, told to answer at once.

use std::{
    fs,
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sparkle_tests::{Client, Folder, Options, Stack, binaries, request, root};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    task::JoinSet,
};

const STARTS: usize = 5;
const TURNS: usize = 100;
const CONVERSATIONS: usize = 4;
/// The first build of everything on a slow machine, with room to spare.
const CLONE_PATIENCE: Duration = Duration::from_mins(60);

#[tokio::main]
async fn main() -> Result<()> {
    say(&machine())?;
    if std::env::args().any(|argument| argument == "--clean-clone") {
        return clean_clone().await;
    }
    binaries();
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let stack = Stack::start().await?;
        starts.push(begun.elapsed());
        stack.kill().await?;
    }
    report("built stack to ready, store in memory", starts)?;
    for (store, folder) in [("memory", None), ("a file", Some(Folder::new()?))] {
        let options = match &folder {
            Some(folder) => Options::default().data_dir(folder.path()),
            None => Options::default(),
        };
        let stack = options.start().await?;
        one_after_another(&stack, store).await?;
        at_once(&stack, store).await?;
    }
    say(
        "targets.md: R-CHAT-6 p50 under 5 ms is from the provider's first byte to the client's first delta;\n\
         it is part of `frame to first delta` and not measured apart here.",
    )
}

async fn one_after_another(stack: &Stack, store: &str) -> Result<()> {
    let mut client = stack.connect("bench").await?;
    let (mut acks, mut deltas) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (ack, delta) = turn(&mut client, "alone").await?;
        acks.push(ack);
        deltas.push(delta);
    }
    report(
        &format!("frame to ack, 1 conversation, store in {store}"),
        acks,
    )?;
    report(
        &format!("frame to first delta, 1 conversation, store in {store}"),
        deltas,
    )
}

async fn at_once(stack: &Stack, store: &str) -> Result<()> {
    let mut conversations = JoinSet::new();
    for number in 0..CONVERSATIONS {
        let mut client = stack.connect(&format!("bench-{number}")).await?;
        conversations.spawn(async move {
            let mut deltas = Vec::new();
            for _ in 0..TURNS / CONVERSATIONS {
                deltas.push(turn(&mut client, "together").await?.1);
            }
            anyhow::Ok(deltas)
        });
    }
    let mut deltas = Vec::new();
    while let Some(conversation) = conversations.join_next().await {
        deltas.extend(conversation??);
    }
    let title =
        format!("frame to first delta, {CONVERSATIONS} conversations at once, store in {store}");
    report(&title, deltas)
}

/// One turn: how long until its `ack`, and until its first `delta`.
async fn turn(client: &mut Client, session: &str) -> Result<(Duration, Duration)> {
    let message = format!("#script {}", json!({ "pieces": ["a", "b"] }));
    let begun = Instant::now();
    client
        .request("chat", json!({ "session_id": session, "message": message }))
        .await?;
    let (mut ack, mut delta, mut is_over) = (None, None, false);
    while ack.is_none() || !is_over {
        let frame = client.frame().await?;
        match frame["type"].as_str() {
            Some("ack") => ack = Some(begun.elapsed()),
            Some("delta") if delta.is_none() => delta = Some(begun.elapsed()),
            Some("error") => bail!("{frame}"),
            kind => is_over |= kind == Some("done"),
        }
    }
    ack.zip(delta).context("an answer without text")
}

/// From `git clone` to the first answer, as a newcomer does it.
async fn clean_clone() -> Result<()> {
    let folder = Folder::new()?;
    let clone = folder.path().join("sparkle");
    let begun = Instant::now();
    let cloned = Command::new("git")
        .arg("clone")
        .arg("--quiet")
        .arg(root())
        .arg(&clone)
        .status()
        .await?;
    ensure!(cloned.success(), "git clone failed");
    let mut cargo = Command::new("cargo")
        .args(["run", "--", "--port", "0", "--json", "--ephemeral"])
        .current_dir(&clone)
        .env_remove("CARGO_TARGET_DIR")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdout = BufReader::new(cargo.stdout.take().context("no stdout")?).lines();
    let ready = tokio::time::timeout(CLONE_PATIENCE, stdout.next_line()).await??;
    let addresses: Value = serde_json::from_str(&ready.context("the stack did not start")?)?;
    let ready = begun.elapsed();
    let mut client = Client::connect(
        addresses["ws"].as_str().context("an address")?,
        "Authorization",
        &format!("Bearer {}", addresses["token"].as_str().context("a token")?),
    )
    .await?;
    client
        .send(request(
            "chat",
            "r1",
            json!({ "session_id": "s1", "message": "什么是导数?" }),
        ))
        .await?;
    while client.frame().await?["type"] != "delta" {}
    let first = begun.elapsed();
    say(&format!(
        "clean clone to ready          {:>8.1} s\nclean clone to first answer   {:>8.1} s\n\
         (crates from cargo's cache where it holds them)",
        ready.as_secs_f64(),
        first.as_secs_f64()
    ))
}

fn report(title: &str, mut samples: Vec<Duration>) -> Result<()> {
    samples.sort_unstable();
    let at = |percent: usize| {
        let place = (samples.len() * percent).div_ceil(100).max(1) - 1;
        samples.get(place).map_or(0.0, Duration::as_secs_f64) * 1_000.0
    };
    say(&format!(
        "{title}: n {}, p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        samples.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    ))
}

fn machine() -> String {
    let of = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default();
        line.split_once(':')
            .map_or("unknown", |(_, value)| value.trim())
            .to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} cores of {}, {} of memory; functions in the dev profile",
        of("/proc/cpuinfo", "model name"),
        of("/proc/meminfo", "MemTotal")
    )
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
