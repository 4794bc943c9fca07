//! A model of somebody else: an OpenAI-compatible server, in good and bad days.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sparkle_tests::{Answer, Options, Stack, binaries, get};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The scripted provider of `sparkle-llm`, as a process.
pub(crate) struct Provider {
    base_url: String,
    _process: Child,
}

impl Provider {
    pub(crate) async fn start() -> Result<Self> {
        // `cargo test --workspace` has built it; for this crate alone it is built here.
        sparkle_tests::build(&["-p", "sparkle-llm", "--example", "scripted_provider"]);
        let mut process = Command::new(binaries().join("examples/scripted_provider"))
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take().context("no stdout")?;
        let base_url = BufReader::new(stdout)
            .lines()
            .next_line()
            .await?
            .context("no URL")?;
        Ok(Self {
            base_url,
            _process: process,
        })
    }

    pub(crate) async fn stats(&self) -> Result<Value> {
        let text = get(&self.base_url.replace("/v1", "/stats")).await?;
        Ok(serde_json::from_str(&text)?)
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    async fn stack(&self) -> Result<Stack> {
        self.options().start().await
    }

    /// A stack that asks it.
    pub(crate) fn options(&self) -> Options {
        Options::default()
            .variable("SPARKLE_LLM_BASE_URL", &self.base_url)
            .variable("SPARKLE_LLM_MODEL", "gpt-4o-mini")
            .variable("SPARKLE_LLM_TIMEOUT_SECONDS", "1")
    }
}

async fn scripted(stack: &Stack, script: Value) -> Result<Answer> {
    stack
        .connect("ann")
        .await?
        .chat("s1", &format!("#script {script}"))
        .await
}

#[tokio::test]
async fn an_answer_streams_from_the_provider_and_is_counted_as_it_says() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.stack().await?;
    let usage = json!({ "prompt_tokens": 1_000, "completion_tokens": 100, "cached_tokens": 400 });
    let script = json!({ "pieces": ["导", "数 🙂", "\n$x^2$"], "usage": usage });
    let answer = scripted(&stack, script).await?;
    assert_eq!(answer.text, "导数 🙂\n$x^2$");
    let told = answer.payload("usage");
    assert_eq!(told["prompt_tokens"], 1_000);
    assert_eq!(told["completion_tokens"], 100);
    assert_eq!(told["cached_tokens"], 400);
    assert_eq!(told["cost_microusd"], 180);
    assert!(told.get("estimated").is_none());
    let stats = provider.stats().await?;
    assert_eq!(
        (&stats["prompt_tokens"], &stats["completion_tokens"]),
        (&json!(1_000), &json!(100))
    );
    Ok(())
}

#[tokio::test]
async fn a_provider_that_fails_ends_the_turn_with_an_error_and_nothing_hangs() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.stack().await?;
    let cases = [
        (json!({ "fail": "unavailable" }), "PROVIDER_ERROR"),
        (
            json!({ "fail": "rate_limited", "retry_after_s": 7 }),
            "PROVIDER_ERROR",
        ),
        (json!({ "fail": "refused" }), "PROVIDER_ERROR"),
        (json!({ "fail": "garbage" }), "PROVIDER_ERROR"),
        (
            json!({ "pieces": ["a", "b", "c"], "fail_after": 2, "fail": "cut" }),
            "PROVIDER_ERROR",
        ),
        (
            json!({ "pieces": ["a", "b", "c"], "fail_after": 2, "fail": "garbage" }),
            "PROVIDER_ERROR",
        ),
        (
            json!({ "pieces": ["a", "b", "c"], "fail_after": 2, "fail": "hang" }),
            "TIMEOUT",
        ),
        (json!({ "fail": "hang" }), "TIMEOUT"),
        (json!({ "fail": "blocked" }), "CONTENT_BLOCKED"),
    ];
    for (script, code) in cases {
        let answer = scripted(&stack, script.clone()).await?;
        let error = answer.payload("error");
        assert_eq!(error["code"], code, "{script}");
        if script.get("retry_after_s").is_some() {
            assert_eq!(error["retry_after_ms"], 7_000);
        }
    }
    // Nothing of the failures is in the conversation, and it goes on.
    let mut client = stack.connect("ann").await?;
    let history = client.ask("history", json!({ "session_id": "s1" })).await?;
    assert!(history["payload"].get("entries").is_none());
    let answer = scripted(&stack, json!({ "pieces": ["fine"] })).await?;
    assert_eq!(answer.text, "fine");
    Ok(())
}

