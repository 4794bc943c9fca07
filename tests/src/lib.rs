//! A real stack for tests and benchmarks: the program that `cargo run` starts, as a process, and a client
//! that speaks to it over the wire.

pub mod bench;
pub mod cloud;
pub mod entries;
pub mod follow;
pub mod foreign;
pub mod load;
pub mod processes;

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest, protocol::CloseFrame},
};

/// The longest that anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The HS256 key of every stack that tests start.
const SECRET: &str = "a secret for tests only";

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds what `cargo run` builds, once for the process, and returns the folder of the binaries.
///
/// # Panics
/// The workspace does not build.
pub fn binaries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        build(&["--bins"]);
        // target/debug/deps/this-test → target/debug
        let here = std::env::current_exe().expect("this program has a path");
        let profile = here
            .parent()
            .and_then(Path::parent)
            .expect("cargo's target folder");
        profile.with_file_name("debug")
    })
}

/// Has cargo build something of the workspace.
///
/// # Panics
/// It does not build.
pub fn build(what: &[&str]) {
    let mut cargo = std::process::Command::new("cargo");
    cargo.arg("build").args(what).current_dir(root());
    // What cargo says of this test's package would make it build other packages anew.
    for (name, _) in std::env::vars()
        .filter(|(name, _)| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
    {
        cargo.env_remove(name);
    }
    assert!(
        cargo.status().is_ok_and(|status| status.success()),
        "{what:?} does not build"
    );
}

/// How a stack is to be started.
#[derive(Debug, Default)]
pub struct Options {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
}

impl Options {
    /// With a command-line argument.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With an environment variable.
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Keeping its data there; otherwise it keeps nothing.
    pub fn data_dir(mut self, data_dir: &Path) -> Self {
        self.data_dir = Some(data_dir.to_owned());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binaries().join("sparkle"));
        command
            .current_dir(root())
            .args(["--port", "0", "--json"])
            .args(&self.arguments)
            .env("SPARKLE_JWT_SECRET", SECRET)
            .env("SPARKLE_LLM_SCRIPTED", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        match &self.data_dir {
            Some(data_dir) => command.arg("--data-dir").arg(data_dir),
            None => command.arg("--ephemeral"),
        };
        command
    }

    /// Starts a stack and waits until it says that it is ready.
    ///
    /// # Errors
    /// It did not start; the error holds what it said.
    pub async fn start(self) -> Result<Stack> {
        let mut process = self.command().spawn()?;
        let mut stdout = BufReader::new(process.stdout.take().context("no stdout")?).lines();
        let mut stderr = process.stderr.take().context("no stderr")?;
        #[expect(
            clippy::disallowed_methods,
            reason = "awaited when the stack is killed"
        )]
        let log = tokio::spawn(async move {
            let mut log = String::new();
            stderr
                .read_to_string(&mut log)
                .await
                .map(|_| log)
                .unwrap_or_default()
        });
        let Some(ready) = timeout(PATIENCE, stdout.next_line()).await?? else {
            bail!("the stack did not start: {}", log.await?);
        };
        let addresses = serde_json::from_str(&ready).context("the first line is not JSON")?;
        Ok(Stack {
            process,
            addresses,
            log,
            _stdout: stdout.into_inner(),
        })
    }

    /// Starts a stack that is expected to fail, and returns what it said.
    ///
    /// # Errors
    /// It did not end by itself.
    pub async fn fail(self) -> Result<(ExitStatus, String)> {
        let output = timeout(PATIENCE, self.command().output()).await??;
        Ok((
            output.status,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }
}

/// A running stack; dropped, it is killed.
#[derive(Debug)]
pub struct Stack {
    process: Child,
    addresses: Value,
    log: JoinHandle<String>,
    _stdout: BufReader<tokio::process::ChildStdout>,
}

impl Stack {
    /// A stack that keeps nothing and answers with the offline model, which obeys scripts.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start() -> Result<Self> {
        Options::default().start().await
    }

    /// One of the addresses that it printed: `ws`, `http`, `dynamodb`, `sqs`, `token`.
    ///
    /// # Panics
    /// It printed no such address.
    pub fn address(&self, name: &str) -> &str {
        self.addresses[name]
            .as_str()
            .expect("an address of the stack")
    }

    /// The process.
    ///
    /// # Panics
    /// It printed no id.
    pub fn pid(&self) -> u32 {
        let pid = self.addresses["pid"].as_u64();
        pid.and_then(|pid| pid.try_into().ok())
            .expect("the id of the stack's process")
    }

    /// A development token, made by the stack's own command.
    ///
    /// # Errors
    /// The command failed.
    pub fn token(&self, user: &str, ttl: &str) -> Result<String> {
        self.token_of(user, ttl, "free")
    }

    fn token_of(&self, user: &str, ttl: &str, tier: &str) -> Result<String> {
        let output = std::process::Command::new(binaries().join("sparkle"))
            .args(["token", "--user", user, "--ttl", ttl])
            .args(["--tier", tier])
            .env("SPARKLE_JWT_SECRET", SECRET)
            .output()?;
        ensure!(output.status.success(), "no token");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Connects as `user`.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn connect(&self, user: &str) -> Result<Client> {
        let token = self.token(user, "1h")?;
        self.connect_with(
            "Sec-WebSocket-Protocol",
            &format!("sparkle.v2, bearer.{token}"),
        )
        .await
    }

    /// Connects as `user` of a tier.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn connect_as(&self, user: &str, tier: &str) -> Result<Client> {
        let token = self.token_of(user, "1h", tier)?;
        self.connect_with("Authorization", &format!("Bearer {token}"))
            .await
    }

    /// Connects with one header of the handshake.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn connect_with(&self, header: &'static str, value: &str) -> Result<Client> {
        Client::connect(self.address("ws"), header, value).await
    }

    /// The text of an HTTP resource.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn get(&self, path: &str) -> Result<String> {
        get(&format!("{}{path}", self.address("http"))).await
    }

    /// Kills the process at once and returns all that it logged.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(mut self) -> Result<String> {
        self.process.start_kill()?;
        self.process.wait().await?;
        Ok(timeout(PATIENCE, self.log).await??)
    }
}

