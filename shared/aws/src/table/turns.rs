//! `TurnsTable` and `FramesTable`: each accepted message, and the stream that answers it.
//!
//! `TurnsTable`, one item a turn:
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `user_id` | S, hash key | the learner |
//! | `request_id` | S, range key | chosen by the client |
//! | `digest` | S | SHA-256 of what was asked: the same id with another question is refused |
//! | `state` | S | `queued` until it is over, then `completed` or `failed` |
//! | `job` | S | the turn as `sparkle_wire::job` writes it, until it is over |
//! | `last_seq` | N | of the finished stream |
//! | `finished_at` | N | Unix ms, once it is over |
//! | `response_id` | S | what the provider called its answer; absent: it has no name, or is none |
//! | `place` | S | where the answer is kept, as `sparkle_wire::job::place_word` writes it; absent: nowhere |
//! | `verdict` | S | the answer was kept for other words, which are in this language (`zh`, `en`); absent: it was not |
//! | `weighed` | S | `right` or `wrong`: how such an answer counts in the evidence; absent: it does not yet |
//! | `rating` | N | what the learner thinks of the answer, 1 to 5; absent: they did not say |
//! | `comment` | S | what they say of it; absent: nothing |
//! | `expires_at` | N, TTL | Unix s: 24 h after it was accepted |
//!
//! `FramesTable`, one item for some frames in a row, written after they were recorded in the lease
//! ([`super::leases`]) and before that forgets them, so that whatever is here was a fact already:
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `turn` | S, hash key | `user_id/request_id`; a request id holds no slash |
//! | `seq` | N, range key | of the first of them |
//! | `last_seq` | N | of the last of them |
//! | `frames` | L | each as `sparkle_wire::frame::encode_stored` writes it |
//! | `expires_at` | N, TTL | Unix s: as its turn |

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    primitives::Blob,
    types::{
        AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
        error::TransactionCanceledException,
    },
};
use sparkle_core::{
    cache::entry::Place,
    frame::{HistoryEntry, StoredFrame, TurnJob},
    id::{self, RequestId, UserId},
    notice::Language,
    unit::Timestamp,
};
use sparkle_wire::job;
use tokio::time::sleep;

use super::{
    CONTENDED_PAUSE, CONTENDED_TRIES_MAX, Item, TableError,
    belongings::Belongings,
    client,
    conversations::Conversations,
    is_expired,
    leases::{Lease, Leases, Standing},
    number, number_of, text, text_of,
};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
    meter::Settlement,
};

mod at_once;
mod rating;

pub use at_once::AtOnce;
pub use rating::{Rated, Witness};

/// How long a request id is remembered and its stream kept (R-CHAT-1).
const LIFE: Duration = Duration::from_hours(24);

/// A request is not known, or its time is over.
const NEW: &str = "attribute_not_exists(request_id) OR expires_at <= :now";

/// Each accepted message, and the stream that answers it.
#[derive(Debug, Clone)]
pub struct Turns {
    dynamo: Client,
    turns: String,
    frames: String,
}

/// Whether a request is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is.
    New,
    /// It was accepted before, as this turn.
    Before(Turn),
    /// Its id was used before for another question.
    Different,
    /// Too many turns of its conversation wait; it may be asked again later.
    Full,
}

/// An accepted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It is not answered yet.
    Unanswered(Box<TurnJob>),
    /// Its stream is over.
    Answered {
        /// The last frame of the stream.
        last_seq: u32,
        /// When it ended.
        finished_at: Timestamp,
    },
}

/// How a turn ends.
#[derive(Debug)]
pub struct Ending<'a> {
    /// Who ends it.
    pub lease: &'a Lease,
    /// How things stood when it last looked: whoever asked to listen since then must be heard first.
    pub known: &'a Standing,
    /// What the conversation gains.
    pub gain: Gain<'a>,
    /// What the learner is given, if that is an answer.
    pub given: Option<Given<'a>>,
    /// When.
    pub at: Timestamp,
    /// The last frames of the stream, in order, with those that only the lease has; the final one last.
    pub frames: &'a [StoredFrame],
    /// What is to be paid for it, if a model was to be asked.
    pub settlement: Option<Settlement<'a>>,
}

/// What a learner is given, so that it can be named when they say how good it was.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// What the provider called it, or nothing.
    pub response_id: &'a str,
    /// Where it is kept for who asks the same, or is about to be.
    pub place: Option<&'a Place>,
    /// The language of the question, if the answer was kept for other words.
    pub verdict: Option<Language>,
}

