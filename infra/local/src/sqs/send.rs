//! Taking messages in, and recognizing those that were sent before.

use rusqlite::{OptionalExtension as _, Transaction, params};
use sha2::{Digest as _, Sha256};

use super::engine::{Queue, millis, next_sequence};
use super::error::SqsError;
use super::group;
use super::message::{NewMessage, Sent, md5_hex, sequence_number};
use super::spec::DeduplicationScope;

/// How long a deduplication id is remembered, counted from the first send: 5 min (SQS developer
/// guide, "Exactly-once processing").
const DEDUPLICATION_MS: i64 = 5 * 60 * 1000;

/// Stores a message that passed [`NewMessage::check`], unless it repeats an earlier one, also
/// one that was received and deleted since: then the earlier one's id and place are the answer.
pub(super) fn send(
    transaction: &Transaction<'_>,
    queue: &Queue,
    message: &NewMessage,
    now_ms: i64,
) -> Result<Sent, SqsError> {
    let spec = &queue.spec;
    let deduplication_id = spec.fifo.then(|| {
        message
            .deduplication_id
            .clone()
            .unwrap_or_else(|| format!("{:x}", Sha256::digest(&message.body)))
    });
    let scope = match spec.deduplication_scope {
        DeduplicationScope::Queue => "",
        DeduplicationScope::MessageGroup => message.group_id.as_deref().unwrap_or_default(),
    };
    if let Some(id) = &deduplication_id
        && let Some((message_id, sequence)) = sent_before(transaction, queue, scope, id, now_ms)?
    {
        return Ok(Sent {
            message_id,
            md5_of_body: md5_hex(message.body.as_bytes()),
            sequence_number: Some(sequence_number(sequence)),
        });
    }

    let sequence = next_sequence(transaction)?;
    let message_id = message_id(queue, sequence, now_ms);
    let delay_ms = match message.delay {
        Some(delay) if !spec.fifo => millis(delay),
        _ => millis(spec.delay),
    };
    let attributes = serde_json::to_string(&message.attributes).map_err(SqsError::Corrupt)?;
    transaction
        .prepare_cached(
            "INSERT INTO message (sequence, queue, message_id, sent_ms, visible_ms, group_id,
                                  deduplication_id, trace_header, attributes, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            sequence,
            queue.id,
            message_id,
            now_ms,
            now_ms.saturating_add(delay_ms),
            message.group_id,
            deduplication_id,
            message.trace_header,
            attributes,
            message.body,
        ])?;
    if let Some(id) = &deduplication_id {
        remember(
            transaction,
            queue,
            (scope, id),
            (&message_id, sequence),
            now_ms,
        )?;
    }
    if spec.fifo
        && let Some(group_id) = &message.group_id
    {
        group::refresh(transaction, queue, group_id)?;
    }
    queue.wake();
    Ok(Sent {
        message_id,
        md5_of_body: md5_hex(message.body.as_bytes()),
        sequence_number: spec.fifo.then(|| sequence_number(sequence)),
    })
}

fn sent_before(
    transaction: &Transaction<'_>,
    queue: &Queue,
    scope: &str,
    deduplication_id: &str,
    now_ms: i64,
) -> Result<Option<(String, i64)>, SqsError> {
    transaction
        .prepare_cached("DELETE FROM deduplication WHERE expires_ms <= ?1")?
        .execute(params![now_ms])?;
    let first = transaction
        .prepare_cached(
            "SELECT message_id, sequence FROM deduplication
             WHERE queue = ?1 AND scope = ?2 AND deduplication_id = ?3",
        )?
        .query_row(params![queue.id, scope, deduplication_id], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    Ok(first)
}

fn remember(
    transaction: &Transaction<'_>,
    queue: &Queue,
    (scope, deduplication_id): (&str, &str),
    (message_id, sequence): (&str, i64),
    now_ms: i64,
) -> Result<(), SqsError> {
    transaction
        .prepare_cached(
            "INSERT INTO deduplication (queue, scope, deduplication_id, message_id, sequence,
                                        expires_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            queue.id,
            scope,
            deduplication_id,
            message_id,
            sequence,
            now_ms.saturating_add(DEDUPLICATION_MS),
        ])?;
    Ok(())
}

/// A UUID made from place and time rather than at random: under a virtual clock a run repeats to
/// the byte, and the time keeps ids of a new data directory apart from those of an old one.
fn message_id(queue: &Queue, sequence: i64, now_ms: i64) -> String {
    let digest = Sha256::digest(format!("{}/{sequence}/{now_ms}", queue.spec.name));
    let mut id = format!("{digest:x}");
    id.truncate(32);
    // Version 8, "vendor specific" (RFC 9562), and its variant.
    id.replace_range(12..13, "8");
    id.replace_range(16..17, "8");
    for dash in [20, 16, 12, 8] {
        id.insert(dash, '-');
    }
    id
}
