//! Schedules and tables that invoke functions, as a template says it.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sparkle_local::{
    dynamo::{self, Streams},
    lambda::{Checkpoints, Executable, Lambda},
    template::{Surroundings, Template},
};
use tokio::{net::TcpListener, task::JoinSet};

use crate::stack::{Folder, echo, eventually, lines, start_hurried};

/// The echo function as a template has it: with these events, and a table with a stream.
fn template(folder: &Folder, events: &str) -> Result<Template> {
    let path = folder.0.join("template.yaml");
    let indented = events.replace('\n', "\n        ");
    let text = format!(
        "
Resources:
  Socket:
    Type: AWS::Serverless::WebSocketApi
    Properties:
      RouteSelectionExpression: $request.body.type
      Routes: {{ $default: {{ FunctionArn: !Ref Echo }} }}
  Echo:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/echo
      Timeout: 20
      Events:
        {indented}
  Items:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{{ AttributeName: id, AttributeType: S }}]
      KeySchema: [{{ AttributeName: id, KeyType: HASH }}]
      StreamSpecification: {{ StreamViewType: NEW_AND_OLD_IMAGES }}
"
    );
    std::fs::write(&path, text)?;
    Ok(Template::load(&path, &Surroundings::default())?)
}

async fn start(template: &Template, file: &Path) -> Result<Lambda> {
    let echo = echo(Duration::from_secs(20))?;
    let function = template.functions.first().context("no function")?.clone();
    let file = ("ECHO_FILE".to_owned(), file.display().to_string());
    start_hurried(Executable {
        function,
        environment: BTreeMap::from([file]),
        ..echo
    })
    .await
}

fn events(file: &Path) -> Vec<Value> {
    let lines = lines(file);
    let events = lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok());
    events.collect()
}

const SCHEDULES: &str = "EveryMinute:
  Type: Schedule
  Properties: { Schedule: rate(1 minute), Name: each }
Nightly:
  Type: Schedule
  Properties: { Schedule: \"cron(* * * * ? *)\" }
Modern:
  Type: ScheduleV2
  Properties: { ScheduleExpression: rate(2 minutes) }
WithInput:
  Type: ScheduleV2
  Properties: { ScheduleExpression: rate(1 minutes), Input: '{\"do\":\"append\",\"own\":1}' }
Off:
  Type: Schedule
  Properties: { Schedule: rate(1 minute), Name: off, Enabled: false }
Disabled:
  Type: ScheduleV2
  Properties: { ScheduleExpression: rate(1 minute), Name: off, State: DISABLED }";

#[tokio::test]
async fn schedules_invoke_with_the_event_that_eventbridge_sends() -> Result<()> {
    let folder = Folder::new("schedules")?;
    let file = folder.0.join("log");
    let template = template(&folder, SCHEDULES)?;
    let lambda = start(&template, &file).await?;
    lambda.run_schedules();
    let of = |name: &str| -> Vec<Value> {
        let mut events = events(&file);
        events.retain(|event| {
            event["resources"][0]
                .as_str()
                .is_some_and(|arn| arn.ends_with(name))
        });
        events
    };
    eventually("each has fired three times", || {
        let own = events(&file)
            .iter()
            .filter(|event| event["own"] == 1)
            .count();
        own > 2
            && ["/each", "/Nightly", "/Modern"]
                .iter()
                .all(|name| of(name).len() > 2)
    })
    .await?;
    lambda.shutdown().await;

    let event = &of("/each")[0];
    assert_eq!(event["detail-type"], "Scheduled Event");
    assert_eq!(event["source"], "aws.events");
    assert_eq!(event["detail"], json!({}));
    assert_eq!(event["id"].as_str().map(str::len), Some(36));
    assert_eq!(
        event["resources"][0],
        "arn:aws:events:us-east-1:000000000000:rule/each"
    );
    let event = &of("/Modern")[0];
    assert_eq!(event["source"], "aws.scheduler");
    let expected = "arn:aws:scheduler:us-east-1:000000000000:schedule/default/Modern";
    assert_eq!(event["resources"][0], expected);
    // A cron pattern is due at whole minutes of the clock, and in order.
    let mut times: Vec<_> = of("/Nightly")
        .iter()
        .map(|it| it["time"].to_string())
        .collect();
    assert!(
        times.iter().all(|time| time.ends_with(":00Z\"")),
        "{times:?}"
    );
    times.dedup();
    assert_eq!(
        times.len(),
        of("/Nightly").len(),
        "one minute has come twice: {times:?}"
    );
    assert_eq!(of("/off"), Vec::<Value>::new());
    Ok(())
}

/// An empty DynamoDB with the template's tables.
async fn database(template: &Template) -> Result<(String, JoinSet<()>)> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let mut server = JoinSet::new();
    server.spawn(dynamo::serve(listener, dynamo::open(None)?));
    dynamo::create(&endpoint, &template.tables).await?;
    Ok((endpoint, server))
}

