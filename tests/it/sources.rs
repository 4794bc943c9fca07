//! A table's changes reach the function that the template names, in the program itself.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use sparkle_tests::{PATIENCE, http};

use crate::small::{IDLE, Small};

const RESOURCES: &str = "
  Witness:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/witness
      Events:
        Changes:
          Type: DynamoDB
          Properties: { Stream: !GetAtt Items.StreamArn, StartingPosition: TRIM_HORIZON }
  Items:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{ AttributeName: id, AttributeType: S }]
      KeySchema: [{ AttributeName: id, KeyType: HASH }]
      StreamSpecification: { StreamViewType: KEYS_ONLY }
";

/// Prints a metric for every piece of an event that it is given.
const METRIC: &str = r##"println!("{}", r#"{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"n","Dimensions":[[]],"Metrics":[{"Name":"witnessed","Unit":"Count"}]}]},"witnessed":1}"#)"##;

#[tokio::test]
async fn a_change_of_a_table_reaches_its_function() -> Result<()> {
    let witness = IDLE.replace(
        "while api.read(&mut event).is_ok_and(|bytes| bytes > 0) {}",
        &format!("while api.read(&mut event).is_ok_and(|bytes| bytes > 0) {{ {METRIC} }}"),
    );
    let small = Small::new(RESOURCES, &[("witness", &witness)])?;
    let stack = small.options().start().await?;
    assert!(!stack.get("/metrics").await?.contains("witnessed"));
    let put = json!({ "TableName": "Items", "Item": { "id": { "S": "a" } } });
    http()
        .post(stack.address("dynamodb"))
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "DynamoDB_20120810.PutItem")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=host, Signature=0",
        )
        .header("x-amz-date", "20260101T000000Z")
        .body(put.to_string())
        .send()
        .await?
        .error_for_status()?;
    let witnessed = async {
        while !stack.get("/metrics").await?.contains("witnessed") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, witnessed)
        .await
        .context("nobody was told")?
}
