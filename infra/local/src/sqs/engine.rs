//! The database file: its layout, the queues in it, and one transaction per operation.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};
use tokio::sync::watch;

use super::error::SqsError;
use super::message::Receipt;
use super::spec::QueueSpec;
use super::{group, settle};

/// `message.receives` counts receives from the queue that the message is in now,
/// `earlier_receives` those before a redrive. A message is in flight while `receives > 0` and
/// `visible_ms` lies ahead, delayed while `receives = 0` and `visible_ms` lies ahead.
/// The body comes last so that the columns that change are read and written without it.
///
/// `message_group` is the line in which the groups of a FIFO queue wait: one row per group that
/// has messages, see [`group`].
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS counter (value INTEGER NOT NULL) STRICT;
INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter);

CREATE TABLE IF NOT EXISTS queue (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  spec TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  modified_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS message (
  sequence INTEGER PRIMARY KEY,
  queue INTEGER NOT NULL REFERENCES queue (id) ON DELETE CASCADE,
  message_id TEXT NOT NULL,
  sent_ms INTEGER NOT NULL,
  visible_ms INTEGER NOT NULL,
  receives INTEGER NOT NULL DEFAULT 0,
  earlier_receives INTEGER NOT NULL DEFAULT 0,
  first_received_ms INTEGER,
  last_received_ms INTEGER,
  group_id TEXT,
  deduplication_id TEXT,
  dead_letter_source TEXT,
  trace_header TEXT,
  attributes TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS message_by_id ON message (message_id);
CREATE INDEX IF NOT EXISTS message_by_visibility 
  ON message (queue, visible_ms, sequence, receives);
CREATE INDEX IF NOT EXISTS message_by_group ON message (queue, group_id, sequence);
CREATE INDEX IF NOT EXISTS message_by_age ON message (queue, sent_ms);
CREATE INDEX IF NOT EXISTS message_received ON message (queue, group_id, visible_ms)
  WHERE receives > 0;

CREATE TABLE IF NOT EXISTS message_group (
  queue INTEGER NOT NULL REFERENCES queue (id) ON DELETE CASCADE,
  group_id TEXT NOT NULL,
  turn INTEGER NOT NULL,
  ready_ms INTEGER NOT NULL,
  PRIMARY KEY (queue, group_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS message_group_line ON message_group (queue, turn);

CREATE TABLE IF NOT EXISTS deduplication (
  queue INTEGER NOT NULL REFERENCES queue (id) ON DELETE CASCADE,
  scope TEXT NOT NULL,
  deduplication_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  PRIMARY KEY (queue, scope, deduplication_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deduplication_by_expiry ON deduplication (expires_ms);
";
/// The `user_version` of a file with this [`SCHEMA`]; 0 is a new file.
const LAYOUT: i64 = 1;

/// The open database and the queues in it.
pub(super) struct Engine {
    connection: Connection,
    queues: Queues,
}

/// Every queue by name, as stored.
pub(super) type Queues = BTreeMap<String, Queue>;

/// One queue.
#[derive(Clone)]
pub(super) struct Queue {
    pub(super) id: i64,
    pub(super) spec: QueueSpec,
    pub(super) created_ms: i64,
    pub(super) modified_ms: i64,
    /// Told whenever a waiting receiver may find something that it did not find before.
    pub(super) changes: watch::Sender<()>,
}

impl Queue {
    /// Lets waiting receivers look again; they do so once the running transaction is over.
    pub(super) fn wake(&self) {
        self.changes.send_replace(());
    }
}

/// The queue of this name.
pub(super) fn find<'a>(queues: &'a Queues, name: &str) -> Result<&'a Queue, SqsError> {
    queues.get(name).ok_or(SqsError::QueueDoesNotExist)
}

impl Engine {
    /// Opens or creates the file, and creates or updates the queues declared; what is in them
    /// stays, and so do queues that are not declared.
    pub(super) fn open(
        path: Option<&Path>,
        declared: Vec<QueueSpec>,
        now_ms: i64,
    ) -> Result<Self, SqsError> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(Duration::from_secs(5))?;
        let layout = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if layout != 0 && layout != LAYOUT {
            return Err(SqsError::UnknownLayout(layout));
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A checkpoint waits for the disk. Four times the default makes them rare.
        connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
        connection.pragma_update(None, "user_version", LAYOUT)?;

        let queues = load(&connection)?;
        let mut engine = Self { connection, queues };
        let names: Vec<String> = declared.iter().map(|spec| spec.name.clone()).collect();
        for spec in declared {
            spec.check()?;
            engine.put(spec, now_ms)?;
        }
        // After all of them: a dead-letter queue may be declared behind its source.
        for name in names {
            check_dead_letter(&engine.queues, &find(&engine.queues, &name)?.spec)?;
        }
        Ok(engine)
    }

    /// Runs one operation as one transaction: all of it happens, or none of it.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &Queues) -> Result<T, SqsError>,
    ) -> Result<T, SqsError> {
        let transaction = self.connection.transaction()?;
        let outcome = work(&transaction, &self.queues)?;
        transaction.commit()?;
        Ok(outcome)
    }

    /// Every queue.
    pub(super) fn queues(&self) -> &Queues {
        &self.queues
    }

    /// Makes messages visible again whose receiver went away before it got them.
    pub(super) fn take_back(&mut self, receipts: &[Receipt], now_ms: i64) -> Result<(), SqsError> {
        if receipts.is_empty() {
            return Ok(());
        }
        self.transact(|transaction, queues| {
            for receipt in receipts {
                settle::take_back(transaction, queues, receipt, now_ms)?;
            }
            Ok(())
        })
    }

    /// Creates a queue; creating it again with the same settings is no error.
    pub(super) fn create(&mut self, spec: QueueSpec, now_ms: i64) -> Result<(), SqsError> {
        spec.check()?;
        check_dead_letter(&self.queues, &spec)?;
        let Some(existing) = self.queues.get(&spec.name) else {
            return self.put(spec, now_ms);
        };
        let (existing, wanted) = (existing.spec.attributes(), spec.attributes());
        let differing = wanted
            .iter()
            .find(|(name, value)| existing.get(*name) != Some(*value))
            .or_else(|| {
                existing
                    .iter()
                    .find(|(name, _)| !wanted.contains_key(*name))
            });
        match differing {
            Some((name, _)) => Err(SqsError::QueueNameExists(name)),
            None => Ok(()),
        }
    }

    /// Changes the settings of an existing queue.
    pub(super) fn update(&mut self, spec: QueueSpec, now_ms: i64) -> Result<(), SqsError> {
        spec.check()?;
        find(&self.queues, &spec.name)?;
        check_dead_letter(&self.queues, &spec)?;
        self.put(spec, now_ms)
    }

    /// Drops a queue with everything in it. Its waiting receivers are told that it is gone.
    pub(super) fn drop_queue(&mut self, name: &str) -> Result<(), SqsError> {
        let id = find(&self.queues, name)?.id;
        self.connection
            .execute("DELETE FROM queue WHERE id = ?1", params![id])?;
        self.queues.remove(name);
        Ok(())
    }

    fn put(&mut self, spec: QueueSpec, now_ms: i64) -> Result<(), SqsError> {
        if let Some(existing) = self.queues.get(&spec.name)
            && existing.spec.fifo != spec.fifo
        {
            return Err(SqsError::QueueNameExists("FifoQueue"));
        }
        let text = serde_json::to_string(&spec).map_err(SqsError::Corrupt)?;
        let transaction = self.connection.transaction()?;
        let (id, created_ms) = transaction.query_row(
            "INSERT INTO queue (name, spec, created_ms, modified_ms) VALUES (?1, ?2, ?3, ?3)
             ON CONFLICT (name) DO UPDATE SET spec = ?2, modified_ms = ?3
             RETURNING id, created_ms",
            params![spec.name, text, now_ms],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let existing = self.queues.get(&spec.name);
        let changed_delay = existing.is_some_and(|existing| existing.spec.delay != spec.delay);
        let queue = Queue {
            id,
            created_ms,
            modified_ms: now_ms,
            changes: existing
                .map_or_else(|| watch::channel(()).0, |existing| existing.changes.clone()),
            spec,
        };
        if changed_delay && queue.spec.fifo {
            group::change_delay(&transaction, &queue)?;
        }
        transaction.commit()?;
        queue.wake();
        self.queues.insert(queue.spec.name.clone(), queue);
        Ok(())
    }
}

fn load(connection: &Connection) -> Result<Queues, SqsError> {
    let mut statement =
        connection.prepare("SELECT id, spec, created_ms, modified_ms FROM queue")?;
    let rows = statement.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get::<_, String>(1)?,
            row.get(2)?,
            row.get(3)?,
        ))
    })?;
    let mut queues = Queues::new();
    for row in rows {
        let (id, spec, created_ms, modified_ms) = row?;
        let spec: QueueSpec = serde_json::from_str(&spec).map_err(SqsError::Corrupt)?;
        let queue = Queue {
            id,
            spec,
            created_ms,
            modified_ms,
            changes: watch::channel(()).0,
        };
        queues.insert(queue.spec.name.clone(), queue);
    }
    Ok(queues)
}

/// A dead-letter queue exists, is another queue, and is of the same type.
fn check_dead_letter(queues: &Queues, spec: &QueueSpec) -> Result<(), SqsError> {
    let Some(dead_letter) = &spec.dead_letter else {
        return Ok(());
    };
    let reason = match queues.get(&dead_letter.queue) {
        None => "Dead letter target does not exist.",
        Some(_) if dead_letter.queue == spec.name => "Dead letter target is the queue itself.",
        Some(target) if target.spec.fifo != spec.fifo => {
            "Dead-letter queue must be same type of queue as the source."
        }
        Some(_) => return Ok(()),
    };
    Err(SqsError::invalid(
        "RedrivePolicy",
        &dead_letter.queue,
        reason,
    ))
}

/// The next place in the order of everything that happens to messages. It never repeats, also
/// after a restart and after all messages are gone.
pub(super) fn next_sequence(transaction: &Transaction<'_>) -> Result<i64, SqsError> {
    let sequence = transaction
        .prepare_cached("UPDATE counter SET value = value + 1 RETURNING value")?
        .query_row([], |row| row.get(0))?;
    Ok(sequence)
}

/// A span in whole milliseconds.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
