//! `CacheTable`: answers that were given, for when the same is asked again.
//!
//! An item is an answer, the note that one is on its way, a candidate, by which an answer is found by what its
//! question means, or the evidence of a namespace. Of these attributes a candidate has `scope`, `entry`,
//! `question`, `vector` and `expires_at`, evidence `scope`, `entry`, `checked`, `wrong` and `expires_at`:
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `scope` | S, hash key | who may be given it: `learner/USER`, or `everybody` |
//! | `entry` | S, range key | an answer's: `NAMESPACE/q/DIGEST`, of what it rests on and of its question. A candidate's: `NAMESPACE/v/VERSION/TIME/DIGEST`, of the vectors' version and of when it was made, Unix ms in 13 digits: what is new comes last. Evidence: `NAMESPACE/e/LANGUAGE` |
//! | `question` | S | its canonical form; a candidate's: as it was asked |
//! | `answer` | S | absent while the first call is under way |
//! | `response_id` | S | what the provider called it |
//! | `prompt_tokens` | N | what the call consumed |
//! | `cached_tokens` | N | likewise |
//! | `completion_tokens` | N | likewise |
//! | `made_at` | N | Unix ms |
//! | `asker` | S | a digest of the learner who asked first |
//! | `hits` | N | how often it was served |
//! | `saved_tokens` | N | by that |
//! | `flight` | S | the turn whose call is under way |
//! | `flight_until` | N | Unix ms: one that has not been heard of by then is dead |
//! | `vector` | B | absent but on a candidate; as the version says |
//! | `checked` | N | evidence: of how many answers that were served for other words it is known whether they were right |
//! | `wrong` | N | how many of them were not |
//! | `expires_at` | N, TTL | Unix s |
//!
//! A key says whose an answer is and what it rests on, so no read can find another's. A candidate is only a hint:
//! what is served is always read from the answer's own item, and strongly consistently, so that what was
//! removed a moment ago is not served anywhere.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::{delete_item::DeleteItemError, update_item::UpdateItemError},
    primitives::Blob,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure, Update},
};
use sparkle_core::{
    cache::entry::{Kept, Namespace, Place, Scope},
    id::UserId,
    unit::{Timestamp, TokenUsage},
};

use super::{
    Item, TableError, belongings::Belongings, client, is_expired, number, number_of, text, text_of,
};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
    damage::Damaged,
};

mod evidence;
mod operator;

pub use evidence::Outcome;
pub use operator::{Answered, Filter};

/// How long a call is believed to be under way unless its worker says so again.
const FLIGHT: Duration = Duration::from_secs(15);
/// How often a worker says so.
pub const FLIGHT_EVERY: Duration = Duration::from_secs(5);
/// What lies further ahead was written by a clock that had jumped.
const JUMP: Duration = Duration::from_mins(30);
/// How long the item of a call stays that came to nothing.
const FLIGHT_LIFE: Duration = Duration::from_hours(1);
/// Most candidates that one query reads: 1 MB of them, more or less.
const CANDIDATES_MAX: i32 = 1_500;

/// Answers that were given.
#[derive(Debug, Clone)]
pub struct Answers {
    dynamo: Client,
    table: String,
}

/// What there is for a question that is about to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Nothing: who claimed it asks the model, and the others wait.
    Flight,
    /// An answer.
    Known(Box<Kept>),
    /// Another turn is asking.
    Taken {
        /// Which one.
        flight: String,
    },
}

/// What a question is waiting for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// An answer is there.
    Known(Box<Kept>),
    /// It is still being asked.
    Taken {
        /// By which turn.
        flight: String,
    },
    /// Nobody asks, or who does is dead.
    Nothing,
}

/// A question whose answer may be found by what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it stands among the others: later ones are greater.
    pub mark: String,
    /// Of its place.
    pub digest: String,
    /// As it was asked.
    pub question: String,
    /// What it means, as the version of the vectors says.
    pub vector: Vec<u8>,
    /// When it ends, Unix s.
    pub expires_at: i64,
}

/// Some candidates of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidates {
    /// Those that can be used, in the order in which they were asked for.
    pub found: Vec<Candidate>,
    /// The mark from which on there may be more; none if these are all.
    pub rest: Option<String>,
}

