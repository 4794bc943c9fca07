//! How long a newcomer and a learner wait.
//!
//!     cargo bench -p sparkle-tests --bench first_answer                    from a built stack on
//!     cargo bench -p sparkle-tests --bench first_answer -- --release       the same, of release binaries
//!     cargo bench -p sparkle-tests --bench first_answer -- --clean-clone   from a clean clone on
//!
//! Measures the program that `cargo run` starts, as processes, over the real WebSocket, with everything
//! that this release has switched on. The model's own time is next to nothing: scripts tell it to answer
//! at once. A clean clone answers as a newcomer sees it, with the pace of the offline model.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sparkle_tests::{
    Client, Folder,
    bench::{
        Process, Profile, Provider, Stack, Store, describe_machine, head, percentile, report, say,
        untouched,
    },
    http, root,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Barrier,
    task::JoinSet,
};

const STARTS: usize = 5;
/// Of one conversation, or of all that go on at once together.
const TURNS: usize = 200;
const CONVERSATIONS: [usize; 2] = [1, 4];
/// R-CHAT-6: from the provider's first byte to the client's first delta, at the median.
const OVERHEAD_MAX: Duration = Duration::from_millis(5);
/// The first build of everything on a slow machine, with room to spare.
const CLONE_PATIENCE: Duration = Duration::from_hours(1);

#[tokio::main]
async fn main() -> Result<()> {
    let (mut is_clean_clone, mut profile) = (false, Profile::Debug);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--clean-clone" => is_clean_clone = true,
            "--release" => profile = Profile::Release,
            other => bail!("{other} is not [--clean-clone] [--release]"),
        }
    }
    describe_machine(profile)?;
    if is_clean_clone {
        return clean_clone(profile).await;
    }
    built_stack(profile).await
}

async fn built_stack(profile: Profile) -> Result<()> {
    let programs = profile.build()?;
    let provider = Provider::start(&programs).await?;
    let relay = Relay::start(&provider.base_url).await?;
    say(&format!(
        "client       this program, built for release, on the same machine\n\
         stack        authorizer, rate limit, durable turns, stored frames, logs and metrics on\n\
         store        dynoxide: in memory, or in a file of a fresh folder\n\
         model        offline, or the scripted provider over HTTP (built as the stack is); no pauses\n\
         turns        {TURNS} each, in one conversation or shared by several at once; one more each,\n\
         \x20            not counted, starts the functions first\n"
    ))?;
    head()?;
    for store in [Store::Memory, Store::File] {
        starts(&programs, store).await?;
    }
    say("scripted provider called directly")?;
    report("to its first piece", &first_pieces(&provider).await?, "")?;
    for model in [None, Some(&relay)] {
        for store in [Store::Memory, Store::File] {
            let model_url = model.map(|relay| relay.base_url.as_str());
            let stack = Stack::start(&programs, store, model_url).await?;
            for conversations in CONVERSATIONS {
                turns(&stack, store, model, conversations).await?;
            }
            stack.stop().await?;
        }
    }
    say(
        "\nready: with the look of cargo whether a function is to be built anew. The provider's first byte\n\
         of text is seen by a relay of this program between the stack and the scripted provider.",
    )
}

async fn starts(programs: &Path, store: Store) -> Result<()> {
    let (mut starts, mut deltas) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let stack = Stack::start(programs, store, None).await?;
        starts.push(stack.process.ready_after);
        let mut client = stack.connect("newcomer").await?;
        deltas.push(turn(&mut client, "first", None).await?.delta);
        stack.stop().await?;
    }
    say(&format!("fresh stack, store in {}", store.name()))?;
    report("built stack to ready", &starts, "")?;
    report("its first frame to first delta", &deltas, "")
}

