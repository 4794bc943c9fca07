//! A learner chats.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{Client, Stack, request};

/// A message that has the offline model say `pieces`, each after a pause.
pub(crate) fn script(pieces: &[&str], pause_ms: u64) -> String {
    format!(
        "#script {}",
        json!({ "pieces": pieces, "pause_ms": pause_ms })
    )
}

#[tokio::test]
async fn an_answer_is_acknowledged_streamed_counted_and_kept() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let answer = client.chat("s1", "什么是导数?").await?;

    assert_eq!(answer.ack["session_id"], "s1");
    assert!(answer.text.contains("离线"), "{}", answer.text);
    let usage = answer.payload("usage");
    let (prompt, completion) = (&usage["prompt_tokens"], &usage["completion_tokens"]);
    let total = prompt
        .as_u64()
        .zip(completion.as_u64())
        .map(|(prompt, completion)| prompt + completion);
    assert_eq!(usage["total_tokens"].as_u64(), total);
    assert_eq!(answer.payload("done")["finish_reason"], "stop");
    assert!(answer.last()["timestamp"].is_u64());

    let history = client.ask("history", json!({ "session_id": "s1" })).await?;
    let said: Vec<&Value> = history["payload"]["entries"]
        .as_array()
        .context("entries")?
        .iter()
        .map(|entry| &entry["text"])
        .collect();
    assert_eq!(said, [&json!("什么是导数?"), &json!(answer.text)]);
    Ok(())
}

#[tokio::test]
async fn the_model_sees_what_was_said_before() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    client.chat("s1", "What is photosynthesis?").await?;
    let answer = client.chat("s1", "What did I ask before?").await?;
    assert!(
        answer.text.contains("What is photosynthesis?"),
        "{}",
        answer.text
    );
    let elsewhere = client.chat("s2", "What did I ask before?").await?;
    assert!(
        !elsewhere.text.contains("photosynthesis"),
        "{}",
        elsewhere.text
    );
    Ok(())
}

#[tokio::test]
async fn a_session_is_started_for_a_message_that_names_none() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    client
        .send(request("chat", "r1", json!({ "message": "thanks" })))
        .await?;
    let first = client.answer("r1").await?;
    let session = first.ack["session_id"]
        .as_str()
        .context("a session")?
        .to_owned();
    let listed = client.ask("sessions", json!({ "action": "list" })).await?;
    assert_eq!(
        listed["payload"]["entries"][0]["session_id"],
        session.as_str()
    );
    Ok(())
}

#[tokio::test]
async fn twenty_copies_of_a_message_are_answered_once() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let frame = request(
        "chat",
        "r1",
        json!({ "session_id": "s1", "message": "thanks" }),
    );
    for _ in 0..20 {
        client.send(frame.clone()).await?;
    }
    let (mut fresh, mut repeated, mut acks) = (0, 0, 0);
    let mut done = false;
    while acks < 20 || !done {
        let frame = client.frame().await?;
        if frame["type"] == "ack" {
            acks += 1;
            if frame["payload"]["duplicate"] == true {
                repeated += 1
            } else {
                fresh += 1
            }
        }
        ensure!(frame["type"] != "error", "{frame}");
        done |= frame["type"] == "done";
    }
    assert_eq!((fresh, repeated), (1, 19));
    // Copies that came after the answer were sent it again; another socket has none of that.
    let mut other = stack.connect("ann").await?;
    let sessions = other.ask("sessions", json!({})).await?;
    assert_eq!(sessions["payload"]["entries"][0]["messages"], 2);
    Ok(())
}

#[tokio::test]
async fn a_repeated_message_gets_its_stored_stream_and_another_under_its_id_is_refused()
-> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let chat = |message: &str| {
        request(
            "chat",
            "r1",
            json!({ "session_id": "s1", "message": message }),
        )
    };
    client.send(chat("thanks")).await?;
    let first = client.answer("r1").await?;

    let mut elsewhere = stack.connect("ann").await?;
    elsewhere.send(chat("thanks")).await?;
    let again = elsewhere.answer("r1").await?;
    assert_eq!(again.ack["duplicate"], true);
    assert_eq!(again.ack["finished"], true);
    assert_eq!(again.ack["last_seq"], first.frames.len());
    assert_eq!(again.frames, first.frames);

    elsewhere.send(chat("something else")).await?;
    let refusal = elsewhere.frame().await?;
    assert_eq!(refusal["payload"]["code"], "INVALID_ARGUMENT");
    assert_eq!(refusal["payload"]["field"], "request_id");
    Ok(())
}

