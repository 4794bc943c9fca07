//! Faults between the functions and the services they call: what a learner sees, and what is kept.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{Client, Folder, Options, Stack, http, request, root};

use crate::provider::Provider;

/// A stack whose faults can be changed while it runs.
pub(crate) struct Faulty {
    pub(crate) stack: Stack,
    _folder: Folder,
}

impl Faulty {
    pub(crate) async fn start(options: Options, plan: &str) -> Result<Self> {
        let folder = Folder::new()?;
        let file = folder.path().join("faults.yaml");
        std::fs::write(&file, plan)?;
        let options = options
            .argument("--fault")
            .argument(file.display().to_string());
        Ok(Self {
            stack: options.start().await?,
            _folder: folder,
        })
    }

    /// Replaces the plan.
    pub(crate) async fn plan(&self, plan: &str) -> Result<()> {
        let url = format!("{}/_sparkle/faults", self.stack.address("http"));
        let answer = http().put(url).body(plan.to_owned()).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{plan}: {}", answer.text().await?);
        Ok(())
    }

    /// How many faults the rule of this place has injected.
    pub(crate) async fn injected(&self, rule: usize) -> Result<u64> {
        let plan: Value = serde_json::from_str(&self.stack.get("/_sparkle/faults").await?)?;
        plan["rules"][rule]["injected"].as_u64().context("no count")
    }
}

pub(crate) async fn entries(client: &mut Client, session: &str) -> Result<Vec<Value>> {
    let history = client
        .ask("history", json!({ "session_id": session }))
        .await?;
    let entries = history["payload"]["entries"].as_array();
    Ok(entries.cloned().unwrap_or_default())
}

/// Says something that the offline model answers with these pieces, as slowly as they come to be
/// frames of their own.
pub(crate) fn script(pieces: &[&str]) -> String {
    format!("#script {}", json!({ "pieces": pieces, "pause_ms": 60 }))
}

/// Each is one rule, and how often it strikes: a learner sees nothing of it.
const UNSEEN: [(&str, u64); 20] = [
    (
        "{target: dynamodb, fault: status, status: 500, times: 2}",
        2,
    ),
    (
        "{target: dynamodb, fault: status, status: 400, times: 2}",
        2,
    ),
    (
        "{target: dynamodb, call: TransactWriteItems, fault: status, status: 400, error: TransactionCanceledException, times: 1}",
        1,
    ),
    (
        "{target: dynamodb, call: TransactWriteItems, function: turn-worker, fault: status, status: 400, error: TransactionCanceledException, times: 1}",
        1,
    ),
    (
        "{target: dynamodb, call: TransactWriteItems, fault: cut, moment: after, times: 1}",
        1,
    ),
    (
        "{target: dynamodb, call: TransactWriteItems, fault: duplicate, times: 1}",
        1,
    ),
    (
        "{target: dynamodb, call: TransactWriteItems, fault: delay, delay_ms: 2300, moment: after, times: 1}",
        1,
    ),
    (
        "{target: dynamodb, call: TransactWriteItems, function: ws-message, fault: cut, moment: after, times: 1}",
        1,
    ),
    (
        "{target: dynamodb, call: PutItem, function: turn-worker, fault: cut, moment: after, times: 1}",
        1,
    ),
    (
        "{target: dynamodb, call: UpdateItem, function: turn-worker, fault: cut, moment: after, after: 1, times: 1}",
        1,
    ),
    (
        "{target: dynamodb, call: UpdateItem, function: turn-worker, fault: status, status: 503, moment: after, times: 1}",
        1,
    ),
    (
        "{target: dynamodb, call: UpdateItem, function: turn-worker, fault: status, status: 400, error: TransactionConflictException, times: 2}",
        2,
    ),
    (
        "{target: dynamodb, call: Query, function: turn-worker, fault: cut, moment: after, bytes: 5, times: 1}",
        1,
    ),
    (
        "{target: sqs, call: SendMessage, function: ws-message, fault: duplicate}",
        1,
    ),
    (
        "{target: sqs, call: SendMessage, fault: cut, moment: after, times: 2}",
        2,
    ),
    (
        "{target: sqs, call: SendMessage, fault: status, status: 400, times: 2}",
        2,
    ),
    (
        "{target: sqs, call: ChangeMessageVisibility, fault: status, status: 500, times: 1}",
        1,
    ),
    (
        "{target: connections, call: POST, function: turn-worker, fault: status, status: 429, times: 3}",
        3,
    ),
    (
        "{target: connections, call: POST, fault: delay, delay_ms: 100, jitter_ms: 100, times: 3}",
        3,
    ),
    ("{target: connections, call: POST, fault: cut, times: 3}", 3),
];

