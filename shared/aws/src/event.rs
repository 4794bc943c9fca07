//! The events that functions are invoked with: only the fields we read.
//!
//! Not `aws_lambda_events`: its full types take twice the time to parse (1.9 against 1.0 us for a
//! small frame) for fields that nothing here looks at.

use std::{collections::HashMap, fmt::Debug, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use sparkle_core::{
    id::{ConnectionId, InvalidId, UserId},
    policy::Tier,
    unit::Timestamp,
};
use tracing::{error, warn};

use crate::{
    failure::{Failure, causes},
    token::Identity,
};

/// API Gateway's REQUEST authorizer asks whether a client may connect.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerEvent {
    /// The method that would be allowed.
    pub method_arn: String,
    #[serde(default)]
    headers: HashMap<String, String>,
    #[serde(default)]
    query_string_parameters: Option<HashMap<String, String>>,
}

impl AuthorizerEvent {
    /// A header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// A query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        query(self.query_string_parameters.as_ref(), name)
    }
}

impl Debug for AuthorizerEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorizerEvent { .. }") // its headers hold a token
    }
}

/// A client connected, sent a frame, or left.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketEvent {
    #[serde(default)]
    headers: HashMap<String, String>,
    #[serde(default)]
    query_string_parameters: Option<HashMap<String, String>>,
    /// The text of a frame.
    #[serde(default)]
    pub body: Option<String>,
    request_context: RequestContext,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    connection_id: String,
    #[serde(default)]
    authorizer: AuthorizerContext,
}

/// What the authorizer said, every value a string as API Gateway passes it on.
#[derive(Deserialize, Serialize, Default)]
struct AuthorizerContext {
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    tier: String,
    #[serde(default)]
    token_expires_at: String,
}

impl SocketEvent {
    /// A header of the handshake, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// A query parameter of the handshake.
    pub fn query(&self, name: &str) -> Option<&str> {
        query(self.query_string_parameters.as_ref(), name)
    }

    /// The socket.
    ///
    /// # Errors
    /// [`InvalidId`] if the event is not from API Gateway.
    pub fn connection_id(&self) -> Result<ConnectionId, InvalidId> {
        ConnectionId::parse(&*self.request_context.connection_id)
    }

    /// Who connected, as the authorizer found.
    ///
    /// # Errors
    /// [`InvalidId`] if the event did not pass our authorizer.
    pub fn identity(&self) -> Result<Identity, InvalidId> {
        let context = &self.request_context.authorizer;
        let expires_at_ms = context
            .token_expires_at
            .parse()
            .map_err(|_not_ours| InvalidId)?;
        Ok(Identity {
            user_id: UserId::parse(&*context.user_id)?,
            tier: Tier::of_word(&context.tier),
            expires_at: Timestamp::from_unix_ms(expires_at_ms),
        })
    }
}

impl Debug for SocketEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SocketEvent { .. }") // what a learner wrote belongs in no log
    }
}

fn header<'a>(headers: &'a HashMap<String, String>, name: &str) -> Option<&'a str> {
    let found = headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

fn query<'a>(parameters: Option<&'a HashMap<String, String>>, name: &str) -> Option<&'a str> {
    parameters?.get(name).map(String::as_str)
}

/// The authorizer's answer: yes, and who it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    principal_id: String,
    policy_document: serde_json::Value,
    context: serde_json::Value,
}

impl Authorization {
    /// Lets `identity` use the API that `event` asks about.
    pub fn granted(identity: &Identity, event: &AuthorizerEvent) -> Self {
        Self {
            principal_id: identity.user_id.to_string(),
            policy_document: serde_json::json!({
                "Version": "2012-10-17",
                "Statement": [{
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow",
                    "Resource": event.method_arn,
                }],
            }),
            context: serde_json::json!({
                "user_id": identity.user_id.as_str(),
                "tier": identity.tier.as_str(),
                "token_expires_at": identity.expires_at.unix_ms().to_string(),
            }),
        }
    }
}

