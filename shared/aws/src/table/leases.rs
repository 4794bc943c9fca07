//! `LeasesTable`: whose turn it is in each conversation, and the live end of the stream that answers it.
//!
//! `LeasesTable`, one item a conversation in use:
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `user_id` | S, hash key | the learner |
//! | `session_id` | S, range key | the conversation |
//! | `waiting` | L | request ids of the turns that are not over, in the order of their acks; the first is the one that runs |
//! | `fence` | N | one more with each lease; every write of a worker names its own |
//! | `owner` | S | the invocation that holds the lease |
//! | `leased_until` | N | Unix ms; 0 when it was given back |
//! | `attempts` | N | leases taken for the first of `waiting` |
//! | `last_seq` | N | of the running stream, 0 before its first frame |
//! | `tail` | L | its newest frames, each as `sparkle_wire::frame::encode_stored` writes it; the older ones are in `FramesTable` |
//! | `cancelled` | SS | which of `waiting` the learner wants stopped |
//! | `forgotten` | SS | which of them belong to a conversation that was deleted since: they leave nothing |
//! | `asked` | SS | listeners that the worker has not seen yet |
//! | `listening` | SS | listeners that it has taken |
//! | `messages` | N | length of the conversation after its last turn |
//! | `rung_at` | N | Unix ms: when a turn was last queued again, or ended |
//! | `rings` | N | how often a turn was queued again |
//! | `expires_at` | N, TTL | Unix s: 24 h after the newest turn was accepted |
//!
//! A listener is one text: its turn's request, format, last frame it has or `-`, the request that asked,
//! connection.
//!
//! One worker at a time writes here and to the stream, since its every write is conditional on `fence`:
//! an owner that hangs past its lease can change nothing any more. What a late copy of a call could undo
//! is guarded as well: each names the turn that it is about, and frames only grow. Readers read this item first, then `FramesTable`.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::update_item::{
        UpdateItemError, UpdateItemOutput, builders::UpdateItemFluentBuilder,
    },
    primitives::Blob,
    types::{
        AttributeValue, ConditionCheck, ReturnValue, ReturnValuesOnConditionCheckFailure, Update,
    },
};
use sparkle_core::{
    frame::{StoredFrame, TurnJob},
    id::{self, RequestId, SessionId, UserId},
    unit::Timestamp,
};

use super::{
    Item, Right, TableError, belongings::Belongings, client, number, number_of, text, text_of,
};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
};

mod asking;
mod listener;
mod standing;

pub use asking::Asked;
pub use listener::{Listener, Start};
pub use standing::Standing;
use standing::{number_or_zero, standing};

/// How long a lease holds unless it is renewed. Its owner counts [`SKEW`] less.
const LEASE: Duration = Duration::from_secs(15);
/// How far the clocks of two workers may be apart.
const SKEW: Duration = Duration::from_secs(2);
/// What lies further ahead was written by a clock that had jumped, and binds nobody. Longer than a function
/// runs: a late copy of a call must not take what its own time makes look absurd.
const JUMP: Duration = Duration::from_mins(30);
/// How long an item outlives the newest turn in it: as long as that turn's request id is remembered.
const LIFE: Duration = Duration::from_hours(24);
/// Most turns of one conversation that wait at once: the item is written with every frame.
const WAITING_MAX: u32 = 100;
/// Most listeners that wait for a worker to see them.
const ASKED_MAX: u32 = 100;

/// Whose turn it is in each conversation.
#[derive(Debug, Clone)]
pub struct Leases {
    dynamo: Client,
    table: String,
}

/// The right to run a conversation's turns, until another has taken it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    user_id: UserId,
    session_id: SessionId,
    request_id: RequestId,
    fence: u64,
    /// Until when its owner may believe in it, unless a write has renewed it.
    pub believed_until: Timestamp,
}

/// Whether a worker may run a conversation's turns.
#[derive(Debug)]
pub enum Acquired {
    /// It may.
    Held(Box<Held>),
    /// Another holds the lease, or the turn does not wait.
    Denied(Option<Standing>),
}

/// What a worker that got the lease finds.
#[derive(Debug)]
pub struct Held {
    /// For its writes.
    pub lease: Lease,
    /// How things stand.
    pub standing: Standing,
    /// Which attempt at the first turn this is, from 1.
    pub attempt: u32,
    /// Length of the conversation after its last turn.
    pub length: u64,
}

