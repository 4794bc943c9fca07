//! What is wrong is said, and nothing else happens.

use anyhow::{Result, ensure};
use serde_json::json;
use sparkle_tests::{Options, Stack, request};

#[tokio::test]
async fn every_bad_frame_gets_one_error_and_the_connection_lives_on() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let chat = |payload| request("chat", "r1", payload);
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let cases = [
        ("?".to_owned(), "BAD_FRAME"),
        ("{".to_owned(), "BAD_FRAME"),
        ("AAAA".to_owned(), "BAD_FRAME"),
        (format!(r#"{{"deep":{deep}}}"#), "BAD_FRAME"),
        (request("dance", "r1", json!({})), "UNKNOWN_TYPE"),
        (
            request("ping", "r1", json!({})).replace("2.0", "1.0"),
            "UNSUPPORTED_VERSION",
        ),
        (request("ping", "no/slash", json!({})), "INVALID_ARGUMENT"),
        (chat(json!({ "message": "" })), "INVALID_ARGUMENT"),
        (chat(json!({ "message": 5 })), "INVALID_ARGUMENT"),
        (
            chat(json!({ "message": "hi", "model": "nobody-has-this" })),
            "INVALID_ARGUMENT",
        ),
        (request("history", "r1", json!({})), "INVALID_ARGUMENT"),
        (
            request("cancel", "r1", json!({ "request_id": "unknown" })),
            "NOT_FOUND",
        ),
    ];
    for (frame, code) in cases {
        client.send(frame.clone()).await?;
        let answer = client.frame().await?;
        assert_eq!(answer["type"], "error", "{frame}: {answer}");
        assert_eq!(answer["payload"]["code"], code, "{frame}");
        assert!(answer.get("seq").is_none(), "{frame}");
        assert_eq!(client.ask("ping", json!({})).await?["type"], "pong");
    }
    Ok(())
}

#[tokio::test]
async fn an_error_is_written_for_the_person_who_reads_it() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    for (language, words) in [
        ("", "请检查"),
        ("zh-TW", "请检查"),
        ("en-GB", "Please check"),
    ] {
        let payload = json!({ "message": " ", "language": language });
        let refusal = client.ask("chat", payload).await?;
        let message = refusal["payload"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{language:?}: {message}");
    }
    Ok(())
}

#[tokio::test]
async fn a_flood_is_slowed_down_and_told_how_long() -> Result<()> {
    let stack = Options::default()
        .variable("SPARKLE_RATE_PER_SECOND", "1")
        .variable("SPARKLE_RATE_BURST", "5")
        .start()
        .await?;
    let mut client = stack.connect("ann").await?;
    for number in 0..30 {
        client
            .send(request("ping", &format!("p{number}"), json!({})))
            .await?;
    }
    let (mut pongs, mut refusals) = (0, 0);
    while pongs + refusals < 30 {
        let frame = client.frame().await?;
        if frame["type"] == "pong" {
            pongs += 1;
            continue;
        }
        assert_eq!(frame["payload"]["code"], "RATE_LIMITED");
        assert_eq!(frame["payload"]["retryable"], true);
        ensure!(
            frame["payload"]["retry_after_ms"]
                .as_u64()
                .is_some_and(|ms| ms > 0),
            "{frame}"
        );
        refusals += 1;
    }
    assert!(
        pongs >= 5 && refusals >= 1,
        "{pongs} pongs, {refusals} refusals"
    );
    let mut somebody_else = stack.connect("bob").await?;
    assert_eq!(somebody_else.ask("ping", json!({})).await?["type"], "pong");
    Ok(())
}