async fn put(endpoint: &str, item: Value) -> Result<()> {
    let put = json!({ "TableName": "Items", "Item": item });
    let answer = reqwest::Client::new()
        .post(endpoint)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "DynamoDB_20120810.PutItem")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=host, Signature=0",
        )
        .header("x-amz-date", "20260101T000000Z")
        .body(put.to_string())
        .send()
        .await?;
    anyhow::ensure!(answer.status().is_success(), "{}", answer.text().await?);
    Ok(())
}

fn item(id: &str, failures: u32) -> Value {
    json!({ "id": { "S": id }, "failures": { "N": failures.to_string() } })
}

#[tokio::test]
async fn changes_of_a_table_come_in_order_and_again_from_the_first_that_failed() -> Result<()> {
    let folder = Folder::new("stream")?;
    let file = folder.0.join("log");
    let template = template(
        &folder,
        "Changes:
  Type: DynamoDB
  Properties:
    Stream: !GetAtt Items.StreamArn
    StartingPosition: TRIM_HORIZON
    BatchSize: 3
    MaximumRetryAttempts: 2
    FunctionResponseTypes: [ReportBatchItemFailures]",
    )?;
    let (endpoint, _server) = database(&template).await?;
    // c fails once, e more often than it may.
    for (id, failures) in [("a", 0), ("b", 0), ("c", 1), ("d", 0), ("e", 9), ("f", 0)] {
        put(&endpoint, item(id, failures)).await?;
    }
    put(&endpoint, item("a", 7)).await?;
    let lambda = start(&template, &file).await?;
    let checkpoints = Checkpoints::default();
    lambda.poll_streams(&Streams::new(&endpoint), &checkpoints);
    let is_last = |event: &Value| event["old"].is_object();
    eventually("the last change has come", || {
        events(&file).iter().any(is_last)
    })
    .await?;
    let log = events(&file);
    let seen: Vec<_> = log
        .iter()
        .filter_map(|event| event["id"].as_str())
        .collect();
    // Batches of three: abc, c again; def, e and f twice more, then both are given up. An f that
    // is behind an e that fails is not looked at: the function stops there.
    assert_eq!(seen, ["a", "b", "c", "c", "d", "e", "e", "e", "a"]);
    let last = log.last().context("nothing")?;
    assert_eq!(last["event"], "MODIFY");
    assert_eq!(last["source"], "aws:dynamodb");
    let arn = last["arn"].as_str().unwrap_or_default();
    let start = "arn:aws:dynamodb:us-east-1:000000000000:table/Items/stream/";
    assert!(arn.starts_with(start), "{arn}");
    // And what changes from now on.
    put(&endpoint, item("g", 0)).await?;
    eventually("a new change has come", || {
        events(&file).iter().any(|event| event["id"] == "g")
    })
    .await?;
    lambda.shutdown().await;
    // Another service goes on behind that, whatever the starting position says.
    put(&endpoint, item("h", 0)).await?;
    let lambda = self::start(&template, &file).await?;
    lambda.poll_streams(&Streams::new(&endpoint), &checkpoints);
    eventually("what was changed meanwhile has come", || {
        events(&file).iter().any(|event| event["id"] == "h")
    })
    .await?;
    lambda.shutdown().await;
    // The shutdown may have come between the last record's end and its checkpoint.
    let later = events(&file).split_off(seen.len());
    let is_new = |event: &Value| event["id"] == "g" || event["id"] == "h";
    assert!(
        later.iter().all(is_new),
        "an old record has come again: {later:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_failed_batch_is_tried_in_halves_until_only_the_bad_one_is_given_up() -> Result<()> {
    let folder = Folder::new("halves")?;
    let file = folder.0.join("log");
    let template = template(
        &folder,
        "Changes:
  Type: DynamoDB
  Properties:
    Stream: !GetAtt Items.StreamArn
    StartingPosition: TRIM_HORIZON
    BatchSize: 4
    MaximumRetryAttempts: 0
    BisectBatchOnFunctionError: true",
    )?;
    let (endpoint, _server) = database(&template).await?;
    for (id, failures) in [("a", 0), ("b", 9), ("c", 0), ("d", 0)] {
        let mut item = item(id, failures);
        item["how"] = json!({ "S": "error" });
        put(&endpoint, item).await?;
    }
    let lambda = start(&template, &file).await?;
    lambda.poll_streams(&Streams::new(&endpoint), &Checkpoints::default());
    eventually("the last change has come", || {
        events(&file).iter().any(|event| event["id"] == "d")
    })
    .await?;
    lambda.shutdown().await;
    let log = events(&file);
    let seen: Vec<_> = log
        .iter()
        .filter_map(|event| event["id"].as_str())
        .collect();
    // abcd fails at b; ab fails at b; a; b is given up; cd.
    assert_eq!(seen, ["a", "b", "a", "b", "a", "b", "c", "d"]);
    Ok(())
}
