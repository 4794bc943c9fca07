//! Entries of the answer cache that no turn has written: copies of what one has, with other words.

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use crate::{
    cloud::{Typed, dynamo_by, scan},
    http,
};

const TABLE: &str = "CacheTable";
/// Most items of a `BatchWriteItem`.
const BATCH: usize = 25;
/// Batches that are under way at once.
const BATCHES: usize = 4;

/// What a turn has kept: the answer to a question, and the candidate by which its meaning is found.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The answer's item.
    pub answer: Typed,
    /// The candidate's.
    pub candidate: Typed,
}

impl Entry {
    /// What is kept for a question of this canonical form in a namespace that is not of `others`: until it is there.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn kept(dynamodb: &str, form: &str, others: &[String]) -> Result<Self> {
        loop {
            let items = scan(dynamodb, TABLE).await?;
            let is_new =
                |item: &&Typed| !others.iter().any(|other| mark_of(item).starts_with(other));
            let form = json!({ "S": form });
            let mut new = items.iter().filter(is_new);
            let answer =
                new.find(|item| item.contains_key("answer") && item.get("question") == Some(&form));
            let Some(answer) = answer else { continue };
            let (namespace, digest) = mark_of(answer).split_once("/q/").context("no key")?;
            let candidates = format!("{namespace}/v/");
            let candidate = items.iter().find(|item| {
                mark_of(item).starts_with(&candidates) && mark_of(item).ends_with(digest)
            });
            if let Some(candidate) = candidate {
                return Ok(Self {
                    answer: answer.clone(),
                    candidate: candidate.clone(),
                });
            }
        }
    }

    /// Of what it rests on.
    pub fn namespace(&self) -> &str {
        mark_of(&self.answer).split('/').next().unwrap_or_default()
    }

    /// How many bytes its vector has.
    ///
    /// # Errors
    /// It has none.
    pub fn dimension(&self) -> Result<usize> {
        let vector = self.candidate["vector"]["B"]
            .as_str()
            .context("no vector")?;
        Ok(BASE64_STANDARD.decode(vector)?.len())
    }

    /// The same for another question, whose canonical form it is and whose digest that has, so many milliseconds
    /// later.
    ///
    /// # Errors
    /// This is no entry.
    pub fn with(&self, (form, digest): (&str, &str), later_ms: i64, vector: &[u8]) -> Result<Self> {
        let mut entry = self.clone();
        let made_ms = self.answer["made_at"]["N"].as_str().context("no time")?;
        let made_ms = made_ms.parse::<i64>()? + later_ms;
        let parts: Vec<&str> = mark_of(&self.candidate).split('/').collect();
        let [namespace, kind, version, ..] = parts[..] else {
            anyhow::bail!("{parts:?} is no candidate");
        };
        let mark = format!("{namespace}/{kind}/{version}/{made_ms:013}/{digest}");
        let key = format!("{namespace}/q/{digest}");
        for (name, value) in [
            ("entry", json!({ "S": key })),
            ("question", json!({ "S": form })),
            ("answer", json!({ "S": format!("To: {form}") })),
            ("made_at", json!({ "N": made_ms.to_string() })),
        ] {
            entry.answer.insert(name.to_owned(), value);
        }
        for (name, value) in [
            ("entry", json!({ "S": mark })),
            ("question", json!({ "S": form })),
            ("vector", json!({ "B": BASE64_STANDARD.encode(vector) })),
        ] {
            entry.candidate.insert(name.to_owned(), value);
        }
        Ok(entry)
    }
}

/// The range key of an item.
pub fn mark_of(item: &Typed) -> &str {
    item["entry"]["S"].as_str().unwrap_or_default()
}

/// Writes items, some batches at a time.
///
/// # Errors
/// One was refused.
pub async fn write(dynamodb: &str, items: impl Iterator<Item = Typed>) -> Result<()> {
    let http = http();
    let mut items = items.peekable();
    let batches = std::iter::from_fn(|| {
        items.peek()?;
        let batch: Vec<Value> = items
            .by_ref()
            .take(BATCH)
            .map(|item| json!({ "PutRequest": { "Item": item } }))
            .collect();
        Some(json!({ "RequestItems": { TABLE: batch } }))
    });
    let writes = batches.map(|batch| {
        let http = &http;
        async move { dynamo_by(http, dynamodb, "BatchWriteItem", &batch).await }
    });
    let mut written = stream::iter(writes).buffer_unordered(BATCHES);
    while let Some(answer) = written.try_next().await? {
        let left = answer["UnprocessedItems"].as_object();
        ensure!(left.is_none_or(serde_json::Map::is_empty), "{answer}");
    }
    Ok(())
}
