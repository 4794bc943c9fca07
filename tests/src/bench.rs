//! What the benchmarks share: programs built as asked, started as processes, and figures printed beside
//! their targets.
//!
//! Every benchmark prints the machine, the profile, the store and the concurrency it measured with. A
//! figure that misses its target is printed as missed; nothing here fails on a time.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{Client, Folder, PATIENCE, root};

const SECRET: &str = "a secret for benchmarks only";
/// Ticks of `/proc/*/stat` in a second, on every Linux that Rust supports.
const TICKS_PER_SECOND: u64 = 100;

/// How the measured programs are compiled.
#[derive(Debug, Clone, Copy)]
pub enum Profile {
    /// What `cargo run` gives a newcomer.
    Debug,
    /// What is deployed.
    Release,
}

impl Profile {
    /// Also the name of its folder under cargo's target.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }

    /// What asks cargo for it.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Debug => &[],
            Self::Release => &["--release"],
        }
    }

    /// Builds everything that a benchmark starts, and returns the folder of it: every function,
    /// `sparkle`, and `examples/scripted_provider`.
    ///
    /// # Panics
    /// It does not build.
    ///
    /// # Errors
    /// This program is not where cargo puts benchmarks.
    pub fn build(self) -> Result<PathBuf> {
        let provider = ["-p", "sparkle-llm", "--example", "scripted_provider"];
        for what in [&["--bins"][..], &provider] {
            crate::build(&[what, self.flags()].concat());
        }
        // target/release/deps/this-benchmark → target/debug
        let here = std::env::current_exe()?;
        let folder = here.parent().and_then(Path::parent);
        Ok(folder
            .context("cargo's target folder")?
            .with_file_name(self.name()))
    }
}

/// Where a stack keeps its tables and queues.
#[derive(Debug, Clone, Copy)]
pub enum Store {
    /// Nowhere.
    Memory,
    /// In a fresh folder.
    File,
}

impl Store {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::File => "file",
        }
    }
}

/// A stack of built programs.
#[derive(Debug)]
pub struct Stack {
    /// The program that runs it.
    pub process: Process,
    program: PathBuf,
    // After the process: it writes there.
    folder: Folder,
}

impl Stack {
    /// Starts one that asks the provider at `model`, or the offline model, which then obeys scripts.
    ///
    /// # Errors
    /// It did not start; the error holds its log.
    pub async fn start(programs: &Path, store: Store, model: Option<&str>) -> Result<Self> {
        Self::start_with(programs, store, model, |command| command).await
    }

    /// The same, with what `more` adds to its command line and environment.
    ///
    /// # Errors
    /// It did not start; the error holds its log.
    pub async fn start_with(
        programs: &Path,
        store: Store,
        model: Option<&str>,
        more: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<Self> {
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
            Some(base_url) => command
                .env("SPARKLE_LLM_BASE_URL", base_url)
                .env("SPARKLE_LLM_MODEL", "gpt-4o-mini"),
        };
        Ok(Self {
            process: Process::start(more(&mut command), &folder.path().join("log"), PATIENCE)
                .await?,
            program,
            folder,
        })
    }

    /// Connects as `user`.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn connect(&self, user: &str) -> Result<Client> {
        self.process.connect(&self.token(user).await?).await
    }

    /// Kills it and returns what it logged.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn stop(self) -> Result<String> {
        self.process.stop().await?;
        Ok(fs::read_to_string(self.folder.path().join("log"))?)
    }

    /// What it has logged so far.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("log"))?)
    }

    /// A token of `user`, in the tier `free`.
    ///
    /// # Errors
    /// The stack's own command failed.
    pub async fn token(&self, user: &str) -> Result<String> {
        self.token_of(user, "free").await
    }

    /// A token of `user` of a tier.
    ///
    /// # Errors
    /// The stack's own command failed.
    pub async fn token_of(&self, user: &str, tier: &str) -> Result<String> {
        let token = untouched(&self.program)
            .args(["token", "--user", user, "--tier", tier])
            .env("SPARKLE_JWT_SECRET", SECRET)
            .output()
            .await?;
        ensure!(token.status.success(), "no token");
        Ok(String::from_utf8(token.stdout)?.trim().to_owned())
    }
}

/// A stack as a process, whoever built it; dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// From its start to its first line.
    pub ready_after: Duration,
    /// Its WebSocket.
    pub ws: String,
    /// Its DynamoDB.
    pub dynamodb: String,
    /// Its SQS.
    pub sqs: String,
    /// The token that it printed.
    pub token: String,
    /// Kept open: the stack may write there.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts it and waits for the line that says where it is.
    ///
    /// # Errors
    /// It did not come within `patience`; the error holds its log.
    pub async fn start(command: &mut Command, log: &Path, patience: Duration) -> Result<Self> {
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
            dynamodb: address("dynamodb")?,
            sqs: address("sqs")?,
            token: address("token")?,
            child,
            _stdout: stdout,
        })
    }

    /// Connects with a token.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn connect(&self, token: &str) -> Result<Client> {
        let protocols = format!("sparkle.v2, bearer.{token}");
        Client::connect(&self.ws, "Sec-WebSocket-Protocol", &protocols).await
    }

    /// What it and the processes below it have used so far.
    ///
    /// # Errors
    /// This is not Linux.
    pub fn consumption(&self) -> Result<BTreeMap<String, Consumption>> {
        consumption(self.pid()?)
    }

    /// Its id.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the stack has ended")
    }

    /// Kills it.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// The scripted provider of `sparkle-llm`; dropped, it is killed.
