//! IAM policies: what a list of statements says of one action on one resource.
//!
//! A statement that carries `Condition`, `NotAction` or `NotResource` is not understood here. It
//! never allows and, if it denies, always denies, so that the local cloud errs on the closed side.

use serde::Deserialize;
use serde_json::Value;

/// A statement of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    effect: Effect,
    #[serde(default)]
    action: OneOrMany<String>,
    #[serde(default)]
    resource: OneOrMany<String>,
    condition: Option<Value>,
    not_action: Option<Value>,
    not_resource: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

/// What statements say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// One allows, none denies.
    Allow,
    /// One denies: nothing can allow it.
    ExplicitDeny,
    /// None allows.
    ImplicitDeny,
}

/// Policies write a list of one as the one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl Statement {
    /// One that allows these actions on everything that a pattern matches.
    pub(crate) fn allowing(actions: &[&str], resource: &str) -> Self {
        Self {
            effect: Effect::Allow,
            action: OneOrMany::Many(actions.iter().copied().map(str::to_owned).collect()),
            resource: OneOrMany::One(resource.to_owned()),
            condition: None,
            not_action: None,
            not_resource: None,
        }
    }

    fn is_understood(&self) -> bool {
        self.condition.is_none() && self.not_action.is_none() && self.not_resource.is_none()
    }

    fn covers(&self, action: &str, resource: &str) -> bool {
        let action = action.to_ascii_lowercase();
        let names_action = |pattern: &String| matches(&pattern.to_ascii_lowercase(), &action);
        let mut resources = self.resource.as_slice().iter();
        self.action.as_slice().iter().any(names_action)
            && resources.any(|pattern| matches(pattern, resource))
    }
}

/// Judges an action, such as `sqs:SendMessage`, on a resource's ARN. A deny wins over any allow.
pub fn decide(statements: &[Statement], action: &str, resource: &str) -> Decision {
    let with = |effect: Effect| statements.iter().filter(move |s| s.effect == effect);
    if with(Effect::Deny).any(|s| !s.is_understood() || s.covers(action, resource)) {
        return Decision::ExplicitDeny;
    }
    if with(Effect::Allow).any(|s| s.is_understood() && s.covers(action, resource)) {
        return Decision::Allow;
    }
    Decision::ImplicitDeny
}

/// IAM's wildcards: `*` stands for any run of characters, `?` for one. Linear in the text for each
/// `*`, never exponential.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                last_star = Some((at + 1, from));
                at += 1;
            }
            Some(wanted) if wanted == byte || *wanted == b'?' => {
                at += 1;
                from += 1;
            }
            _ => match &mut last_star {
                Some((after_star, taken_to)) => {
                    *taken_to += 1;
                    (at, from) = (*after_star, *taken_to);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        assert!(!matches(
            &"*a".repeat(200),
            &format!("{}b", "a".repeat(2_000))
        ));
    }

    #[test]
    fn a_resource_pattern_stands_for_what_it_matches_only() {
        let read = Statement::allowing(&["dynamodb:Query", "dynamodb:GetItem"], "arn:t/Messages");
        let on = |action, resource| decide(std::slice::from_ref(&read), action, resource);
        assert_eq!(on("dynamodb:Query", "arn:t/Messages"), Decision::Allow);
        assert_eq!(on("dynamodb:query", "arn:t/Messages"), Decision::Allow);
        assert_eq!(
            on("dynamodb:Query", "arn:t/Messages/index/x"),
            Decision::ImplicitDeny
        );
        assert_eq!(
            on("dynamodb:PutItem", "arn:t/Messages"),
            Decision::ImplicitDeny
        );
    }
}
