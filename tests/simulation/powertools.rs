//! Another rule, for comparison: that of Powertools for AWS Lambda, whose later writes are not fenced.
//!
//! Ported from `aws_lambda_powertools/utilities/idempotency/persistence/dynamodb.py`, release 3.37.0:
//! `_put_record` is conditional on there being no record, an expired one, or one in progress whose
//! time is over; `_update_record` has no condition.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use sparkle_local::template::Template;
use tokio::{task::LocalSet, time::sleep};

use crate::{
    clock::Clock,
    fault::{Fault, Plan, Point},
    process::{Process, Role},
    run::on_paused_time,
    trace::{Showing, Trace},
    world::World,
};

/// A record is in progress for as long as a lease of ours holds.
const IN_PROGRESS: Duration = Duration::from_secs(12);

/// What came of two attempts at one request, the first of which hangs for 40 s.
#[derive(Debug)]
pub(crate) struct Found {
    /// Who had the effect, in order.
    pub(crate) effects: Vec<String>,
    /// Whose result the record holds in the end.
    pub(crate) result: String,
}

/// Two attempts under Powertools' rule. The first hangs when it has taken the record.
pub(crate) fn two_attempts(template: &Template) -> Found {
    on_paused_time(LocalSet::new().run_until(async {
        let clock = Clock::start();
        let plan = Plan::only(Some(Point {
            role: Role::Worker,
            call: 0,
            fault: Fault::HangAfter,
            times: 1,
        }));
        let trace = Trace::new(clock, Showing::Nothing);
        let world = World::new(template, plan, trace, clock, None);
        let effects = Mutex::default();
        tokio::join!(attempt(&world, "first", &effects), async {
            sleep(IN_PROGRESS + Duration::from_secs(1)).await;
            attempt(&world, "second", &effects).await;
        });
        let key = json!({ "TableName": "TurnsTable", "Key": key(), "ConsistentRead": true });
        let record = world.engines.ask("GetItem", &key);
        Found {
            effects: effects.into_inner().unwrap(),
            result: record["Item"]["data"]["S"].as_str().unwrap().to_owned(),
        }
    }))
}

/// One attempt: take the record, have the effect, keep the result.
async fn attempt(world: &Arc<World>, name: &str, effects: &Mutex<Vec<String>>) {
    let process = Arc::new(Process::new(Role::Worker, 1));
    let now_ms = world.clock.unix_ms();
    let in_progress_until_ms = now_ms + i64::try_from(IN_PROGRESS.as_millis()).unwrap();
    let mut item = key();
    item["expiration"] = json!({ "N": (now_ms / 1000 + 3600).to_string() });
    item["in_progress_expiration"] = json!({ "N": in_progress_until_ms.to_string() });
    item["status"] = json!({ "S": "INPROGRESS" });
    let put = json!({
        "TableName": "TurnsTable",
        "Item": item,
        "ConditionExpression": "(attribute_not_exists(#id) OR #expiry < :now) OR \
            (#status = :inprogress AND attribute_exists(#in_progress_expiry) \
             AND #in_progress_expiry < :now_in_millis)",
        "ExpressionAttributeNames": {
            "#id": "request_id",
            "#expiry": "expiration",
            "#in_progress_expiry": "in_progress_expiration",
            "#status": "status",
        },
        "ExpressionAttributeValues": {
            ":now": { "N": (now_ms / 1000).to_string() },
            ":now_in_millis": { "N": now_ms.to_string() },
            ":inprogress": { "S": "INPROGRESS" },
        },
    });
    if !call(world, &process, "PutItem", &put).await {
        return;
    }
    effects.lock().unwrap().push(name.to_owned());
    let update = json!({
        "TableName": "TurnsTable",
        "Key": key(),
        "UpdateExpression": "SET #response_data = :response_data, #status = :status",
        "ExpressionAttributeNames": { "#response_data": "data", "#status": "status" },
        "ExpressionAttributeValues": {
            ":response_data": { "S": name },
            ":status": { "S": "COMPLETED" },
        },
    });
    call(world, &process, "UpdateItem", &update).await;
}

fn key() -> Value {
    json!({ "user_id": { "S": "ann" }, "request_id": { "S": "r" } })
}

async fn call(world: &Arc<World>, process: &Arc<Process>, operation: &str, body: &Value) -> bool {
    let request = http::Request::post("http://dynamodb/")
        .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
        .body(Bytes::from(body.to_string()))
        .unwrap();
    let answer = world.clone().carry(process, request).await;
    answer.is_some_and(|answer| answer.status().is_success())
}
