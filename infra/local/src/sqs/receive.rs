//! Handing messages out: which ones, and what happens to those that nobody finishes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Row, Transaction, params};
use tokio::sync::watch;

use super::engine::{Queue, Queues, find, millis, next_sequence};
use super::error::SqsError;
use super::group;
use super::message::{Receipt, ReceivedMessage, md5_hex, sequence_number};
use super::spec::{ACCOUNT, arn};

/// Most messages in flight per queue (SQS quotas for FIFO and standard queues, read 2026-11).
const IN_FLIGHT_MAX: i64 = 120_000;

/// What a receiver asks for.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) queue: String,
    /// 1 to 10.
    pub(super) messages_max: usize,
    /// How long to wait for a first message; `None`: as long as the queue says.
    pub(super) wait: Option<Duration>,
    /// How long to hide what is received; `None`: as long as the queue says.
    pub(super) visibility: Option<Duration>,
}

/// What a receiver gets.
pub(super) enum Answer {
    /// At least one message.
    Messages(HandedOut),
    /// Nothing now.
    Nothing {
        /// Changes when looking again may be worthwhile.
        changes: watch::Receiver<()>,
        /// When a message becomes visible if nothing happens.
        next_in: Option<Duration>,
        /// How long the receiver wants to wait in all.
        wait: Duration,
    },
}

/// Receipts of messages that came back because their receiver went away.
pub(super) type Returns = Arc<Mutex<Vec<Receipt>>>;

/// Messages on their way to a receiver. If it goes away first, they come back at once.
pub(super) struct HandedOut {
    messages: Vec<ReceivedMessage>,
    receipts: Vec<Receipt>,
    returns: Returns,
    changes: watch::Sender<()>,
}

impl HandedOut {
    /// The messages have arrived: from here on only their visibility brings them back.
    pub(super) fn arrived(mut self) -> Vec<ReceivedMessage> {
        self.receipts.clear();
        std::mem::take(&mut self.messages)
    }
}

impl Drop for HandedOut {
    fn drop(&mut self) {
        if !self.receipts.is_empty() {
            self.returns
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .append(&mut self.receipts);
            self.changes.send_replace(());
        }
    }
}

/// Receives once, without waiting.
pub(super) fn receive(
    transaction: &Transaction<'_>,
    queues: &Queues,
    request: &Request,
    returns: Returns,
    now_ms: i64,
) -> Result<Answer, SqsError> {
    let queue = find(queues, &request.queue)?;
    expire(transaction, queue, now_ms)?;

    let room = usize::try_from(IN_FLIGHT_MAX - in_flight(transaction, queue, now_ms)?);
    let room = room.unwrap_or_default();
    if room == 0 && !queue.spec.fifo {
        return Err(SqsError::OverLimit);
    }
    let messages_max = request.messages_max.min(room);
    let mut picked = Vec::new();
    // A pass that only moved messages to the dead-letter queue has made way for others.
    while picked.is_empty() && messages_max > 0 {
        let pass = if queue.spec.fifo {
            pick_fifo(transaction, queues, queue, messages_max, now_ms)?
        } else {
            pick_standard(transaction, queues, queue, messages_max, now_ms)?
        };
        picked = pass.picked;
        if !pass.moved {
            break;
        }
    }
    if picked.is_empty() {
        return Ok(Answer::Nothing {
            changes: queue.changes.subscribe(),
            next_in: next_in(transaction, queue, now_ms)?,
            wait: request.wait.unwrap_or(queue.spec.receive_wait),
        });
    }

    let visibility = request.visibility.unwrap_or(queue.spec.visibility_timeout);
    let visible_ms = now_ms.saturating_add(millis(visibility));
    let mut handed_out = HandedOut {
        messages: Vec::with_capacity(picked.len()),
        receipts: Vec::new(),
        returns,
        changes: queue.changes.clone(),
    };
    let mut receipts = Vec::with_capacity(picked.len());
    for sequence in &picked {
        let (message, receipt) = hand_out(transaction, queue, *sequence, visible_ms, now_ms)?;
        handed_out.messages.push(message);
        receipts.push(receipt);
    }
    if queue.spec.fifo {
        let groups = handed_out
            .messages
            .iter()
            .filter_map(|message| message.attributes.get("MessageGroupId").map(String::as_str));
        let mut served = "";
        for group_id in groups {
            if group_id != served {
                group::refresh(transaction, queue, group_id)?;
                group::to_the_end(transaction, queue, group_id)?;
                served = group_id;
            }
        }
    }
    // Only now: a transaction that fails has handed out nothing that could come back.
    handed_out.receipts = receipts;
    Ok(Answer::Messages(handed_out))
}

