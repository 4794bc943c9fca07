//! `IntentsTable`: every call of a model whose bill is not in the ledger yet.
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `user_id` | S, hash key | who pays |
//! | `call_id` | S, range key | the call |
//! | `state` | S | `open`, `released` (its hold was given back, since nobody renewed it), `settled` |
//! | `call` | S | the line for the ledger, as `sparkle_wire::job::encode_bill` writes it: until it is settled the most that the call can have consumed |
//! | `held_until` | N | Unix ms: an open call whose worker has not been heard of by then is released |
//! | `since` | N | Unix ms: when it came into its state |
//! | `earlier_prompt` | N | tokens of the calls that its request made before |
//! | `earlier_cached` | N | likewise |
//! | `earlier_completion` | N | likewise |
//!
//! The intent is the authority, the hold is only a hold: it is written before anything costs money and only by
//! whoever has the right to the work (a turn's lease, a run of an order), it is settled once, and it leaves the table only when its line is in the ledger ([`super::ledger`]). So the
//! table is small, and whoever scans it sees everything that crashed.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{AttributeValue, CancellationReason, Delete, Put, TransactWriteItem, Update},
};
use sparkle_core::{
    id::{CallId, UserId},
    ledger::{Bill, Call},
    quota::{Amount, Hold},
    unit::{Timestamp, TokenUsage},
};
use sparkle_wire::job;
use tokio::time::sleep;

use super::{
    CONTENDED_PAUSE, CONTENDED_TRIES_MAX, Item, Right, TableError,
    accounts::Accounts,
    belongings::{Belongings, Json},
    client, number, number_of, text, text_of,
};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
};

/// How long a hold lasts unless it is renewed: a leaked one is back within a minute.
pub const HELD_FOR: Duration = Duration::from_secs(45);
/// How often a running call renews its hold.
pub const RENEW_EVERY: Duration = Duration::from_secs(15);

/// Every call whose bill is not in the ledger yet.
#[derive(Debug, Clone)]
pub struct Intents {
    dynamo: Client,
    table: String,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// How far it has come.
    pub state: State,
    /// The line for the ledger; unless it is settled, the worst that it can become.
    pub bill: Bill,
    /// What its request consumed before.
    pub earlier: TokenUsage,
    /// Until when its worker can be believed to be alive.
    pub held_until: Timestamp,
    /// When it came into its state.
    pub since: Timestamp,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It may be running.
    Open,
    /// Nobody has renewed its hold, which was given back; its bill may still come.
    Released,
    /// Its bill is known.
    Settled,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Released => "released",
            Self::Settled => "settled",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        let states = [Self::Open, Self::Released, Self::Settled];
        states.into_iter().find(|state| state.as_str() == word)
    }
}

impl Intent {
    /// Whether it may be running, but its worker has not been heard of.
    pub fn is_silent(&self, now: Timestamp) -> bool {
        self.state == State::Open && self.held_until <= now
    }
}

