//! The JSON protocol over a socket.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

struct Server {
    address: std::net::SocketAddr,
    sqs: Sqs,
    time: Time,
    _running: JoinSet<()>,
}

struct Answer {
    status: u16,
    query_error: Option<String>,
    output: Value,
}

async fn serve(specs: Vec<QueueSpec>) -> Server {
    let (sqs, time) = queues(specs);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = sqs.router();
    let mut running = JoinSet::new();
    running.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Server {
        address,
        sqs,
        time,
        _running: running,
    }
}

impl Server {
    async fn open(&self, operation: &str, input: &Value) -> TcpStream {
        let body = input.to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/x-amz-json-1.0\r\nx-amz-target: AmazonSQS.{operation}\r\n\
             x-amzn-trace-id: Root=1-a-b\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, operation: &str, input: Value) -> Answer {
        let mut stream = self.open(operation, &input).await;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("content-type: application/x-amz-json-1.0"),
            "{head}"
        );
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches(": ").to_owned())
        };
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            query_error: header("x-amzn-query-error"),
            output: serde_json::from_str(body).unwrap(),
        }
    }

    async fn done(&self, operation: &str, input: Value) -> Value {
        let answer = self.ask(operation, input).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.output);
        answer.output
    }
}

const URL: &str = "http://localhost:9324/000000000000/q";

#[tokio::test]
async fn a_message_goes_through_with_attributes_and_checksums() {
    let server = serve(vec![QueueSpec::standard("q")]).await;
    let url = server
        .done("GetQueueUrl", json!({ "QueueName": "q" }))
        .await;
    assert_eq!(url, json!({ "QueueUrl": URL }));
    let attributes = json!({
        "a.n": { "DataType": "Number", "StringValue": "1.5" },
        "a.s": { "DataType": "String.x", "StringValue": "ü" },
        "b": { "DataType": "Binary", "BinaryValue": "AAE=" },
    });
    let sent = server
        .done(
            "SendMessage",
            json!({
                "QueueUrl": URL, "MessageBody": "hi", "MessageAttributes": attributes,
            }),
        )
        .await;
    // Computed outside of this program.
    assert_eq!(sent["MD5OfMessageBody"], "49f68a5c8493ec2c0bf489821c21fc3b");
    assert_eq!(
        sent["MD5OfMessageAttributes"],
        "44c7d7e6f13105525d7a0c8e902215e7"
    );
    assert_eq!(sent.get("SequenceNumber"), None);

    let plain = json!({ "QueueUrl": URL, "VisibilityTimeout": 0 });
    let plain = server.done("ReceiveMessage", plain).await;
    assert_eq!(plain["Messages"][0].get("Attributes"), None);
    assert_eq!(plain["Messages"][0].get("MessageAttributes"), None);
    let all = json!({
        "QueueUrl": URL,
        "MessageSystemAttributeNames": ["All"],
        "MessageAttributeNames": ["All"],
    });
    let message = &server.done("ReceiveMessage", all).await["Messages"][0];
    assert_eq!(message["MessageAttributes"], attributes);
    assert_eq!(
        message["MD5OfMessageAttributes"],
        sent["MD5OfMessageAttributes"]
    );
    assert_eq!(message["MD5OfBody"], sent["MD5OfMessageBody"]);
    assert_eq!(message["Attributes"]["ApproximateReceiveCount"], "2");
    assert_eq!(message["Attributes"]["SentTimestamp"], START_MS.to_string());
    // The HTTP header of a traced caller, as no AWSTraceHeader was given.
    assert_eq!(message["Attributes"]["AWSTraceHeader"], "Root=1-a-b");

    server
        .done(
            "DeleteMessage",
            json!({
                "QueueUrl": URL, "ReceiptHandle": message["ReceiptHandle"],
            }),
        )
        .await;
    server.time.advance(seconds(60));
    assert_eq!(
        server
            .done("ReceiveMessage", json!({ "QueueUrl": URL }))
            .await,
        json!({})
    );
}

