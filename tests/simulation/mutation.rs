//! Safety lines taken out at the wire, one at a time: each must make the simulation fail.

use serde_json::Value;

use crate::engines::{Call, Service};

/// A safety line that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Frames are recorded whoever holds the lease.
    RecordUnfenced,
    /// Frames are recorded of a turn that is not the first.
    RecordAnyTurn,
    /// Frames are recorded although newer ones are.
    RecordOlder,
    /// A turn is ended whoever holds the lease.
    FinishUnfenced,
    /// A turn is ended that is not the first.
    FinishAnyTurn,
    /// A turn is ended that is over.
    FinishTwice,
    /// A turn is ended although somebody has just asked to listen.
    FinishUnheard,
    /// Who is heard already asks again.
    AskTwice,
    /// A conversation grows whatever its length is.
    AppendAnyLength,
    /// A lease is taken that is another's.
    AcquireLive,
    /// A request is accepted that was accepted before.
    BeginTwice,
    /// Listeners are taken whoever holds the lease.
    TakeUnfenced,
    /// Nobody keeps the message of a running turn hidden for a short while only.
    NotHeld,
    /// Frames that the lease forgets are not kept.
    NotKept,
    /// Reads are of a replica that is behind.
    StaleReads,
    /// Queued messages are not recognized when they come again.
    SendTwice,
    /// Each queued message is in a group of its own.
    NoGroups,
    /// A ring counts that another one is ahead of.
    RingFreely,
    /// Transactions are not recognized when they come again.
    NoTokens,
    /// Nobody queues a turn that nobody runs.
    NeverRing,
    /// Nobody hears that an answer is to be stopped.
    NeverCancel,
    /// A call is begun by whoever had its turn once.
    IntentUnfenced,
    /// A question is asked for others whoever is asking it already.
    ClaimTaken,
    /// An answer is kept by whoever has asked once.
    KeepUnfenced,
    /// All that keeps a copy of a turn's end from ending the next turn, but for the line that is kept.
    EndAgain(Option<&'static Self>),
    /// All that keeps a copy of a turn's beginning from beginning it again, but for the line that is kept.
    BeginAgain(Option<&'static Self>),
}

/// What becomes of a call under a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutated {
    /// Nothing.
    Untouched,
    /// It asks something else now.
    Changed,
    /// It is answered as if it were done.
    Pretended,
    /// It is answered by a replica that is behind.
    Stale,
}

impl Mutation {
    pub(crate) const ALL: [Self; 26] = [
        Self::RecordUnfenced,
        Self::RecordAnyTurn,
        Self::RecordOlder,
        Self::FinishUnfenced,
        Self::FinishAnyTurn,
        Self::FinishTwice,
        Self::FinishUnheard,
        Self::AskTwice,
        Self::AppendAnyLength,
        Self::AcquireLive,
        Self::BeginTwice,
        Self::TakeUnfenced,
        Self::NotHeld,
        Self::NotKept,
        Self::StaleReads,
        Self::SendTwice,
        Self::NoGroups,
        Self::RingFreely,
        Self::NoTokens,
        Self::NeverRing,
        Self::NeverCancel,
        Self::IntentUnfenced,
        Self::ClaimTaken,
        Self::KeepUnfenced,
        Self::EndAgain(None),
        Self::BeginAgain(None),
    ];