/// The text at a URL.
///
/// # Errors
/// It cannot be had.
pub async fn get(url: &str) -> Result<String> {
    Ok(http()
        .get(url)
        .send()
        .await?
        .error_for_status()?
        .text()
        .await?)
}

/// An HTTP client.
pub fn http() -> reqwest::Client {
    // An error means that one is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::new()
}

/// A client that speaks JSON.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    requests: u32,
}

/// A whole stream, from its `ack` to its final frame.
#[derive(Debug)]
pub struct Answer {
    /// The payload of the `ack`.
    pub ack: Value,
    /// The frames of the stream, in order.
    pub frames: Vec<Value>,
    /// The text of the deltas, joined.
    pub text: String,
}

impl Answer {
    /// The answer that these frames, in order, are.
    fn of(ack: Value, frames: Vec<Value>) -> Self {
        let mut text = String::new();
        for frame in &frames {
            if frame["payload"]["restart"] == true {
                text.clear();
            }
            text.push_str(frame["payload"]["text"].as_str().unwrap_or_default());
        }
        Self { ack, frames, text }
    }

    /// The final frame.
    ///
    /// # Panics
    /// There is no frame.
    pub fn last(&self) -> &Value {
        self.frames.last().expect("a stream has a final frame")
    }

    /// The payload of the only frame of that type.
    ///
    /// # Panics
    /// There is none.
    pub fn payload(&self, kind: &str) -> &Value {
        let frame = self.frames.iter().find(|frame| frame["type"] == kind);
        &frame.unwrap_or_else(|| panic!("no {kind} in {:?}", self.frames))["payload"]
    }
}

