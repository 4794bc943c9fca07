//! The two messages of a `chat` in Protobuf, read in place: nothing is copied that is not kept.
//!
//! Prost copies every text of a message and checks it with the standard library, which is most of what
//! reading a short frame takes (docs/adr/0006). Everything that is not read for every message of a learner
//! still goes through prost, and a law holds both to the same answers.

use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, check_wire_type, decode_key, decode_varint, skip_field},
};
use simdutf8::basic::from_utf8;

use crate::generated::ws;

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotProtobuf;

impl From<DecodeError> for NotProtobuf {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// `WebSocketMessage`, as far as it is read of clients.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    pub(super) version: &'a str,
    pub(super) kind: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) trace_id: &'a str,
    pub(super) request_id: &'a str,
    pub(super) encoding: &'a str,
}

/// Reads a `WebSocketMessage`.
pub(super) fn envelope(mut message: &[u8]) -> Result<Envelope<'_>, NotProtobuf> {
    let mut envelope = Envelope::default();
    while !message.is_empty() {
        let (number, wire) = decode_key(&mut message)?;
        match number {
            1 => envelope.version = text(wire, &mut message)?,
            2 => envelope.kind = text(wire, &mut message)?,
            3 => envelope.payload = bytes(wire, &mut message)?,
            4 => envelope.trace_id = text(wire, &mut message)?,
            5 => envelope.request_id = text(wire, &mut message)?,
            8 => envelope.encoding = text(wire, &mut message)?,
            6 | 7 | 9 => {
                check_wire_type(WireType::Varint, wire)?;
                decode_varint(&mut message)?;
            }
            unknown => skip_field(wire, unknown, &mut message, DecodeContext::default())?,
        }
    }
    Ok(envelope)
}

/// Reads a `ChatMessage`.
pub(super) fn chat(mut message: &[u8]) -> Result<ws::ChatMessage, NotProtobuf> {
    let mut chat = ws::ChatMessage::default();
    while !message.is_empty() {
        let (number, wire) = decode_key(&mut message)?;
        let field = match number {
            1 => &mut chat.session_id,
            2 => &mut chat.user_id,
            3 => &mut chat.message,
            4 => {
                let call = ws::ToolCall::decode(bytes(wire, &mut message)?)?;
                chat.tool_calls.push(call);
                continue;
            }
            5 => &mut chat.language,
            6 => &mut chat.role,
            7 => &mut chat.model,
            8 => &mut chat.cache,
            unknown => {
                skip_field(wire, unknown, &mut message, DecodeContext::default())?;
                continue;
            }
        };
        text(wire, &mut message)?.clone_into(field);
    }
    Ok(chat)
}

fn bytes<'a>(wire: WireType, message: &mut &'a [u8]) -> Result<&'a [u8], NotProtobuf> {
    check_wire_type(WireType::LengthDelimited, wire)?;
    let len = usize::try_from(decode_varint(message)?).map_err(|_too_long| NotProtobuf)?;
    let (bytes, rest) = message.split_at_checked(len).ok_or(NotProtobuf)?;
    *message = rest;
    Ok(bytes)
}

fn text<'a>(wire: WireType, message: &mut &'a [u8]) -> Result<&'a str, NotProtobuf> {
    from_utf8(bytes(wire, message)?).map_err(|_not_text| NotProtobuf)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_envelope_as_prost_reads_it(bytes: &[u8]) {
        let ours = envelope(bytes);
        let Ok(prost) = ws::WebSocketMessage::decode(bytes) else {
            assert_eq!(ours, Err(NotProtobuf));
            return;
        };
        let same = Envelope {
            version: &prost.version,
            kind: &prost.r#type,
            payload: &prost.payload,
            trace_id: &prost.trace_id,
            request_id: &prost.request_id,
            encoding: &prost.encoding,
        };
        assert_eq!(ours, Ok(same));
    }

    fn assert_chat_as_prost_reads_it(bytes: &[u8]) {
        let prost = ws::ChatMessage::decode(bytes).map_err(NotProtobuf::from);
        assert_eq!(chat(bytes), prost);
    }

    /// A field of any number and wire type, sound or cut.
    fn field() -> impl Strategy<Value = Vec<u8>> {
        let content = prop_oneof![
            "[a-z导]{0,6}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..6),
        ];
        (0u8..12, 0u8..6, content, 0u8..9).prop_map(|(number, wire, content, len)| {
            let len = if wire == 2 && len > 1 {
                content.len()
            } else {
                usize::from(len)
            };
            let mut field = vec![number << 3 | wire];
            if wire == 2 {
                field.push(u8::try_from(len).unwrap());
            }
            field.extend(content);
            field
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn any_fields_are_read_as_prost_reads_them(fields in prop::collection::vec(field(), 0..6)) {
            assert_envelope_as_prost_reads_it(&fields.concat());
            assert_chat_as_prost_reads_it(&fields.concat());
        }

        #[test]
        fn any_bytes_are_read_as_prost_reads_them(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            assert_envelope_as_prost_reads_it(&bytes);
            assert_chat_as_prost_reads_it(&bytes);
        }
    }
}