/// Which candidates.
#[derive(Debug, Clone, Copy)]
pub enum Page<'a> {
    /// Those that came after a mark, in order.
    After(&'a str),
    /// Those before a mark, or all: the newest first.
    Before(Option<&'a str>),
}

/// What an answer is to be found by.
#[derive(Debug, Clone, Copy)]
pub struct Meaning<'a> {
    /// The question as it was asked.
    pub question: &'a str,
    /// Of the vectors.
    pub version: &'a str,
    /// Of the question.
    pub vector: &'a [u8],
}

impl Answers {
    /// Opens the table that `SPARKLE_TABLE_CACHE` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            dynamo: client(aws),
            table: config::required("SPARKLE_TABLE_CACHE")?,
        })
    }

    /// What is kept of a learner's answers. Cost: one query. Answers for everybody are nobody's: nothing of a
    /// learner is in them but a digest.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn belongings(&self, user: &UserId) -> Result<Belongings, TableError> {
        Belongings::of(&self.dynamo, &self.table, &["scope", "entry"])
            .under(&scope_key(&Scope::Learner(user.clone())))
            .await
    }

    /// The answer to a question, if there is one; a damaged one is none. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn find(&self, place: &Place, now: Timestamp) -> Result<Option<Kept>, TableError> {
        match self.wait(place, now).await? {
            Awaited::Known(kept) => Ok(Some(*kept)),
            Awaited::Taken { .. } | Awaited::Nothing => Ok(None),
        }
    }

    /// How it stands with a question. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn wait(&self, place: &Place, now: Timestamp) -> Result<Awaited, TableError> {
        let get = self
            .dynamo
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(place)))
            .consistent_read(true);
        let Some(item) = get.send().await?.item else {
            return Ok(Awaited::Nothing);
        };
        // Damaged: it is as if there were none.
        if let Ok(Some(kept)) = kept_of(&item, place, now) {
            return Ok(Awaited::Known(Box::new(kept)));
        }
        Ok(match flight_of(&item, now) {
            Some(flight) => Awaited::Taken { flight },
            None => Awaited::Nothing,
        })
    }

    /// Answers a question, or has the turn `flight` ask the model for all that ask the same meanwhile. The same
    /// turn may claim it again. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn claim(
        &self,
        place: &Place,
        flight: &str,
        now: Timestamp,
    ) -> Result<Claimed, TableError> {
        let claim = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(place)))
            .update_expression(
                "SET flight = :flight, flight_until = :until, expires_at = :later REMOVE answer, hits, saved_tokens",
            )
            .condition_expression(format!(
                "(attribute_not_exists(answer) OR expires_at <= :now_s) AND ({FREE} OR flight = :flight)"
            ))
            .expression_attribute_values(":flight", text(flight))
            .expression_attribute_values(":until", number(now.after(FLIGHT).unix_ms()))
            .expression_attribute_values(":later", number(now.after(FLIGHT_LIFE).unix_seconds()))
            .expression_attribute_values(":now", number(now.unix_ms()))
            .expression_attribute_values(":now_s", number(now.unix_seconds()))
            .expression_attribute_values(":absurd", number(now.after(JUMP).unix_ms()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = claim.send().await else {
            return Ok(Claimed::Flight);
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
            error.as_service_error()
        else {
            return Err(error.into());
        };
        let item = failed.item().cloned().unwrap_or_default();
        if let Some(kept) = kept_of(&item, place, now)? {
            return Ok(Claimed::Known(Box::new(kept)));
        }
        // Not free and not alive: whoever waited for it would wait for nothing, again and again.
        let Some(flight) = flight_of(&item, now) else {
            Damaged::Answer.count(1, now);
            return Err(TableError::Corrupt("flight"));
        };
        Ok(Claimed::Taken { flight })
    }

    /// Says that a call is still under way; whether it is the one that the others wait for. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn renew(
        &self,
        place: &Place,
        flight: &str,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let renew = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(place)))
            .update_expression("SET flight_until = :until")
            .condition_expression("flight = :flight")
            .expression_attribute_values(":flight", text(flight))
            .expression_attribute_values(":until", number(now.after(FLIGHT).unix_ms()));
        done(renew.send().await)
    }

    /// Lets the others ask for themselves: the call came to nothing that they could be given. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn release(&self, place: &Place, flight: &str) -> Result<(), TableError> {
        let delete = self
            .dynamo
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(place)))
            .condition_expression("flight = :flight")
            .expression_attribute_values(":flight", text(flight));
        unless_other(delete.send().await)
    }

    /// Keeps the answer that a call has brought, until `until`, and where it is to be found by its meaning;
    /// whether it was still its to keep. Cost: one write, two with a meaning.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn keep(
        &self,
        place: &Place,
        flight: &str,
        kept: &Kept,
        meaning: Option<Meaning<'_>>,
        until: Timestamp,
    ) -> Result<bool, TableError> {
        let keep = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(place)))
            .update_expression(
                "SET question = :question, answer = :answer, response_id = :response_id, \
                 prompt_tokens = :prompt, cached_tokens = :cached, completion_tokens = :completion, \
                 made_at = :made_at, asker = :asker, hits = :zero, saved_tokens = :zero, expires_at = :until \
                 REMOVE flight, flight_until",
            )
            .condition_expression("flight = :flight")
            .expression_attribute_values(":flight", text(flight))
            .expression_attribute_values(":question", text(&kept.question))
            .expression_attribute_values(":answer", text(&kept.text))
            .expression_attribute_values(":response_id", text(&kept.response_id))
            .expression_attribute_values(":prompt", number(kept.tokens.prompt_tokens))
            .expression_attribute_values(":cached", number(kept.tokens.cached_tokens))
            .expression_attribute_values(":completion", number(kept.tokens.completion_tokens))
            .expression_attribute_values(":made_at", number(kept.made_at.unix_ms()))
            .expression_attribute_values(":asker", text(&kept.asker))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":until", number(until.unix_seconds()));
        if !done(keep.send().await)? {
            return Ok(false);
        }
        if let Some(meaning) = meaning {
            let mark = mark(
                &place.namespace,
                meaning.version,
                kept.made_at,
                &place.digest,
            );
            self.dynamo
                .put_item()
                .table_name(&self.table)
                .item("scope", text(&scope_key(&place.scope)))
                .item("entry", text(&mark))
                .item("question", text(meaning.question))
                .item("vector", AttributeValue::B(Blob::new(meaning.vector)))
                .item("expires_at", number(until.unix_seconds()))
                .send()
                .await?;
        }
        Ok(true)
    }

    /// The write that counts a hit, which is part of the transaction that writes the call into the ledger. It fails if
    /// the answer was removed meanwhile.
    pub(super) fn serving(&self, place: &Place, saved_tokens: u32) -> Result<Update, BuildError> {
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(place)))
            .update_expression("SET hits = hits + :one, saved_tokens = saved_tokens + :saved")
            .condition_expression("attribute_exists(answer)")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":saved", number(saved_tokens))
            .build()
    }

    /// Candidates of a namespace, at most about 1,500; expired ones are left out, and damaged ones are counted. Cost:
    /// one query, which may be behind by a moment.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn candidates(
        &self,
        scope: &Scope,
        namespace: &Namespace,
        version: &str,
        page: Page<'_>,
        now: Timestamp,
    ) -> Result<Candidates, TableError> {
        let prefix = format!("{}/v/{version}/", namespace.as_str());
        // Digits and digests: every one of them is less than a tilde.
        let end = format!("{prefix}~");
        let (first, last) = match page {
            Page::After(mark) => (mark, &*end),
            Page::Before(mark) => (&*prefix, mark.unwrap_or(&end)),
        };
        let query = self
            .dynamo
            .query()
            .table_name(&self.table)
            .key_condition_expression("#scope = :scope AND entry BETWEEN :first AND :last")
            .expression_attribute_names("#scope", "scope")
            .expression_attribute_values(":scope", text(&scope_key(scope)))
            .expression_attribute_values(":first", text(first))
            .expression_attribute_values(":last", text(last))
            .scan_index_forward(matches!(page, Page::After(_)))
            .limit(CANDIDATES_MAX);
        let answer = query.send().await?;
        let is_new = |item: &Item| {
            let mark = text_of(item, "entry");
            mark.is_ok_and(|mark| mark != first && mark != last)
        };
        let mut items = answer.items.unwrap_or_default();
        items.retain(|item| !is_expired(item, now.unix_seconds()) && is_new(item));
        let found: Vec<Candidate> = items.iter().filter_map(candidate).collect();
        Damaged::Candidate.count(items.len() - found.len(), now);
        let rest = answer.last_evaluated_key;
        let rest = rest.and_then(|key| Some(text_of(&key, "entry").ok()?.to_owned()));
        Ok(Candidates { found, rest })
    }

    /// Removes the answer that the provider called so, if it is still the one that is kept there, or the note that
    /// it is on its way: then whose call it is cannot keep it any more. It is not served again, and its candidates lead
    /// nowhere. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn reject(&self, place: &Place, response_id: &str) -> Result<(), TableError> {
        let delete = self
            .dynamo
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(place)))
            .condition_expression("attribute_not_exists(answer) OR response_id = :response_id")
            .expression_attribute_values(":response_id", text(response_id));
        unless_other(delete.send().await)
    }

    /// Removes a candidate that leads nowhere, or is one too many. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn remove_candidate(&self, scope: &Scope, mark: &str) -> Result<(), TableError> {
        let delete = self
            .dynamo
            .delete_item()
            .table_name(&self.table)
            .key("scope", text(&scope_key(scope)))
            .key("entry", text(mark));
        delete.send().await?;
        Ok(())
    }
}

