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
    pub(crate) const ALL: [Self; 21] = [
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
    ];

    /// The line that is missing.
    pub(crate) fn line(self) -> &'static str {
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
