//! `LedgerTable` and `UsageTable`: each call of a model once, and their sums by day.
//!
//! `LedgerTable`, one item a call, listed in time by the local index `by_settled_at`:
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `user_id` | S, hash key | who pays |
//! | `call` | S, range key | `source/id`; our own have no source |
//! | `settled_at` | N | Unix ms |
//! | `purpose` | S | what for |
//! | `model` | S | which was asked |
//! | `session_id` | S | absent where there is none |
//! | `request_id` | S | likewise |
//! | `trace_id` | S | likewise |
//! | `prompt_tokens` | N | as the provider counted, the cached ones included |
//! | `cached_tokens` | N | likewise |
//! | `completion_tokens` | N | likewise |
//! | `saved_tokens` | N | not paid for again |
//! | `estimated` | BOOL | true where the provider did not count, and these are a bound of ours |
//! | `cost` | N | micro-dollars |
//!
//! `UsageTable`, one item a learner and day, and [`SHARDS`] for all learners together:
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `user_id` | S, hash key | the learner; for all of them U+0001 and a shard, which is no learner's id |
//! | `day` | S, range key | `2026-11-24`: the learner's own day; for all of them that of UTC. `2026-11` has alerts only |
//! | `prompt_tokens` | N | sum of the calls |
//! | `cached_tokens` | N | likewise |
//! | `completion_tokens` | N | likewise |
//! | `saved_tokens` | N | likewise |
//! | `cost` | N | likewise, micro-dollars |
//! | `requests` | N | lines: calls, and answers that took none |
//! | `cache_hits` | N | answers that took none |
//!
//! With them the same sums by model, under the names `tokens of MODEL` and `cost of MODEL`, and under
//! `alerted of KIND` the highest share of that limit, in percent, of which the learner was told.
//!
//! A line and the sums that it adds to are one transaction, which also takes the call out of `IntentsTable` and
//! counts a hit on the answer that was served instead of a call:
//! a second copy finds the line and changes nothing.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{AttributeValue, Put, TransactWriteItem, Update},
};
use sparkle_core::{
    cache::entry::Place,
    frame::Period,
    id::{self, RequestId, SessionId, TraceId, UserId},
    ledger::Call,
    unit::{MicroUsd, Timestamp},
};

use super::{
    Item, TableError, answers::Answers, client, intents::Intents, number, number_of, text, text_of,
};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
};

mod operator;

/// Over how many items the sums of all learners are spread: one item takes 1,000 writes a second, and
/// transactions on it get into each other's way long before.
pub const SHARDS: u8 = 16;
/// How often a line is tried while other lines add to the same sums.
const TRIES_MAX: u32 = 8;

/// How often a hit is to be counted on its answer while others are.
const SERVED_TRIES_MAX: u32 = 3;

/// Each call of a model once, and their sums by day.
#[derive(Debug, Clone)]
pub struct Ledger {
    dynamo: Client,
    lines: String,
    usage: String,
}

/// A line to be written, and where it counts.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// A call whose cost is known.
    pub call: &'a Call,
    /// Its bill as it was sent.
    pub message: &'a str,
    /// The name under which it counts by model: there are few of them, since each is an attribute of an item.
    pub model: &'a str,
    /// The learner's day.
    pub day: &'a str,
    /// The day for all learners together.
    pub utc_day: &'a str,
    /// The kept answer that stood for it.
    pub served: Option<(&'a Answers, &'a Place)>,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is in the ledger now.
    New,
    /// It was before.
    Before,
}

/// Sums of a day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums {
    /// The day, and what a learner is told of it.
    pub period: Period,
    /// Tokens that were not paid for again.
    pub saved_tokens: u64,
    /// Tokens and cost by model.
    pub models: BTreeMap<String, (u64, MicroUsd)>,
}

