//! The tables of the template: in an embedded engine, or in a DynamoDB elsewhere.

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
    let answer = http
        .post(endpoint)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
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
