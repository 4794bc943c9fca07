//! What is known of answers that were served for other words.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{AttributeValue, Update},
};
use sparkle_core::{
    cache::{
        entry::{Namespace, Place, Scope},
        evidence::Evidence,
    },
    notice::Language,
    unit::Timestamp,
};

use super::{Answers, scope_key};
use crate::{
    damage::Damaged,
    table::{Item, TableError, is_expired, number, number_of, text},
};

/// How long evidence counts after it last grew.
const EVIDENCE_LIFE: Duration = Duration::from_hours(90 * 24);

/// What became of an answer that was served for other words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was right.
    Right,
    /// It was not.
    Wrong,
}

impl Answers {
    /// What is known of answers of a namespace that were served for other words, in a language. Cost: one
    /// strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`]; damaged evidence is counted.
    pub async fn evidence(
        &self,
        scope: &Scope,
        namespace: &Namespace,
        language: Language,
        now: Timestamp,
    ) -> Result<Evidence, TableError> {
        let get = self
            .dynamo
            .get_item()
            .table_name(&self.table)
            .set_key(Some(evidence_key(scope, namespace, language)))
            .consistent_read(true);
        let item = get.send().await?.item;
        let Some(item) = item.filter(|item| !is_expired(item, now.unix_seconds())) else {
            return Ok(Evidence::default());
        };
        evidence_of(&item).inspect_err(|_damaged| Damaged::Evidence.count(1, now))
    }

    /// The write that counts what became of an answer that was served for other words, of which something else may
    /// have been known before.
    pub(in crate::table) fn noting(
        &self,
        place: &Place,
        language: Language,
        (before, outcome): (Option<Outcome>, Outcome),
        now: Timestamp,
    ) -> Result<Update, BuildError> {
        let is_wrong = |outcome| i32::from(outcome == Outcome::Wrong);
        let more_wrong = is_wrong(outcome) - before.map_or(0, is_wrong);
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(evidence_key(&place.scope, &place.namespace, language)))
            .update_expression(
                "SET checked = if_not_exists(checked, :zero) + :checked, \
                 wrong = if_not_exists(wrong, :zero) + :wrong, expires_at = :until",
            )
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":checked", number(i32::from(before.is_none())))
            .expression_attribute_values(":wrong", number(more_wrong))
            .expression_attribute_values(":until", number(now.after(EVIDENCE_LIFE).unix_seconds()))
            .build()
    }
}

fn evidence_of(item: &Item) -> Result<Evidence, TableError> {
    let count = |name| -> Result<u64, TableError> {
        // Below 0 where a word is taken back that was counted before the evidence was removed.
        Ok(u64::try_from(number_of::<i64>(item, name)?).unwrap_or(0))
    };
    Ok(Evidence {
        checked: count("checked")?,
        wrong: count("wrong")?,
    })
}

fn evidence_key(
    scope: &Scope,
    namespace: &Namespace,
    language: Language,
) -> HashMap<String, AttributeValue> {
    let entry = format!("{}/e/{}", namespace.as_str(), language.as_str());
    HashMap::from([
        ("scope".to_owned(), text(&scope_key(scope))),
        ("entry".to_owned(), text(&entry)),
    ])
}