/// What a conversation gains by a turn.
#[derive(Debug, Clone, Copy)]
pub enum Gain<'a> {
    /// A question and its answer, after so many messages.
    Answer {
        /// Messages before them.
        length: u64,
        /// What was asked.
        question: &'a HistoryEntry,
        /// What was answered.
        answer: &'a HistoryEntry,
    },
    /// Nothing was answered, and the turn did not fail: the learner stopped it before the first word.
    Nothing,
    /// Nothing, since the turn failed.
    Failure,
}

impl Gain<'_> {
    /// How many messages that is.
    pub fn messages(&self) -> u64 {
        match self {
            Self::Answer { .. } => 2,
            Self::Nothing | Self::Failure => 0,
        }
    }
}

impl Turns {
    /// Opens the tables that `SPARKLE_TABLE_TURNS` and `SPARKLE_TABLE_FRAMES` name; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            dynamo: client(aws),
            turns: config::required("SPARKLE_TABLE_TURNS")?,
            frames: config::required("SPARKLE_TABLE_FRAMES")?,
        })
    }

    /// The turns of a learner and their streams, the streams first. Cost: one query, and a scan of the streams
    /// of the last day, so that also those are found whose turn is gone.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn belongings(&self, user: &UserId) -> Result<[Belongings; 2], TableError> {
        // A learner's id may hold slashes, a request's may not.
        let is_owned = |item: &Item| {
            let owner = text_of(item, "turn").map(|turn| turn.rsplit_once('/'));
            owner.is_ok_and(|owner| owner.is_some_and(|(owner, _)| owner == user.as_str()))
        };
        let frames = Belongings::of(&self.dynamo, &self.frames, &["turn", "seq"]);
        let turns = Belongings::of(&self.dynamo, &self.turns, &["user_id", "request_id"]);
        Ok([
            frames.among_all(is_owned).await?,
            turns.under(user.as_str()).await?,
        ])
    }

    /// Accepts a request, once, and puts it behind the others of its conversation. `digest` stands for
    /// what it asks. Cost: one transaction of 2 items.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn begin(
        &self,
        leases: &Leases,
        turn: &TurnJob,
        digest: &str,
        now: Timestamp,
    ) -> Result<Begun, TableError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let writes = self
                .beginning_writes(leases, turn, digest, now)
                .map_err(|_incomplete| TableError::Corrupt("user_id"))?;
            let begin = self
                .dynamo
                .transact_write_items()
                .set_transact_items(Some(writes))
                .client_request_token(token(&[&job::encode_turn(turn), &tries.to_string()]));
            let Err(error) = begin.send().await else {
                return Ok(Begun::New);
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
                error.as_service_error()
            else {
                return Err(error.into());
            };
            if let Some(refused) = refused(cancelled, digest)? {
                return Ok(refused);
            }
            // Another call was writing one of the two at the same moment: perhaps a copy of this one.
            if let Some(item) = self.item(&turn.user_id, &turn.request_id, now).await? {
                return before(&item, digest);
            }
            if tries >= CONTENDED_TRIES_MAX {
                return Err(error.into());
            }
            sleep(CONTENDED_PAUSE * tries).await;
        }
    }

    fn beginning_writes(
        &self,
        leases: &Leases,
        turn: &TurnJob,
        digest: &str,
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, BuildError> {
        let put = Put::builder()
            .table_name(&self.turns)
            .item("user_id", text(&turn.user_id))
            .item("request_id", text(&turn.request_id))
            .item("digest", text(digest))
            .item("state", text("queued"))
            .item("job", text(&job::encode_turn(turn)))
            .item("expires_at", number(expiry(turn)))
            .condition_expression(NEW)
            .expression_attribute_values(":now", number(now.unix_seconds()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        let line_up = leases.line_up(turn, now)?;
        Ok(vec![
            TransactWriteItem::builder().put(put).build(),
            TransactWriteItem::builder().update(line_up).build(),
        ])
    }

    /// A request that was accepted within the last 24 h. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn find(
        &self,
        user: &UserId,
        request: &RequestId,
        now: Timestamp,
    ) -> Result<Option<Turn>, TableError> {
        let item = self.item(user, request, now).await?;
        item.as_ref().map(turn_of).transpose()
    }

    async fn item(
        &self,
        user: &UserId,
        request: &RequestId,
        now: Timestamp,
    ) -> Result<Option<Item>, TableError> {
        let get = self
            .dynamo
            .get_item()
            .table_name(&self.turns)
            .set_key(Some(turn_key(user, request)))
            .consistent_read(true);
        let item = get.send().await?.item;
        Ok(item.filter(|item| !is_expired(item, now.unix_seconds())))
    }

    /// Keeps frames that the lease is about to forget. Keeping them again, or fewer of them, changes
    /// nothing. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn keep(&self, turn: &TurnJob, frames: &[StoredFrame]) -> Result<(), TableError> {
        let (Some(item), Some(last)) = (segment(turn, frames), frames.last()) else {
            return Ok(());
        };
        let put = self
            .dynamo
            .put_item()
            .table_name(&self.frames)
            .expression_attribute_values(":last_seq", number(last.seq))
            // Of an earlier turn under the same request id, whose time is over.
            .expression_attribute_values(":expires_at", number(expiry(turn)))
            .set_item(Some(item))
            .condition_expression(
                "attribute_not_exists(seq) OR last_seq < :last_seq OR expires_at < :expires_at",
            );
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(error.into()),
            },
        }
    }

    /// The kept frames of a stream after `after_seq`, at most 1 MiB of them, in order. Those that only
    /// the lease has are not among them: read it first. Cost: one strongly consistent query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn frames(
        &self,
        user: &UserId,
        request: &RequestId,
        after_seq: u32,
        now: Timestamp,
    ) -> Result<Vec<StoredFrame>, TableError> {
        let answer = self
            .dynamo
            .query()
            .table_name(&self.frames)
            .key_condition_expression("turn = :turn")
            .expression_attribute_values(":turn", text(&stream_key(user, request)))
            .consistent_read(true)
            .send()
            .await?;
        let mut frames = BTreeMap::new();
        for item in answer.items.unwrap_or_default() {
            if is_expired(&item, now.unix_seconds()) {
                continue;
            }
            let first_seq: u32 = number_of(&item, "seq")?;
            let Some(AttributeValue::L(values)) = item.get("frames") else {
                return Err(TableError::Corrupt("frames"));
            };
            for (seq, value) in (first_seq..).zip(values) {
                let bytes = value
                    .as_b()
                    .map_err(|_other| TableError::Corrupt("frames"))?;
                if seq > after_seq {
                    frames.insert(seq, bytes.clone().into_inner());
                }
            }
        }
        let frame = |(seq, bytes)| StoredFrame { seq, bytes };
        Ok(frames.into_iter().map(frame).collect())
    }

    /// Ends a turn in one transaction: its state, its last frames, what its conversation gains, and the
    /// lease. Cost: one transaction of 3 to 8 items.
    ///
    /// # Errors
    /// [`TableError::Conflict`] if the lease is lost, the turn is over already, the conversation changed
    /// meanwhile, somebody has asked to listen, or another settled the call or gave back its hold.
    pub async fn finish(
        &self,
        leases: &Leases,
        conversations: &Conversations,
        turn: &TurnJob,
        ending: &Ending<'_>,
    ) -> Result<(), TableError> {
        let gain = match ending.gain {
            Gain::Answer { length, .. } => length.to_string(),
            Gain::Nothing => "nothing".to_owned(),
            Gain::Failure => "failure".to_owned(),
        };
        let (lease, known) = (ending.lease.digest(), ending.known.digest());
        let (user, request) = (turn.user_id.as_str(), turn.request_id.as_str());
        let bill = ending.settlement.map(|settlement| settlement.digest());
        let bill = bill.unwrap_or_default();
        let token = token(&[user, request, &lease, &known, &gain, &bill]);
        let writes = self
            .ending_writes(leases, conversations, turn, ending)
            .map_err(|_incomplete| TableError::Corrupt("user_id"))?;
        self.dynamo
            .transact_write_items()
            .set_transact_items(Some(writes))
            // The SDK may send it again after a lost answer: the same token, the same effect.
            .client_request_token(token)
            .send()
            .await?;
        Ok(())
    }

    fn ending_writes(
        &self,
        leases: &Leases,
        conversations: &Conversations,
        turn: &TurnJob,
        ending: &Ending<'_>,
    ) -> Result<Vec<TransactWriteItem>, BuildError> {
        let state = match ending.gain {
            Gain::Failure => "failed",
            Gain::Answer { .. } | Gain::Nothing => "completed",
        };
        let last_seq = ending.frames.last().map_or(0, |frame| frame.seq);
        let mut finished = Update::builder();
        let mut named = String::new();
        for (name, value) in ending.given.map(given_attributes).unwrap_or_default() {
            named.extend([", ", name, " = :", name]);
            finished = finished.expression_attribute_values(format!(":{name}"), value);
        }
        let finished = finished
            .table_name(&self.turns)
            .set_key(Some(turn_key(&turn.user_id, &turn.request_id)))
            .update_expression(format!(
                "SET #state = :state, last_seq = :last_seq, finished_at = :at{named} REMOVE job"
            ))
            .condition_expression("#state = :queued")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":queued", text("queued"))
            .expression_attribute_values(":state", text(state))
            .expression_attribute_values(":last_seq", number(last_seq))
            .expression_attribute_values(":at", number(ending.at.unix_ms()))
            .build()?;
        let length = match ending.gain {
            Gain::Answer { length, .. } => Some(length + 2),
            Gain::Nothing | Gain::Failure => None,
        };
        let released = leases.finish(ending.lease, ending.known, length, ending.at)?;
        let update = |update| TransactWriteItem::builder().update(update).build();
        let mut writes = vec![update(released), update(finished)];
        if let Some(item) = segment(turn, ending.frames) {
            let put = Put::builder().table_name(&self.frames).set_item(Some(item));
            writes.push(TransactWriteItem::builder().put(put.build()?).build());
        }
        if let Gain::Answer {
            length,
            question,
            answer,
        } = ending.gain
        {
            let (user, session) = (&turn.user_id, &turn.session_id);
            writes.extend(conversations.append(user, session, length, question, answer)?);
        }
        if let Some(settlement) = &ending.settlement {
            writes.extend(settlement.writes(ending.at)?);
        }
        Ok(writes)
    }
}

