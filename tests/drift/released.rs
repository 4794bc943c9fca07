//! Against the last release, which `proto/released` holds: what its clients, its workers still running and
//! its stored items rely on is still there. Each rule is shown to catch what it is for.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, prelude::BASE64_STANDARD};
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, MessageDescriptor, Value as Field,
};
use serde_json::Value;
use sparkle_core::frame::Format;
use sparkle_wire::{
    frame::{decode, decode_stored},
    job::{TURN_JOB_VERSION, decode_turn},
};

use crate::{
    document::{Sender, examples, messages_of, validator},
    items::{Layouts, heads, keys, layouts, tables, template},
    messages, read, snapshot, yaml,
};

const HOW_TO_GO_ON: &str = "\nSee proto/README.md, \"What may change\".";

/// What of `released` is broken in `present`, each with why it matters.
pub(crate) fn broken_messages(released: &DescriptorPool, present: &DescriptorPool) -> Vec<String> {
    let mut broken = Vec::new();
    for old in released
        .all_messages()
        .filter(|message| message.package_name().starts_with("sparkle."))
    {
        let name = old.full_name();
        let Some(new) = present.get_message_by_name(name) else {
            broken.push(format!(
                "message {name} is gone: frames and jobs of the last release carry it"
            ));
            continue;
        };
        for field in old.fields() {
            let (number, label) = (
                field.number(),
                format!("{name}.{} = {}", field.name(), field.number()),
            );
            let Some(now) = new.get_field(number) else {
                if !is_retired(&old, &new, number) {
                    broken.push(format!("{label} is gone: mark it deprecated for a release, then reserve number and name"));
                }
                continue;
            };
            if now.name() != field.name() {
                broken.push(format!(
                    "{label} is now called {}: its JSON name changed",
                    now.name()
                ));
            }
            let (was, is) = (kind(&field), kind(&now));
            if was != is {
                broken.push(format!(
                    "{label} was {was} and is {is}: old bytes read wrongly"
                ));
            }
        }
        for range in old.reserved_ranges() {
            let reused = new.fields().find(|field| range.contains(&field.number()));
            if let Some(field) = reused {
                broken.push(format!(
                    "{name}.{} takes the retired number {}",
                    field.name(),
                    field.number()
                ));
            }
            let is_kept = range
                .clone()
                .all(|n| new.reserved_ranges().any(|range| range.contains(&n)));
            if !is_kept {
                broken.push(format!(
                    "{name} no longer reserves {range:?}: somebody could take it"
                ));
            }
        }
        for retired in old.reserved_names() {
            if !new.reserved_names().any(|name| name == retired) {
                broken.push(format!(
                    "{name} no longer reserves the name {retired}: somebody could take it"
                ));
            }
        }
    }
    broken
}

/// Whether a field went the way that fields of jobs may go: deprecated in the last release, so that nobody
/// who still runs needs it, and its number and name never to be taken again. Clients are out of reach, so
/// fields of the public contract stay.
fn is_retired(old: &MessageDescriptor, new: &MessageDescriptor, number: u32) -> bool {
    let field = old.get_field(number).expect("a field of the old message");
    let is_deprecated = field
        .field_descriptor_proto()
        .options
        .as_ref()
        .is_some_and(|o| o.deprecated());
    let is_reserved = new.reserved_ranges().any(|range| range.contains(&number))
        && new.reserved_names().any(|name| name == field.name());
    old.package_name() == "sparkle.job" && is_deprecated && is_reserved
}

fn kind(field: &prost_reflect::FieldDescriptor) -> String {
    let list = if field.cardinality() == Cardinality::Repeated {
        "repeated "
    } else {
        ""
    };
    let part = field
        .containing_oneof()
        .map_or(String::new(), |oneof| format!(" in {}", oneof.name()));
    format!("{list}{:?}{part}", field.kind())
}

