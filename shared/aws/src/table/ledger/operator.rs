//! What operators read of the ledger, and how it loses a learner's identity.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{Delete, Put, TransactWriteItem},
};
use sparkle_core::{
    id::{self, CallId, RequestId, SessionId, TraceId, UserId},
    ledger::{Call, Purpose},
    unit::{MicroUsd, Timestamp, TokenUsage},
};

use super::Ledger;
use crate::table::{
    Item, TableError,
    belongings::{Belongings, Json},
    number, number_of, text, text_of,
};

/// Characters of a digest that name a line whose call must not be known.
const NAME_CHARS: usize = 32;

impl Ledger {
    /// Hands over every line that was settled since a moment, of one learner or of all. Cost: a query by the
    /// index `by_settled_at`; for all learners a scan of the ledger.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn lines(
        &self,
        user: Option<&UserId>,
        since: Timestamp,
        mut line: impl FnMut(&Call),
    ) -> Result<(), TableError> {
        let since = number(since.unix_ms());
        if let Some(user) = user {
            let query = self
                .dynamo
                .query()
                .table_name(&self.lines)
                .index_name("by_settled_at")
                .key_condition_expression("user_id = :user AND settled_at >= :since")
                .expression_attribute_values(":user", text(user))
                .expression_attribute_values(":since", since)
                .consistent_read(true);
            let mut found = query.into_paginator().items().send();
            while let Some(item) = found.try_next().await? {
                line(&call(&item)?);
            }
            return Ok(());
        }
        let scan = self
            .dynamo
            .scan()
            .table_name(&self.lines)
            .filter_expression("settled_at >= :since")
            .expression_attribute_values(":since", since)
            .consistent_read(true);
        let mut found = scan.into_paginator().items().send();
        while let Some(item) = found.try_next().await? {
            line(&call(&item)?);
        }
        Ok(())
    }

    /// The lines and sums of a learner, to be shown. Cost: two queries.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn shown(&self, user: &UserId) -> Result<[Vec<Json>; 2], TableError> {
        let [lines, sums] = self.of(user).await?;
        Ok([lines.shown(), sums.shown()])
    }

    async fn of(&self, user: &UserId) -> Result<[Belongings; 2], TableError> {
        let lines = Belongings::of(&self.dynamo, &self.lines, &["user_id", "call"]);
        let sums = Belongings::of(&self.dynamo, &self.usage, &["user_id", "day"]);
        Ok([
            lines.under(user.as_str()).await?,
            sums.under(user.as_str()).await?,
        ])
    }

    /// Gives a learner's lines and sums to a pseudonym; how many there were. Money, tokens, model, purpose and
    /// time stay; who, in which conversation, and for which request is gone. Each moves in one transaction, so
    /// it is nowhere twice and nowhere missing; one that changes meanwhile stays, and is found again. Cost: two
    /// queries, and a transaction of 2 items for each.
    ///
    /// # Errors
    /// [`TableError`]; some may have moved.
    pub async fn pseudonymize(
        &self,
        user: &UserId,
        pseudonym: &UserId,
    ) -> Result<usize, TableError> {
        let [lines, sums] = self.of(user).await?;
        for item in lines.items() {
            let moving = self.moving_line(item, pseudonym)?;
            self.transact(moving).await?;
        }
        for item in sums.items() {
            let moving = self.moving_sums(item, pseudonym)?;
            self.transact(moving).await?;
        }
        Ok(lines.count() + sums.count())
    }

    fn moving_line(
        &self,
        item: &Item,
        pseudonym: &UserId,
    ) -> Result<Vec<TransactWriteItem>, TableError> {
        let (user, line) = (text_of(item, "user_id")?, text_of(item, "call")?);
        let (source, _) = line.rsplit_once('/').ok_or(TableError::Corrupt("call"))?;
        // A client may have put its learner's name into the ids that it chose.
        let digest = id::digest(&[pseudonym.as_str(), line]);
        let name = digest.get(..NAME_CHARS).unwrap_or_default();
        let mut moved = item.clone();
        moved.insert("user_id".to_owned(), text(pseudonym));
        moved.insert("call".to_owned(), text(&format!("{source}/{name}")));
        for name in ["session_id", "request_id", "trace_id"] {
            moved.remove(name);
        }
        let delete = Delete::builder()
            .table_name(&self.lines)
            .set_key(Some(HashMap::from([
                ("user_id".to_owned(), text(user)),
                ("call".to_owned(), text(line)),
            ])))
            .condition_expression("attribute_exists(user_id)");
        pair(&self.lines, moved, delete.build())
    }

    fn moving_sums(
        &self,
        item: &Item,
        pseudonym: &UserId,
    ) -> Result<Vec<TransactWriteItem>, TableError> {
        let (user, day) = (text_of(item, "user_id")?, text_of(item, "day")?);
        let delete = Delete::builder()
            .table_name(&self.usage)
            .set_key(Some(HashMap::from([
                ("user_id".to_owned(), text(user)),
                ("day".to_owned(), text(day)),
            ])));
        let Some(requests) = item.get("requests") else {
            // Only what the learner was told.
            return write(delete.build());
        };
        let mut moved = item.clone();
        moved.insert("user_id".to_owned(), text(pseudonym));
        moved.retain(|name, _| !name.starts_with("alerted of "));
        let delete = delete
            // A line that was added since would be lost.
            .condition_expression("requests = :requests")
            .expression_attribute_values(":requests", requests.clone());
        pair(&self.usage, moved, delete.build())
    }

    async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<(), TableError> {
        let transact = self.dynamo.transact_write_items();
        match transact.set_transact_items(Some(writes)).send().await {
            Ok(_) => Ok(()),
            Err(error) => match TableError::from(error) {
                // Another was faster; what it left is found again.
                TableError::Conflict(_) => Ok(()),
                other => Err(other),
            },
        }
    }
}

