//! A function for the tests of the local Lambda service: it does what its event asks for.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    let variable = |name: &str| variables.get(name).map_or("", String::as_str);
    match variable("ECHO_INIT") {
        "error" => return Err("ECHO_INIT says so".into()),
        "panic" => panics(),
        "exit" => return Ok(()),
        "hang" => std::future::pending().await,
        "slow" => time::sleep(Duration::from_secs(4)).await,
        "leak" => return leak().await,
        "report" => {
            let body = r#"{"errorType":"Extension.SaidSo"}"#;
            call("POST", "init/error", body).await?;
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let _deaf = match variable("ECHO_TERM") {
        "ignore" => Some(signal(SignalKind::terminate())?),
        _ => None,
    };
    let (exit, mut exits) = mpsc::channel(1);
    let exit = &exit;
    let function = service_fn(|event: LambdaEvent<Value>| async move { handle(event, exit).await });
    tokio::select! {
        result = lambda_runtime::run(function) => result,
        Some(()) = exits.recv() => Err("the event asked for an exit".into()),
    }
}

#[expect(clippy::panic, reason = "what the test asks for")]
fn panics() {
    panic!("ECHO_INIT says so");
}

async fn handle(event: LambdaEvent<Value>, exit: &mpsc::Sender<()>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    if let Some(records) = payload.get("Records").and_then(Value::as_array) {
        return match text(&payload, "/Records/0/eventSource") {
            "aws:dynamodb" => changes(records).await,
            _ => batch(records).await,
        };
    }
    if payload.get("detail-type").is_some() || text(&payload, "/do") == "append" {
        append_to_own_file(&payload).await?;
        return Ok(Value::Null);
    }
    let text = |name: &str| {
        payload
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    match text("do") {
        "environment" => {
            let environment: BTreeMap<String, String> = std::env::vars().collect();
            Ok(serde_json::to_value(environment)?)
        }
        "meet" => meet(Path::new(text("folder")), 2).await,
        "hang" => std::future::pending().await,
        "exit" => {
            exit.send(()).await?;
            std::future::pending().await
        }
        "fail" => Err("it failed".into()),
        "leak" => leak().await.map(|()| Value::Null),
        "flood" => {
            let size = |name: &str| payload.get(name).and_then(Value::as_u64).unwrap_or(1);
            let written = flood(size("lines"), usize::try_from(size("bytes"))?)?;
            if text("then") == "exit" {
                exit.send(()).await?;
                return std::future::pending().await;
            }
            Ok(json!({ "written": written }))
        }
        "garbage" => garbage().await,
        "fail_times" => {
            let file = Path::new(text("file"));
            append(file, &context.request_id).await?;
            let tries = std::fs::read_to_string(file)?.lines().count();
            let times = payload.get("times").and_then(Value::as_u64).unwrap_or(0);
            if tries <= usize::try_from(times)? {
                return Err("not yet".into());
            }
            Ok(Value::Null)
        }
        "grow" => Ok(Value::String("x".repeat(7_000_000))),
        "print" => {
            let mut stdout = tokio::io::stdout();
            stdout.write_all(text("line").as_bytes()).await?;
            stdout.write_all(b"\n").await?;
            stdout.flush().await?;
            Ok(Value::Null)
        }
        _ => Ok(json!({
            "event": payload,
            "pid": std::process::id(),
            "request_id": context.request_id,
            "deadline_unix_ms": context.deadline,
            "arn": context.invoked_function_arn,
            "trace": context.xray_trace_id,
        })),
    }
}

/// Returns once this many processes are in here at the same time.
async fn meet(folder: &Path, count: usize) -> Result<Value, Error> {
    let pid = std::process::id();
    tokio::fs::write(folder.join(pid.to_string()), "").await?;
    while std::fs::read_dir(folder)?.count() < count {
        time::sleep(Duration::from_millis(5)).await;
    }
    Ok(json!({ "pid": pid }))
}

/// Appends each record to the file that its body names and fails those that ask for it:
/// `{"file":…,"write":"a","fail_until_receive":2}`. With `"meet":FOLDER` it first waits for
/// another process, with `"hang":true` for ever.
async fn batch(records: &[Value]) -> Result<Value, Error> {
    let mut failures = Vec::new();
    for record in records {
        let body: Value = serde_json::from_str(text(record, "/body"))?;
        let receive: u64 = text(record, "/attributes/ApproximateReceiveCount").parse()?;
        if let Some(folder) = body.get("meet").and_then(Value::as_str) {
            meet(Path::new(folder), 2).await?;
        }
        let failed = receive
            < body
                .get("fail_until_receive")
                .and_then(Value::as_u64)
                .unwrap_or(0);
        if failed {
            failures.push(json!({ "itemIdentifier": text(record, "/messageId") }));
        }
        let outcome = if failed { "failed" } else { "done" };
        let line = format!("{} {outcome}", text(&body, "/write"));
        append(Path::new(text(&body, "/file")), &line).await?;
        if body.get("hang").is_some() {
            return std::future::pending().await;
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}

/// Appends what each record says to `ECHO_FILE`, and fails with a record whose `failures` it has
/// not had yet, as its `how` says: by an error, or by the response to the batch.
async fn changes(records: &[Value]) -> Result<Value, Error> {
    for record in records {
        let id = text(record, "/dynamodb/Keys/id/S");
        append_to_own_file(&json!({
            "id": id,
            "event": text(record, "/eventName"),
            "source": text(record, "/eventSource"),
            "arn": text(record, "/eventSourceARN"),
            "old": record.pointer("/dynamodb/OldImage"),
        }))
        .await?;
        let failures: usize = text(record, "/dynamodb/NewImage/failures/N").parse()?;
        let seen = std::fs::read_to_string(own_file())?;
        let mark = format!("\"id\":\"{id}\"");
        let seen = seen.lines().filter(|line| line.contains(&mark)).count();
        if record.pointer("/dynamodb/OldImage").is_none() && seen <= failures {
            let number = text(record, "/dynamodb/SequenceNumber");
            if text(record, "/dynamodb/NewImage/how/S") == "error" {
                return Err("a record is bad".into());
            }
            return Ok(json!({ "batchItemFailures": [{ "itemIdentifier": number }] }));
        }
    }
    Ok(Value::Null)
}

fn own_file() -> PathBuf {
    std::env::var_os("ECHO_FILE").unwrap_or_default().into()
}

async fn append_to_own_file(value: &Value) -> Result<(), Error> {
    append(&own_file(), &value.to_string()).await
}

/// Appends a line in one write, so that processes do not mix theirs.
async fn append(path: &Path, line: &str) -> Result<(), Error> {
    let mut file = tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .await?;
    file.write_all(format!("{line}\n").as_bytes()).await?;
    file.flush().await?;
    Ok(())
}

/// Takes memory until it is killed, a little at a time.
async fn leak() -> Result<(), Error> {
    let mut held = Vec::new();
    loop {
        held.push(vec![1_u8; 8 * 1024 * 1024]);
        time::sleep(Duration::from_millis(20)).await;
        if held.len() > 1_000 {
            return Err("nobody stops me".into());
        }
    }
}

/// Writes lines to both outputs and returns how many bytes.
fn flood(lines: u64, bytes: usize) -> Result<u64, Error> {
    let mut line = "x".repeat(bytes.saturating_sub(1));
    line.push('\n');
    let (mut stdout, mut stderr) = (std::io::stdout().lock(), std::io::stderr().lock());
    for n in 0..lines {
        if n % 2 == 0 {
            stdout.write_all(line.as_bytes())?;
        } else {
            stderr.write_all(line.as_bytes())?;
        }
    }
    stdout.flush()?;
    Ok(lines.saturating_mul(u64::try_from(bytes)?))
}

/// Says to the Runtime API what nobody should, and returns the statuses of its answers.
async fn garbage() -> Result<Value, Error> {
    let huge = "x".repeat(1_000_000);
    // Hanging up without a word, in the middle of a word, and before a body has come.
    for text in [
        "",
        "GET /2018",
        "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n",
    ] {
        connect().await?.write_all(text.as_bytes()).await?;
    }
    drop(exchange(&format!("GET /{huge} HTTP/1.1\r\nhost: x\r\n\r\n")).await);
    Ok(json!({
        "nonsense": exchange("\u{1}\u{2}\u{3} nonsense\r\n\r\n").await?,
        "no_such_path": call("GET", "what", "").await?,
        "no_such_method": call("DELETE", "invocation/next", "").await?,
        "no_such_request": call("POST", "invocation/gone/response", "[").await?,
        "next_before_answer": call("GET", "invocation/next", "").await?,
    }))
}

/// The status of the Runtime API's answer.
async fn call(method: &str, path: &str, body: &str) -> Result<u16, Error> {
    let length = body.len();
    exchange(&format!(
        "{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    ))
    .await
}

async fn exchange(request: &str) -> Result<u16, Error> {
    let mut stream = connect().await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.split(' ').nth(1).ok_or("no answer")?.parse()?)
}

async fn connect() -> Result<TcpStream, Error> {
    let address = std::env::var_os("AWS_LAMBDA_RUNTIME_API").unwrap_or_default();
    Ok(TcpStream::connect(address.to_string_lossy().as_ref()).await?)
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
