//! Hides which call meets with which fault: the file's form, its checks, and chance.

use std::{fmt, time::Duration};

use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_path_to_error::Segment;

/// Longest delay: as long as a function may run at all.
const DELAY_MS_MAX: u64 = 900_000;
/// Every call tries every rule.
const RULES_MAX: usize = 100;

/// A text is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A rule has a field that is not as it must be.
    #[error("{place}: {problem}")]
    Wrong {
        /// The rule and the field.
        place: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// There is more than a plan may hold.
    #[error("there are {0} rules, at most {RULES_MAX} are taken")]
    TooLong(usize),
}

/// A service that functions call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Target {
    Dynamodb,
    Sqs,
    /// `@connections`.
    Connections,
    Llm,
}

impl Target {
    pub(super) const ALL: [Self; 4] = [Self::Dynamodb, Self::Sqs, Self::Connections, Self::Llm];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Dynamodb => "dynamodb",
            Self::Sqs => "sqs",
            Self::Connections => "connections",
            Self::Llm => "llm",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A call on its way to a service.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) target: Target,
    /// Operation, method or path, as the target has it.
    pub(super) name: &'a str,
    pub(super) function: &'a str,
}

/// What is to happen to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Status {
        status: StatusCode,
        error: Option<String>,
        moment: Moment,
    },
    /// The jitter is chance: a fault that has struck has none left.
    Delay {
        delay_ms: u64,
        jitter_ms: u64,
        moment: Moment,
    },
    Cut(Place),
    /// The process that calls is killed.
    Kill(Place),
    Duplicate(Answer),
}

/// On which side of the effect a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Moment {
    Before,
    After,
}

/// Where in a call a connection is cut, or a process killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    BeforeEffect,
    AfterEffect,
    /// So much of the answer's body passes.
    AfterBytes(u64),
}

/// Which of two answers is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    First,
    Second,
}

impl Fault {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Delay { .. } => "delay",
            Self::Cut(_) => "cut",
            Self::Kill(_) => "kill",
            Self::Duplicate(_) => "duplicate",
        }
    }

    pub(super) fn moment(&self) -> &'static str {
        match self {
            Self::Status { moment, .. } | Self::Delay { moment, .. } => match moment {
                Moment::Before => "before",
                Moment::After => "after",
            },
            Self::Cut(place) | Self::Kill(place) => match place {
                Place::BeforeEffect => "before",
                Place::AfterEffect => "after",
                Place::AfterBytes(_) => "within",
            },
            Self::Duplicate(_) => "after",
        }
    }

    /// The fault with chance taken out of it.
    fn drawn(&self, chance: &mut fastrand::Rng) -> Fault {
        match *self {
            Self::Delay {
                delay_ms,
                jitter_ms,
                moment,
            } => Self::Delay {
                delay_ms: chance
                    .u64(delay_ms.saturating_sub(jitter_ms)..=delay_ms.saturating_add(jitter_ms)),
                jitter_ms: 0,
                moment,
            },
            _ => self.clone(),
        }
    }
}

/// The rules, and how far each has come. Serialized, it is the file's form with the counts.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    seed: u64,
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
struct Rule {
    #[serde(flatten)]
    written: Written,
    /// Calls it was about.
    matched: u64,
    /// Of these, those that met with the fault.
    injected: u64,
    #[serde(skip)]
    fault: Fault,
    #[serde(skip)]
    chance: fastrand::Rng,
}

/// One rule that has struck.
#[derive(Debug)]
pub(super) struct Strike {
    pub(super) rule: String,
    /// Which of the calls that the rule is about, from 1.
    pub(super) nth: u64,
    pub(super) fault: Fault,
}

impl Plan {
    /// Reads a plan. `functions` are the names that rules may speak of.
    ///
    /// # Errors
    /// [`PlanError`] names the rule and the field.
    pub(super) fn read(text: &str, functions: &[String]) -> Result<Plan, PlanError> {
        let yaml = serde_yaml_ng::Deserializer::from_str(text);
        let file: File = serde_path_to_error::deserialize(yaml).map_err(|error| {
            let place = place(error.path());
            let problem = error.into_inner().to_string();
            // It begins with a path of its own, less clear than ours.
            let problem = match problem.split_once(": ") {
                Some((path, problem)) if !path.contains(' ') => problem.to_owned(),
                _ => problem,
            };
            PlanError::Wrong { place, problem }
        })?;
        if file.rules.len() > RULES_MAX {
            return Err(PlanError::TooLong(file.rules.len()));
        }
        let rules = file.rules.into_iter().enumerate().map(|(index, written)| {
            let number = index.saturating_add(1);
            let wrong = |Mistake { field, problem }| PlanError::Wrong {
                place: format!("rule {number}, field {field}"),
                problem,
            };
            let fault = written.fault(functions).map_err(wrong)?;
            let name = written.name.clone();
            let name = name.unwrap_or_else(|| format!("rule {number}"));
            // Each rule's chance is its own, however often the others use theirs.
            let own = u64::try_from(number).unwrap_or(u64::MAX);
            let mut chance = fastrand::Rng::with_seed(file.seed ^ own.rotate_left(32));
            // The first number still resembles the seed.
            chance.u64(..);
            Ok(Rule {
                written: Written {
                    name: Some(name),
                    ..written
                },
                matched: 0,
                injected: 0,
                fault,
                chance,
            })
        });
        Ok(Plan {
            seed: file.seed,
            rules: rules.collect::<Result<_, PlanError>>()?,
        })
    }

