//! The line of a FIFO queue: which message group is served next.
//!
//! Every group that has messages stands in the line once. It joins at the place of its oldest
//! message and goes to the end each time it is served, so that a busy group waits for all others
//! before it is served again, and newcomers never overtake. A group is ready when its oldest
//! message is visible and none of its messages is in flight; `ready_ms` is when that will be.

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::engine::{Queue, millis, next_sequence};
use super::error::SqsError;

/// Groups that may be served now, the longest waiting first.
pub(super) fn ready(
    transaction: &Transaction<'_>,
    queue: &Queue,
    groups_max: usize,
    now_ms: i64,
) -> Result<Vec<String>, SqsError> {
    let groups_max = i64::try_from(groups_max).unwrap_or(i64::MAX);
    let mut statement = transaction.prepare_cached(
        "SELECT group_id FROM message_group WHERE queue = ?1 AND ready_ms <= ?2
         ORDER BY turn LIMIT ?3",
    )?;
    let groups = statement
        .query_map(params![queue.id, now_ms, groups_max], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(groups)
}

/// When the next group becomes ready of those that are not.
pub(super) fn next_ready_ms(
    transaction: &Transaction<'_>,
    queue: &Queue,
    now_ms: i64,
) -> Result<Option<i64>, SqsError> {
    let next = transaction
        .prepare_cached(
            "SELECT min(ready_ms) FROM message_group WHERE queue = ?1 AND ready_ms > ?2",
        )?
        .query_row(params![queue.id, now_ms], |row| row.get(0))?;
    Ok(next)
}

/// Brings a group's place up to date after its messages changed. Without messages it leaves.
pub(super) fn refresh(
    transaction: &Transaction<'_>,
    queue: &Queue,
    group_id: &str,
) -> Result<(), SqsError> {
    let head: Option<(i64, i64)> = transaction
        .prepare_cached(
            "SELECT sequence, visible_ms FROM message WHERE queue = ?1 AND group_id = ?2
             ORDER BY sequence LIMIT 1",
        )?
        .query_row(params![queue.id, group_id], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((sequence, visible_ms)) = head else {
        transaction
            .prepare_cached("DELETE FROM message_group WHERE queue = ?1 AND group_id = ?2")?
            .execute(params![queue.id, group_id])?;
        return Ok(());
    };
    // The latest end of a flight. One that is over lies in the past and does no harm.
    let landed_ms: Option<i64> = transaction
        .prepare_cached(
            "SELECT max(visible_ms) FROM message
             WHERE queue = ?1 AND group_id = ?2 AND receives > 0",
        )?
        .query_row(params![queue.id, group_id], |row| row.get(0))?;
    let ready_ms = visible_ms.max(landed_ms.unwrap_or(visible_ms));
    transaction
        .prepare_cached(
            "INSERT INTO message_group (queue, group_id, turn, ready_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (queue, group_id) DO UPDATE SET ready_ms = ?4",
        )?
        .execute(params![queue.id, group_id, sequence, ready_ms])?;
    Ok(())
}

/// Sends a group that was just served to the end of the line.
pub(super) fn to_the_end(
    transaction: &Transaction<'_>,
    queue: &Queue,
    group_id: &str,
) -> Result<(), SqsError> {
    let turn = next_sequence(transaction)?;
    transaction
        .prepare_cached("UPDATE message_group SET turn = ?3 WHERE queue = ?1 AND group_id = ?2")?
        .execute(params![queue.id, group_id, turn])?;
    Ok(())
}

/// A changed delay of a FIFO queue holds for the messages already in it too.
pub(super) fn change_delay(transaction: &Transaction<'_>, queue: &Queue) -> Result<(), SqsError> {
    let delay_ms = millis(queue.spec.delay);
    transaction.execute(
        "UPDATE message SET visible_ms = sent_ms + ?2 WHERE queue = ?1 AND receives = 0",
        params![queue.id, delay_ms],
    )?;
    refresh_all(transaction, queue)
}

/// Brings every group of a queue up to date.
pub(super) fn refresh_all(transaction: &Transaction<'_>, queue: &Queue) -> Result<(), SqsError> {
    let groups = transaction
        .prepare_cached("SELECT group_id FROM message_group WHERE queue = ?1")?
        .query_map(params![queue.id], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    for group_id in groups {
        refresh(transaction, queue, &group_id)?;
    }
    Ok(())
}
