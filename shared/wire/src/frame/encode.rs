//! [`ServerFrame`] to text.

use base64_simd::STANDARD as BASE64;
use prost::Message;
use serde_json::value::RawValue;
use sparkle_core::{
    cache::entry::{Origin, Similarity},
    frame::{
        Alert, Body, Budget, Codec, Encoding, ErrorBody, Format, Found, HistoryEntry, Period,
        Quota, ServerFrame, SessionEntry, State, StoredFrame, Usage, UsageReport, Window,
    },
    id::{RequestId, SessionId, StreamId, TraceId},
    price::Model,
    unit::Timestamp,
};

use super::{JsonEnvelope, PAYLOAD_BYTES_MAX, VERSION, deflate::deflate, profile};
use crate::generated::ws;

/// Writes a frame as the text of one WebSocket message. Its payload is deflated only if the format
/// allows it and the text gets shorter by it.
pub fn encode(frame: &ServerFrame, format: Format) -> String {
    let payload = Payload::of(&frame.body);
    write(&envelope(frame, &payload), &payload, format)
}

/// Writes what a frame holds by itself, as JSON: for who asks without a socket.
pub fn encode_payload(body: &Body) -> Option<Box<RawValue>> {
    Payload::of(body).to_json()
}

/// Writes a frame in the form in which streams are stored: bytes that [`decode_stored`] turns into
/// any format, so that a learner may come back on another device.
pub fn encode_stored(frame: &ServerFrame) -> Vec<u8> {
    let payload = Payload::of(&frame.body);
    let message = envelope(frame, &payload);
    ws::WebSocketMessage {
        payload: payload.to_bytes(),
        ..message
    }
    .encode_to_vec()
}

/// A frame of a stream as it is kept; none if it has no place in one.
pub fn stored(frame: &ServerFrame) -> Option<StoredFrame> {
    let bytes = encode_stored(frame);
    frame.seq.map(|seq| StoredFrame { seq, bytes })
}

