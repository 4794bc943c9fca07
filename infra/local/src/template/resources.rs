//! Hides what each resource type's properties mean, their defaults and their ranges.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    AsyncRetries, Function, Table, Template, TemplateError, WebSocketApi, events,
    intrinsics::{Kind, Resolver, layer_arn},
    permissions,
    properties::{Place, Properties, scalar},
};
use crate::sqs::{DeadLetter, DeduplicationScope, QueueSpec, ThroughputLimit};

pub(super) fn read(order: &[String], resolver: &Resolver<'_>) -> Result<Template, TemplateError> {
    let mut functions = Vec::new();
    let mut queues = BTreeMap::new();
    let mut tables = Vec::new();
    let mut apis = Vec::new();
    let (mut roles, mut holders, mut layers) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    for id in order {
        let Some(resource) = resolver.resources.get(id) else {
            continue;
        };
        if resource.kind == Kind::Skipped {
            continue;
        }
        let place = Place::of(id);
        let value = resolver.resolve(&place, &resource.properties)?;
        let properties = Properties::new(place, value.unwrap_or(Value::Null))?;
        match resource.kind {
            Kind::Function => {
                functions.push(function(id, &properties, resolver)?);
                holders.push((resolver.name(id)?, properties));
            }
            Kind::Role => {
                roles.insert(
                    permissions::role_arn(id),
                    permissions::of_role(&properties)?,
                );
            }
            Kind::Layer => {
                let folder = properties.required_text("ContentUri")?;
                layers.insert(layer_arn(id), folder);
            }
            Kind::Queue => {
                queues.insert(id, queue(id, &properties, resolver)?);
            }
            Kind::Table => tables.push(table(id, &properties, resolver)?),
            Kind::Api => apis.push(api(id, &properties)?),
            Kind::Skipped => {}
        }
    }
    resolver.check_circles()?;
    for (function, (_, properties)) in functions.iter_mut().zip(&holders) {
        function.layers = layers_of(properties, &layers)?;
    }
    let count = apis.len();
    let (Some(api), 1) = (apis.pop(), count) else {
        return Err(TemplateError::ApiCount { count });
    };
    unique(functions.iter().map(|it| (&it.name, &it.logical_id)))?;
    unique(queues.iter().map(|(id, queue)| (&queue.name, *id)))?;
    unique(tables.iter().map(|it| (&it.name, &it.logical_id)))?;
    check_redrive(&queues)?;
    check_sources(&functions, &queues)?;
    check_streams(&functions, &tables)?;
    check_routes(&api, &functions)?;
    let queues = order.iter().filter_map(|id| queues.remove(id)).collect();
    let permissions = holders
        .into_iter()
        .map(|(name, properties)| Ok((name, permissions::of_function(&properties, &roles)?)))
        .collect::<Result<_, TemplateError>>()?;
    Ok(Template {
        functions,
        permissions,
        queues,
        tables,
        api,
    })
}

fn function(
    id: &str,
    properties: &Properties,
    resolver: &Resolver<'_>,
) -> Result<Function, TemplateError> {
    let mut environment = BTreeMap::new();
    if let Some(logging) = properties.object("LoggingConfig")? {
        // What Lambda sets from these, and what lambda_runtime reads.
        for (property, variable) in [
            ("LogFormat", "AWS_LAMBDA_LOG_FORMAT"),
            ("ApplicationLogLevel", "AWS_LAMBDA_LOG_LEVEL"),
        ] {
            environment.extend(
                logging
                    .text(property)?
                    .map(|text| (variable.to_owned(), text)),
            );
        }
    }
    if let Some(variables) = properties.object("Environment")? {
        let variables = variables.object("Variables")?;
        let variables = variables.map(|variables| variables.texts()).transpose()?;
        environment.extend(variables.unwrap_or_else(BTreeMap::new));
    }
    let events = events::read(id, properties)?;
    let timeout_s = properties.number("Timeout", 1..=900)?.unwrap_or(3);
    Ok(Function {
        logical_id: id.to_owned(),
        name: resolver.name(id)?,
        timeout: Duration::from_secs(timeout_s.into()),
        memory_mb: properties
            .number("MemorySize", 128..=10_240)?
            .unwrap_or(128),
        environment,
        layers: Vec::new(),
        queue_sources: events.queues,
        stream_sources: events.streams,
        schedules: events.schedules,
        async_retries: async_retries(properties)?,
        concurrency_max: properties.number("ReservedConcurrentExecutions", 0..=1_000)?,
    })
}

