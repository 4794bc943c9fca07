//! Hides what a function's `Events` mean: which queue, stream or schedule invokes it, and how.

use std::time::Duration;

use serde_json::value::RawValue;

use super::{
    Origin, QueueSource, Schedule, StreamSource, TemplateError, When, properties::Properties,
    resources::last_part,
};

/// What invokes a function, besides whoever knows its name.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) queues: Vec<QueueSource>,
    pub(super) streams: Vec<StreamSource>,
    pub(super) schedules: Vec<Schedule>,
}

pub(super) fn read(function: &str, properties: &Properties) -> Result<Events, TemplateError> {
    let mut read = Events::default();
    let events = properties
        .object("Events")?
        .map(|events| events.objects())
        .transpose()?;
    for (name, event) in events.unwrap_or_default() {
        let kind = event.required_text("Type")?;
        let properties = || event.required_object("Properties");
        match kind.as_str() {
            "SQS" => read.queues.extend(queue_source(&properties()?)?),
            "DynamoDB" => read.streams.extend(stream_source(&properties()?)?),
            "Schedule" => read.schedules.extend(rule(&name, &properties()?)?),
            "ScheduleV2" => read.schedules.extend(scheduler(&name, &properties()?)?),
            _ => {
                return Err(TemplateError::UnsupportedEvent {
                    resource: function.to_owned(),
                    event: name,
                    kind,
                });
            }
        }
    }
    Ok(read)
}

/// None for a source that is switched off.
fn queue_source(properties: &Properties) -> Result<Option<QueueSource>, TemplateError> {
    properties.only(&[
        "BatchSize",
        "Enabled",
        "FunctionResponseTypes",
        "MaximumBatchingWindowInSeconds",
        "Queue",
        "ScalingConfig",
    ])?;
    if is_off(properties)? {
        return Ok(None);
    }
    let window_s = window_s(properties)?;
    let scaling = properties.object("ScalingConfig")?;
    let scaling = scaling.map(|scaling| scaling.number("MaximumConcurrency", 2..=1_000));
    Ok(Some(QueueSource {
        queue: last_part(&properties.required_text("Queue")?).to_owned(),
        batch_size: properties
            .number("BatchSize", 1..=if window_s == 0 { 10 } else { 10_000 })?
            .unwrap_or(10),
        window: Duration::from_secs(window_s.into()),
        reports_batch_item_failures: reports_failures(properties)?,
        concurrency_max: scaling.transpose()?.flatten(),
    }))
}

/// None for a source that is switched off.
fn stream_source(properties: &Properties) -> Result<Option<StreamSource>, TemplateError> {
    properties.only(&[
        "BatchSize",
        "BisectBatchOnFunctionError",
        "Enabled",
        "FunctionResponseTypes",
        "MaximumBatchingWindowInSeconds",
        "MaximumRecordAgeInSeconds",
        "MaximumRetryAttempts",
        "StartingPosition",
        "Stream",
    ])?;
    if is_off(properties)? {
        return Ok(None);
    }
    let arn = properties.required_text("Stream")?;
    let place = properties.place.below("Stream");
    let table = arn.split_once(":table/").map(|(_, path)| path);
    let table = table.and_then(|path| path.split_once("/stream/"));
    let (table, _label) = table
        .ok_or_else(|| place.invalid("is no stream of a table; use !GetAtt Table.StreamArn"))?;
    let starts = [("TRIM_HORIZON", "TRIM_HORIZON"), ("LATEST", "LATEST")];
    let starting_position = properties
        .word("StartingPosition", &starts)?
        .ok_or_else(|| {
            let place = properties.place.below("StartingPosition");
            place.invalid("is missing; use TRIM_HORIZON or LATEST")
        })?;
    Ok(Some(StreamSource {
        table: table.to_owned(),
        starting_position,
        batch_size: properties.number("BatchSize", 1..=10_000)?.unwrap_or(100),
        window: Duration::from_secs(window_s(properties)?.into()),
        retries_max: unless_endless(properties, "MaximumRetryAttempts", 10_000)?,
        record_age_max: unless_endless(properties, "MaximumRecordAgeInSeconds", 604_800)?
            .map(|seconds| Duration::from_secs(seconds.into())),
        bisects_batch_on_error: properties.flag("BisectBatchOnFunctionError")?,
        reports_batch_item_failures: reports_failures(properties)?,
    }))
}

