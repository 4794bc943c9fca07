//! What must hold at every write and every post, seen at the wire.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::{Value, json};
use sparkle_core::frame::{Codec, Encoding, Format};
use sparkle_wire::frame;

use crate::{
    engines::{Call, Engines, text},
    process::Process,
};

/// What the run's writes have shown so far.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// Every recorded frame by turn and place: a fact once it is there.
    recorded: BTreeMap<(String, u64), String>,
    /// The stream of every turn that there may be.
    pub(crate) streams: BTreeMap<String, u32>,
    /// How often the lease was taken for a turn.
    attempts: BTreeMap<String, u32>,
    /// Leases as the last write left them, by learner and session.
    leases: BTreeMap<String, Lease>,
}

/// What matters of a lease's item.
#[derive(Debug, Default)]
struct Lease {
    fence: u64,
    leased_until: u64,
    last_seq: u64,
    rings: u64,
    first: Option<String>,
    item: Value,
}

impl Guard {
    /// Looks at what a write did; says what it broke.
    pub(crate) fn after(
        &mut self,
        call: &Call,
        process: &Process,
        status: StatusCode,
        now_ms: u64,
        engines: &Engines,
    ) -> Vec<String> {
        let mut broken = Vec::new();
        if status != StatusCode::OK {
            return broken;
        }
        for key in lease_keys(call) {
            let after = lease(key, engines);
            let before = self.leases.remove(&key.to_string()).unwrap_or_default();
            let (item, name) = (&after.item, &process.name);
            if *item == before.item {
                self.leases.insert(key.to_string(), after);
                continue; // such as a transaction that was made already
            }
            if after.fence < before.fence {
                broken.push(format!("{name} turned a fence back"));
            }
            if after.fence > before.fence && before.leased_until > now_ms {
                broken.push(format!("{name} took a lease that was another's"));
            }
            if after.fence > before.fence
                && let Some(turn) = &after.first
            {
                *self.attempts.entry(turn.clone()).or_default() += 1;
            }
            // As the process meant it: a condition that is missing must show by what the write does.
            if named(call, ":fence").any(|fence| number(fence) != after.fence) {
                broken.push(format!("{name} wrote although its lease was another's"));
            }
            let is_fenced = named(call, ":fence").next().is_some();
            let mut turns = named(call, ":request").filter_map(text);
            if is_fenced && turns.any(|turn| before.first.as_deref() != Some(turn)) {
                broken.push(format!("{name} wrote for a turn that was not the first"));
            }
            if after.rings < before.rings {
                broken.push(format!("{name} turned the rings back"));
            }
            if after.first.is_some() && after.first == before.first {
                if after.last_seq < before.last_seq {
                    broken.push(format!("{name} turned a stream back"));
                }
            } else if after.last_seq > 0 {
                broken.push(format!("{name} left frames for a turn that has none"));
            }
            if let Some(turn) = &after.first {
                let tail = item["tail"]["L"].as_array().map_or(&[][..], Vec::as_slice);
                let from = (after.last_seq + 1).saturating_sub(tail.len() as u64);
                let turn = turn.clone();
                broken.extend(self.record(&turn, from, tail));
            }
            self.leases.insert(key.to_string(), after);
        }
        for put in puts(call, "FramesTable") {
            let turn = put["turn"]["S"].as_str().unwrap_or_default();
            let turn = turn.rsplit('/').next().unwrap_or_default().to_owned();
            let from = number(&put["seq"]);
            let frames = put["frames"]["L"].as_array().map_or(&[][..], Vec::as_slice);
            broken.extend(self.record(&turn, from, frames));
        }
        broken
    }

    /// How often the lease was taken for a turn.
    pub(crate) fn attempts(&self, turn: &str) -> u32 {
        self.attempts.get(turn).copied().unwrap_or_default()
    }

