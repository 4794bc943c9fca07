//! Other gateways in front of the same provider, through the same relay, at the same pace: LiteLLM's
//! proxy and Portkey's gateway.
//!
//! They are installed from PyPI and npm into a folder under cargo's target, once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use sparkle_tests::{
    bench::{against, consumption, percentile, report, say, untouched},
    http,
};
use tokio::{
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Ours,
    load::Pace,
    model::{Model, Question},
};

const LITELLM: &str = "1.106.2";
const PORTKEY: &str = "1.15.2";
/// The newer ones that npm would choose break every stream of this gateway (its issue 1389).
const PORTKEY_SERVER: &str = "1.13.7";
/// It has no setting for the address that it listens on; this makes it listen on this machine only.
const LOCAL_ONLY: &str = "data:text/javascript,import net from 'node:net';\
    const listen = net.Server.prototype.listen;\
    net.Server.prototype.listen = function (port, ...rest) {\
    return listen.call(this, { port, host: '127.0.0.1' }, rest.at(-1)) }";
const KEY: &str = "sk-a-key-for-benchmarks-only";
/// M7: how often our CPU per message goes into that of LiteLLM's proxy.
const LITELLM_RATIO_MIN: f64 = 24.0;
/// LiteLLM takes long to load all that it knows of.
const PATIENCE: Duration = Duration::from_secs(180);