/// Whether a worker's write took effect.
#[derive(Debug)]
pub enum Written {
    /// It did, and so things stand.
    Kept(Standing),
    /// The lease is another's: nothing was written, and nothing may be done any more.
    Lost,
}

impl Leases {
    /// Opens the table that `SPARKLE_TABLE_LEASES` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            dynamo: client(aws),
            table: config::required("SPARKLE_TABLE_LEASES")?,
        })
    }

    /// Whose turn it is in a learner's conversations. Cost: one query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn belongings(&self, user: &UserId) -> Result<Belongings, TableError> {
        Belongings::of(&self.dynamo, &self.table, &["user_id", "session_id"])
            .under(user.as_str())
            .await
    }

    /// The right to run a turn, as long as the lease is held and the turn is not over.
    ///
    /// # Errors
    /// [`TableError::Corrupt`], never in fact.
    pub fn right(&self, lease: &Lease) -> Result<Right, TableError> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(key(&lease.user_id, &lease.session_id)))
            .condition_expression(OWN)
            .expression_attribute_values(":fence", number(lease.fence))
            .expression_attribute_values(":request", text(&lease.request_id))
            .build();
        check
            .map(Right)
            .map_err(|_incomplete| TableError::Corrupt("fence"))
    }

    /// The write that puts a turn behind the others of its conversation. It fails if too many wait.
    pub(super) fn line_up(&self, turn: &TurnJob, now: Timestamp) -> Result<Update, BuildError> {
        let request = AttributeValue::L(vec![text(&turn.request_id)]);
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(&turn.user_id, &turn.session_id)))
            .update_expression(
                "SET waiting = list_append(if_not_exists(waiting, :none), :turn), \
                 rung_at = if_not_exists(rung_at, :now), \
                 leased_until = if_not_exists(leased_until, :zero), \
                 last_seq = if_not_exists(last_seq, :zero), expires_at = :expires_at",
            )
            .condition_expression("attribute_not_exists(waiting) OR size(waiting) < :most")
            .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
            .expression_attribute_values(":turn", request)
            .expression_attribute_values(":most", number(WAITING_MAX))
            .expression_attribute_values(":now", number(now.unix_ms()))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":expires_at", number(now.after(LIFE).unix_seconds()))
            .build()
    }

    /// The write that lets a turn pass which is answered at once, as long as none waits: with it the
    /// conversation has `length` messages. It fails if one waits.
    pub(super) fn pass_by(
        &self,
        turn: &TurnJob,
        length: u64,
        now: Timestamp,
    ) -> Result<Update, BuildError> {
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(&turn.user_id, &turn.session_id)))
            .update_expression(
                "SET messages = :messages, rung_at = :now, \
                 leased_until = if_not_exists(leased_until, :zero), \
                 last_seq = if_not_exists(last_seq, :zero), expires_at = :expires_at",
            )
            .condition_expression("attribute_not_exists(waiting) OR size(waiting) = :zero")
            .expression_attribute_values(":messages", number(length))
            .expression_attribute_values(":now", number(now.unix_ms()))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":expires_at", number(now.after(LIFE).unix_seconds()))
            .build()
    }

    /// Takes the lease of a conversation in which a turn waits and which nobody runs. `owner` is another
    /// for each invocation. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`]; then nobody may run anything.
    pub async fn acquire(
        &self,
        turn: &TurnJob,
        owner: &str,
        now: Timestamp,
    ) -> Result<Acquired, TableError> {
        let acquire = self
            .update(&turn.user_id, &turn.session_id)
            .update_expression(
                "SET fence = if_not_exists(fence, :zero) + :one, \
                 attempts = if_not_exists(attempts, :zero) + :one, \
                 #owner = :owner, leased_until = :until",
            )
            .condition_expression(
                "contains(waiting, :request) AND (leased_until <= :now OR leased_until > :absurd)",
            )
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":request", text(&turn.request_id))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":owner", text(owner))
            .expression_attribute_values(":until", number(now.after(LEASE).unix_ms()))
            .expression_attribute_values(":now", number(now.unix_ms()))
            .expression_attribute_values(":absurd", number(absurd(now).unix_ms()));
        let item = match conditionally(acquire).await? {
            Condition::Held(item) => item,
            Condition::Failed(None) => return Ok(Acquired::Denied(None)),
            Condition::Failed(Some(item)) => {
                let found = standing(&item)?;
                // Ours, if this was the second try of a call whose first answer was lost.
                let is_ours = text_of(&item, "owner").is_ok_and(|holder| holder == owner);
                if !is_ours || !found.is_live(now) || !found.waits(&turn.request_id) {
                    return Ok(Acquired::Denied(Some(found)));
                }
                item
            }
        };
        let standing = standing(&item)?;
        let request_id = standing.waiting.first().cloned();
        Ok(Acquired::Held(Box::new(Held {
            lease: Lease {
                user_id: turn.user_id.clone(),
                session_id: turn.session_id.clone(),
                request_id: request_id.ok_or(TableError::Corrupt("waiting"))?,
                fence: number_of(&item, "fence")?,
                believed_until: standing.believed_until(),
            },
            attempt: number_of(&item, "attempts")?,
            length: number_or_zero(&item, "messages")?,
            standing,
        })))
    }

    /// Keeps the newest frames of the running stream, and the lease.
    /// Cost: one write, of one unit while the item has less than 1 KB.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn record(
        &self,
        lease: &mut Lease,
        tail: &[StoredFrame],
        now: Timestamp,
    ) -> Result<Written, TableError> {
        let last_seq = tail.last().map_or(0, |frame| frame.seq);
        let frames = tail
            .iter()
            .map(|frame| AttributeValue::B(Blob::new(frame.bytes.clone())));
        let record = self
            .update(&lease.user_id, &lease.session_id)
            .update_expression("SET last_seq = :last_seq, tail = :tail, leased_until = :until")
            // Not older than what is there: a copy of this call may arrive late.
            .condition_expression(
                "fence = :fence AND waiting[0] = :request AND last_seq < :last_seq",
            )
            .expression_attribute_values(":fence", number(lease.fence))
            .expression_attribute_values(":request", text(&lease.request_id))
            .expression_attribute_values(":last_seq", number(last_seq))
            .expression_attribute_values(":tail", AttributeValue::L(frames.collect()))
            .expression_attribute_values(":until", number(now.after(LEASE).unix_ms()));
        let item = match conditionally(record).await? {
            Condition::Held(item) => item,
            // The second try of a call whose first answer was lost.
            Condition::Failed(Some(item)) if lease.is_of(&item) => item,
            Condition::Failed(_) => return Ok(Written::Lost),
        };
        let standing = standing(&item)?;
        if !standing.is_first(&lease.request_id) {
            return Ok(Written::Lost);
        }
        // As it stands there: the first try may have been long ago.
        lease.believed_until = standing.believed_until();
        Ok(Written::Kept(standing))
    }

    /// How things stand under a lease. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn look(&self, lease: &Lease) -> Result<Written, TableError> {
        match self.item(&lease.user_id, &lease.session_id).await? {
            Some(item) if lease.is_of(&item) => Ok(Written::Kept(standing(&item)?)),
            _ => Ok(Written::Lost),
        }
    }

    /// Takes listeners that have asked: whoever runs the turn after this worker goes on with them from
    /// where the stream then ends. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn take(
        &self,
        lease: &Lease,
        asked: &[Listener],
        listening: &[Listener],
    ) -> Result<Written, TableError> {
        let take = self
            .update(&lease.user_id, &lease.session_id)
            .update_expression("SET listening = :listening DELETE asked :asked")
            .condition_expression("fence = :fence AND waiting[0] = :request")
            .expression_attribute_values(":fence", number(lease.fence))
            .expression_attribute_values(":request", text(&lease.request_id))
            .expression_attribute_values(":asked", listener::set(asked))
            .expression_attribute_values(":listening", listener::set(listening));
        match conditionally(take).await? {
            Condition::Held(item) => Ok(Written::Kept(standing(&item)?)),
            Condition::Failed(_) => Ok(Written::Lost),
        }
    }

    /// Takes the first turn off without running it, and gives the lease back: for one that is over, or
    /// too old to be known. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn drop_first(
        &self,
        lease: &Lease,
        known: &Standing,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let next = Next::after(lease, known, None, now);
        let drop = self
            .update(&lease.user_id, &lease.session_id)
            .update_expression(next.update)
            .condition_expression(OWN)
            .set_expression_attribute_values(Some(next.values));
        conditionally(drop).await?;
        Ok(())
    }

    /// The write that ends the first turn and gives the lease back. It fails if the lease is lost, or if
    /// the learner asked for something that is not `known`. `length` is the conversation's, if it grows.
    pub(super) fn finish(
        &self,
        lease: &Lease,
        known: &Standing,
        length: Option<u64>,
        now: Timestamp,
    ) -> Result<Update, BuildError> {
        let mut next = Next::after(lease, known, length, now);
        let mut condition = OWN.to_owned();
        if known.asked.is_empty() {
            condition.push_str(" AND attribute_not_exists(asked)");
        } else {
            condition.push_str(" AND asked = :asked");
            let asked = AttributeValue::Ss(known.asked.clone());
            next.values.insert(":asked".to_owned(), asked);
        }
        if !known.is_forgotten(&lease.request_id) {
            condition.push_str(" AND NOT contains(forgotten, :request)");
        }
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(&lease.user_id, &lease.session_id)))
            .update_expression(next.update)
            .condition_expression(condition)
            .set_expression_attribute_values(Some(next.values))
            .build()
    }

    fn update(&self, user: &UserId, session: &SessionId) -> UpdateItemFluentBuilder {
        self.dynamo
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(user, session)))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    async fn item(&self, user: &UserId, session: &SessionId) -> Result<Option<Item>, TableError> {
        let get = self
            .dynamo
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(user, session)))
            .consistent_read(true);
        Ok(get.send().await?.item)
    }
}