    /// What is taken out together, since each of these holds what the others hold, too.
    fn group(self) -> &'static [Self] {
        match self {
            Self::EndAgain(_) => &[
                Self::FinishAnyTurn,
                Self::FinishTwice,
                Self::AppendAnyLength,
                Self::NoTokens,
            ],
            Self::BeginAgain(_) => &[Self::BeginTwice, Self::NoTokens],
            _ => &[],
        }
    }

    fn together(self) -> impl Iterator<Item = &'static Self> {
        let kept = match self {
            Self::EndAgain(kept) | Self::BeginAgain(kept) => kept,
            _ => None,
        };
        let group = self.group().iter();
        group.filter(move |&part| Some(part) != kept)
    }

    /// Each line that is taken out together with others, and the mutation that leaves it alone in place.
    pub(crate) fn each_alone(self) -> impl Iterator<Item = (&'static str, Self)> {
        self.group().iter().map(move |kept| {
            let others = match self {
                Self::BeginAgain(_) => Self::BeginAgain(Some(kept)),
                _ => Self::EndAgain(Some(kept)),
            };
            (kept.line(), others)
        })
    }

    /// The lines that hold what this one holds, where it must not be missed.
    pub(crate) fn held_by(self) -> Vec<&'static str> {
        let others: &[Self] = match self {
            Self::FinishAnyTurn => &[Self::FinishTwice, Self::AppendAnyLength, Self::NoTokens],
            Self::FinishTwice => &[Self::FinishAnyTurn, Self::AppendAnyLength, Self::NoTokens],
            Self::NoTokens => &[Self::FinishAnyTurn, Self::FinishTwice, Self::BeginTwice],
            _ => &[],
        };
        others.iter().map(|other| other.line()).collect()
    }

    /// What is missing, in words.
    pub(crate) fn shown(self) -> String {
        let together: Vec<&str> = self.together().map(|part| part.line()).collect();
        match together[..] {
            [] => self.line().to_owned(),
            _ => together.join(", and without "),
        }
    }

    fn line(self) -> &'static str {
        match self {
            Self::RecordUnfenced => "leases.record: fence = :fence",
            Self::RecordAnyTurn => "leases.record: waiting[0] = :request",
            Self::RecordOlder => "leases.record: last_seq < :last_seq",
            Self::FinishUnfenced => "leases.finish: fence = :fence",
            Self::FinishAnyTurn => "leases.finish: waiting[0] = :request",
            Self::FinishTwice => "turns.finish: state = queued",
            Self::FinishUnheard => "leases.finish: asked is as known",
            Self::AskTwice => "leases.ask: NOT contains(listening, :this)",
            Self::AppendAnyLength => "conversations.append: messages = :length",
            Self::AcquireLive => "leases.acquire: leased_until <= :now",
            Self::BeginTwice => "turns.begin: attribute_not_exists(request_id)",
            Self::TakeUnfenced => "leases.take: fence = :fence",
            Self::NotHeld => "queue.hold",
            Self::NotKept => "turns.keep",
            Self::StaleReads => "ConsistentRead",
            Self::SendTwice => "queue.send: MessageDeduplicationId",
            Self::NoGroups => "queue.send: MessageGroupId",
            Self::RingFreely => "leases.note_ring: rings < :rings",
            Self::NoTokens => "ClientRequestToken",
            Self::NeverRing => "queue.send_again",
            Self::NeverCancel => "leases.cancel",
            Self::IntentUnfenced => "intents.begin: the right to the turn",
            Self::ClaimTaken => "answers.claim: nobody else is asking",
            Self::KeepUnfenced => "answers.keep: flight = :flight",
            Self::EndAgain(_) => "what keeps a turn from being ended again",
            Self::BeginAgain(_) => "what keeps a turn from being begun again",
        }
    }

    /// Changes a call as if the line were not there. `number` is another for each call.
    pub(crate) fn apply(self, call: &mut Call, number: u64) -> Mutated {
        let update = |call: &mut Call, mark: &str, taken: &str, unused: &[&str]| {
            strip(call, "LeasesTable", mark, taken, unused)
        };
        let is = |call: &Call, operation: &str| call.operation == operation;
        match self {
            Self::RecordUnfenced => update(
                call,
                "last_seq < :last_seq",
                "fence = :fence AND ",
                &[":fence"],
            ),
            Self::RecordAnyTurn => {
                let turn = " AND waiting[0] = :request";
                update(call, "last_seq < :last_seq", turn, &[":request"])
            }
            Self::RecordOlder => update(
                call,
                "last_seq < :last_seq",
                " AND last_seq < :last_seq",
                &[],
            ),
            Self::FinishUnfenced => update(call, "asked", "fence = :fence AND ", &[":fence"]),
            Self::FinishAnyTurn => update(call, "asked", "waiting[0] = :request AND ", &[]),
            Self::FinishUnheard => update(call, "asked", " AND attribute_not_exists(asked)", &[]),
            Self::AskTwice => update(
                call,
                ":most",
                " AND NOT contains(listening, :this)",
                &[":this"],
            ),
            Self::FinishTwice => strip(
                call,
                "TurnsTable",
                "#state = :queued",
                "#state = :queued",
                &[":queued"],
            ),
            Self::AppendAnyLength => {
                let first = "attribute_not_exists(session_id)";
                let later = strip(
                    call,
                    "SessionsTable",
                    "messages = :length",
                    "messages = :length",
                    &[":length"],
                );
                match later {
                    Mutated::Untouched => strip(call, "SessionsTable", first, first, &[]),
                    changed => changed,
                }
            }
            Self::AcquireLive => update(
                call,
                "contains(waiting, :request)",
                " AND (leased_until <= :now OR leased_until > :absurd)",
                &[":now", ":absurd"],
            ),
            Self::BeginTwice => {
                let once = "attribute_not_exists(request_id) OR expires_at <= :now";
                strip(call, "TurnsTable", once, once, &[":now"])
            }
            Self::TakeUnfenced if names(call, ":listening") => {
                update(call, "fence = :fence", "fence = :fence AND ", &[":fence"])
            }
            Self::NotHeld if is(call, "ChangeMessageVisibility") => Mutated::Pretended,
            Self::NotKept if is(call, "PutItem") && call.table() == "FramesTable" => {
                Mutated::Pretended
            }
            Self::StaleReads if is(call, "GetItem") || is(call, "Query") => Mutated::Stale,
            Self::SendTwice if is(call, "SendMessage") => {
                set(call, "MessageDeduplicationId", format!("free-{number}"))
            }
            Self::NoGroups if is(call, "SendMessage") => {
                set(call, "MessageGroupId", format!("free-{number}"))
            }
            Self::RingFreely => {
                let once = "attribute_not_exists(rings) OR rings < :rings";
                update(call, once, once, &[])
            }
            Self::NoTokens if is(call, "TransactWriteItems") => {
                call.rewrite(|body| {
                    body.as_object_mut().unwrap().remove("ClientRequestToken");
                });
                Mutated::Changed
            }
            Self::NeverRing if is(call, "SendMessage") => {
                let id = call.body["MessageDeduplicationId"]
                    .as_str()
                    .unwrap_or_default();
                if id.ends_with("-0") {
                    Mutated::Untouched
                } else {
                    Mutated::Pretended
                }
            }
            Self::NeverCancel if is(call, "UpdateItem") && updates(call, "ADD cancelled") => {
                Mutated::Pretended
            }
            Self::IntentUnfenced if is(call, "TransactWriteItems") => {
                let mut is_changed = false;
                let mut body = call.body.clone();
                if let Some(items) = body["TransactItems"].as_array_mut() {
                    let all = items.len();
                    items.retain(|item| item.get("ConditionCheck").is_none());
                    is_changed = items.len() < all;
                }
                if !is_changed {
                    return Mutated::Untouched;
                }
                call.rewrite(|asked| *asked = body);
                Mutated::Changed
            }
            Self::ClaimTaken => {
                let free = " AND (attribute_not_exists(flight_until) OR flight_until <= :now OR \
                            flight_until > :absurd OR flight = :flight)";
                strip(
                    call,
                    "CacheTable",
                    "attribute_not_exists(answer)",
                    free,
                    &[":now", ":absurd"],
                )
            }
            Self::KeepUnfenced if updates(call, "SET question") => {
                let fence = "flight = :flight";
                strip(call, "CacheTable", fence, fence, &[":flight"])
            }
            Self::EndAgain(_) | Self::BeginAgain(_) => {
                let mutated = self.together().map(|part| part.apply(call, number));
                mutated.fold(Mutated::Untouched, |all, one| match one {
                    Mutated::Untouched => all,
                    one => one,
                })
            }
            _ => Mutated::Untouched,
        }
    }
}