#[tokio::test]
async fn attribute_names_select_by_prefix() {
    let server = serve(vec![QueueSpec::standard("q")]).await;
    let text = |value: &str| json!({ "DataType": "String", "StringValue": value });
    server
        .done(
            "SendMessage",
            json!({
                "QueueUrl": URL, "MessageBody": "hi",
                "MessageAttributes": { "a.x": text("1"), "ab": text("2"), "c": text("3") },
            }),
        )
        .await;
    for (wanted, expected) in [
        (vec!["a.*"], vec!["a.x"]),
        (vec![".*"], vec!["a.x", "ab", "c"]),
        (vec!["ab", "c", "d"], vec!["ab", "c"]),
    ] {
        let input = json!({
            "QueueUrl": URL, "VisibilityTimeout": 0, "MessageAttributeNames": wanted,
        });
        let received = server.done("ReceiveMessage", input).await;
        let shown = received["Messages"][0]["MessageAttributes"]
            .as_object()
            .unwrap();
        assert_eq!(shown.keys().collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn each_entry_of_a_batch_succeeds_or_fails_on_its_own() {
    let server = serve(vec![QueueSpec::standard("q")]).await;
    let sent = server
        .done(
            "SendMessageBatch",
            json!({ "QueueUrl": URL, "Entries": [
                { "Id": "good", "MessageBody": "1" },
                { "Id": "bad", "MessageBody": "\u{1}" },
                { "Id": "late", "MessageBody": "3", "DelaySeconds": -1 },
            ]}),
        )
        .await;
    assert_eq!(sent["Successful"].as_array().unwrap().len(), 1);
    assert_eq!(sent["Successful"][0]["Id"], "good");
    let codes: Vec<_> = sent["Failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failed| {
            (
                failed["Id"].as_str().unwrap(),
                failed["Code"].as_str().unwrap(),
            )
        })
        .collect();
    assert!(
        codes.contains(&("bad", "InvalidMessageContents")),
        "{codes:?}"
    );
    assert!(
        codes.contains(&("late", "InvalidParameterValue")),
        "{codes:?}"
    );

    let received = server
        .done("ReceiveMessage", json!({ "QueueUrl": URL }))
        .await;
    let handle = &received["Messages"][0]["ReceiptHandle"];
    for operation in ["ChangeMessageVisibilityBatch", "DeleteMessageBatch"] {
        let output = server
            .done(
                operation,
                json!({ "QueueUrl": URL, "Entries": [
                    { "Id": "a", "ReceiptHandle": handle, "VisibilityTimeout": 9 },
                    { "Id": "b", "ReceiptHandle": "nonsense", "VisibilityTimeout": 9 },
                ]}),
            )
            .await;
        assert_eq!(output["Successful"], json!([{ "Id": "a" }]), "{operation}");
        assert_eq!(output["Failed"][0]["Id"], "b");
        assert_eq!(output["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
        assert_eq!(output["Failed"][0]["SenderFault"], true);
    }
    assert_eq!(server.sqs.depth("q").await.unwrap(), Depth::default());
}

/// Operation, input, and the error's names in the JSON and in the older query protocol. `URL` is
/// that of a standard queue, `_` stands for `AWS.SimpleQueueService.`, `"` for the same name.
const REFUSALS: &str = r#"
SendMessage | {"QueueUrl": "http://x/0/absent", "MessageBody": "x"} | QueueDoesNotExist | _NonExistentQueue
SendMessage | {"MessageBody": "x"} | MissingParameter | "
SendMessage | {"QueueUrl": 5} | SerializationException | "
SendMessage | {"QueueUrl": "URL", "MessageBody": ""} | MissingParameter | "
DeleteMessage | {"QueueUrl": "URL", "ReceiptHandle": "x"} | ReceiptHandleIsInvalid | "
DeleteMessage | {"QueueUrl": "URL"} | MissingParameter | "
ReceiveMessage | {"QueueUrl": "URL", "MaxNumberOfMessages": 0} | InvalidParameterValue | "
ReceiveMessage | {"QueueUrl": "URL", "MaxNumberOfMessages": 11} | InvalidParameterValue | "
ReceiveMessage | {"QueueUrl": "URL", "WaitTimeSeconds": 21} | InvalidParameterValue | "
ReceiveMessage | {"QueueUrl": "URL", "VisibilityTimeout": 43201} | InvalidParameterValue | "
SendMessageBatch | {"QueueUrl": "URL", "Entries": []} | EmptyBatchRequest | _EmptyBatchRequest
SendMessageBatch | {"QueueUrl": "URL", "Entries": [{"Id": "a"}, {"Id": "a"}]} | BatchEntryIdsNotDistinct | _BatchEntryIdsNotDistinct
SendMessageBatch | {"QueueUrl": "URL", "Entries": [{"Id": "a b"}]} | InvalidBatchEntryId | _InvalidBatchEntryId
GetQueueUrl | {"QueueName": "absent"} | QueueDoesNotExist | _NonExistentQueue
GetQueueAttributes | {"QueueUrl": "URL", "AttributeNames": ["Colour"]} | InvalidAttributeName | "
ListQueues | {"MaxResults": 0} | InvalidParameterValue | "
TagQueue | {} | UnsupportedOperation | _UnsupportedOperation
CreateQueue | {"QueueName": "q", "Attributes": {"VisibilityTimeout": "9"}} | QueueNameExists | QueueAlreadyExists
CreateQueue | {"QueueName": "n", "Attributes": {"DelaySeconds": "901"}} | InvalidAttributeValue | "
CreateQueue | {"QueueName": "n", "Attributes": {"Colour": "red"}} | InvalidAttributeName | "
CreateQueue | {"QueueName": "n", "Attributes": {"DeduplicationScope": "queue"}} | InvalidAttributeName | "
CreateQueue | {"QueueName": "n", "Attributes": {"RedrivePolicy": "{}"}} | InvalidAttributeValue | "
CreateQueue | {"QueueName": "n", "Attributes": {"FifoQueue": "true"}} | InvalidParameterValue | "
CreateQueue | {"QueueName": "n n"} | InvalidParameterValue | "
"#;

#[tokio::test]
async fn errors_have_the_names_of_both_protocols() {
    let server = serve(vec![QueueSpec::standard("q")]).await;
    for case in REFUSALS.trim().lines() {
        let [operation, input, shape, older] = case.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{case}");
        };
        let input = serde_json::from_str(&input.replace("URL", URL)).unwrap();
        let answer = server.ask(operation, input).await;
        assert_refused(&answer, shape, older, case);
    }
}

fn assert_refused(answer: &Answer, shape: &str, older: &str, case: &str) {
    assert_eq!(answer.status, 400, "{case}");
    let name = format!("com.amazonaws.sqs#{shape}");
    assert_eq!(answer.output["__type"], name, "{case}");
    let older = match older {
        "\"" => shape.to_owned(),
        older => older.replace('_', "AWS.SimpleQueueService."),
    };
    assert_eq!(
        answer.query_error,
        Some(format!("{older};Sender")),
        "{case}"
    );
    assert!(
        answer.output["message"].as_str().unwrap().ends_with('.'),
        "{case}"
    );
}

#[tokio::test]
async fn batches_have_at_most_ten_entries_and_one_mebibyte() {
    let server = serve(vec![QueueSpec::standard("q")]).await;
    let entries = |count: u32, bytes: usize| -> Value {
        let body = "x".repeat(bytes);
        let entry = |id: u32| json!({ "Id": id.to_string(), "MessageBody": body });
        json!({ "QueueUrl": URL, "Entries": (0..count).map(entry).collect::<Vec<_>>() })
    };
    for (count, bytes, shape) in [
        (11, 1, "TooManyEntriesInBatchRequest"),
        (2, 524_289, "BatchRequestTooLong"),
    ] {
        let answer = server.ask("SendMessageBatch", entries(count, bytes)).await;
        assert_refused(&answer, shape, &format!("_{shape}"), shape);
    }
    let largest = server.done("SendMessageBatch", entries(2, 524_288)).await;
    assert_eq!(largest["Failed"], json!([]));
    server.done("SendMessageBatch", entries(10, 1)).await;
    assert_eq!(server.sqs.depth("q").await.unwrap().visible, 12);
}

#[tokio::test]
async fn a_dead_letter_queue_exists_and_is_of_the_same_type() {
    let server = serve(vec![QueueSpec::standard("q"), QueueSpec::fifo("f.fifo")]).await;
    for (target, receives, shape) in [
        ("absent", 1, "InvalidParameterValue"),
        ("f.fifo", 1, "InvalidParameterValue"),
        ("q", 0, "InvalidAttributeValue"),
        ("q", 1001, "InvalidAttributeValue"),
    ] {
        let policy = json!({ "deadLetterTargetArn": arn(target), "maxReceiveCount": receives });
        let attributes = json!({ "RedrivePolicy": policy.to_string() });
        let input = json!({ "QueueName": "new", "Attributes": attributes });
        let answer = server.ask("CreateQueue", input).await;
        assert_refused(&answer, shape, "\"", target);
    }
}

#[tokio::test]
async fn queues_are_created_changed_listed_purged_and_deleted() {
    let server = serve(vec![QueueSpec::fifo("dead.fifo")]).await;
    let policy = json!({ "deadLetterTargetArn": arn("dead.fifo"), "maxReceiveCount": "3" });
    let create = json!({ "QueueName": "q.fifo", "Attributes": {
        "FifoQueue": "true",
        "DeduplicationScope": "messageGroup",
        "FifoThroughputLimit": "perMessageGroupId",
        "RedrivePolicy": policy.to_string(),
    }});
    let url = server.done("CreateQueue", create.clone()).await["QueueUrl"].clone();
    assert_eq!(server.done("CreateQueue", create).await["QueueUrl"], url);
    let listed = server
        .done("ListQueues", json!({ "QueueNamePrefix": "q" }))
        .await;
    assert_eq!(listed, json!({ "QueueUrls": [url] }));
    let page = server.done("ListQueues", json!({ "MaxResults": 1 })).await;
    assert_eq!(page["NextToken"], "dead.fifo");
    let rest = json!({ "MaxResults": 1, "NextToken": page["NextToken"] });
    assert_eq!(
        server.done("ListQueues", rest).await,
        json!({ "QueueUrls": [url] })
    );

    let change = json!({ "QueueUrl": url, "Attributes": { "VisibilityTimeout": "77" } });
    server.done("SetQueueAttributes", change).await;
    let all = json!({ "QueueUrl": url, "AttributeNames": ["All"] });
    let attributes = server.done("GetQueueAttributes", all).await["Attributes"].clone();
    for (name, expected) in [
        ("VisibilityTimeout", "77"),
        ("FifoQueue", "true"),
        ("DeduplicationScope", "messageGroup"),
        ("QueueArn", "arn:aws:sqs:us-east-1:000000000000:q.fifo"),
        ("ApproximateNumberOfMessages", "0"),
    ] {
        assert_eq!(attributes[name], expected, "{name}");
    }
    let shown: Value = serde_json::from_str(attributes["RedrivePolicy"].as_str().unwrap()).unwrap();
    assert_eq!(shown["maxReceiveCount"], 3);

    let send = json!({
        "QueueUrl": url, "MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d",
    });
    server.done("SendMessage", send).await;
    server.done("PurgeQueue", json!({ "QueueUrl": url })).await;
    assert_eq!(server.sqs.depth("q.fifo").await.unwrap(), Depth::default());
    server.done("DeleteQueue", json!({ "QueueUrl": url })).await;
    let gone = server.ask("DeleteQueue", json!({ "QueueUrl": url })).await;
    assert_eq!(gone.status, 400);
}

#[tokio::test]
async fn a_dead_letter_queue_is_emptied_back_to_where_its_messages_came_from() {
    let mut spec = QueueSpec::standard("q");
    spec.dead_letter = Some(DeadLetter {
        queue: "dead".to_owned(),
        receive_count_max: 1,
    });
    let server = serve(vec![spec, QueueSpec::standard("dead")]).await;
    server.sqs.send("q", text("again")).await.unwrap();
    assert_eq!(take(&server.sqs, "q", 1).await.len(), 1);
    server.time.advance(seconds(30));
    assert_eq!(take(&server.sqs, "q", 1).await, []);
    assert_eq!(server.sqs.depth("dead").await.unwrap().visible, 1);
    server
        .done("StartMessageMoveTask", json!({ "SourceArn": arn("dead") }))
        .await;
    assert_eq!(server.sqs.depth("dead").await.unwrap().visible, 0);
    assert_eq!(bodies(&take(&server.sqs, "q", 1).await), ["again"]);
    let refused = server
        .ask("StartMessageMoveTask", json!({ "SourceArn": arn("q") }))
        .await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn a_long_poll_whose_client_hung_up_takes_nothing() {
    let server = serve(vec![QueueSpec::standard("q")]).await;
    let poll = json!({ "QueueUrl": URL, "WaitTimeSeconds": 20 });
    for _ in 0..3 {
        drop(server.open("ReceiveMessage", &poll).await);
    }
    server.sqs.send("q", text("kept")).await.unwrap();
    // Whether a poll was still there when the message came or not, the clock stands still: only
    // an untaken or returned message can be received.
    let received = server.sqs.receive("q", 1, PATIENCE, None).await.unwrap();
    assert_eq!(bodies(&received), ["kept"]);
}