/// Something that speaks `/chat/completions`.
struct Endpoint {
    base_url: String,
    headers: Vec<(&'static str, String)>,
}

/// A gateway that was started; dropped, it is killed.
struct Peer {
    name: &'static str,
    version: &'static str,
    endpoint: Endpoint,
    process: Child,
}

/// Between when a question was due and what came of it.
struct Reply {
    first: Duration,
    done: Duration,
}

/// Measures each and compares it with `ours`, which was measured at the same pace just before.
pub(crate) async fn measure(model: &Arc<Model>, pace: Pace, ours: &Ours) -> Result<()> {
    say(&format!(
        "\nother gateways, {} requests at {} a second each: streamed chat completions over HTTP, of the\n\
         same provider through the same relay. They keep nothing: no turn, no frame, no history; they\n\
         have no sockets, no rate limit and no queue here. LiteLLM checks a key; Portkey checks none.",
        pace.times(),
        pace.per_second
    ))?;
    let provider = Endpoint {
        base_url: model.base_url.clone(),
        headers: Vec::new(),
    };
    let direct = provider.ask(pace, model).await?;
    let of_first = |replies: &[Reply]| replies.iter().map(|reply| reply.first).collect::<Vec<_>>();
    let to_first = percentile(&of_first(&direct), 50);
    report("provider itself: due to first text", &of_first(&direct), "")?;
    let added = ours.delta_p50.saturating_sub(to_first);
    say(&format!(
        "  ours: {added:.2?} added to the first text at the median, over the WebSocket"
    ))?;

    for name in ["LiteLLM", "Portkey"] {
        let started = match name {
            "LiteLLM" => litellm(&model.base_url).await,
            _ => portkey(&model.base_url).await,
        };
        let peer = match started {
            Ok(peer) => peer,
            Err(error) => {
                say(&format!("  {name} is not measured: {error:#}"))?;
                continue;
            }
        };
        let warm_up = Pace {
            lasting: Duration::from_secs(3),
            ..pace
        };
        peer.endpoint.ask(warm_up, model).await?;
        let before = peer.cpu()?;
        let replies = peer.endpoint.ask(pace, model).await?;
        let cpu = (peer.cpu()? - before) / pace.times();
        let title = |what| format!("{name} {}: due to {what}", peer.version);
        report(&title("first text"), &of_first(&replies), "")?;
        let done: Vec<_> = replies.iter().map(|reply| reply.done).collect();
        report(&title("end"), &done, "")?;
        let added = percentile(&of_first(&replies), 50).saturating_sub(to_first);
        say(&format!(
            "  {name}: {added:.2?} added to the first text at the median; {cpu:.2?} of CPU a request"
        ))?;
        let ratio = cpu.as_secs_f64() / ours.cpu.as_secs_f64();
        let figure = format!("{:.2?} to {cpu:.2?}: {ratio:.1} ×", ours.cpu);
        match name {
            "LiteLLM" => against(
                "M7: CPU per message at least 24 × below LiteLLM's proxy",
                &figure,
                ratio >= LITELLM_RATIO_MIN,
            )?,
            _ => against(
                "M7: CPU per message below Portkey's gateway",
                &figure,
                ratio > 1.0,
            )?,
        }
    }
    Ok(())
}

impl Endpoint {
    async fn ask(&self, pace: Pace, model: &Arc<Model>) -> Result<Vec<Reply>> {
        let http = http();
        let mut at_once = JoinSet::new();
        for due in pace.due(Instant::now() + Duration::from_millis(100)) {
            let question = Question::new();
            let mut call = http
                .post(format!("{}/chat/completions", self.base_url))
                .json(&question.request());
            for (name, value) in &self.headers {
                call = call.header(*name, value);
            }
            let model = Arc::clone(model);
            at_once.spawn(async move { reply(call, due, &question, &model).await });
        }
        let mut replies = Vec::new();
        while let Some(reply) = at_once.join_next().await {
            replies.push(reply??);
        }
        Ok(replies)
    }
}

/// Sends a call when it is due and reads the answer to its end.
async fn reply(
    call: reqwest::RequestBuilder,
    due: Instant,
    question: &Question,
    model: &Model,
) -> Result<Reply> {
    sleep_until(due).await;
    let mut answer = call.send().await?.error_for_status()?;
    let (mut text, mut first) = (String::new(), None);
    while let Some(chunk) = answer.chunk().await? {
        text.push_str(&String::from_utf8_lossy(&chunk));
        if text.contains("]]") {
            first.get_or_insert_with(|| due.elapsed());
        }
    }
    ensure!(text.contains("[DONE]"), "an answer without an end: {text}");
    model
        .first_text(question)
        .context("an answer of another provider")?;
    Ok(Reply {
        first: first.context("an answer without text")?,
        done: due.elapsed(),
    })
}

impl Peer {
    /// Starts a server and waits until it answers at `path`.
    async fn start(
        (name, version): (&'static str, &'static str),
        command: &mut Command,
        log: &Path,
        (endpoint, path): (Endpoint, &str),
    ) -> Result<Self> {
        let file = fs::File::create(log)?;
        let process = command
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        let begun = Instant::now();
        let url = endpoint.base_url.replace("/v1", path);
        let http = http();
        let is_up = async || {
            http.get(&url)
                .send()
                .await
                .is_ok_and(|up| up.status().is_success())
        };
        while !is_up().await {
            if begun.elapsed() > PATIENCE {
                bail!("{name} does not answer:\n{}", fs::read_to_string(log)?);
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(Self {
            name,
            version,
            endpoint,
            process,
        })
    }

    /// What it and the processes below it have used so far.
    fn cpu(&self) -> Result<Duration> {
        let pid = self.process.id();
        let used = consumption(pid.with_context(|| format!("{} has ended", self.name))?)?;
        Ok(used.values().map(|used| used.cpu).sum())
    }
}

async fn litellm(provider: &str) -> Result<Peer> {
    let folder = folder("litellm")?;
    let program = folder.join("bin/litellm");
    let marker = folder.join(LITELLM);
    if !marker.is_file() {
        run(untouched("python3").args(["-m", "venv"]).arg(&folder)).await?;
        let package = format!("litellm[proxy]=={LITELLM}");
        run(untouched(folder.join("bin/pip")).args(["install", "--quiet", &package])).await?;
        fs::write(marker, "")?;
    }
    let config = json!({
        "model_list": [{
            "model_name": "gpt-4o-mini",
            "litellm_params": { "model": "openai/gpt-4o-mini", "api_base": provider, "api_key": KEY },
        }],
    });
    // JSON is YAML.
    let config_path = folder.join("config.yaml");
    fs::write(&config_path, config.to_string())?;
    let (base_url, port) = free_address().await?;
    let mut command = untouched(program);
    command
        .arg("--config")
        .arg(config_path)
        .args(["--host", "127.0.0.1", "--port", &port])
        .env("LITELLM_MASTER_KEY", KEY)
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .env("LITELLM_LOG", "ERROR");
    let endpoint = Endpoint {
        base_url,
        headers: vec![("authorization", format!("Bearer {KEY}"))],
    };
    let up = (endpoint, "/health/liveliness");
    Peer::start(("LiteLLM", LITELLM), &mut command, &folder.join("log"), up).await
}

async fn portkey(provider: &str) -> Result<Peer> {
    let folder = folder("portkey")?;
    let program = folder.join("node_modules/@portkey-ai/gateway/build/start-server.js");
    if !program.is_file() {
        let package = json!({
            "private": true,
            "dependencies": { "@portkey-ai/gateway": PORTKEY },
            "overrides": { "@hono/node-server": PORTKEY_SERVER },
        });
        fs::write(folder.join("package.json"), package.to_string())?;
        let mut npm = untouched("npm");
        run(npm
            .args(["install", "--ignore-scripts"])
            .current_dir(&folder))
        .await?;
    }
    let (base_url, port) = free_address().await?;
    let mut command = untouched("node");
    command
        .args(["--import", LOCAL_ONLY])
        .arg(program)
        .args([&format!("--port={port}"), "--headless"])
        .env("NODE_ENV", "production");
    let endpoint = Endpoint {
        base_url,
        headers: vec![
            ("authorization", format!("Bearer {KEY}")),
            ("x-portkey-provider", "openai".to_owned()),
            ("x-portkey-custom-host", provider.to_owned()),
        ],
    };
    let up = (endpoint, "/");
    Peer::start(("Portkey", PORTKEY), &mut command, &folder.join("log"), up).await
}

/// A folder of its own under cargo's target, kept for the next time.
fn folder(name: &str) -> Result<PathBuf> {
    // target/release/deps/this-benchmark → target
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(3).context("cargo's target folder")?;
    let folder = target.join("peers").join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

async fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .await;
    let output = output.with_context(|| format!("{:?} cannot be run", command.as_std()))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{:?} failed: {told}",
        command.as_std()
    );
    Ok(())
}

/// A base URL on a port that is free now, and the port.
async fn free_address() -> Result<(String, String)> {
    let port = free_port().await?;
    Ok((format!("http://127.0.0.1:{port}/v1"), port.to_string()))
}

async fn free_port() -> Result<u16> {
    Ok(tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await?
        .local_addr()?
        .port())
}