/// Why a turn is not begun; none if another call was just in the way.
fn refused(
    cancelled: &TransactionCanceledException,
    digest: &str,
) -> Result<Option<Begun>, TableError> {
    let [of_turn, of_line] = cancelled.cancellation_reasons() else {
        return Ok(None);
    };
    if let Some(item) = of_turn.item() {
        return before(item, digest).map(Some);
    }
    let is_full = of_line.code() == Some("ConditionalCheckFailed");
    Ok(is_full.then_some(Begun::Full))
}

/// What a request was that is known already.
fn before(item: &Item, digest: &str) -> Result<Begun, TableError> {
    let is_same = text_of(item, "digest")? == digest;
    Ok(if is_same {
        Begun::Before(turn_of(item)?)
    } else {
        Begun::Different
    })
}

fn turn_of(item: &Item) -> Result<Turn, TableError> {
    if text_of(item, "state")? != "queued" {
        return Ok(Turn::Answered {
            last_seq: number_of(item, "last_seq")?,
            finished_at: Timestamp::from_unix_ms(number_of(item, "finished_at")?),
        });
    }
    let turn = job::decode_turn(text_of(item, "job")?);
    let turn = turn.map_err(|_damaged| TableError::Corrupt("job"))?;
    Ok(Turn::Unanswered(Box::new(turn)))
}

