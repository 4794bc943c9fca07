//! Whether a function may make a call: what it asks of a service, as actions on ARNs, held against its
//! permissions in the template. A call that is refused here would be refused on AWS.
//!
//! Who calls is told by the access key that each function is started with ([`access_key`]); any other
//! key is the account's owner, who may do everything.

pub mod guard;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::{
    iam::{self, Decision},
    sqs::{ACCOUNT, REGION},
    template::{Function, Permissions, Template},
};

/// What each function may do.
#[derive(Clone, Debug, Default)]
pub struct Access {
    by_function: Arc<BTreeMap<String, Permissions>>,
    /// `API/STAGE`.
    stage: Arc<str>,
}

/// A call that a function may not make.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "User: arn:aws:sts::{ACCOUNT}:assumed-role/{function} is not authorized to perform: {action} on resource: \
     {resource} because {because}"
)]
pub struct Denied {
    function: String,
    action: String,
    resource: String,
    because: &'static str,
}

/// The access key of a function: letters and digits, since DynamoDB Local refuses any other key, and
/// never a real one.
pub fn access_key(function: &str) -> String {
    let digits = function.bytes().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits: String = digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect();
    format!("LOCAL{digits}")
}

impl Access {
    /// Of the functions of a template.
    pub fn of(template: &Template) -> Self {
        Self {
            by_function: Arc::new(template.permissions.clone()),
            stage: format!("{}/{}", template.api.logical_id, template.api.stage).into(),
        }
    }

    /// Whether each function may take the messages of its queues: Lambda refuses a source otherwise.
    ///
    /// # Errors
    /// [`Denied`] names the first one that may not.
    pub fn sources(&self, functions: &[Function]) -> Result<(), Denied> {
        for function in functions {
            for source in &function.queue_sources {
                for operation in ["ReceiveMessage", "DeleteMessage", "GetQueueAttributes"] {
                    self.queue(&function.name, operation, &source.queue)?;
                }
            }
        }
        Ok(())
    }

    /// Functions that are not checked, with what grants their permissions outside the template.
    pub fn unchecked(&self) -> impl Iterator<Item = (&str, &str)> {
        let permissions = self.by_function.iter();
        permissions.filter_map(|(function, permissions)| match permissions {
            Permissions::Known(_) => None,
            Permissions::Elsewhere(what) => Some((function.as_str(), what.as_str())),
        })
    }

    /// Whether the signer of a request to DynamoDB may make it. `authorization` is that header,
    /// `operation` such as `PutItem`.
    ///
    /// # Errors
    /// [`Denied`] names the first action that is not allowed.
    pub fn dynamodb(
        &self,
        authorization: &str,
        operation: &str,
        body: &[u8],
    ) -> Result<(), Denied> {
        let Some(function) = self.caller(authorization) else {
            return Ok(());
        };
        // What cannot be read is refused by the service itself.
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        for (action, resource) in table_actions(operation, &body) {
            self.check(function, &format!("dynamodb:{action}"), &resource)?;
        }
        Ok(())
    }

    /// The same for SQS; of a batch, each entry needs the action of a single one.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn sqs(&self, authorization: &str, operation: &str, queue: &str) -> Result<(), Denied> {
        let Some(function) = self.caller(authorization) else {
            return Ok(());
        };
        self.queue(function, operation, queue)
    }

    fn queue(&self, function: &str, operation: &str, queue: &str) -> Result<(), Denied> {
        let action = operation.strip_suffix("Batch").unwrap_or(operation);
        let resource = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}");
        self.check(function, &format!("sqs:{action}"), &resource)
    }

    /// The same for `@connections` of the API's stage.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn connections(
        &self,
        authorization: &str,
        method: &str,
        connection: &str,
    ) -> Result<(), Denied> {
        let Some(function) = self.caller(authorization) else {
            return Ok(());
        };
        let path = format!("{}/{method}/@connections/{connection}", self.stage);
        let resource = format!("arn:aws:execute-api:{REGION}:{ACCOUNT}:{path}");
        self.check(function, "execute-api:ManageConnections", &resource)
    }

    fn caller(&self, authorization: &str) -> Option<&str> {
        let (_, credential) = authorization.split_once("Credential=")?;
        let key = credential.split('/').next()?;
        let mut functions = self.by_function.keys().map(String::as_str);
        functions.find(|function| access_key(function) == key)
    }

    fn check(&self, function: &str, action: &str, resource: &str) -> Result<(), Denied> {
        let Some(Permissions::Known(statements)) = self.by_function.get(function) else {
            return Ok(());
        };
        let because = match iam::decide(statements, action, resource) {
            Decision::Allow => return Ok(()),
            Decision::ExplicitDeny => "a statement of its policies denies it",
            Decision::ImplicitDeny => "no statement of its policies in the template allows it",
        };
        let denied = Denied {
            function: function.to_owned(),
            action: action.to_owned(),
            resource: resource.to_owned(),
            because,
        };
        Err(denied)
    }
}

