//! Hides the SQS event source mapping: from a message in a queue to an invocation, and back to
//! what is deleted and what is delivered again.
//!
//! One poller per source receives as long as there is a free place for a batch. The queue itself
//! never hands out two batches of one message group. What fails becomes visible again by its
//! visibility timeout. Where the queues are, built in or elsewhere, [`Queues`] hides.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    Duplicates, EVENT_BYTES_MAX, Invocation, InvokeError, Lambda, Reorder,
    duplicates::Repeats,
    failures::{Failed, failed_in},
    reorder::Held,
};
use crate::{
    sqs::{self, AttributeValue, MessageAttribute, Queues, QueuesError, ReceivedMessage},
    template::QueueSource,
};

/// Most messages in one receive, and the longest poll (SQS quotas).
const RECEIVE_MAX: usize = 10;
const RECEIVE_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long polling pauses after a failed invocation: doubled from the first to the second.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
const GROUP: &str = "MessageGroupId";

/// One source of one function.
struct Mapping {
    lambda: Lambda,
    queues: Queues,
    repeats: Mutex<Repeats>,
    reorder: Reorder,
    function: String,
    source: QueueSource,
    failures_in_a_row: AtomicU32,
}

impl Lambda {
    /// Invokes functions with the messages of their queues, as the template says, until
    /// [`Lambda::shutdown`]: while that waits for it, what it interrupts is made visible again at
    /// once. What `duplicates` chooses comes a second time after it has succeeded; what `reorder`
    /// chooses comes a little later than it might.
    pub fn poll_queues(&self, queues: impl Into<Queues>, duplicates: Duplicates, reorder: Reorder) {
        let queues = queues.into();
        for (function, pool) in self.pools.iter() {
            for source in &pool.executable.function.queue_sources {
                let source_max = source
                    .concurrency_max
                    .and_then(|max| usize::try_from(max).ok());
                let instances_max = pool.instances_max();
                let batches_max = source_max.unwrap_or(instances_max).min(instances_max);
                if batches_max == 0 {
                    continue;
                }
                let mapping = Mapping {
                    lambda: self.clone(),
                    queues: queues.clone(),
                    repeats: Mutex::new(Repeats::new(duplicates)),
                    reorder,
                    function: function.clone(),
                    source: source.clone(),
                    failures_in_a_row: AtomicU32::new(0),
                };
                self.platform.spawn(Arc::new(mapping).poll(batches_max));
            }
        }
    }
}

impl Mapping {
    async fn poll(self: Arc<Self>, batches_max: usize) {
        let places = Arc::new(Semaphore::new(batches_max));
        let mut batches = JoinSet::new();
        let mut messages = Vec::new();
        let mut held = Held::default();
        let mut outages = 0_u32;
        loop {
            let received = tokio::select! {
                biased;
                () = self.lambda.platform.closing() => break,
                received = self.receive(&places, &mut messages, held.due()) => received,
            };
            match received {
                Ok(place) => {
                    outages = 0;
                    let batch = std::mem::take(&mut messages);
                    let batch = if batch.is_empty() {
                        held.take()
                    } else {
                        self.hold_back(batch, &mut held)
                    };
                    if !batch.is_empty() {
                        batches.spawn(Arc::clone(&self).deliver(batch, place));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, queue = self.source.queue, "cannot receive messages");
                    outages = outages.saturating_add(1);
                    tokio::select! {
                        () = time::sleep(back_off(outages)) => {}
                        () = self.lambda.platform.closing() => break,
                    }
                }
            }
            while batches.try_join_next().is_some() {}
        }
        self.release(&messages).await;
        self.release(&held.all()).await;
        while batches.join_next().await.is_some() {}
    }

    /// Waits for a free place, and then for a batch. May return none when the queue is empty, or
    /// something else is `due`. When it is dropped, what it has received is in `batch`.
    async fn receive(
        &self,
        places: &Arc<Semaphore>,
        batch: &mut Vec<ReceivedMessage>,
        due: Option<Instant>,
    ) -> Result<Option<OwnedSemaphorePermit>, QueuesError> {
        // The semaphore is never closed.
        let place = Arc::clone(places).acquire_owned().await.ok();
        let failures = self.failures_in_a_row.load(Ordering::Relaxed);
        time::sleep(back_off(failures)).await;
        let batch_size = usize::try_from(self.source.batch_size).unwrap_or(RECEIVE_MAX);
        let mut wait = RECEIVE_WAIT_MAX;
        if let Some(due) = due {
            wait = wait.min(due.saturating_duration_since(Instant::now()));
            if wait.is_zero() && batch.is_empty() {
                return Ok(place);
            }
        }
        let mut window_end = None;
        loop {
            let missing = batch_size.saturating_sub(batch.len());
            let queue = &self.source.queue;
            batch.extend(
                self.queues
                    .receive(queue, missing.min(RECEIVE_MAX), wait)
                    .await?,
            );
            // The window opens with the first message.
            let window_end = *window_end.get_or_insert_with(|| Instant::now() + self.source.window);
            wait = window_end
                .saturating_duration_since(Instant::now())
                .min(RECEIVE_WAIT_MAX);
            if batch.is_empty() || batch.len() >= batch_size || wait.is_zero() {
                return Ok(place);
            }
        }
    }

