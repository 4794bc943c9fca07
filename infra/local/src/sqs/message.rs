//! One message on its way in and out: limits, checksums, receipt handles.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::error::SqsError;
use super::spec::{DELAY_SECONDS_MAX, QueueSpec};

/// Most attributes of one message (SQS message quotas, read 2026-11).
const ATTRIBUTES_MAX: usize = 10;
/// SQS sequence numbers have 20 digits. Counting from here gives them all the same length,
/// so that text order is number order.
const SEQUENCE_NUMBER_BASE: u64 = 10_000_000_000_000_000_000;

/// A message to send. `Default` is an empty one, which is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMessage {
    /// The text, at least one character.
    pub body: String,
    /// The sender's own attributes, at most ten.
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// `MessageGroupId`: required on a FIFO queue, a hint for fairness on a standard one.
    pub group_id: Option<String>,
    /// `MessageDeduplicationId`: FIFO only.
    pub deduplication_id: Option<String>,
    /// Hides the message at first, up to 15 min; `None` takes the queue's. Standard only.
    pub delay: Option<Duration>,
    /// The `AWSTraceHeader` system attribute; counts toward no limit.
    pub trace_header: Option<String>,
}

/// What became of a sent message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Id of the message, or of the one that it duplicates.
    pub message_id: String,
    /// MD5 of the body as sent, in hex.
    pub md5_of_body: String,
    /// FIFO only: the place in the queue, 20 digits.
    pub sequence_number: Option<String>,
}

/// A message as a receiver gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// The id given at sending.
    pub message_id: String,
    /// What deletes this message or changes its visibility, for this receive.
    pub receipt_handle: String,
    /// The text.
    pub body: String,
    /// MD5 of the body, in hex.
    pub md5_of_body: String,
    /// Every system attribute by AWS's name (`ApproximateReceiveCount`, `SentTimestamp` in ms,
    /// `MessageGroupId`, `AWSTraceHeader`…).
    pub attributes: BTreeMap<String, String>,
    /// The sender's own attributes.
    pub message_attributes: BTreeMap<String, MessageAttribute>,
}

/// One attribute set by the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, with an optional `.label`.
    pub data_type: String,
    /// The value, of the kind that the type says.
    pub value: AttributeValue,
}

/// The value of a message attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttributeValue {
    /// Of type `String` or `Number`.
    Text(String),
    /// Of type `Binary`.
    Binary(Vec<u8>),
}

impl AttributeValue {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl NewMessage {
    /// Size that counts toward the limit: body, and names, types and values of attributes.
    pub(super) fn size_bytes(&self) -> usize {
        let attributes: usize = self
            .attributes
            .iter()
            .map(|(name, attribute)| {
                name.len() + attribute.data_type.len() + attribute.value.bytes().len()
            })
            .sum();
        self.body.len() + attributes
    }

    /// Refuses what AWS would refuse for this queue.
    pub(super) fn check(&self, spec: &QueueSpec) -> Result<(), SqsError> {
        if self.body.is_empty() {
            return Err(SqsError::MissingParameter("MessageBody"));
        }
        if self.size_bytes() > spec.message_bytes_max {
            return Err(SqsError::InvalidParameterValue(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {} \
                 bytes.",
                spec.message_bytes_max
            )));
        }
        check_characters("the message body", &self.body)?;
        if self.attributes.len() > ATTRIBUTES_MAX {
            return Err(SqsError::InvalidParameterValue(format!(
                "Number of message attributes [{}] exceeds the allowed maximum [{ATTRIBUTES_MAX}].",
                self.attributes.len()
            )));
        }
        for (name, attribute) in &self.attributes {
            check_attribute(name, attribute)?;
        }
        for (parameter, id) in [
            ("MessageGroupId", &self.group_id),
            ("MessageDeduplicationId", &self.deduplication_id),
        ] {
            if let Some(id) = id {
                check_id(parameter, id)?;
            }
        }
        if let Some(delay) = self.delay
            && delay > Duration::from_secs(DELAY_SECONDS_MAX)
        {
            return Err(SqsError::invalid(
                "DelaySeconds",
                delay.as_secs(),
                "DelaySeconds must be >= 0 and <= 900.",
            ));
        }
        self.check_queue_type(spec)
    }

    fn check_queue_type(&self, spec: &QueueSpec) -> Result<(), SqsError> {
        const NOT_FOR_THIS_TYPE: &str =
            "The request include parameter that is not valid for this queue type";
        if !spec.fifo {
            return match &self.deduplication_id {
                Some(id) => Err(SqsError::invalid(
                    "MessageDeduplicationId",
                    id,
                    NOT_FOR_THIS_TYPE,
                )),
                None => Ok(()),
            };
        }
        if self.group_id.is_none() {
            return Err(SqsError::MissingParameter("MessageGroupId"));
        }
        if self.deduplication_id.is_none() && !spec.content_based_deduplication {
            return Err(SqsError::InvalidParameterValue(
                "The queue should either have ContentBasedDeduplication enabled or \
                 MessageDeduplicationId provided explicitly"
                    .to_owned(),
            ));
        }
        match self.delay {
            Some(delay) if !delay.is_zero() => Err(SqsError::invalid(
                "DelaySeconds",
                delay.as_secs(),
                NOT_FOR_THIS_TYPE,
            )),
            _ => Ok(()),
        }
    }
}

