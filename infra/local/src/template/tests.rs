//! What templates say, and what is wrong with those that cannot be served.

mod events;

use serde_json::json;

use super::*;
use crate::sqs::{DeadLetter, DeduplicationScope, ThroughputLimit};

fn surroundings() -> Surroundings {
    Surroundings {
        sqs_url: "http://127.0.0.1:9324".to_owned(),
        ..Surroundings::default()
    }
}

fn real() -> Template {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml");
    Template::load(&path, &surroundings()).unwrap()
}

#[test]
fn the_real_templates_functions_are_read() {
    let template = real();
    let find = |name: &str| {
        template
            .functions
            .iter()
            .find(|it| it.name == name)
            .unwrap()
    };
    let message = find("ws-message");
    assert_eq!(message.logical_id, "WsMessageFunction");
    assert_eq!(message.timeout, Duration::from_secs(29));
    assert_eq!(message.memory_mb, 256);
    assert_eq!(message.queue_sources, []);
    for (variable, value) in [
        ("RUST_LOG", "info"),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("SPARKLE_TABLE_SESSIONS", "SessionsTable"),
        (
            "SPARKLE_QUEUE_TURNS",
            "http://127.0.0.1:9324/000000000000/TurnQueue.fifo",
        ),
        ("SPARKLE_RATE_PER_SECOND", "50"),
        (
            "SPARKLE_PUSH_ENDPOINT",
            "https://WebSocketApi.execute-api.us-east-1.amazonaws.com/dev",
        ),
    ] {
        assert_eq!(
            message.environment.get(variable).unwrap(),
            value,
            "{variable}"
        );
    }
    let worker = find("turn-worker");
    assert_eq!(worker.timeout, Duration::from_mins(15));
    let source = QueueSource {
        queue: "TurnQueue.fifo".to_owned(),
        batch_size: 1,
        window: Duration::ZERO,
        reports_batch_item_failures: true,
        concurrency_max: None,
    };
    assert_eq!(worker.queue_sources, [source]);
}

#[test]
fn the_real_templates_queues_and_tables_are_read() {
    let template = real();
    let queue = template
        .queues
        .iter()
        .find(|it| it.name == "TurnQueue.fifo")
        .unwrap();
    let dead_letter = DeadLetter {
        queue: "TurnDeadLetterQueue.fifo".to_owned(),
        receive_count_max: 30,
    };
    let expected = QueueSpec {
        deduplication_scope: DeduplicationScope::MessageGroup,
        throughput_limit: ThroughputLimit::PerMessageGroupId,
        visibility_timeout: Duration::from_mins(15),
        retention: Duration::from_hours(24),
        dead_letter: Some(dead_letter),
        ..QueueSpec::fifo("TurnQueue.fifo")
    };
    assert_eq!(*queue, expected);

    let table = template
        .tables
        .iter()
        .find(|it| it.name == "SessionsTable")
        .unwrap();
    assert_eq!(table.ttl_attribute, None);
    let expected = json!({
        "TableName": "SessionsTable",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": "user_id", "AttributeType": "S"},
            {"AttributeName": "session_id", "AttributeType": "S"},
            {"AttributeName": "updated_at", "AttributeType": "N"},
        ],
        "KeySchema": [
            {"AttributeName": "user_id", "KeyType": "HASH"},
            {"AttributeName": "session_id", "KeyType": "RANGE"},
        ],
        "LocalSecondaryIndexes": [{
            "IndexName": "by_updated_at",
            "KeySchema": [
                {"AttributeName": "user_id", "KeyType": "HASH"},
                {"AttributeName": "updated_at", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "ALL"},
        }],
    });
    assert_eq!(table.create, expected);
    let table = template
        .tables
        .iter()
        .find(|it| it.name == "TurnsTable")
        .unwrap();
    assert_eq!(table.ttl_attribute.as_deref(), Some("expires_at"));
}

#[test]
fn the_real_templates_socket_is_read() {
    let api = real().api;
    assert_eq!(api.stage, "dev");
    assert_eq!(api.route_selection_expression, "$request.body.type");
    assert_eq!(api.authorizer.as_deref(), Some("authorizer"));
    assert_eq!(
        api.routes.get("$connect").map(String::as_str),
        Some("ws-connect")
    );
    assert_eq!(
        api.routes.get("$default").map(String::as_str),
        Some("ws-message")
    );
}

/// A template with a socket, one function, and what the test adds under `Resources`. A document
/// marker in `more` starts further top-level sections.
fn read(more: &str) -> Result<Template, TemplateError> {
    read_with(more, &surroundings())
}

