//! The operations on queues.

use std::collections::BTreeMap;

use rusqlite::params;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::engine::find;
use super::super::error::SqsError;
use super::super::moves;
use super::super::settle;
use super::super::spec::QueueSpec;
use super::super::{Sqs, depth};
use super::queue_name;

/// Most queues per `ListQueues` answer (SQS API reference).
const QUEUES_PER_PAGE_MAX: usize = 1000;

/// What AWS knows and a queue may lack.
const OPTIONAL: [&str; 9] = [
    "Policy",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "FifoQueue",
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoThroughputLimit",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Create {
    queue_name: String,
    attributes: BTreeMap<String, String>,
}

/// The input of the operations that take a queue's URL or name and nothing more.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Named {
    queue_name: String,
    queue_url: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct List {
    queue_url: String,
    queue_name_prefix: String,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Attributes {
    queue_url: String,
    attribute_names: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct SetAttributes {
    queue_url: String,
    attributes: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct StartMove {
    source_arn: String,
    destination_arn: Option<String>,
}

pub(super) async fn create(sqs: &Sqs, input: Create) -> Result<Value, SqsError> {
    if input.queue_name.is_empty() {
        return Err(SqsError::MissingParameter("QueueName"));
    }
    let fifo = input
        .attributes
        .get("FifoQueue")
        .is_some_and(|value| value == "true");
    let mut spec = QueueSpec {
        name: input.queue_name,
        fifo,
        ..QueueSpec::default()
    };
    spec.apply(&input.attributes)?;
    let url = sqs.queue_url(&spec.name);
    sqs.call(move |engine, now_ms| engine.create(spec, now_ms))
        .await?;
    Ok(json!({ "QueueUrl": url }))
}

pub(super) async fn url(sqs: &Sqs, input: Named) -> Result<Value, SqsError> {
    let name = input.queue_name;
    if name.is_empty() {
        return Err(SqsError::MissingParameter("QueueName"));
    }
    let url = sqs.queue_url(&name);
    sqs.call(move |engine, _now_ms| find(engine.queues(), &name).map(|_queue| ()))
        .await?;
    Ok(json!({ "QueueUrl": url }))
}

pub(super) async fn list(sqs: &Sqs, input: List) -> Result<Value, SqsError> {
    let names = sqs.queue_names().await?;
    let names = names
        .into_iter()
        .filter(|name| name.starts_with(&input.queue_name_prefix));
    page(sqs, "QueueUrls", names, input.max_results, input.next_token)
}

pub(super) async fn dead_letter_sources(sqs: &Sqs, input: List) -> Result<Value, SqsError> {
    let target = queue_name(&input.queue_url)?.to_owned();
    let sources = sqs
        .call(move |engine, _now_ms| {
            find(engine.queues(), &target)?;
            let sources = engine.queues().values().filter(|queue| {
                let dead_letter = queue.spec.dead_letter.as_ref();
                dead_letter.is_some_and(|dead_letter| dead_letter.queue == target)
            });
            Ok(sources
                .map(|queue| queue.spec.name.clone())
                .collect::<Vec<_>>())
        })
        .await?;
    // AWS writes this one member with a small letter.
    page(
        sqs,
        "queueUrls",
        sources.into_iter(),
        input.max_results,
        input.next_token,
    )
}

/// One page of queue URLs. The token of the next page is the last name of this one.
fn page(
    sqs: &Sqs,
    member: &str,
    names: impl Iterator<Item = String>,
    results_max: Option<usize>,
    next_token: Option<String>,
) -> Result<Value, SqsError> {
    let results = results_max.unwrap_or(QUEUES_PER_PAGE_MAX);
    if !(1..=QUEUES_PER_PAGE_MAX).contains(&results) {
        return Err(SqsError::invalid(
            "MaxResults",
            results,
            "MaxResults must be an integer between 1 and 1000.",
        ));
    }
    let after = next_token.unwrap_or_default();
    let mut rest = names.filter(|name| *name > after);
    let shown: Vec<String> = rest.by_ref().take(results).collect();
    let urls: Vec<String> = shown.iter().map(|name| sqs.queue_url(name)).collect();
    let mut output = json!({ member: urls });
    // Without MaxResults AWS gives no token either.
    if let (Some(last), Some(_), Some(_), Some(members)) = (
        shown.last(),
        results_max,
        rest.next(),
        output.as_object_mut(),
    ) {
        members.insert("NextToken".to_owned(), json!(last));
    }
    Ok(output)
}

pub(super) async fn attributes(sqs: &Sqs, input: Attributes) -> Result<Value, SqsError> {
    let name = queue_name(&input.queue_url)?.to_owned();
    let known = sqs
        .call(move |engine, now_ms| {
            let depth = depth(engine, &name, now_ms)?;
            let queue = find(engine.queues(), &name)?;
            let mut known = queue.spec.attributes();
            known.extend([
                ("ApproximateNumberOfMessages", depth.visible.to_string()),
                (
                    "ApproximateNumberOfMessagesNotVisible",
                    depth.in_flight.to_string(),
                ),
                (
                    "ApproximateNumberOfMessagesDelayed",
                    depth.delayed.to_string(),
                ),
                ("CreatedTimestamp", (queue.created_ms / 1000).to_string()),
                (
                    "LastModifiedTimestamp",
                    (queue.modified_ms / 1000).to_string(),
                ),
            ]);
            Ok(known)
        })
        .await?;
    let wanted = input.attribute_names;
    if let Some(unknown) = wanted.iter().find(|name| {
        let name = name.as_str();
        name != "All" && !known.contains_key(name) && !OPTIONAL.contains(&name)
    }) {
        return Err(SqsError::InvalidAttributeName(unknown.clone()));
    }
    let all = wanted.iter().any(|name| name == "All");
    let shown: BTreeMap<&str, String> = known
        .into_iter()
        .filter(|(name, _)| all || wanted.iter().any(|wanted| wanted == name))
        .collect();
    Ok(json!({ "Attributes": shown }))
}

pub(super) async fn set_attributes(sqs: &Sqs, input: SetAttributes) -> Result<Value, SqsError> {
    let name = queue_name(&input.queue_url)?.to_owned();
    sqs.call(move |engine, now_ms| {
        let mut spec = find(engine.queues(), &name)?.spec.clone();
        spec.apply(&input.attributes)?;
        engine.update(spec, now_ms)
    })
    .await?;
    Ok(json!({}))
}

pub(super) async fn delete(sqs: &Sqs, input: Named) -> Result<Value, SqsError> {
    let name = queue_name(&input.queue_url)?.to_owned();
    sqs.call(move |engine, _now_ms| engine.drop_queue(&name))
        .await?;
    Ok(json!({}))
}

pub(super) async fn purge(sqs: &Sqs, input: Named) -> Result<Value, SqsError> {
    let name = queue_name(&input.queue_url)?.to_owned();
    sqs.call(move |engine, _now_ms| {
        engine.transact(|transaction, queues| settle::purge(transaction, find(queues, &name)?))
    })
    .await?;
    Ok(json!({}))
}

pub(super) async fn start_move(sqs: &Sqs, input: StartMove) -> Result<Value, SqsError> {
    let name_of = |arn: &str| arn.rsplit(':').next().unwrap_or_default().to_owned();
    let source = name_of(&input.source_arn);
    if source.is_empty() {
        return Err(SqsError::MissingParameter("SourceArn"));
    }
    let destination = input.destination_arn.as_deref().map(name_of);
    let handle = sqs
        .call(move |engine, now_ms| {
            engine.transact(|transaction, queues| {
                let destination = destination.as_deref();
                let moved = moves::move_all(transaction, queues, &source, destination, now_ms)?;
                // Unique for a source: the state of the counter, which every move advances.
                let counter: i64 =
                    transaction
                        .query_row("SELECT value FROM counter", params![], |row| row.get(0))?;
                Ok(format!("{source}-{counter}-{moved}"))
            })
        })
        .await?;
    Ok(json!({ "TaskHandle": handle }))
}
