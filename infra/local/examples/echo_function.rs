//! A function for the tests of the local Lambda service: it does what its event asks for.

use std::{collections::BTreeMap, path::Path, time::Duration};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, sync::mpsc, time};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if std::env::var_os("ECHO_INIT").is_some_and(|init| init == "error") {
        return Err("ECHO_INIT says so".into());
    }
    let (exit, mut exits) = mpsc::channel(1);
    let exit = &exit;
    let function = service_fn(|event: LambdaEvent<Value>| async move { handle(event, exit).await });
    tokio::select! {
        result = lambda_runtime::run(function) => result,
        Some(()) = exits.recv() => Err("the event asked for an exit".into()),
    }
}

async fn handle(event: LambdaEvent<Value>, exit: &mpsc::Sender<()>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    if let Some(records) = payload.get("Records").and_then(Value::as_array) {
        return batch(records).await;
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
        let mut file = tokio::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(text(&body, "/file"))
            .await?;
        let outcome = if failed { "failed" } else { "done" };
        let line = format!("{} {outcome}\n", text(&body, "/write"));
        file.write_all(line.as_bytes()).await?;
        file.flush().await?;
        if body.get("hang").is_some() {
            return std::future::pending().await;
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
