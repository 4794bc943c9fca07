//! The tables of the template and their streams: in an embedded engine, or in a DynamoDB
//! elsewhere. What is asked of either goes over HTTP.

use std::{path::Path, time::Duration};

use dynoxide::Database;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{MissedTickBehavior, interval},
};

use crate::template::Table;

/// How often expired items are removed; AWS takes days, so nothing may depend on it.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

const STREAM_ARN: &str = "/Table/LatestStreamArn";

/// The tables cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DynamoError {
    /// The database file is of no use.
    #[error("the database in the data directory cannot be opened")]
    Open(#[source] dynoxide::DynoxideError),
    /// The endpoint does not answer.
    #[error("DynamoDB at {endpoint} does not answer")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why.
        source: reqwest::Error,
    },
    /// A table was refused.
    #[error("DynamoDB refuses the table {table}: {answer}")]
    Refused {
        /// Which one.
        table: String,
        /// What it said.
        answer: String,
    },
    /// An answer is not DynamoDB's.
    #[error("DynamoDB's answer about {table} has no {member}")]
    Strange {
        /// What was asked about.
        table: String,
        /// What was expected.
        member: &'static str,
    },
    /// A table exists with other keys than the template's.
    #[error("the table {0} has other keys than template.yaml says; use another --data-dir")]
    OtherKeys(String),
}

/// Opens the embedded engine, in memory without a path.
///
/// # Errors
/// [`DynamoError::Open`].
pub fn open(path: Option<&Path>) -> Result<Database, DynamoError> {
    let database = match path {
        Some(path) => Database::new(&path.to_string_lossy()),
        None => Database::memory(),
    };
    database.map_err(DynamoError::Open)
}

/// Serves the embedded engine until it is dropped.
pub async fn serve(listener: TcpListener, database: Database) {
    let mut sweeps = interval(SWEEP_EVERY);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sweeping = async {
        loop {
            sweeps.tick().await;
            let database = database.clone();
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || database.sweep_ttl()).await
            {
                tracing::warn!(%error, "expired items cannot be removed");
            }
        }
    };
    tokio::select! {
        () = dynoxide::server::serve_on(listener, database.clone()) => {}
        () = sweeping => {}
    }
}

/// Creates the tables that are missing and checks the keys of those that are not.
///
/// # Errors
/// [`DynamoError`] names the table.
pub async fn create(endpoint: &str, tables: &[Table]) -> Result<(), DynamoError> {
    let http = reqwest::Client::new();
    for table in tables {
        let name = &table.name;
        if let Err(answer) = call(&http, endpoint, "CreateTable", &table.create).await? {
            if !answer.contains("ResourceInUseException") {
                return Err(DynamoError::Refused {
                    table: name.clone(),
                    answer,
                });
            }
            let named = json!({ "TableName": name });
            let known = call(&http, endpoint, "DescribeTable", &named).await?.ok();
            let keys = known
                .as_ref()
                .and_then(|known| known.pointer("/Table/KeySchema"));
            if keys != table.create.get("KeySchema") {
                return Err(DynamoError::OtherKeys(name.clone()));
            }
            let stream = known.as_ref().and_then(|known| known.pointer(STREAM_ARN));
            if let (None, Some(wanted)) = (stream, table.create.get("StreamSpecification")) {
                let change = json!({ "TableName": name, "StreamSpecification": wanted });
                call(&http, endpoint, "UpdateTable", &change)
                    .await?
                    .map_err(|answer| DynamoError::Refused {
                        table: name.clone(),
                        answer,
                    })?;
            }
        } else if let Some(attribute) = &table.ttl_attribute {
            let expiry = json!({
                "TableName": name,
                "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": true },
            });
            call(&http, endpoint, "UpdateTimeToLive", &expiry)
                .await?
                .map_err(|answer| DynamoError::Refused {
                    table: name.clone(),
                    answer,
                })?;
        }
    }
    Ok(())
}

/// The streams of the tables.
#[derive(Clone, Debug)]
pub struct Streams {
    http: reqwest::Client,
    endpoint: String,
}

/// A part of a stream that is in order.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) id: String,
    /// The shard that it follows.
    pub(crate) parent: Option<String>,
}

impl Streams {
    /// The streams of the DynamoDB at this endpoint.
    pub fn new(endpoint: &str) -> Self {
        Self {
            http: reqwest::Client::new(),
            endpoint: endpoint.to_owned(),
        }
    }

