//! Sending a job to its queue: a turn in order and once, a bill and an order for a summary at least once.

use std::time::Duration;

use aws_sdk_sqs::{
    Client,
    types::{
        MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
        QueueAttributeName,
    },
};
use sparkle_core::{
    frame::TurnJob,
    id::{self, TraceId},
    ledger::Bill,
    summary::SummaryJob,
    unit::Timestamp,
};
use sparkle_wire::job;
use tokio::sync::Mutex;

use crate::{
    boot::Aws,
    config::{self, ConfigError},
    event::{QueueRecord, Receipt},
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
        let url = config::required("SPARKLE_QUEUE_TURNS")?;
        Ok(Self {
            sqs: client(aws),
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
        let trace = trace_of(&turn.trace_id)?;
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
        hold(&self.sqs, &self.url, receipt, span).await
    }
}

/// The queue of bills on their way into the ledger.
#[derive(Debug, Clone)]
pub struct BillingQueue {
    sqs: Client,
    url: String,
}

impl BillingQueue {
    /// Opens the queue that `SPARKLE_QUEUE_BILLING` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        let url = config::required("SPARKLE_QUEUE_BILLING")?;
        Ok(Self {
            sqs: client(aws),
            url,
        })
    }

    /// Queues a bill. Sent twice, it is in the ledger once.
    ///
    /// # Errors
    /// [`Failure::Retry`] if SQS did not take it. Cost: one call.
    pub async fn send(&self, bill: &Bill) -> Result<(), Failure> {
        let mut message = self
            .sqs
            .send_message()
            .queue_url(&self.url)
            .message_body(job::encode_bill(bill));
        if let Some(trace_id) = &bill.call.trace_id {
            message = message.message_system_attributes(
                MessageSystemAttributeNameForSends::AwsTraceHeader,
                trace_of(trace_id)?,
            );
        }
        message.send().await.map_err(Failure::retry)?;
        Ok(())
    }
}

/// The queue of orders for summaries.
#[derive(Debug)]
pub struct SummaryQueue {
    sqs: Client,
    url: String,
    backlog_max: u32,
    /// How many messages waited, and when.
    backlog: Mutex<Option<(Timestamp, u32)>>,
}

/// How old the number of waiting messages may be that an instance goes by.
const BACKLOG_KNOWN_FOR: Duration = Duration::from_secs(10);
/// Most orders that may wait, unless `SPARKLE_SUMMARY_BACKLOG_MAX` says otherwise.
const BACKLOG_MAX: u32 = 1_000;

impl SummaryQueue {
    /// Opens the queue that `SPARKLE_QUEUE_SUMMARIES` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError`] names what is missing or wrong.
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        let backlog_max = config::positive_or_unset("SPARKLE_SUMMARY_BACKLOG_MAX")?;
        Ok(Self {
            sqs: client(aws),
            url: config::required("SPARKLE_QUEUE_SUMMARIES")?,
            backlog_max: backlog_max.unwrap_or(BACKLOG_MAX),
            backlog: Mutex::new(None),
        })
    }

    /// Whether so many orders wait that none should be added, as SQS counts them, or did within the last
    /// 10 s. Cost: one call every 10 s for each instance that asks.
    ///
    /// # Errors
    /// [`Failure::Retry`] if SQS did not say.
    pub async fn is_full(&self, now: Timestamp) -> Result<bool, Failure> {
        let mut known = self.backlog.lock().await;
        if let Some((asked_at, backlog)) = *known
            && asked_at <= now
            && now < asked_at.after(BACKLOG_KNOWN_FOR)
        {
            return Ok(backlog >= self.backlog_max);
        }
        let number = QueueAttributeName::ApproximateNumberOfMessages;
        let answer = self
            .sqs
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(number.clone())
            .send()
            .await
            .map_err(Failure::retry)?;
        let backlog = answer.attributes.as_ref().and_then(|all| all.get(&number));
        let backlog = backlog.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        *known = Some((now, backlog));
        Ok(backlog >= self.backlog_max)
    }

    /// Queues an order. Sent twice, it is fulfilled once.
    ///
    /// # Errors
    /// [`Failure::Retry`] if SQS did not take it. Cost: one call.
    pub async fn send(&self, order: &SummaryJob) -> Result<(), Failure> {
        let trace = trace_of(&order.trace_id)?;
        self.sqs
            .send_message()
            .queue_url(&self.url)
            .message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, trace)
            .message_body(job::encode_summary(order))
            .send()
            .await
            .map_err(Failure::retry)?;
        Ok(())
    }

    /// Keeps a received message hidden for `span` from now. Cost: one call.
    ///
    /// # Errors
    /// [`Failure::Retry`] if SQS did not do it: the message is hidden as long as it was.
    pub async fn hold(&self, receipt: &Receipt, span: Duration) -> Result<(), Failure> {
        hold(&self.sqs, &self.url, receipt, span).await
    }
}

/// Where messages go that can never be handled, with the reason.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    sqs: Client,
    url: String,
}

impl DeadLetters {
    /// Opens the queue that `SPARKLE_QUEUE_DEAD_LETTERS` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        let url = config::required("SPARKLE_QUEUE_DEAD_LETTERS")?;
        Ok(Self {
            sqs: client(aws),
            url,
        })
    }

    /// Keeps a message as it came; the attribute `reason` says why it is there. It is done with then.
    ///
    /// # Errors
    /// [`Failure::Retry`] if SQS did not take it. Cost: one call.
    pub async fn bury(&self, record: &QueueRecord, reason: &str) -> Result<(), Failure> {
        let reason = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(reason)
            .build()
            .map_err(Failure::fatal)?;
        self.sqs
            .send_message()
            .queue_url(&self.url)
            .message_body(&record.body)
            .message_attributes("reason", reason)
            .send()
            .await
            .map_err(Failure::retry)?;
        Ok(())
    }
}

async fn hold(sqs: &Client, url: &str, receipt: &Receipt, span: Duration) -> Result<(), Failure> {
    // In whole seconds, and never less than asked for.
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    sqs.change_message_visibility()
        .queue_url(url)
        .receipt_handle(receipt.as_str())
        .visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX))
        .send()
        .await
        .map_err(Failure::retry)?;
    Ok(())
}

fn client(aws: &Aws) -> Client {
    let mut config = aws_sdk_sqs::config::Builder::from(&aws.sdk);
    config.set_endpoint_url(config::optional("AWS_ENDPOINT_URL_SQS"));
    Client::from_conf(config.build())
}

fn trace_of(trace_id: &TraceId) -> Result<MessageSystemAttributeValue, Failure> {
    MessageSystemAttributeValue::builder()
        .data_type("String")
        .string_value(trace_id.to_xray_header())
        .build()
        .map_err(Failure::fatal)
}

/// The group in which a conversation's turns follow each other.
pub fn group(turn: &TurnJob) -> String {
    id::digest(&[turn.user_id.as_str(), turn.session_id.as_str()])
}