fn read_with(more: &str, surroundings: &Surroundings) -> Result<Template, TemplateError> {
    let (resources, sections) = more.split_once("---").unwrap_or((more, ""));
    let text = format!(
        "
Resources:
  Api:
    Type: AWS::Serverless::WebSocketApi
    Properties:
      RouteSelectionExpression: $request.body.type
      Routes: {{ $default: {{ FunctionArn: !GetAtt F.Arn }} }}
  F:
    Type: AWS::Serverless::Function
    Properties: {{ CodeUri: functions/f }}
{resources}
{sections}"
    );
    Template::from_yaml(&serde_yaml_ng::from_str(&text).unwrap(), surroundings)
}

/// The environment of a second function, `G`.
fn environment(variables: &str) -> BTreeMap<String, String> {
    let template = read(&with_environment(variables)).unwrap();
    template
        .functions
        .iter()
        .find(|function| function.name == "g")
        .unwrap()
        .environment
        .clone()
}

fn with_environment(variables: &str) -> String {
    format!(
        "
  G:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/g/
      Environment:
        Variables: {{ {variables} }}
  Q: {{ Type: AWS::SQS::Queue }}
  T:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: !Sub \"${{Stage}}-t\"
      AttributeDefinitions: [{{ AttributeName: a, AttributeType: S }}]
      KeySchema: [{{ AttributeName: a, KeyType: HASH }}]
  Alarms: {{ Type: AWS::SNS::Topic }}
---
Parameters:
  Stage: {{ Type: String, Default: dev, AllowedValues: [dev, prod] }}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  IsDev: !Not [Condition: IsProd]
  Either: !Or [!Condition IsProd, !Condition IsDev]
  Both: !And [!Condition IsProd, !Condition IsDev]
"
    )
}

#[test]
fn every_intrinsic_has_its_local_value_in_its_short_and_its_long_form() {
    for (value, expected) in [
        ("!Ref Stage", "dev"),
        ("{ Ref: Stage }", "dev"),
        ("!Ref AWS::Region", "us-east-1"),
        ("!Ref Q", "http://127.0.0.1:9324/000000000000/Q"),
        ("!GetAtt Q.Arn", "arn:aws:sqs:us-east-1:000000000000:Q"),
        ("{ Fn::GetAtt: [Q, QueueName] }", "Q"),
        ("!Ref T", "dev-t"),
        (
            "!GetAtt T.Arn",
            "arn:aws:dynamodb:us-east-1:000000000000:table/dev-t",
        ),
        ("!Ref F", "f"),
        ("!Ref F.Alias", "f"),
        ("!Ref Alarms", "Alarms"),
        (
            "!Sub '${Stage}/${F.Alias}/${T.Arn}/${!Stage}'",
            "dev/f/arn:aws:dynamodb:us-east-1:000000000000:table/dev-t/${Stage}",
        ),
        ("{ Fn::Sub: ['${own}-${Stage}', { own: !Ref F }] }", "f-dev"),
        ("!Join ['-', [a, !Ref Stage, 3]]", "a-dev-3"),
        ("!If [IsProd, a, b]", "b"),
        ("!If [IsDev, a, b]", "a"),
        ("{ Fn::If: [Either, a, b] }", "a"),
        ("!If [Both, a, b]", "b"),
        ("true", "true"),
        ("1.5", "1.5"),
    ] {
        assert_eq!(
            environment(&format!("V: {value}"))["V"],
            expected,
            "{value}"
        );
    }
    assert_eq!(environment("V: !Ref AWS::NoValue, W: w").len(), 1);
}

#[test]
fn globals_are_merged_under_a_functions_own_properties() {
    let template = read(
        "
---
Globals:
  Function:
    Timeout: 7
    MemorySize: 512
    Environment: { Variables: { A: global } }
",
    )
    .unwrap();
    let function = &template.functions[0];
    assert_eq!(
        (function.timeout, function.memory_mb),
        (Duration::from_secs(7), 512)
    );
    assert_eq!(function.environment["A"], "global");
}

#[test]
fn a_parameter_may_be_overridden() {
    let mut surroundings = surroundings();
    surroundings
        .parameters
        .insert("Stage".to_owned(), "prod".to_owned());
    let template = read_with(&with_environment("V: !If [IsProd, a, b]"), &surroundings).unwrap();
    assert_eq!(template.tables[0].name, "prod-t");
    assert_eq!(template.functions[1].environment["V"], "a");
}

#[test]
fn a_resource_whose_condition_fails_is_not_there() {
    let queue = "
  Q: { Type: AWS::SQS::Queue, Condition: Never }
---
Conditions: { Never: !Equals [a, b] }
";
    assert_eq!(read(queue).unwrap().queues, []);
}

