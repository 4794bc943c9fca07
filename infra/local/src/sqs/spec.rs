//! A queue's settings: their defaults, their ranges, and their form as AWS queue attributes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::SqsError;

/// The region that the local cloud pretends to be in; part of every ARN.
pub const REGION: &str = "us-east-1";
/// The account that the local cloud pretends to be; part of every ARN and queue URL.
pub const ACCOUNT: &str = "000000000000";

/// Limits of one message and of one batch together: 1 MiB (SQS message quotas, read 2026-11).
pub(super) const MESSAGE_BYTES_MAX: usize = 1_048_576;
/// The longest visibility timeout: 12 h (SQS message quotas, read 2026-11).
pub(super) const VISIBILITY_SECONDS_MAX: u64 = 43_200;
/// The longest delay: 15 min (SQS message quotas, read 2026-11).
pub(super) const DELAY_SECONDS_MAX: u64 = 900;
/// The longest long poll (SQS API reference, `ReceiveMessage`).
pub(super) const WAIT_SECONDS_MAX: u64 = 20;

/// What one queue is and how it behaves. `Default` is AWS's default standard queue, unnamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueSpec {
    /// 1 to 80 letters, digits, hyphens and underscores; a FIFO queue's ends with `.fifo`.
    pub name: String,
    /// Strict order per message group and deduplication. Fixed for the queue's life.
    pub fifo: bool,
    /// FIFO only: a message without deduplication id is identified by the SHA-256 of its body.
    pub content_based_deduplication: bool,
    /// FIFO only: within what a deduplication id is unique.
    pub deduplication_scope: DeduplicationScope,
    /// FIFO only: reported as set; the local queues have no rate limit.
    pub throughput_limit: ThroughputLimit,
    /// How long a received message stays hidden: 0 s to 12 h, 30 s by default.
    pub visibility_timeout: Duration,
    /// How long a new message stays hidden: 0 s to 15 min.
    pub delay: Duration,
    /// After how long a message is dropped: 60 s to 14 days, 4 days by default.
    pub retention: Duration,
    /// Largest message, attributes included: 1 KiB to 1 MiB, 1 MiB by default.
    pub message_bytes_max: usize,
    /// How long a receive over HTTP waits that does not say: 0 s to 20 s.
    pub receive_wait: Duration,
    /// Where messages go that were received too often.
    pub dead_letter: Option<DeadLetter>,
}

/// Within what a deduplication id is unique.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeduplicationScope {
    /// In the whole queue.
    #[default]
    Queue,
    /// In one message group.
    MessageGroup,
}

/// What AWS's rate limit of a FIFO queue counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThroughputLimit {
    /// The calls of the whole queue.
    #[default]
    PerQueue,
    /// The calls of each message group; needs [`DeduplicationScope::MessageGroup`].
    PerMessageGroupId,
}

/// The redrive policy of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Name of the dead-letter queue, of the same type as its source.
    pub queue: String,
    /// How often a message is received before it moves, 1 to 1000.
    pub receive_count_max: u32,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            fifo: false,
            content_based_deduplication: false,
            deduplication_scope: DeduplicationScope::Queue,
            throughput_limit: ThroughputLimit::PerQueue,
            visibility_timeout: Duration::from_secs(30),
            delay: Duration::ZERO,
            retention: Duration::from_hours(4 * 24),
            message_bytes_max: MESSAGE_BYTES_MAX,
            receive_wait: Duration::ZERO,
            dead_letter: None,
        }
    }
}

impl QueueSpec {
    /// A standard queue with AWS's defaults.
    pub fn standard(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// A FIFO queue with AWS's defaults; the name ends with `.fifo`.
    pub fn fifo(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            fifo: true,
            ..Self::default()
        }
    }

    /// Refuses a queue that AWS would not create.
    pub(super) fn check(&self) -> Result<(), SqsError> {
        let stem = match self.name.strip_suffix(".fifo") {
            Some(stem) if self.fifo => stem,
            _ if self.fifo => {
                return Err(SqsError::InvalidParameterValue(
                    "The name of a FIFO queue can only include alphanumeric characters, hyphens, \
                     or underscores, must end with .fifo suffix and be 1 to 80 in length."
                        .to_owned(),
                ));
            }
            _ => &self.name,
        };
        let named = (1..=80).contains(&self.name.len())
            && !stem.is_empty()
            && stem
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !named {
            return Err(SqsError::InvalidParameterValue(
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in \
                 length."
                    .to_owned(),
            ));
        }
        within(
            "VisibilityTimeout",
            self.visibility_timeout,
            0,
            VISIBILITY_SECONDS_MAX,
        )?;
        within("DelaySeconds", self.delay, 0, DELAY_SECONDS_MAX)?;
        within("MessageRetentionPeriod", self.retention, 60, 1_209_600)?;
        within(
            "ReceiveMessageWaitTimeSeconds",
            self.receive_wait,
            0,
            WAIT_SECONDS_MAX,
        )?;
        if !(1024..=MESSAGE_BYTES_MAX).contains(&self.message_bytes_max) {
            return Err(SqsError::InvalidAttributeValue(
                "MaximumMessageSize".to_owned(),
            ));
        }
        if let Some(dead_letter) = &self.dead_letter
            && !(1..=1000).contains(&dead_letter.receive_count_max)
        {
            return Err(SqsError::InvalidAttributeValue("RedrivePolicy".to_owned()));
        }
        if self.throughput_limit == ThroughputLimit::PerMessageGroupId
            && self.deduplication_scope == DeduplicationScope::Queue
        {
            return Err(SqsError::InvalidAttributeValue(
                "FifoThroughputLimit".to_owned(),
            ));
        }
        Ok(())
    }