/// Writes a stored frame as the text of one WebSocket message; none if the bytes are damaged.
pub fn decode_stored(stored: &[u8], format: Format) -> Option<String> {
    let mut message = ws::WebSocketMessage::decode(stored).ok()?;
    let payload = Payload::from_bytes(&message.r#type, &std::mem::take(&mut message.payload))?;
    Some(write(&message, &payload, format))
}

/// The text of a stored `delta`, and whether it begins the answer anew; none for any other frame.
pub fn stored_text(stored: &[u8]) -> Option<(String, bool)> {
    let message = ws::WebSocketMessage::decode(stored).ok()?;
    match Payload::from_bytes(&message.r#type, &message.payload)? {
        Payload::Delta(delta) => Some((delta.text, delta.restart)),
        _ => None,
    }
}

/// All of a frame but its payload.
fn envelope(frame: &ServerFrame, payload: &Payload) -> ws::WebSocketMessage {
    let version = if matches!(frame.body, Body::Ack(_)) {
        VERSION
    } else {
        ""
    };
    ws::WebSocketMessage {
        version: version.to_owned(),
        r#type: payload.kind().to_owned(),
        payload: Vec::new(),
        trace_id: frame
            .trace_id
            .as_ref()
            .map_or("", TraceId::as_str)
            .to_owned(),
        request_id: frame
            .request_id
            .as_ref()
            .map_or("", RequestId::as_str)
            .to_owned(),
        timestamp: frame.timestamp.map_or(0, Timestamp::unix_ms),
        seq: frame.seq.unwrap_or(0),
        encoding: String::new(),
        stream: frame.stream.map_or(0, StreamId::get),
    }
}

fn write(message: &ws::WebSocketMessage, payload: &Payload, format: Format) -> String {
    let write = match format.codec {
        Codec::Protobuf => write_protobuf,
        Codec::Json => write_json,
    };
    let plain = write(message, payload, Encoding::Plain);
    // Shorter ones hardly ever get shorter (text of lessons, Chinese and English),
    // and what inflates to more than a client takes is not sent deflated.
    let worth_a_try = match format.codec {
        Codec::Protobuf => 128..=PAYLOAD_BYTES_MAX,
        Codec::Json => 256..=PAYLOAD_BYTES_MAX,
    };
    if format.encoding == Encoding::Plain || !worth_a_try.contains(&plain.len()) {
        return plain;
    }
    let deflated = write(message, payload, Encoding::Deflate);
    if deflated.len() < plain.len() {
        deflated
    } else {
        plain
    }
}

fn write_protobuf(message: &ws::WebSocketMessage, payload: &Payload, encoding: Encoding) -> String {
    let plain = payload.to_bytes();
    let bytes = match encoding {
        Encoding::Plain => plain,
        Encoding::Deflate => deflate(&plain),
    };
    let message = ws::WebSocketMessage {
        payload: bytes,
        encoding: encoding.as_str().to_owned(),
        ..message.clone()
    };
    BASE64.encode_to_string(message.encode_to_vec())
}

fn write_json(message: &ws::WebSocketMessage, payload: &Payload, encoding: Encoding) -> String {
    let plain = payload.to_json();
    let payload = match (encoding, plain) {
        (Encoding::Deflate, Some(json)) => {
            let base64 = BASE64.encode_to_string(deflate(json.get().as_bytes()));
            serde_json::value::to_raw_value(&base64).ok()
        }
        (_, plain) => plain,
    };
    let envelope = JsonEnvelope {
        version: (&*message.version).into(),
        kind: (&*message.r#type).into(),
        request_id: (&*message.request_id).into(),
        stream: message.stream,
        seq: message.seq,
        trace_id: (&*message.trace_id).into(),
        timestamp: message.timestamp,
        encoding: encoding.as_str().into(),
        payload: payload.as_deref(),
    };
    serde_json::to_string(&envelope).unwrap_or_default()
}

/// The payload messages that a server sends, by the `type` that names them.
macro_rules! payloads {
    ($($name:ident $kind:literal),+ $(,)?) => {
        enum Payload { $($name(ws::$name)),+ }

        impl Payload {
            fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => $kind),+ }
            }

            fn to_bytes(&self) -> Vec<u8> {
                match self { $(Self::$name(payload) => payload.encode_to_vec()),+ }
            }

            /// None only if a number cannot be written, which JSON knows of no infinity for.
            fn to_json(&self) -> Option<Box<RawValue>> {
                match self { $(Self::$name(payload) => serde_json::value::to_raw_value(payload)),+ }.ok()
            }

            fn from_bytes(kind: &str, bytes: &[u8]) -> Option<Self> {
                match kind {
                    $($kind => ws::$name::decode(bytes).ok().map(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

payloads! {
    Ack "ack",
    Status "status",
    Delta "delta",
    Usage "usage",
    Done "done",
    History "history",
    Sessions "sessions",
    Models "models",
    Quota "quota",
    UsageReport "usage_report",
    Profile "profile",
    LookupResult "lookup_result",
    Alert "alert",
    Pong "pong",
    Error "error",
}

impl Payload {
    fn of(body: &Body) -> Self {
        match body {
            Body::Ack(ack) => Self::Ack(ws::Ack {
                duplicate: ack.duplicate,
                session_id: ack
                    .session_id
                    .as_ref()
                    .map_or("", SessionId::as_str)
                    .to_owned(),
                last_seq: ack.last_seq,
                finished: ack.finished,
            }),
            Body::Status { state } => {
                let state = match state {
                    State::Thinking => "thinking",
                    State::Generating => "generating",
                };
                Self::Status(ws::Status {
                    state: state.to_owned(),
                    details: String::new(),
                })
            }
            Body::Delta { text, restart } => Self::Delta(ws::Delta {
                text: text.clone(),
                restart: *restart,
            }),
            Body::Usage(usage) => Self::Usage(usage_message(usage)),
            Body::Done(done) => Self::Done(ws::Done {
                response_id: done.response_id.clone(),
                finish_reason: done.finish_reason.as_str().to_owned(),
                cache: done.origin.as_str().to_owned(),
                similarity: share(done.origin.similarity()),
                // Every answer is without retrieval in this release.
                context: "none".to_owned(),
                summary_used: done.summary_used,
            }),
            Body::History {
                session_id,
                entries,
                next_before,
            } => Self::History(ws::History {
                session_id: session_id.as_str().to_owned(),
                entries: entries.iter().map(history_entry).collect(),
                next_before: next_before.map_or(0, clamp),
            }),
            Body::Sessions {
                entries,
                next_before,
            } => Self::Sessions(ws::Sessions {
                entries: entries.iter().map(session_entry).collect(),
                next_before: next_before.map_or(0, Timestamp::unix_ms),
            }),
            Body::Models { entries } => {
                let entry = |(place, model): (usize, &Model)| model_entry(model, place);
                Self::Models(ws::Models {
                    entries: entries.iter().enumerate().map(entry).collect(),
                })
            }
            Body::Quota(quota) => Self::Quota(quota_message(quota)),
            Body::UsageReport(report) => Self::UsageReport(report_message(report)),
            Body::Profile(context) => Self::Profile(profile::message(context)),
            Body::LookupResult(found) => Self::LookupResult(lookup_message(found.as_ref())),
            Body::Alert(alert) => Self::Alert(alert_message(alert)),
            Body::Pong => Self::Pong(ws::Pong {}),
            Body::Error(error) => Self::Error(error_message(error)),
        }
    }
}

fn usage_message(usage: &Usage) -> ws::Usage {
    ws::Usage {
        prompt_tokens: usage.tokens.prompt_tokens,
        completion_tokens: usage.tokens.completion_tokens,
        total_tokens: usage.tokens.total(),
        cached_tokens: usage.tokens.cached_tokens,
        estimated: usage.estimated,
        cost_microusd: clamp(usage.cost.get()),
        saved_tokens: usage.saved_tokens,
    }
}

fn quota_message(quota: &Quota) -> ws::Quota {
    let window = |window: &Window| ws::quota::Window {
        used: clamp(window.used),
        reserved: clamp(window.reserved),
        limit: clamp(window.limit),
        remaining: clamp(window.remaining()),
        resets_at: window.resets_at.unix_ms(),
    };
    ws::Quota {
        tier: quota.tier.clone(),
        day: Some(window(&quota.day)),
        month: Some(window(&quota.month)),
    }
}

fn report_message(report: &UsageReport) -> ws::UsageReport {
    let period = |period: &Period| ws::usage_report::Period {
        date: period.date.clone(),
        input_tokens: clamp(period.input_tokens),
        cached_input_tokens: clamp(period.cached_input_tokens),
        output_tokens: clamp(period.output_tokens),
        cost_microusd: clamp(period.cost.get()),
        requests: clamp(period.requests),
        cache_hits: clamp(period.cache_hits),
    };
    let budget = |budget: &Budget| ws::usage_report::Budget {
        limit_microusd: clamp(budget.limit.get()),
        used_microusd: clamp(budget.used.get()),
        remaining_microusd: clamp(budget.remaining().get()),
        percentage: budget.percentage(),
        forecast_microusd: clamp(budget.forecast.get()),
    };
    ws::UsageReport {
        days: report.days.iter().map(period).collect(),
        months: report.months.iter().map(period).collect(),
        budget: Some(budget(&report.budget)),
    }
}

fn lookup_message(found: Option<&Found>) -> ws::LookupResult {
    let origin = found.map_or(Origin::Model, |found| found.origin);
    ws::LookupResult {
        hit: found.is_some(),
        level: origin.as_str().to_owned(),
        similarity: share(origin.similarity()),
        answer: found.map_or_else(String::new, |found| found.text.clone()),
        age_seconds: found.map_or(0, |found| found.age_seconds),
    }
}

fn alert_message(alert: &Alert) -> ws::Alert {
    ws::Alert {
        kind: alert.kind.as_str().to_owned(),
        message: alert.message.clone(),
        threshold: alert.threshold,
        used: clamp(alert.used),
        limit: clamp(alert.limit),
    }
}

fn history_entry(entry: &HistoryEntry) -> ws::history::Entry {
    ws::history::Entry {
        role: entry.speaker.as_str().to_owned(),
        text: entry.text.clone(),
        timestamp: entry.at.unix_ms(),
        request_id: entry.request_id.as_str().to_owned(),
    }
}

fn session_entry(entry: &SessionEntry) -> ws::sessions::Entry {
    ws::sessions::Entry {
        session_id: entry.session_id.as_str().to_owned(),
        title: entry.title.clone(),
        updated_at: entry.updated_at.unix_ms(),
        messages: u32::try_from(entry.messages).unwrap_or(u32::MAX),
    }
}

fn model_entry(model: &Model, place: usize) -> ws::models::Entry {
    ws::models::Entry {
        id: model.id.clone(),
        is_default: place == 0,
        input_microusd: clamp(model.input),
        cached_input_microusd: clamp(model.cached_input),
        output_microusd: clamp(model.output),
        context_tokens: model.context_tokens,
    }
}

fn error_message(error: &ErrorBody) -> ws::Error {
    ws::Error {
        code: error.code.as_str().to_owned(),
        message: error.message.clone(),
        retryable: error.code.is_retryable(),
        retry_after_ms: error.retry_after_ms.map_or(0, clamp),
        field: error.field.clone().unwrap_or_default(),
    }
}

/// An unsigned number in the wire's signed one.
fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A similarity as the wire has it: 0 to 1.
#[expect(clippy::float_arithmetic, reason = "it is a number for people")]
fn share(similarity: Similarity) -> f32 {
    f32::from(similarity.ten_thousandths()) / 10_000.0
}
