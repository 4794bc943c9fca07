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
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sparkle_tests::{Client, Folder, PATIENCE, http, root};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Command},
    sync::Barrier,
    task::JoinSet,
    time::timeout,
};

const STARTS: usize = 5;
/// Of one conversation, or of all that go on at once together.
const TURNS: usize = 200;
const CONVERSATIONS: [usize; 2] = [1, 4];
/// R-CHAT-6: from the provider's first byte to the client's first delta, at the median.
const OVERHEAD_MAX: Duration = Duration::from_millis(5);
/// The first build of everything on a slow machine, with room to spare.
const CLONE_PATIENCE: Duration = Duration::from_hours(1);
const SECRET: &str = "a secret for benchmarks only";

#[derive(Clone, Copy)]
enum Profile {
    Debug,
    Release,
}

#[derive(Clone, Copy)]
enum Store {
    Memory,
    File,
}

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

impl Profile {
    /// Also the name of its folder under cargo's target.
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Debug => &[],
            Self::Release => &["--release"],
        }
    }
}

impl Store {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::File => "file",
        }
    }
}

async fn built_stack(profile: Profile) -> Result<()> {
    let programs = build(profile)?;
    let provider = Provider::start(&programs).await?;
    let relay = Relay::start(&provider.base_url).await?;
    say(&format!(
        "client       this program, built for release, on the same machine\n\
         stack        authorizer, rate limit, durable turns, stored frames, logs and metrics on\n\
         store        dynoxide: in memory, or in a file of a fresh folder\n\
         model        offline, or the scripted provider over HTTP (built as the stack is); no pauses\n\
         turns        {TURNS} each, in one conversation or shared by several at once; one more each,\n\
         \x20            not counted, starts the functions first\n\n\
         {:<42}{:>4}{:>9}{:>9}{:>9}{:>9}",
        "milliseconds", "n", "p50", "p90", "p99", "max"
    ))?;
    for store in [Store::Memory, Store::File] {
        starts(&programs, store).await?;
    }
    say("scripted provider called directly")?;
    report("to its first piece", &provider.first_pieces().await?, "")?;
    for model in [None, Some(&relay)] {
        for store in [Store::Memory, Store::File] {
            let stack = Stack::start(&programs, store, model).await?;
            for conversations in CONVERSATIONS {
                turns(&stack, store, model, conversations).await?;
            }
            stack.process.stop().await?;
        }
    }
    say(
        "\nready: with the look of cargo whether a function is to be built anew. The provider's first byte\n\
         of text is seen by a relay of this program between the stack and the scripted provider.",
    )
}

/// Builds what the benchmark starts, and returns the folder of it.
fn build(profile: Profile) -> Result<PathBuf> {
    let example = ["-p", "sparkle-llm", "--example", "scripted_provider"];
    for what in [&["--bins"][..], &example] {
        sparkle_tests::build(&[what, profile.flags()].concat());
    }
    // target/release/deps/this-benchmark → target/debug
    let here = std::env::current_exe()?;
    let folder = here.parent().and_then(Path::parent);
    Ok(folder
        .context("cargo's target folder")?
        .with_file_name(profile.name()))
}

