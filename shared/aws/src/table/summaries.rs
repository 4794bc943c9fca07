//! `SummariesTable`: what is remembered of long conversations, one item a conversation.
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `conversation` | S, key | `user_id/session_id` |
//! | `text` | S | the summary; absent until there is one |
//! | `covers` | N | position of the newest message that it covers |
//! | `tokens` | N | its length |
//! | `fresh_until` | N | Unix ms, an hour after it was written: then it stands for the conversation no longer, but the next one is still made of it |
//! | `job` | S | the order in flight, if there is one |
//! | `job_until` | N | Unix ms: an order that nobody has worked on by then is forgotten, and another may be given |
//! | `runner` | S | the invocation that works on it, if one does |
//! | `runner_until` | N | Unix ms: one that has not been heard of by then is dead |
//! | `runs` | N | how often somebody began to work on an order |
//! | `failures` | N | orders in a row that came to nothing; absent: none |
//! | `expires_at` | N, TTL | Unix s: 30 days after it was last written to |
//!
//! An order is given, and worked on, by one conditional write each, so that one is in flight for a
//! conversation, and one invocation at work on it. A summary is kept only by whoever works on the order, over
//! the one that it was made of. So whoever deletes the item ends all that was going on, and a conversation
//! that was deleted does not come back by its summary.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    operation::{
        delete_item::DeleteItemError,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{ConditionCheck, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use sparkle_core::{
    id::{RequestId, SessionId, UserId},
    summary::{Summary, SummaryJob},
    unit::Timestamp,
};

use super::{
    Item, Right, TableError, belongings::Belongings, client, conversations::conversation,
    is_expired, number, number_of, text, text_of,
};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
};

/// How long a summary stands for its conversation (R-CTX-3).
const FRESH_FOR: Duration = Duration::from_hours(1);
/// How long it is kept to make the next one of.
const LIFE: Duration = Duration::from_hours(30 * 24);
/// How long an order is waited for that nobody works on.
const ORDERED_FOR: Duration = Duration::from_mins(2);
/// How long an invocation is believed to be at work unless it says so again.
pub const RUNS_FOR: Duration = Duration::from_secs(15);

/// What a run's write rests on.
const OWN: &str = "job = :job AND runner = :runner";

/// What is remembered of long conversations.
#[derive(Debug, Clone)]
pub struct Summaries {
    dynamo: Client,
    table: String,
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordered {
    /// It is the one in flight now.
    New,
    /// Another one is, a newer summary is there, or the conversation is left alone for a while after failures.
    Unneeded,
}

/// Whether an order may be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It may, by this run.
    Run(Box<Run>),
    /// Another invocation works on it.
    Busy,
    /// Another order is in flight.
    Superseded,
}

/// The right to work on an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    conversation: String,
    job: RequestId,
    runner: String,
    /// Its number, another for every run in a conversation.
    pub number: u32,
    /// Orders in a row that came to nothing.
    pub failures: u32,
    /// The summary that there is, fresh or not.
    pub so_far: Option<Summary>,
}

impl Run {
    /// The invocation that works.
    pub fn runner(&self) -> &str {
        &self.runner
    }
}

/// Whether a run still had the right to what it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It had.
    Kept,
    /// The conversation was deleted, or another works on the order.
    Lost,
}