async fn turns(
    stack: &Stack,
    store: Store,
    model: Option<&Relay>,
    conversations: usize,
) -> Result<()> {
    let everybody_warm = Arc::new(Barrier::new(conversations));
    let mut at_once = JoinSet::new();
    for number in 0..conversations {
        // A rate limit is a learner's own.
        let learner = format!("learner-{conversations}-{number}");
        let mut client = stack.connect(&learner).await?;
        let sightings = model.map(|relay| Arc::clone(&relay.sightings));
        let everybody_warm = Arc::clone(&everybody_warm);
        at_once.spawn(async move {
            turn(&mut client, "s1", sightings.as_deref()).await?;
            everybody_warm.wait().await;
            let mut turns = Vec::new();
            for _ in 0..TURNS / conversations {
                turns.push(turn(&mut client, "s1", sightings.as_deref()).await?);
            }
            anyhow::Ok(turns)
        });
    }
    let mut turns = Vec::new();
    while let Some(conversation) = at_once.join_next().await {
        turns.extend(conversation??);
    }
    let waits = |part: fn(&Turn) -> Duration| turns.iter().map(part).collect::<Vec<_>>();
    say(&format!(
        "{}, store in {}, conversations: {conversations}",
        model.map_or("offline model", |_| "scripted provider"),
        store.name()
    ))?;
    report("frame to ack", &waits(|turn| turn.ack), "")?;
    report("frame to first delta", &waits(|turn| turn.delta), "")?;
    report("frame to done", &waits(|turn| turn.done), "")?;
    if model.is_none() {
        return Ok(());
    }
    let overheads: Vec<_> = turns.iter().filter_map(|turn| turn.overhead).collect();
    let verdict = match percentile(&overheads, 50) {
        _ if overheads.is_empty() => "not measured",
        median if median < OVERHEAD_MAX => "met",
        _ => "MISSED",
    };
    let target = format!("R-CHAT-6: p50 under {OVERHEAD_MAX:?}: {verdict}");
    report("provider's first byte to first delta", &overheads, &target)
}

/// How long one turn took, seen from the client: all but `overhead` since its frame was sent.
struct Turn {
    ack: Duration,
    delta: Duration,
    done: Duration,
    /// Between the provider's first byte of text, where that was seen, and the first delta.
    overhead: Option<Duration>,
}

async fn turn(client: &mut Client, session: &str, sightings: Option<&Sightings>) -> Result<Turn> {
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let pieces = [format!("[[{mark}]]"), " and more".to_owned()];
    let message = format!("#script {}", json!({ "pieces": pieces }));
    let payload = json!({ "session_id": session, "message": message });
    let begun = Instant::now();
    client.request("chat", payload).await?;
    let (mut ack, mut delta, mut done) = (None, None, None);
    while ack.is_none() || done.is_none() {
        let text = client.receive().await?;
        let now = Instant::now();
        let frame: Value = serde_json::from_str(&text)?;
        match frame["type"].as_str() {
            Some("ack") => ack = Some(now),
            Some("delta") if delta.is_none() => delta = Some(now),
            Some("done") => done = Some(now),
            Some("error") => bail!("a turn failed: {frame}"),
            _ => {}
        }
    }
    let (Some(ack), Some(delta), Some(done)) = (ack, delta, done) else {
        bail!("an answer without text");
    };
    let seen = sightings.and_then(|sightings| locked(sightings).remove(&mark));
    Ok(Turn {
        ack: ack - begun,
        delta: delta - begun,
        done: done - begun,
        overhead: seen.map(|seen| delta.saturating_duration_since(seen)),
    })
}

/// What is to be had at best: the same answers without a stack in between.
async fn first_pieces(provider: &Provider) -> Result<Vec<Duration>> {
    let (client, body) = (http(), Provider::request(&["a", "b"]));
    let mut waits = Vec::new();
    for _ in 0..TURNS {
        let begun = Instant::now();
        let call = client.post(format!("{}/chat/completions", provider.base_url));
        let mut answer = call.json(&body).send().await?.error_for_status()?;
        answer.chunk().await?.context("an answer without text")?;
        waits.push(begun.elapsed());
        while answer.chunk().await?.is_some() {}
    }
    Ok(waits)
}

/// When the first bytes of each answer's text went by.
type Sightings = Mutex<HashMap<String, Instant>>;

/// Hands on what the stack and the provider say to each other.
struct Relay {
    base_url: String,
    sightings: Arc<Sightings>,
    _server: JoinSet<()>,
}

impl Relay {
    async fn start(upstream: &str) -> Result<Self> {
        let address = upstream.replace("http://", "").replace("/v1", "");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let sightings = Arc::new(Sightings::default());
        let noted = Arc::clone(&sightings);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stack, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(hand_on(stack, address.clone(), Arc::clone(&noted)));
            }
        });
        Ok(Self {
            base_url,
            sightings,
            _server: server,
        })
    }
}

