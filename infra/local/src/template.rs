//! The template reader: `template.yaml` in, what the local cloud has to serve out.
//!
//! Hides CloudFormation and SAM: intrinsic functions (`intrinsics`), globals, parameters,
//! conditions, defaults and ranges. What AWS would refuse, or what would be ignored here in
//! silence, is an error that names its place.

mod error;
mod events;
mod intrinsics;
mod permissions;
mod properties;
mod resources;
mod schedule;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use serde_yaml_ng::{Mapping, Value as Yaml};

pub use error::TemplateError;
use intrinsics::{Kind, Resolver, Resource};
pub use permissions::Permissions;
use properties::{Place, scalar};
pub use schedule::{Origin, Schedule, When};

use crate::sqs::QueueSpec;

/// What `template.yaml` describes, with every reference resolved to its local value. Each list
/// is in the template's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// The functions.
    pub functions: Vec<Function>,
    /// What each function may do, by its name.
    pub permissions: BTreeMap<String, Permissions>,
    /// The queues; dead-letter queues are among them. A queue's name is `QueueName`, or its
    /// logical id with a FIFO queue's `.fifo`.
    pub queues: Vec<QueueSpec>,
    /// The tables.
    pub tables: Vec<Table>,
    /// The one socket.
    pub api: WebSocketApi,
}

/// What a reference may resolve to that the template itself does not say. The region is
/// us-east-1 and the account 000000000000.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Where the local SQS is served, such as `http://127.0.0.1:9324`.
    pub sqs_url: String,
    /// The URLs of queues, by name, that are not below `sqs_url` as the built-in ones are.
    pub queue_urls: BTreeMap<String, String>,
    /// Values for the template's parameters that win over their defaults.
    pub parameters: BTreeMap<String, String>,
}

/// A Lambda function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// The last folder of its `CodeUri`, such as `ws-message`: also its binary's name.
    pub name: String,
    /// 1 s to 900 s.
    pub timeout: Duration,
    /// In MiB, 128 to 10,240.
    pub memory_mb: u32,
    /// Every variable, resolved; the shell may still override. `LoggingConfig` is in it as the
    /// variables that Lambda sets for it.
    pub environment: BTreeMap<String, String>,
    /// The folders of its layers, as the template names them.
    pub layers: Vec<String>,
    /// The queues whose messages invoke it.
    pub queue_sources: Vec<QueueSource>,
    /// The tables whose changes invoke it.
    pub stream_sources: Vec<StreamSource>,
    /// The schedules that invoke it.
    pub schedules: Vec<Schedule>,
    /// What becomes of asynchronous invocations that fail.
    pub async_retries: AsyncRetries,
    /// `ReservedConcurrentExecutions`.
    pub concurrency_max: Option<u32>,
}

/// An SQS event source of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSource {
    /// The queue's name.
    pub queue: String,
    /// Most messages in one invocation: up to 10, or 10,000 with a window.
    pub batch_size: u32,
    /// How long a batch may wait to fill, up to 300 s.
    pub window: Duration,
    /// Whether the function names the failed messages of a batch (`ReportBatchItemFailures`).
    pub reports_batch_item_failures: bool,
    /// `ScalingConfig.MaximumConcurrency`, 2 to 1000.
    pub concurrency_max: Option<u32>,
}

/// A DynamoDB stream as the event source of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSource {
    /// The table's name.
    pub table: String,
    /// `TRIM_HORIZON` or `LATEST`.
    pub starting_position: &'static str,
    /// Most records in one invocation, up to 10,000.
    pub batch_size: u32,
    /// How long a batch may wait to fill, up to 300 s.
    pub window: Duration,
    /// How often a failed batch is tried again; without a limit until its records are too old.
    pub retries_max: Option<u32>,
    /// How old a record may be that is still delivered.
    pub record_age_max: Option<Duration>,
    /// Whether a failed batch is tried again in halves.
    pub bisects_batch_on_error: bool,
    /// Whether the function names the first failed record of a batch.
    pub reports_batch_item_failures: bool,
}

/// A function's `EventInvokeConfig`. `Default` is Lambda's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncRetries {
    /// How often a failed invocation is tried again, 0 to 2.
    pub retries_max: u32,
    /// How old an event may become, 60 s to 6 h.
    pub age_max: Duration,
}

impl Default for AsyncRetries {
    fn default() -> Self {
        Self {
            retries_max: 2,
            age_max: Duration::from_hours(6),
        }
    }
}

/// A DynamoDB table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// `TableName`, or the logical id.
    pub name: String,
    /// The body of the `CreateTable` request.
    pub create: serde_json::Value,
    /// The attribute that holds an item's expiry, if expiry is on.
    pub ttl_attribute: Option<String>,
}

/// The API Gateway WebSocket API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketApi {
    /// Its key under `Resources`.
    pub logical_id: String,
    /// `StageName`.
    pub stage: String,
    /// Such as `$request.body.type`.
    pub route_selection_expression: String,
    /// The name of the function that authorizes `$connect`.
    pub authorizer: Option<String>,
    /// Route key (`$connect`, `quota`) to function name.
    pub routes: BTreeMap<String, String>,
}