    /// Invokes the function, in several parts if the messages are too large for one event, and
    /// deletes what succeeded. The place is free when this is over.
    async fn deliver(
        self: Arc<Self>,
        mut messages: Vec<ReceivedMessage>,
        place: Option<OwnedSemaphorePermit>,
    ) {
        while !messages.is_empty() {
            let (event, count) = event(&self.source.queue, &messages);
            let rest = messages.split_off(count);
            let part = std::mem::replace(&mut messages, rest);
            let kept = self.deliver_part(event, part).await;
            // In a FIFO queue nothing may overtake what comes again.
            match kept {
                Kept::Failed if self.is_fifo() => break,
                Kept::Repeated if self.is_fifo() => {
                    self.release(&messages).await;
                    break;
                }
                Kept::None | Kept::Failed | Kept::Repeated => {}
            }
        }
        drop(place);
    }

    /// Puts aside what is to be overtaken, and returns the rest.
    fn hold_back(&self, batch: Vec<ReceivedMessage>, held: &mut Held) -> Vec<ReceivedMessage> {
        let now = Instant::now();
        let group = |message: &ReceivedMessage| self.group(message);
        let mut parts = self.reorder.part(&self.source.queue, group, batch);
        let at_once = parts.remove(&Duration::ZERO).unwrap_or_default();
        for (time, part) in parts {
            held.put(now + time, part);
        }
        at_once
    }

    async fn deliver_part(&self, event: Bytes, messages: Vec<ReceivedMessage>) -> Kept {
        let trace_header = match messages.as_slice() {
            [only] => only.attributes.get("AWSTraceHeader").cloned(),
            _ => None,
        };
        let invocation = Invocation {
            trace_header,
            ..Invocation::default()
        };
        let result = self.lambda.invoke(&self.function, event, invocation).await;
        let failed = match result {
            Ok(response) => {
                self.failures_in_a_row.store(0, Ordering::Relaxed);
                self.failed_in(&response, &messages)
            }
            Err(InvokeError::ShuttingDown) => {
                self.release(&messages).await;
                return Kept::Failed;
            }
            Err(error) => {
                self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, queue = self.source.queue, "a batch failed");
                Failed::All
            }
        };
        self.settle(messages, &failed).await
    }

    /// Deletes what succeeded, but for what is to come again on purpose: that is made visible.
    async fn settle(&self, messages: Vec<ReceivedMessage>, failed: &Failed) -> Kept {
        let mut kept = Kept::None;
        let mut again: Vec<ReceivedMessage> = Vec::new();
        for message in messages {
            let is_failed = match failed {
                Failed::All => true,
                Failed::These(ids) => ids.contains(&message.message_id),
            };
            // Also in a FIFO queue only what is named: "your function should stop processing
            // messages after the first failure and return all failed and unprocessed messages"
            // (Lambda developer guide, "Implementing partial batch responses").
            if is_failed {
                kept = Kept::Failed;
                continue;
            }
            if self.is_repeated(&message, &again) {
                if kept == Kept::None {
                    kept = Kept::Repeated;
                }
                again.push(message);
                continue;
            }
            let (queue, handle) = (&self.source.queue, &message.receipt_handle);
            if let Err(error) = self.queues.delete(queue, handle).await {
                let message_id = message.message_id;
                tracing::warn!(%error, message_id, "a message is done but will be delivered again");
            }
        }
        self.release(&again).await;
        kept
    }

    /// Whether a message that succeeded comes again: by choice, or because it is in a group of
    /// which an earlier one does. As after a delete that got lost, nothing may overtake that.
    fn is_repeated(&self, message: &ReceivedMessage, again: &[ReceivedMessage]) -> bool {
        let group = self.group(message);
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        if group.is_some() && again.iter().any(|ahead| self.group(ahead) == group) {
            repeats.follows(message);
            return true;
        }
        repeats.again(&self.source.queue, message)
    }

    /// The group inside which the order must hold; a standard queue has none.
    fn group(&self, message: &ReceivedMessage) -> Option<String> {
        let group = message.attributes.get(GROUP);
        group.filter(|_| self.is_fifo()).cloned()
    }

    fn is_fifo(&self) -> bool {
        self.source.queue.strip_suffix(".fifo").is_some()
    }

    fn failed_in(&self, response: &[u8], messages: &[ReceivedMessage]) -> Failed {
        if !self.source.reports_batch_item_failures {
            return Failed::These(BTreeSet::new());
        }
        let ids = messages.iter().map(|message| message.message_id.as_str());
        let failed = failed_in(response, ids);
        if failed == Failed::All {
            let function = &self.function;
            tracing::warn!(
                function,
                "a batch failed: its response names no message of the batch"
            );
        }
        failed
    }

    /// Makes messages visible again that nobody has worked on to the end.
    async fn release(&self, messages: &[ReceivedMessage]) {
        for message in messages {
            let (queue, handle) = (&self.source.queue, &message.receipt_handle);
            if let Err(error) = self.queues.release(queue, handle).await {
                tracing::debug!(%error, "a message stays hidden until its timeout");
            }
        }
    }
}

