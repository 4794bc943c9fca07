//! `TurnsTable` and `FramesTable`: each accepted message, and the stream that answers it.
//!
//! `TurnsTable`, one item a turn:
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `user_id` | S, hash key | the learner |
//! | `request_id` | S, range key | chosen by the client |
//! | `digest` | S | SHA-256 of what was asked: the same id with another question is refused |
//! | `state` | S | `queued`, `running`, `completed`, `failed` |
//! | `attempts` | N | deliveries to a worker so far |
//! | `is_cancelled` | BOOL | the learner wants it stopped |
//! | `last_seq` | N | of the finished stream |
//! | `expires_at` | N, TTL | Unix s: 24 h after it was accepted |
//!
//! `FramesTable`, one item a frame, written before the frame is posted:
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `turn` | S, hash key | `user_id/request_id`; a request id holds no slash |
//! | `seq` | N, range key | 1, 2, 3 … without gaps |
//! | `frame` | B | as `sparkle_wire::frame::encode_stored` writes it |
//! | `expires_at` | N, TTL | Unix s: as its turn |

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    primitives::Blob,
    types::{
        AttributeValue, Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
        Update,
    },
};
use sparkle_core::{
    frame::{HistoryEntry, ServerFrame, TurnJob},
    id::{self, RequestId, UserId},
    unit::Timestamp,
};
use sparkle_wire::frame;

use super::{
    Item, TableError, client, conversations::Conversations, is_expired, number, number_of, text,
    text_of,
};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
};

/// How long a request id is remembered and its stream kept (R-CHAT-1).
const LIFE: Duration = Duration::from_hours(24);

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
    /// It was accepted before and is not answered yet.
    Unanswered,
    /// It was accepted before and its stream is over.
    Answered {
        /// The last frame of the stream.
        last_seq: u32,
    },
    /// Its id was used before for another question.
    Different,
}

/// Whether a turn is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It is.
    Running {
        /// The last frame that an earlier attempt stored; 0 if there is none.
        last_seq: u32,
        /// Which attempt this is, from 1.
        attempt: u32,
        /// Whether the learner has stopped it already.
        is_cancelled: bool,
    },
    /// It is over, or too old to be known.
    Over,
}

/// What became of a wish to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The worker will see it.
    Asked,
    /// There is no such turn, or it is over.
    Nothing,
}

/// How a turn ends.
#[derive(Debug)]
pub struct Ending<'a> {
    /// Which attempt ends it.
    pub attempt: u32,
    /// What the conversation gains.
    pub gain: Gain<'a>,
    /// The last frames of the stream, in order, the final one last.
    pub frames: &'a [ServerFrame],
}

