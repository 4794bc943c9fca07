//! What a table holds of one learner: how it is found, shown and removed. Which items are a learner's, and what
//! is their key, is said by each table's own module.
//!
//! For operators only: what no key leads to is found by a scan, and nothing is decided by it but what is shown
//! or removed.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, DeleteRequest, WriteRequest},
};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Item, TableError, text};

/// An item as JSON.
pub type Json = serde_json::Value;

/// Most items of one `BatchWriteItem` (its API reference, read 2026-11).
const BATCH_ITEMS_MAX: usize = 25;

/// Items of one table that belong to one learner.
#[derive(Debug)]
pub struct Belongings {
    dynamo: Client,
    table: String,
    /// Names of the attributes that make its key.
    key: &'static [&'static str],
    items: Vec<Item>,
}

impl Belongings {
    /// None so far, of a table with this key.
    pub(super) fn of(dynamo: &Client, table: &str, key: &'static [&'static str]) -> Self {
        Self {
            dynamo: dynamo.clone(),
            table: table.to_owned(),
            key,
            items: Vec::new(),
        }
    }

    /// With all that stand under a hash key. Cost: one strongly consistent query.
    pub(super) async fn under(mut self, hash: &str) -> Result<Self, TableError> {
        let query = self
            .dynamo
            .query()
            .table_name(&self.table)
            .key_condition_expression("#hash = :hash")
            .expression_attribute_names("#hash", self.key.first().copied().unwrap_or_default())
            .expression_attribute_values(":hash", text(hash))
            .consistent_read(true);
        let mut found = query.into_paginator().items().send();
        while let Some(item) = found.try_next().await? {
            self.items.push(item);
        }
        Ok(self)
    }

    /// With all of the table that are owned. Cost: a strongly consistent scan.
    pub(super) async fn among_all(
        mut self,
        is_owned: impl Fn(&Item) -> bool,
    ) -> Result<Self, TableError> {
        let scan = self.dynamo.scan().table_name(&self.table);
        let mut found = scan.consistent_read(true).into_paginator().items().send();
        while let Some(item) = found.try_next().await? {
            if is_owned(&item) {
                self.items.push(item);
            }
        }
        Ok(self)
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// As JSON; bytes in base64.
    pub fn shown(&self) -> Vec<Json> {
        self.items.iter().map(shown).collect()
    }

    /// Removes them. What the table does not get to stays, and is found again. Cost: one call for each 25.
    ///
    /// # Errors
    /// [`TableError`]; some may be removed.
    pub async fn remove(&self) -> Result<(), TableError> {
        for batch in self.items.chunks(BATCH_ITEMS_MAX) {
            let deletions = batch.iter().map(|item| self.deletion(item));
            let deletions = deletions.collect::<Result<Vec<_>, _>>()?;
            self.dynamo
                .batch_write_item()
                .request_items(&self.table, deletions)
                .send()
                .await?;
        }
        Ok(())
    }

    fn deletion(&self, item: &Item) -> Result<WriteRequest, TableError> {
        let mut key = HashMap::new();
        for &name in self.key {
            let value = item.get(name).ok_or(TableError::Corrupt(name))?;
            key.insert(name.to_owned(), value.clone());
        }
        let delete = DeleteRequest::builder().set_key(Some(key)).build();
        let delete = delete.map_err(|_incomplete| TableError::Corrupt("a key"))?;
        Ok(WriteRequest::builder().delete_request(delete).build())
    }
}

/// An item as JSON, its numbers exact.
pub(super) fn shown(item: &Item) -> Json {
    let member = |(name, value): (&String, &AttributeValue)| (name.clone(), value_of(value));
    item.iter().map(member).collect()
}

fn value_of(value: &AttributeValue) -> Json {
    let bytes = |bytes: &[u8]| Json::from(BASE64_STANDARD.encode(bytes));
    match value {
        AttributeValue::S(text) => text.as_str().into(),
        AttributeValue::N(digits) => number_of(digits),
        AttributeValue::B(blob) => bytes(blob.as_ref()),
        AttributeValue::Bool(truth) => (*truth).into(),
        AttributeValue::M(members) => shown(members),
        AttributeValue::L(values) => values.iter().map(value_of).collect(),
        AttributeValue::Ss(texts) => texts.iter().map(String::as_str).collect(),
        AttributeValue::Ns(numbers) => numbers.iter().map(|digits| number_of(digits)).collect(),
        AttributeValue::Bs(blobs) => blobs.iter().map(|blob| bytes(blob.as_ref())).collect(),
        _ => Json::Null,
    }
}

/// A number that JSON's readers may round stays text.
fn number_of(digits: &str) -> Json {
    let whole = digits.parse::<i64>().map(Json::from);
    whole.unwrap_or_else(|_other| digits.into())
}
