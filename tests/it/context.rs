//! What of a conversation the provider gets to see, and what is counted before it is asked.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{Answer, Client, Stack, get};

use crate::{money::limit, provider::Provider};

/// What the provider was sent with the newest message last. (It may have been asked for a summary since.)
async fn prompt(provider: &Provider, newest: &str) -> Result<Vec<Value>> {
    let requests = get(&provider.base_url().replace("/v1", "/requests")).await?;
    let requests: Vec<Value> = serde_json::from_str(&requests)?;
    let mut prompts = requests
        .iter()
        .filter_map(|request| request["body"]["messages"].as_array());
    let ends = |messages: &&Vec<Value>| {
        let last = messages.last();
        last.is_some_and(|last| last["content"] == newest)
    };
    let found = prompts.rfind(ends);
    found.cloned().context("nobody asked")
}

/// The messages between the instructions and the newest message, which are where they belong.
async fn history(provider: &Provider, newest: &str) -> Result<Vec<Value>> {
    let messages = prompt(provider, newest).await?;
    let [first, history @ .., last] = messages.as_slice() else {
        anyhow::bail!("{messages:?}");
    };
    ensure!(first["role"] == "system", "{first}");
    ensure!(last["role"] == "user", "{last}");
    Ok(history.to_vec())
}

/// A message that has the provider say as much, padded to so many bytes.
fn script(turn: usize, bytes: usize) -> String {
    let said = format!("{turn} {}", "y".repeat(bytes));
    format!(
        "#script {} {}",
        json!({ "pieces": [said] }),
        "x".repeat(bytes)
    )
}

/// A conversation of so many messages, beginning with the learner, as if it had been led before.
async fn seed(stack: &Stack, session: &str, texts: &[String]) -> Result<()> {
    for (position, text) in (1..).zip(texts) {
        let speaker = if position % 2 == 1 {
            "user"
        } else {
            "assistant"
        };
        let item = json!({
            "conversation": { "S": format!("ann/{session}") },
            "position": { "N": position.to_string() },
            "speaker": { "S": speaker },
            "text": { "S": text },
            "at": { "N": "1764000000000" },
            "request_id": { "S": format!("seed-{}", (position + 1) / 2) },
        });
        let put = json!({ "TableName": "MessagesTable", "Item": item });
        stack.dynamo("PutItem", &put).await?;
    }
    let item = json!({
        "user_id": { "S": "ann" }, "session_id": { "S": session }, "title": { "S": "seeded" },
        "updated_at": { "N": "1764000000000" }, "messages": { "N": texts.len().to_string() },
    });
    let put = json!({ "TableName": "SessionsTable", "Item": item });
    stack.dynamo("PutItem", &put).await?;
    Ok(())
}

async fn say(client: &mut Client, session: &str, message: &str) -> Result<Answer> {
    let answer = client.chat(session, message).await?;
    ensure!(answer.last()["type"] == "done", "{}", answer.last());
    Ok(answer)
}

#[tokio::test]
async fn ten_messages_go_whole_and_of_more_the_last_five_to_ten() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let mut client = stack.connect("ann").await?;
    for (length, expected) in [
        (9, 9),
        (10, 10),
        (11, 5),
        (12, 6),
        (20, 6),
        (21, 5),
        (22, 6),
    ] {
        let session = format!("s{length}");
        let texts: Vec<String> = (1..=length).map(|n| format!("message {n}")).collect();
        seed(&stack, &session, &texts).await?;
        say(&mut client, &session, "and now?").await?;
        let history = history(&provider, "and now?").await?;
        let said: Vec<&str> = history
            .iter()
            .filter_map(|message| message["content"].as_str())
            .collect();
        assert_eq!(said, texts[texts.len() - expected..], "of {length}");
        assert_eq!(history[0]["role"], "user", "of {length}");
    }
    Ok(())
}

