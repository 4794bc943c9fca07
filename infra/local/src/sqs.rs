//! SQS on this machine: standard and FIFO queues that survive `kill -9`.
//!
//! Hides a `SQLite` file, the rules of order, visibility, deduplication, redrive and retention, and
//! the JSON protocol that AWS SDKs speak. The same queues are served over HTTP ([`Sqs::router`])
//! and in process ([`Sqs::receive`] and its neighbours).
//!
//! What was answered is in the file: a commit is handed to the operating system before the caller
//! hears of it, which outlives the process but, with `synchronous=NORMAL`, perhaps not a power
//! cut (ADR 0003). Operations happen one after the other, each whole or not at all.
//!
//! Not served: the query (XML) protocol, tags and permissions, `ReceiveRequestAttemptId`,
//! reordering for fair standard queues (`MessageGroupId` on them is kept and given back).

mod engine;
mod error;
mod group;
mod http;
mod message;
mod moves;
mod outside;
mod receive;
mod send;
mod settle;
mod spec;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http as web;
use bytes::Bytes;
use rusqlite::params;
use tokio::time::Instant;

pub use self::error::SqsError;
pub use self::message::{AttributeValue, MessageAttribute, NewMessage, ReceivedMessage, Sent};
pub use self::outside::{Outside, Queues, QueuesError};
pub use self::spec::{
    ACCOUNT, DeadLetter, DeduplicationScope, QueueSpec, REGION, ThroughputLimit, arn,
};

use self::engine::{Engine, find, millis};
use self::receive::{Answer, Request, Returns};
use self::spec::{MESSAGE_BYTES_MAX, VISIBILITY_SECONDS_MAX, WAIT_SECONDS_MAX};

/// Most messages per receive and entries per batch (SQS message quotas, read 2026-11).
const BATCH_MAX: usize = 10;

/// What the time is, in milliseconds since 1970. Tests pass their own.
pub type ClockMs = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The queues. Clones are the same queues.
#[derive(Clone)]
pub struct Sqs {
    /// Held during an operation; the lock is fair, so operations happen in the order of arrival.
    engine: Arc<tokio::sync::Mutex<Engine>>,
    returns: Returns,
    clock: ClockMs,
    base_url: Arc<str>,
    place: Place,
}

/// Where operations, which block, are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On threads for blocking work.
    Aside,
    /// Where they are asked for.
    Here,
}

impl fmt::Debug for Sqs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sqs")
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that may be received, blocked message groups included.
    pub visible: u64,
    /// Messages received and neither deleted nor visible again.
    pub in_flight: u64,
    /// Messages whose delay is not over.
    pub delayed: u64,
    /// Age of the oldest message in milliseconds; 0 without messages.
    pub oldest_age_ms: u64,
}

impl Sqs {
    /// Opens or creates the database file (its directory exists), or one in memory without a
    /// path. Declared queues are created, or changed to what is declared; messages stay, and so
    /// do queues that are not declared. `base_url` is the start of every queue URL. Blocks.
    ///
    /// # Errors
    /// A declared queue that AWS would refuse or whose type differs from the stored one, or
    /// [`SqsError::Storage`].
    pub fn open(
        path: Option<&Path>,
        queues: Vec<QueueSpec>,
        base_url: String,
    ) -> Result<Self, SqsError> {
        Self::open_with_clock(path, queues, base_url, Arc::new(system_clock_ms))
    }

    /// [`Sqs::open`] with another clock. Long polls still wait in tokio's time.
    ///
    /// # Errors
    /// As [`Sqs::open`].
    pub fn open_with_clock(
        path: Option<&Path>,
        queues: Vec<QueueSpec>,
        mut base_url: String,
        clock: ClockMs,
    ) -> Result<Self, SqsError> {
        let engine = Engine::open(path, queues, clock())?;
        base_url.truncate(base_url.trim_end_matches('/').len());
        Ok(Self {
            engine: Arc::new(tokio::sync::Mutex::new(engine)),
            returns: Returns::default(),
            clock,
            base_url: base_url.into(),
            place: Place::Aside,
        })
    }

    /// The same queues, whose every operation is carried out where it is asked for: for a runtime
    /// of one thread that has nothing better to do, such as a simulation's.
    pub fn on_this_thread(self) -> Self {
        Self {
            place: Place::Here,
            ..self
        }
    }

    /// The AWS JSON 1.0 protocol at any path, as SDKs speak it.
    pub fn router(&self) -> Router {
        http::router(self.clone())
    }

    /// Answers one request of that protocol without a socket.
    pub async fn answer(&self, request: &web::Request<Bytes>) -> web::Response<Bytes> {
        http::answer(self, request.headers(), request.body()).await
    }

