//! `StartMessageMoveTask`: emptying a dead-letter queue back into where its messages came from.
//! Here a move is one transaction, so a task is over when its start is answered.

use rusqlite::{Transaction, params};

use super::engine::{Queue, Queues, find};
use super::error::SqsError;
use super::group;
use super::receive::move_to;
use super::spec::arn;

/// Moves every message that is not in flight from a dead-letter queue to `destination`, or to the
/// queue that each came from; returns how many. A message whose source is gone stays.
pub(super) fn move_all(
    transaction: &Transaction<'_>,
    queues: &Queues,
    source: &str,
    destination: Option<&str>,
    now_ms: i64,
) -> Result<u64, SqsError> {
    let source = find(queues, source).map_err(|_absent| {
        SqsError::ResourceNotFound(
            "the resource that you specified for the SourceArn parameter \
                                    doesn't exist",
        )
    })?;
    let is_dead_letter_queue = queues.values().any(|queue| {
        let target = queue
            .spec
            .dead_letter
            .as_ref()
            .map(|dead_letter| &dead_letter.queue);
        target == Some(&source.spec.name)
    });
    if !is_dead_letter_queue {
        return Err(SqsError::InvalidParameterValue(
            "Source queue must be configured as a Dead Letter Queue.".to_owned(),
        ));
    }
    let destination = destination
        .map(|name| {
            find(queues, name).map_err(|_absent| {
                SqsError::ResourceNotFound(
                    "the resource that you specified for the DestinationArn parameter doesn't \
                     exist",
                )
            })
        })
        .transpose()?;

    let waiting = transaction
        .prepare_cached(
            "SELECT sequence, dead_letter_source FROM message
             WHERE queue = ?1 AND visible_ms <= ?2 ORDER BY sequence",
        )?
        .query_map(params![source.id, now_ms], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<Vec<(i64, Option<String>)>, _>>()?;
    let mut moved = 0;
    for (sequence, came_from) in waiting {
        let target = destination.or_else(|| by_arn(queues, came_from.as_deref()?));
        let Some(target) = target.filter(|target| target.spec.fifo == source.spec.fifo) else {
            continue;
        };
        move_to(transaction, target, sequence, None, now_ms)?;
        moved += 1;
    }
    if source.spec.fifo {
        group::refresh_all(transaction, source)?;
    }
    Ok(moved)
}

fn by_arn<'a>(queues: &'a Queues, wanted: &str) -> Option<&'a Queue> {
    queues
        .values()
        .find(|queue| arn(&queue.spec.name) == wanted)
}