fn check_characters(place: &str, text: &str) -> Result<(), SqsError> {
    let refused = |letter: char| {
        matches!(letter, '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
            && !matches!(letter, '\t' | '\n' | '\r')
    };
    match text.chars().find(|&letter| refused(letter)) {
        Some(letter) => Err(SqsError::InvalidMessageContents(format!(
            "{place}: #x{:X}",
            u32::from(letter)
        ))),
        None => Ok(()),
    }
}

/// Group and deduplication ids: 1 to 128 printable ASCII characters without spaces.
fn check_id(parameter: &'static str, id: &str) -> Result<(), SqsError> {
    let valid = (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if valid {
        return Ok(());
    }
    Err(SqsError::invalid(
        parameter,
        id,
        &format!(
            "{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in \
             length."
        ),
    ))
}

fn check_attribute(name: &str, attribute: &MessageAttribute) -> Result<(), SqsError> {
    let lower = name.to_ascii_lowercase();
    let named = (1..=256).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !lower.starts_with("aws.")
        && !lower.starts_with("amazon.");
    if !named {
        return Err(SqsError::InvalidParameterValue(format!(
            "The message attribute name '{name}' is invalid. Attribute name can contain A-Z, a-z, \
             0-9, underscore (_), hyphen (-), and period (.) characters."
        )));
    }
    let kind = attribute.data_type.split('.').next().unwrap_or_default();
    let fits = match &attribute.value {
        AttributeValue::Text(text) => match kind {
            "String" => !text.is_empty(),
            "Number" => text.parse::<f64>().is_ok_and(f64::is_finite),
            _ => false,
        },
        AttributeValue::Binary(bytes) => kind == "Binary" && !bytes.is_empty(),
    };
    if !fits || attribute.data_type.len() > 256 {
        return Err(SqsError::InvalidParameterValue(format!(
            "The message attribute '{name}' with type '{}' must use a field of that type with a \
             valid, non-empty value.",
            attribute.data_type
        )));
    }
    if let AttributeValue::Text(text) = &attribute.value {
        check_characters("a message attribute", text)?;
    }
    Ok(())
}

impl ReceivedMessage {
    /// The checksum over its attributes; `None` without any.
    pub fn md5_of_message_attributes(&self) -> Option<String> {
        md5_of_attributes(self.message_attributes.iter())
    }
}

/// MD5 in hex.
pub(super) fn md5_hex(bytes: &[u8]) -> String {
    format!("{:x}", md5::compute(bytes))
}

/// The checksum over attributes that SDKs verify; `None` without attributes. Layout: SQS
/// developer guide, "Calculating the MD5 message digest for message attributes".
pub(super) fn md5_of_attributes<'a>(
    attributes: impl Iterator<Item = (&'a String, &'a MessageAttribute)>,
) -> Option<String> {
    let mut layout = Vec::new();
    let field = |layout: &mut Vec<u8>, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        layout.extend_from_slice(&length.to_be_bytes());
        layout.extend_from_slice(bytes);
    };
    for (name, attribute) in attributes {
        field(&mut layout, name.as_bytes());
        field(&mut layout, attribute.data_type.as_bytes());
        layout.push(match attribute.value {
            AttributeValue::Text(_) => 1,
            AttributeValue::Binary(_) => 2,
        });
        field(&mut layout, attribute.value.bytes());
    }
    (!layout.is_empty()).then(|| md5_hex(&layout))
}

/// The sequence number that shows a place in a FIFO queue.
pub(super) fn sequence_number(sequence: i64) -> String {
    let place = u64::try_from(sequence).unwrap_or_default();
    SEQUENCE_NUMBER_BASE.saturating_add(place).to_string()
}

/// What a receipt handle stands for: one receive of one message from one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    /// Row of the queue.
    pub(super) queue: i64,
    /// Id of the message.
    pub(super) message_id: String,
    /// Which receive from this queue it was, counted from 1.
    pub(super) receives: i64,
}

impl Receipt {
    pub(super) fn to_handle(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!(
            "{}/{}/{}",
            self.queue, self.message_id, self.receives
        ))
    }

    pub(super) fn from_handle(handle: &str) -> Result<Self, SqsError> {
        let read = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(handle).ok()?).ok()?;
            let mut parts = text.split('/');
            let receipt = Self {
                queue: parts.next()?.parse().ok()?,
                message_id: parts.next()?.to_owned(),
                receives: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(receipt)
        };
        read().ok_or(SqsError::ReceiptHandleIsInvalid)
    }
}