#[tokio::test]
async fn a_stopped_answer_keeps_what_was_said() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let endless: Vec<&str> = vec!["more "; 2_000];
    client
        .send(request(
            "chat",
            "r1",
            json!({ "session_id": "s1", "message": script(&endless, 20) }),
        ))
        .await?;
    loop {
        let frame = client.frame().await?;
        if frame["type"] == "delta" {
            break;
        }
    }
    client
        .send(request("cancel", "c1", json!({ "request_id": "r1" })))
        .await?;
    let done = loop {
        let frame = client.frame().await?;
        ensure!(frame["type"] != "error", "{frame}");
        if frame["type"] == "done" {
            break frame;
        }
    };
    assert_eq!(done["payload"]["finish_reason"], "cancelled");
    let history = client.ask("history", json!({ "session_id": "s1" })).await?;
    let kept = history["payload"]["entries"][1]["text"]
        .as_str()
        .context("an answer")?;
    assert!(
        kept.starts_with("more ") && kept.len() < 2_000 * 5,
        "{} bytes",
        kept.len()
    );

    let refusal = client.ask("cancel", json!({ "request_id": "r1" })).await?;
    assert_eq!(refusal["payload"]["code"], "NOT_FOUND");
    Ok(())
}

#[tokio::test]
async fn a_message_that_is_stopped_while_it_waits_costs_nothing() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let slow = vec!["slow "; 60];
    client
        .request(
            "chat",
            json!({ "session_id": "s1", "message": script(&slow, 20) }),
        )
        .await?;
    while client.frame().await?["type"] != "delta" {}
    let waiting = json!({ "session_id": "s1", "message": script(&["never said"], 0) });
    let id = client.request("chat", waiting).await?;
    loop {
        let frame = client.frame().await?;
        if frame["type"] == "ack" && frame["request_id"] == id.as_str() {
            break;
        }
    }
    client
        .request("cancel", json!({ "request_id": id }))
        .await?;
    let mut frames = Vec::new();
    loop {
        let frame = client.frame().await?;
        let is_last = frame["type"] == "done" && frame["request_id"] == id.as_str();
        frames.push(frame);
        if is_last {
            break;
        }
    }
    let done = &frames[frames.len() - 1];
    assert_eq!(done["payload"]["finish_reason"], "cancelled");
    let usage = &frames[frames.len() - 2];
    assert_eq!(usage["type"], "usage");
    assert_eq!(
        usage["payload"],
        json!({}),
        "nothing was asked, so nothing was used"
    );
    assert!(
        !frames
            .iter()
            .any(|frame| frame["payload"]["text"] == "never said")
    );
    Ok(())
}

