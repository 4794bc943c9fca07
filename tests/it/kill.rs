//! Processes killed with SIGKILL at named points: what the fault `kill` does to a function, and that a
//! learner's turn survives it.

use anyhow::{Result, ensure};
use serde_json::json;
use sparkle_tests::{Client, Options, request};

use crate::fault::{Faulty, entries, script};

/// Where `ws-message` dies while it takes up a turn, each once: the learner says it again.
const AT_THE_DOOR: [&str; 6] = [
    "target: dynamodb, call: TransactWriteItems, moment: before",
    "target: dynamodb, call: TransactWriteItems, moment: after",
    "target: sqs, call: SendMessage, moment: before",
    "target: sqs, call: SendMessage, moment: after",
    "target: connections, call: POST, moment: before",
    "target: connections, call: POST, moment: after",
];

/// Says it until it is acknowledged, and returns what was sent how often.
async fn insist(client: &mut Client, frame: &str, id: &str) -> Result<(usize, bool)> {
    let mut sent = 1;
    client.send(frame).await?;
    loop {
        let frame_back = client.frame().await?;
        if frame_back["type"] == "ack" && frame_back["request_id"] == id {
            return Ok((sent, frame_back["payload"]["duplicate"] == true));
        }
        // The gateway speaks for a function that is dead.
        if frame_back["message"] == "Internal server error" {
            ensure!(sent < 5, "never acknowledged");
            sent += 1;
            client.send(frame).await?;
        }
    }
}

#[tokio::test]
async fn a_front_door_that_dies_costs_a_learner_one_more_try() -> Result<()> {
    let faulty = Faulty::start(Options::default(), "rules: []").await?;
    for (case, point) in AT_THE_DOOR.into_iter().enumerate() {
        let rule = format!("{{{point}, function: ws-message, fault: kill, times: 1}}");
        let mut client = faulty.stack.connect("ann").await?;
        faulty.plan(&format!("rules: [{rule}]")).await?;
        let (session, id) = (format!("s{case}"), format!("r{case}"));
        let payload = json!({ "session_id": session, "message": script(&["a", "b"]) });
        let chat = request("chat", &id, payload);
        // Whether the first `ack` was posted and the answer come before the death was noticed, is open.
        let (sent, _) = insist(&mut client, &chat, &id).await?;
        ensure!(sent <= 2, "{point}: sent {sent} times");
        assert_eq!(faulty.injected(0).await?, 1, "{point}");
        faulty.plan("rules: []").await?;
        let kept = loop {
            let mut other = faulty.stack.connect("ann").await?;
            let kept = entries(&mut other, &session).await?;
            if !kept.is_empty() {
                break kept;
            }
        };
        assert_eq!((kept.len(), &kept[1]["text"]), (2, &json!("ab")), "{point}");
    }
    Ok(())
}

#[tokio::test]
async fn a_death_is_reported_counted_and_followed_by_another_process() -> Result<()> {
    let plan = "rules: [{name: dies while it reads, target: dynamodb, call: Query, \
                function: ws-message, fault: kill, times: 1}]";
    let faulty = Faulty::start(Options::default(), plan).await?;
    let mut client = faulty.stack.connect("ann").await?;
    let asked = json!({ "session_id": "s1" });
    client.request("history", asked.clone()).await?;
    let refused = client.frame().await?;
    assert_eq!(refused["message"], "Internal server error", "{refused}");
    assert_eq!(client.ask("history", asked).await?["type"], "history");
    let metrics = faulty.stack.get("/metrics").await?;
    let counted = r#"chaos_injection_total{kind="kill",target="dynamodb"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    let log = faulty.stack.kill().await?;
    let injected = log.lines().find(|line| line.contains("fault injected"));
    let injected = injected.unwrap_or_default();
    for part in [
        r#"rule="dies while it reads""#,
        "nth=1",
        r#"call="Query""#,
        r#"function="ws-message""#,
        r#"kind="kill""#,
    ] {
        assert!(injected.contains(part), "{part}: {injected}");
    }
    assert!(
        log.contains("ws-message: runtime exited with error: signal: killed"),
        "{log}"
    );
    Ok(())
}
