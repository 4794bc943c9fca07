//! The function of the contract suite: it writes every event to its log and does what the event says.
//!
//! The log is read alike here and on AWS. An order is an object: in the query of a handshake as text, in
//! the body of a frame or a queued message as JSON, or the event itself.
//!
//! | member | the function |
//! | --- | --- |
//! | `ms` | waits that long first |
//! | `do` | `fail`, `panic`, `exit`: ends so; `large`: answers 7 MiB; `linger`: works on after its answer |
//! | `answer` | returns this value instead of its own |
//! | `policy` | as authorizer: `deny`, `other` (allows another API), `nested` (an object as context), `long` |
//! | `status`, `protocol` | as `$connect`: answers this status, chooses this subprotocol |

use std::{
    io::Write as _,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lambda_runtime::{Context, Error, LambdaEvent, service_fn};
use serde_json::{Map, Value, json};

/// How often and how long the work after an answer leaves a trace.
const TRACE_EVERY: Duration = Duration::from_millis(100);
const TRACES_MAX: u32 = 200;
/// `CloudWatch` cuts off more, with the rest of the line.
const SHOWN_BYTES_MAX: usize = 200_000;
/// Over the 6 MB that Lambda returns.
const LARGE_BYTES: usize = 7 * 1024 * 1024;

#[tokio::main]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    let context = describe(&context);
    write(&json!({ "probe": "begin", "event": shown(&payload), "context": context }));
    let answer = route(payload, &context).await;
    write(&json!({ "probe": "end", "context": context }));
    answer
}

async fn route(event: Value, context: &Value) -> Result<Value, Error> {
    if let Some(records) = event.get("Records").and_then(Value::as_array) {
        return messages(records).await;
    }
    let at = |path: &str| event.pointer(path).cloned().unwrap_or_default();
    let query = at("/queryStringParameters");
    if at("/type") == "REQUEST" {
        let order = parsed(&text(&query, "authorizer"));
        return obey(&order, policy(&order, &at("/methodArn"))).await;
    }
    match at("/requestContext/routeKey").as_str() {
        Some("$connect") => {
            let order = parsed(&text(&query, "connect"));
            obey(&order, accept(&order)).await
        }
        Some(_) => {
            let order = parsed(at("/body").as_str().unwrap_or_default());
            obey(&order, json!({ "statusCode": 200, "body": "dropped" })).await
        }
        None => {
            let answer = json!({ "event": event, "context": context });
            obey(&event, answer).await
        }
    }
}

/// A failed message is one that says `{"report": true}`, or `{"report": "once"}` and is new.
async fn messages(records: &[Value]) -> Result<Value, Error> {
    let mut failed = Vec::new();
    let mut answer = None;
    for record in records {
        let at = |path: &str| record.pointer(path).cloned().unwrap_or_default();
        let order = parsed(at("/body").as_str().unwrap_or_default());
        let said = obey(&order, Value::Null).await?;
        if order.get("answer").is_some() {
            answer = Some(said);
        }
        let is_new = at("/attributes/ApproximateReceiveCount") == "1";
        let report = order.get("report").cloned().unwrap_or_default();
        if report == true || (report == "once" && is_new) {
            failed.push(json!({ "itemIdentifier": at("/messageId") }));
        }
    }
    Ok(answer.unwrap_or_else(|| json!({ "batchItemFailures": failed })))
}

/// What every kind of event may order.
async fn obey(order: &Value, answer: Value) -> Result<Value, Error> {
    if let Some(wait_ms) = order.get("ms").and_then(Value::as_u64) {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    match text(order, "do").as_str() {
        "fail" => return Err("as told".into()),
        "unauthorized" => return Err("Unauthorized".into()),
        "panic" => fall(),
        "exit" => leave(),
        "large" => return Ok("x".repeat(LARGE_BYTES).into()),
        "linger" => drop(thread::spawn(linger)),
        _ => {}
    }
    Ok(order.get("answer").cloned().unwrap_or(answer))
}

fn policy(order: &Value, method_arn: &Value) -> Value {
    let kind = text(order, "policy");
    let effect = if kind == "deny" { "Deny" } else { "Allow" };
    let resource = if kind == "other" {
        json!("arn:aws:execute-api:us-east-1:000000000000:another/stage/$connect")
    } else {
        method_arn.clone()
    };
    let context = match kind.as_str() {
        "nested" => json!({ "object": {} }),
        "long" => json!({ "text": "x".repeat(9 * 1024) }),
        _ => json!({ "text": "words", "number": 17, "flag": true }),
    };
    json!({
        "principalId": "the principal",
        "policyDocument": { "Version": "2012-10-17", "Statement": [
            { "Action": "execute-api:Invoke", "Effect": effect, "Resource": resource },
        ] },
        "context": context,
    })
}

fn accept(order: &Value) -> Value {
    let status = order.get("status").cloned().unwrap_or(json!(200));
    match order.get("protocol") {
        Some(protocol) => {
            json!({ "statusCode": status, "headers": { "Sec-WebSocket-Protocol": protocol } })
        }
        None => json!({ "statusCode": status }),
    }
}

fn describe(context: &Context) -> Value {
    let told = |name: &str| {
        ["AWS_", "LAMBDA_", "_", "TZ"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            && !["KEY", "TOKEN", "ENDPOINT"]
                .iter()
                .any(|secret| name.contains(secret))
    };
    let environment: Map<String, Value> = std::env::vars()
        .filter(|(name, _)| told(name))
        .map(|(name, value)| (name, value.into()))
        .collect();
    json!({
        "request_id": context.request_id,
        "deadline_unix_ms": context.deadline,
        "arn": context.invoked_function_arn,
        "trace": context.xray_trace_id,
        "process": std::process::id(),
        "environment": environment,
    })
}

/// The event, unless it is more than one event of a log may hold.
fn shown(event: &Value) -> Value {
    let bytes = event.to_string().len();
    if bytes > SHOWN_BYTES_MAX {
        return json!({ "bytes": bytes });
    }
    event.clone()
}

/// Leaves a trace again and again: a frozen process does not.
fn linger() {
    for trace in 0..TRACES_MAX {
        thread::sleep(TRACE_EVERY);
        write(&json!({ "probe": "linger", "trace": trace, "process": std::process::id() }));
    }
}

/// Writes a line to the log, with the time at which it was written.
fn write(line: &Value) {
    let mut line = line.clone();
    if let Some(members) = line.as_object_mut() {
        members.insert("at_unix_ms".to_owned(), json!(now_unix_ms()));
    }
    // In one piece, so that the lines of threads do not mix.
    let line = format!("{line}\n");
    drop(std::io::stdout().lock().write_all(line.as_bytes()));
}

#[expect(clippy::disallowed_methods, reason = "the probe is told no time")]
fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[expect(clippy::panic, reason = "an order of the suite")]
fn fall() -> ! {
    panic!("as told")
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "an order of the suite"
)]
fn leave() -> ! {
    std::process::exit(3)
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn text(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}