impl Ledger {
    /// Opens the tables that `SPARKLE_TABLE_LEDGER` and `SPARKLE_TABLE_USAGE` name; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            dynamo: client(aws),
            lines: config::required("SPARKLE_TABLE_LEDGER")?,
            usage: config::required("SPARKLE_TABLE_USAGE")?,
        })
    }

    /// Writes the line of a call whose cost is known, once. Cost: one transaction of 3 to 5 items.
    ///
    /// # Errors
    /// [`TableError::Conflict`] if the call is one of ours and is not settled, or by another bill.
    pub async fn record(
        &self,
        intents: &Intents,
        entry: &Entry<'_>,
    ) -> Result<Recorded, TableError> {
        let (mut tries, mut served) = (0, entry.served);
        loop {
            tries += 1;
            let writes = self
                .writes(intents, &Entry { served, ..*entry })
                .map_err(|_incomplete| TableError::Corrupt("user_id"))?;
            let transact = self.dynamo.transact_write_items();
            let Err(error) = transact.set_transact_items(Some(writes)).send().await else {
                return Ok(Recorded::New);
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
                error.as_service_error()
            else {
                return Err(error.into());
            };
            let failed = Some("ConditionalCheckFailed");
            let reasons = cancelled.cancellation_reasons().iter();
            let mut failures = reasons.map(|reason| reason.code() == failed);
            if failures.next() == Some(true) {
                return Ok(Recorded::Before);
            }
            if served.is_some() && (failures.next_back() == Some(true) || tries >= SERVED_TRIES_MAX)
            {
                // It was removed since, or so many are served with it that a line must not wait for its turn.
                served = None;
            }
            if tries >= TRIES_MAX || failures.any(|failure| failure) {
                return Err(error.into());
            }
        }
    }

    fn writes(
        &self,
        intents: &Intents,
        entry: &Entry<'_>,
    ) -> Result<Vec<TransactWriteItem>, BuildError> {
        let Entry { call, .. } = *entry;
        let put = Put::builder()
            .table_name(&self.lines)
            .set_item(Some(line(call)))
            .condition_expression("attribute_not_exists(#call)")
            .expression_attribute_names("#call", "call")
            .build()?;
        let add = |user: &str, day: &str| self.adding(user, day, entry);
        let update = |update| TransactWriteItem::builder().update(update).build();
        let mut writes = vec![
            TransactWriteItem::builder().put(put).build(),
            update(add(call.user_id.as_str(), entry.day)?),
            update(add(&shard_of(call), entry.utc_day)?),
        ];
        if call.source.is_empty() {
            let delete = intents.closing(call, entry.message)?;
            writes.push(TransactWriteItem::builder().delete(delete).build());
        }
        if let Some((answers, place)) = entry.served {
            let served = answers.serving(place, call.saved_tokens)?;
            writes.push(update(served));
        }
        Ok(writes)
    }

    /// Adds a call to the sums of a day. Only ever beside the line, whose absence it rests on.
    fn adding(&self, user: &str, day: &str, entry: &Entry<'_>) -> Result<Update, BuildError> {
        let Entry { call, model, .. } = *entry;
        let tokens = call.tokens;
        let cost = call.cost.unwrap_or_default().get();
        Update::builder()
            .table_name(&self.usage)
            .key("user_id", text(user))
            .key("day", text(day))
            .update_expression(
                "ADD prompt_tokens :prompt, cached_tokens :cached, completion_tokens :completion, \
                 saved_tokens :saved, cost :cost, requests :one, cache_hits :hits, \
                 #model_tokens :total, #model_cost :cost",
            )
            .expression_attribute_names("#model_tokens", format!("tokens of {model}"))
            .expression_attribute_names("#model_cost", format!("cost of {model}"))
            .expression_attribute_values(":prompt", number(tokens.prompt_tokens))
            .expression_attribute_values(":cached", number(tokens.cached_tokens))
            .expression_attribute_values(":completion", number(tokens.completion_tokens))
            .expression_attribute_values(":saved", number(call.saved_tokens))
            .expression_attribute_values(":cost", number(cost))
            .expression_attribute_values(":total", number(tokens.total()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":hits", number(i32::from(call.is_hit())))
            .build()
    }

    /// The sums of a learner's days from `first` on, oldest first. Cost: one query, 1 unit for some 10 days.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn days(&self, user: &UserId, first: &str) -> Result<Vec<Sums>, TableError> {
        self.sums(user.as_str(), first).await
    }

    /// The sums of all learners' days from `first` on, oldest first. Cost: [`SHARDS`] queries.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn everybody(&self, first: &str) -> Result<Vec<Sums>, TableError> {
        let mut days: BTreeMap<String, Sums> = BTreeMap::new();
        for shard in 0..SHARDS {
            for sums in self.sums(&everybody(shard), first).await? {
                match days.get_mut(&sums.period.date) {
                    Some(day) => day.add(&sums),
                    None => drop(days.insert(sums.period.date.clone(), sums)),
                }
            }
        }
        Ok(days.into_values().collect())
    }

    async fn sums(&self, user: &str, first: &str) -> Result<Vec<Sums>, TableError> {
        let query = self
            .dynamo
            .query()
            .table_name(&self.usage)
            .key_condition_expression("user_id = :user AND #day >= :first")
            .expression_attribute_names("#day", "day")
            .expression_attribute_values(":user", text(user))
            .expression_attribute_values(":first", text(first))
            .consistent_read(true);
        let mut pages = query.into_paginator().items().send();
        let mut days = Vec::new();
        while let Some(item) = pages.try_next().await? {
            if item.contains_key("requests") {
                days.push(sums_of(&item)?);
            }
        }
        Ok(days)
    }

    /// What a learner's calls cost together that were settled since a moment. Cost: one query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn cost_since(
        &self,
        user: &UserId,
        since: Timestamp,
    ) -> Result<MicroUsd, TableError> {
        let query = self
            .dynamo
            .query()
            .table_name(&self.lines)
            .index_name("by_settled_at")
            .key_condition_expression("user_id = :user AND settled_at > :since")
            .expression_attribute_values(":user", text(user))
            .expression_attribute_values(":since", number(since.unix_ms()))
            .consistent_read(true);
        let mut pages = query.into_paginator().items().send();
        let mut cost: u64 = 0;
        while let Some(item) = pages.try_next().await? {
            cost = cost.saturating_add(number_of(&item, "cost")?);
        }
        Ok(MicroUsd::new(cost))
    }

    /// Notes that a learner is told of a share of a limit in percent; whether it was not told before.
    /// Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn note_alert(
        &self,
        user: &UserId,
        day: &str,
        kind: &str,
        percent: u64,
    ) -> Result<bool, TableError> {
        let update = self
            .dynamo
            .update_item()
            .table_name(&self.usage)
            .key("user_id", text(user))
            .key("day", text(day))
            .update_expression("SET #alerted = :percent")
            .condition_expression("attribute_not_exists(#alerted) OR #alerted < :percent")
            .expression_attribute_names("#alerted", format!("alerted of {kind}"))
            .expression_attribute_values(":percent", number(percent));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(error.into()),
            },
        }
    }
}

