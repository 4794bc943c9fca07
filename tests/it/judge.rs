//! A model that says whether two questions ask the same: where the verifier is in doubt, and after the fact.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{Answer, Client, Stack, http};

use crate::{
    cache::{calls, kept, level, started},
    money::ledger,
    provider::Provider,
};

/// What was asked, the same in words that a rule takes for another question, and in words of which the verifier is
/// sure.
const QUESTION: &str = "为什么天空是蓝色的？";
const DOUBTFUL: &str = "是什么让天空看起来是蓝色的？";
const SURE: &str = "天空为什么是蓝色的呢？";

/// A stack whose cache has a judge, who checks all that is served for other words.
async fn judged() -> Result<(Provider, Stack)> {
    started(|options| {
        options
            .variable("SPARKLE_LLM_TIMEOUT_SECONDS", "30")
            .variable("SPARKLE_CACHE_JUDGE_MODEL", "gpt-4o-mini")
            .variable("SPARKLE_CACHE_CHECKED_PERCENT", "100")
    })
    .await
}

/// The next call of the model is answered so.
async fn say(provider: &Provider, script: Value) -> Result<()> {
    let url = provider.base_url().replace("/v1", "/script");
    let said = http().post(&url).json(&script).send().await?;
    said.error_for_status()?;
    Ok(())
}

async fn ask(client: &mut Client, session: &str, message: &str) -> Result<(String, Answer)> {
    let payload = json!({ "session_id": session, "message": message });
    let id = client.request("chat", payload).await?;
    let answer = client.answer(&id).await?;
    Ok((id, answer))
}

/// Lines of the ledger of calls that judged, once there are so many.
async fn judgements(stack: &Stack, count: usize) -> Result<Vec<Value>> {
    loop {
        let mut lines = ledger(stack).await?;
        lines.retain(|line| line["purpose"] == "agent");
        if lines.len() >= count {
            return Ok(lines);
        }
    }
}

/// What is known of answers that were served for other words, once that many were checked.
async fn evidence(stack: &Stack, checked: u64, wrong: u64) -> Result<()> {
    loop {
        let entries = stack.items("CacheTable").await?;
        let mut entries = entries.iter();
        let found = entries.find(|entry| entry.get("checked").is_some());
        let Some(found) = found else { continue };
        if found["checked"] == checked && found["wrong"] == wrong {
            return Ok(());
        }
        ensure!(found["checked"].as_u64() <= Some(checked), "{found}");
    }
}

#[tokio::test]
async fn where_the_verifier_is_in_doubt_a_model_decides_and_is_paid() -> Result<()> {
    for (opinion, expected) in [
        (json!({ "pieces": ["SA", "ME"] }), "semantic"),
        (json!({ "pieces": ["OTHER"] }), "none"),
        (json!({ "pieces": ["SAME, since both ask why"] }), "none"),
        (json!({ "fail": "unavailable" }), "none"),
    ] {
        let (provider, stack) = judged().await?;
        let mut client = stack.connect("ann").await?;
        let (_, first) = ask(&mut client, "s1", QUESTION).await?;
        kept(&stack, 1).await?;
        say(&provider, opinion.clone()).await?;
        let (_, other) = ask(&mut client, "s2", DOUBTFUL).await?;
        assert_eq!(level(&other), expected, "{opinion}");
        let is_free = opinion.get("fail").is_some();
        if expected == "semantic" {
            assert_eq!(other.text, first.text);
            assert_eq!(calls(&provider).await?, 2);
        } else {
            assert_eq!(calls(&provider).await?, 3, "{opinion}");
        }
        let lines = judgements(&stack, 1).await?;
        assert_eq!(lines.len(), 1, "what a judge was not asked for: {lines:?}");
        let tokens = lines[0]["prompt_tokens"].as_u64().context("no tokens")?;
        assert_eq!(tokens == 0, is_free, "{opinion}");
    }
    Ok(())
}