/// The writes that put an item in another's place.
fn pair(
    table: &str,
    moved: Item,
    delete: Result<Delete, BuildError>,
) -> Result<Vec<TransactWriteItem>, TableError> {
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(moved))
        .condition_expression("attribute_not_exists(user_id)")
        .build()
        .map_err(|_incomplete| TableError::Corrupt("user_id"))?;
    let mut writes = write(delete)?;
    writes.push(TransactWriteItem::builder().put(put).build());
    Ok(writes)
}

fn write(delete: Result<Delete, BuildError>) -> Result<Vec<TransactWriteItem>, TableError> {
    let delete = delete.map_err(|_incomplete| TableError::Corrupt("user_id"))?;
    Ok(vec![TransactWriteItem::builder().delete(delete).build()])
}

/// A line as it was written.
fn call(item: &Item) -> Result<Call, TableError> {
    let line = text_of(item, "call")?;
    let (source, call_id) = line.rsplit_once('/').ok_or(TableError::Corrupt("call"))?;
    let purpose = Purpose::of_word(text_of(item, "purpose")?);
    let estimated = item.get("estimated").and_then(|value| value.as_bool().ok());
    Ok(Call {
        id: CallId::parse(call_id).map_err(|_invalid| TableError::Corrupt("call"))?,
        source: source.to_owned(),
        user_id: UserId::parse(text_of(item, "user_id")?)
            .map_err(|_invalid| TableError::Corrupt("user_id"))?,
        session_id: text_of(item, "session_id")
            .ok()
            .and_then(|id| SessionId::parse(id).ok()),
        request_id: text_of(item, "request_id")
            .ok()
            .and_then(|id| RequestId::parse(id).ok()),
        trace_id: text_of(item, "trace_id")
            .ok()
            .and_then(|id| TraceId::parse(id).ok()),
        model: text_of(item, "model")?.to_owned(),
        purpose: purpose.ok_or(TableError::Corrupt("purpose"))?,
        tokens: TokenUsage {
            prompt_tokens: number_of(item, "prompt_tokens")?,
            cached_tokens: number_of(item, "cached_tokens")?,
            completion_tokens: number_of(item, "completion_tokens")?,
        },
        estimated: estimated.copied().unwrap_or_default(),
        cost: Some(MicroUsd::new(number_of(item, "cost")?)),
        settled_at: Timestamp::from_unix_ms(number_of(item, "settled_at")?),
        saved_tokens: number_of(item, "saved_tokens")?,
    })
}