/// How long a source is left alone after so many failures in a row.
pub(super) fn back_off(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => BACK_OFF_MIN
            .saturating_mul(1_u32 << doublings.min(10))
            .min(BACK_OFF_MAX),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    None,
    /// All of it had succeeded.
    Repeated,
    Failed,
}

/// The Lambda event of as many messages as one event holds, at least one, and their number.
fn event(queue: &str, messages: &[ReceivedMessage]) -> (Bytes, usize) {
    let (opening, closing) = ("{\"Records\":[", "]}");
    let mut event = opening.to_owned();
    let mut count = 0_usize;
    for message in messages {
        let record = record(queue, message).to_string();
        let bytes = event
            .len()
            .saturating_add(record.len())
            .saturating_add(closing.len() + 1);
        if count > 0 && bytes > EVENT_BYTES_MAX {
            break;
        }
        if count > 0 {
            event.push(',');
        }
        event.push_str(&record);
        count = count.saturating_add(1);
    }
    event.push_str(closing);
    (Bytes::from(event), count)
}

/// One message as the event has it (Lambda developer guide, "Example Amazon SQS message event").
fn record(queue: &str, message: &ReceivedMessage) -> Value {
    let attribute = |attribute: &MessageAttribute| {
        let (name, value) = match &attribute.value {
            AttributeValue::Text(text) => ("stringValue", text.clone()),
            AttributeValue::Binary(bytes) => ("binaryValue", STANDARD.encode(bytes)),
        };
        json!({
            name: value,
            "stringListValues": [],
            "binaryListValues": [],
            "dataType": attribute.data_type,
        })
    };
    let message_attributes: BTreeMap<_, _> = message
        .message_attributes
        .iter()
        .map(|(name, value)| (name, attribute(value)))
        .collect();
    let mut record = json!({
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": message.attributes,
        "messageAttributes": message_attributes,
        "md5OfBody": message.md5_of_body,
        "eventSource": "aws:sqs",
        "eventSourceARN": sqs::arn(queue),
        "awsRegion": sqs::REGION,
    });
    // Not in the guide's example, but in events that were logged from real queues.
    if let (Some(md5), Some(record)) = (message.md5_of_message_attributes(), record.as_object_mut())
    {
        record.insert("md5OfMessageAttributes".to_owned(), json!(md5));
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, body: &str) -> ReceivedMessage {
        ReceivedMessage {
            message_id: id.to_owned(),
            receipt_handle: format!("handle-{id}"),
            body: body.to_owned(),
            md5_of_body: "md5".to_owned(),
            attributes: BTreeMap::from([
                ("ApproximateReceiveCount".to_owned(), "1".to_owned()),
                ("MessageGroupId".to_owned(), "g".to_owned()),
            ]),
            message_attributes: BTreeMap::from([
                (
                    "text".to_owned(),
                    MessageAttribute {
                        data_type: "String".to_owned(),
                        value: AttributeValue::Text("t".to_owned()),
                    },
                ),
                (
                    "bytes".to_owned(),
                    MessageAttribute {
                        data_type: "Binary".to_owned(),
                        value: AttributeValue::Binary(vec![0, 255]),
                    },
                ),
            ]),
        }
    }

    #[test]
    fn a_message_becomes_lambdas_sqs_event() {
        let (event, count) = event("turns.fifo", &[message("m-1", "{\"a\":1}")]);
        assert_eq!(count, 1);
        let expected = json!({"Records": [{
            "messageId": "m-1",
            "receiptHandle": "handle-m-1",
            "body": "{\"a\":1}",
            "attributes": {"ApproximateReceiveCount": "1", "MessageGroupId": "g"},
            "messageAttributes": {
                "text": {
                    "stringValue": "t", "stringListValues": [], "binaryListValues": [],
                    "dataType": "String",
                },
                "bytes": {
                    "binaryValue": "AP8=", "stringListValues": [], "binaryListValues": [],
                    "dataType": "Binary",
                },
            },
            "md5OfBody": "md5",
            "md5OfMessageAttributes": message("m-1", "").md5_of_message_attributes(),
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:turns.fifo",
            "awsRegion": "us-east-1",
        }]});
        assert_eq!(serde_json::from_slice::<Value>(&event).unwrap(), expected);
    }

    #[test]
    fn large_messages_are_spread_over_several_events() {
        let body = "x".repeat(1_000_000);
        let messages: Vec<_> = (0..10).map(|n| message(&n.to_string(), &body)).collect();
        let (first, count) = event("q", &messages);
        assert_eq!(count, 6);
        assert!(first.len() <= EVENT_BYTES_MAX);
        let parsed: Value = serde_json::from_slice(&first).unwrap();
        assert_eq!(parsed["Records"].as_array().unwrap().len(), 6);
        // A message that no event holds is tried alone: the invocation says why it fails.
        let escaped = "\u{1}".repeat(1_100_000);
        assert_eq!(event("q", &[message("1", &escaped), message("2", "")]).1, 1);
    }
}