    /// The URL of the queue of this name, whether it exists or not.
    pub fn queue_url(&self, queue: &str) -> String {
        format!("{}/{ACCOUNT}/{queue}", self.base_url)
    }

    /// Sends one message and wakes whoever waits for it. A FIFO duplicate within 5 min is
    /// answered with the id and place of the first.
    ///
    /// # Errors
    /// [`SqsError::QueueDoesNotExist`], what AWS refuses about the message, or a failed store.
    pub async fn send(&self, queue: &str, message: NewMessage) -> Result<Sent, SqsError> {
        let mut sent = self.send_batch(queue, vec![message]).await?;
        sent.pop().unwrap_or(Err(SqsError::EmptyBatchRequest))
    }

    /// Receives up to `messages_max` messages (at most 10, as AWS), waiting up to `wait` (at most
    /// 20 s) for a first one. They are hidden for `visibility`, or as long as the queue says.
    /// If this future is dropped, no message is lost: what it would have returned is visible
    /// again at once and its receive not counted.
    ///
    /// # Errors
    /// [`SqsError::QueueDoesNotExist`], also if it is deleted meanwhile; [`SqsError::OverLimit`]
    /// with 120,000 messages of a standard queue in flight; a visibility over 12 h; a failed store.
    pub async fn receive(
        &self,
        queue: &str,
        messages_max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<ReceivedMessage>, SqsError> {
        self.receive_request(Request {
            queue: queue.to_owned(),
            messages_max: messages_max.clamp(1, BATCH_MAX),
            wait: Some(wait.min(Duration::from_secs(WAIT_SECONDS_MAX))),
            visibility,
        })
        .await
    }

    /// Deletes a message; one that is gone already is no error.
    ///
    /// # Errors
    /// [`SqsError::QueueDoesNotExist`], [`SqsError::ReceiptHandleIsInvalid`], on a FIFO queue
    /// [`SqsError::InvalidParameterValue`] once the visibility timeout is over, a failed store.
    pub async fn delete(&self, queue: &str, receipt_handle: &str) -> Result<(), SqsError> {
        let mut deleted = self
            .delete_batch(queue, vec![receipt_handle.to_owned()])
            .await?;
        deleted.pop().unwrap_or(Ok(()))
    }

    /// Hides a message in flight for `visibility` from now; zero makes it visible at once.
    ///
    /// # Errors
    /// [`SqsError::QueueDoesNotExist`], [`SqsError::ReceiptHandleIsInvalid`],
    /// [`SqsError::MessageNotInflight`], [`SqsError::InvalidParameterValue`] for a stale handle or
    /// more than 12 h since the receive, a failed store.
    pub async fn change_visibility(
        &self,
        queue: &str,
        receipt_handle: &str,
        visibility: Duration,
    ) -> Result<(), SqsError> {
        let mut changed = self
            .change_visibility_batch(queue, vec![(receipt_handle.to_owned(), visibility)])
            .await?;
        changed.pop().unwrap_or(Ok(()))
    }

    /// How full a queue is now.
    ///
    /// # Errors
    /// [`SqsError::QueueDoesNotExist`] or a failed store.
    pub async fn depth(&self, queue: &str) -> Result<Depth, SqsError> {
        let queue = queue.to_owned();
        self.call(move |engine, now_ms| depth(engine, &queue, now_ms))
            .await
    }

    /// Names of all queues, in alphabetical order.
    ///
    /// # Errors
    /// A failed store.
    pub async fn queue_names(&self) -> Result<Vec<String>, SqsError> {
        self.call(|engine, _now_ms| Ok(engine.queues().keys().cloned().collect()))
            .await
    }

    /// Sends messages in order; each is stored or refused on its own.
    async fn send_batch(
        &self,
        queue: &str,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Result<Sent, SqsError>>, SqsError> {
        let queue = queue.to_owned();
        self.call(move |engine, now_ms| {
            engine.transact(|transaction, queues| {
                let queue = find(queues, &queue)?;
                let total_bytes = messages.iter().map(NewMessage::size_bytes).sum();
                if messages.len() > 1 && total_bytes > MESSAGE_BYTES_MAX {
                    return Err(SqsError::BatchRequestTooLong(total_bytes));
                }
                each(messages, |message| {
                    message.check(&queue.spec)?;
                    send::send(transaction, queue, &message, now_ms)
                })
            })
        })
        .await
    }

    async fn delete_batch(
        &self,
        queue: &str,
        handles: Vec<String>,
    ) -> Result<Vec<Result<(), SqsError>>, SqsError> {
        let queue = queue.to_owned();
        self.call(move |engine, now_ms| {
            engine.transact(|transaction, queues| {
                let queue = find(queues, &queue)?;
                each(handles, |handle| {
                    settle::delete(transaction, queue, &handle, now_ms)
                })
            })
        })
        .await
    }

    async fn change_visibility_batch(
        &self,
        queue: &str,
        changes: Vec<(String, Duration)>,
    ) -> Result<Vec<Result<(), SqsError>>, SqsError> {
        let queue = queue.to_owned();
        self.call(move |engine, now_ms| {
            engine.transact(|transaction, queues| {
                let queue = find(queues, &queue)?;
                each(changes, |(handle, visibility)| {
                    settle::change_visibility(transaction, queue, &handle, visibility, now_ms)
                })
            })
        })
        .await
    }

    async fn receive_request(&self, request: Request) -> Result<Vec<ReceivedMessage>, SqsError> {
        if let Some(visibility) = request.visibility
            && visibility > Duration::from_secs(VISIBILITY_SECONDS_MAX)
        {
            return Err(SqsError::invalid(
                "VisibilityTimeout",
                visibility.as_secs(),
                "VisibilityTimeout must be >= 0 and <= 43200.",
            ));
        }
        let start = Instant::now();
        loop {
            let (request, returns) = (request.clone(), Arc::clone(&self.returns));
            let answer = self
                .call(move |engine, now_ms| {
                    engine.transact(|transaction, queues| {
                        receive::receive(transaction, queues, &request, returns, now_ms)
                    })
                })
                .await?;
            let (mut changes, next_in, wait) = match answer {
                Answer::Messages(handed_out) => return Ok(handed_out.arrived()),
                Answer::Nothing {
                    changes,
                    next_in,
                    wait,
                } => (changes, next_in, wait),
            };
            let now = Instant::now();
            let deadline = start + wait;
            if now >= deadline {
                return Ok(Vec::new());
            }
            let look_again = next_in.map_or(deadline, |next_in| deadline.min(now + next_in));
            // Closed: the queue was deleted, which the next look reports.
            tokio::select! {
                _changed_or_closed = changes.changed() => {}
                () = tokio::time::sleep_until(look_again) => {}
            }
        }
    }

    /// Runs one operation when its turn has come, off the async threads. Once begun it is
    /// finished even if nobody waits for it any more.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine, i64) -> Result<T, SqsError> + Send + 'static,
    ) -> Result<T, SqsError> {
        let mut engine = Arc::clone(&self.engine).lock_owned().await;
        let now_ms = (self.clock)();
        let returned =
            std::mem::take(&mut *self.returns.lock().unwrap_or_else(PoisonError::into_inner));
        let work = move || {
            engine.take_back(&returned, now_ms)?;
            work(&mut engine, now_ms)
        };
        match self.place {
            Place::Here => work(),
            Place::Aside => tokio::task::spawn_blocking(work)
                .await
                .map_err(SqsError::Stopped)?,
        }
    }
}

/// Does something for each entry of a batch. A refused entry is its own affair; a failed store
/// fails the batch.
fn each<E, T>(
    entries: Vec<E>,
    mut work: impl FnMut(E) -> Result<T, SqsError>,
) -> Result<Vec<Result<T, SqsError>>, SqsError> {
    entries
        .into_iter()
        .map(|entry| match work(entry) {
            Err(error) if !error.is_senders_fault() => Err(error),
            outcome => Ok(outcome),
        })
        .collect()
}

fn depth(engine: &mut Engine, queue: &str, now_ms: i64) -> Result<Depth, SqsError> {
    engine.transact(|transaction, queues| {
        let queue = find(queues, queue)?;
        receive::expire(transaction, queue, now_ms)?;
        let depth = transaction
            .prepare_cached(
                "SELECT count(*) FILTER (WHERE visible_ms <= ?2),
                        count(*) FILTER (WHERE visible_ms > ?2 AND receives > 0),
                        count(*) FILTER (WHERE visible_ms > ?2 AND receives = 0),
                        max(?2 - (SELECT min(sent_ms) FROM message WHERE queue = ?1), 0)
                 FROM message WHERE queue = ?1",
            )?
            .query_row(params![queue.id, now_ms], |row| {
                Ok(Depth {
                    visible: row.get(0)?,
                    in_flight: row.get(1)?,
                    delayed: row.get(2)?,
                    oldest_age_ms: row.get::<_, Option<u64>>(3)?.unwrap_or_default(),
                })
            })?;
        Ok(depth)
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: the one place where the queues learn the time"
)]
fn system_clock_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map(millis).unwrap_or_default()
}