/// Deletes messages of ann's conversation s1 behind the functions' back.
async fn delete_messages(stack: &Stack, positions: &[u32]) -> Result<()> {
    for position in positions {
        let position = position.to_string();
        let key = json!({ "conversation": { "S": "ann/s1" }, "position": { "N": position } });
        let deletion = json!({ "TableName": "MessagesTable", "Key": key });
        stack.dynamo("DeleteItem", &deletion).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_conversation_whose_deletion_was_cut_short_goes_on() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    client.chat("s1", "thanks").await?;
    // The messages are gone, the conversation is still listed: where a deletion may die.
    delete_messages(&stack, &[1, 2]).await?;
    client.chat("s1", &script(&["still here"], 0)).await?;
    let history = client.ask("history", json!({ "session_id": "s1" })).await?;
    assert_eq!(history["payload"]["entries"][1]["text"], "still here");
    let delete = json!({ "action": "delete", "session_id": "s1" });
    assert_eq!(client.ask("sessions", delete).await?["type"], "sessions");
    Ok(())
}

#[tokio::test]
async fn turns_of_a_conversation_are_answered_in_the_order_of_their_acks() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let ids: Vec<String> = (0..8).map(|turn| format!("r{turn}")).collect();
    let mut done = Vec::new();
    for (turn, id) in ids.iter().enumerate() {
        let session = format!("s{}", turn % 2);
        client
            .send(request(
                "chat",
                id,
                json!({ "session_id": session, "message": script(&[id], 20) }),
            ))
            .await?;
        loop {
            let frame = client.frame().await?;
            ensure!(frame["type"] != "error", "{frame}");
            if frame["type"] == "done" {
                done.push(frame["request_id"].clone());
            }
            if frame["type"] == "ack" && frame["request_id"] == id.as_str() {
                break;
            }
        }
    }
    while done.len() < ids.len() {
        let frame = client.frame().await?;
        if frame["type"] == "done" {
            done.push(frame["request_id"].clone());
        }
    }
    for session in 0..2 {
        let of_session: Vec<&String> = ids.iter().skip(session).step_by(2).collect();
        let in_order: Vec<&Value> = done
            .iter()
            .filter(|id| of_session.iter().any(|own| *id == own.as_str()))
            .collect();
        assert_eq!(in_order, of_session);
    }
    Ok(())
}

#[tokio::test]
async fn each_side_may_change_its_codec() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    // A `ping` under the id p1, written by another implementation of Protobuf.
    let protobuf_ping = "CgMyLjASBHBpbmcqAnAx";
    let is_json = |text: &str| text.starts_with('{');
    client.send("garbage?").await?;
    assert!(
        is_json(&client.receive().await?),
        "JSON until something was understood"
    );
    for _ in 0..3 {
        client.send(protobuf_ping).await?;
        assert!(!is_json(&client.receive().await?));
        client.send("garbage?").await?;
        assert!(
            !is_json(&client.receive().await?),
            "an error in the codec last understood"
        );
        assert_eq!(client.ask("ping", json!({})).await?["type"], "pong");
        client.send("garbage?").await?;
        assert!(is_json(&client.receive().await?));
    }
    Ok(())
}

#[tokio::test]
async fn conversations_are_listed_paged_renamed_and_deleted() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    for turn in 0..3 {
        client.chat("s1", &script(&["answer"], 0)).await?;
        client.chat(&format!("other-{turn}"), "thanks").await?;
    }
    let page = client
        .ask("sessions", json!({ "action": "list", "limit": 2 }))
        .await?;
    assert_eq!(page["payload"]["entries"].as_array().map(Vec::len), Some(2));
    assert_eq!(page["payload"]["entries"][0]["session_id"], "other-2");
    let before = &page["payload"]["next_before"];
    let rest = client.ask("sessions", json!({ "before": before })).await?;
    assert_eq!(rest["payload"]["entries"].as_array().map(Vec::len), Some(2));
    assert!(rest["payload"].get("next_before").is_none());

    let page = client
        .ask("history", json!({ "session_id": "s1", "limit": 4 }))
        .await?;
    assert_eq!(page["payload"]["entries"].as_array().map(Vec::len), Some(4));
    let before = &page["payload"]["next_before"];
    let rest = client
        .ask("history", json!({ "session_id": "s1", "before": before }))
        .await?;
    assert_eq!(rest["payload"]["entries"].as_array().map(Vec::len), Some(2));
    assert!(rest["payload"].get("next_before").is_none());

    let rename = json!({ "action": "rename", "session_id": "s1", "title": "数学" });
    let renamed = client.ask("sessions", rename).await?;
    assert_eq!(renamed["payload"]["entries"][0]["title"], "数学");
    let delete = json!({ "action": "delete", "session_id": "s1" });
    assert_eq!(
        client.ask("sessions", delete.clone()).await?["type"],
        "sessions"
    );
    let gone = client.ask("history", json!({ "session_id": "s1" })).await?;
    assert!(gone["payload"].get("entries").is_none());
    assert_eq!(
        client.ask("sessions", delete).await?["payload"]["code"],
        "NOT_FOUND"
    );
    // It can be begun anew.
    client.chat("s1", "thanks").await?;
    Ok(())
}