fn updates(call: &Call, how: &str) -> bool {
    let update = call.body["UpdateExpression"].as_str().unwrap_or_default();
    update.starts_with(how)
}

fn names(call: &Call, value: &str) -> bool {
    call.body["ExpressionAttributeValues"].get(value).is_some()
}

fn set(call: &mut Call, member: &str, value: String) -> Mutated {
    call.rewrite(|body| body[member] = Value::String(value));
    Mutated::Changed
}

/// Takes a part out of the condition on a table that holds `mark`, and the values that only it names.
fn strip(call: &mut Call, table: &str, mark: &str, taken: &str, unused: &[&str]) -> Mutated {
    if call.service != Service::Dynamo {
        return Mutated::Untouched;
    }
    let mut is_changed = false;
    let mut body = call.body.clone();
    let mut change = |part: &mut Value| {
        let condition = part["ConditionExpression"].as_str().unwrap_or_default();
        if part["TableName"] != table || !condition.contains(mark) || !condition.contains(taken) {
            return;
        }
        let left = condition.replacen(taken, "", 1);
        let part = part.as_object_mut().unwrap();
        match left.is_empty() {
            true => drop(part.remove("ConditionExpression")),
            false => drop(part.insert("ConditionExpression".to_owned(), Value::String(left))),
        }
        let values = part.get_mut("ExpressionAttributeValues");
        if let Some(values) = values.and_then(Value::as_object_mut) {
            values.retain(|name, _| !unused.contains(&name.as_str()));
            if values.is_empty() {
                part.remove("ExpressionAttributeValues");
            }
        }
        is_changed = true;
    };
    if call.operation == "TransactWriteItems" {
        for item in body["TransactItems"].as_array_mut().into_iter().flatten() {
            for (_, part) in item.as_object_mut().into_iter().flatten() {
                change(part);
            }
        }
    } else {
        change(&mut body);
    }
    if !is_changed {
        return Mutated::Untouched;
    }
    call.rewrite(|asked| *asked = body);
    Mutated::Changed
}