/// A number of which -1, the default, means that there is no limit.
fn unless_endless(
    properties: &Properties,
    name: &str,
    max: u32,
) -> Result<Option<u32>, TemplateError> {
    match properties.text(name)?.as_deref() {
        Some("-1") => Ok(None),
        _ => properties.number(name, 0..=max),
    }
}

/// An EventBridge rule; none when it is switched off.
fn rule(event: &str, properties: &Properties) -> Result<Option<Schedule>, TemplateError> {
    properties.only(&[
        "Description",
        "Enabled",
        "Input",
        "Name",
        "Schedule",
        "State",
    ])?;
    let schedule = schedule(event, properties, "Schedule", Origin::Rule)?;
    let is_off = is_off(properties)? || is_disabled(properties)?;
    Ok(Some(schedule).filter(|_| !is_off))
}

/// A schedule of EventBridge Scheduler; none when it is switched off.
fn scheduler(event: &str, properties: &Properties) -> Result<Option<Schedule>, TemplateError> {
    properties.only(&[
        "Description",
        "FlexibleTimeWindow",
        "Input",
        "Name",
        "OmitName",
        "PermissionsBoundary",
        "RoleArn",
        "ScheduleExpression",
        "ScheduleExpressionTimezone",
        "State",
    ])?;
    let zone = properties.text("ScheduleExpressionTimezone")?;
    if zone.is_some_and(|zone| zone != "UTC") {
        let place = properties.place.below("ScheduleExpressionTimezone");
        return Err(place.invalid("is not UTC, the only one that is served locally"));
    }
    let schedule = schedule(event, properties, "ScheduleExpression", Origin::Scheduler)?;
    let is_off = is_disabled(properties)?;
    Ok(Some(schedule).filter(|_| !is_off))
}

fn schedule(
    event: &str,
    properties: &Properties,
    expression: &str,
    origin: Origin,
) -> Result<Schedule, TemplateError> {
    let place = properties.place.below(expression);
    let when = When::parse(&properties.required_text(expression)?, origin);
    let input = properties.text("Input")?;
    if let Some(input) = &input
        && let Err(error) = serde_json::from_str::<&RawValue>(input)
    {
        let place = properties.place.below("Input");
        return Err(place.invalid(format!("is not JSON: {error}")));
    }
    Ok(Schedule {
        name: properties.text("Name")?.unwrap_or_else(|| event.to_owned()),
        origin,
        when: when.map_err(|problem| place.invalid(problem))?,
        input,
    })
}

fn is_disabled(properties: &Properties) -> Result<bool, TemplateError> {
    let states = [("ENABLED", false), ("DISABLED", true)];
    Ok(properties.word("State", &states)?.unwrap_or(false))
}

fn is_off(properties: &Properties) -> Result<bool, TemplateError> {
    Ok(properties.value("Enabled").is_some() && !properties.flag("Enabled")?)
}

fn window_s(properties: &Properties) -> Result<u32, TemplateError> {
    let window_s = properties.number("MaximumBatchingWindowInSeconds", 0..=300)?;
    Ok(window_s.unwrap_or(0))
}

fn reports_failures(properties: &Properties) -> Result<bool, TemplateError> {
    let response_types = properties.list("FunctionResponseTypes")?;
    if response_types
        .iter()
        .any(|name| name != "ReportBatchItemFailures")
    {
        let place = properties.place.below("FunctionResponseTypes");
        return Err(place.invalid("has a value that is not ReportBatchItemFailures"));
    }
    Ok(!response_types.is_empty())
}