/// What of a released document is broken in the present one.
pub(crate) fn broken_document(released: &Value, present: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    for sender in [Sender::Client, Sender::Server] {
        let now = messages_of(present, sender);
        for (kind, old) in messages_of(released, sender) {
            let Some(new) = now.get(&kind) else {
                broken.push(format!(
                    "{sender:?}s of the last release send {kind}, which is gone"
                ));
                continue;
            };
            if old["x-protobuf"] != new["x-protobuf"] {
                let (was, is) = (&old["x-protobuf"], &new["x-protobuf"]);
                broken.push(format!("the payload of {kind} was {was} and is {is}"));
            }
            let own = |message: &Value| message["payload"]["allOf"][1].clone();
            broken.extend(broken_promise(&kind, sender, &own(&old), &own(new)));
        }
    }
    let schemas = |document: &Value| {
        document["components"]["schemas"]
            .as_object()
            .unwrap()
            .clone()
    };
    let now = schemas(present);
    let is_sent_by_clients = |name: &str| {
        let of_clients = messages_of(released, Sender::Client).into_values();
        name == "FromClient"
            || of_clients
                .into_iter()
                .any(|message| message["x-protobuf"] == name)
    };
    for (name, old) in schemas(released) {
        let Some(new) = now.get(&name) else {
            broken.push(format!("the schema {name} is gone"));
            continue;
        };
        let sender = if is_sent_by_clients(&name) {
            Sender::Client
        } else {
            Sender::Server
        };
        broken.extend(broken_promise(&name, sender, &old, new));
        for (field, old) in old["properties"].as_object().into_iter().flatten() {
            let new = &new["properties"][field];
            broken.extend(narrowed(&format!("{name}.{field}"), old, new));
        }
        for (code, old) in old["x-codes"].as_object().into_iter().flatten() {
            if new["x-codes"][code]["retryable"] != old["retryable"] {
                broken.push(format!(
                    "the error code {code} is gone or no longer as retryable as it was"
                ));
            }
        }
    }
    broken
}

/// Where a client must now send what it might leave out, or may now miss what it could rely on.
fn broken_promise(label: &str, sender: Sender, old: &Value, new: &Value) -> Vec<String> {
    let required = |schema: &Value| -> BTreeSet<String> {
        let names = schema["required"].as_array().into_iter().flatten();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let (was, is) = (required(old), required(new));
    match sender {
        Sender::Client => is.difference(&was).map(|field| format!("{label}.{field} is now required, which clients of the last release may leave out")).collect(),
        Sender::Server => was.difference(&is).map(|field| format!("{label}.{field} is no longer required, which clients of the last release rely on")).collect(),
    }
}

/// Where a field takes less than it took.
fn narrowed(label: &str, old: &Value, new: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    if new.is_null() {
        return vec![format!("{label} is gone")];
    }
    for list in ["enum", "x-words"] {
        let now = new[list].as_array();
        for word in old[list].as_array().into_iter().flatten() {
            if now.is_some_and(|now| !now.contains(word)) {
                broken.push(format!("{label} no longer knows {word}"));
            }
        }
    }
    for limit in ["maxLength", "maximum", "x-bytes-max"] {
        let (was, is) = (
            old[limit].as_i64().unwrap_or(i64::MAX),
            new[limit].as_i64().unwrap_or(i64::MAX),
        );
        if is < was {
            broken.push(format!("{label}: {limit} went from {was} to {is}"));
        }
    }
    for rule in ["type", "format", "const", "pattern", "x-number", "$ref"] {
        if old[rule] != new[rule] {
            broken.push(format!(
                "{label}: {rule} was {} and is {}",
                old[rule], new[rule]
            ));
        }
    }
    broken
}

/// What of the released tables is broken in the present ones.
pub(crate) fn broken_tables(
    released: &BTreeMap<String, Value>,
    present: &BTreeMap<String, Value>,
) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, old) in released {
        let Some(new) = present.get(id) else {
            broken.push(format!("{id} is gone with all that is stored in it"));
            continue;
        };
        if keys(old, &old["KeySchema"]) != keys(new, &new["KeySchema"]) {
            broken.push(format!(
                "{id} has another key schema: CloudFormation would replace the table, empty"
            ));
        }
        if old["TimeToLiveSpecification"] != new["TimeToLiveSpecification"] {
            broken.push(format!(
                "{id} expires by another attribute: stored items would stay or go too early"
            ));
        }
        if old["LocalSecondaryIndexes"] != new["LocalSecondaryIndexes"] {
            broken.push(format!(
                "{id} has other local indexes: CloudFormation would replace the table, empty"
            ));
        }
        let indexes = |table: &Value| {
            table["GlobalSecondaryIndexes"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        };
        for index in indexes(old) {
            if !indexes(new).contains(&index) {
                broken.push(format!(
                    "{id}: the index {} changed, which workers of the last release query",
                    index["IndexName"]
                ));
            }
        }
        if old["TableName"] != new["TableName"] {
            broken.push(format!(
                "{id} has another name: CloudFormation would replace the table, empty"
            ));
        }
    }
    broken
}