    /// How many rules there are.
    pub(super) fn rules(&self) -> usize {
        self.rules.len()
    }

    /// The faults that a call meets with: any number of delays, then at most one other.
    pub(super) fn strike(&mut self, call: &Call<'_>) -> Vec<Strike> {
        let mut struck = Vec::new();
        for rule in &mut self.rules {
            let Some(fault) = rule.try_on(call) else {
                continue;
            };
            let is_last = !matches!(fault, Fault::Delay { .. });
            struck.push(Strike {
                rule: rule.written.name.clone().unwrap_or_default(),
                nth: rule.matched,
                fault,
            });
            if is_last {
                break;
            }
        }
        struck
    }
}

impl Rule {
    fn try_on(&mut self, call: &Call<'_>) -> Option<Fault> {
        let Self { written, .. } = self;
        let is_meant = written.target.0.is_none_or(|target| target == call.target)
            && is_named(&written.call, call.name)
            && is_named(&written.function, call.function);
        if !is_meant {
            return None;
        }
        self.matched = self.matched.saturating_add(1);
        // Drawn for every call that matches, so that `after` and `times` change nobody's luck.
        let is_hit = self.chance.f64() < written.probability;
        let fault = self.fault.drawn(&mut self.chance);
        let is_used_up = written.times.is_some_and(|times| self.injected >= times);
        if !is_hit || is_used_up || self.matched <= written.after {
            return None;
        }
        self.injected = self.injected.saturating_add(1);
        Some(fault)
    }
}

fn is_named(pattern: &str, name: &str) -> bool {
    pattern == ANY || pattern == name
}

const ANY: &str = "*";

/// The operations on items (DynamoDB API reference, read 2026-11): who administers tables is no function.
const DYNAMODB_CALLS: &[&str] = &[
    "BatchExecuteStatement",
    "BatchGetItem",
    "BatchWriteItem",
    "DeleteItem",
    "DescribeTable",
    "ExecuteStatement",
    "ExecuteTransaction",
    "GetItem",
    "PutItem",
    "Query",
    "Scan",
    "TransactGetItems",
    "TransactWriteItems",
    "UpdateItem",
];
/// The operations on messages (SQS API reference, read 2026-11).
const SQS_CALLS: &[&str] = &[
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
    "DeleteMessage",
    "DeleteMessageBatch",
    "GetQueueAttributes",
    "GetQueueUrl",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
    "SendMessageBatch",
];
const CONNECTIONS_CALLS: &[&str] = &["POST", "GET", "DELETE"];
/// What a path of an OpenAI-compatible provider ends with.
const LLM_ENDS: &[&str] = &[
    "/chat/completions",
    "/embeddings",
    "/models",
    "/moderations",
    "/responses",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    seed: u64,
    rules: Vec<Written>,
}

/// A rule as it is written.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Option<String>,
    target: Targets,
    #[serde(default = "any")]
    call: String,
    #[serde(default = "any")]
    function: String,
    fault: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moment: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
    #[serde(default = "always")]
    probability: f64,
    #[serde(default)]
    after: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Status,
    Delay,
    Cut,
    Kill,
    Duplicate,
}

/// One target, or all.
#[derive(Debug, Clone, Copy)]
struct Targets(Option<Target>);

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let target = Target::ALL.into_iter().find(|target| target.word() == word);
        if target.is_none() && word != ANY {
            let problem = format!("{word} is not dynamodb, sqs, connections, llm or \"*\"");
            return Err(serde::de::Error::custom(problem));
        }
        Ok(Self(target))
    }
}

impl Serialize for Targets {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.map_or(ANY, Target::word))
    }
}

fn any() -> String {
    ANY.to_owned()
}

fn always() -> f64 {
    1.0
}

/// A field that is not as it must be.
struct Mistake {
    field: &'static str,
    problem: String,
}

fn mistake<T>(field: &'static str, problem: impl Into<String>) -> Result<T, Mistake> {
    let problem = problem.into();
    Err(Mistake { field, problem })
}

