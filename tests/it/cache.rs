//! Answers that were given before: at once, for nothing, and never to whom they do not belong.

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use sparkle_tests::{Answer, Client, Options, Stack};

use crate::{money::ledger, provider::Provider};

const QUESTION: &str = "什么是光合作用？";

/// Asks in a conversation, with what the cache may do.
async fn ask(client: &mut Client, session: &str, message: &str, cache: &str) -> Result<Answer> {
    let payload = json!({ "session_id": session, "message": message, "cache": cache });
    let id = client.request("chat", payload).await?;
    client.answer(&id).await
}

pub(crate) fn level(answer: &Answer) -> &str {
    answer.payload("done")["cache"].as_str().unwrap_or_default()
}

/// A stack whose provider counts what it is asked.
async fn stack() -> Result<(Provider, Stack)> {
    // The provider of a busy machine may be silent for longer than its tests allow.
    started(|options| options.variable("SPARKLE_LLM_TIMEOUT_SECONDS", "30")).await
}

pub(crate) async fn started(change: impl FnOnce(Options) -> Options) -> Result<(Provider, Stack)> {
    let provider = Provider::start().await?;
    let stack = change(provider.options()).start().await?;
    Ok((provider, stack))
}

pub(crate) async fn calls(provider: &Provider) -> Result<u64> {
    provider.stats().await?["calls"]
        .as_u64()
        .context("no calls")
}

/// Until the cache holds so many answers.
pub(crate) async fn kept(stack: &Stack, count: usize) -> Result<Vec<Value>> {
    loop {
        let mut entries = stack.items("CacheTable").await?;
        entries.retain(|entry| entry.get("answer").is_some());
        if entries.len() >= count {
            return Ok(entries);
        }
    }
}

#[tokio::test]
async fn a_repeated_question_comes_back_without_a_call_in_any_conversation() -> Result<()> {
    let (provider, stack) = stack().await?;
    let mut client = stack.connect("ann").await?;
    let first = ask(&mut client, "s1", QUESTION, "").await?;
    assert_eq!(level(&first), "none");
    kept(&stack, 1).await?;
    let asked = calls(&provider).await?;
    // The same words in other dress, in the same conversation and in another.
    for (session, message) in [
        ("s1", QUESTION),
        ("s2", "什么是 光合作用?"),
        ("s2", " 什么是光合作用 "),
    ] {
        let again = ask(&mut client, session, message, "").await?;
        assert_eq!(again.text, first.text);
        assert_eq!(level(&again), "exact", "{message}");
        assert_eq!(again.payload("done")["similarity"], 1.0);
        let usage = again.payload("usage");
        assert_eq!(usage.get("total_tokens"), None);
        assert_eq!(usage.get("cost_microusd"), None);
        assert_eq!(
            usage["saved_tokens"],
            first.payload("usage")["total_tokens"]
        );
    }
    assert_eq!(calls(&provider).await?, asked);
    let history = client.ask("history", json!({ "session_id": "s2" })).await?;
    let texts = history["payload"]["entries"]
        .as_array()
        .context("no entries")?;
    assert_eq!(texts.len(), 4, "{history}");
    assert_eq!(texts[1]["text"], first.text.as_str());
    let lines = ledger(&stack).await?;
    assert_eq!(lines.len(), 4);
    let entries = kept(&stack, 1).await?;
    assert_eq!(entries[0]["hits"], 3);
    let report = client.ask("usage", json!({})).await?;
    let today = &report["payload"]["days"][0];
    assert_eq!(
        (&today["requests"], &today["cache_hits"]),
        (&json!(4), &json!(3))
    );
    Ok(())
}