/// What a route's function answers; API Gateway reads the status, and at `$connect` the headers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteAnswer {
    status_code: u16,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    headers: HashMap<&'static str, &'static str>,
}

impl RouteAnswer {
    /// 200, with these headers.
    pub fn ok(headers: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        Self {
            status_code: 200,
            headers: headers.into_iter().collect(),
        }
    }
}

/// A batch from a queue.
#[derive(Debug, Deserialize)]
pub struct QueueEvent {
    #[serde(rename = "Records")]
    records: Vec<QueueRecord>,
}

/// One message of a batch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueRecord {
    message_id: String,
    /// Stands for this delivery of it.
    #[serde(rename = "receiptHandle")]
    pub receipt: Receipt,
    /// The text that was sent.
    pub body: String,
    #[serde(default)]
    attributes: RecordAttributes,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RecordAttributes {
    message_group_id: String,
    approximate_receive_count: String,
}

impl QueueRecord {
    /// The group of a FIFO queue that it belongs to.
    pub fn group(&self) -> &str {
        &self.attributes.message_group_id
    }

    /// Whether it was delivered before, so that an earlier handler may have died half-way.
    pub fn is_redelivered(&self) -> bool {
        self.deliveries() > 1
    }

    /// Which delivery of it this is, about.
    pub fn deliveries(&self) -> u32 {
        self.attributes
            .approximate_receive_count
            .parse()
            .unwrap_or(1)
    }
}

/// Stands for one delivery of a message, given by SQS.
#[derive(Debug, Clone, Deserialize)]
pub struct Receipt(String);

impl Receipt {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Debug for QueueRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueueRecord {{ message_id: {:?}, .. }}", self.message_id)
    }
}

/// Which messages of a batch are to be delivered again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueAnswer {
    batch_item_failures: Vec<BatchItemFailure>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchItemFailure {
    item_identifier: String,
}

/// Handles the messages of a FIFO queue in order. The first that fails, by an error or a panic, and all
/// after it are to be delivered again, since a later one must not overtake an earlier one.
pub async fn in_order<Handling>(
    event: QueueEvent,
    handle: impl Fn(QueueRecord) -> Handling,
) -> QueueAnswer
where
    Handling: Future<Output = Result<(), Failure>>,
{
    let mut records = event.records.into_iter();
    let mut failed = Vec::new();
    for record in records.by_ref() {
        let message_id = record.message_id.clone();
        match AssertUnwindSafe(handle(record)).catch_unwind().await {
            Ok(Ok(())) => continue,
            Ok(Err(Failure::Fatal(cause))) => {
                error!(
                    message_id,
                    error = causes(&*cause),
                    "message failed for good"
                );
            }
            Ok(Err(failure)) => {
                warn!(
                    message_id,
                    error = causes(&failure),
                    "message failed, will be retried"
                );
            }
            Err(_panic) => error!(message_id, "message handler panicked"),
        }
        failed.push(message_id);
        break;
    }
    failed.extend(records.map(|record| record.message_id));
    let failure = |item_identifier| BatchItemFailure { item_identifier };
    QueueAnswer {
        batch_item_failures: failed.into_iter().map(failure).collect(),
    }
}

/// Handles the messages of a standard queue, each by itself: those that fail, by an error or a panic, are to
/// be delivered again.
pub async fn each<Handling>(
    event: QueueEvent,
    handle: impl Fn(QueueRecord) -> Handling,
) -> QueueAnswer
where
    Handling: Future<Output = Result<(), Failure>>,
{
    let mut failed = Vec::new();
    for record in event.records {
        let one = QueueEvent {
            records: vec![record],
        };
        failed.extend(in_order(one, &handle).await.batch_item_failures);
    }
    QueueAnswer {
        batch_item_failures: failed,
    }
}