/// What a worker's write to its own turn rests on.
const OWN: &str = "fence = :fence AND waiting[0] = :request";

/// The next turn's turn: the first is taken off, with all that was kept for it.
struct Next {
    update: String,
    values: HashMap<String, AttributeValue>,
}

impl Next {
    fn after(lease: &Lease, known: &Standing, length: Option<u64>, now: Timestamp) -> Self {
        let request = &lease.request_id;
        let mut update = "SET leased_until = :zero, attempts = :zero, last_seq = :zero, \
             rung_at = :now"
            .to_owned();
        let mut values = HashMap::from([
            (":fence".to_owned(), number(lease.fence)),
            (":request".to_owned(), text(request)),
            (":requests".to_owned(), set([request.to_string()])),
            (":zero".to_owned(), number(0)),
            (":now".to_owned(), number(now.unix_ms())),
        ]);
        if let Some(length) = length {
            update.push_str(", messages = :messages");
            values.insert(":messages".to_owned(), number(length));
        }
        update.push_str(" REMOVE waiting[0], tail DELETE cancelled :requests, forgotten :requests");
        let unheard = known.asked(request);
        if !unheard.is_empty() {
            update.push_str(", asked :unheard");
            values.insert(":unheard".to_owned(), listener::set(&unheard));
        }
        Self { update, values }
    }
}

