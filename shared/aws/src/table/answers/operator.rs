//! What operators see of the answers, and take out.

use aws_sdk_dynamodb::types::AttributeValue;
use sparkle_core::{cache::entry::Scope, id::UserId, unit::Timestamp};

use super::{Answers, scope_key};
use crate::table::{Item, TableError, is_expired, number_of, text, text_of};

/// Which answers are meant: those of which all is true that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this learner alone.
    pub user: Option<UserId>,
    /// In whose question this stands, whatever the case of its letters.
    pub topic: Option<String>,
    /// Given before this moment.
    pub before: Option<Timestamp>,
    /// Given then or later.
    pub since: Option<Timestamp>,
}

/// An answer as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Whose it is: `everybody`, or `learner/USER`.
    pub owner: String,
    /// The question's canonical form.
    pub question: String,
    /// When it was given.
    pub made_at: Timestamp,
    /// How often it was served.
    pub hits: u64,
    /// Tokens that were not paid for again.
    pub saved_tokens: u64,
}

/// What an item of the table is.
enum Kind {
    Answer(Answered),
    /// By which an answer is found: its question, and when it was given.
    Candidate(String, Timestamp),
    /// That an answer is on its way, to a question that is not known here.
    Note,
}

impl Answers {
    /// The answers that are meant and are still served; `each` gets one after the other. Cost: a query for one
    /// learner's, else a scan of the table.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn list(
        &self,
        filter: &Filter,
        now: Timestamp,
        mut each: impl FnMut(Answered),
    ) -> Result<(), TableError> {
        let take = |item: Item| {
            if is_expired(&item, now.unix_seconds()) {
                return;
            }
            if let Some(Kind::Answer(answered)) = kind(&item)
                && filter.takes(&answered.question, answered.made_at)
            {
                each(answered);
            }
        };
        self.walk(filter, take).await
    }

    /// Removes the answers that are meant and what leads to them; how many answers it were. Where nothing but a
    /// learner is said, or nothing at all, answers that are on their way are not kept either. Cost: as
    /// [`Self::list`], and a write for each item.
    ///
    /// # Errors
    /// [`TableError`]: some may be removed.
    pub async fn clear(&self, filter: &Filter) -> Result<u64, TableError> {
        let mut meant = Vec::new();
        let take = |item: Item| {
            let (is_meant, answers) = match kind(&item) {
                Some(Kind::Answer(answered)) => {
                    (filter.takes(&answered.question, answered.made_at), 1)
                }
                Some(Kind::Candidate(question, made_at)) => (filter.takes(&question, made_at), 0),
                Some(Kind::Note) | None => (filter.takes_all(), 0),
            };
            if is_meant
                && let (Ok(scope), Ok(entry)) = (text_of(&item, "scope"), text_of(&item, "entry"))
            {
                meant.push((scope.to_owned(), entry.to_owned(), answers));
            }
        };
        self.walk(filter, take).await?;
        let mut removed = 0;
        for (scope, entry, answers) in meant {
            let delete = self
                .dynamo
                .delete_item()
                .table_name(&self.table)
                .key("scope", AttributeValue::S(scope))
                .key("entry", AttributeValue::S(entry));
            delete.send().await?;
            removed += answers;
        }
        Ok(removed)
    }

    /// Every item of the learner who is meant, or of all.
    async fn walk(&self, filter: &Filter, mut each: impl FnMut(Item)) -> Result<(), TableError> {
        if let Some(user) = &filter.user {
            let scope = scope_key(&Scope::Learner(user.clone()));
            let query = self
                .dynamo
                .query()
                .table_name(&self.table)
                .key_condition_expression("#scope = :scope")
                .expression_attribute_names("#scope", "scope")
                .expression_attribute_values(":scope", text(&scope))
                .consistent_read(true);
            let mut items = query.into_paginator().items().send();
            while let Some(item) = items.try_next().await? {
                each(item);
            }
            return Ok(());
        }
        let scan = self.dynamo.scan().table_name(&self.table);
        let mut items = scan.consistent_read(true).into_paginator().items().send();
        while let Some(item) = items.try_next().await? {
            each(item);
        }
        Ok(())
    }
}

impl Filter {
    /// Whether nothing is said of questions and of when they were answered.
    fn takes_all(&self) -> bool {
        self.topic.is_none() && self.before.is_none() && self.since.is_none()
    }

    fn takes(&self, question: &str, made_at: Timestamp) -> bool {
        let is_of_topic = self.topic.as_ref().is_none_or(|topic| {
            let question = question.to_lowercase();
            question.contains(&topic.to_lowercase())
        });
        is_of_topic
            && self.before.is_none_or(|before| made_at < before)
            && self.since.is_none_or(|since| since <= made_at)
    }
}

/// None of what is damaged.
fn kind(item: &Item) -> Option<Kind> {
    if item.contains_key("vector") {
        let question = text_of(item, "question").ok()?.to_owned();
        let (_, time) = text_of(item, "entry").ok()?.split_once("/v/")?;
        let time = time.rsplit('/').nth(1)?.parse().ok()?;
        return Some(Kind::Candidate(question, Timestamp::from_unix_ms(time)));
    }
    if !item.contains_key("answer") {
        return Some(Kind::Note);
    }
    Some(Kind::Answer(Answered {
        owner: text_of(item, "scope").ok()?.to_owned(),
        question: text_of(item, "question").ok()?.to_owned(),
        made_at: Timestamp::from_unix_ms(number_of(item, "made_at").ok()?),
        hits: number_of(item, "hits").ok()?,
        saved_tokens: number_of(item, "saved_tokens").ok()?,
    }))
}