#[tokio::test]
async fn what_passes_is_not_seen() -> Result<()> {
    let faulty = Faulty::start(Options::default(), "rules: []").await?;
    // Long enough that frames move on from the lease.
    let long = " 🙂".repeat(200);
    for (case, (rule, times)) in UNSEEN.into_iter().enumerate() {
        // Another question each time, which nobody has answered yet.
        let first = format!("导数 {case}");
        let pieces = [&*first, " is ", "the slope", &long];
        let session = format!("s{case}");
        let mut client = faulty.stack.connect("ann").await?;
        faulty.plan(&format!("rules: [{rule}]")).await?;
        let answer = client
            .chat(&session, &script(&pieces))
            .await
            .with_context(|| rule)?;
        assert_eq!(answer.text, pieces.concat(), "{rule}");
        assert_eq!(answer.payload("done")["finish_reason"], "stop", "{rule}");
        assert_eq!(faulty.injected(0).await?, times, "{rule}");
        faulty.plan("rules: []").await?;
        let kept = entries(&mut client, &session).await?;
        assert_eq!(kept.len(), 2, "{rule}: {kept:?}");
        assert_eq!(kept[1]["text"], answer.text.as_str(), "{rule}");
    }
    Ok(())
}

#[tokio::test]
async fn a_turn_that_is_queued_twice_is_answered_once() -> Result<()> {
    let plan = "rules: [{target: sqs, call: SendMessage, function: ws-message, fault: duplicate, answer: first}]";
    let faulty = Faulty::start(Options::default(), plan).await?;
    let mut client = faulty.stack.connect("ann").await?;
    for message in ["thanks", "thanks again"] {
        client.chat("s1", message).await?;
    }
    // A second answer to the first would have come before the answer to the second.
    assert_eq!(faulty.injected(0).await?, 2);
    assert_eq!(entries(&mut client, "s1").await?.len(), 4);
    let metrics = faulty.stack.get("/metrics").await?;
    assert!(
        metrics.contains(r#"chat_requests_total{method="turn",status="stop"} 2"#),
        "{metrics}"
    );
    Ok(())
}

#[tokio::test]
async fn a_client_that_is_gone_finds_its_answer_kept() -> Result<()> {
    let plan = "rules: [{target: connections, call: POST, function: turn-worker, \
                fault: status, status: 410, times: 1}]";
    let faulty = Faulty::start(Options::default(), plan).await?;
    let mut client = faulty.stack.connect("ann").await?;
    let chat = request(
        "chat",
        "r1",
        json!({ "session_id": "s1", "message": script(&["a", "b"]) }),
    );
    client.send(chat.clone()).await?;
    let ack = client.frame().await?;
    assert_eq!(ack["type"], "ack");
    let kept = loop {
        let kept = entries(&mut client, "s1").await?;
        if !kept.is_empty() {
            break kept;
        }
    };
    assert_eq!((kept.len(), &kept[1]["text"]), (2, &json!("ab")));
    assert_eq!(faulty.injected(0).await?, 1);
    client.send(chat).await?;
    let answer = client.answer("r1").await?;
    assert_eq!(answer.ack["finished"], true);
    assert_eq!(answer.text, "ab");
    Ok(())
}

#[tokio::test]
async fn a_provider_that_breaks_off_ends_the_turn_and_the_next_one_is_answered() -> Result<()> {
    let provider = Provider::start().await?;
    let plan = "rules: [{target: llm, call: /v1/chat/completions, function: turn-worker, \
                fault: cut, moment: after, bytes: 900, times: 1}]";
    let faulty = Faulty::start(provider.options(), plan).await?;
    let mut client = faulty.stack.connect("ann").await?;
    let pieces = ["one ", "two ", "three ", "four ", "five ", "six ", "seven "];
    let broken = client.chat("s1", &script(&pieces)).await?;
    assert_eq!(broken.payload("error")["code"], "PROVIDER_ERROR");
    let whole = pieces.concat();
    assert!(
        broken.text.starts_with("one ") && broken.text.len() < whole.len(),
        "{}",
        broken.text
    );
    assert_eq!(faulty.injected(0).await?, 1);
    assert_eq!(entries(&mut client, "s1").await?.len(), 0);
    assert_eq!(client.chat("s1", &script(&pieces)).await?.text, whole);
    assert_eq!(provider.stats().await?["calls"], 2);
    Ok(())
}

#[tokio::test]
async fn a_provider_is_refused_before_and_after_it_has_worked() -> Result<()> {
    let provider = Provider::start().await?;
    let faulty = Faulty::start(provider.options(), "rules: []").await?;
    let mut client = faulty.stack.connect("ann").await?;
    for (moment, calls) in [("before", 0), ("after", 1)] {
        let rule = format!("target: llm, fault: status, status: 503, moment: {moment}");
        faulty.plan(&format!("rules: [{{{rule}}}]")).await?;
        let refused = client.chat("s1", &script(&["never seen"])).await?;
        assert_eq!(
            refused.payload("error")["code"],
            "PROVIDER_ERROR",
            "{moment}"
        );
        assert_eq!(refused.text, "", "{moment}");
        assert_eq!(provider.stats().await?["calls"], calls, "{moment}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_streams_through_as_it_comes() -> Result<()> {
    let provider = Provider::start().await?;
    let faulty = Faulty::start(provider.options(), "rules: []").await?;
    let mut client = faulty.stack.connect("ann").await?;
    let script = json!({ "pieces": vec!["more "; 100], "pause_ms": 50 });
    let payload = json!({ "session_id": "s1", "message": format!("#script {script}") });
    let id = client.request("chat", payload).await?;
    while client.frame().await?["type"] != "delta" {}
    let stats = provider.stats().await?;
    assert!(stats["pieces"].as_u64() < Some(100), "{stats}");
    // Nor does it hold the provider when nobody wants the rest.
    client
        .request("cancel", json!({ "request_id": id }))
        .await?;
    while client.frame().await?["type"] != "done" {}
    while provider.stats().await?["aborted"] != 1 {}
    Ok(())
}

#[tokio::test]
async fn a_partition_is_only_the_functions_and_heals() -> Result<()> {
    let faulty = Faulty::start(Options::default(), "rules: []").await?;
    let mut client = faulty.stack.connect("ann").await?;
    faulty
        .plan("rules: [{name: partition, target: '*', fault: cut}]")
        .await?;
    client.request("ping", json!({})).await?;
    let refused = client.frame().await?;
    assert_eq!(refused["message"], "Internal server error", "{refused}");
    let tables = http()
        .post(faulty.stack.address("dynamodb"))
        .header("x-amz-target", "DynamoDB_20120810.ListTables")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-date", "20260101T000000Z")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=host, Signature=0",
        )
        .body("{}")
        .send()
        .await?;
    assert!(tables.status().is_success(), "{}", tables.text().await?);
    faulty.plan("rules: []").await?;
    assert!(!client.chat("s1", "thanks").await?.text.is_empty());
    Ok(())
}

#[tokio::test]
async fn each_fault_is_logged_and_counted() -> Result<()> {
    let plan = "rules: [{name: a busy table, target: dynamodb, call: UpdateItem, \
                function: ws-message, fault: status, status: 500, times: 2}]";
    let faulty = Faulty::start(Options::default(), plan).await?;
    let mut client = faulty.stack.connect("ann").await?;
    client.chat("s1", "thanks").await?;
    let metrics = faulty.stack.get("/metrics").await?;
    let counted = r#"chaos_injection_total{kind="status",target="dynamodb"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
    let log = faulty.stack.kill().await?;
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("fault injected"))
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    for part in [
        r#"rule="a busy table""#,
        "service=dynamodb",
        r#"call="UpdateItem""#,
        r#"function="ws-message""#,
        r#"kind="status""#,
        r#"moment="before""#,
    ] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    Ok(())
}

#[tokio::test]
async fn a_plan_that_is_wrong_is_refused_and_the_one_before_stays() -> Result<()> {
    let wrong = "rules: [{target: sqs, fault: cut}, {target: sqs, fault: delay}]";
    let folder = Folder::new()?;
    let file = folder.path().join("faults.yaml");
    std::fs::write(&file, wrong)?;
    let (status, said) = Options::default()
        .argument("--fault")
        .argument(file.display().to_string())
        .fail()
        .await?;
    assert!(!status.success());
    assert!(said.contains("rule 2, field delay_ms"), "{said}");
    assert!(said.contains("faults.yaml"), "{said}");

    let example = std::fs::read_to_string(root().join("tests/faults.yaml"))?;
    let faulty = Faulty::start(Options::default(), &example).await?;
    assert!(faulty.plan(wrong).await.is_err());
    let url = format!("{}/_sparkle/faults", faulty.stack.address("http"));
    let foreign = http()
        .put(&url)
        .header("Host", "sparkle.example:3000")
        .body("rules: []")
        .send()
        .await?;
    assert_eq!(foreign.status().as_u16(), 403);
    let plan: Value = serde_json::from_str(&faulty.stack.get("/_sparkle/faults").await?)?;
    assert_eq!(plan["seed"], 7);
    assert_eq!(plan["rules"].as_array().map(Vec::len), Some(7));
    assert_eq!(plan["rules"][0]["name"], "throttled");

    let plain = Stack::start().await?;
    assert!(plain.get("/_sparkle/faults").await.is_err());
    Ok(())
}