    /// The ARN of a table's stream.
    pub(crate) async fn latest(&self, table: &str) -> Result<String, DynamoError> {
        let named = json!({ "TableName": table });
        let known = self.ask(table, "DescribeTable", &named).await?;
        text(&known, STREAM_ARN, table)
    }

    pub(crate) async fn shards(&self, arn: &str) -> Result<Vec<Shard>, DynamoError> {
        let mut shards = Vec::new();
        let mut description = json!({ "StreamArn": arn });
        loop {
            let known = self.ask(arn, "DescribeStream", &description).await?;
            let listed = known.pointer("/StreamDescription/Shards");
            for shard in listed.and_then(Value::as_array).into_iter().flatten() {
                shards.push(Shard {
                    id: text(shard, "/ShardId", arn)?,
                    parent: text(shard, "/ParentShardId", arn).ok(),
                });
            }
            let last = known.pointer("/StreamDescription/LastEvaluatedShardId");
            let Some(last) = last.and_then(Value::as_str) else {
                return Ok(shards);
            };
            description = json!({ "StreamArn": arn, "ExclusiveStartShardId": last });
        }
    }

    /// Where to begin to read: behind a sequence number, or at `TRIM_HORIZON` or `LATEST`.
    pub(crate) async fn iterator(
        &self,
        arn: &str,
        shard_id: &str,
        position: &str,
        behind: Option<&str>,
    ) -> Result<String, DynamoError> {
        let mut request = json!({
            "StreamArn": arn,
            "ShardId": shard_id,
            "ShardIteratorType": position,
        });
        if let (Some(behind), Some(members)) = (behind, request.as_object_mut()) {
            members.insert(
                "ShardIteratorType".to_owned(),
                json!("AFTER_SEQUENCE_NUMBER"),
            );
            members.insert("SequenceNumber".to_owned(), json!(behind));
        }
        let known = self.ask(arn, "GetShardIterator", &request).await?;
        text(&known, "/ShardIterator", arn)
    }

    /// Records, and where to read on; nowhere at the end of the shard.
    pub(crate) async fn records(
        &self,
        iterator: &str,
        records_max: usize,
    ) -> Result<(Vec<Value>, Option<String>), DynamoError> {
        let request = json!({ "ShardIterator": iterator, "Limit": records_max });
        let mut read = self.ask("a stream", "GetRecords", &request).await?;
        let records = read.get_mut("Records").map(Value::take);
        let records = match records {
            Some(Value::Array(records)) => records,
            _ => Vec::new(),
        };
        Ok((records, text(&read, "/NextShardIterator", "a stream").ok()))
    }

    async fn ask(&self, table: &str, operation: &str, body: &Value) -> Result<Value, DynamoError> {
        let answer = call(&self.http, &self.endpoint, operation, body).await?;
        answer.map_err(|answer| DynamoError::Refused {
            table: table.to_owned(),
            answer,
        })
    }
}

fn text(answer: &Value, member: &'static str, table: &str) -> Result<String, DynamoError> {
    let text = answer.pointer(member).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| DynamoError::Strange {
        table: table.to_owned(),
        member,
    })
}

/// One call; what the service says against it comes back as text.
async fn call(
    http: &reqwest::Client,
    endpoint: &str,
    operation: &str,
    body: &Value,
) -> Result<Result<Value, String>, DynamoError> {
    let unreachable = |source| DynamoError::Unreachable {
        endpoint: endpoint.to_owned(),
        source,
    };
    let service = match operation {
        "DescribeStream" | "GetShardIterator" | "GetRecords" => "DynamoDBStreams_20120810",
        _ => "DynamoDB_20120810",
    };
    let answer = http
        .post(endpoint)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", format!("{service}.{operation}"))
        // Local engines want a signature to be there and do not check it.
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=host, Signature=0",
        )
        .header("x-amz-date", "20260101T000000Z")
        .body(body.to_string())
        .send()
        .await
        .map_err(unreachable)?;
    let is_success = answer.status().is_success();
    let text = answer.text().await.map_err(unreachable)?;
    if is_success {
        Ok(serde_json::from_str(&text).map_err(|error| error.to_string()))
    } else {
        Ok(Err(text))
    }
}