    /// Takes over what `CreateQueue` and `SetQueueAttributes` say. Settings about encryption and
    /// permissions are accepted and mean nothing here.
    pub(super) fn apply(&mut self, attributes: &BTreeMap<String, String>) -> Result<(), SqsError> {
        for (name, value) in attributes {
            match name.as_str() {
                "VisibilityTimeout" => self.visibility_timeout = seconds(name, value)?,
                "DelaySeconds" => self.delay = seconds(name, value)?,
                "MessageRetentionPeriod" => self.retention = seconds(name, value)?,
                "ReceiveMessageWaitTimeSeconds" => self.receive_wait = seconds(name, value)?,
                "MaximumMessageSize" => {
                    self.message_bytes_max = value.parse().map_err(|_error| refuse(name))?;
                }
                "RedrivePolicy" => self.dead_letter = dead_letter(value)?,
                "ContentBasedDeduplication" if self.fifo => {
                    self.content_based_deduplication = boolean(name, value)?;
                }
                "DeduplicationScope" if self.fifo => {
                    self.deduplication_scope = match value.as_str() {
                        "queue" => DeduplicationScope::Queue,
                        "messageGroup" => DeduplicationScope::MessageGroup,
                        _ => return Err(refuse(name)),
                    };
                }
                "FifoThroughputLimit" if self.fifo => {
                    self.throughput_limit = match value.as_str() {
                        "perQueue" => ThroughputLimit::PerQueue,
                        "perMessageGroupId" => ThroughputLimit::PerMessageGroupId,
                        _ => return Err(refuse(name)),
                    };
                }
                "FifoQueue" => {
                    if boolean(name, value)? != self.fifo {
                        return Err(refuse(name));
                    }
                }
                "Policy"
                | "KmsMasterKeyId"
                | "KmsDataKeyReusePeriodSeconds"
                | "RedriveAllowPolicy"
                | "SqsManagedSseEnabled" => {}
                _ => return Err(SqsError::InvalidAttributeName(name.clone())),
            }
        }
        self.check()
    }

    /// The settings as `GetQueueAttributes` shows them.
    pub(super) fn attributes(&self) -> BTreeMap<&'static str, String> {
        let mut shown = self.settings();
        shown.insert("QueueArn", arn(&self.name));
        shown.insert("SqsManagedSseEnabled", "true".to_owned());
        if let Some(dead_letter) = &self.dead_letter {
            let policy = serde_json::json!({
                "deadLetterTargetArn": arn(&dead_letter.queue),
                "maxReceiveCount": dead_letter.receive_count_max,
            });
            shown.insert("RedrivePolicy", policy.to_string());
        }
        shown
    }

    /// The settings as `CreateQueue` takes them, but for the redrive policy: whose account an ARN
    /// is in, the service decides that keeps the queue.
    pub(super) fn settings(&self) -> BTreeMap<&'static str, String> {
        let mut shown = BTreeMap::from([
            (
                "VisibilityTimeout",
                self.visibility_timeout.as_secs().to_string(),
            ),
            ("DelaySeconds", self.delay.as_secs().to_string()),
            (
                "MessageRetentionPeriod",
                self.retention.as_secs().to_string(),
            ),
            ("MaximumMessageSize", self.message_bytes_max.to_string()),
            (
                "ReceiveMessageWaitTimeSeconds",
                self.receive_wait.as_secs().to_string(),
            ),
        ]);
        if self.fifo {
            shown.insert("FifoQueue", "true".to_owned());
            shown.insert(
                "ContentBasedDeduplication",
                self.content_based_deduplication.to_string(),
            );
            let scope = match self.deduplication_scope {
                DeduplicationScope::Queue => "queue",
                DeduplicationScope::MessageGroup => "messageGroup",
            };
            shown.insert("DeduplicationScope", scope.to_owned());
            let limit = match self.throughput_limit {
                ThroughputLimit::PerQueue => "perQueue",
                ThroughputLimit::PerMessageGroupId => "perMessageGroupId",
            };
            shown.insert("FifoThroughputLimit", limit.to_owned());
        }
        shown
    }
}

/// The ARN of the queue of this name.
pub fn arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

fn refuse(attribute: &str) -> SqsError {
    SqsError::InvalidAttributeValue(attribute.to_owned())
}

fn within(attribute: &str, value: Duration, min: u64, max: u64) -> Result<(), SqsError> {
    let (min, max) = (Duration::from_secs(min), Duration::from_secs(max));
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(refuse(attribute))
    }
}

fn seconds(attribute: &str, value: &str) -> Result<Duration, SqsError> {
    let seconds = value.parse().map_err(|_error| refuse(attribute))?;
    Ok(Duration::from_secs(seconds))
}

fn boolean(attribute: &str, value: &str) -> Result<bool, SqsError> {
    value.parse().map_err(|_error| refuse(attribute))
}

/// Reads a `RedrivePolicy`; an empty one removes it. AWS takes the count as number or text.
fn dead_letter(policy: &str) -> Result<Option<DeadLetter>, SqsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Policy {
        dead_letter_target_arn: String,
        max_receive_count: Count,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Count {
        Number(u32),
        Text(String),
    }

    if policy.is_empty() {
        return Ok(None);
    }
    let policy: Policy = serde_json::from_str(policy).map_err(|_error| refuse("RedrivePolicy"))?;
    let queue = policy
        .dead_letter_target_arn
        .rsplit(':')
        .next()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| refuse("RedrivePolicy"))?;
    let receive_count_max = match policy.max_receive_count {
        Count::Number(count) => count,
        Count::Text(text) => text.parse().map_err(|_error| refuse("RedrivePolicy"))?,
    };
    Ok(Some(DeadLetter {
        queue: queue.to_owned(),
        receive_count_max,
    }))
}