/// The folders of a function's layers.
fn layers_of(
    properties: &Properties,
    layers: &BTreeMap<String, String>,
) -> Result<Vec<String>, TemplateError> {
    let place = properties.place.below("Layers");
    let folder = |layer: &Value| {
        let folder = layers.get(&scalar(&place, layer)?);
        folder
            .cloned()
            .ok_or_else(|| place.invalid("names a layer that is not in the template"))
    };
    properties.list("Layers")?.iter().map(folder).collect()
}

fn async_retries(properties: &Properties) -> Result<AsyncRetries, TemplateError> {
    let Some(config) = properties.object("EventInvokeConfig")? else {
        return Ok(AsyncRetries::default());
    };
    config.only(&["MaximumEventAgeInSeconds", "MaximumRetryAttempts"])?;
    let otherwise = AsyncRetries::default();
    let age_s = config.number("MaximumEventAgeInSeconds", 60..=21_600)?;
    Ok(AsyncRetries {
        retries_max: config
            .number("MaximumRetryAttempts", 0..=2)?
            .unwrap_or(otherwise.retries_max),
        age_max: age_s.map_or(otherwise.age_max, |age_s| Duration::from_secs(age_s.into())),
    })
}

fn queue(
    id: &str,
    properties: &Properties,
    resolver: &Resolver<'_>,
) -> Result<QueueSpec, TemplateError> {
    properties.only(&[
        "ContentBasedDeduplication",
        "DeduplicationScope",
        "DelaySeconds",
        "FifoQueue",
        "FifoThroughputLimit",
        "KmsDataKeyReusePeriodSeconds",
        "KmsMasterKeyId",
        "MaximumMessageSize",
        "MessageRetentionPeriod",
        "QueueName",
        "ReceiveMessageWaitTimeSeconds",
        "RedriveAllowPolicy",
        "RedrivePolicy",
        "SqsManagedSseEnabled",
        "Tags",
        "VisibilityTimeout",
    ])?;
    let seconds = |name, range| {
        let number = properties.number(name, range)?;
        Ok(number.map(|seconds| Duration::from_secs(seconds.into())))
    };
    let scopes = [
        ("queue", DeduplicationScope::Queue),
        ("messageGroup", DeduplicationScope::MessageGroup),
    ];
    let limits = [
        ("perQueue", ThroughputLimit::PerQueue),
        ("perMessageGroupId", ThroughputLimit::PerMessageGroupId),
    ];
    let spec = QueueSpec {
        name: resolver.name(id)?,
        fifo: properties.flag("FifoQueue")?,
        content_based_deduplication: properties.flag("ContentBasedDeduplication")?,
        deduplication_scope: properties
            .word("DeduplicationScope", &scopes)?
            .unwrap_or_default(),
        throughput_limit: properties
            .word("FifoThroughputLimit", &limits)?
            .unwrap_or_default(),
        dead_letter: properties
            .object("RedrivePolicy")?
            .as_ref()
            .map(dead_letter)
            .transpose()?,
        ..QueueSpec::default()
    };
    let spec = QueueSpec {
        visibility_timeout: seconds("VisibilityTimeout", 0..=43_200)?
            .unwrap_or(spec.visibility_timeout),
        delay: seconds("DelaySeconds", 0..=900)?.unwrap_or(spec.delay),
        retention: seconds("MessageRetentionPeriod", 60..=1_209_600)?.unwrap_or(spec.retention),
        receive_wait: seconds("ReceiveMessageWaitTimeSeconds", 0..=20)?
            .unwrap_or(spec.receive_wait),
        message_bytes_max: properties
            .number("MaximumMessageSize", 1_024..=1_048_576)?
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(spec.message_bytes_max),
        ..spec
    };
    check_fifo(&spec, &properties.place)?;
    Ok(spec)
}

fn dead_letter(policy: &Properties) -> Result<DeadLetter, TemplateError> {
    policy.only(&["deadLetterTargetArn", "maxReceiveCount"])?;
    let receive_count_max = policy.number("maxReceiveCount", 1..=1_000)?;
    Ok(DeadLetter {
        queue: last_part(&policy.required_text("deadLetterTargetArn")?).to_owned(),
        receive_count_max: receive_count_max.ok_or_else(|| {
            policy
                .place
                .below("maxReceiveCount")
                .invalid("is missing; use a number up to 1000")
        })?,
    })
}

