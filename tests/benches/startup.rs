//! What a cold start costs and how large what is deployed is (M8).
//!
//!     cargo bench -p sparkle-tests --bench startup               every function of template.yaml
//!     cargo bench -p sparkle-tests --bench startup -- --naive    beside a build that nobody has thought about
//!
//! Each function is built for release and for this machine's architecture, and started as Lambda would
//! start it in the deployed configuration, without endpoints of a local stack. A fake Runtime API waits
//! for its first `next`. Instructions are counted by callgrind and hardly differ between runs; times do.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_yaml_ng::Value;
use sparkle_tests::{
    Folder, PATIENCE,
    bench::{Profile, against, describe_machine, percentile, say, untouched},
    root,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    time::timeout,
};

const STARTS: usize = 20;
/// M8.
const BYTES_MAX: u64 = 6_000_000;
const INSTRUCTIONS_MAX: u64 = 3_000_000;
const TIMES_BELOW_NAIVE: f64 = 6.0;
/// Under callgrind everything takes some 50 times as long.
const CALLGRIND_PATIENCE: Duration = Duration::from_mins(2);

#[tokio::main]
async fn main() -> Result<()> {
    let mut is_naive_wanted = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--naive" => is_naive_wanted = true,
            other => bail!("{other} is not [--naive]"),
        }
    }
    describe_machine(Profile::Release)?;
    let functions = functions()?;
    let programs = build(&functions)?;
    let naive = if is_naive_wanted {
        Some(naive().await?)
    } else {
        None
    };
    say(&format!(
        "starts       {STARTS} each; exec to the first `next` of a fake Runtime API\n\n\
         {:<18}{:>10}{:>10}{:>16}{:>11}{:>11}{:>10}",
        "", "bytes", "zipped", "instructions", "p50 ms", "max ms", "RSS MB"
    ))?;
    if let Some(naive) = &naive {
        print("the naive build", naive)?;
    }
    let mut starts = BTreeMap::new();
    for (name, environment) in &functions {
        let start = measure(&programs.join(name), environment).await?;
        print(name, &start)?;
        starts.insert(name.clone(), start);
    }
    say("")?;
    for (name, start) in &starts {
        verdicts(name, start, naive.as_ref())?;
    }
    Ok(())
}

/// What one program needs until it asks for its first event.
struct Start {
    bytes: u64,
    zipped_bytes: Option<u64>,
    /// None without valgrind.
    instructions: Option<u64>,
    waits: Vec<Duration>,
    memory_bytes: u64,
}

fn print(name: &str, start: &Start) -> Result<()> {
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let ms = |percent| percentile(&start.waits, percent).as_secs_f64() * 1_000.0;
    let (p50, max, rss) = (ms(50), ms(100), start.memory_bytes as f64 / 1e6);
    let (zipped, instructions) = (number(start.zipped_bytes), number(start.instructions));
    say(&format!(
        "{name:<18}{:>10}{zipped:>10}{instructions:>16}{p50:>11.2}{max:>11.2}{rss:>10.1}",
        start.bytes
    ))
}

fn verdicts(name: &str, start: &Start, naive: Option<&Start>) -> Result<()> {
    let is_small = start.bytes <= BYTES_MAX;
    let bytes = format!("{} bytes", start.bytes);
    against(
        &format!("M8: {name}: at most 6 MB stripped"),
        &bytes,
        is_small,
    )?;
    let Some(instructions) = start.instructions else {
        return say(&format!(
            "  not measured: {name}'s instructions need valgrind"
        ));
    };
    against(
        &format!("M8: {name}: at most 3 M instructions to the first next"),
        &format!("{:.2} M", instructions as f64 / 1e6),
        instructions <= INSTRUCTIONS_MAX,
    )?;
    match naive.and_then(|naive| naive.instructions) {
        Some(naive) => {
            let times = naive as f64 / instructions as f64;
            against(
                &format!("M8: {name}: at least 6 × below the naive build"),
                &format!("{times:.1} ×"),
                times >= TIMES_BELOW_NAIVE,
            )
        }
        None => say(&format!(
            "  not measured: {name} against the naive build (-- --naive)"
        )),
    }
}