async fn hand_on(stack: TcpStream, address: String, sightings: Arc<Sightings>) -> Result<()> {
    let provider = TcpStream::connect(address).await?;
    provider.set_nodelay(true)?;
    stack.set_nodelay(true)?;
    let (mut asked, mut told) = stack.into_split();
    let (mut answered, mut ask) = provider.into_split();
    let up = async {
        tokio::io::copy(&mut asked, &mut ask).await?;
        anyhow::Ok(ask.shutdown().await?)
    };
    let down = async {
        let mut chunk = vec![0; 16 * 1024];
        loop {
            let length = answered.read(&mut chunk).await?;
            let now = Instant::now();
            if length == 0 {
                return anyhow::Ok(told.shutdown().await?);
            }
            // A mark that two reads share is missed: its turn has no overhead, and `n` is less.
            let text = String::from_utf8_lossy(&chunk[..length]);
            for begun in text.split("[[").skip(1) {
                if let Some((mark, _)) = begun.split_once("]]") {
                    locked(&sightings).entry(mark.to_owned()).or_insert(now);
                }
            }
            told.write_all(&chunk[..length]).await?;
        }
    };
    tokio::try_join!(up, down)?;
    Ok(())
}

fn locked(sightings: &Sightings) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
    // A panic elsewhere does not make times wrong.
    sightings.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From `git clone` to the end of the first answer, as a newcomer sees it.
async fn clean_clone(profile: Profile) -> Result<()> {
    let stack_arguments = ["--", "--port", "0", "--json", "--ephemeral"];
    let arguments = [&["run"], profile.flags(), &stack_arguments].concat();
    let folder = Folder::new()?;
    let clone = folder.path().join("sparkle");
    let begun = Instant::now();
    git(Path::new("."), &["clone", "--quiet"], &[&root(), &clone]).await?;
    let cloned = begun.elapsed();
    let commit = git(&clone, &["rev-parse", "--short", "HEAD"], &[]).await?;
    say(&format!(
        "commit       {} (what is not committed is not in it)\n\
         command      cargo {}; the first build takes minutes",
        commit.trim(),
        arguments.join(" "),
    ))?;
    let log = folder.path().join("log");
    let mut cargo = untouched("cargo");
    cargo
        .args(arguments)
        .current_dir(&clone)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET_DIR");
    let stack = Process::start(&mut cargo, &log, CLONE_PATIENCE).await?;
    let ready = begun.elapsed();
    let mut client = stack.connect(&stack.token).await?;
    let payload = json!({ "session_id": "s1", "message": "什么是导数？" });
    client.request("chat", payload).await?;
    let mut first_delta = None;
    let done = loop {
        let frame = client.frame().await?;
        match frame["type"].as_str() {
            Some("delta") => first_delta = first_delta.or_else(|| Some(begun.elapsed())),
            Some("done") => break begun.elapsed(),
            Some("error") => bail!("the first answer failed: {frame}"),
            _ => {}
        }
    };
    stack.stop().await?;
    let first_delta = first_delta.context("an answer without text")?;
    let (compiled, fetched) = build_log(&log)?;
    for (title, wait) in [
        ("clean clone to a clone on disk", cloned),
        ("clean clone to ready", ready),
        ("clean clone to first answer's first delta", first_delta),
        ("clean clone to first answer's end", done),
    ] {
        say(&format!("{title:<44}{:>8.1} s", wait.as_secs_f64()))?;
    }
    say(&format!(
        "n 1, store in memory; cloned from this disk; {compiled} compilations; {fetched}.\n\
         The end includes the offline model's own pace. targets.md names no target."
    ))
}

/// How much cargo compiled, and where the crates came from.
fn build_log(log: &Path) -> Result<(usize, String)> {
    let log = fs::read_to_string(log)?;
    let lines = || log.lines().map(str::trim);
    let compiled = lines().filter(|line| line.starts_with("Compiling "));
    let fetched = lines().find(|line| line.starts_with("Downloaded ") && line.contains(" crate"));
    let fetched = match fetched {
        None => {
            "every crate came from cargo's local registry cache, none was downloaded".to_owned()
        }
        Some(summary) => format!("{summary}, the others came from cargo's local registry cache"),
    };
    Ok((compiled.count(), fetched))
}

async fn git(folder: &Path, arguments: &[&str], paths: &[&Path]) -> Result<String> {
    let output = untouched("git")
        .args(arguments)
        .args(paths)
        .current_dir(folder)
        .output()
        .await?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git failed: {told}");
    Ok(String::from_utf8(output.stdout)?)
}
