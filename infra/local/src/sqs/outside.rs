//! The queues of a stack, wherever they are: built in, or in an SQS elsewhere that is spoken to
//! over HTTP (AWS JSON 1.0), such as ElasticMQ or another stack.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{self, Instant};

use super::message::{AttributeValue, MessageAttribute, ReceivedMessage};
use super::{QueueSpec, Sqs, SqsError};

/// A long poll takes 20 s at most; an answer that takes longer than this never comes.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(35);
/// What one look at a queue takes at least: an endpoint that does not wait is not flooded.
const LOOK_TIME_MIN: Duration = Duration::from_millis(200);

/// What takes messages from queues and settles them; the same wherever the queues are.
#[derive(Clone, Debug)]
pub enum Queues {
    /// In this process.
    BuiltIn(Sqs),
    /// Somewhere else.
    Outside(Outside),
}

/// Why queues could not be used.
#[derive(Debug, thiserror::Error)]
pub enum QueuesError {
    /// The built-in queues say why.
    #[error(transparent)]
    BuiltIn(#[from] SqsError),
    /// The endpoint does not answer.
    #[error("SQS at {endpoint} does not answer {operation}; is --sqs-endpoint right?")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// The operation.
        operation: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// The endpoint refused a call, or answered something else than SQS would.
    #[error("SQS at {endpoint} refuses {operation} for {queue}: {answer}")]
    Refused {
        /// Where.
        endpoint: String,
        /// The operation.
        operation: &'static str,
        /// The queue's name.
        queue: String,
        /// What it said.
        answer: String,
    },
}

impl From<Sqs> for Queues {
    fn from(sqs: Sqs) -> Self {
        Self::BuiltIn(sqs)
    }
}

impl From<Outside> for Queues {
    fn from(outside: Outside) -> Self {
        Self::Outside(outside)
    }
}

impl Queues {
    /// As [`Sqs::receive`], hidden for as long as the queue says. Elsewhere, what is on its way
    /// when this future is dropped may stay hidden until then.
    ///
    /// # Errors
    /// [`QueuesError`].
    pub async fn receive(
        &self,
        queue: &str,
        messages_max: usize,
        wait: Duration,
    ) -> Result<Vec<ReceivedMessage>, QueuesError> {
        match self {
            Self::BuiltIn(sqs) => Ok(sqs.receive(queue, messages_max, wait, None).await?),
            Self::Outside(outside) => outside.receive(queue, messages_max, wait).await,
        }
    }

    /// As [`Sqs::delete`].
    ///
    /// # Errors
    /// [`QueuesError`].
    pub async fn delete(&self, queue: &str, receipt_handle: &str) -> Result<(), QueuesError> {
        match self {
            Self::BuiltIn(sqs) => Ok(sqs.delete(queue, receipt_handle).await?),
            Self::Outside(outside) => {
                let input = json!({ "ReceiptHandle": receipt_handle });
                outside.call_for("DeleteMessage", queue, input).await?;
                Ok(())
            }
        }
    }