    fn record(&mut self, turn: &str, from: u64, frames: &[Value]) -> Vec<String> {
        let mut broken = Vec::new();
        for (seq, frame) in (from..).zip(frames) {
            let bytes = frame["B"].as_str().unwrap_or_default().to_owned();
            let stream = stream_of(&bytes);
            if stream != self.streams.get(turn).copied() {
                broken.push(format!(
                    "frame {seq} of {turn} is one of another turn ({stream:?})"
                ));
            }
            let known = self.recorded.entry((turn.to_owned(), seq));
            let known = known.or_insert_with(|| bytes.clone());
            if *known != bytes {
                broken.push(format!("frame {seq} of {turn} was recorded differently"));
            }
        }
        broken
    }

    /// Looks at a frame that is posted: it is recorded, and the final one of a turn that is over.
    pub(crate) fn posted(
        &self,
        turn: &str,
        user: &str,
        frame: &Value,
        engines: &Engines,
    ) -> Option<String> {
        let seq = frame["seq"].as_u64()?;
        if !self.recorded.contains_key(&(turn.to_owned(), seq)) {
            return Some(format!(
                "frame {seq} of {turn} was posted and is not recorded"
            ));
        }
        if frame["type"] == "done" || frame["type"] == "error" {
            let key = json!({ "user_id": { "S": user }, "request_id": { "S": turn } });
            let body = json!({ "TableName": "TurnsTable", "Key": key, "ConsistentRead": true });
            if engines.ask("GetItem", &body)["Item"]["state"]["S"] == "queued" {
                return Some(format!("the end of {turn} was posted before it was over"));
            }
        }
        None
    }
}

/// The stream that a stored frame says it belongs to.
fn stream_of(base64: &str) -> Option<u32> {
    let bytes = STANDARD.decode(base64).ok()?;
    let json = Format {
        codec: Codec::Json,
        encoding: Encoding::Plain,
    };
    let shown = frame::decode_stored(&bytes, json)?;
    let frame: Value = serde_json::from_str(&shown).ok()?;
    u32::try_from(frame["stream"].as_u64()?).ok()
}

fn number(value: &Value) -> u64 {
    text(value)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_default()
}

/// The parts of a call that change one item each, as its process meant them.
fn parts(call: &Call) -> Vec<&Value> {
    match call.operation.as_str() {
        "UpdateItem" | "PutItem" | "DeleteItem" => vec![call.meant()],
        "TransactWriteItems" => {
            let items = call.meant()["TransactItems"]
                .as_array()
                .into_iter()
                .flatten();
            let parts = items.flat_map(|item| item.as_object().into_iter().flatten());
            parts.map(|(_, part)| part).collect()
        }
        _ => Vec::new(),
    }
}

fn lease_keys(call: &Call) -> impl Iterator<Item = &Value> {
    let parts = parts(call).into_iter();
    parts
        .filter(|part| part["TableName"] == "LeasesTable")
        .map(|part| &part["Key"])
}

/// A value that the writes of a call to leases name.
fn named<'a>(call: &'a Call, name: &'static str) -> impl Iterator<Item = &'a Value> {
    let parts = parts(call).into_iter();
    let values = parts
        .filter(|part| part["TableName"] == "LeasesTable")
        .map(move |part| &part["ExpressionAttributeValues"][name]);
    values.filter(|value| !value.is_null())
}

fn puts<'a>(call: &'a Call, table: &str) -> impl Iterator<Item = &'a Value> {
    let parts = parts(call).into_iter();
    parts
        .filter(move |part| part["TableName"] == table)
        .map(|part| &part["Item"])
}

fn lease(key: &Value, engines: &Engines) -> Lease {
    let body = json!({ "TableName": "LeasesTable", "Key": key, "ConsistentRead": true });
    let mut found = engines.ask("GetItem", &body);
    let item = found["Item"].take();
    let first = item.pointer("/waiting/L/0/S").and_then(Value::as_str);
    Lease {
        fence: number(&item["fence"]),
        leased_until: number(&item["leased_until"]),
        last_seq: number(&item["last_seq"]),
        rings: number(&item["rings"]),
        first: first.map(str::to_owned),
        item,
    }
}
