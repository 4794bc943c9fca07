//! Frames as a client in another language writes and reads them: with descriptors of `proto/` in place of
//! our generated types, and `flate2` in place of ours.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions, Value, prost::Message,
};
use serde_json::json;

use crate::root;

/// How a frame is written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// JSON text.
    Json,
    /// Protobuf in base64.
    Protobuf,
}

/// Whether payloads are deflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payloads {
    /// They are not.
    Plain,
    /// They are.
    Deflated,
}

/// A frame that was read.
#[derive(Debug, Clone)]
pub struct Frame {
    /// In JSON, its payload an object whatever it was on the wire.
    pub json: serde_json::Value,
    /// How it was written.
    pub codec: Codec,
    /// How its payload was.
    pub payloads: Payloads,
}

/// What reads and writes frames.
#[derive(Debug)]
pub struct Wire {
    messages: DescriptorPool,
}

impl Wire {
    /// Compiles `proto/sparkle/ws.proto`.
    ///
    /// # Errors
    /// It does not compile.
    pub fn open() -> Result<Self> {
        let files = protox::compile(["sparkle/ws.proto"], [root().join("proto")])?;
        Ok(Self {
            messages: DescriptorPool::from_file_descriptor_set(files)?,
        })
    }

    /// Writes a client's frame; `message` names the message of its payload.
    ///
    /// # Errors
    /// The payload does not fit the message.
    pub fn write(
        &self,
        (kind, message): (&str, &str),
        id: &str,
        payload: &serde_json::Value,
        how: (Codec, Payloads),
    ) -> Result<String> {
        self.write_with((kind, message), id, payload, how, &json!({}))
    }

    /// Writes a client's frame with `more` fields of the envelope.
    ///
    /// # Errors
    /// The payload or the fields do not fit their message.
    pub fn write_with(
        &self,
        (kind, message): (&str, &str),
        id: &str,
        payload: &serde_json::Value,
        (codec, payloads): (Codec, Payloads),
        more: &serde_json::Value,
    ) -> Result<String> {
        let encoding = match payloads {
            Payloads::Plain => "",
            Payloads::Deflated => "deflate",
        };
        let encoded = |bytes: Vec<u8>| match payloads {
            Payloads::Plain => bytes,
            Payloads::Deflated => deflate(&bytes),
        };
        let payload = match (codec, payloads) {
            (Codec::Protobuf, _) => {
                let message = DynamicMessage::deserialize(self.message(message)?, payload)?;
                json!(BASE64_STANDARD.encode(encoded(message.encode_to_vec())))
            }
            (Codec::Json, Payloads::Plain) => payload.clone(),
            (Codec::Json, Payloads::Deflated) => {
                json!(BASE64_STANDARD.encode(deflate(payload.to_string().as_bytes())))
            }
        };
        let mut frame =
            json!({ "version": "2.0", "type": kind, "request_id": id, "payload": payload });
        if !encoding.is_empty() {
            frame["encoding"] = json!(encoding);
        }
        for (name, value) in more.as_object().into_iter().flatten() {
            frame[name] = value.clone();
        }
        Ok(match codec {
            Codec::Json => frame.to_string(),
            Codec::Protobuf => {
                let envelope = self.message("WebSocketMessage")?;
                let message = DynamicMessage::deserialize(envelope, frame)?;
                BASE64_STANDARD.encode(message.encode_to_vec())
            }
        })
    }

    /// Reads a frame of the server.
    ///
    /// # Errors
    /// It is not one.
    pub fn read(&self, text: &str) -> Result<Frame> {
        if text.starts_with('{') {
            let mut json: serde_json::Value = serde_json::from_str(text)?;
            let payloads = payloads_of(json["encoding"].as_str().unwrap_or_default())?;
            if payloads == Payloads::Deflated {
                let base64 = json["payload"].as_str().context("not base64")?;
                json["payload"] =
                    serde_json::from_slice(&inflate(&BASE64_STANDARD.decode(base64)?)?)?;
            }
            return Ok(Frame {
                json,
                codec: Codec::Json,
                payloads,
            });
        }
        let bytes = BASE64_STANDARD.decode(text)?;
        let envelope = DynamicMessage::decode(self.message("WebSocketMessage")?, &*bytes)?;
        let mut json = in_json(&envelope)?;
        let payloads = payloads_of(json["encoding"].as_str().unwrap_or_default())?;
        let payload = envelope.get_field_by_name("payload");
        let payload = match payload.as_deref().and_then(Value::as_bytes) {
            Some(bytes) if payloads == Payloads::Deflated => inflate(bytes)?,
            bytes => bytes.context("no payload")?.to_vec(),
        };
        let message = pascal(json["type"].as_str().context("no type")?);
        json["payload"] = in_json(&DynamicMessage::decode(self.message(&message)?, &*payload)?)?;
        Ok(Frame {
            json,
            codec: Codec::Protobuf,
            payloads,
        })
    }

    fn message(&self, name: &str) -> Result<MessageDescriptor> {
        let message = self
            .messages
            .get_message_by_name(&format!("sparkle.ws.{name}"));
        message.with_context(|| format!("no message {name}"))
    }
}

/// Deflates bytes without a header.
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(bytes);
    debug_assert!(written.is_ok(), "a vector takes everything");
    encoder.finish().unwrap_or_default()
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    DeflateDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}

fn payloads_of(encoding: &str) -> Result<Payloads> {
    ensure!(matches!(encoding, "" | "deflate"), "encoding {encoding}");
    Ok(if encoding.is_empty() {
        Payloads::Plain
    } else {
        Payloads::Deflated
    })
}

/// The message that a server's type names: `usage` is a `Usage`.
fn pascal(kind: &str) -> String {
    kind.split('_')
        .map(|word| word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or(""))
        .collect()
}

/// As our JSON frames have it: `snake_case`, numbers as numbers, default values left out.
fn in_json(message: &DynamicMessage) -> Result<serde_json::Value> {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options)?)
}
