//! How things stand in a conversation, as its item says.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use sparkle_core::{
    frame::StoredFrame,
    id::{self, RequestId},
    unit::Timestamp,
};

use super::{
    ASKED_MAX, SKEW, absurd,
    listener::{self, Listener},
};
use crate::table::{Item, TableError, number_of};

/// How things stand in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Turns that are not over, in order; the first one runs.
    pub waiting: Vec<RequestId>,
    /// The last frame of the running stream, 0 if there is none.
    pub last_seq: u32,
    /// Its newest frames; the older ones are in `FramesTable`.
    pub tail: Vec<StoredFrame>,
    leased_until: Timestamp,
    rung_at: Timestamp,
    rings: u64,
    forgotten: Vec<String>,
    cancelled: Vec<String>,
    pub(super) asked: Vec<String>,
    listening: Vec<String>,
}

impl Standing {
    /// Whether a worker holds the lease.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.leased_until > now && self.leased_until <= absurd(now)
    }

    /// Until when the owner may believe in its lease.
    pub(super) fn believed_until(&self) -> Timestamp {
        let skew_ms = i64::try_from(SKEW.as_millis()).unwrap_or(0);
        Timestamp::from_unix_ms(self.leased_until.unix_ms() - skew_ms)
    }

    /// Whether nothing has moved for `span`: no worker held the lease, none ended a turn, and none was
    /// told to.
    pub fn is_abandoned(&self, span: Duration, now: Timestamp) -> bool {
        let is_past = |at: Timestamp| at.after(span) <= now || at > absurd(now);
        is_past(self.leased_until) && is_past(self.rung_at)
    }

    /// Whether nobody more can ask to listen before a worker has seen those who did.
    pub fn is_crowded(&self) -> bool {
        u32::try_from(self.asked.len()).map_or(true, |asked| asked >= ASKED_MAX)
    }

    /// The number of the next ring.
    pub fn next_ring(&self) -> u64 {
        self.rings.saturating_add(1)
    }

    /// Whether a turn is to leave nothing in its conversation.
    pub fn is_forgotten(&self, request: &RequestId) -> bool {
        self.forgotten.iter().any(|id| id == request.as_str())
    }

    /// Whether a turn is not over.
    pub fn waits(&self, request: &RequestId) -> bool {
        self.waiting.contains(request)
    }

    /// Whether it is the turn that runs, or would.
    pub fn is_first(&self, request: &RequestId) -> bool {
        self.waiting.first() == Some(request)
    }

    /// Whether the learner wants a turn stopped.
    pub fn is_cancelled(&self, request: &RequestId) -> bool {
        self.cancelled.iter().any(|id| id == request.as_str())
    }

    /// Who wants to follow a turn and was not taken yet.
    pub fn asked(&self, request: &RequestId) -> Vec<Listener> {
        listener::of_request(&self.asked, request)
    }

    /// Stands for what the learner has asked.
    pub(in crate::table) fn digest(&self) -> String {
        let asked: Vec<&str> = self.asked.iter().map(String::as_str).collect();
        let forgotten: Vec<&str> = self.forgotten.iter().map(String::as_str).collect();
        id::digest(&[&id::digest(&asked), &id::digest(&forgotten)])
    }

    /// Who was taken by the worker of a turn.
    pub fn listening(&self, request: &RequestId) -> Vec<Listener> {
        listener::of_request(&self.listening, request)
    }
}

pub(super) fn standing(item: &Item) -> Result<Standing, TableError> {
    let list = |name| match item.get(name) {
        Some(AttributeValue::L(values)) => values.as_slice(),
        _ => &[],
    };
    let set = |name| match item.get(name) {
        Some(AttributeValue::Ss(words)) => words.clone(),
        _ => Vec::new(),
    };
    let waiting = list("waiting").iter().map(|value| {
        let id = value.as_s().ok().and_then(|id| RequestId::parse(id).ok());
        id.ok_or(TableError::Corrupt("waiting"))
    });
    let last_seq: u32 = number_or_zero(item, "last_seq")?;
    let tail = list("tail");
    let before = u32::try_from(tail.len()).map_or(0, |length| last_seq.saturating_sub(length));
    let tail = (before + 1..).zip(tail).map(|(seq, frame)| match frame {
        AttributeValue::B(bytes) => Ok(StoredFrame {
            seq,
            bytes: bytes.clone().into_inner(),
        }),
        _ => Err(TableError::Corrupt("tail")),
    });
    Ok(Standing {
        waiting: waiting.collect::<Result<_, _>>()?,
        last_seq,
        tail: tail.collect::<Result<_, _>>()?,
        leased_until: Timestamp::from_unix_ms(number_or_zero(item, "leased_until")?),
        rung_at: Timestamp::from_unix_ms(number_or_zero(item, "rung_at")?),
        rings: number_or_zero(item, "rings")?,
        forgotten: set("forgotten"),
        cancelled: set("cancelled"),
        asked: set("asked"),
        listening: set("listening"),
    })
}

pub(super) fn number_or_zero<N: std::str::FromStr + Default>(
    item: &Item,
    name: &'static str,
) -> Result<N, TableError> {
    match item.get(name) {
        None => Ok(N::default()),
        Some(_) => number_of(item, name),
    }
}
