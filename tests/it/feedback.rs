//! What learners say of answers: a rejected one is served to nobody any more.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{
    Answer, Client, Stack,
    foreign::{Codec, Payloads, Wire},
};

use crate::{
    cache::{calls, kept, level, started},
    fault::Faulty,
    provider::Provider,
};

const QUESTION: &str = "什么是光合作用？";

/// Asks in a conversation of its own; the request's id and the answer.
async fn ask(client: &mut Client, session: &str, message: &str) -> Result<(String, Answer)> {
    let payload = json!({ "session_id": session, "message": message });
    let id = client.request("chat", payload).await?;
    let answer = client.answer(&id).await?;
    Ok((id, answer))
}

/// Says how good an answer was, and is heard.
async fn rate(client: &mut Client, id: &str, rating: u32) -> Result<()> {
    let payload = json!({ "target": "answer", "id": id, "rating": rating });
    let answer = client.ask("feedback", payload).await?;
    ensure!(answer["type"] == "ack", "{id}: {answer}");
    Ok(())
}

async fn refused(client: &mut Client, payload: &Value, expected: (&str, &str)) -> Result<()> {
    let answer = client.ask("feedback", payload.clone()).await?;
    let error = &answer["payload"];
    let found = (error["code"].as_str(), error["field"].as_str());
    assert_eq!(found, (Some(expected.0), Some(expected.1)), "{payload}");
    Ok(())
}

/// The item of a turn.
async fn turn(stack: &Stack, request: &str) -> Result<Value> {
    let turns = stack.items("TurnsTable").await?;
    let turn = turns.into_iter().find(|turn| turn["request_id"] == request);
    turn.context("no such turn")
}

