//! Hides the DynamoDB event source mapping: from a change in a table to an invocation.
//!
//! The records of a shard are delivered one batch after the other, in order: a failed batch holds
//! up its shard until it succeeds, is given up, or is too old.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicU32, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    Checkpoints, EVENT_BYTES_MAX, Invocation, InvokeError, Lambda,
    failures::{Failed, failed_in},
    mapping::back_off,
    unix_time_ms,
};
use crate::{
    dynamo::{DynamoError, Shard, Streams},
    sqs::{ACCOUNT, REGION},
    template::StreamSource,
};

/// How often an empty shard is looked at (Lambda developer guide, DynamoDB: "4 times per second").
const POLL_EVERY: Duration = Duration::from_millis(250);
/// How often new shards are looked for.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// Most records in one read (DynamoDB Streams API reference, `GetRecords`).
const READ_MAX: usize = 1_000;
const TRIM_HORIZON: &str = "TRIM_HORIZON";

/// One source of one function.
struct Mapping {
    lambda: Lambda,
    streams: Streams,
    function: String,
    source: StreamSource,
    checkpoints: Checkpoints,
    failures_in_a_row: AtomicU32,
}

/// A part of a batch, and how often it has failed.
struct Part {
    records: Vec<Value>,
    failures: u32,
}

impl Lambda {
    /// Invokes functions with the changes of their tables, as the template says, until
    /// [`Lambda::shutdown`], from where the checkpoints are or else from the starting position.
    pub fn poll_streams(&self, streams: &Streams, checkpoints: &Checkpoints) {
        for (function, pool) in self.pools.iter() {
            for source in &pool.executable.function.stream_sources {
                let mapping = Mapping {
                    lambda: self.clone(),
                    streams: streams.clone(),
                    function: function.clone(),
                    source: source.clone(),
                    checkpoints: checkpoints.clone(),
                    failures_in_a_row: AtomicU32::new(0),
                };
                self.platform.spawn(Arc::new(mapping).poll());
            }
        }
    }
}

impl Mapping {
    async fn poll(self: Arc<Self>) {
        let mut readers = JoinSet::new();
        let (mut known, mut open) = (BTreeSet::new(), BTreeSet::new());
        let mut position = self.source.starting_position;
        let mut outages = 0_u32;
        loop {
            let wait = match self.shards().await {
                Ok((arn, mut shards)) => {
                    outages = 0;
                    let ids = shards.iter().map(|shard| shard.id.as_str());
                    self.checkpoints.retain(&self.name(&arn), ids);
                    known.retain(|id| shards.iter().any(|shard| shard.id == *id));
                    // A child waits until its parent has been read.
                    shards.retain(|it| !it.parent.as_ref().is_some_and(|it| open.contains(it)));
                    shards.retain(|shard| known.insert(shard.id.clone()));
                    for Shard { id, .. } in shards {
                        open.insert(id.clone());
                        readers.spawn(Arc::clone(&self).read(arn.clone(), id, position));
                    }
                    // Shards that are born later are read from their beginning.
                    position = TRIM_HORIZON;
                    LIST_EVERY
                }
                Err(error) => {
                    tracing::error!(%error, table = self.source.table, "cannot find the stream");
                    outages = outages.saturating_add(1);
                    back_off(outages)
                }
            };
            tokio::select! {
                () = self.lambda.platform.closing() => return,
                Some(Ok(shard_id)) = readers.join_next() => {
                    open.remove(&shard_id);
                }
                () = time::sleep(wait) => {}
            }
        }
    }

    async fn shards(&self) -> Result<(String, Vec<Shard>), DynamoError> {
        let arn = self.streams.latest(&self.source.table).await?;
        let shards = self.streams.shards(&arn).await?;
        Ok((arn, shards))
    }

    /// Under what the checkpoints know it: a table that is made anew has another stream.
    fn name(&self, arn: &str) -> String {
        format!("{} {arn}", self.function)
    }

