//! Every item, key and expression in DynamoDB: one module for each family of tables.
//!
//! Methods are verbs of the domain. Each rests on a conditional write or a strongly consistent read,
//! never on an index and never on TTL having deleted anything (invariant A4): expired is absent.

use std::{collections::HashMap, time::Duration};

use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ConditionCheck},
};

use crate::{boot::Aws, config, failure::Failure};

pub mod accounts;
pub mod answers;
pub mod belongings;
pub mod connections;
pub mod conversations;
pub mod intents;
pub mod leases;
pub mod ledger;
pub mod policies;
pub mod profiles;
pub mod rates;
pub mod summaries;
pub mod turns;

/// A table did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Too much at once; later it will work.
    #[error("the table is throttled")]
    Throttled(#[source] Box<aws_sdk_dynamodb::Error>),
    /// Somebody else changed the same items; what was read before no longer holds.
    #[error("the items were changed by another")]
    Conflict(#[source] Box<aws_sdk_dynamodb::Error>),
    /// It did not answer, or not in time.
    #[error("the table is not available")]
    Unavailable(#[source] Box<aws_sdk_dynamodb::Error>),
    /// It will never do this: an item too large, a malformed request.
    #[error("the table refuses the request")]
    Refused(#[source] Box<aws_sdk_dynamodb::Error>),
    /// An item is not as this release or the one before writes it.
    #[error("an item has no usable attribute {0}")]
    Corrupt(&'static str),
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Corrupt(_) | TableError::Refused(_) => Self::fatal(error),
            TableError::Throttled(_) | TableError::Conflict(_) | TableError::Unavailable(_) => {
                Self::retry(error)
            }
        }
    }
}

impl<E> From<SdkError<E>> for TableError
where
    SdkError<E>: Into<aws_sdk_dynamodb::Error> + ProvideErrorMetadata,
{
    fn from(error: SdkError<E>) -> Self {
        let code = error.code().map(str::to_owned);
        let error: aws_sdk_dynamodb::Error = error.into();
        let kind = match code.as_deref() {
            Some("TransactionCanceledException") if is_throttled(&error) => Self::Throttled,
            Some(
                "ProvisionedThroughputExceededException"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                // A single write that met with a transaction on the same item.
                | "TransactionConflictException"
                | "TransactionInProgressException",
            ) => Self::Throttled,
            Some(
                "TransactionCanceledException" | "ConditionalCheckFailedException",
            ) => Self::Conflict,
            Some("ValidationException") => Self::Refused,
            _ => Self::Unavailable,
        };
        kind(Box::new(error))
    }
}

/// Whether a transaction was cancelled for nothing else than too much at once.
fn is_throttled(error: &aws_sdk_dynamodb::Error) -> bool {
    let aws_sdk_dynamodb::Error::TransactionCanceledException(cancelled) = error else {
        return false;
    };
    let reasons = cancelled.cancellation_reasons().iter();
    let codes: Vec<&str> = reasons
        .filter_map(|reason| reason.code())
        .filter(|&code| code != "None")
        .collect();
    let is_throttling =
        |code: &&str| matches!(*code, "ThrottlingError" | "ProvisionedThroughputExceeded");
    !codes.is_empty() && codes.iter().all(is_throttling)
}

/// One for all tables: each takes half a million instructions of a cold start to open.
fn client(aws: &Aws) -> Client {
    let open = || {
        let mut config = aws_sdk_dynamodb::config::Builder::from(&aws.sdk);
        config.set_endpoint_url(config::optional("AWS_ENDPOINT_URL_DYNAMODB"));
        // A single write that meets with a transaction on the same item passes a moment later.
        let contended = AwsErrorCodeClassifier::<UpdateItemError>::builder()
            .transient_errors(&["TransactionConflictException"][..])
            .build();
        config = config.retry_classifier(contended);
        Client::from_conf(config.build())
    };
    aws.dynamo.get_or_init(open).clone()
}

/// What gives a worker the right to its work: a line of its own table, which the transactions of others may
/// check.
#[derive(Debug, Clone)]
pub struct Right(ConditionCheck);

/// How often a transaction is tried that meets with another one.
const CONTENDED_TRIES_MAX: u32 = 8;
/// Pause after the first of these tries, twice as long after the second, and so on.
const CONTENDED_PAUSE: Duration = Duration::from_millis(15);

type Item = HashMap<String, AttributeValue>;

fn text(value: &(impl ToString + ?Sized)) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

fn text_of<'a>(item: &'a Item, name: &'static str) -> Result<&'a str, TableError> {
    let value = item.get(name).and_then(|value| value.as_s().ok());
    value.map(String::as_str).ok_or(TableError::Corrupt(name))
}

fn number_of<N: std::str::FromStr>(item: &Item, name: &'static str) -> Result<N, TableError> {
    let value = item.get(name).and_then(|value| value.as_n().ok());
    value
        .and_then(|digits| digits.parse().ok())
        .ok_or(TableError::Corrupt(name))
}

/// Whether an item's time is over, although it may still be there.
fn is_expired(item: &Item, now_s: i64) -> bool {
    number_of::<i64>(item, "expires_at").is_ok_and(|expires_at| expires_at <= now_s)
}