#[tokio::test]
async fn a_rejected_answer_is_not_served_again() -> Result<()> {
    let (provider, stack) = started(|options| options).await?;
    let mut client = stack.connect("ann").await?;
    let (first, _) = ask(&mut client, "s1", QUESTION).await?;
    kept(&stack, 1).await?;
    // What is good, or not bad, stays.
    for rating in [5, 4, 3] {
        rate(&mut client, &first, rating).await?;
    }
    // By the request that asked the model, by one that was served, and by what the provider called it.
    let mut asked = first;
    for round in 0..3 {
        let (served, answer) = ask(&mut client, &format!("s{round}"), QUESTION).await?;
        assert_eq!(level(&answer), "exact", "an answer is kept as any other");
        assert_eq!(calls(&provider).await?, round + 1);
        let name = answer.payload("done")["response_id"].as_str();
        let name = name.context("no response_id")?;
        let rejected = match round {
            0 => &*asked,
            1 => &served,
            _ => name,
        };
        rate(&mut client, rejected, 1 + u32::try_from(round % 2)?).await?;
        let (fresh, answer) = ask(&mut client, &format!("f{round}"), QUESTION).await?;
        assert_eq!(level(&answer), "none", "{rejected}");
        asked = fresh;
        kept(&stack, 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_said_is_remembered_with_the_turn_and_may_be_said_again() -> Result<()> {
    let (_provider, stack) = started(|options| options).await?;
    let mut client = stack.connect("ann").await?;
    let (id, _) = ask(&mut client, "s1", QUESTION).await?;
    let comment = "好".repeat(666);
    let payload = json!({ "target": "answer", "id": id, "rating": 2, "comment": comment });
    for _ in 0..2 {
        let answer = client.ask("feedback", payload.clone()).await?;
        assert_eq!(answer["type"], "ack", "{answer}");
        let turn = turn(&stack, &id).await?;
        assert_eq!(
            (&turn["rating"], &turn["comment"]),
            (&json!(2), &json!(comment))
        );
    }
    rate(&mut client, &id, 5).await?;
    assert_eq!(turn(&stack, &id).await?["rating"], 5);
    Ok(())
}

#[tokio::test]
async fn a_shared_answer_that_one_learner_rejects_is_served_to_nobody() -> Result<()> {
    let shared = |options: sparkle_tests::Options| options.variable("SPARKLE_CACHE_SHARED", "1");
    let (provider, stack) = started(shared).await?;
    let mut ann = stack.connect("ann").await?;
    ask(&mut ann, "s1", QUESTION).await?;
    let entries = kept(&stack, 1).await?;
    assert_eq!(entries[0]["scope"], "everybody");
    let mut ben = stack.connect("ben").await?;
    let (served, answer) = ask(&mut ben, "s1", QUESTION).await?;
    assert_eq!(level(&answer), "exact");
    rate(&mut ben, &served, 1).await?;
    for client in [&mut ann, &mut ben] {
        let payload = json!({ "message": QUESTION, "cache": "only" });
        let id = client.request("chat", payload).await?;
        let answer = client.answer(&id).await?;
        assert_eq!(answer.payload("error")["code"], "NOT_FOUND");
    }
    assert_eq!(calls(&provider).await?, 1);
    Ok(())
}

/// The answer is kept a moment after its turn is over, here a long one; what its learner says comes before.
#[tokio::test]
async fn an_answer_that_is_rejected_before_it_is_kept_is_not_kept() -> Result<()> {
    // Its answer has few frames.
    let question = "谢谢";
    let provider = Provider::start().await?;
    let plan = "rules: [{target: dynamodb, call: UpdateItem, function: turn-worker, \
                fault: delay, delay_ms: 1000}]";
    let faulty = Faulty::start(provider.options(), plan).await?;
    let mut client = faulty.stack.connect("ann").await?;
    let (id, _) = ask(&mut client, "s1", question).await?;
    assert!(
        kept_now(&faulty.stack).await?.is_empty(),
        "kept too soon to tell"
    );
    rate(&mut client, &id, 1).await?;
    let (_, again) = ask(&mut client, "s2", question).await?;
    assert_eq!(level(&again), "none");
    assert_eq!(calls(&provider).await?, 2);
    // The second one's answer is kept.
    kept(&faulty.stack, 1).await?;
    Ok(())
}

async fn kept_now(stack: &Stack) -> Result<Vec<Value>> {
    let mut entries = stack.items("CacheTable").await?;
    entries.retain(|entry| entry.get("answer").is_some());
    Ok(entries)
}

#[tokio::test]
async fn only_answers_of_the_learner_can_be_rated() -> Result<()> {
    let (_provider, stack) = started(|options| options).await?;
    let mut ann = stack.connect("ann").await?;
    let (id, answer) = ask(&mut ann, "s1", QUESTION).await?;
    let name = answer.payload("done")["response_id"].clone();
    let (failed, _) = ask(&mut ann, "s2", r##"#script {"fail":"refused"}"##).await?;
    kept(&stack, 1).await?;
    let mut ben = stack.connect("ben").await?;
    let not_found = ("NOT_FOUND", "payload.id");
    for (target, id) in [
        ("answer", json!(id)),
        ("answer", name),
        ("answer", json!("ann/r1")),
        ("node", json!(id)),
    ] {
        let payload = json!({ "target": target, "id": id, "rating": 1 });
        refused(&mut ben, &payload, not_found).await?;
    }
    let payload = json!({ "target": "answer", "id": failed, "rating": 1 });
    refused(&mut ann, &payload, not_found).await?;
    let payload = json!({ "target": "node", "id": id, "rating": 1 });
    refused(&mut ann, &payload, not_found).await?;
    assert_eq!(turn(&stack, &id).await?.get("rating"), None);
    let (_, again) = ask(&mut ann, "s3", QUESTION).await?;
    assert_eq!(level(&again), "exact");
    Ok(())
}

#[tokio::test]
async fn odd_feedback_is_refused_by_its_field_and_protobuf_is_heard() -> Result<()> {
    let (_provider, stack) = started(|options| options).await?;
    let (wire, mut client) = (Wire::open()?, stack.connect("ann").await?);
    let (id, _) = ask(&mut client, "s1", QUESTION).await?;
    kept(&stack, 1).await?;
    #[rustfmt::skip]
    let cases = [
        (json!({ "id": id, "rating": 1 }), "INVALID_ARGUMENT", "payload.target"),
        (json!({ "target": "tutor", "id": id, "rating": 1 }), "INVALID_ARGUMENT", "payload.target"),
        (json!({ "target": "answer", "rating": 1 }), "INVALID_ARGUMENT", "payload.id"),
        (json!({ "target": "answer", "id": "a\u{0}b", "rating": 1 }), "INVALID_ARGUMENT", "payload.id"),
        (json!({ "target": "answer", "id": "x".repeat(257), "rating": 1 }), "TOO_LARGE", "payload.id"),
        (json!({ "target": "answer", "id": id }), "INVALID_ARGUMENT", "payload.rating"),
        (json!({ "target": "answer", "id": id, "rating": 6 }), "INVALID_ARGUMENT", "payload.rating"),
        (json!({ "target": "answer", "id": id, "rating": -1 }), "INVALID_ARGUMENT", "payload.rating"),
        (json!({ "target": "answer", "id": id, "rating": 1, "comment": "\u{7}" }), "INVALID_ARGUMENT", "payload.comment"),
        (json!({ "target": "answer", "id": id, "rating": 1, "comment": "x".repeat(2_001) }), "TOO_LARGE", "payload.comment"),
    ];
    for (payload, code, field) in cases {
        refused(&mut client, &payload, (code, field)).await?;
    }
    assert_eq!(kept_now(&stack).await?.len(), 1);
    let plain = (Codec::Protobuf, Payloads::Plain);
    let payload = json!({ "target": "answer", "id": id, "rating": 1 });
    let frame = wire.write(("feedback", "FeedbackRequest"), "f1", &payload, plain)?;
    client.send(frame).await?;
    let heard = wire.read(&client.receive().await?)?;
    assert_eq!(
        (heard.codec, &heard.json["type"]),
        (Codec::Protobuf, &json!("ack"))
    );
    assert!(kept_now(&stack).await?.is_empty());
    Ok(())
}