/// No turn is asking that is alive.
const FREE: &str =
    "attribute_not_exists(flight_until) OR flight_until <= :now OR flight_until > :absurd";

fn done<T>(
    answer: Result<T, aws_sdk_dynamodb::error::SdkError<UpdateItemError>>,
) -> Result<bool, TableError> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
            _ => Err(error.into()),
        },
    }
}

/// What was to be deleted is not what is there: that is left alone.
fn unless_other<T>(
    answer: Result<T, aws_sdk_dynamodb::error::SdkError<DeleteItemError>>,
) -> Result<(), TableError> {
    match answer {
        Ok(_) => Ok(()),
        Err(error) => match error.as_service_error() {
            Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(()),
            _ => Err(error.into()),
        },
    }
}

fn scope_key(scope: &Scope) -> String {
    match scope {
        Scope::Learner(user) => format!("learner/{user}"),
        Scope::Everybody => "everybody".to_owned(),
    }
}

fn key(place: &Place) -> HashMap<String, AttributeValue> {
    let entry = format!("{}/q/{}", place.namespace.as_str(), place.digest);
    HashMap::from([
        ("scope".to_owned(), text(&scope_key(&place.scope))),
        ("entry".to_owned(), text(&entry)),
    ])
}

fn mark(namespace: &Namespace, version: &str, made_at: Timestamp, digest: &str) -> String {
    let (namespace, made_ms) = (namespace.as_str(), made_at.unix_ms());
    format!("{namespace}/v/{version}/{made_ms:013}/{digest}")
}

