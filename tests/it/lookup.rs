//! Whether a question has an answer already: the same by every way of asking, and with nothing begun.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{
    Client, Stack,
    foreign::{Codec, Payloads, Wire},
    http, request,
};

use crate::{
    cache::{calls, kept, started},
    fault::Faulty,
    provider::Provider,
};

const QUESTION: &str = "什么是光合作用？";
/// Counts what each of the two functions posts, and changes nothing.
const COUNTED: &str = "rules: [\
    {target: connections, call: POST, function: cache-lookup, fault: delay, delay_ms: 0},\
    {target: connections, call: POST, function: ws-message, fault: delay, delay_ms: 0}]";

/// The answer to a `lookup`.
async fn look(client: &mut Client, message: &str) -> Result<Value> {
    let answer = client.ask("lookup", json!({ "message": message })).await?;
    ensure!(answer["type"] == "lookup_result", "{answer}");
    Ok(answer["payload"].clone())
}

#[tokio::test]
async fn json_protobuf_and_a_direct_invocation_are_answered_alike_and_begin_nothing() -> Result<()>
{
    let provider = Provider::start().await?;
    let faulty = Faulty::start(provider.options(), COUNTED).await?;
    let (stack, wire) = (&faulty.stack, Wire::open()?);
    let posted =
        async || -> Result<_> { Ok((faulty.injected(0).await?, faulty.injected(1).await?)) };
    let mut client = stack.connect("ann").await?;
    let none = look(&mut client, QUESTION).await?;
    assert_eq!(none, json!({ "level": "none" }));
    let given = client.chat("s1", QUESTION).await?;
    let before_entries = kept(stack, 1).await?;
    let turns = stack.items("TurnsTable").await?.len();
    let (calls_before, before) = (calls(&provider).await?, posted().await?);

    let by_json = look(&mut client, " 什么是 光合作用?").await?;
    assert_eq!(posted().await?, (before.0 + 1, before.1));
    let plain = (Codec::Protobuf, Payloads::Plain);
    let payload = json!({ "message": QUESTION, "model": "gpt-4o-mini" });
    let frame = wire.write(("lookup", "LookupRequest"), "q1", &payload, plain)?;
    client.send(frame).await?;
    let by_protobuf = wire.read(&client.receive().await?)?;
    assert_eq!(by_protobuf.codec, Codec::Protobuf);
    assert_eq!(posted().await?, (before.0 + 1, before.1 + 1));
    let event = json!({ "user_id": "ann", "message": QUESTION });
    let directly = stack.invoke("cache-lookup", &event).await?;
    assert_eq!(posted().await?, (before.0 + 1, before.1 + 1));

    for found in [&by_json, &by_protobuf.json["payload"], &directly] {
        assert_eq!(found["hit"], true, "{found}");
        assert_eq!(found["level"], "exact", "{found}");
        assert_eq!(found["similarity"], 1.0, "{found}");
        assert_eq!(found["answer"], given.text.as_str(), "{found}");
    }
    // No model is asked, no turn begun, no hit counted.
    assert_eq!(calls(&provider).await?, calls_before);
    assert_eq!(stack.items("TurnsTable").await?.len(), turns);
    assert_eq!(kept(stack, 1).await?, before_entries);
    Ok(())
}

#[tokio::test]
async fn an_answer_is_found_only_where_it_would_be_served() -> Result<()> {
    let (_provider, stack) = started(|options| options).await?;
    let mut ann = stack.connect("ann").await?;
    let given = ann.chat("s1", QUESTION).await?;
    kept(&stack, 1).await?;
    assert_eq!(look(&mut ann, QUESTION).await?["hit"], true);
    for (what, payload) in [
        ("another question", json!({ "message": "什么是呼吸作用？" })),
        (
            "the moment decides",
            json!({ "message": "今天天气怎么样?" }),
        ),
        (
            "another role",
            json!({ "message": QUESTION, "role": "examiner" }),
        ),
        (
            "another language",
            json!({ "message": QUESTION, "language": "en" }),
        ),
        ("a long one", json!({ "message": "x".repeat(32_000) })),
    ] {
        let answer = ann.ask("lookup", payload).await?;
        assert_eq!(answer["payload"], json!({ "level": "none" }), "{what}");
    }
    let mut ben = stack.connect("ben").await?;
    assert_eq!(look(&mut ben, QUESTION).await?, json!({ "level": "none" }));
    // An answer that is rejected is found no more.
    let found = look(&mut ann, QUESTION).await?;
    ensure!(found["hit"] == true, "{found}");
    let name = &given.payload("done")["response_id"];
    let payload = json!({ "target": "answer", "id": name, "rating": 1 });
    assert_eq!(ann.ask("feedback", payload).await?["type"], "ack");
    assert_eq!(look(&mut ann, QUESTION).await?, json!({ "level": "none" }));
    Ok(())
}

