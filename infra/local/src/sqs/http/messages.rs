//! The operations on messages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::error::SqsError;
use super::super::message::{
    AttributeValue, MessageAttribute, NewMessage, ReceivedMessage, Sent, md5_of_attributes,
};
use super::super::receive::Request;
use super::super::spec::{DELAY_SECONDS_MAX, VISIBILITY_SECONDS_MAX, WAIT_SECONDS_MAX};
use super::super::{BATCH_MAX, Sqs};
use super::queue_name;

/// `SendMessage`, and an entry of `SendMessageBatch`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Send {
    id: String,
    queue_url: String,
    message_body: String,
    delay_seconds: Option<i64>,
    message_attributes: Option<BTreeMap<String, Attribute>>,
    message_system_attributes: Option<BTreeMap<String, Attribute>>,
    message_group_id: Option<String>,
    message_deduplication_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Attribute {
    data_type: String,
    string_value: Option<String>,
    binary_value: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Receive {
    queue_url: String,
    attribute_names: Vec<String>,
    message_system_attribute_names: Vec<String>,
    message_attribute_names: Vec<String>,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
}

/// `DeleteMessage` and `ChangeMessageVisibility`, and an entry of their batches.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Handle {
    id: String,
    queue_url: String,
    receipt_handle: String,
    visibility_timeout: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Batch<T> {
    #[serde(default)]
    queue_url: String,
    #[serde(default = "Vec::new")]
    entries: Vec<T>,
}

/// A message to send, and the checksum over its system attributes.
struct Read {
    message: NewMessage,
    md5_of_system_attributes: Option<String>,
}

pub(super) async fn send(
    sqs: &Sqs,
    input: Send,
    trace_header: Option<&str>,
) -> Result<Value, SqsError> {
    let queue = queue_name(&input.queue_url)?.to_owned();
    let read = read_message(input, trace_header)?;
    let md5_of_attributes = md5_of_attributes(read.message.attributes.iter());
    let sent = sqs.send(&queue, read.message).await?;
    Ok(Value::Object(show_sent(
        &sent,
        md5_of_attributes,
        read.md5_of_system_attributes,
    )))
}

pub(super) async fn send_batch(
    sqs: &Sqs,
    input: Batch<Send>,
    trace_header: Option<&str>,
) -> Result<Value, SqsError> {
    let queue = queue_name(&input.queue_url)?.to_owned();
    check_ids(input.entries.iter().map(|entry| entry.id.as_str()))?;
    let mut results = Results::default();
    let (mut shown, mut messages) = (Vec::new(), Vec::new());
    for mut entry in input.entries {
        let id = std::mem::take(&mut entry.id);
        match read_message(entry, trace_header) {
            Ok(read) => {
                let md5 = md5_of_attributes(read.message.attributes.iter());
                shown.push((id, md5, read.md5_of_system_attributes));
                messages.push(read.message);
            }
            Err(error) => results.failed(&id, &error),
        }
    }
    let sent = sqs.send_batch(&queue, messages).await?;
    for ((id, md5, md5_of_system), sent) in shown.into_iter().zip(sent) {
        match sent {
            Ok(sent) => results.successful(id, show_sent(&sent, md5, md5_of_system)),
            Err(error) => results.failed(&id, &error),
        }
    }
    Ok(results.into_output())
}

pub(super) async fn receive(sqs: &Sqs, input: Receive) -> Result<Value, SqsError> {
    let messages_max = match input.max_number_of_messages {
        None => 1,
        Some(wanted) => usize::try_from(wanted)
            .ok()
            .filter(|wanted| (1..=BATCH_MAX).contains(wanted))
            .ok_or_else(|| {
                SqsError::invalid(
                    "MaxNumberOfMessages",
                    wanted,
                    "Must be between 1 and 10, if provided.",
                )
            })?,
    };
    let request = Request {
        queue: queue_name(&input.queue_url)?.to_owned(),
        messages_max,
        wait: seconds("WaitTimeSeconds", input.wait_time_seconds, WAIT_SECONDS_MAX)?,
        visibility: seconds(
            "VisibilityTimeout",
            input.visibility_timeout,
            VISIBILITY_SECONDS_MAX,
        )?,
    };
    let system_names: Vec<String> =
        [input.attribute_names, input.message_system_attribute_names].concat();
    let received = sqs.receive_request(request).await?;
    let shown: Vec<Value> = received
        .iter()
        .map(|message| show_received(message, &system_names, &input.message_attribute_names))
        .collect();
    Ok(if shown.is_empty() {
        json!({})
    } else {
        json!({ "Messages": shown })
    })
}

pub(super) async fn delete(sqs: &Sqs, input: Handle) -> Result<Value, SqsError> {
    let queue = queue_name(&input.queue_url)?;
    sqs.delete(queue, &handle(&input)?).await?;
    Ok(json!({}))
}

pub(super) async fn delete_batch(sqs: &Sqs, input: Batch<Handle>) -> Result<Value, SqsError> {
    let queue = queue_name(&input.queue_url)?;
    check_ids(input.entries.iter().map(|entry| entry.id.as_str()))?;
    let handles = input
        .entries
        .iter()
        .map(|entry| entry.receipt_handle.clone());
    let deleted = sqs.delete_batch(queue, handles.collect()).await?;
    let mut results = Results::default();
    for (entry, deleted) in input.entries.into_iter().zip(deleted) {
        match deleted {
            Ok(()) => results.successful(entry.id, Map::new()),
            Err(error) => results.failed(&entry.id, &error),
        }
    }
    Ok(results.into_output())
}

pub(super) async fn change_visibility(sqs: &Sqs, input: Handle) -> Result<Value, SqsError> {
    let queue = queue_name(&input.queue_url)?;
    let (handle, visibility) = (handle(&input)?, visibility(&input)?);
    sqs.change_visibility(queue, &handle, visibility).await?;
    Ok(json!({}))
}

pub(super) async fn change_visibility_batch(
    sqs: &Sqs,
    input: Batch<Handle>,
) -> Result<Value, SqsError> {
    let queue = queue_name(&input.queue_url)?;
    check_ids(input.entries.iter().map(|entry| entry.id.as_str()))?;
    let mut results = Results::default();
    let (mut ids, mut changes) = (Vec::new(), Vec::new());
    for entry in input.entries {
        match visibility(&entry) {
            Ok(visibility) => {
                changes.push((entry.receipt_handle, visibility));
                ids.push(entry.id);
            }
            Err(error) => results.failed(&entry.id, &error),
        }
    }
    let changed = sqs.change_visibility_batch(queue, changes).await?;
    for (id, changed) in ids.into_iter().zip(changed) {
        match changed {
            Ok(()) => results.successful(id, Map::new()),
            Err(error) => results.failed(&id, &error),
        }
    }
    Ok(results.into_output())
}

/// The answer to a batch call: each entry succeeds or fails on its own.
#[derive(Default)]
struct Results {
    successful: Vec<Value>,
    failed: Vec<Value>,
}

impl Results {
    fn successful(&mut self, id: String, mut output: Map<String, Value>) {
        output.insert("Id".to_owned(), Value::String(id));
        self.successful.push(Value::Object(output));
    }

    fn failed(&mut self, id: &str, error: &SqsError) {
        self.failed.push(json!({
            "Id": id,
            "SenderFault": error.is_senders_fault(),
            "Code": error.query_code(),
            "Message": error.sentence(),
        }));
    }

    fn into_output(self) -> Value {
        json!({ "Successful": self.successful, "Failed": self.failed })
    }
}

fn check_ids<'a>(ids: impl Iterator<Item = &'a str>) -> Result<(), SqsError> {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for id in ids {
        count += 1;
        let valid = (1..=80).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !valid {
            return Err(SqsError::InvalidBatchEntryId);
        }
        if !seen.insert(id) {
            return Err(SqsError::BatchEntryIdsNotDistinct(id.to_owned()));
        }
    }
    match count {
        0 => Err(SqsError::EmptyBatchRequest),
        1..=BATCH_MAX => Ok(()),
        _ => Err(SqsError::TooManyEntriesInBatchRequest(count)),
    }
}