    /// Delivers a shard to its end, and returns its id. After an outage or a restart it goes on
    /// behind what was delivered last, or at the oldest record if that is gone.
    async fn read(self: Arc<Self>, arn: String, shard_id: String, mut position: &str) -> String {
        let mut outages = 0_u32;
        let mut last = self.checkpoints.last(&self.name(&arn), &shard_id);
        loop {
            let read = self.read_from(&arn, &shard_id, position, &mut last);
            match read.await {
                Ok(()) => return shard_id,
                Err(error) => {
                    let answer = match &error {
                        DynamoError::Refused { answer, .. } => answer.as_str(),
                        _ => "",
                    };
                    if answer.contains("TrimmedDataAccessException") {
                        (position, last) = (TRIM_HORIZON, None);
                    }
                    tracing::error!(%error, table = self.source.table, "cannot read the stream");
                    outages = outages.saturating_add(1);
                    time::sleep(back_off(outages)).await;
                }
            }
        }
    }

    async fn read_from(
        &self,
        arn: &str,
        shard_id: &str,
        position: &str,
        last: &mut Option<String>,
    ) -> Result<(), DynamoError> {
        let first = self
            .streams
            .iterator(arn, shard_id, position, last.as_deref());
        let mut next = Some(first.await?);
        let batch_size = usize::try_from(self.source.batch_size).unwrap_or(READ_MAX);
        let mut batch = Vec::new();
        let mut window_end = Instant::now();
        loop {
            let missing = batch_size.saturating_sub(batch.len());
            if let Some(iterator) = next.take() {
                let (records, after) = self
                    .streams
                    .records(&iterator, missing.min(READ_MAX))
                    .await?;
                if batch.is_empty() {
                    window_end = Instant::now() + self.source.window;
                }
                batch.extend(records);
                next = after;
            }
            let is_due = batch.len() >= batch_size || Instant::now() >= window_end;
            if !batch.is_empty() && (is_due || next.is_none()) {
                let behind = batch
                    .last()
                    .map(|record| sequence_number(record).to_owned());
                self.deliver(std::mem::take(&mut batch), arn).await;
                if let Some(behind) = &behind {
                    self.checkpoints.advance(&self.name(arn), shard_id, behind);
                }
                *last = behind;
            } else if next.is_none() {
                return Ok(());
            } else {
                time::sleep(POLL_EVERY).await;
            }
        }
    }

    /// Returns when every record has been dealt with or given up.
    async fn deliver(&self, records: Vec<Value>, arn: &str) {
        // The first one last.
        let failures = 0;
        let mut parts = vec![Part { records, failures }];
        while let Some(mut part) = parts.pop() {
            self.drop_old(&mut part.records);
            if part.records.is_empty() {
                continue;
            }
            let (event, count) = event(&part.records, arn);
            let records = part.records.split_off(count);
            if !records.is_empty() {
                parts.push(Part {
                    records,
                    failures: 0,
                });
            }
            if let Some(failed) = self.invoke(event, part).await {
                parts.extend(self.again(failed));
                let failures = self.failures_in_a_row.load(Ordering::Relaxed);
                time::sleep(back_off(failures)).await;
            }
        }
    }

    /// What is to be tried again.
    async fn invoke(&self, event: Bytes, mut part: Part) -> Option<Part> {
        let invocation = Invocation::default();
        let invoked = self.lambda.invoke(&self.function, event, invocation).await;
        let first_failed = match invoked {
            Ok(response) if self.source.reports_batch_item_failures => {
                first_failed(&response, &part.records)?
            }
            Ok(_unread) => {
                self.failures_in_a_row.store(0, Ordering::Relaxed);
                return None;
            }
            // The stack ends: this task does too.
            Err(InvokeError::ShuttingDown) => std::future::pending().await,
            Err(error) => {
                tracing::warn!(%error, table = self.source.table, "a batch failed");
                0
            }
        };
        self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
        if first_failed > 0 {
            // What is before it is done: this is another batch.
            self.failures_in_a_row.store(1, Ordering::Relaxed);
            part.records.drain(..first_failed);
            part.failures = 0;
        }
        part.failures = part.failures.saturating_add(1);
        Some(part)
    }

    /// A failed part, as a whole or in halves, the second first; nothing if it has had its tries.
    fn again(&self, mut part: Part) -> Vec<Part> {
        if part.records.len() > 1 && self.source.bisects_batch_on_error {
            // "Splitting a batch does not count toward the retry quota" (Lambda developer guide).
            let second = part.records.split_off(part.records.len() / 2);
            let halves = [second, part.records];
            let half = |records| Part {
                records,
                failures: 0,
            };
            return halves.map(half).into_iter().collect();
        }
        match self.source.retries_max {
            Some(retries_max) if part.failures > retries_max => {
                let (table, records) = (&self.source.table, part.records.len());
                tracing::error!(
                    table,
                    records,
                    "records are given up; they failed too often"
                );
                Vec::new()
            }
            _ => vec![part],
        }
    }