#[tokio::test]
async fn a_lookup_does_not_tell_what_others_asked() -> Result<()> {
    let shared = |options: sparkle_tests::Options| options.variable("SPARKLE_CACHE_SHARED", "1");
    let (_provider, stack) = started(shared).await?;
    let mut ann = stack.connect("ann").await?;
    ann.chat("s1", QUESTION).await?;
    let entries = kept(&stack, 1).await?;
    assert_eq!(entries[0]["scope"], "everybody");
    assert_eq!(look(&mut ann, QUESTION).await?["hit"], true);
    let mut ben = stack.connect("ben").await?;
    assert_eq!(look(&mut ben, QUESTION).await?, json!({ "level": "none" }));
    let event = json!({ "user_id": "ben", "message": QUESTION });
    let directly = stack.invoke("cache-lookup", &event).await?;
    assert_eq!(directly["hit"], true, "{directly}");
    Ok(())
}

#[tokio::test]
async fn odd_lookups_are_refused_by_their_field_by_both_functions() -> Result<()> {
    let stack = Stack::start().await?;
    let (wire, mut client) = (Wire::open()?, stack.connect("ann").await?);
    #[rustfmt::skip]
    let cases = [
        (json!({}), "INVALID_ARGUMENT", "payload.message"),
        (json!({ "message": " " }), "INVALID_ARGUMENT", "payload.message"),
        (json!({ "message": "a\u{0}b" }), "INVALID_ARGUMENT", "payload.message"),
        (json!({ "message": "hi", "language": "a b" }), "INVALID_ARGUMENT", "payload.language"),
        (json!({ "message": "hi", "role": "a b" }), "INVALID_ARGUMENT", "payload.role"),
        (json!({ "message": "hi", "model": "no-such" }), "INVALID_ARGUMENT", "payload.model"),
    ];
    for (payload, code, field) in &cases {
        let told = client.ask("lookup", payload.clone()).await?;
        let error = &told["payload"];
        let expected = (Some(*code), Some(*field));
        assert_eq!(
            (error["code"].as_str(), error["field"].as_str()),
            expected,
            "{payload}"
        );
    }
    for (payload, code, field) in &cases {
        let plain = (Codec::Protobuf, Payloads::Plain);
        client
            .send(wire.write(("lookup", "LookupRequest"), "q1", payload, plain)?)
            .await?;
        let told = wire.read(&client.receive().await?)?;
        let error = &told.json["payload"];
        let expected = (Some(*code), Some(*field));
        assert_eq!(
            (error["code"].as_str(), error["field"].as_str()),
            expected,
            "{payload}"
        );
    }
    // The gateway takes the first type, the function the other.
    let frame = request("lookup", "r1", json!({ "message": "hi" }));
    client.send(frame.replace("2.0", "1.0")).await?;
    assert_eq!(
        client.frame().await?["payload"]["code"],
        "UNSUPPORTED_VERSION"
    );
    Ok(())
}

#[tokio::test]
async fn a_direct_lookup_without_a_learner_or_a_question_is_refused() -> Result<()> {
    let stack = Stack::start().await?;
    let fresh = json!({ "user_id": "nobody", "message": "什么是导数?", "language": "zh-CN", "role": "", "model": "" });
    assert_eq!(
        stack.invoke("cache-lookup", &fresh).await?,
        json!({ "level": "none" })
    );
    let url = format!(
        "{}/2015-03-31/functions/cache-lookup/invocations",
        stack.address("http")
    );
    for event in [
        json!({ "user_id": "", "message": "hi" }),
        json!({ "user_id": "ann" }),
        json!({ "message": "hi" }),
        json!({ "user_id": "ann", "message": " " }),
        json!({ "user_id": "ann", "message": "x".repeat(32_769) }),
        json!({ "user_id": "ann", "message": "hi", "role": "a b" }),
        json!({ "user_id": "ann", "message": "hi", "model": "no-such" }),
        json!({ "user_id": "ann", "message": 5 }),
        json!([]),
    ] {
        let answer = http().post(&url).body(event.to_string()).send().await?;
        ensure!(
            answer.headers().contains_key("x-amz-function-error"),
            "{event}"
        );
    }
    Ok(())
}