fn handle(input: &Handle) -> Result<String, SqsError> {
    if input.receipt_handle.is_empty() {
        return Err(SqsError::MissingParameter("ReceiptHandle"));
    }
    Ok(input.receipt_handle.clone())
}

fn visibility(input: &Handle) -> Result<Duration, SqsError> {
    seconds(
        "VisibilityTimeout",
        input.visibility_timeout,
        VISIBILITY_SECONDS_MAX,
    )?
    .ok_or(SqsError::MissingParameter("VisibilityTimeout"))
}

fn seconds(parameter: &str, value: Option<i64>, max: u64) -> Result<Option<Duration>, SqsError> {
    let Some(value) = value else {
        return Ok(None);
    };
    match u64::try_from(value) {
        Ok(seconds) if seconds <= max => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(SqsError::invalid(
            parameter,
            value,
            &format!("{parameter} must be >= 0 and <= {max}."),
        )),
    }
}

fn read_message(input: Send, trace_header: Option<&str>) -> Result<Read, SqsError> {
    let attributes = read_attributes(input.message_attributes)?;
    let system = read_attributes(input.message_system_attributes)?;
    let mut trace_header = trace_header.map(str::to_owned);
    for (name, attribute) in &system {
        match (name.as_str(), &attribute.value) {
            ("AWSTraceHeader", AttributeValue::Text(text)) => trace_header = Some(text.clone()),
            _ => {
                return Err(SqsError::InvalidParameterValue(format!(
                    "Message system attribute name '{name}' is invalid."
                )));
            }
        }
    }
    Ok(Read {
        message: NewMessage {
            body: input.message_body,
            attributes,
            group_id: input.message_group_id,
            deduplication_id: input.message_deduplication_id,
            delay: seconds("DelaySeconds", input.delay_seconds, DELAY_SECONDS_MAX)?,
            trace_header,
        },
        md5_of_system_attributes: md5_of_attributes(system.iter()),
    })
}

