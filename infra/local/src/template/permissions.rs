//! Hides where a function's permissions stand: in its own policies, in SAM's policy templates, in a
//! role of the template, and in what SAM adds for an event source.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    TemplateError,
    properties::{Place, Properties},
};
use crate::{
    iam::{OneOrMany, Statement},
    sqs::{ACCOUNT, REGION},
};

/// The actions of `DynamoDBReadPolicy` and `DynamoDBWritePolicy` (SAM developer guide, "Policy template
/// list").
const TABLE_READS: [&str; 6] = [
    "dynamodb:GetItem",
    "dynamodb:Scan",
    "dynamodb:Query",
    "dynamodb:BatchGetItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DescribeTable",
];
const TABLE_WRITES: [&str; 3] = [
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:BatchWriteItem",
];
/// What a function may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// The statements of all its policies.
    Known(Vec<Statement>),
    /// Something that the template only names grants them, such as an AWS managed policy.
    Elsewhere(String),
}

impl Permissions {
    fn none() -> Self {
        Self::Known(Vec::new())
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Known(mut statements), Self::Known(others)) => {
                statements.extend(others);
                Self::Known(statements)
            }
            (Self::Elsewhere(name), _) | (_, Self::Elsewhere(name)) => Self::Elsewhere(name),
        }
    }
}

/// The ARN by which a function names a role of the template.
pub(super) fn role_arn(id: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{id}")
}

/// What a role grants.
pub(super) fn of_role(properties: &Properties) -> Result<Permissions, TemplateError> {
    let mut permissions = Permissions::none();
    for policy in properties.list("ManagedPolicyArns")? {
        permissions = permissions.and(managed(policy.as_str().unwrap_or_default()));
    }
    for policy in properties.list("Policies")? {
        let place = properties.place.below("Policies");
        let policy = Properties::new(place, policy.clone())?;
        let document = policy.required_object("PolicyDocument")?;
        permissions = permissions.and(statements(&document)?);
    }
    Ok(permissions)
}

/// What a function may do: by its role, or by its own policies and what SAM adds to them.
pub(super) fn of_function(
    properties: &Properties,
    roles: &BTreeMap<String, Permissions>,
) -> Result<Permissions, TemplateError> {
    if let Some(role) = properties.text("Role")? {
        let known = roles.get(&role).cloned();
        return Ok(known.unwrap_or(Permissions::Elsewhere(role)));
    }
    let mut permissions = Permissions::none();
    let policies = properties.value("Policies").cloned().unwrap_or(Value::Null);
    let policies = match policies {
        Value::Array(policies) => policies,
        Value::Null => Vec::new(),
        one => vec![one],
    };
    for policy in policies {
        permissions = permissions.and(policy_of(&properties.place.below("Policies"), policy)?);
    }
    for (_, event) in properties
        .object("Events")?
        .map(|events| events.objects())
        .transpose()?
        .unwrap_or_default()
    {
        permissions = permissions.and(match event.required_text("Type")?.as_str() {
            "SQS" => managed("AWSLambdaSQSQueueExecutionRole"),
            "DynamoDB" => managed("AWSLambdaDynamoDBExecutionRole"),
            _ => Permissions::none(),
        });
    }
    Ok(permissions)
}

/// One item of a function's `Policies`: a managed policy, a document, or one of SAM's templates.
fn policy_of(place: &Place, policy: Value) -> Result<Permissions, TemplateError> {
    if let Value::String(name) = policy {
        return Ok(managed(&name));
    }
    let policy = Properties::new(place.clone(), policy)?;
    if policy.value("Statement").is_some() {
        return statements(&policy);
    }
    let Some((name, arguments)) = policy.objects()?.into_iter().next() else {
        return Err(place.invalid("has a policy that says nothing"));
    };
    let table = |argument: &str| {
        let table = arguments.required_text(argument)?;
        Ok(format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}"))
    };
    let queue = |argument: &str| {
        let queue = arguments.required_text(argument)?;
        Ok(format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"))
    };
    let allowing = |actions: &[&str], resources: &[String]| {
        let statement = |resource: &String| Statement::allowing(actions, resource);
        Permissions::Known(resources.iter().map(statement).collect())
    };
    Ok(match name.as_str() {
        "AWSSecretsManagerGetSecretValuePolicy" => allowing(
            &["secretsmanager:GetSecretValue"],
            &[arguments.required_text("SecretArn")?],
        ),
        "SQSSendMessagePolicy" => allowing(&["sqs:SendMessage*"], &[queue("QueueName")?]),
        "SQSPollerPolicy" => allowing(
            &[
                "sqs:ChangeMessageVisibility*",
                "sqs:DeleteMessage*",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
            ],
            &[queue("QueueName")?],
        ),
        "DynamoDBReadPolicy" | "DynamoDBWritePolicy" | "DynamoDBCrudPolicy" => {
            let table = table("TableName")?;
            let resources = [format!("{table}/index/*"), table];
            match name.as_str() {
                "DynamoDBReadPolicy" => allowing(&TABLE_READS, &resources),
                "DynamoDBWritePolicy" => allowing(&TABLE_WRITES, &resources),
                _ => {
                    let all = [
                        TABLE_READS.as_slice(),
                        TABLE_WRITES.as_slice(),
                        &["dynamodb:DeleteItem"],
                    ];
                    allowing(&all.concat(), &resources)
                }
            }
        }
        _ => Permissions::Elsewhere(name),
    })
}

/// The policies of AWS that functions have anyway. Those for logs and traces allow nothing that is
/// served here.
fn managed(name: &str) -> Permissions {
    match name.rsplit('/').next().unwrap_or_default() {
        "AWSLambdaBasicExecutionRole" | "AWSXrayWriteOnlyAccess" | "AWSXRayDaemonWriteAccess" => {
            Permissions::none()
        }
        "AWSLambdaSQSQueueExecutionRole" => {
            let actions = [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
            ];
            Permissions::Known(vec![Statement::allowing(&actions, "*")])
        }
        "AWSLambdaDynamoDBExecutionRole" => {
            let actions = [
                "dynamodb:DescribeStream",
                "dynamodb:GetRecords",
                "dynamodb:GetShardIterator",
                "dynamodb:ListStreams",
            ];
            Permissions::Known(vec![Statement::allowing(&actions, "*")])
        }
        _ => Permissions::Elsewhere(name.to_owned()),
    }
}

fn statements(document: &Properties) -> Result<Permissions, TemplateError> {
    let place = document.place.below("Statement");
    let statement = document.value("Statement").cloned().unwrap_or(Value::Null);
    match OneOrMany::<Statement>::deserialize(statement) {
        Ok(statements) => Ok(Permissions::Known(statements.as_slice().to_vec())),
        Err(_) => Err(place.invalid("is no list of statements with Effect, Action and Resource")),
    }
}
