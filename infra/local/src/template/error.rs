//! Every way in which a template cannot be served.

use std::io;

/// Why the template cannot be served. Each message names the resource by its logical id, the
/// property, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file cannot be read.
    #[error("cannot read the template {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not YAML.
    #[error("the template {path} is not valid YAML")]
    Parse {
        /// The file.
        path: String,
        /// Where and why.
        source: serde_yaml_ng::Error,
    },
    /// A resource of a type that is not served.
    #[error(
        "{resource} is of type {kind}, which is not served locally; remove it, or teach \
         infra/local/src/template.rs to serve or to skip it"
    )]
    UnknownType {
        /// Logical id.
        resource: String,
        /// Its `Type`.
        kind: String,
    },
    /// A property is missing.
    #[error("{resource} has no {property}; add it")]
    Missing {
        /// Logical id.
        resource: String,
        /// Path below `Properties`.
        property: String,
    },
    /// A property has a value that AWS refuses.
    #[error("{property} of {resource} {problem}")]
    Invalid {
        /// Logical id.
        resource: String,
        /// Path below `Properties`.
        property: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A property that would be ignored in silence.
    #[error("{property} of {resource} is not served locally; check its spelling or remove it")]
    UnknownProperty {
        /// Logical id.
        resource: String,
        /// Path below `Properties`.
        property: String,
    },
    /// An intrinsic function that is not evaluated.
    #[error(
        "{property} of {resource} uses {intrinsic}, which is not evaluated locally; write the \
         value out, or use Ref, Fn::Sub, Fn::GetAtt, Fn::Join or Fn::If"
    )]
    UnsupportedIntrinsic {
        /// Logical id.
        resource: String,
        /// Path below `Properties`.
        property: String,
        /// Such as `Fn::FindInMap`.
        intrinsic: String,
    },
    /// A reference to nothing.
    #[error(
        "{property} of {resource} refers to {reference}, which is no parameter, resource or \
         attribute of this template; correct the name or declare it"
    )]
    UnresolvedReference {
        /// Logical id.
        resource: String,
        /// Path below `Properties`.
        property: String,
        /// What it refers to.
        reference: String,
    },
    /// Values that need each other.
    #[error("{path} is a circular reference; write one of these values out")]
    Cycle {
        /// Such as `A -> B -> A`.
        path: String,
    },
    /// A route or the authorizer names a function that is not there.
    #[error("{property} of {resource} names {function}, which is no function of this template")]
    MissingFunction {
        /// Logical id.
        resource: String,
        /// Path below `Properties`.
        property: String,
        /// The name.
        function: String,
    },
    /// An event or a redrive policy names a queue that is not there.
    #[error("{property} of {resource} names {queue}, which is no queue of this template")]
    MissingQueue {
        /// Logical id.
        resource: String,
        /// Path below `Properties`.
        property: String,
        /// The name.
        queue: String,
    },
    /// An event source that is not served.
    #[error(
        "{event} of {resource} is an event of type {kind}, which is not served locally; SQS, \
         DynamoDB, Schedule and ScheduleV2 are"
    )]
    UnsupportedEvent {
        /// Logical id.
        resource: String,
        /// The event's name.
        event: String,
        /// Its `Type`.
        kind: String,
    },
    /// Two resources of one kind have one name.
    #[error("{first} and {second} are both named {name}; rename one of them")]
    DuplicateName {
        /// Logical id.
        first: String,
        /// Logical id.
        second: String,
        /// The name.
        name: String,
    },
    /// A parameter without a default and without a value.
    #[error("the parameter {parameter} has no default; give it a value")]
    MissingParameter {
        /// The name.
        parameter: String,
    },
    /// A parameter's value is not among its `AllowedValues`.
    #[error("the parameter {parameter} is {value:?}; allowed is one of {allowed}")]
    ParameterNotAllowed {
        /// The name.
        parameter: String,
        /// The value.
        value: String,
        /// The allowed ones.
        allowed: String,
    },
    /// Not exactly one WebSocket API.
    #[error("the template has {count} AWS::Serverless::WebSocketApi resources; declare one")]
    ApiCount {
        /// How many there are.
        count: usize,
    },
}
