//! What a learner may still use: the same answer by every way of asking.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{
    Options, Stack,
    foreign::{Codec, Payloads, Wire},
    http, request,
};

use crate::fault::Faulty;

/// Counts what each of the two functions posts, and changes nothing.
const COUNTED: &str = "rules: [\
    {target: connections, call: POST, function: quota-check, fault: delay, delay_ms: 0},\
    {target: connections, call: POST, function: ws-message, fault: delay, delay_ms: 0}]";

#[tokio::test]
async fn json_reaches_a_function_of_its_own_protobuf_the_front_door_and_both_answer_alike()
-> Result<()> {
    let faulty = Faulty::start(Options::default(), COUNTED).await?;
    let (stack, wire) = (&faulty.stack, Wire::open()?);
    let posted =
        async || -> Result<_> { Ok((faulty.injected(0).await?, faulty.injected(1).await?)) };
    let mut client = stack.connect_as("ann", "pro").await?;
    client.chat("s1", "什么是导数?").await?;
    let before = posted().await?;

    let by_json = client.ask("quota", json!({})).await?["payload"].clone();
    assert_eq!(posted().await?, (before.0 + 1, before.1));

    let plain = (Codec::Protobuf, Payloads::Plain);
    let question = wire.write(("quota", "Empty"), "q1", &json!({}), plain)?;
    client.send(question).await?;
    let by_protobuf = wire.read(&client.receive().await?)?;
    assert_eq!(by_protobuf.codec, Codec::Protobuf);
    assert_eq!(posted().await?, (before.0 + 1, before.1 + 1));

    let event = json!({ "user_id": "ann", "tier": "pro" });
    let directly = stack.invoke("quota-check", &event).await?;
    assert_eq!(
        posted().await?,
        (before.0 + 1, before.1 + 1),
        "nothing is posted"
    );

    assert_eq!(by_json["tier"], "pro", "{by_json}");
    let used = by_json["day"]["used"].as_u64();
    assert!(used.is_some_and(|used| used > 0), "{by_json}");
    assert_eq!(by_json["day"]["limit"], 500_000, "{by_json}");
    assert_eq!(by_json, directly);
    for (window, part) in [
        ("day", "used"),
        ("day", "limit"),
        ("day", "remaining"),
        ("month", "resets_at"),
    ] {
        let number = |answer: &Value| {
            let number = &answer[window][part];
            number
                .as_str()
                .map_or_else(|| number.to_string(), str::to_owned)
        };
        let other = &by_protobuf.json["payload"];
        assert_eq!(number(&by_json), number(other), "{window}.{part}: {other}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_follows_the_last_format_and_what_is_wrong_is_said_as_by_the_front_door()
-> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    for (frame, code) in [
        (request("quota", "no/slash", json!({})), "INVALID_ARGUMENT"),
        (
            request("quota", "r1", json!({})).replace("2.0", "1.0"),
            "UNSUPPORTED_VERSION",
        ),
        (
            request("quota", "r1", json!({})).replace("\"type\"", "\"type\":\"ping\",\"type\""),
            "BAD_FRAME",
        ),
    ] {
        client.send(frame.clone()).await?;
        let answer = client.frame().await?;
        assert_eq!(answer["payload"]["code"], code, "{frame}: {answer}");
    }
    assert_eq!(client.ask("quota", json!({})).await?["type"], "quota");
    Ok(())
}

#[tokio::test]
async fn questions_after_the_quota_count_towards_the_same_rate_as_all_others() -> Result<()> {
    let stack = Options::default()
        .variable("SPARKLE_RATE_PER_SECOND", "1")
        .variable("SPARKLE_RATE_BURST", "4")
        .start()
        .await?;
    let mut client = stack.connect("ann").await?;
    for round in 0..100 {
        client
            .send(request("ping", &format!("p{round}"), json!({})))
            .await?;
        client.frame().await?;
        let answer = client.ask("quota", json!({})).await?;
        if answer["type"] == "error" {
            assert_eq!(answer["payload"]["code"], "RATE_LIMITED", "{answer}");
            assert!(
                answer["payload"]["retry_after_ms"].as_u64() > Some(0),
                "{answer}"
            );
            return Ok(());
        }
    }
    panic!("a hundred rounds were let through");
}

#[tokio::test]
async fn a_direct_question_is_answered_for_any_learner_and_refused_without_one() -> Result<()> {
    let stack = Stack::start().await?;
    let fresh = stack
        .invoke("quota-check", &json!({ "user_id": "nobody" }))
        .await?;
    assert_eq!(
        (&fresh["tier"], &fresh["day"]["limit"]),
        (&json!("free"), &json!(50_000))
    );
    let url = format!(
        "{}/2015-03-31/functions/quota-check/invocations",
        stack.address("http")
    );
    for event in [
        json!({ "user_id": "" }),
        json!({ "tier": "free" }),
        json!([]),
    ] {
        let answer = http().post(&url).body(event.to_string()).send().await?;
        ensure!(
            answer.headers().contains_key("x-amz-function-error"),
            "{event}"
        );
    }
    assert!(
        stack.items("AccountsTable").await?.is_empty(),
        "asking opens no account"
    );
    Ok(())
}
