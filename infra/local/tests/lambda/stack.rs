//! The local Lambda service with a real process behind it: `examples/echo_function.rs`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::Value;
use sparkle_local::{
    lambda::{Executable, Invocation, InvokeError, Lambda, Pace, Processes},
    metrics::Metrics,
    template::Function,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let target = test
        .parent()
        .and_then(Path::parent)
        .context("no target folder")?;
    Ok(target.join("examples").join("echo_function"))
}

pub(crate) fn echo(timeout: Duration) -> Result<Executable> {
    Ok(Executable {
        function: Function {
            logical_id: "EchoFunction".to_owned(),
            name: "echo".to_owned(),
            timeout,
            memory_mb: 128,
            ..Function::default()
        },
        path: binary()?,
        environment: BTreeMap::from([("GIVEN".to_owned(), "yes".to_owned())]),
        processes: Processes::default(),
    })
}

pub(crate) async fn start(executable: Executable) -> Result<Lambda> {
    Ok(Lambda::start(vec![executable], Metrics::default()).await?)
}

pub(crate) async fn invoke(lambda: &Lambda, event: Value) -> Result<Value, InvokeError> {
    let event = Bytes::from(event.to_string());
    let answer = time::timeout(
        PATIENCE,
        lambda.invoke("echo", event, Invocation::default()),
    );
    let answer = answer.await.unwrap_or(Err(InvokeError::ShuttingDown))?;
    Ok(serde_json::from_slice(&answer).unwrap_or(Value::Null))
}

/// Polls until the condition holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    let poll = async {
        while !condition() {
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    time::timeout(PATIENCE, poll)
        .await
        .with_context(|| format!("never: {what}"))
}

/// The state letter of a Linux process, such as `T` for stopped; None when it is gone.
pub(crate) fn state(pid: u64) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

pub(crate) fn pid(answer: &Value) -> Result<u64> {
    answer["pid"]
        .as_u64()
        .with_context(|| format!("no pid in {answer}"))
}

/// A service that does not take AWS's time.
pub(crate) async fn start_hurried(executable: Executable) -> Result<Lambda> {
    let pace = Pace {
        init_time_max: Duration::from_secs(2),
        retry_delay: Duration::from_millis(1),
        schedule_speed: 6_000,
    };
    Ok(Lambda::start_at(pace, vec![executable], Metrics::default()).await?)
}

/// The lines of a file; none while there is no file.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A request to the Invoke API over HTTP: the status, the head and the body.
pub(crate) async fn post(
    lambda: &Lambda,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Result<(u16, String)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let router = lambda.router();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await });
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let head = format!(
        "POST /2015-03-31/functions/{path} HTTP/1.1\r\nhost: local\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    // The server may answer before it has read a body that is too large.
    drop(stream.write_all(body).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).context("no answer")?.parse()?;
    Ok((status, answer))
}

/// A folder of the test's own, gone with it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Result<Folder> {
        let folder = std::env::temp_dir().join(format!("echo-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Folder(folder))
    }

    pub(crate) fn files(&self) -> usize {
        std::fs::read_dir(&self.0).map_or(0, Iterator::count)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
