//! Tables and schedules as events of functions, and what becomes of failed invocations.

use super::*;

/// A template with a function `G` that has this property and this event, and a table `T`.
fn with(function: &str, event: &str, table: &str) -> String {
    format!(
        "
  G:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/g
      {function}
      Events: {{ E: {event} }}
  T:
    Type: AWS::DynamoDB::Table
    Properties:
      AttributeDefinitions: [{{ AttributeName: a, AttributeType: S }}]
      KeySchema: [{{ AttributeName: a, KeyType: HASH }}]
      {table}
"
    )
}

const STREAM: &str = "StreamSpecification: { StreamViewType: KEYS_ONLY }";

fn g(function: &str, event: &str) -> Function {
    let mut template = read(&with(function, event, STREAM)).unwrap();
    template.functions.pop().unwrap()
}

#[test]
fn a_stream_of_a_table_is_a_source() {
    let event = |more: &str| {
        format!(
            "{{ Type: DynamoDB, Properties: {{ Stream: !GetAtt T.StreamArn, StartingPosition: \
             LATEST{more} }} }}"
        )
    };
    let by_default = StreamSource {
        table: "T".to_owned(),
        starting_position: "LATEST",
        batch_size: 100,
        window: Duration::ZERO,
        retries_max: None,
        record_age_max: None,
        bisects_batch_on_error: false,
        reports_batch_item_failures: false,
    };
    let read = g("", &event("")).stream_sources;
    assert_eq!(read, std::slice::from_ref(&by_default));
    let more = ", BatchSize: 7, MaximumBatchingWindowInSeconds: 3, MaximumRetryAttempts: 2, \
                MaximumRecordAgeInSeconds: 60, BisectBatchOnFunctionError: true, \
                FunctionResponseTypes: [ReportBatchItemFailures]";
    let said = StreamSource {
        batch_size: 7,
        window: Duration::from_secs(3),
        retries_max: Some(2),
        record_age_max: Some(Duration::from_mins(1)),
        bisects_batch_on_error: true,
        reports_batch_item_failures: true,
        ..by_default.clone()
    };
    assert_eq!(g("", &event(more)).stream_sources, [said]);
    let endless = ", MaximumRetryAttempts: -1, MaximumRecordAgeInSeconds: -1";
    assert_eq!(g("", &event(endless)).stream_sources, [by_default]);
    assert_eq!(g("", &event(", Enabled: false")).stream_sources, []);
}

#[test]
fn a_schedule_is_read_with_its_name_and_input() {
    let rule = g(
        "",
        "{ Type: Schedule, Properties: { Schedule: rate(5 minutes) } }",
    );
    let [schedule] = rule.schedules.as_slice() else {
        panic!("{:?}", rule.schedules)
    };
    assert_eq!(
        (schedule.name.as_str(), schedule.origin),
        ("E", Origin::Rule)
    );
    assert_eq!(schedule.input, None);
    let event = "{ Type: ScheduleV2, Properties: { ScheduleExpression: cron(0 9 ? * MON *), \
                 Name: weekly, Input: '{\"a\":1}', ScheduleExpressionTimezone: UTC } }";
    let schedule = g("", event).schedules.pop().unwrap();
    assert_eq!(
        (schedule.name.as_str(), schedule.origin),
        ("weekly", Origin::Scheduler)
    );
    assert_eq!(schedule.input.as_deref(), Some(r#"{"a":1}"#));
    for off in ["Enabled: false", "State: DISABLED"] {
        let event = format!("{{ Type: Schedule, Properties: {{ Schedule: rate(1 day), {off} }} }}");
        assert_eq!(g("", &event).schedules, [], "{off}");
    }
}

#[test]
fn retries_of_asynchronous_invocations_are_lambdas_unless_said() {
    let event = "{ Type: Schedule, Properties: { Schedule: rate(1 day) } }";
    let by_default = AsyncRetries {
        retries_max: 2,
        age_max: Duration::from_hours(6),
    };
    assert_eq!(g("", event).async_retries, by_default);
    let config = "EventInvokeConfig: { MaximumRetryAttempts: 0, MaximumEventAgeInSeconds: 60 }";
    let said = AsyncRetries {
        retries_max: 0,
        age_max: Duration::from_mins(1),
    };
    assert_eq!(g(config, event).async_retries, said);
}

#[test]
fn a_stream_that_aws_would_refuse_or_that_is_not_served_is_named() {
    let stream = |properties: &str| format!("{{ Type: DynamoDB, Properties: {{ {properties} }} }}");
    let arn = "Stream: !GetAtt T.StreamArn";
    for (function, event, table, expected) in [
        (
            "",
            stream(&format!("{arn}, StartingPosition: LATEST")),
            "",
            "Events.E.Properties.Stream of G refers to T.StreamArn, which is no",
        ),
        (
            "",
            stream("Stream: !GetAtt T.Arn, StartingPosition: LATEST"),
            STREAM,
            "Events.E.Properties.Stream of G is no stream of a table",
        ),
        (
            "",
            stream(arn),
            STREAM,
            "Events.E.Properties.StartingPosition of G is missing",
        ),
        (
            "",
            stream(
                "Stream: 'arn:aws:dynamodb:us-east-1:0:table/X/stream/1', StartingPosition: LATEST",
            ),
            STREAM,
            "Events.Stream of G names X, which is no table",
        ),
        (
            "",
            stream(&format!(
                "{arn}, StartingPosition: LATEST, FilterCriteria: x"
            )),
            STREAM,
            "Events.E.Properties.FilterCriteria of G is not served",
        ),
    ] {
        let error = refused(&with(function, &event, table));
        assert!(error.starts_with(expected), "{event}: {error}");
    }
}

#[test]
fn a_schedule_that_aws_would_refuse_or_that_is_not_served_is_named() {
    let rule = |properties: &str| format!("{{ Type: Schedule, Properties: {{ {properties} }} }}");
    let v2 = |properties: &str| format!("{{ Type: ScheduleV2, Properties: {{ {properties} }} }}");
    for (function, event, table, expected) in [
        (
            "",
            rule("Schedule: rate(1 minutes)"),
            "",
            "Events.E.Properties.Schedule of G is rate(1 minutes)",
        ),
        (
            "",
            rule("Schedule: rate(1 day), Input: '{'"),
            "",
            "Events.E.Properties.Input of G is not JSON",
        ),
        (
            "",
            v2("ScheduleExpression: rate(1 day), ScheduleExpressionTimezone: Europe/Berlin"),
            "",
            "Events.E.Properties.ScheduleExpressionTimezone of G is not UTC",
        ),
        (
            "EventInvokeConfig: { MaximumRetryAttempts: 3 }",
            rule("Schedule: rate(1 day)"),
            "",
            "EventInvokeConfig.MaximumRetryAttempts of G is 3; use a number from 0 to 2",
        ),
        (
            "EventInvokeConfig: { DestinationConfig: {} }",
            rule("Schedule: rate(1 day)"),
            "",
            "EventInvokeConfig.DestinationConfig of G is not served",
        ),
    ] {
        let error = refused(&with(function, &event, table));
        assert!(error.starts_with(expected), "{event}: {error}");
    }
}