/// The error's message.
fn refused(more: &str) -> String {
    read(more).expect_err("it is read").to_string()
}

#[test]
fn an_unknown_resource_type_is_named() {
    let error = refused("\n  Bucket: { Type: AWS::S3::Bucket }");
    assert!(
        error.starts_with("Bucket is of type AWS::S3::Bucket, which is not served"),
        "{error}"
    );
}

#[test]
fn a_policy_that_would_go_unread_is_refused() {
    let error = refused("\n  More: { Type: AWS::IAM::Policy }");
    assert!(
        error.starts_with("More is of type AWS::IAM::Policy"),
        "{error}"
    );
}

#[test]
fn a_reference_to_nothing_is_named() {
    for reference in [
        "!Ref Nothing",
        "!GetAtt Q.Colour",
        "!Sub 'x-${Nothing.Arn}'",
        "!Ref Q.Alias",
    ] {
        let error = refused(&with_environment(&format!("V: {reference}")));
        let start = "Environment.Variables.V of G refers to ";
        assert!(error.starts_with(start), "{reference}: {error}");
    }
}

#[test]
fn an_intrinsic_that_is_not_evaluated_is_named() {
    for value in ["!FindInMap [a, b, c]", "{ Fn::FindInMap: [a, b, c] }"] {
        let error = refused(&with_environment(&format!("V: {value}")));
        let start = "Environment.Variables.V of G uses Fn::FindInMap, which is not evaluated";
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn circles_are_named() {
    let names = "
  A: { Type: AWS::SQS::Queue, Properties: { QueueName: !GetAtt B.QueueName } }
  B: { Type: AWS::SQS::Queue, Properties: { QueueName: !GetAtt A.QueueName } }";
    assert!(
        refused(names).starts_with("B -> A -> B is a circular"),
        "{}",
        refused(names)
    );

    let functions = "
  G:
    Type: AWS::Serverless::Function
    Properties: { CodeUri: functions/g, Environment: { Variables: { OTHER: !Ref H } } }
  H:
    Type: AWS::Serverless::Function
    Properties: { CodeUri: functions/h, Environment: { Variables: { OTHER: !Ref G } } }";
    assert!(
        refused(functions).starts_with("G -> H -> G is a circular"),
        "{}",
        refused(functions)
    );

    let conditions = "
  Q: { Type: AWS::SQS::Queue, Condition: A }
---
Conditions: { A: !Not [!Condition B], B: !Not [!Condition A] }";
    assert!(
        refused(conditions).starts_with("A -> B -> A is a circular"),
        "{conditions}"
    );
}

#[test]
fn a_route_to_a_missing_function_is_named() {
    let text = "
Resources:
  Api:
    Type: AWS::Serverless::WebSocketApi
    Properties:
      RouteSelectionExpression: $request.body.type
      Routes: { $connect: { FunctionArn: arn:aws:lambda:us-east-1:000000000000:function:gone } }";
    let yaml = serde_yaml_ng::from_str(text).unwrap();
    let error = Template::from_yaml(&yaml, &surroundings())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "Routes.$connect of Api names gone, which is no function of this template"
    );
}

fn with_event(function: &str, event: &str, queue: &str) -> String {
    format!(
        "
  G:
    Type: AWS::Serverless::Function
    Properties: {{ CodeUri: functions/g, {function} Events: {{ E: {event} }} }}
  Q: {{ Type: AWS::SQS::Queue, Properties: {{ {queue} }} }}"
    )
}

#[test]
fn an_event_that_is_not_served_is_named() {
    let error = refused(&with_event("", "{ Type: S3 }", ""));
    assert!(error.starts_with("E of G is an event of type S3, which is not served"));
}

#[test]
fn a_source_that_aws_would_refuse_is_named() {
    let sqs = |properties: &str| format!("{{ Type: SQS, Properties: {{ {properties} }} }}");
    let arn = "Queue: !GetAtt Q.Arn";
    for (function, event, queue, expected) in [
        (
            "",
            sqs("Queue: arn:aws:sqs:us-east-1:000000000000:gone"),
            "",
            "Events.Queue of G names gone",
        ),
        (
            "",
            sqs(&format!("{arn}, BatchSize: 11")),
            "",
            "Events.E.Properties.BatchSize of G is 11; use a number from 1 to 10",
        ),
        (
            "",
            sqs(&format!("{arn}, Filter: x")),
            "",
            "Events.E.Properties.Filter of G is not served",
        ),
        (
            "",
            sqs(&format!("{arn}, FunctionResponseTypes: [x]")),
            "",
            "Events.E.Properties.FunctionResponseTypes of G has a value",
        ),
        (
            "Timeout: 31,",
            sqs(arn),
            "",
            "Timeout of G is 31 s; its queue Q hides messages only 30 s",
        ),
        (
            "",
            sqs(&format!("{arn}, MaximumBatchingWindowInSeconds: 1")),
            "FifoQueue: true",
            "Events.Queue of G is a FIFO queue",
        ),
    ] {
        let error = refused(&with_event(function, &event, queue));
        assert!(error.starts_with(expected), "{event}: {error}");
    }
    let off = with_event("", &sqs(&format!("{arn}, Enabled: false")), "");
    assert_eq!(read(&off).unwrap().functions[1].queue_sources, []);
}

#[test]
fn a_queue_that_aws_would_refuse_is_named() {
    for (properties, expected) in [
        (
            "VisibilityTimeout: 43201",
            "VisibilityTimeout of Q is 43201; use a number from 0 to 43200",
        ),
        ("Colour: red", "Colour of Q is not served locally"),
        (
            "FifoQueue: perhaps",
            "FifoQueue of Q is \"perhaps\"; use one of true, false",
        ),
        ("QueueName: q.fifo", "QueueName of Q must end in .fifo"),
        ("QueueName: 'q q'", "QueueName of Q has other than"),
        (
            "ContentBasedDeduplication: true",
            "FifoQueue of Q must be true",
        ),
        (
            "FifoQueue: true, FifoThroughputLimit: perMessageGroupId",
            "FifoThroughputLimit of Q",
        ),
        (
            "RedrivePolicy: { deadLetterTargetArn: gone, maxReceiveCount: 5 }",
            "RedrivePolicy.deadLetterTargetArn of Q names gone",
        ),
        (
            "RedrivePolicy: { deadLetterTargetArn: !GetAtt D.Arn, maxReceiveCount: 5 }",
            "RedrivePolicy.deadLetterTargetArn of Q is not of the same type",
        ),
        (
            "RedrivePolicy: { deadLetterTargetArn: !GetAtt D.Arn }",
            "RedrivePolicy.maxReceiveCount of Q is missing",
        ),
    ] {
        let error = refused(&format!(
            "
  Q: {{ Type: AWS::SQS::Queue, Properties: {{ {properties} }} }}
  D: {{ Type: AWS::SQS::Queue, Properties: {{ FifoQueue: true }} }}"
        ));
        assert!(error.starts_with(expected), "{properties}: {error}");
    }
}

#[test]
fn two_of_one_name_are_named() {
    let error =
        refused("\n  G: { Type: AWS::Serverless::Function, Properties: { CodeUri: other/f } }");
    assert_eq!(error, "F and G are both named f; rename one of them");
}

#[test]
fn a_function_without_a_folder_is_named() {
    let error = refused("\n  G: { Type: AWS::Serverless::Function }");
    assert_eq!(error, "G has no CodeUri; add it");
    let error = refused("\n  G: { Type: AWS::Serverless::Function, Properties: { CodeUri: ./ } }");
    assert!(
        error.starts_with("CodeUri of G is no function's folder"),
        "{error}"
    );
}

#[test]
fn parameters_without_a_usable_value_are_named() {
    let sections = "\n---\nParameters: { P: { Type: String } }";
    assert_eq!(
        refused(sections),
        "the parameter P has no default; give it a value"
    );
    let sections = "\n---\nParameters: { P: { Type: String, Default: c, AllowedValues: [a, b] } }";
    assert_eq!(
        refused(sections),
        "the parameter P is \"c\"; allowed is one of a, b"
    );
}

#[test]
fn a_value_for_a_parameter_that_the_template_lacks_is_left() {
    let mut surroundings = surroundings();
    surroundings
        .parameters
        .insert("Q".to_owned(), "x".to_owned());
    let template = read_with("", &surroundings).unwrap();
    assert_eq!(template, read("").unwrap());
}

#[test]
fn a_template_needs_one_socket() {
    let yaml = serde_yaml_ng::from_str("Resources: {}").unwrap();
    let error = Template::from_yaml(&yaml, &surroundings()).unwrap_err();
    assert!(
        matches!(error, TemplateError::ApiCount { count: 0 }),
        "{error}"
    );
}

#[test]
fn a_file_that_is_missing_or_no_yaml_is_named() {
    let missing = Template::load(Path::new("/nowhere/template.yaml"), &surroundings());
    let error = missing.unwrap_err().to_string();
    assert_eq!(error, "cannot read the template /nowhere/template.yaml");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/template.rs");
    let error = Template::load(&source, &surroundings()).unwrap_err();
    assert!(matches!(error, TemplateError::Parse { .. }), "{error}");
}