impl Lease {
    /// The turn that it was taken for.
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// Stands for this lease and no other.
    pub(super) fn digest(&self) -> String {
        let fence = self.fence.to_string();
        id::digest(&[self.user_id.as_str(), self.session_id.as_str(), &fence])
    }

    fn is_of(&self, item: &Item) -> bool {
        number_of::<u64>(item, "fence").is_ok_and(|fence| fence == self.fence)
    }
}

/// An item after its update, or as it was if the condition failed.
enum Condition {
    Held(Item),
    Failed(Option<Item>),
}

async fn conditionally(update: UpdateItemFluentBuilder) -> Result<Condition, TableError> {
    match update.send().await {
        Ok(UpdateItemOutput { attributes, .. }) => {
            Ok(Condition::Held(attributes.unwrap_or_default()))
        }
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Condition::Failed(failed.item().cloned()))
            }
            _ => Err(error.into()),
        },
    }
}

fn set(words: impl IntoIterator<Item = String>) -> AttributeValue {
    AttributeValue::Ss(words.into_iter().collect())
}

/// Later than any lease can hold.
fn absurd(now: Timestamp) -> Timestamp {
    now.after(JUMP)
}

fn key(user: &UserId, session: &SessionId) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("user_id".to_owned(), text(user)),
        ("session_id".to_owned(), text(session)),
    ])
}
