//! What ends or prolongs a message's flight: deletion, another visibility, a receiver that left.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::engine::{Queue, Queues, millis};
use super::error::SqsError;
use super::group;
use super::message::Receipt;
use super::spec::VISIBILITY_SECONDS_MAX;

/// A message as the receipt's holder left it.
struct Held {
    sequence: i64,
    visible_ms: i64,
    receives: i64,
    last_received_ms: i64,
    group_id: Option<String>,
}

fn held(
    transaction: &Transaction<'_>,
    queue: &Queue,
    receipt: &Receipt,
) -> Result<Option<Held>, SqsError> {
    if receipt.queue != queue.id {
        return Err(SqsError::ReceiptHandleIsInvalid);
    }
    let held = transaction
        .prepare_cached(
            "SELECT sequence, visible_ms, receives, coalesce(last_received_ms, 0), group_id
             FROM message WHERE message_id = ?1 AND queue = ?2",
        )?
        .query_row(params![receipt.message_id, queue.id], |row| {
            Ok(Held {
                sequence: row.get(0)?,
                visible_ms: row.get(1)?,
                receives: row.get(2)?,
                last_received_ms: row.get(3)?,
                group_id: row.get(4)?,
            })
        })
        .optional()?;
    match held {
        Some(held) if receipt.receives < 1 || receipt.receives > held.receives => {
            Err(SqsError::ReceiptHandleIsInvalid)
        }
        held => Ok(held),
    }
}

/// Deletes the message behind a handle. One that is gone already is no error. A standard queue
/// takes any handle it ever gave out, a FIFO queue only that of a running flight.
pub(super) fn delete(
    transaction: &Transaction<'_>,
    queue: &Queue,
    handle: &str,
    now_ms: i64,
) -> Result<(), SqsError> {
    let receipt = Receipt::from_handle(handle)?;
    let Some(held) = held(transaction, queue, &receipt)? else {
        return Ok(());
    };
    if queue.spec.fifo && (receipt.receives != held.receives || held.visible_ms <= now_ms) {
        return Err(SqsError::invalid(
            "ReceiptHandle",
            handle,
            "The receipt handle has expired.",
        ));
    }
    transaction
        .prepare_cached("DELETE FROM message WHERE sequence = ?1")?
        .execute(params![held.sequence])?;
    landed(transaction, queue, &held)
}

/// Hides a message in flight for this long from now, at most 12 h from when it was received.
pub(super) fn change_visibility(
    transaction: &Transaction<'_>,
    queue: &Queue,
    handle: &str,
    visibility: Duration,
    now_ms: i64,
) -> Result<(), SqsError> {
    if visibility > Duration::from_secs(VISIBILITY_SECONDS_MAX) {
        return Err(SqsError::invalid(
            "VisibilityTimeout",
            visibility.as_secs(),
            "VisibilityTimeout must be >= 0 and <= 43200.",
        ));
    }
    let receipt = Receipt::from_handle(handle)?;
    let Some(held) =
        held(transaction, queue, &receipt)?.filter(|held| receipt.receives == held.receives)
    else {
        return Err(SqsError::invalid(
            "ReceiptHandle",
            handle,
            "Message does not exist or is not available for visibility timeout change.",
        ));
    };
    if held.visible_ms <= now_ms {
        return Err(SqsError::MessageNotInflight);
    }
    let visible_ms = now_ms.saturating_add(millis(visibility));
    let longest = Duration::from_secs(VISIBILITY_SECONDS_MAX);
    if visible_ms > held.last_received_ms.saturating_add(millis(longest)) {
        return Err(SqsError::InvalidParameterValue(format!(
            "Total VisibilityTimeout for the message is beyond the limit \
             [{VISIBILITY_SECONDS_MAX} seconds]"
        )));
    }
    transaction
        .prepare_cached("UPDATE message SET visible_ms = ?2 WHERE sequence = ?1")?
        .execute(params![held.sequence, visible_ms])?;
    landed(transaction, queue, &held)
}

/// Undoes a receive whose receiver went away: the message is visible and the receive not counted.
/// Does nothing if the message was deleted, moved or received again since.
pub(super) fn take_back(
    transaction: &Transaction<'_>,
    queues: &Queues,
    receipt: &Receipt,
    now_ms: i64,
) -> Result<(), SqsError> {
    let Some(queue) = queues.values().find(|queue| queue.id == receipt.queue) else {
        return Ok(());
    };
    let sequence: Option<(i64, Option<String>)> = transaction
        .prepare_cached(
            "UPDATE message SET receives = receives - 1, visible_ms = min(visible_ms, ?3),
                first_received_ms = iif(receives + earlier_receives > 1, first_received_ms, NULL)
             WHERE message_id = ?1 AND queue = ?4 AND receives = ?2
             RETURNING sequence, group_id",
        )?
        .query_row(
            params![receipt.message_id, receipt.receives, now_ms, queue.id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    match sequence {
        Some((_, Some(group_id))) if queue.spec.fifo => {
            group::refresh(transaction, queue, &group_id)?;
        }
        Some(_) => {}
        None => return Ok(()),
    }
    queue.wake();
    Ok(())
}

/// Deletes every message of a queue. What was sent before stays recognized as a duplicate.
pub(super) fn purge(transaction: &Transaction<'_>, queue: &Queue) -> Result<(), SqsError> {
    for table in ["message", "message_group"] {
        transaction.execute(
            &format!("DELETE FROM {table} WHERE queue = ?1"),
            params![queue.id],
        )?;
    }
    Ok(())
}

/// The flight of a message ended or has another end: its group may be ready.
fn landed(transaction: &Transaction<'_>, queue: &Queue, held: &Held) -> Result<(), SqsError> {
    if queue.spec.fifo
        && let Some(group_id) = &held.group_id
    {
        group::refresh(transaction, queue, group_id)?;
    }
    queue.wake();
    Ok(())
}