impl Client {
    /// Connects to a WebSocket with one header of the handshake.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn connect(url: &str, header: &'static str, value: &str) -> Result<Self> {
        let mut request = url.into_client_request()?;
        request.headers_mut().insert(header, value.parse()?);
        let (socket, _) = timeout(PATIENCE, connect_async(request)).await??;
        Ok(Self {
            socket,
            requests: 0,
        })
    }

    /// Sends text as it is.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn send(&mut self, text: impl Into<String>) -> Result<()> {
        Ok(self.socket.send(Message::text(text.into())).await?)
    }

    /// The next text.
    ///
    /// # Errors
    /// The socket is closed, or nothing came.
    pub async fn receive(&mut self) -> Result<String> {
        self.receive_within(PATIENCE).await
    }

    /// The next text, if it comes within `patience`.
    ///
    /// # Errors
    /// The socket is closed, or nothing came.
    pub async fn receive_within(&mut self, patience: Duration) -> Result<String> {
        loop {
            match timeout(patience, self.socket.next())
                .await
                .context("nothing came")?
            {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(frame))) => bail!("closed: {frame:?}"),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => bail!("closed"),
            }
        }
    }

    /// How the server closes the socket, once it does; what else it sends is dropped.
    ///
    /// # Errors
    /// It did not close it.
    pub async fn closed(&mut self) -> Result<Option<CloseFrame>> {
        loop {
            match timeout(PATIENCE, self.socket.next())
                .await
                .context("it stays open")?
            {
                Some(Ok(Message::Close(frame))) => return Ok(frame),
                Some(Err(tungstenite::Error::Protocol(_))) | None => return Ok(None),
                Some(_) => {}
            }
        }
    }

    /// The next frame.
    ///
    /// # Errors
    /// Nothing came, or no JSON.
    pub async fn frame(&mut self) -> Result<Value> {
        let text = self.receive().await?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// Sends a request under a fresh id, which is returned.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn request(&mut self, kind: &str, payload: Value) -> Result<String> {
        self.requests += 1;
        let name = kind.replace('.', "-");
        let id = format!("{name}-{}-{}", self.requests, uuid::Uuid::new_v4().simple());
        self.send(request(kind, &id, payload)).await?;
        Ok(id)
    }

    /// Asks for the frames of an earlier `chat` after `after_seq`, under a fresh id, which is returned.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn resume(&mut self, request_id: &str, after_seq: u64) -> Result<String> {
        let payload = json!({ "request_id": request_id, "after_seq": after_seq });
        self.request("resume", payload).await
    }

    /// Sends a request and returns the next frame.
    ///
    /// # Errors
    /// Nothing came.
    pub async fn ask(&mut self, kind: &str, payload: Value) -> Result<Value> {
        let id = self.request(kind, payload).await?;
        let frame = self.frame().await?;
        ensure!(
            frame["request_id"] == id.as_str(),
            "an answer to something else: {frame}"
        );
        Ok(frame)
    }

    /// Says something in a conversation and returns the whole answer.
    ///
    /// # Errors
    /// The stream is not as the protocol says.
    pub async fn chat(&mut self, session: &str, message: &str) -> Result<Answer> {
        let payload = json!({ "session_id": session, "message": message });
        let id = self.request("chat", payload).await?;
        self.answer(&id).await
    }

    /// Reads the stream of a request to its end, checking the rules of a stream.
    ///
    /// # Errors
    /// The stream is not as the protocol says.
    pub async fn answer(&mut self, id: &str) -> Result<Answer> {
        let (mut ack, mut frames) = (Value::Null, Vec::<Value>::new());
        let mut stream = Value::Null;
        let is_over = |frames: &[Value]| {
            let last = frames.last().map(|frame| &frame["type"]);
            last.is_some_and(|kind| kind == "done" || kind == "error")
        };
        while ack.is_null() || !is_over(&frames) {
            let frame = self.frame().await?;
            if frame["type"] == "ack" && frame["request_id"] == id {
                ack = frame["payload"].clone();
                stream = frame["stream"].clone();
                continue;
            }
            if frame.get("seq").is_none() {
                ensure!(frame["request_id"] != id, "refused: {frame}");
                continue;
            }
            if stream.is_null() && frame["request_id"] == id {
                stream = frame["stream"].clone();
            }
            if frame["stream"] != stream {
                continue;
            }
            ensure!(frame["seq"] == frames.len() + 1, "out of order: {frame}");
            frames.push(frame);
        }
        let answer = Answer::of(ack, frames);
        ensure!(
            answer.last()["request_id"] == id,
            "the final frame names no request"
        );
        Ok(answer)
    }
}

/// A frame of a client as JSON.
pub fn request(kind: &str, id: &str, payload: Value) -> String {
    json!({ "version": "2.0", "type": kind, "request_id": id, "payload": payload }).to_string()
}

/// A folder that is removed when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// An empty folder of its own.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("sparkle-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