#[derive(Debug)]
pub struct Provider {
    /// What `SPARKLE_LLM_BASE_URL` takes.
    pub base_url: String,
    _process: Child,
}

impl Provider {
    /// Starts one.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start(programs: &Path) -> Result<Self> {
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

    /// The body of a request whose answer is these pieces, without pauses.
    pub fn request(pieces: &[&str]) -> Value {
        let message = format!("#script {}", json!({ "pieces": pieces }));
        let messages = json!([{ "role": "user", "content": message }]);
        json!({ "model": "gpt-4o-mini", "stream": true, "messages": messages })
    }
}

/// A program that neither the caller's own settings reach nor what cargo says of this benchmark.
pub fn untouched(program: impl AsRef<OsStr>) -> Command {
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

/// What processes of one name have used.
#[derive(Debug, Default, Clone, Copy)]
pub struct Consumption {
    /// How many of them there are.
    pub processes: usize,
    /// How many of them are stopped, as the platform leaves a function between invocations.
    pub stopped: usize,
    /// Of their own code and of the kernel for them, to the nanosecond where the kernel counts so.
    pub cpu: Duration,
    /// Resident now, together.
    pub memory_bytes: u64,
}

/// What a process and those below it have used, by name. Those that have ended are not in it.
///
/// # Errors
/// This is not Linux.
pub fn consumption(root: u32) -> Result<BTreeMap<String, Consumption>> {
    let mut family = vec![root];
    let mut by_name: BTreeMap<String, Consumption> = BTreeMap::new();
    while let Some(pid) = family.pop() {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        // A process may end while this looks.
        let Ok(stat) = fs::read_to_string(folder.join("stat")) else {
            ensure!(pid != root, "no /proc/{root}/stat");
            continue;
        };
        let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
        let exe = fs::read_link(folder.join("exe")).unwrap_or_default();
        let name = exe
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // After the name in brackets, which may hold anything: 14 and 15 are CPU ticks (proc(5)).
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let is_stopped = fields.trim_start().starts_with('T');
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = resident
            .and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse().ok())
            .unwrap_or_default();
        let entry = by_name.entry(name).or_default();
        entry.processes += 1;
        entry.stopped += usize::from(is_stopped);
        // Ticks are coarse, and threads that have ended are counted only in them.
        let ticked = Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND);
        entry.cpu += ticked.max(time_of_threads(&folder));
        entry.memory_bytes += kib * 1_024;
        for task in fs::read_dir(folder.join("task")).into_iter().flatten() {
            let children = task.map(|task| fs::read_to_string(task.path().join("children")));
            let children = children.and_then(|text| text).unwrap_or_default();
            family.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    Ok(by_name)
}

/// What the threads of a process that still live have spent on a CPU; zero if the kernel does not say.
fn time_of_threads(process: &Path) -> Duration {
    let mut spent_ns = 0;
    for thread in fs::read_dir(process.join("task")).into_iter().flatten() {
        let told = thread.and_then(|thread| fs::read_to_string(thread.path().join("schedstat")));
        let first = told.unwrap_or_default();
        let first = first.split_whitespace().next();
        spent_ns += first.and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Duration::from_nanos(spent_ns)
}

/// Prints what is measured on, and with which profile.
///
/// # Errors
/// Stdout is closed.
pub fn describe_machine(profile: Profile) -> Result<()> {
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

/// Prints the head of a table of [`report`].
///
/// # Errors
/// Stdout is closed.
pub fn head() -> Result<()> {
    say(&format!(
        "{:<42}{:>5}{:>9}{:>9}{:>9}{:>9}",
        "milliseconds", "n", "p50", "p90", "p99", "max"
    ))
}

/// Prints how long something took: number, median, 90th and 99th percentile and the longest, in
/// milliseconds, and what is to be said of them.
///
/// # Errors
/// Stdout is closed.
pub fn report(title: &str, waits: &[Duration], remark: &str) -> Result<()> {
    let at = |percent| percentile(waits, percent).as_secs_f64() * 1_000.0;
    let (p50, p90, p99, max) = (at(50), at(90), at(99), at(100));
    let n = waits.len();
    let row = format!("  {title:<40}{n:>5}{p50:>9.2}{p90:>9.2}{p99:>9.2}{max:>9.2}   {remark}");
    say(row.trim_end())
}

/// Prints a figure beside its target of targets.md or requirements.md, and whether it is met.
///
/// # Errors
/// Stdout is closed.
pub fn against(target: &str, figure: &str, is_met: bool) -> Result<()> {
    let verdict = if is_met { "met" } else { "MISSED" };
    say(&format!("  {verdict:<8}{target:<66}{figure}"))
}

/// The least that `percent` of them do not exceed; zero of none.
pub fn percentile(waits: &[Duration], percent: usize) -> Duration {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

/// Prints a line.
///
/// # Errors
/// Stdout is closed.
pub fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