/// What of the released item layouts is broken in the present ones.
pub(crate) fn broken_items(released: &Layouts, present: &Layouts) -> Vec<String> {
    let mut broken = Vec::new();
    for (table, old) in released {
        let Some(new) = present.get(table) else {
            broken.push(format!("{table} is no longer documented"));
            continue;
        };
        for (name, was) in old {
            match new.get(name) {
                None if was.meaning.contains("retired") => {}
                None => broken.push(format!(
                    "{table}.{name} is gone: workers of the last release read it; say \"retired\" for a release first"
                )),
                Some(is) if (&is.kind, &is.role) != (&was.kind, &was.role) => broken.push(format!(
                    "{table}.{name} was {} {} and is {} {}: stored items read wrongly",
                    was.kind, was.role, is.kind, is.role
                )),
                Some(_) => {}
            }
        }
        for (name, attribute) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
            if !attribute.meaning.contains("absent") {
                broken.push(format!(
                    "{table}.{name} is new: stored items have none, so say what it means when \"absent\""
                ));
            }
        }
    }
    broken
}

fn assert_whole(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}{HOW_TO_GO_ON}", broken.join("\n"));
}

#[test]
fn messages_are_what_the_last_release_reads_and_writes() {
    assert_whole(&broken_messages(
        &messages("proto/released"),
        &messages("proto"),
    ));
}

#[test]
fn the_document_promises_what_the_last_release_promised() {
    let (released, present) = (
        yaml("proto/released/asyncapi.yaml"),
        yaml("proto/asyncapi.yaml"),
    );
    assert_whole(&broken_document(&released, &present));
}

#[test]
fn tables_and_items_are_what_the_last_release_reads_and_writes() {
    let (released, present) = (
        template("proto/released/template.yaml"),
        template("template.yaml"),
    );
    assert_whole(&broken_tables(&tables(&released), &tables(&present)));
    assert_whole(&broken_items(
        &layouts(&read("proto/released/items.md")),
        &layouts(&heads()),
    ));
}

#[test]
fn frames_that_the_last_release_stored_are_read_as_it_read_them() {
    let stored = snapshot("proto/released/frames.protobuf.snap");
    let meant = snapshot("proto/released/frames.json.snap");
    assert!(!stored.is_empty() && stored.len() == meant.len());
    for (stored, meant) in stored.iter().zip(meant) {
        let bytes = BASE64_STANDARD.decode(stored).unwrap();
        assert_eq!(decode_stored(&bytes, Format::default()), Some(meant));
    }
}

#[test]
fn frames_that_clients_of_the_last_release_know_are_still_valid() {
    let document = yaml("proto/asyncapi.yaml");
    let of_server = messages_of(&document, Sender::Server);
    for line in snapshot("proto/released/frames.json.snap") {
        let frame: Value = serde_json::from_str(&line).unwrap();
        let message = &of_server[frame["type"].as_str().unwrap()];
        assert!(validator(&document, message).is_valid(&frame), "{frame}");
    }
    let released = yaml("proto/released/asyncapi.yaml");
    for message in messages_of(&released, Sender::Client).values() {
        for example in examples(message) {
            assert!(decode(&example.to_string()).is_ok(), "{example}");
        }
    }
}

#[test]
fn jobs_that_the_last_release_queued_are_read_and_ours_are_of_a_version_that_it_reads_or_the_next()
{
    let released = messages("proto/released")
        .get_message_by_name("sparkle.job.TurnJob")
        .unwrap();
    for body in snapshot("proto/released/jobs.snap") {
        let turn = decode_turn(&body).expect("a job of the last release");
        let fields =
            DynamicMessage::decode(released.clone(), &*BASE64_STANDARD.decode(&body).unwrap())
                .unwrap();
        let text = |name: &str| match fields.get_field_by_name(name).as_deref() {
            Some(Field::String(text)) => text.clone(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(text("message"), turn.message);
        assert_eq!(text("user_id"), turn.user_id.as_str());
        assert_eq!(text("request_id"), turn.request_id.as_str());
        let version = fields
            .get_field_by_name("version")
            .unwrap()
            .as_u32()
            .unwrap();
        assert!(
            (version..=version + 1).contains(&TURN_JOB_VERSION),
            "{version} to {TURN_JOB_VERSION}"
        );
    }
}