impl Sums {
    /// Adds the sums of other calls.
    pub fn add(&mut self, other: &Self) {
        self.period.add(&other.period);
        self.saved_tokens = self.saved_tokens.saturating_add(other.saved_tokens);
        for (model, (tokens, cost)) in &other.models {
            let sums = self.models.entry(model.clone()).or_default();
            *sums = (sums.0.saturating_add(*tokens), sums.1.plus(*cost));
        }
    }
}

fn everybody(shard: u8) -> String {
    format!("\u{1}{shard}")
}

/// The same for the same call, spread evenly.
fn shard_of(call: &Call) -> String {
    let digest = id::digest(&[call.user_id.as_str(), call.id.as_str()]);
    let byte = digest
        .get(..2)
        .and_then(|hex| u8::from_str_radix(hex, 16).ok());
    everybody(byte.unwrap_or_default() % SHARDS)
}

fn line(call: &Call) -> Item {
    let tokens = call.tokens;
    let mut item = HashMap::from([
        ("user_id".to_owned(), text(&call.user_id)),
        (
            "call".to_owned(),
            text(&format!("{}/{}", call.source, call.id)),
        ),
        ("settled_at".to_owned(), number(call.settled_at.unix_ms())),
        ("purpose".to_owned(), text(call.purpose.as_str())),
        ("model".to_owned(), text(&call.model)),
        ("prompt_tokens".to_owned(), number(tokens.prompt_tokens)),
        ("cached_tokens".to_owned(), number(tokens.cached_tokens)),
        (
            "completion_tokens".to_owned(),
            number(tokens.completion_tokens),
        ),
        ("saved_tokens".to_owned(), number(call.saved_tokens)),
        ("estimated".to_owned(), AttributeValue::Bool(call.estimated)),
        (
            "cost".to_owned(),
            number(call.cost.unwrap_or_default().get()),
        ),
    ]);
    for (name, id) in [
        (
            "session_id",
            call.session_id.as_ref().map(SessionId::as_str),
        ),
        (
            "request_id",
            call.request_id.as_ref().map(RequestId::as_str),
        ),
        ("trace_id", call.trace_id.as_ref().map(TraceId::as_str)),
    ] {
        if let Some(id) = id {
            item.insert(name.to_owned(), text(id));
        }
    }
    item
}

fn sums_of(item: &Item) -> Result<Sums, TableError> {
    let mut models: BTreeMap<String, (u64, MicroUsd)> = BTreeMap::new();
    for name in item.keys() {
        if let Some(model) = name.strip_prefix("tokens of ") {
            models.entry(model.to_owned()).or_default().0 = number_in(item, name)?;
        } else if let Some(model) = name.strip_prefix("cost of ") {
            models.entry(model.to_owned()).or_default().1 = MicroUsd::new(number_in(item, name)?);
        }
    }
    Ok(Sums {
        period: Period {
            date: text_of(item, "day")?.to_owned(),
            input_tokens: number_in(item, "prompt_tokens")?,
            cached_input_tokens: number_in(item, "cached_tokens")?,
            output_tokens: number_in(item, "completion_tokens")?,
            cost: MicroUsd::new(number_in(item, "cost")?),
            requests: number_in(item, "requests")?,
            cache_hits: number_in(item, "cache_hits")?,
        },
        saved_tokens: number_in(item, "saved_tokens")?,
        models,
    })
}

/// A sum; 0 while nothing was added to it.
fn number_in(item: &Item, name: &str) -> Result<u64, TableError> {
    let Some(value) = item.get(name) else {
        return Ok(0);
    };
    let digits = value.as_n().ok();
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or(TableError::Corrupt("a sum"))
}