impl Written {
    /// What the rule does, if all of its fields make sense together.
    fn fault(&self, functions: &[String]) -> Result<Fault, Mistake> {
        if !(0.0..=1.0).contains(&self.probability) {
            return mistake("probability", "it is not between 0 and 1");
        }
        if self.times == Some(0) {
            return mistake("times", "it is 0, so the rule would do nothing");
        }
        if self.function != ANY && !functions.contains(&self.function) {
            let known = functions.join(", ");
            return mistake(
                "function",
                format!("there is no {}; there are {known}", self.function),
            );
        }
        self.check_call()?;
        self.check_fields()?;
        let moment = self.moment.unwrap_or(Moment::Before);
        match self.fault {
            Kind::Status => {
                let valid = self.status.filter(|code| (400..600).contains(code));
                match valid.and_then(|code| StatusCode::from_u16(code).ok()) {
                    Some(status) => Ok(Fault::Status {
                        status,
                        error: self.error.clone(),
                        moment,
                    }),
                    None => mistake("status", "a status between 400 and 599 is needed"),
                }
            }
            Kind::Delay => {
                let jitter_ms = self.jitter_ms.unwrap_or(0);
                match self.delay_ms.filter(|&delay_ms| delay_ms <= DELAY_MS_MAX) {
                    None => mistake(
                        "delay_ms",
                        format!("a time of at most {DELAY_MS_MAX} ms is needed"),
                    ),
                    Some(delay_ms) if jitter_ms > delay_ms => {
                        mistake("jitter_ms", "it is more than delay_ms")
                    }
                    Some(delay_ms) => Ok(Fault::Delay {
                        delay_ms,
                        jitter_ms,
                        moment,
                    }),
                }
            }
            Kind::Cut => Ok(Fault::Cut(self.breaking_point(moment)?)),
            Kind::Kill => Ok(Fault::Kill(self.breaking_point(moment)?)),
            Kind::Duplicate => Ok(Fault::Duplicate(self.answer.unwrap_or(Answer::Second))),
        }
    }

    fn breaking_point(&self, moment: Moment) -> Result<Place, Mistake> {
        match (self.bytes, moment) {
            (None, Moment::Before) => Ok(Place::BeforeEffect),
            (None, Moment::After) => Ok(Place::AfterEffect),
            (Some(bytes), Moment::After) => Ok(Place::AfterBytes(bytes)),
            (Some(_), Moment::Before) => mistake(
                "bytes",
                "an answer has bytes only after the effect: say `moment: after`",
            ),
        }
    }

    /// Refuses what the target never calls: such a rule would wait for ever.
    fn check_call(&self) -> Result<(), Mistake> {
        let call = self.call.as_str();
        if call == ANY {
            return Ok(());
        }
        let Some(target) = self.target.0 else {
            return mistake("call", "all targets have only the call \"*\" in common");
        };
        let (known, is_known) = match target {
            Target::Llm => (LLM_ENDS, LLM_ENDS.iter().any(|end| call.ends_with(end))),
            Target::Dynamodb => (DYNAMODB_CALLS, DYNAMODB_CALLS.contains(&call)),
            Target::Sqs => (SQS_CALLS, SQS_CALLS.contains(&call)),
            Target::Connections => (CONNECTIONS_CALLS, CONNECTIONS_CALLS.contains(&call)),
        };
        if is_known {
            return Ok(());
        }
        let what = match target {
            Target::Dynamodb | Target::Sqs => "no operation of it that functions call",
            Target::Connections => "no method of it",
            Target::Llm => "no path of it, such as /v1/chat/completions",
        };
        let known = known.join(", ");
        mistake("call", format!("{call} is {what}; there are {known}"))
    }

    /// Refuses fields that another kind of fault has: this one would not heed them.
    fn check_fields(&self) -> Result<(), Mistake> {
        use Kind::{Cut, Delay, Duplicate, Kill, Status};
        let fields: [(&'static str, bool, &[Kind]); 7] = [
            ("status", self.status.is_some(), &[Status]),
            ("error", self.error.is_some(), &[Status]),
            ("moment", self.moment.is_some(), &[Status, Delay, Cut, Kill]),
            ("delay_ms", self.delay_ms.is_some(), &[Delay]),
            ("jitter_ms", self.jitter_ms.is_some(), &[Delay]),
            ("bytes", self.bytes.is_some(), &[Cut, Kill]),
            ("answer", self.answer.is_some(), &[Duplicate]),
        ];
        let stray = fields
            .iter()
            .find(|(_, is_there, kinds)| *is_there && !kinds.contains(&self.fault));
        match stray {
            Some((field, ..)) => mistake(field, "this kind of fault does not have it"),
            None => Ok(()),
        }
    }
}

/// Where in the file something is, in words.
fn place(path: &serde_path_to_error::Path) -> String {
    let mut place = "the plan".to_owned();
    for segment in path {
        match segment {
            Segment::Seq { index } => place = format!("rule {}", index.saturating_add(1)),
            Segment::Map { key } if key == "rules" => {}
            Segment::Map { key } => place = format!("{place}, field {key}"),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    place
}

impl Moment {
    /// How long the delays among `faults` at this moment take together.
    pub(super) fn delay(self, faults: &[Fault]) -> Duration {
        let delays_ms = faults.iter().filter_map(|fault| match *fault {
            Fault::Delay {
                delay_ms, moment, ..
            } if moment == self => Some(delay_ms),
            _ => None,
        });
        Duration::from_millis(delays_ms.fold(0, u64::saturating_add))
    }
}

#[cfg(test)]
mod tests;