    /// Makes a received message visible again at once.
    ///
    /// # Errors
    /// [`QueuesError`].
    pub async fn release(&self, queue: &str, receipt_handle: &str) -> Result<(), QueuesError> {
        match self {
            Self::BuiltIn(sqs) => {
                sqs.change_visibility(queue, receipt_handle, Duration::ZERO)
                    .await?;
            }
            Self::Outside(outside) => {
                let input = json!({ "ReceiptHandle": receipt_handle, "VisibilityTimeout": 0 });
                let operation = "ChangeMessageVisibility";
                outside.call_for(operation, queue, input).await?;
            }
        }
        Ok(())
    }
}

/// Queues in an SQS elsewhere.
#[derive(Clone, Debug)]
pub struct Outside {
    http: reqwest::Client,
    endpoint: Arc<str>,
    urls: Arc<BTreeMap<String, String>>,
}

impl Outside {
    /// Creates the queues there, or changes those that exist to what is declared. A queue that
    /// exists with the other type, FIFO or standard, is refused.
    ///
    /// # Errors
    /// [`QueuesError`] names the queue and what the endpoint said.
    pub async fn create(endpoint: &str, queues: &[QueueSpec]) -> Result<Self, QueuesError> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_TIME_MAX)
            .build()
            .unwrap_or_default();
        let mut outside = Self {
            http,
            endpoint: endpoint.trim_end_matches('/').into(),
            urls: Arc::default(),
        };
        let mut urls = BTreeMap::new();
        let mut arns = BTreeMap::new();
        for queue in in_order_of_redrive(queues) {
            let url = outside.ensure(queue, &arns).await?;
            let input = json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] });
            let known = outside.call("GetQueueAttributes", &queue.name, input);
            let arn = outside.text(&known.await?, "/Attributes/QueueArn", &queue.name)?;
            urls.insert(queue.name.clone(), url);
            arns.insert(queue.name.as_str(), arn);
        }
        outside.urls = Arc::new(urls);
        Ok(outside)
    }

    /// The URL of every queue, by its name, as the endpoint gives it.
    pub fn urls(&self) -> &BTreeMap<String, String> {
        &self.urls
    }

    /// Creates or changes one queue and returns its URL.
    async fn ensure(
        &self,
        queue: &QueueSpec,
        arns: &BTreeMap<&str, String>,
    ) -> Result<String, QueuesError> {
        let name = &queue.name;
        let mut attributes = queue.settings();
        if let Some(dead_letter) = &queue.dead_letter
            && let Some(arn) = arns.get(dead_letter.queue.as_str())
        {
            let policy = json!({
                "deadLetterTargetArn": arn,
                "maxReceiveCount": dead_letter.receive_count_max,
            });
            attributes.insert("RedrivePolicy", policy.to_string());
        }
        if let Ok(known) = self
            .call("GetQueueUrl", name, json!({ "QueueName": name }))
            .await
        {
            let url = self.text(&known, "/QueueUrl", name)?;
            attributes.remove("FifoQueue");
            let input = json!({ "QueueUrl": url, "Attributes": attributes });
            self.call("SetQueueAttributes", name, input).await?;
            return Ok(url);
        }
        let input = json!({ "QueueName": name, "Attributes": attributes });
        let created = self.call("CreateQueue", name, input).await?;
        self.text(&created, "/QueueUrl", name)
    }

    async fn receive(
        &self,
        queue: &str,
        messages_max: usize,
        wait: Duration,
    ) -> Result<Vec<ReceivedMessage>, QueuesError> {
        let began = Instant::now();
        // Whole seconds, and not none while there is time: no wait would be a busy loop.
        let wait_s = wait.as_millis().div_ceil(1000);
        let input = json!({
            "MaxNumberOfMessages": messages_max,
            "WaitTimeSeconds": wait_s,
            "AttributeNames": ["All"],
            "MessageSystemAttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        });
        let answer = self.call_for("ReceiveMessage", queue, input).await?;
        let messages = answer.get("Messages").cloned().unwrap_or(Value::Null);
        let messages: Option<Vec<Message>> =
            serde_json::from_value(messages).map_err(|error| QueuesError::Refused {
                endpoint: self.endpoint.to_string(),
                operation: "ReceiveMessage",
                queue: queue.to_owned(),
                answer: format!("not a list of messages: {error}"),
            })?;
        let messages = messages.unwrap_or_default();
        if messages.is_empty() && !wait.is_zero() {
            time::sleep_until(began + LOOK_TIME_MIN).await;
        }
        Ok(messages.into_iter().map(ReceivedMessage::from).collect())
    }

    /// A call about a queue that was created here.
    async fn call_for(
        &self,
        operation: &'static str,
        queue: &str,
        mut input: Value,
    ) -> Result<Value, QueuesError> {
        if let (Some(members), Some(url)) = (input.as_object_mut(), self.urls.get(queue)) {
            members.insert("QueueUrl".to_owned(), json!(url));
        }
        self.call(operation, queue, input).await
    }

    async fn call(
        &self,
        operation: &'static str,
        queue: &str,
        input: Value,
    ) -> Result<Value, QueuesError> {
        let endpoint = self.endpoint.to_string();
        let unreachable = |source| QueuesError::Unreachable {
            endpoint: endpoint.clone(),
            operation,
            source,
        };
        let answer = self
            .http
            .post(&endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{operation}"))
            // Local engines want a signature to be there and do not check it.
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/sqs/aws4_request, \
                 SignedHeaders=host, Signature=0",
            )
            .header("x-amz-date", "20260101T000000Z")
            .body(input.to_string())
            .send()
            .await
            .map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        let parsed = match text.trim() {
            "" => Ok(Value::Null),
            text => serde_json::from_str(text),
        };
        match parsed {
            Ok(value) if status.is_success() => Ok(value),
            _ => Err(QueuesError::Refused {
                endpoint: endpoint.clone(),
                operation,
                queue: queue.to_owned(),
                answer: text.chars().take(500).collect(),
            }),
        }
    }

    fn text(&self, answer: &Value, pointer: &str, queue: &str) -> Result<String, QueuesError> {
        let text = answer.pointer(pointer).and_then(Value::as_str);
        text.map(str::to_owned).ok_or_else(|| QueuesError::Refused {
            endpoint: self.endpoint.to_string(),
            operation: "CreateQueue",
            queue: queue.to_owned(),
            answer: format!("no {pointer} in {answer}"),
        })
    }
}

/// Dead-letter queues before the queues that name them, as far as there is no circle.
fn in_order_of_redrive(queues: &[QueueSpec]) -> Vec<&QueueSpec> {
    let mut left: Vec<&QueueSpec> = queues.iter().collect();
    let mut ordered: Vec<&QueueSpec> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |queue: &QueueSpec| {
            let target = queue.dead_letter.as_ref().map(|target| &target.queue);
            target.is_some_and(|target| left.iter().any(|other| other.name == *target))
        };
        let (later, mut now): (Vec<_>, Vec<_>) = left.iter().partition(|queue| waits(queue));
        left = later;
        if now.is_empty() {
            now = std::mem::take(&mut left);
        }
        ordered.append(&mut now);
    }
    ordered
}