/// What a conversation gains by a turn.
#[derive(Debug)]
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

    /// Accepts a request, once. `digest` stands for what it asks. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn begin(
        &self,
        user: &UserId,
        request: &RequestId,
        digest: &str,
        now: Timestamp,
    ) -> Result<Begun, TableError> {
        let put = self
            .dynamo
            .put_item()
            .table_name(&self.turns)
            .item("user_id", text(user))
            .item("request_id", text(request))
            .item("digest", text(digest))
            .item("state", text("queued"))
            .item("attempts", number(0))
            .item("is_cancelled", AttributeValue::Bool(false))
            .item("expires_at", number(now.after(LIFE).unix_seconds()))
            .condition_expression("attribute_not_exists(request_id) OR expires_at <= :now")
            .expression_attribute_values(":now", number(now.unix_seconds()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else {
            return Ok(Begun::New);
        };
        let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error()
        else {
            return Err(error.into());
        };
        let item = failed.item().ok_or(TableError::Corrupt("digest"))?;
        if text_of(item, "digest")? != digest {
            return Ok(Begun::Different);
        }
        match text_of(item, "state")? {
            "queued" | "running" => Ok(Begun::Unanswered),
            _ => Ok(Begun::Answered {
                last_seq: number_of(item, "last_seq")?,
            }),
        }
    }

    /// Starts an attempt to answer. Cost: one write, and one query if it is not the first.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn start(&self, turn: &TurnJob, now: Timestamp) -> Result<Started, TableError> {
        let update = self
            .dynamo
            .update_item()
            .table_name(&self.turns)
            .set_key(Some(turn_key(&turn.user_id, &turn.request_id)))
            .update_expression("SET #state = :running, attempts = attempts + :one")
            .condition_expression("#state IN (:queued, :running) AND expires_at > :now")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":queued", text("queued"))
            .expression_attribute_values(":running", text("running"))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":now", number(now.unix_seconds()))
            .return_values(ReturnValue::AllNew);
        let item = match update.send().await {
            Ok(answer) => answer.attributes.unwrap_or_default(),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => {
                    return Ok(Started::Over);
                }
                _ => return Err(error.into()),
            },
        };
        let attempt = number_of(&item, "attempts")?;
        let last_seq = match attempt {
            1 => 0,
            _ => self.last_seq(&turn.user_id, &turn.request_id, now).await?,
        };
        Ok(Started::Running {
            last_seq,
            attempt,
            is_cancelled: is_cancelled_in(&item),
        })
    }

    /// Asks for a turn to be stopped. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn cancel(
        &self,
        user: &UserId,
        request: &RequestId,
        now: Timestamp,
    ) -> Result<Cancelled, TableError> {
        let update = self
            .dynamo
            .update_item()
            .table_name(&self.turns)
            .set_key(Some(turn_key(user, request)))
            .update_expression("SET is_cancelled = :yes")
            .condition_expression("#state IN (:queued, :running) AND expires_at > :now")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":queued", text("queued"))
            .expression_attribute_values(":running", text("running"))
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":now", number(now.unix_seconds()));
        match update.send().await {
            Ok(_) => Ok(Cancelled::Asked),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Cancelled::Nothing),
                _ => Err(error.into()),
            },
        }
    }

    /// Whether a turn is to be stopped. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn is_cancelled(&self, turn: &TurnJob) -> Result<bool, TableError> {
        let answer = self
            .dynamo
            .get_item()
            .table_name(&self.turns)
            .set_key(Some(turn_key(&turn.user_id, &turn.request_id)))
            .projection_expression("is_cancelled")
            .consistent_read(true)
            .send()
            .await?;
        Ok(answer.item.as_ref().is_some_and(is_cancelled_in))
    }

    /// Stores a frame of a turn's stream. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn store(&self, turn: &TurnJob, frame: &ServerFrame) -> Result<(), TableError> {
        self.dynamo
            .put_item()
            .table_name(&self.frames)
            .set_item(Some(frame_item(turn, frame)))
            .send()
            .await?;
        Ok(())
    }

    /// The stored frames of a stream after `after_seq`, at most 1 MiB of them, in order.
    /// Cost: one strongly consistent query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn frames(
        &self,
        user: &UserId,
        request: &RequestId,
        after_seq: u32,
        now: Timestamp,
    ) -> Result<Vec<Vec<u8>>, TableError> {
        let answer = self
            .dynamo
            .query()
            .table_name(&self.frames)
            .key_condition_expression("turn = :turn AND seq > :after")
            .expression_attribute_values(":turn", text(&stream_key(user, request)))
            .expression_attribute_values(":after", number(after_seq))
            .consistent_read(true)
            .send()
            .await?;
        let items = answer.items.unwrap_or_default();
        let live = items
            .into_iter()
            .filter(|item| !is_expired(item, now.unix_seconds()));
        live.map(|item| match item.get("frame") {
            Some(AttributeValue::B(bytes)) => Ok(bytes.clone().into_inner()),
            _ => Err(TableError::Corrupt("frame")),
        })
        .collect()
    }

    /// The last frame stored so far, 0 if there is none. Cost: one strongly consistent query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn last_seq(
        &self,
        user: &UserId,
        request: &RequestId,
        now: Timestamp,
    ) -> Result<u32, TableError> {
        let answer = self
            .dynamo
            .query()
            .table_name(&self.frames)
            .key_condition_expression("turn = :turn")
            .expression_attribute_values(":turn", text(&stream_key(user, request)))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(1)
            .send()
            .await?;
        let newest = answer.items.unwrap_or_default().into_iter().next();
        match newest.filter(|item| !is_expired(item, now.unix_seconds())) {
            Some(item) => number_of(&item, "seq"),
            None => Ok(0),
        }
    }

    /// Ends a turn in one transaction: its state, its last frames, what its conversation gains.
    /// Cost: one transaction of 2 to 7 items.
    ///
    /// # Errors
    /// [`TableError::Conflict`] if the turn is over already or the conversation changed meanwhile.
    pub async fn finish(
        &self,
        conversations: &Conversations,
        turn: &TurnJob,
        ending: Ending<'_>,
    ) -> Result<(), TableError> {
        let gain = match ending.gain {
            Gain::Answer { length, .. } => length.to_string(),
            Gain::Nothing => "nothing".to_owned(),
            Gain::Failure => "failure".to_owned(),
        };
        let attempt = format!("{}/{gain}", ending.attempt);
        let token = id::digest(&[turn.user_id.as_str(), turn.request_id.as_str(), &attempt]);
        let writes = self
            .ending_writes(conversations, turn, &ending)
            .map_err(|_incomplete| TableError::Corrupt("user_id"))?;
        self.dynamo
            .transact_write_items()
            .set_transact_items(Some(writes))
            // The SDK may send it again after a lost answer: the same token, the same effect.
            .client_request_token(token.get(..36).unwrap_or_default())
            .send()
            .await?;
        Ok(())
    }

    fn ending_writes(
        &self,
        conversations: &Conversations,
        turn: &TurnJob,
        ending: &Ending<'_>,
    ) -> Result<Vec<TransactWriteItem>, BuildError> {
        let state = if matches!(ending.gain, Gain::Failure) {
            "failed"
        } else {
            "completed"
        };
        let last_seq = ending
            .frames
            .iter()
            .filter_map(|frame| frame.seq)
            .max()
            .unwrap_or(0);
        let finished = Update::builder()
            .table_name(&self.turns)
            .set_key(Some(turn_key(&turn.user_id, &turn.request_id)))
            .update_expression("SET #state = :state, last_seq = :last_seq")
            .condition_expression("#state = :running")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":running", text("running"))
            .expression_attribute_values(":state", text(state))
            .expression_attribute_values(":last_seq", number(last_seq))
            .build()?;
        let mut writes = vec![TransactWriteItem::builder().update(finished).build()];
        for frame in ending.frames {
            let put = Put::builder()
                .table_name(&self.frames)
                .set_item(Some(frame_item(turn, frame)))
                .build()?;
            writes.push(TransactWriteItem::builder().put(put).build());
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
        Ok(writes)
    }
}

fn is_cancelled_in(turn: &Item) -> bool {
    let cancelled = turn
        .get("is_cancelled")
        .and_then(|value| value.as_bool().ok());
    cancelled.copied().unwrap_or(false)
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

fn frame_item(turn: &TurnJob, server_frame: &ServerFrame) -> Item {
    let expires_at = turn.accepted_at.after(LIFE).unix_seconds();
    HashMap::from([
        (
            "turn".to_owned(),
            text(&stream_key(&turn.user_id, &turn.request_id)),
        ),
        ("seq".to_owned(), number(server_frame.seq.unwrap_or(0))),
        (
            "frame".to_owned(),
            AttributeValue::B(Blob::new(frame::encode_stored(server_frame))),
        ),
        ("expires_at".to_owned(), number(expires_at)),
    ])
}