impl Summaries {
    /// Opens the table that `SPARKLE_TABLE_SUMMARIES` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            dynamo: client(aws),
            table: config::required("SPARKLE_TABLE_SUMMARIES")?,
        })
    }

    /// The summary that may stand for the older part of a conversation of `length` messages, if there is
    /// one. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn usable(
        &self,
        user: &UserId,
        session: &SessionId,
        length: u64,
        now: Timestamp,
    ) -> Result<Option<Summary>, TableError> {
        let get = self
            .dynamo
            .get_item()
            .table_name(&self.table)
            .key("conversation", text(&conversation(user, session)))
            .consistent_read(true);
        let item = get.send().await?.item.unwrap_or_default();
        let summary = summary(&item, now)?;
        Ok(summary.filter(|summary| summary.is_usable(length, now)))
    }

    /// Gives an order, unless one is in flight or a summary has come that covers more than the `covered`
    /// messages its giver knew of. Giving it again changes nothing. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn order(
        &self,
        job: &SummaryJob,
        covered: u64,
        now: Timestamp,
    ) -> Result<Ordered, TableError> {
        let update = self
            .update(&conversation(&job.user_id, &job.session_id))
            .update_expression(
                "SET job = :job, job_until = :until, expires_at = :expires \
                 REMOVE runner, runner_until",
            )
            .condition_expression(
                "(attribute_not_exists(job) OR job_until <= :now OR \
                 (job = :job AND attribute_not_exists(runner))) AND \
                 (attribute_not_exists(covers) OR covers <= :covered OR fresh_until <= :now)",
            )
            .expression_attribute_values(":job", text(&job.id))
            .expression_attribute_values(":covered", number(covered))
            .expression_attribute_values(":until", number(now.after(ORDERED_FOR).unix_ms()))
            .expression_attribute_values(":expires", number(expiry(now)))
            .expression_attribute_values(":now", number(now.unix_ms()));
        Ok(match written(update).await? {
            Written::Kept => Ordered::New,
            Written::Lost => Ordered::Unneeded,
        })
    }

    /// Begins to work on an order, which need not have been given here: an outside producer's is taken up
    /// where none is in flight. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn claim(
        &self,
        job: &SummaryJob,
        runner: &str,
        now: Timestamp,
    ) -> Result<Claimed, TableError> {
        let conversation = conversation(&job.user_id, &job.session_id);
        let is_nobodys = "attribute_not_exists(runner) OR runner = :runner OR runner_until <= :now";
        let update = self
            .update(&conversation)
            .update_expression(
                "SET job = :job, job_until = :until, runner = :runner, runner_until = :alive, \
                 runs = if_not_exists(runs, :none) + :one, expires_at = :expires",
            )
            .condition_expression(format!(
                "attribute_not_exists(job) OR job_until <= :now OR (job = :job AND ({is_nobodys}))"
            ))
            .expression_attribute_values(":job", text(&job.id))
            .expression_attribute_values(":until", number(now.after(ORDERED_FOR).unix_ms()))
            .expression_attribute_values(":runner", text(runner))
            .expression_attribute_values(":alive", number(now.after(RUNS_FOR).unix_ms()))
            .expression_attribute_values(":none", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":expires", number(expiry(now)))
            .expression_attribute_values(":now", number(now.unix_ms()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let item = match update.send().await {
            Ok(answer) => answer.attributes.unwrap_or_default(),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    let item = failed.item.clone().unwrap_or_default();
                    let is_same = text_of(&item, "job").is_ok_and(|given| given == job.id.as_str());
                    return Ok(if is_same {
                        Claimed::Busy
                    } else {
                        Claimed::Superseded
                    });
                }
                _ => return Err(error.into()),
            },
        };
        Ok(Claimed::Run(Box::new(Run {
            conversation,
            job: job.id.clone(),
            runner: runner.to_owned(),
            number: number_of(&item, "runs")?,
            failures: number_of(&item, "failures").unwrap_or(0),
            so_far: summary(&item, now)?,
        })))
    }

    /// The right to work on an order, as long as nobody else does.
    ///
    /// # Errors
    /// [`TableError::Corrupt`], never in fact.
    pub fn right(&self, run: &Run) -> Result<Right, TableError> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .key("conversation", text(&run.conversation))
            .condition_expression(OWN)
            .expression_attribute_values(":job", text(&run.job))
            .expression_attribute_values(":runner", text(&run.runner))
            .build();
        check
            .map(Right)
            .map_err(|_incomplete| TableError::Corrupt("runner"))
    }

    /// Says that a run is still at work. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn renew(&self, run: &Run, now: Timestamp) -> Result<Written, TableError> {
        let update = self
            .update_by(run, "SET job_until = :until, runner_until = :alive")
            .expression_attribute_values(":until", number(now.after(ORDERED_FOR).unix_ms()))
            .expression_attribute_values(":alive", number(now.after(RUNS_FOR).unix_ms()));
        written(update).await
    }

    /// Keeps a summary for an hour, and ends the order; only over the one that the run had read. Cost: one
    /// write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn keep(
        &self,
        run: &Run,
        new: (&str, u64, u32),
        now: Timestamp,
    ) -> Result<Written, TableError> {
        let (said, covers, tokens) = new;
        let update = self
            .update_by(
                run,
                "SET #text = :text, covers = :covers, tokens = :tokens, fresh_until = :fresh, \
                 expires_at = :expires REMOVE job, job_until, runner, runner_until, failures",
            )
            .expression_attribute_names("#text", "text")
            .expression_attribute_values(":text", text(said))
            .expression_attribute_values(":covers", number(covers))
            .expression_attribute_values(":tokens", number(tokens))
            .expression_attribute_values(":fresh", number(now.after(FRESH_FOR).unix_ms()))
            .expression_attribute_values(":expires", number(expiry(now)));
        let read = "job = :job AND runner = :runner AND";
        let update = match &run.so_far {
            Some(read_before) => update
                .condition_expression(format!("{read} covers = :read"))
                .expression_attribute_values(":read", number(read_before.covers)),
            None => update.condition_expression(format!("{read} attribute_not_exists(covers)")),
        };
        written(update).await
    }

    /// Leaves an order to the next delivery of its message. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn put_back(&self, run: &Run) -> Result<Written, TableError> {
        written(self.update_by(run, "REMOVE runner, runner_until")).await
    }

    /// Gives an order up, and has none given until a moment. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn give_up(&self, run: &Run, until: Timestamp) -> Result<Written, TableError> {
        let update = self
            .update_by(
                run,
                "SET failures = :failures, job_until = :until REMOVE runner, runner_until",
            )
            .expression_attribute_values(":failures", number(run.failures.saturating_add(1)))
            .expression_attribute_values(":until", number(until.unix_ms()));
        written(update).await
    }

    /// Ends an order of which there was nothing to make. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn leave(&self, run: &Run) -> Result<Written, TableError> {
        let expression = "REMOVE job, job_until, runner, runner_until";
        written(self.update_by(run, expression)).await
    }

    /// Deletes what is remembered of a conversation that is not there any more, if nobody but this run is at
    /// it. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn drop_by(&self, run: &Run) -> Result<Written, TableError> {
        let delete = self
            .dynamo
            .delete_item()
            .table_name(&self.table)
            .key("conversation", text(&run.conversation))
            .condition_expression(OWN)
            .expression_attribute_values(":job", text(&run.job))
            .expression_attribute_values(":runner", text(&run.runner));
        match delete.send().await {
            Ok(_) => Ok(Written::Kept),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(Written::Lost),
                _ => Err(error.into()),
            },
        }
    }

    /// Deletes what is remembered of a conversation; whoever is at work on it writes nothing any more.
    /// Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn forget(&self, user: &UserId, session: &SessionId) -> Result<(), TableError> {
        let delete = self
            .dynamo
            .delete_item()
            .table_name(&self.table)
            .key("conversation", text(&conversation(user, session)));
        delete.send().await?;
        Ok(())
    }

    /// What is remembered of a learner's conversations. Cost: a scan, since a summary may outlast its
    /// conversation.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn belongings(&self, user: &UserId) -> Result<Belongings, TableError> {
        let is_owned = |item: &Item| {
            let conversation = text_of(item, "conversation").unwrap_or_default();
            let owner = conversation.rsplit_once('/').map(|(owner, _)| owner);
            owner == Some(user.as_str())
        };
        Belongings::of(&self.dynamo, &self.table, &["conversation"])
            .among_all(is_owned)
            .await
    }

    fn update(&self, conversation: &str) -> UpdateItemFluentBuilder {
        self.dynamo
            .update_item()
            .table_name(&self.table)
            .key("conversation", text(conversation))
    }

    /// A write of a run, which must still have the right to it.
    fn update_by(&self, run: &Run, expression: &str) -> UpdateItemFluentBuilder {
        self.update(&run.conversation)
            .update_expression(expression)
            .condition_expression(OWN)
            .expression_attribute_values(":job", text(&run.job))
            .expression_attribute_values(":runner", text(&run.runner))
    }
}

fn expiry(now: Timestamp) -> i64 {
    now.after(LIFE).unix_seconds()
}

/// The summary of an item, if it has one.
fn summary(item: &Item, now: Timestamp) -> Result<Option<Summary>, TableError> {
    let Ok(said) = text_of(item, "text") else {
        return Ok(None);
    };
    if is_expired(item, now.unix_seconds()) {
        return Ok(None);
    }
    Ok(Some(Summary {
        text: said.to_owned(),
        covers: number_of(item, "covers")?,
        tokens: number_of(item, "tokens")?,
        fresh_until: Timestamp::from_unix_ms(number_of(item, "fresh_until")?),
    }))
}

async fn written(update: UpdateItemFluentBuilder) -> Result<Written, TableError> {
    match update.send().await {
        Ok(_) => Ok(Written::Kept),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Written::Lost),
            _ => Err(error.into()),
        },
    }
}
