//! SQS delivers at least once: what comes twice is answered once.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sparkle_tests::{Options, request};

const TURNS: usize = 6;

/// Every frame that comes until all turns of one conversation are over, and the stack's log.
async fn converse(seed: u64, share: &str) -> Result<(Vec<Value>, String)> {
    let stack = Options::default()
        .argument("--duplicates")
        .argument(share)
        .argument("--seed")
        .argument(seed.to_string())
        .variable("RUST_LOG", "debug")
        .start()
        .await?;
    let mut client = stack.connect("ann").await?;
    let mut frames = Vec::new();
    for turn in 0..TURNS {
        let payload = json!({ "session_id": "s1", "message": format!("thanks {turn}") });
        let request_id = format!("turn-{turn}");
        client.send(request("chat", &request_id, payload)).await?;
        loop {
            let frame = client.frame().await?;
            let over = frame["type"] == "done" && frame["request_id"] == request_id.as_str();
            frames.push(frame);
            if over {
                break;
            }
        }
    }
    let history = client.ask("history", json!({ "session_id": "s1" })).await?;
    let entries = history["payload"]["entries"].as_array();
    assert_eq!(entries.context("no history")?.len(), 2 * TURNS);
    Ok((frames, stack.kill().await?))
}

/// How often the worker was invoked.
fn invocations(log: &str) -> usize {
    let of_worker = |line: &&str| line.contains("REPORT") && line.contains("turn-worker");
    log.lines().filter(of_worker).count()
}

#[tokio::test]
async fn a_turn_that_is_delivered_twice_is_answered_once() -> Result<()> {
    let (frames, log) = converse(7, "1").await?;
    // Before the next turn of a conversation the last one comes again. The last of all may not
    // have come again before the stack was killed.
    let invocations = invocations(&log);
    assert!(invocations >= 2 * TURNS - 1, "{invocations} invocations");
    let mut seen = Vec::new();
    for frame in frames.iter().filter(|frame| frame.get("seq").is_some()) {
        let place = (frame["stream"].to_string(), frame["seq"].as_u64());
        assert!(!seen.contains(&place), "a frame came twice: {frame}");
        seen.push(place);
    }
    let count = |kind: &str| frames.iter().filter(|frame| frame["type"] == kind).count();
    assert_eq!(
        (count("ack"), count("done"), count("error")),
        (TURNS, TURNS, 0)
    );
    Ok(())
}

#[tokio::test]
async fn no_turn_is_delivered_twice_unless_it_is_asked_for() -> Result<()> {
    let (_, log) = converse(7, "0").await?;
    assert_eq!(invocations(&log), TURNS);
    Ok(())
}

#[tokio::test]
async fn a_share_that_is_none_is_refused() -> Result<()> {
    let (status, said) = Options::default()
        .argument("--duplicates")
        .argument("1.5")
        .fail()
        .await?;
    assert!(!status.success());
    assert!(said.contains("1.5 is not a number from 0 to 1"), "{said}");
    Ok(())
}