    fn drop_old(&self, records: &mut Vec<Value>) {
        let Some(age_max) = self.source.record_age_max else {
            return;
        };
        let oldest_s = (unix_time_ms() / 1000).saturating_sub(age_max.as_secs().into());
        let before = records.len();
        records.retain(|record| unix_s(record).is_none_or(|unix_s| unix_s >= oldest_s));
        let dropped = before.saturating_sub(records.len());
        if dropped > 0 {
            let table = &self.source.table;
            tracing::error!(table, dropped, "records are given up; they are too old");
        }
    }
}

fn sequence_number(record: &Value) -> &str {
    let number = record.pointer("/dynamodb/SequenceNumber");
    number.and_then(Value::as_str).unwrap_or_default()
}

/// When the change was made, in whole seconds.
fn unix_s(record: &Value) -> Option<u128> {
    let time = record.pointer("/dynamodb/ApproximateCreationDateTime")?;
    time.to_string().split('.').next()?.parse().ok()
}

/// The place of the first record that failed: from there on everything comes again.
fn first_failed(response: &[u8], records: &[Value]) -> Option<usize> {
    match failed_in(response, records.iter().map(sequence_number)) {
        Failed::All => Some(0),
        Failed::These(failed) => records
            .iter()
            .position(|record| failed.contains(sequence_number(record))),
    }
}

/// The Lambda event of as many records as one event holds, at least one, and their number.
fn event(records: &[Value], arn: &str) -> (Bytes, usize) {
    let arn = local_arn(arn);
    let mut taken = Vec::new();
    let mut bytes = "{\"Records\":[]}".len();
    for record in records {
        let mut record = record.clone();
        if let Some(members) = record.as_object_mut() {
            members.insert("eventSource".to_owned(), json!("aws:dynamodb"));
            members.insert("awsRegion".to_owned(), json!(REGION));
            members.insert("eventSourceARN".to_owned(), json!(arn));
        }
        bytes = bytes.saturating_add(record.to_string().len() + 1);
        if !taken.is_empty() && bytes > EVENT_BYTES_MAX {
            break;
        }
        taken.push(record);
    }
    let count = taken.len();
    (Bytes::from(json!({ "Records": taken }).to_string()), count)
}

/// Local engines have regions and accounts of their own.
fn local_arn(arn: &str) -> String {
    match arn.split_once(":table/") {
        Some((_, table)) => format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}"),
        None => arn.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: &str) -> Value {
        json!({
            "eventName": "INSERT",
            "awsRegion": "dynoxide",
            "dynamodb": { "SequenceNumber": number, "ApproximateCreationDateTime": 1_800_000_000.0 },
        })
    }

    #[test]
    fn a_record_becomes_lambdas_event() {
        let arn = "arn:aws:dynamodb:dynoxide:000000000000:table/T/stream/1.5";
        let (event, count) = event(&[record("1")], arn);
        let event: Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(count, 1);
        assert_eq!(event["Records"][0]["awsRegion"], "us-east-1");
        assert_eq!(
            event["Records"][0]["eventSourceARN"],
            "arn:aws:dynamodb:us-east-1:000000000000:table/T/stream/1.5"
        );
        assert_eq!(unix_s(&record("1")), Some(1_800_000_000));
    }

    #[test]
    fn everything_comes_again_from_the_first_failed_record_on() {
        let records = [record("1"), record("2"), record("3")];
        let failures = |ids: &[&str]| {
            let items: Vec<_> = ids
                .iter()
                .map(|id| json!({ "itemIdentifier": id }))
                .collect();
            json!({ "batchItemFailures": items }).to_string()
        };
        let first = |response: &str| first_failed(response.as_bytes(), &records);
        assert_eq!(first(&failures(&[])), None);
        assert_eq!(first(&failures(&["3", "2"])), Some(1));
        assert_eq!(first(&failures(&["4"])), Some(0));
        assert_eq!(first("nonsense"), Some(0));
    }
}