/// All of the conversation s1, page by page.
async fn paged_history(client: &mut Client) -> Result<Vec<Value>> {
    let (mut before, mut entries) = (Value::Null, Vec::new());
    loop {
        let payload = json!({ "session_id": "s1", "limit": 100, "before": before });
        client.request("history", payload).await?;
        let text = client.receive().await?;
        ensure!(text.len() <= 32 * 1024, "{} bytes", text.len());
        let page: Value = serde_json::from_str(&text)?;
        let page = &page["payload"];
        entries.extend(page["entries"].as_array().context("entries")?.clone());
        before = page["next_before"].clone();
        if before.is_null() {
            return Ok(entries);
        }
    }
}

#[tokio::test]
async fn a_long_history_comes_in_pages_that_fit_the_gateway() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect_as("ann", "pro").await?;
    let long = "很长".repeat(4_000);
    for _ in 0..4 {
        let message = format!("{} {long}", script(&["answer"], 0));
        let answer = client.chat("s1", &message).await?;
        assert_eq!(answer.last()["type"], "done", "{}", answer.last());
    }
    // Another device: this one may be told that so much text nears a limit.
    let mut reader = stack.connect("ann").await?;
    assert_eq!(paged_history(&mut reader).await?.len(), 8);
    // Each message nearly fills a page; where a deletion was cut short, positions have a gap.
    let long = "x".repeat(20_000);
    client.chat("s1", &script(&[&long], 0)).await?;
    delete_messages(&stack, &[3, 4, 5, 6, 7, 8]).await?;
    assert_eq!(paged_history(&mut reader).await?.len(), 4);
    Ok(())
}

#[tokio::test]
async fn the_models_are_named_with_their_prices() -> Result<()> {
    let stack = sparkle_tests::Options::default()
        .variable("SPARKLE_LLM_MODEL", "gpt-4o-mini, house-model")
        .start()
        .await?;
    let mut client = stack.connect("ann").await?;
    let models = client.ask("models", json!({})).await?;
    let entries = &models["payload"]["entries"];
    assert_eq!(entries[0]["id"], "gpt-4o-mini");
    assert_eq!(entries[0]["is_default"], true);
    assert_eq!(entries[0]["input_microusd"], 150_000);
    assert_eq!(entries[1]["id"], "house-model");
    let refusal = client
        .ask("chat", json!({ "message": "hi", "model": "other" }))
        .await?;
    assert_eq!(refusal["payload"]["field"], "payload.model");
    Ok(())
}

#[tokio::test]
async fn a_conversation_that_is_deleted_under_its_turns_does_not_come_back() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    client.chat("s1", "thanks").await?;
    let endless: Vec<&str> = vec!["more "; 2_000];
    for (id, message) in [("r1", script(&endless, 20)), ("r2", "thanks".to_owned())] {
        let payload = json!({ "session_id": "s1", "message": message });
        client.send(request("chat", id, payload)).await?;
        loop {
            let frame = client.frame().await?;
            if frame["type"] == "ack" {
                break;
            }
        }
    }
    let mut other = stack.connect("ann").await?;
    loop {
        let delete = json!({ "action": "delete", "session_id": "s1" });
        let answer = other.ask("sessions", delete).await?;
        // Refused as long as it grows meanwhile.
        if answer["type"] == "sessions" {
            break;
        }
        assert_eq!(answer["payload"]["code"], "UNAVAILABLE", "{answer}");
    }
    let mut reasons = Vec::new();
    while reasons.len() < 2 {
        let frame = client.frame().await?;
        ensure!(frame["type"] != "error", "{frame}");
        if frame["type"] == "done" {
            reasons.push(frame["payload"]["finish_reason"].clone());
        }
    }
    assert_eq!(reasons, ["cancelled", "cancelled"]);
    let list = other.ask("sessions", json!({})).await?;
    assert_eq!(list["payload"].get("entries"), None, "{list}");
    Ok(())
}