#[tokio::test]
async fn what_depends_on_what_was_said_is_asked_again() -> Result<()> {
    let (provider, stack) = stack().await?;
    let mut client = stack.connect("ann").await?;
    ask(&mut client, "s1", QUESTION, "").await?;
    for (calls_then, message) in [
        (2, "再举一个例子"),
        (3, "再举一个例子"),
        (4, "今天天气怎么样?"),
    ] {
        let answer = ask(&mut client, "s1", message, "").await?;
        assert_eq!(level(&answer), "none", "{message}");
        assert_eq!(calls(&provider).await?, calls_then, "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_is_its_learners_alone() -> Result<()> {
    let (provider, stack) = stack().await?;
    let mut ann = stack.connect("ann").await?;
    ask(&mut ann, "s1", QUESTION, "").await?;
    kept(&stack, 1).await?;
    let mut ben = stack.connect("ben").await?;
    let own = ask(&mut ben, "s1", QUESTION, "").await?;
    assert_eq!(level(&own), "none");
    assert_eq!(calls(&provider).await?, 2);
    let scopes: Vec<Value> = kept(&stack, 2).await?;
    ensure!(scopes[0]["scope"] != scopes[1]["scope"], "{scopes:?}");
    Ok(())
}

#[tokio::test]
async fn who_wants_no_kept_answer_gets_none_and_leaves_none() -> Result<()> {
    let (provider, stack) = stack().await?;
    let mut client = stack.connect("ann").await?;
    ask(&mut client, "s1", QUESTION, "bypass").await?;
    let second = ask(&mut client, "s2", QUESTION, "bypass").await?;
    assert_eq!(level(&second), "none");
    assert_eq!(calls(&provider).await?, 2);
    ensure!(stack.items("CacheTable").await?.is_empty());
    // And who wants nothing else is told that there is none.
    let none = ask(&mut client, "s3", QUESTION, "only").await?;
    let error = none.payload("error");
    assert_eq!(
        (&error["code"], &error["field"]),
        (&json!("NOT_FOUND"), &json!("payload.cache"))
    );
    ask(&mut client, "s4", QUESTION, "").await?;
    kept(&stack, 1).await?;
    let only = ask(&mut client, "s5", QUESTION, "only").await?;
    assert_eq!(level(&only), "exact");
    assert_eq!(calls(&provider).await?, 3);
    Ok(())
}

#[tokio::test]
async fn fifty_who_ask_the_same_at_once_make_one_call() -> Result<()> {
    const CROWD: usize = 50;
    let (provider, stack) = stack().await?;
    let asking = (0..CROWD).map(|number| {
        let stack = &stack;
        async move {
            let mut client = stack.connect("ann").await?;
            let answer = ask(&mut client, &format!("s{number}"), QUESTION, "").await?;
            anyhow::Ok((level(&answer).to_owned(), answer.text))
        }
    });
    let (mut levels, texts): (Vec<_>, Vec<_>) = try_join_all(asking).await?.into_iter().unzip();
    ensure!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    levels.sort();
    assert_eq!(levels.first().map(String::as_str), Some("exact"));
    assert_eq!(levels.iter().filter(|level| *level == "none").count(), 1);
    assert_eq!(calls(&provider).await?, 1);
    assert_eq!(ledger(&stack).await?.len(), CROWD);
    Ok(())
}

#[tokio::test]
async fn the_same_in_other_words_is_answered_by_what_was_kept_and_a_near_miss_is_not() -> Result<()>
{
    let (provider, stack) = stack().await?;
    let mut client = stack.connect("ann").await?;
    let first = ask(&mut client, "s1", "为什么天空是蓝色的？", "").await?;
    kept(&stack, 1).await?;
    let same = ask(&mut client, "s2", "天空为什么是蓝色的呢？", "").await?;
    assert_eq!(level(&same), "semantic", "{same:?}");
    assert_eq!(same.text, first.text);
    let similarity = same.payload("done")["similarity"].as_f64();
    ensure!(similarity.is_some_and(|similarity| (0.5..1.0).contains(&similarity)));
    let other = ask(&mut client, "s3", "为什么海水是蓝色的？", "").await?;
    assert_eq!(level(&other), "none");
    assert_eq!(calls(&provider).await?, 2);
    Ok(())
}