#[tokio::test]
async fn no_model_is_asked_where_there_is_no_doubt_or_others_wrote_the_question() -> Result<()> {
    let (provider, stack) = started(|options| {
        options
            .variable("SPARKLE_LLM_TIMEOUT_SECONDS", "30")
            .variable("SPARKLE_CACHE_SHARED", "1")
            .variable("SPARKLE_CACHE_JUDGE_MODEL", "gpt-4o-mini")
            .variable("SPARKLE_CACHE_CHECKED_PERCENT", "0")
    })
    .await?;
    let mut client = stack.connect("ann").await?;
    ask(&mut client, "s1", QUESTION).await?;
    kept(&stack, 1).await?;
    for (number, message) in [DOUBTFUL, "为什么海水是蓝色的？"].iter().enumerate() {
        let (_, answer) = ask(&mut client, "s2", message).await?;
        assert_eq!(level(&answer), "none", "{message}");
        assert_eq!(calls(&provider).await?, 2 + u64::try_from(number)?);
    }
    Ok(())
}

#[tokio::test]
async fn what_was_served_for_other_words_is_checked_and_the_learners_word_stands() -> Result<()> {
    let (provider, stack) = judged().await?;
    let mut client = stack.connect("ann").await?;
    ask(&mut client, "s1", QUESTION).await?;
    kept(&stack, 1).await?;
    say(&provider, json!({ "pieces": ["OTHER."] })).await?;
    let (served, answer) = ask(&mut client, "s2", SURE).await?;
    assert_eq!(level(&answer), "semantic");
    evidence(&stack, 1, 1).await?;
    assert_eq!(judgements(&stack, 1).await?.len(), 1);
    assert_eq!(calls(&provider).await?, 2);
    let requests: Value = serde_json::from_str(
        &sparkle_tests::get(&provider.base_url().replace("/v1", "/requests")).await?,
    )?;
    let shown = requests[1].to_string();
    ensure!(
        shown.contains(QUESTION) && shown.contains(SURE) && !shown.contains(&answer.text),
        "{shown}"
    );
    // What the learner says, and says again, takes the place of what the model said.
    for (rating, wrong) in [(5, 0), (5, 0), (4, 0), (1, 1), (2, 1), (5, 0)] {
        let payload = json!({ "target": "answer", "id": served, "rating": rating });
        assert_eq!(client.ask("feedback", payload).await?["type"], "ack");
        evidence(&stack, 1, wrong).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_judge_that_is_silent_holds_up_neither_the_learner_nor_a_cancellation() -> Result<()> {
    let (provider, stack) = judged().await?;
    let mut client = stack.connect("ann").await?;
    ask(&mut client, "s1", QUESTION).await?;
    kept(&stack, 1).await?;
    say(&provider, json!({ "fail": "hang" })).await?;
    let (_, answer) = ask(&mut client, "s2", DOUBTFUL).await?;
    assert_eq!(level(&answer), "none", "{answer:?}");
    ensure!(!answer.text.is_empty());
    let lines = judgements(&stack, 1).await?;
    assert_eq!(lines[0]["estimated"], true, "{lines:?}");

    ask(&mut client, "s3", "What is photosynthesis?").await?;
    kept(&stack, 3).await?;
    say(&provider, json!({ "fail": "hang" })).await?;
    let before = calls(&provider).await?;
    let payload = json!({ "session_id": "s4", "message": "How would you define photosynthesis?" });
    let id = client.request("chat", payload).await?;
    while calls(&provider).await? == before {}
    client
        .send(sparkle_tests::request(
            "cancel",
            "c1",
            json!({ "request_id": id }),
        ))
        .await?;
    let cancelled = client.answer(&id).await?;
    let done = cancelled.payload("done");
    assert_eq!(done["finish_reason"], "cancelled", "{cancelled:?}");
    assert_eq!(calls(&provider).await?, before + 1);
    assert_eq!(judgements(&stack, 2).await?.len(), 2);
    Ok(())
}