/// Every function's name and environment, as the template has them: values that it computes are made
/// up, so that everything that a deployed function prepares at its start is prepared.
fn functions() -> Result<BTreeMap<String, Vec<(String, String)>>> {
    let template: Value =
        serde_yaml_ng::from_str(&fs::read_to_string(root().join("template.yaml"))?)?;
    let resources = template["Resources"].as_mapping().context("no resources")?;
    let mut functions = BTreeMap::new();
    for (_, resource) in resources {
        if resource["Type"] != "AWS::Serverless::Function" {
            continue;
        }
        let folder = resource["Properties"]["CodeUri"]
            .as_str()
            .context("no CodeUri")?;
        let name = folder.rsplit('/').next().unwrap_or_default().to_owned();
        let variables = &resource["Properties"]["Environment"]["Variables"];
        let mut environment = vec![
            ("AWS_REGION".to_owned(), "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID".to_owned(), "none".to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), "none".to_owned()),
            ("AWS_LAMBDA_FUNCTION_NAME".to_owned(), name.clone()),
            ("AWS_LAMBDA_FUNCTION_VERSION".to_owned(), "1".to_owned()),
            (
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE".to_owned(),
                "256".to_owned(),
            ),
            ("AWS_LAMBDA_LOG_GROUP_NAME".to_owned(), "group".to_owned()),
            ("AWS_LAMBDA_LOG_STREAM_NAME".to_owned(), "stream".to_owned()),
            ("RUST_LOG".to_owned(), "info".to_owned()),
            // Fetched from Secrets Manager on AWS, which takes a call and hardly an instruction.
            (
                "SPARKLE_JWT_SECRET".to_owned(),
                "a secret for benchmarks only".to_owned(),
            ),
            (
                "SPARKLE_LLM_API_KEY".to_owned(),
                "a key for benchmarks only".to_owned(),
            ),
        ];
        for (variable, value) in variables.as_mapping().into_iter().flatten() {
            let variable = variable.as_str().context("a variable's name")?.to_owned();
            let value = match variable.as_str() {
                "SPARKLE_JWKS_URL" | "SPARKLE_LLM_MODEL" => String::new(),
                "SPARKLE_LLM_BASE_URL" => "https://llm.invalid/v1".to_owned(),
                "SPARKLE_PUSH_ENDPOINT" => "https://api.invalid/dev".to_owned(),
                "SPARKLE_QUEUE_TURNS" => "https://sqs.invalid/0/turns.fifo".to_owned(),
                _ => match value {
                    Value::Number(number) => number.to_string(),
                    _ => "made-up".to_owned(),
                },
            };
            environment.push((variable, value));
        }
        functions.insert(name, environment);
    }
    Ok(functions)
}

fn build(functions: &BTreeMap<String, Vec<(String, String)>>) -> Result<PathBuf> {
    let packages = functions.keys().flat_map(|name| ["-p", name.as_str()]);
    sparkle_tests::build(&packages.chain(["--release"]).collect::<Vec<_>>());
    // target/release/deps/this-benchmark → target/release
    let here = std::env::current_exe()?;
    let folder = here.parent().and_then(Path::parent);
    Ok(folder
        .context("cargo's target folder")?
        .with_file_name("release"))
}

async fn measure(program: &Path, environment: &[(String, String)]) -> Result<Start> {
    let runtime = Runtime::start().await?;
    let (mut waits, mut memory_bytes) = (Vec::new(), 0);
    for _ in 0..STARTS {
        let mut command = untouched(program);
        let mut process = runtime.point(&mut command, environment).spawn()?;
        let begun = Instant::now();
        let held = timeout(PATIENCE, runtime.next()).await;
        let held = held.with_context(|| format!("{} asks for no event", program.display()))??;
        waits.push(begun.elapsed());
        memory_bytes = resident(process.id().context("it has ended")?)?;
        process.kill().await?;
        drop(held);
    }
    Ok(Start {
        bytes: fs::metadata(program)?.len(),
        zipped_bytes: zipped(program).await?,
        instructions: instructions(program, environment).await?,
        waits,
        memory_bytes,
    })
}

fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
        .context("no VmRSS")?;
    Ok(kib * 1_024)
}

/// As large as gzip makes it, which is what zip does too; none without gzip.
async fn zipped(program: &Path) -> Result<Option<u64>> {
    let gzip = untouched("gzip").arg("-c").arg(program).output().await;
    Ok(gzip.ok().map(|output| output.stdout.len() as u64))
}

/// Counted by callgrind from exec to the first `next`; none without valgrind.
async fn instructions(program: &Path, environment: &[(String, String)]) -> Result<Option<u64>> {
    let runtime = Runtime::start().await?;
    let folder = Folder::new()?;
    let log = folder.path().join("log");
    let mut command = untouched("valgrind");
    command
        .arg("--tool=callgrind")
        .arg(format!("--log-file={}", log.display()))
        .arg(format!(
            "--callgrind-out-file={}",
            folder.path().join("out").display()
        ))
        .arg(program);
    let Ok(mut process) = runtime.point(&mut command, environment).spawn() else {
        return Ok(None);
    };
    let held = timeout(CALLGRIND_PATIENCE, runtime.next()).await;
    let held = held.with_context(|| format!("{} asks for no event", program.display()))??;
    // It dies of the signal as any program would, and callgrind sums up.
    let pid = process.id().context("it has ended")?.to_string();
    ensure!(
        untouched("kill")
            .args(["-TERM", &pid])
            .status()
            .await?
            .success(),
        "no kill"
    );
    process.wait().await?;
    drop(held);
    let log = fs::read_to_string(log)?;
    let collected = log.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) = collected.with_context(|| format!("no count in {log}"))?;
    Ok(Some(count.trim().parse()?))
}

/// A Runtime API that has no events.
struct Runtime {
    listener: TcpListener,
}

impl Runtime {
    async fn start() -> Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(("127.0.0.1", 0)).await?,
        })
    }

    fn point<'a>(
        &self,
        command: &'a mut Command,
        environment: &[(String, String)],
    ) -> &'a mut Command {
        let address = self
            .listener
            .local_addr()
            .map(|address| address.to_string());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", address.unwrap_or_default())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
    }

    /// Waits for a `next`, which is not answered as long as the connection is held.
    async fn next(&self) -> Result<TcpStream> {
        loop {
            let (mut connection, _) = self.listener.accept().await?;
            let mut head = vec![0; 4_096];
            let length = connection.read(&mut head).await?;
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            if head.contains("/runtime/invocation/next") {
                return Ok(connection);
            }
            connection
                .write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
                .await?;
            ensure!(!head.contains("/init/error"), "it cannot start: {head}");
        }
    }
}

/// The same three clients and runtime with every default: `aws-config`, two TLS stacks, no LTO.
async fn naive() -> Result<Start> {
    let folder = root().join("tests/benches/naive");
    let target = root().join("target/naive");
    let status = untouched("cargo")
        .args(["build", "--release", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .await?;
    ensure!(status.success(), "the naive build does not build");
    let program = target.join("release/naive");
    let names = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "none"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
        ("AWS_LAMBDA_FUNCTION_NAME", "naive"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "group"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
    ];
    let environment: Vec<_> = names
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let mut start = measure(&program, &environment).await?;
    let stripped = Folder::new()?;
    let copy = stripped.path().join("naive");
    let status = untouched("strip")
        .arg("-o")
        .arg(&copy)
        .arg(&program)
        .status()
        .await?;
    ensure!(status.success(), "strip failed");
    start.bytes = fs::metadata(&copy)?.len();
    start.zipped_bytes = zipped(&copy).await?;
    Ok(start)
}