/// Refuses names and FIFO settings that do not fit together.
fn check_fifo(spec: &QueueSpec, place: &Place) -> Result<(), TemplateError> {
    let stem = spec.name.strip_suffix(".fifo");
    let letters = stem.unwrap_or(&spec.name);
    let legal = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    if stem.is_some() != spec.fifo {
        return Err(place
            .below("QueueName")
            .invalid("must end in .fifo on FIFO queues, only there"));
    }
    if letters.is_empty() || spec.name.len() > 80 || !letters.chars().all(legal) {
        return Err(place
            .below("QueueName")
            .invalid("has other than 1 to 80 of A-Z, a-z, 0-9, -, _"));
    }
    let fifo_only = spec.content_based_deduplication
        || spec.deduplication_scope != DeduplicationScope::Queue
        || spec.throughput_limit != ThroughputLimit::PerQueue;
    if fifo_only && !spec.fifo {
        return Err(place
            .below("FifoQueue")
            .invalid("must be true for its deduplication settings"));
    }
    if spec.throughput_limit == ThroughputLimit::PerMessageGroupId
        && spec.deduplication_scope != DeduplicationScope::MessageGroup
    {
        let place = place.below("FifoThroughputLimit");
        return Err(place.invalid("perMessageGroupId needs the DeduplicationScope messageGroup"));
    }
    Ok(())
}

fn table(
    id: &str,
    properties: &Properties,
    resolver: &Resolver<'_>,
) -> Result<Table, TemplateError> {
    let request = [
        "AttributeDefinitions",
        "BillingMode",
        "GlobalSecondaryIndexes",
        "KeySchema",
        "LocalSecondaryIndexes",
        "ProvisionedThroughput",
    ];
    let without_effect = [
        "ContributorInsightsSpecification",
        "DeletionProtectionEnabled",
        "OnDemandThroughput",
        "PointInTimeRecoverySpecification",
        "SSESpecification",
        "StreamSpecification",
        "TableClass",
        "TableName",
        "Tags",
        "TimeToLiveSpecification",
    ];
    properties.only(&[&request[..], &without_effect[..]].concat())?;
    let name = resolver.name(id)?;
    let mut create = Map::new();
    create.insert("TableName".to_owned(), json!(name));
    for property in request {
        if let Some(value) = properties.value(property) {
            create.insert(property.to_owned(), value.clone());
        }
    }
    for required in ["AttributeDefinitions", "KeySchema"] {
        if properties.list(required)?.is_empty() {
            return Err(properties
                .place
                .below(required)
                .invalid("is missing or empty"));
        }
    }
    if let Some(stream) = properties.object("StreamSpecification")? {
        let view = stream.required_text("StreamViewType")?;
        let stream = json!({ "StreamEnabled": true, "StreamViewType": view });
        create.insert("StreamSpecification".to_owned(), stream);
    }
    let ttl_attribute = match properties.object("TimeToLiveSpecification")? {
        Some(ttl) if ttl.flag("Enabled")? => Some(ttl.required_text("AttributeName")?),
        _ => None,
    };
    let (logical_id, create) = (id.to_owned(), Value::Object(create));
    Ok(Table {
        logical_id,
        name,
        create,
        ttl_attribute,
    })
}

fn api(id: &str, properties: &Properties) -> Result<WebSocketApi, TemplateError> {
    properties.only(&[
        "AccessLogSettings",
        "Auth",
        "DefaultRouteSettings",
        "Description",
        "FailOnWarnings",
        "Name",
        "PropagateTags",
        "RouteSelectionExpression",
        "Routes",
        "StageName",
        "Tags",
    ])?;
    let authorizer = match properties.object("Auth")? {
        None => None,
        Some(auth) => {
            auth.only(&[
                "AuthArn",
                "AuthType",
                "IdentitySource",
                "InvokeRole",
                "Name",
            ])?;
            match auth.word("AuthType", &[("CUSTOM", true), ("NONE", false)])? {
                Some(true) => Some(last_part(&auth.required_text("AuthArn")?).to_owned()),
                Some(false) | None => None,
            }
        }
    };
    let mut routes = BTreeMap::new();
    for (route, integration) in properties.required_object("Routes")?.objects()? {
        integration.only(&["FunctionArn", "OperationName"])?;
        let function = integration.required_text("FunctionArn")?;
        routes.insert(route, last_part(&function).to_owned());
    }
    Ok(WebSocketApi {
        logical_id: id.to_owned(),
        stage: properties
            .text("StageName")?
            .unwrap_or_else(|| "default".to_owned()),
        route_selection_expression: properties.required_text("RouteSelectionExpression")?,
        authorizer,
        routes,
    })
}