async fn starts(programs: &Path, store: Store) -> Result<()> {
    let (mut starts, mut deltas) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let stack = Stack::start(programs, store, None).await?;
        starts.push(stack.process.ready_after);
        let mut client = stack.connect("newcomer").await?;
        deltas.push(turn(&mut client, "first", None).await?.delta);
        stack.process.stop().await?;
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

/// A stack in a built workspace.
struct Stack {
    process: Process,
    program: PathBuf,
    // After the process: it writes there.
    _folder: Folder,
}

impl Stack {
    async fn start(programs: &Path, store: Store, model: Option<&Relay>) -> Result<Self> {
        let program = programs.join("sparkle");
        let folder = Folder::new()?;
        let mut command = untouched(&program);
        command
            .current_dir(root())
            .args(["--port", "0", "--json"])
            .env("SPARKLE_JWT_SECRET", SECRET);
        match store {
            Store::Memory => command.arg("--ephemeral"),
            Store::File => command.arg("--data-dir").arg(folder.path().join("data")),
        };
        match model {
            None => command.env("SPARKLE_LLM_SCRIPTED", "1"),
            Some(relay) => command
                .env("SPARKLE_LLM_BASE_URL", &relay.base_url)
                .env("SPARKLE_LLM_MODEL", "gpt-4o-mini"),
        };
        Ok(Self {
            process: Process::start(&mut command, &folder.path().join("log"), PATIENCE).await?,
            program,
            _folder: folder,
        })
    }

    async fn connect(&self, user: &str) -> Result<Client> {
        let token = untouched(&self.program)
            .args(["token", "--user", user])
            .env("SPARKLE_JWT_SECRET", SECRET)
            .output()
            .await?;
        ensure!(token.status.success(), "no token");
        let token = String::from_utf8(token.stdout)?;
        self.process.connect(token.trim()).await
    }
}

/// The scripted provider of `sparkle-llm`.
struct Provider {
    base_url: String,
    _process: Child,
}

impl Provider {
    async fn start(programs: &Path) -> Result<Self> {
        let mut process = untouched(programs.join("examples/scripted_provider"))
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().context("no stdout")?;
        let base_url = timeout(PATIENCE, BufReader::new(stdout).lines().next_line()).await??;
        Ok(Self {
            base_url: base_url.context("the scripted provider did not start")?,
            _process: process,
        })
    }

    /// What is to be had at best: the same answers without a stack in between.
    async fn first_pieces(&self) -> Result<Vec<Duration>> {
        let client = http();
        let message = format!("#script {}", json!({ "pieces": ["a", "b"] }));
        let messages = json!([{ "role": "user", "content": message }]);
        let body = json!({ "model": "gpt-4o-mini", "stream": true, "messages": messages });
        let mut waits = Vec::new();
        for _ in 0..TURNS {
            let begun = Instant::now();
            let call = client.post(format!("{}/chat/completions", self.base_url));
            let mut answer = call.json(&body).send().await?.error_for_status()?;
            answer.chunk().await?.context("an answer without text")?;
            waits.push(begun.elapsed());
            while answer.chunk().await?.is_some() {}
        }
        Ok(waits)
    }
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

/// A stack as a process, whoever built it; dropped, it is killed.
struct Process {
    child: Child,
    ready_after: Duration,
    ws: String,
    token: String,
    /// Kept open: the stack may write there.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    async fn start(command: &mut Command, log: &Path, patience: Duration) -> Result<Self> {
        command
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log)?);
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut stdout = BufReader::new(stdout).lines();
        let Ok(Ok(Some(ready))) = timeout(patience, stdout.next_line()).await else {
            bail!("the stack did not start:\n{}", fs::read_to_string(log)?);
        };
        let ready_after = begun.elapsed();
        let addresses: Value = serde_json::from_str(&ready).context("the first line")?;
        let address = |name: &str| {
            let address = addresses[name].as_str();
            address
                .map(str::to_owned)
                .with_context(|| format!("no {name}"))
        };
        Ok(Self {
            ready_after,
            ws: address("ws")?,
            token: address("token")?,
            child,
            _stdout: stdout,
        })
    }

    async fn connect(&self, token: &str) -> Result<Client> {
        let protocols = format!("sparkle.v2, bearer.{token}");
        Client::connect(&self.ws, "Sec-WebSocket-Protocol", &protocols).await
    }

    async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// A program that neither the caller's own settings reach nor what cargo says of this benchmark.
fn untouched(program: impl AsRef<OsStr>) -> Command {
    const STRANGE: [&str; 4] = ["SPARKLE_", "RUST_LOG", "CARGO_PKG_", "CARGO_MANIFEST_"];
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if STRANGE.iter().any(|strange| text.starts_with(strange)) {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn describe_machine(profile: Profile) -> Result<()> {
    // Linux tells; elsewhere nothing is known.
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|_| "unknown".to_owned());
    let of = |path: &str, name: &str| {
        let text = read(path);
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value
            .map_or("unknown", |(_, value)| value.trim())
            .to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    say(&format!(
        "machine      {cores} cores of {}, {} of memory, kernel {}\n\
         load before  {} (what else runs here slows the figures)\n\
         profile      {}; `cargo run` gives a newcomer debug",
        of("/proc/cpuinfo", "model name"),
        of("/proc/meminfo", "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").trim(),
        profile.name()
    ))
}

fn report(title: &str, waits: &[Duration], target: &str) -> Result<()> {
    let at = |percent| percentile(waits, percent).as_secs_f64() * 1_000.0;
    let (p50, p90, p99, max) = (at(50), at(90), at(99), at(100));
    let n = waits.len();
    let row = format!("  {title:<40}{n:>4}{p50:>9.2}{p90:>9.2}{p99:>9.2}{max:>9.2}   {target}");
    say(row.trim_end())
}

/// The least that `percent` of them do not exceed; zero of none.
fn percentile(waits: &[Duration], percent: usize) -> Duration {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