#[tokio::test]
async fn the_beginning_of_a_prompt_stays_the_same_for_a_step_of_turns() -> Result<()> {
    let provider = Provider::start().await?;
    // Cached tokens cost half: steps of two turns. And a quarter: of three.
    for (model, sizes) in [
        ("gpt-4o-mini", [0, 2, 4, 6, 8, 10, 8, 6, 8, 6, 8]),
        ("gpt-4.1", [0, 2, 4, 6, 8, 10, 6, 8, 10, 6, 8]),
    ] {
        let options = provider.options().variable("SPARKLE_LLM_MODEL", model);
        let stack = options.start().await?;
        let mut client = stack.connect("ann").await?;
        let mut before = Vec::new();
        for (turn, size) in sizes.into_iter().enumerate() {
            let message = script(turn, 400);
            say(&mut client, "s1", &message).await?;
            let history = history(&provider, &message).await?;
            assert_eq!(history.len(), size, "{model}, turn {turn}");
            assert!(history.first().is_none_or(|first| first["role"] == "user"));
            let now = prompt(&provider, &message).await?;
            if turn > 0 && sizes[turn - 1] + 2 == size {
                assert!(now.starts_with(&before), "{model}, turn {turn}");
            }
            before = now;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_the_provider_counted_is_kept_with_its_answer() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let mut client = stack.connect("ann").await?;
    let usage = json!({ "prompt_tokens": 100, "completion_tokens": 7, "cached_tokens": 0 });
    let script = json!({ "pieces": ["counted"], "usage": usage });
    say(&mut client, "s1", &format!("#script {script}")).await?;
    let messages = stack.items("MessagesTable").await?;
    let tokens = |speaker: &str| {
        let found = messages.iter().find(|item| item["speaker"] == speaker);
        found.map(|item| item["tokens"].clone())
    };
    assert_eq!(tokens("assistant"), Some(json!(7)));
    assert_eq!(tokens("user"), Some(Value::Null));
    Ok(())
}

#[tokio::test]
async fn a_pasted_document_keeps_its_ends_once_it_is_history() -> Result<()> {
    let provider = Provider::start().await?;
    // Of 8,192 tokens 1,024 are for the answer; half of the rest are 3,584.
    let options = provider.options().variable("SPARKLE_LLM_MODEL", "unlisted");
    let stack = options.start().await?;
    let mut client = stack.connect("ann").await?;
    let document = format!("BEGIN {} END", "长".repeat(6_000));
    say(&mut client, "s1", &document).await?;
    // The newest is never cut.
    prompt(&provider, &document).await?;
    say(&mut client, "s1", "and now?").await?;
    let history = history(&provider, "and now?").await?;
    let cut = history[0]["content"].as_str().context("no text")?;
    assert!(cut.starts_with("BEGIN 长") && cut.ends_with("长 END"));
    assert!(cut.contains("[…]") && cut.len() <= 3_584, "{}", cut.len());
    Ok(())
}

#[tokio::test]
async fn a_prompt_that_fits_only_by_its_tokens_is_counted_and_sent() -> Result<()> {
    let provider = Provider::start().await?;
    let message = "word ".repeat(400);
    for (tokenizer, end) in [(None, "error"), (Some("o200k"), "done")] {
        let options = match tokenizer {
            None => provider.options(),
            Some(tokenizer) => provider
                .options()
                .variable("SPARKLE_LLM_TOKENIZER", tokenizer),
        };
        let stack = options.start().await?;
        // 2,000 bytes, 400 tokens.
        limit(&stack, json!({ "day_tokens": 1_000 })).await?;
        let answer = stack.connect("ann").await?.chat("s1", &message).await?;
        assert_eq!(answer.last()["type"], end, "{tokenizer:?}");
    }
    assert_eq!(provider.stats().await?["calls"], 1);
    Ok(())
}

#[tokio::test]
async fn a_message_that_the_model_cannot_take_is_refused_before_it_is_asked() -> Result<()> {
    let provider = Provider::start().await?;
    let options = provider.options().variable("SPARKLE_LLM_MODEL", "unlisted");
    let stack = options
        .variable("SPARKLE_LLM_TOKENIZER", "o200k")
        .start()
        .await?;
    let mut client = stack.connect("ann").await?;
    // A token for each byte.
    let answer = client.chat("s1", &"7 ".repeat(4_000)).await?;
    assert_eq!(answer.payload("error")["code"], "TOO_LARGE");
    assert_eq!(provider.stats().await?["calls"], 0);
    // As many bytes, a fifth of the tokens.
    say(&mut client, "s1", &"word ".repeat(1_600)).await?;
    assert_eq!(provider.stats().await?["calls"], 1);
    Ok(())
}