struct Pass {
    picked: Vec<i64>,
    moved: bool,
}

/// What decides whether a message may be picked.
struct Candidate {
    sequence: i64,
    visible_ms: i64,
    receives: i64,
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate {
        sequence: row.get(0)?,
        visible_ms: row.get(1)?,
        receives: row.get(2)?,
    })
}

/// The messages that have been visible longest.
fn pick_standard(
    transaction: &Transaction<'_>,
    queues: &Queues,
    queue: &Queue,
    messages_max: usize,
    now_ms: i64,
) -> Result<Pass, SqsError> {
    let candidates = transaction
        .prepare_cached(
            "SELECT sequence, visible_ms, receives FROM message
             WHERE queue = ?1 AND visible_ms <= ?2 ORDER BY visible_ms, sequence LIMIT ?3",
        )?
        .query_map(
            params![
                queue.id,
                now_ms,
                i64::try_from(messages_max).unwrap_or(i64::MAX)
            ],
            candidate,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    pick(transaction, queues, queue, candidates, now_ms)
}

/// Whole runs of the groups in line: as many as possible of the first, then of the next. A run
/// ends at the first message that is not visible yet, so that nothing overtakes it.
fn pick_fifo(
    transaction: &Transaction<'_>,
    queues: &Queues,
    queue: &Queue,
    messages_max: usize,
    now_ms: i64,
) -> Result<Pass, SqsError> {
    let mut pass = Pass {
        picked: Vec::new(),
        moved: false,
    };
    for group_id in group::ready(transaction, queue, messages_max, now_ms)? {
        let room = messages_max.saturating_sub(pass.picked.len());
        if room == 0 {
            break;
        }
        let run = transaction
            .prepare_cached(
                "SELECT sequence, visible_ms, receives FROM message
                 WHERE queue = ?1 AND group_id = ?2 ORDER BY sequence LIMIT ?3",
            )?
            .query_map(
                params![queue.id, group_id, i64::try_from(room).unwrap_or(i64::MAX)],
                candidate,
            )?
            .collect::<Result<Vec<_>, _>>()?;
        let visible = run
            .into_iter()
            .take_while(|message| message.visible_ms <= now_ms);
        let of_group = pick(transaction, queues, queue, visible, now_ms)?;
        if of_group.moved {
            group::refresh(transaction, queue, &group_id)?;
            pass.moved = true;
        }
        pass.picked.extend(of_group.picked);
    }
    Ok(pass)
}

fn pick(
    transaction: &Transaction<'_>,
    queues: &Queues,
    queue: &Queue,
    candidates: impl IntoIterator<Item = Candidate>,
    now_ms: i64,
) -> Result<Pass, SqsError> {
    let dead_letter = queue.spec.dead_letter.as_ref().and_then(|dead_letter| {
        let target = queues.get(&dead_letter.queue)?;
        Some((target, i64::from(dead_letter.receive_count_max)))
    });
    let mut pass = Pass {
        picked: Vec::new(),
        moved: false,
    };
    for message in candidates {
        match dead_letter {
            Some((target, receives_max)) if message.receives >= receives_max => {
                let source = arn(&queue.spec.name);
                move_to(transaction, target, message.sequence, Some(&source), now_ms)?;
                pass.moved = true;
            }
            _ => pass.picked.push(message.sequence),
        }
    }
    Ok(pass)
}

/// Moves a message to the end of another queue, where it is visible at once. It keeps its id, its
/// group and the count of its receives, and in a standard queue its age (SQS developer guide,
/// "Configuring a dead-letter queue": a FIFO queue's retention starts anew).
pub(super) fn move_to(
    transaction: &Transaction<'_>,
    target: &Queue,
    sequence: i64,
    dead_letter_source: Option<&str>,
    now_ms: i64,
) -> Result<(), SqsError> {
    let place = next_sequence(transaction)?;
    let group_id: Option<String> = transaction
        .prepare_cached(
            "UPDATE message SET sequence = ?2, queue = ?3, dead_letter_source = ?4, visible_ms = ?5,
                sent_ms = iif(?6, ?5, sent_ms),
                earlier_receives = earlier_receives + receives, receives = 0
             WHERE sequence = ?1 RETURNING group_id",
        )?
        .query_row(
            params![
                sequence,
                place,
                target.id,
                dead_letter_source,
                now_ms,
                target.spec.fifo
            ],
            |row| row.get(0),
        )?;
    if target.spec.fifo
        && let Some(group_id) = group_id
    {
        group::refresh(transaction, target, &group_id)?;
    }
    target.wake();
    Ok(())
}

fn hand_out(
    transaction: &Transaction<'_>,
    queue: &Queue,
    sequence: i64,
    visible_ms: i64,
    now_ms: i64,
) -> Result<(ReceivedMessage, Receipt), SqsError> {
    let (mut message, receipt, attributes) = transaction
        .prepare_cached(
            "UPDATE message SET receives = receives + 1, visible_ms = ?2, last_received_ms = ?3,
                first_received_ms = coalesce(first_received_ms, ?3)
             WHERE sequence = ?1
             RETURNING message_id, sent_ms, receives, earlier_receives, first_received_ms,
                       group_id, deduplication_id, dead_letter_source, trace_header, attributes,
                       body",
        )?
        .query_row(params![sequence, visible_ms, now_ms], |row| {
            let receipt = Receipt {
                queue: queue.id,
                message_id: row.get(0)?,
                receives: row.get(2)?,
            };
            let body: String = row.get(10)?;
            let message = ReceivedMessage {
                message_id: receipt.message_id.clone(),
                receipt_handle: receipt.to_handle(),
                md5_of_body: md5_hex(body.as_bytes()),
                body,
                attributes: system_attributes(queue, sequence, row)?,
                message_attributes: BTreeMap::new(),
            };
            Ok((message, receipt, row.get::<_, String>(9)?))
        })?;
    message.message_attributes = serde_json::from_str(&attributes).map_err(SqsError::Corrupt)?;
    Ok((message, receipt))
}

fn system_attributes(
    queue: &Queue,
    sequence: i64,
    row: &Row<'_>,
) -> rusqlite::Result<BTreeMap<String, String>> {
    let receives = row.get::<_, i64>(2)?.saturating_add(row.get(3)?);
    let known = [
        ("SenderId", Some(ACCOUNT.to_owned())),
        ("SentTimestamp", Some(row.get::<_, i64>(1)?.to_string())),
        ("ApproximateReceiveCount", Some(receives.to_string())),
        (
            "ApproximateFirstReceiveTimestamp",
            row.get::<_, Option<i64>>(4)?.map(|ms| ms.to_string()),
        ),
        ("MessageGroupId", row.get(5)?),
        ("MessageDeduplicationId", row.get(6)?),
        ("DeadLetterQueueSourceArn", row.get(7)?),
        ("AWSTraceHeader", row.get(8)?),
        (
            "SequenceNumber",
            queue.spec.fifo.then(|| sequence_number(sequence)),
        ),
    ];
    let present = known
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Ok(present.collect())
}

/// Drops what is older than the queue keeps.
pub(super) fn expire(
    transaction: &Transaction<'_>,
    queue: &Queue,
    now_ms: i64,
) -> Result<(), SqsError> {
    let oldest_ms = now_ms.saturating_sub(millis(queue.spec.retention));
    let mut groups = transaction
        .prepare_cached(
            "DELETE FROM message WHERE queue = ?1 AND sent_ms <= ?2 RETURNING group_id",
        )?
        .query_map(params![queue.id, oldest_ms], |row| row.get(0))?
        .collect::<Result<Vec<Option<String>>, _>>()?;
    groups.sort_unstable();
    groups.dedup();
    for group_id in groups.into_iter().flatten().filter(|_| queue.spec.fifo) {
        group::refresh(transaction, queue, &group_id)?;
    }
    Ok(())
}

fn in_flight(transaction: &Transaction<'_>, queue: &Queue, now_ms: i64) -> Result<i64, SqsError> {
    let count = transaction
        .prepare_cached(
            "SELECT count(*) FROM message
             WHERE queue = ?1 AND receives > 0 AND visible_ms > ?2",
        )?
        .query_row(params![queue.id, now_ms], |row| row.get(0))?;
    Ok(count)
}

fn next_in(
    transaction: &Transaction<'_>,
    queue: &Queue,
    now_ms: i64,
) -> Result<Option<Duration>, SqsError> {
    let next_ms: Option<i64> = if queue.spec.fifo {
        group::next_ready_ms(transaction, queue, now_ms)?
    } else {
        transaction
            .prepare_cached(
                "SELECT min(visible_ms) FROM message WHERE queue = ?1 AND visible_ms > ?2",
            )?
            .query_row(params![queue.id, now_ms], |row| row.get(0))?
    };
    Ok(next_ms
        .and_then(|next_ms| u64::try_from(next_ms.saturating_sub(now_ms)).ok())
        .map(Duration::from_millis))
}
