//! What a Lambda authorizer's answer means: the IAM policy in it, judged for one method ARN.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::iam::{self, Decision, OneOrMany, Statement};

/// "Authorizer result size" of the WebSocket quotas page.
const ANSWER_BYTES_MAX: usize = 8 * 1024;
const ACTION: &str = "execute-api:Invoke";

/// The outcome of an authorizer's answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection may go on; the map is what later events show as `requestContext.authorizer`,
    /// still without `integrationLatency`.
    Allow(Map<String, Value>),
    /// A statement denies.
    ExplicitDeny,
    /// No statement allows.
    ImplicitDeny,
    /// The answer is not one that API Gateway accepts; the text says why.
    Misconfigured(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    principal_id: String,
    policy_document: PolicyDocument,
    #[serde(default)]
    context: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyDocument {
    statement: OneOrMany<Statement>,
}

/// Judges an authorizer's answer for `method_arn`. A deny wins over any allow.
pub(super) fn judge(answer: &[u8], method_arn: &str) -> Verdict {
    if answer.len() > ANSWER_BYTES_MAX {
        return Verdict::Misconfigured("the authorizer's answer is over 8 KB");
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(answer) else {
        return Verdict::Misconfigured("the authorizer's answer is no principalId and policy");
    };
    let statements = answer.policy_document.statement.as_slice();
    match iam::decide(statements, ACTION, method_arn) {
        Decision::Allow => {}
        Decision::ExplicitDeny => return Verdict::ExplicitDeny,
        Decision::ImplicitDeny => return Verdict::ImplicitDeny,
    }
    let mut authorizer = Map::new();
    for (name, value) in answer.context.unwrap_or_default() {
        // API Gateway hands every context value on as a string, and takes no objects or arrays.
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Verdict::Misconfigured("a context value is no string, number or boolean");
            }
        };
        authorizer.insert(name, Value::String(text));
    }
    authorizer.insert("principalId".to_owned(), Value::String(answer.principal_id));
    Verdict::Allow(authorizer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ARN: &str = "arn:aws:execute-api:us-east-1:000000000000:local/dev/$connect";

    fn judged(answer: &Value) -> Verdict {
        judge(answer.to_string().as_bytes(), ARN)
    }

    fn with_statement(statement: &Value) -> Value {
        json!({ "principalId": "u1",
            "policyDocument": { "Version": "2012-10-17", "Statement": statement } })
    }

    fn allows(statement: &Value) -> bool {
        matches!(judged(&with_statement(statement)), Verdict::Allow(_))
    }

    #[test]
    fn an_allow_counts_for_the_arn_it_names_or_matches() {
        let of = |action: &str, resource: &str| json!([{ "Effect": "Allow", "Action": action, "Resource": resource }]);
        assert!(allows(&of("execute-api:Invoke", ARN)));
        assert!(allows(&of("execute-api:*", "*")));
        assert!(allows(&of(
            "Execute-Api:invoke",
            "arn:aws:execute-api:*:*:local/dev/*"
        )));
        assert!(allows(&of(
            "*",
            "arn:aws:execute-api:us-east-?:000000000000:*/$connect"
        )));
        assert!(!allows(&of("execute-api:ManageConnections", "*")));
        assert!(!allows(&of(
            "execute-api:Invoke",
            "arn:aws:execute-api:*:*:local/prod/*"
        )));
        assert!(!allows(&of(
            "execute-api:Invoke",
            "arn:aws:execute-api:*:*:local/dev/$connec"
        )));
    }

    #[test]
    fn statements_may_be_single_and_their_members_lists() {
        assert!(allows(
            &json!({ "Effect": "Allow", "Action": ["a:b", "execute-api:Invoke"],
            "Resource": ["x", ARN] })
        ));
    }

    #[test]
    fn a_deny_wins_and_no_statement_denies() {
        let allow = json!({ "Effect": "Allow", "Action": "*", "Resource": "*" });
        let deny = json!({ "Effect": "Deny", "Action": "*", "Resource": "*/$connect" });
        let other = json!({ "Effect": "Deny", "Action": "*", "Resource": "*/$default" });
        assert_eq!(
            judged(&with_statement(&json!([allow, deny]))),
            Verdict::ExplicitDeny
        );
        assert!(allows(&json!([allow, other])));
        assert_eq!(judged(&with_statement(&json!([]))), Verdict::ImplicitDeny);
    }

    #[test]
    fn what_is_not_understood_errs_on_the_closed_side() {
        let allow = json!({ "Effect": "Allow", "Action": "*", "Resource": "*" });
        let mut conditional = allow.clone();
        conditional["Condition"] = json!({ "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } });
        assert!(!allows(&conditional));
        conditional["Effect"] = json!("Deny");
        assert_eq!(
            judged(&with_statement(&json!([allow, conditional]))),
            Verdict::ExplicitDeny
        );
    }

    #[test]
    fn context_values_become_strings_beside_the_principal() {
        let mut answer =
            with_statement(&json!({ "Effect": "Allow", "Action": "*", "Resource": "*" }));
        answer["context"] = json!({ "tier": "pro", "exp": 17, "admin": false });
        let wanted = json!({ "tier": "pro", "exp": "17", "admin": "false", "principalId": "u1" });
        let Verdict::Allow(context) = judged(&answer) else {
            panic!("refused")
        };
        assert_eq!(Value::Object(context), wanted);
    }

    #[test]
    fn answers_that_api_gateway_does_not_accept_are_misconfigured() {
        let good = with_statement(&json!({ "Effect": "Allow", "Action": "*", "Resource": "*" }));
        let mut nested = good.clone();
        nested["context"] = json!({ "list": [1] });
        let mut nameless = good.clone();
        nameless.as_object_mut().unwrap().remove("principalId");
        let mut fat = good.clone();
        fat["context"] = json!({ "fat": "x".repeat(ANSWER_BYTES_MAX) });
        for answer in [
            nested,
            nameless,
            fat,
            json!(null),
            json!("Allow"),
            json!({}),
        ] {
            assert!(
                matches!(judged(&answer), Verdict::Misconfigured(_)),
                "{answer}"
            );
        }
    }
}
