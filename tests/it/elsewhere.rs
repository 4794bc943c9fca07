//! A stack whose queues and tables are elsewhere: in another stack.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sparkle_tests::{Options, http};

use crate::small::Small;

/// A call of the AWS JSON protocol.
async fn call(endpoint: &str, target: &str, input: Value) -> Result<Value> {
    let answer = http()
        .post(endpoint)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", target)
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/any/aws4_request, \
             SignedHeaders=host, Signature=0",
        )
        .header("x-amz-date", "20260101T000000Z")
        .body(input.to_string())
        .send()
        .await?
        .error_for_status()?;
    Ok(answer.json().await?)
}

#[tokio::test]
async fn a_stack_uses_the_queues_and_tables_of_another() -> Result<()> {
    let other = Small::new("", &[])?.options().start().await?;
    let (sqs, dynamodb) = (other.address("sqs"), other.address("dynamodb"));
    let stack = Options::default()
        .argument("--sqs-endpoint")
        .argument(sqs)
        .argument("--dynamodb-endpoint")
        .argument(dynamodb)
        .start()
        .await?;
    assert_eq!(
        (stack.address("sqs"), stack.address("dynamodb")),
        (sqs, dynamodb)
    );

    let mut client = stack.connect("ann").await?;
    let answer = client.chat("s1", "thanks").await?;
    assert_eq!(answer.last()["type"], "done");
    let items = call(
        dynamodb,
        "DynamoDB_20120810.Scan",
        json!({ "TableName": "MessagesTable" }),
    );
    assert_eq!(
        items.await?["Count"],
        2,
        "question and answer are not there"
    );
    Ok(())
}

#[tokio::test]
async fn queues_elsewhere_are_created_as_the_template_says_and_polled() -> Result<()> {
    // Without functions that would take from the same queues.
    let other = Small::new("", &[])?.options().start().await?;
    let sqs = other.address("sqs");
    let url = format!("{sqs}/000000000000/TurnQueue.fifo");
    let stack = Options::default()
        .argument("--sqs-endpoint")
        .argument(format!("{sqs}/"))
        .start()
        .await?;
    let input = json!({ "QueueUrl": url, "AttributeNames": ["All"] });
    let known = call(sqs, "AmazonSQS.GetQueueAttributes", input).await?;
    let attributes = known["Attributes"].as_object().context("no attributes")?;
    for (name, value) in [
        ("FifoQueue", "true"),
        ("DeduplicationScope", "messageGroup"),
        ("FifoThroughputLimit", "perMessageGroupId"),
        ("VisibilityTimeout", "900"),
        ("MessageRetentionPeriod", "86400"),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    let redrive: Value = serde_json::from_str(attributes["RedrivePolicy"].as_str().unwrap_or(""))?;
    assert_eq!(redrive["maxReceiveCount"], 30);
    let target = redrive["deadLetterTargetArn"].as_str().unwrap_or_default();
    assert!(target.ends_with(":TurnDeadLetterQueue.fifo"), "{target}");

    // Several conversations at once, each answered in order.
    let mut client = stack.connect("ann").await?;
    for turn in ["one", "two", "three"] {
        let answer = client.chat("s1", turn).await?;
        assert_eq!(answer.last()["type"], "done");
    }
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_named() -> Result<()> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    drop(listener);
    for flag in ["--sqs-endpoint", "--dynamodb-endpoint"] {
        let (status, said) = Options::default()
            .argument(flag)
            .argument(&endpoint)
            .fail()
            .await?;
        assert!(!status.success());
        assert!(
            said.contains(&endpoint) && said.contains("does not answer"),
            "{said}"
        );
    }
    Ok(())
}