/// A message as `ReceiveMessage` answers it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    message_id: String,
    receipt_handle: String,
    #[serde(default)]
    body: String,
    #[serde(default, rename = "MD5OfBody")]
    md5_of_body: String,
    attributes: Option<BTreeMap<String, String>>,
    message_attributes: Option<BTreeMap<String, Attribute>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    data_type: String,
    string_value: Option<String>,
    binary_value: Option<String>,
}

impl From<Message> for ReceivedMessage {
    fn from(message: Message) -> Self {
        let attribute = |(name, attribute): (String, Attribute)| {
            let value = match (attribute.binary_value, attribute.string_value) {
                (Some(base64), _) => {
                    AttributeValue::Binary(STANDARD.decode(base64).unwrap_or_default())
                }
                (None, text) => AttributeValue::Text(text.unwrap_or_default()),
            };
            let data_type = attribute.data_type;
            (name, MessageAttribute { data_type, value })
        };
        let message_attributes = message.message_attributes.unwrap_or_default();
        Self {
            message_id: message.message_id,
            receipt_handle: message.receipt_handle,
            body: message.body,
            md5_of_body: message.md5_of_body,
            attributes: message.attributes.unwrap_or_default(),
            message_attributes: message_attributes.into_iter().map(attribute).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqs::DeadLetter;

    #[test]
    fn dead_letter_queues_are_created_before_the_queues_that_name_them() {
        let to = |name: &str, target: &str| QueueSpec {
            dead_letter: Some(DeadLetter {
                queue: target.to_owned(),
                receive_count_max: 1,
            }),
            ..QueueSpec::standard(name)
        };
        let queues = [to("a", "b"), to("b", "c"), QueueSpec::standard("c")];
        let order: Vec<_> = in_order_of_redrive(&queues)
            .iter()
            .map(|queue| queue.name.as_str())
            .collect();
        assert_eq!(order, ["c", "b", "a"]);
        // A circle is created too; the endpoint says what it thinks of it.
        let circle = [to("a", "b"), to("b", "a")];
        assert_eq!(in_order_of_redrive(&circle).len(), 2);
    }
}