/// What a turn's item remembers of what was given.
fn given_attributes(given: Given<'_>) -> Vec<(&'static str, AttributeValue)> {
    let id = Some(given.response_id).filter(|id| !id.is_empty());
    let id = id.map(|id| ("response_id", text(id)));
    let place = given
        .place
        .map(|place| ("place", text(&job::place_word(place))));
    let verdict = given
        .verdict
        .map(|language| ("verdict", text(language.as_str())));
    id.into_iter().chain(place).chain(verdict).collect()
}

fn turn_key(user: &UserId, request: &RequestId) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("user_id".to_owned(), text(user)),
        ("request_id".to_owned(), text(request)),
    ])
}

fn stream_key(user: &UserId, request: &RequestId) -> String {
    format!("{user}/{request}")
}

/// The same for the same call, so that its copies have one effect.
fn token(parts: &[&str]) -> String {
    let mut token = id::digest(parts);
    token.truncate(36);
    token
}

fn expiry(turn: &TurnJob) -> i64 {
    turn.accepted_at.after(LIFE).unix_seconds()
}

/// Some frames in a row as an item; none if there are none.
fn segment(turn: &TurnJob, frames: &[StoredFrame]) -> Option<Item> {
    let (first, last) = (frames.first()?, frames.last()?);
    let bytes = frames
        .iter()
        .map(|frame| AttributeValue::B(Blob::new(frame.bytes.clone())));
    Some(HashMap::from([
        (
            "turn".to_owned(),
            text(&stream_key(&turn.user_id, &turn.request_id)),
        ),
        ("seq".to_owned(), number(first.seq)),
        ("last_seq".to_owned(), number(last.seq)),
        ("frames".to_owned(), AttributeValue::L(bytes.collect())),
        ("expires_at".to_owned(), number(expiry(turn))),
    ]))
}
