//! Client frames: `text -> ClientFrame`, `ServerFrame -> text`.
//!
//! A text frame whose first non-blank character is `{` is JSON; any other is base64 of a Protobuf
//! `WebSocketMessage`. Limits are checked in order of cost: bytes and nesting before anything is
//! parsed, ids and type before the payload, the payload's fields last. A payload may be deflated; it
//! then inflates to no more than a frame may hold.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

mod decode;
mod deflate;
mod encode;
mod inplace;
mod profile;

pub use decode::{
    FRAME_BYTES_MAX, FrameError, JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX, check_lookup, decode,
};
pub use encode::{decode_stored, encode, encode_payload, encode_stored, stored, stored_text};

/// The protocol's version.
pub const VERSION: &str = "2.0";

/// `WebSocketMessage` as JSON: its payload an object in place, its text borrowed.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct JsonEnvelope<'a> {
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    version: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    request_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "is_zero")]
    stream: u32,
    #[serde(skip_serializing_if = "is_zero")]
    seq: u32,
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    trace_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "is_zero_ms")]
    timestamp: i64,
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    encoding: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero_ms(number: &i64) -> bool {
    *number == 0
}