/// The answer of an item; none where it has none that may be served. A damaged one is counted.
fn kept_of(item: &Item, place: &Place, now: Timestamp) -> Result<Option<Kept>, TableError> {
    if is_expired(item, now.unix_seconds()) || !item.contains_key("answer") {
        return Ok(None);
    }
    let kept = sound(item, place);
    if kept.is_err() {
        Damaged::Answer.count(1, now);
    }
    kept.map(Some)
}

/// An answer that ends, counts its hits, says something, and says it to the question that it is kept for.
fn sound(item: &Item, place: &Place) -> Result<Kept, TableError> {
    for number in ["expires_at", "hits", "saved_tokens"] {
        number_of::<u64>(item, number)?;
    }
    let kept = Kept {
        question: text_of(item, "question")?.to_owned(),
        text: text_of(item, "answer")?.to_owned(),
        response_id: text_of(item, "response_id")?.to_owned(),
        tokens: TokenUsage {
            prompt_tokens: number_of(item, "prompt_tokens")?,
            cached_tokens: number_of(item, "cached_tokens")?,
            completion_tokens: number_of(item, "completion_tokens")?,
        },
        made_at: Timestamp::from_unix_ms(number_of(item, "made_at")?),
        asker: text_of(item, "asker")?.to_owned(),
    };
    if !kept.is_of(place) {
        return Err(TableError::Corrupt("question"));
    }
    if kept.text.is_empty() {
        return Err(TableError::Corrupt("answer"));
    }
    Ok(kept)
}

/// The turn that is asking, if it is alive.
fn flight_of(item: &Item, now: Timestamp) -> Option<String> {
    let until: i64 = number_of(item, "flight_until").ok()?;
    let is_alive = until > now.unix_ms() && until <= now.after(JUMP).unix_ms();
    let flight = text_of(item, "flight").ok()?;
    is_alive.then(|| flight.to_owned())
}

fn candidate(item: &Item) -> Option<Candidate> {
    let mark = text_of(item, "entry").ok()?;
    let (_, digest) = mark.rsplit_once('/')?;
    Some(Candidate {
        mark: mark.to_owned(),
        digest: digest.to_owned(),
        question: text_of(item, "question").ok()?.to_owned(),
        vector: item.get("vector")?.as_b().ok()?.clone().into_inner(),
        expires_at: number_of(item, "expires_at").ok()?,
    })
}