impl Template {
    /// Reads and resolves the template.
    ///
    /// # Errors
    /// See [`TemplateError`]: each names the resource, the property and what to do.
    pub fn load(path: &Path, surroundings: &Surroundings) -> Result<Template, TemplateError> {
        let name = || path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| TemplateError::Read {
            path: name(),
            source,
        })?;
        let yaml = serde_yaml_ng::from_str(&text).map_err(|source| TemplateError::Parse {
            path: name(),
            source,
        })?;
        Template::from_yaml(&yaml, surroundings)
    }

    fn from_yaml(yaml: &Yaml, surroundings: &Surroundings) -> Result<Template, TemplateError> {
        let parameters = parameters(&section(yaml, "Parameters")?, surroundings)?;
        let conditions = section(yaml, "Conditions")?;
        let globals = section(yaml, "Globals")?
            .remove("Function")
            .unwrap_or(Yaml::Null);
        let nothing = BTreeMap::new();
        let before = Resolver::new(
            &nothing,
            parameters.clone(),
            conditions.clone(),
            surroundings,
        );
        let mut order = Vec::new();
        let mut resources = BTreeMap::new();
        for (id, resource) in &section(yaml, "Resources")? {
            let id = key(id)?;
            if let Some(condition) = resource.get("Condition") {
                let place = Place::of(id).below("Condition");
                let name = condition
                    .as_str()
                    .ok_or_else(|| place.invalid("is not a name"))?;
                if !before.condition(&place, name)? {
                    continue;
                }
            }
            resources.insert(id.to_owned(), classify(id, resource, &globals)?);
            order.push(id.to_owned());
        }
        let resolver = Resolver::new(&resources, parameters, conditions, surroundings);
        resources::read(&order, &resolver)
    }
}

/// A section of the template; an absent one is empty.
fn section(yaml: &Yaml, name: &str) -> Result<Mapping, TemplateError> {
    match yaml.get(name) {
        None | Some(Yaml::Null) => Ok(Mapping::new()),
        Some(Yaml::Mapping(section)) => Ok(section.clone()),
        Some(_) => Err(Place::of("the template")
            .below(name)
            .invalid("is not a mapping")),
    }
}

fn key(yaml: &Yaml) -> Result<&str, TemplateError> {
    let place = Place::of("the template");
    yaml.as_str()
        .ok_or_else(|| place.below("a key").invalid("is not a string; quote it"))
}

/// Every parameter's value: its override, or its default.
fn parameters(
    declared: &Mapping,
    surroundings: &Surroundings,
) -> Result<BTreeMap<String, String>, TemplateError> {
    let mut values = BTreeMap::new();
    for (parameter, declaration) in declared {
        let parameter = key(parameter)?.to_owned();
        let place = Place::of("Parameters").below(&parameter);
        let default = declaration.get("Default");
        let default = default.map(|default| yaml_scalar(&place.below("Default"), default));
        let value = match surroundings.parameters.get(&parameter) {
            Some(value) => value.clone(),
            None => match default.transpose()? {
                Some(value) => value,
                None => return Err(TemplateError::MissingParameter { parameter }),
            },
        };
        let allowed = declaration.get("AllowedValues").and_then(Yaml::as_sequence);
        let place = place.below("AllowedValues");
        let allowed: Option<Result<Vec<_>, _>> =
            allowed.map(|allowed| allowed.iter().map(|one| yaml_scalar(&place, one)).collect());
        if let Some(allowed) = allowed.transpose()?
            && !allowed.contains(&value)
        {
            let allowed = allowed.join(", ");
            return Err(TemplateError::ParameterNotAllowed {
                parameter,
                value,
                allowed,
            });
        }
        values.insert(parameter, value);
    }
    Ok(values)
}

fn yaml_scalar(place: &Place, yaml: &Yaml) -> Result<String, TemplateError> {
    let json = serde_json::to_value(yaml);
    scalar(
        place,
        &json.map_err(|_error| place.invalid("is not a string, number or boolean"))?,
    )
}

/// A resource's type, and its properties with the globals under them.
fn classify(id: &str, resource: &Yaml, globals: &Yaml) -> Result<Resource, TemplateError> {
    let kind = resource
        .get("Type")
        .and_then(Yaml::as_str)
        .unwrap_or("no type");
    // Not the policies that stand beside a role: what they allow would be refused here.
    let skipped = [
        "AWS::CloudWatch::",
        "AWS::CodeDeploy::",
        "AWS::Logs::",
        "AWS::SNS::",
        "AWS::SQS::QueuePolicy",
    ];
    let kind = match kind {
        "AWS::Serverless::Function" => Kind::Function,
        "AWS::SQS::Queue" => Kind::Queue,
        "AWS::DynamoDB::Table" => Kind::Table,
        "AWS::Serverless::WebSocketApi" => Kind::Api,
        "AWS::IAM::Role" => Kind::Role,
        "AWS::Serverless::LayerVersion" => Kind::Layer,
        kind if skipped.iter().any(|prefix| kind.starts_with(prefix)) => Kind::Skipped,
        kind => {
            let (resource, kind) = (id.to_owned(), kind.to_owned());
            return Err(TemplateError::UnknownType { resource, kind });
        }
    };
    let properties = resource.get("Properties").cloned().unwrap_or(Yaml::Null);
    let properties = match kind {
        Kind::Function => merge(globals.clone(), properties),
        Kind::Queue | Kind::Table | Kind::Api | Kind::Role | Kind::Layer | Kind::Skipped => {
            properties
        }
    };
    Ok(Resource { kind, properties })
}

/// SAM's rule for globals: mappings are merged, lists are joined, anything else is replaced.
fn merge(global: Yaml, own: Yaml) -> Yaml {
    match (global, own) {
        (global, Yaml::Null) => global,
        (Yaml::Mapping(mut merged), Yaml::Mapping(own)) => {
            for (name, value) in own {
                let value = match merged.remove(&name) {
                    Some(global) => merge(global, value),
                    None => value,
                };
                merged.insert(name, value);
            }
            Yaml::Mapping(merged)
        }
        (Yaml::Sequence(mut joined), Yaml::Sequence(own)) => {
            joined.extend(own);
            Yaml::Sequence(joined)
        }
        (_, own) => own,
    }
}