#[tokio::test]
async fn a_failed_turn_stays_failed_for_a_copy_of_its_message() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.stack().await?;
    let mut client = stack.connect("ann").await?;
    let message = format!(
        "#script {}",
        json!({ "pieces": ["a", "b"], "fail_after": 1, "fail": "cut" })
    );
    let frame = sparkle_tests::request(
        "chat",
        "r1",
        json!({ "session_id": "s1", "message": message }),
    );
    client.send(frame.clone()).await?;
    let first = client.answer("r1").await?;
    client.send(frame).await?;
    let again = client.answer("r1").await?;
    assert_eq!(again.frames, first.frames);
    assert_eq!(provider.stats().await?["calls"], 1);
    Ok(())
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_an_error_at_once() -> Result<()> {
    let stack = Options::default()
        .variable("SPARKLE_LLM_BASE_URL", "http://127.0.0.1:9/v1")
        .start()
        .await?;
    let answer = stack.connect("ann").await?.chat("s1", "hi").await?;
    assert_eq!(answer.payload("error")["code"], "PROVIDER_ERROR");
    assert_eq!(answer.payload("error")["retryable"], true);
    Ok(())
}

#[tokio::test]
async fn a_stopped_answer_is_aborted_at_the_provider_and_bounded_in_its_count() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.stack().await?;
    let mut client = stack.connect("ann").await?;
    let pieces = vec!["more "; 2_000];
    let message = format!("#script {}", json!({ "pieces": pieces, "pause_ms": 20 }));
    let id = client
        .request("chat", json!({ "session_id": "s1", "message": message }))
        .await?;
    while client.frame().await?["type"] != "delta" {}
    client
        .request("cancel", json!({ "request_id": id }))
        .await?;
    let usage = loop {
        let frame = client.frame().await?;
        if frame["type"] == "usage" {
            break frame["payload"].clone();
        }
    };
    while client.frame().await?["type"] != "done" {}
    let stats = loop {
        let stats = provider.stats().await?;
        if stats["aborted"] == 1 {
            break stats;
        }
    };
    assert_eq!(usage["estimated"], true);
    assert!(
        usage["completion_tokens"].as_u64() >= stats["completion_tokens"].as_u64(),
        "{usage} {stats}"
    );
    assert!(stats["pieces"].as_u64() < Some(2_000), "{stats}");
    Ok(())
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_where_it_can_still_be_kept() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.stack().await?;
    let piece = "很长的回答".repeat(200);
    let script = json!({ "pieces": vec![piece; 200] });
    let order = sparkle_tests::http()
        .post(provider.base_url.replace("/v1", "/script?times=1"))
        .json(&script)
        .send()
        .await?;
    anyhow::ensure!(order.status().is_success(), "{}", order.text().await?);
    let mut client = stack.connect("ann").await?;
    let answer = client.chat("s1", "hi").await?;
    assert_eq!(answer.payload("done")["finish_reason"], "length");
    assert!(answer.text.len() > 50_000 && answer.text.len() <= 56 * 1024);
    let history = client.ask("history", json!({ "session_id": "s1" })).await?;
    assert_eq!(
        history["payload"]["entries"][0]["text"],
        answer.text.as_str()
    );
    assert_eq!(provider.stats().await?["calls"], 1);
    Ok(())
}