/// The name in an ARN of a queue or a function, or a name itself.
pub(super) fn last_part(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

fn unique<'t>(named: impl Iterator<Item = (&'t String, &'t String)>) -> Result<(), TemplateError> {
    let mut seen = BTreeMap::new();
    for (name, id) in named {
        if let Some(first) = seen.insert(name, id) {
            let (first, second, name) = (first.clone(), id.clone(), name.clone());
            return Err(TemplateError::DuplicateName {
                first,
                second,
                name,
            });
        }
    }
    Ok(())
}

fn find<'q>(
    queues: &'q BTreeMap<&String, QueueSpec>,
    name: &str,
    place: Place,
) -> Result<&'q QueueSpec, TemplateError> {
    let Place { resource, property } = place;
    let missing = || TemplateError::MissingQueue {
        resource,
        property,
        queue: name.to_owned(),
    };
    queues
        .values()
        .find(|queue| queue.name == name)
        .ok_or_else(missing)
}

fn check_redrive(queues: &BTreeMap<&String, QueueSpec>) -> Result<(), TemplateError> {
    for (id, queue) in queues {
        let Some(dead_letter) = &queue.dead_letter else {
            continue;
        };
        let place = Place::of(id).below("RedrivePolicy.deadLetterTargetArn");
        if find(queues, &dead_letter.queue, place.clone())?.fifo != queue.fifo {
            return Err(place.invalid("is not of the same type, FIFO or standard, as its source"));
        }
    }
    Ok(())
}

/// Refuses sources that AWS would refuse because of their queue.
fn check_sources(
    functions: &[Function],
    queues: &BTreeMap<&String, QueueSpec>,
) -> Result<(), TemplateError> {
    for function in functions {
        let function_place = Place::of(&function.logical_id);
        for source in &function.queue_sources {
            let place = function_place.below("Events.Queue");
            let queue = find(queues, &source.queue, place.clone())?;
            if queue.visibility_timeout < function.timeout {
                let problem = format!(
                    "is {} s; its queue {} hides messages only {} s, and AWS refuses the source",
                    function.timeout.as_secs(),
                    queue.name,
                    queue.visibility_timeout.as_secs(),
                );
                return Err(function_place.below("Timeout").invalid(problem));
            }
            if queue.fifo && (source.batch_size > 10 || !source.window.is_zero()) {
                let problem =
                    "is a FIFO queue: its batches are up to 10 messages, without a window";
                return Err(place.invalid(problem));
            }
        }
    }
    Ok(())
}

/// Refuses sources whose table is not of this template.
fn check_streams(functions: &[Function], tables: &[Table]) -> Result<(), TemplateError> {
    for function in functions {
        for source in &function.stream_sources {
            if !tables.iter().any(|table| table.name == source.table) {
                let problem = format!("names {}, which is no table of this template", source.table);
                let place = Place::of(&function.logical_id).below("Events.Stream");
                return Err(place.invalid(problem));
            }
        }
    }
    Ok(())
}

fn check_routes(api: &WebSocketApi, functions: &[Function]) -> Result<(), TemplateError> {
    let place = Place::of(&api.logical_id);
    let routes = api
        .routes
        .iter()
        .map(|(route, name)| (format!("Routes.{route}"), name));
    let authorizer = api
        .authorizer
        .iter()
        .map(|name| ("Auth.AuthArn".to_owned(), name));
    for (property, name) in routes.chain(authorizer) {
        if !functions.iter().any(|function| function.name == *name) {
            let Place { resource, property } = place.below(&property);
            let function = name.clone();
            return Err(TemplateError::MissingFunction {
                resource,
                property,
                function,
            });
        }
    }
    Ok(())
}
