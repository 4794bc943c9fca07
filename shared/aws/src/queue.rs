//! Sending a job to its queue, in order and once.

use std::time::Duration;

use aws_sdk_sqs::{
    Client,
    types::{MessageSystemAttributeNameForSends, MessageSystemAttributeValue},
};
use sparkle_core::{frame::TurnJob, id};
use sparkle_wire::job;

use crate::{
    boot::Aws,
    config::{self, ConfigError},
    event::Receipt,
    failure::Failure,
};

/// The queue of turns: FIFO, one group for each conversation.
#[derive(Debug, Clone)]
pub struct TurnQueue {
    sqs: Client,
    url: String,
}

impl TurnQueue {
    /// Opens the queue that `SPARKLE_QUEUE_TURNS` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        let mut config = aws_sdk_sqs::config::Builder::from(&aws.sdk);
        config.set_endpoint_url(config::optional("AWS_ENDPOINT_URL_SQS"));
        let url = config::required("SPARKLE_QUEUE_TURNS")?;
        Ok(Self {
            sqs: Client::from_conf(config.build()),
            url,
        })
    }

    /// Queues a turn behind the earlier ones of its conversation. Queueing it again within 5 minutes has
    /// no effect, since its deduplication id names the turn.
    ///
    /// # Errors
    /// [`Failure::Retry`] if SQS did not take it. Cost: one call.
    pub async fn send(&self, turn: &TurnJob) -> Result<(), Failure> {
        self.send_as(turn, group(turn), 0).await
    }

    /// Queues a turn once more, behind nothing: the message of one before it may be hidden for as long as
    /// its dead worker might have run. `ring` is the number of this attempt to have it run.
    ///
    /// # Errors
    /// [`Failure::Retry`] if SQS did not take it. Cost: one call.
    pub async fn send_again(&self, turn: &TurnJob, ring: u64) -> Result<(), Failure> {
        let group = id::digest(&[&group(turn), &ring.to_string()]);
        self.send_as(turn, group, ring).await
    }

    async fn send_as(&self, turn: &TurnJob, group: String, ring: u64) -> Result<(), Failure> {
        let trace = MessageSystemAttributeValue::builder()
            .data_type("String")
            .string_value(turn.trace_id.to_xray_header())
            .build()
            .map_err(Failure::fatal)?;
        let request = id::digest(&[turn.user_id.as_str(), turn.request_id.as_str()]);
        self.sqs
            .send_message()
            .queue_url(&self.url)
            .message_group_id(group)
            .message_deduplication_id(format!("{request}-{ring}"))
            .message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, trace)
            .message_body(job::encode_turn(turn))
            .send()
            .await
            .map_err(Failure::retry)?;
        Ok(())
    }

    /// Keeps a received message hidden for `span` from now. Cost: one call.
    ///
    /// # Errors
    /// [`Failure::Retry`] if SQS did not do it: the message may be delivered again sooner.
    pub async fn hold(&self, receipt: &Receipt, span: Duration) -> Result<(), Failure> {
        self.sqs
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt.as_str())
            .visibility_timeout(i32::try_from(span.as_secs()).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(Failure::retry)?;
        Ok(())
    }
}

/// The group in which a conversation's turns follow each other.
pub fn group(turn: &TurnJob) -> String {
    id::digest(&[turn.user_id.as_str(), turn.session_id.as_str()])
}