/// What a request needs: actions without their `dynamodb:` on ARNs (service authorization reference of
/// DynamoDB, read 2026-11).
fn table_actions(operation: &str, body: &Value) -> Vec<(String, String)> {
    let arn = |table: &Value| {
        let table = table.as_str().unwrap_or("*");
        format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}")
    };
    let list = |name: &str| {
        body.get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    match operation {
        "TransactWriteItems" | "TransactGetItems" => {
            let kinds = [
                ("Put", "PutItem"),
                ("Update", "UpdateItem"),
                ("Delete", "DeleteItem"),
                ("ConditionCheck", "ConditionCheckItem"),
                ("Get", "GetItem"),
            ];
            list("TransactItems")
                .flat_map(|item| {
                    kinds.iter().filter_map(|(kind, action)| {
                        let table = item.get(kind)?.get("TableName")?;
                        Some(((*action).to_owned(), arn(table)))
                    })
                })
                .collect()
        }
        "BatchWriteItem" | "BatchGetItem" => {
            let tables = body.get("RequestItems").and_then(Value::as_object);
            let tables = tables.into_iter().flat_map(|tables| tables.keys());
            tables
                .map(|table| (operation.to_owned(), arn(&Value::String(table.clone()))))
                .collect()
        }
        _ => {
            let table = arn(body.get("TableName").unwrap_or(&Value::Null));
            let index = body.get("IndexName").and_then(Value::as_str);
            let resource = match index {
                Some(index) => format!("{table}/index/{index}"),
                None => table,
            };
            vec![(operation.to_owned(), resource)]
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::iam::Statement;

    const TABLE: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/Messages";

    fn access(statements: Vec<Statement>) -> Access {
        let permissions = Permissions::Known(statements);
        Access {
            by_function: Arc::new(BTreeMap::from([("worker".to_owned(), permissions)])),
            stage: "Api/dev".into(),
        }
    }

    fn signed_by(function: &str) -> String {
        let key = access_key(function);
        format!("AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/dynamodb/aws4_request")
    }

    fn asks(access: &Access, operation: &str, body: &Value) -> Result<(), Denied> {
        access.dynamodb(&signed_by("worker"), operation, body.to_string().as_bytes())
    }

    #[test]
    fn a_function_may_do_what_its_statements_allow_on_the_tables_they_name() {
        let access = access(vec![Statement::allowing(&["dynamodb:Query"], TABLE)]);
        assert_eq!(
            asks(&access, "Query", &json!({ "TableName": "Messages" })),
            Ok(())
        );
        for (operation, body) in [
            ("Query", json!({ "TableName": "Turns" })),
            (
                "Query",
                json!({ "TableName": "Messages", "IndexName": "by_time" }),
            ),
            ("PutItem", json!({ "TableName": "Messages" })),
            ("Query", json!({})),
            ("Query", json!("no object")),
        ] {
            assert!(
                asks(&access, operation, &body).is_err(),
                "{operation} {body}"
            );
        }
    }

    #[test]
    fn a_transaction_needs_the_action_of_each_of_its_items() {
        let puts = Statement::allowing(&["dynamodb:PutItem"], TABLE);
        let access = access(vec![puts]);
        let put = json!({ "Put": { "TableName": "Messages" } });
        let check = json!({ "ConditionCheck": { "TableName": "Messages" } });
        let transaction = |items: &[&Value]| json!({ "TransactItems": items });
        assert_eq!(
            asks(&access, "TransactWriteItems", &transaction(&[&put])),
            Ok(())
        );
        let denied = asks(&access, "TransactWriteItems", &transaction(&[&put, &check]));
        assert_eq!(denied.unwrap_err().action, "dynamodb:ConditionCheckItem");
    }

    #[test]
    fn a_batch_on_a_queue_needs_the_action_of_a_single_message() {
        let queue = "arn:aws:sqs:us-east-1:000000000000:Turns.fifo";
        let access = access(vec![Statement::allowing(&["sqs:SendMessage"], queue)]);
        let asks = |operation, queue| access.sqs(&signed_by("worker"), operation, queue);
        assert_eq!(asks("SendMessageBatch", "Turns.fifo"), Ok(()));
        assert!(asks("SendMessage", "Other").is_err());
        assert!(asks("ReceiveMessage", "Turns.fifo").is_err());
    }

    #[test]
    fn a_socket_is_used_by_the_methods_that_are_allowed() {
        let posts = "arn:aws:execute-api:us-east-1:000000000000:Api/dev/POST/@connections/*";
        let statement = Statement::allowing(&["execute-api:ManageConnections"], posts);
        let access = access(vec![statement]);
        let asks = |method| access.connections(&signed_by("worker"), method, "c=");
        assert_eq!(asks("POST"), Ok(()));
        assert!(asks("DELETE").is_err());
    }

    #[test]
    fn only_functions_are_checked() {
        let access = access(Vec::new());
        let body = json!({ "TableName": "Messages" }).to_string();
        for signer in [
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101",
            "",
            &signed_by("nobody"),
        ] {
            assert_eq!(
                access.dynamodb(signer, "PutItem", body.as_bytes()),
                Ok(()),
                "{signer}"
            );
        }
        assert!(
            access
                .dynamodb(&signed_by("worker"), "PutItem", body.as_bytes())
                .is_err()
        );
    }
}