fn read_attributes(
    attributes: Option<BTreeMap<String, Attribute>>,
) -> Result<BTreeMap<String, MessageAttribute>, SqsError> {
    attributes
        .unwrap_or_default()
        .into_iter()
        .map(|(name, attribute)| {
            let value = match (attribute.string_value, attribute.binary_value) {
                (Some(text), None) => Some(AttributeValue::Text(text)),
                (None, Some(encoded)) => STANDARD.decode(encoded).ok().map(AttributeValue::Binary),
                _ => None,
            };
            let Some(value) = value else {
                return Err(SqsError::InvalidParameterValue(format!(
                    "The message attribute '{name}' must contain non-empty message attribute value \
                     for message attribute type '{}'.",
                    attribute.data_type
                )));
            };
            let data_type = attribute.data_type;
            Ok((name, MessageAttribute { data_type, value }))
        })
        .collect()
}

fn show_sent(
    sent: &Sent,
    md5_of_attributes: Option<String>,
    md5_of_system_attributes: Option<String>,
) -> Map<String, Value> {
    let members = [
        ("MessageId", Some(sent.message_id.clone())),
        ("MD5OfMessageBody", Some(sent.md5_of_body.clone())),
        ("MD5OfMessageAttributes", md5_of_attributes),
        ("MD5OfMessageSystemAttributes", md5_of_system_attributes),
        ("SequenceNumber", sent.sequence_number.clone()),
    ];
    members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))))
        .collect()
}

fn show_received(
    message: &ReceivedMessage,
    system_names: &[String],
    attribute_names: &[String],
) -> Value {
    let system: BTreeMap<&String, &String> = message
        .attributes
        .iter()
        .filter(|(name, _)| {
            system_names
                .iter()
                .any(|wanted| wanted == "All" || wanted == *name)
        })
        .collect();
    let attributes: BTreeMap<&String, &MessageAttribute> = message
        .message_attributes
        .iter()
        .filter(|(name, _)| attribute_names.iter().any(|wanted| selects(wanted, name)))
        .collect();
    let mut output = Map::from_iter([
        ("MessageId".to_owned(), json!(message.message_id)),
        ("ReceiptHandle".to_owned(), json!(message.receipt_handle)),
        ("MD5OfBody".to_owned(), json!(message.md5_of_body)),
        ("Body".to_owned(), json!(message.body)),
    ]);
    if !system.is_empty() {
        output.insert("Attributes".to_owned(), json!(system));
    }
    // The checksum is over what is shown, which is what the receiver can verify.
    if let Some(md5) = md5_of_attributes(attributes.iter().map(|(name, value)| (*name, *value))) {
        let shown: Map<String, Value> = attributes
            .into_iter()
            .map(|(name, attribute)| (name.clone(), show_attribute(attribute)))
            .collect();
        output.insert("MD5OfMessageAttributes".to_owned(), json!(md5));
        output.insert("MessageAttributes".to_owned(), json!(shown));
    }
    Value::Object(output)
}

/// Whether a wanted name selects an attribute: `All`, `.*`, a prefix as `foo.*`, or the name.
fn selects(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix(".*") {
        Some("") => true,
        Some(prefix) => name
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('.')),
        None => wanted == "All" || wanted == name,
    }
}

fn show_attribute(attribute: &MessageAttribute) -> Value {
    match &attribute.value {
        AttributeValue::Text(text) => {
            json!({ "DataType": attribute.data_type, "StringValue": text })
        }
        AttributeValue::Binary(bytes) => {
            json!({ "DataType": attribute.data_type, "BinaryValue": STANDARD.encode(bytes) })
        }
    }
}