impl Intents {
    /// Opens the table that `SPARKLE_TABLE_INTENTS` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            dynamo: client(aws),
            table: config::required("SPARKLE_TABLE_INTENTS")?,
        })
    }

    /// What a learner's calls that are not in the ledger yet are, to be shown. Cost: one query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn shown(&self, user: &UserId) -> Result<Vec<Json>, TableError> {
        let all = Belongings::of(&self.dynamo, &self.table, &["user_id", "call_id"]);
        Ok(all.under(user.as_str()).await?.shown())
    }

    /// Notes that a call is about to be made, if its worker has the right to; whether it had. `worst` is the
    /// most that the call can consume, `earlier` what its request consumed before. Noting it again changes
    /// nothing, but without the right it could bring a call back that was closed by who has the right now. Cost:
    /// one transaction of an item and a check.
    ///
    /// # Errors
    /// [`TableError::Conflict`] if it is released or settled already.
    pub(crate) async fn begin(
        &self,
        worst: &Bill,
        earlier: TokenUsage,
        right: &Right,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(key(&worst.call.user_id, &worst.call.id)))
            .item("state", text(State::Open.as_str()))
            .item("call", text(&job::encode_bill(worst)))
            .item("held_until", number(now.after(HELD_FOR).unix_ms()))
            .item("since", number(now.unix_ms()))
            .item("earlier_prompt", number(earlier.prompt_tokens))
            .item("earlier_cached", number(earlier.cached_tokens))
            .item("earlier_completion", number(earlier.completion_tokens))
            .condition_expression("attribute_not_exists(call_id) OR #state = :open")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":open", text(State::Open.as_str()))
            .build()
            .map_err(|_incomplete| TableError::Corrupt("call_id"))?;
        let put = TransactWriteItem::builder().put(put).build();
        self.transact(vec![put], Some(right)).await
    }

    /// Forgets a call for which nothing was held, and sees to it that nothing will be; whether who closes it
    /// had the right to, if it takes one. Cost: one transaction of 2 items and at most a check.
    ///
    /// # Errors
    /// [`TableError::Conflict`] if it is settled, or something is held for it by now.
    pub async fn call_off(
        &self,
        accounts: &Accounts,
        (user, call): (&UserId, &CallId),
        right: Option<&Right>,
    ) -> Result<bool, TableError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key(user, call)))
            .condition_expression("attribute_not_exists(call_id) OR #state <> :settled")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":settled", text(State::Settled.as_str()))
            .build();
        let bar = accounts.barring(user, call);
        let (Ok(delete), Ok(bar)) = (delete, bar) else {
            return Err(TableError::Corrupt("call_id"));
        };
        let writes = vec![
            TransactWriteItem::builder().delete(delete).build(),
            TransactWriteItem::builder().update(bar).build(),
        ];
        self.transact(writes, right).await
    }

    /// Says that a call still runs, so that nobody gives back what is held for it; whether it is open. One whose
    /// hold was given back goes on without. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn renew(
        &self,
        user: &UserId,
        call: &CallId,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let update = self
            .dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(user, call)))
            .update_expression("SET held_until = :until")
            .condition_expression("#state = :open")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":open", text(State::Open.as_str()))
            .expression_attribute_values(":until", number(now.after(HELD_FOR).unix_ms()));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(error.into()),
            },
        }
    }

    /// A call. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn find(&self, user: &UserId, call: &CallId) -> Result<Option<Intent>, TableError> {
        let get = self
            .dynamo
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(user, call)))
            .consistent_read(true);
        let item = get.send().await?.item;
        item.as_ref().map(intent).transpose()
    }

    /// The calls of a learner whose bills are not in the ledger, in the order in which they came into their
    /// states; only those whose ids begin so. Cost: one strongly consistent query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn of(&self, user: &UserId, prefix: &str) -> Result<Vec<Intent>, TableError> {
        let mut query = self
            .dynamo
            .query()
            .table_name(&self.table)
            .key_condition_expression("user_id = :user")
            .expression_attribute_values(":user", text(user))
            .consistent_read(true);
        if !prefix.is_empty() {
            query = query
                .key_condition_expression("user_id = :user AND begins_with(call_id, :prefix)")
                .expression_attribute_values(":prefix", text(prefix));
        }
        let items = query.send().await?.items.unwrap_or_default();
        let mut intents: Vec<Intent> = items.iter().map(intent).collect::<Result<_, _>>()?;
        intents.sort_by_key(|intent| intent.since);
        Ok(intents)
    }

    /// All of them, a page at a time; `page` gets each page and may stop by an error. Cost: one read unit
    /// for each 8 KB.
    ///
    /// # Errors
    /// [`TableError`], or that of `page`.
    pub async fn scan<E: From<TableError>>(
        &self,
        mut page: impl AsyncFnMut(Vec<Result<Intent, TableError>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = None;
        loop {
            let scan = self
                .dynamo
                .scan()
                .table_name(&self.table)
                .set_exclusive_start_key(from)
                .send();
            let answer = scan.await.map_err(TableError::from)?;
            page(
                answer
                    .items
                    .unwrap_or_default()
                    .iter()
                    .map(intent)
                    .collect(),
            )
            .await?;
            from = answer.last_evaluated_key;
            if from.is_none() {
                return Ok(());
            }
        }
    }

    /// The writes that settle a call: its bill takes the place of its hold. They fail if it is settled, or
    /// if `held` is not what is held any more; then [`Self::find`] tells.
    pub(crate) fn settling(
        &self,
        accounts: &Accounts,
        bill: &Bill,
        held: &Hold,
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, BuildError> {
        let amount = Amount {
            tokens: u64::from(bill.call.tokens.total()),
            money: bill.call.cost.unwrap_or_default(),
        };
        let intent = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(&bill.call.user_id, &bill.call.id)))
            .update_expression("SET #state = :settled, #call = :call, since = :now")
            .condition_expression("#state = :open OR #state = :released")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#call", "call")
            .expression_attribute_values(":settled", text(State::Settled.as_str()))
            .expression_attribute_values(":open", text(State::Open.as_str()))
            .expression_attribute_values(":released", text(State::Released.as_str()))
            .expression_attribute_values(":call", text(&job::encode_bill(bill)))
            .expression_attribute_values(":now", number(now.unix_ms()))
            .build()?;
        let account = accounts.settling(&bill.call.user_id, &bill.call.id, held, amount)?;
        let write = |update| TransactWriteItem::builder().update(update).build();
        Ok(vec![write(intent), write(account)])
    }

    /// Notes the bill of a call for which nothing was held, so that it gets its line. Cost: one write.
    ///
    /// # Errors
    /// [`TableError::Conflict`] if it is noted already.
    pub(crate) async fn note(&self, bill: &Bill, now: Timestamp) -> Result<(), TableError> {
        let write = self.noting(bill, now);
        let write = write.map_err(|_incomplete| TableError::Corrupt("call_id"))?;
        self.transact(vec![write], None).await.map(drop)
    }

    /// The write that notes the bill of a turn for which nothing was spent, so that it gets its line whatever
    /// crashes.
    pub(crate) fn noting(
        &self,
        bill: &Bill,
        now: Timestamp,
    ) -> Result<TransactWriteItem, BuildError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(key(&bill.call.user_id, &bill.call.id)))
            .item("state", text(State::Settled.as_str()))
            .item("call", text(&job::encode_bill(bill)))
            .item("held_until", number(now.unix_ms()))
            .item("since", number(now.unix_ms()))
            .item("earlier_prompt", number(0))
            .item("earlier_cached", number(0))
            .item("earlier_completion", number(0))
            .condition_expression("attribute_not_exists(call_id)")
            .build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Gives back what is held for a call whose worker has not been heard of. Nothing happens if it has been
    /// meanwhile. Cost: one transaction of at most 2 items.
    ///
    /// # Errors
    /// [`TableError::Conflict`] if its worker was heard of.
    pub async fn release(
        &self,
        accounts: &Accounts,
        intent: &Intent,
        held: Option<&Hold>,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let call = &intent.bill.call;
        let incomplete = |_incomplete| TableError::Corrupt("call_id");
        // What is given back is known nowhere else any more.
        let mut worst = intent.bill.clone();
        worst.grant(held.map_or(Amount::default(), |held| held.amount));
        let state = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(&call.user_id, &call.id)))
            .update_expression("SET #state = :released, since = :now, #call = :call")
            .condition_expression("#state = :open AND held_until <= :now")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#call", "call")
            .expression_attribute_values(":call", text(&job::encode_bill(&worst)))
            .expression_attribute_values(":open", text(State::Open.as_str()))
            .expression_attribute_values(":released", text(State::Released.as_str()))
            .expression_attribute_values(":now", number(now.unix_ms()))
            .build()
            .map_err(incomplete)?;
        let mut updates = vec![state];
        if let Some(held) = held {
            let back = accounts.releasing(&call.user_id, &call.id, held);
            updates.push(back.map_err(incomplete)?);
        }
        let write = |update| TransactWriteItem::builder().update(update).build();
        let writes = updates.into_iter().map(write).collect();
        self.transact(writes, None).await.map(drop)
    }

    /// Settles a call by itself; whether who closes it had the right to, if it takes one: its own worker needs
    /// none. Cost: one transaction of 2 items and at most a check.
    ///
    /// # Errors
    /// [`TableError::Conflict`] if it is settled, or if `held` is not what is held any more.
    pub async fn settle(
        &self,
        accounts: &Accounts,
        (bill, held): (&Bill, &Hold),
        right: Option<&Right>,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let writes = self.settling(accounts, bill, held, now);
        let writes = writes.map_err(|_incomplete| TableError::Corrupt("call_id"))?;
        self.transact(writes, right).await
    }

    /// The write that takes a settled call out, whose line is written in the same transaction. It fails if
    /// `message` is not the bill that counts.
    pub(super) fn closing(&self, call: &Call, message: &str) -> Result<Delete, BuildError> {
        Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key(&call.user_id, &call.id)))
            .condition_expression("#state = :settled AND #call = :call")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#call", "call")
            .expression_attribute_values(":settled", text(State::Settled.as_str()))
            .expression_attribute_values(":call", text(message))
            .build()
    }

    /// Writes all or nothing; whether the right was there, if one is asked for. Tries again what met with another
    /// call on the same items.
    async fn transact(
        &self,
        mut writes: Vec<TransactWriteItem>,
        right: Option<&Right>,
    ) -> Result<bool, TableError> {
        let check = right.map(|Right(check)| {
            TransactWriteItem::builder()
                .condition_check(check.clone())
                .build()
        });
        writes.extend(check);
        let mut tries = 0;
        loop {
            tries += 1;
            let transact = self.dynamo.transact_write_items();
            let transact = transact.set_transact_items(Some(writes.clone()));
            let Err(error) = transact.send().await else {
                return Ok(true);
            };
            let reasons = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    cancelled.cancellation_reasons()
                }
                _ => return Err(error.into()),
            };
            let failed =
                |reason: &CancellationReason| reason.code() == Some("ConditionalCheckFailed");
            if right.is_some() && reasons.last().is_some_and(failed) {
                return Ok(false);
            }
            if reasons.iter().any(failed) || tries >= CONTENDED_TRIES_MAX {
                return Err(error.into());
            }
            sleep(CONTENDED_PAUSE * tries).await;
        }
    }
}

fn intent(item: &Item) -> Result<Intent, TableError> {
    let state = State::of_word(text_of(item, "state")?).ok_or(TableError::Corrupt("state"))?;
    let bill = job::decode_bill(text_of(item, "call")?);
    Ok(Intent {
        state,
        bill: bill.map_err(|_damaged| TableError::Corrupt("call"))?,
        earlier: TokenUsage {
            prompt_tokens: number_of(item, "earlier_prompt")?,
            cached_tokens: number_of(item, "earlier_cached")?,
            completion_tokens: number_of(item, "earlier_completion")?,
        },
        held_until: Timestamp::from_unix_ms(number_of(item, "held_until")?),
        since: Timestamp::from_unix_ms(number_of(item, "since")?),
    })
}

fn key(user: &UserId, call: &CallId) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("user_id".to_owned(), text(user)),
        ("call_id".to_owned(), text(call)),
    ])
}
