//! A stack's tables, queues and functions, as an operator's client sees them.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::{Stack, http};

/// An item with the types of its values, as DynamoDB has it.
pub type Typed = Map<String, Value>;

/// Any signature will do locally; its shape is checked.
const SIGNATURE: &str = "AWS4-HMAC-SHA256 \
     Credential=local/20260101/us-east-1/service/aws4_request, SignedHeaders=host, Signature=0";

impl Stack {
    /// One call of `DynamoDB`.
    ///
    /// # Errors
    /// It was refused.
    pub async fn dynamo(&self, operation: &str, body: &Value) -> Result<Value> {
        dynamo_by(&http(), self.address("dynamodb"), operation, body).await
    }

    /// One call of SQS.
    ///
    /// # Errors
    /// It was refused.
    pub async fn sqs(&self, operation: &str, body: &Value) -> Result<Value> {
        let target = format!("AmazonSQS.{operation}");
        call(&http(), self.address("sqs"), &target, body).await
    }

    /// Every item of a table, with plain values.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn items(&self, table: &str) -> Result<Vec<Value>> {
        let items = self.typed_items(table).await?.into_iter();
        Ok(items.map(|item| plain(&json!({ "M": item }))).collect())
    }

    /// Every item of a table, as it is.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn typed_items(&self, table: &str) -> Result<Vec<Typed>> {
        scan(self.address("dynamodb"), table).await
    }

    /// Puts an item, in the place of another with its key.
    ///
    /// # Errors
    /// It was refused.
    pub async fn put(&self, table: &str, item: &Typed) -> Result<()> {
        let put = json!({ "TableName": table, "Item": item });
        self.dynamo("PutItem", &put).await.map(drop)
    }

    /// Removes an entry of the cache.
    ///
    /// # Errors
    /// It was refused.
    pub async fn remove_entry(&self, item: &Typed) -> Result<()> {
        let key = json!({ "scope": item["scope"], "entry": item["entry"] });
        let delete = json!({ "TableName": "CacheTable", "Key": key });
        self.dynamo("DeleteItem", &delete).await.map(drop)
    }

    /// Invokes a function and returns what it answers.
    ///
    /// # Errors
    /// It failed.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Value> {
        let path = format!("2015-03-31/functions/{function}/invocations");
        let url = format!("{}/{path}", self.address("http"));
        let answer = http().post(url).body(event.to_string()).send().await?;
        let is_failed = answer.headers().contains_key("x-amz-function-error");
        let (is_done, text) = (answer.status().is_success(), answer.text().await?);
        ensure!(is_done && !is_failed, "{function}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

/// Every item of a table of the `DynamoDB` at a URL, as it is.
///
/// # Errors
/// It cannot be read.
pub async fn scan(url: &str, table: &str) -> Result<Vec<Typed>> {
    let (http, mut items) = (http(), Vec::new());
    let mut from = Value::Null;
    loop {
        let mut scan = json!({ "TableName": table, "ConsistentRead": true });
        if !from.is_null() {
            scan["ExclusiveStartKey"] = from;
        }
        let page = dynamo_by(&http, url, "Scan", &scan).await?;
        let found = page["Items"].as_array().context("no items")?;
        items.extend(found.iter().filter_map(|item| item.as_object().cloned()));
        from = page["LastEvaluatedKey"].clone();
        if from.is_null() {
            return Ok(items);
        }
    }
}

/// One call of the `DynamoDB` at a URL, by a client that may be at hand for many.
///
/// # Errors
/// It was refused.
pub async fn dynamo_by(
    http: &reqwest::Client,
    url: &str,
    operation: &str,
    body: &Value,
) -> Result<Value> {
    let target = format!("DynamoDB_20120810.{operation}");
    call(http, url, &target, body).await
}

async fn call(http: &reqwest::Client, url: &str, target: &str, body: &Value) -> Result<Value> {
    let answer = http
        .post(url)
        .header("x-amz-target", target)
        .header("content-type", "application/x-amz-json-1.0")
        .header("authorization", SIGNATURE)
        .header("x-amz-date", "20260101T000000Z")
        .body(body.to_string())
        .send()
        .await?;
    let (is_done, text) = (answer.status().is_success(), answer.text().await?);
    ensure!(is_done, "{target}: {text}");
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

/// An attribute's value without its type.
fn plain(value: &Value) -> Value {
    let Some((kind, value)) = value.as_object().and_then(|typed| typed.iter().next()) else {
        return Value::Null;
    };
    match (kind.as_str(), value) {
        ("N", Value::String(digits)) => {
            serde_json::from_str(digits).unwrap_or_else(|_too_large| json!(digits))
        }
        ("M", Value::Object(members)) => members
            .iter()
            .map(|(name, member)| (name.clone(), plain(member)))
            .collect(),
        ("L", Value::Array(members)) => members.iter().map(plain).collect(),
        _ => value.clone(),
    }
}
