//! Each rule against the last release catches what it is for: contracts broken on purpose, in copies.

use std::{fs, path::PathBuf};

use prost_reflect::DescriptorPool;
use serde_json::{Value, json};
use sparkle_tests::{Folder, root};

use crate::{
    items::{heads, layouts, tables, template},
    messages,
    released::{broken_document, broken_items, broken_messages, broken_tables},
    yaml,
};

/// A text with one part replaced, which must be there.
fn replaced(text: &str, what: &str, with: &str) -> String {
    assert!(text.contains(what), "{what} is not there to be changed");
    text.replacen(what, with, 1)
}

/// A copy of `proto/` with parts of one file replaced.
fn changed_messages(file: &str, changes: &[(&str, &str)]) -> (DescriptorPool, Folder) {
    let folder = Folder::new().unwrap();
    let place = |name: &str| -> PathBuf { folder.path().join("sparkle").join(name) };
    fs::create_dir_all(place("")).unwrap();
    for name in ["ws.proto", "job.proto"] {
        let mut text = fs::read_to_string(root().join("proto/sparkle").join(name)).unwrap();
        if name == file {
            for (what, with) in changes {
                text = replaced(&text, what, with);
            }
        }
        fs::write(place(name), text).unwrap();
    }
    (messages(folder.path()), folder)
}

/// Asserts that exactly this is found to be broken.
fn assert_found(broken: &[String], expected: &[&str], change: &str) {
    assert_eq!(broken.len(), expected.len(), "{change}: {broken:?}");
    for part in expected {
        assert!(
            broken.iter().any(|line| line.contains(part)),
            "{change}: no {part} in {broken:?}"
        );
    }
}

#[test]
fn breaks_of_messages_are_found() {
    let present = messages("proto");
    #[rustfmt::skip]
    let cases: [(&str, &str, &str, Option<&str>); 14] = [
        ("ws.proto", "string text = 1;", "string words = 1;", Some("sparkle.ws.Delta.text = 1 is now called words")),
        ("ws.proto", "bool restart = 2;", "bool restart = 3;", Some("sparkle.ws.Delta.restart = 2 is gone")),
        ("ws.proto", "uint32 seq = 7;", "uint64 seq = 7;", Some("seq = 7 was uint32 and is uint64")),
        ("ws.proto", "uint32 last_seq = 3;", "int32 last_seq = 3;", Some("last_seq = 3 was uint32 and is int32")),
        ("ws.proto", "  string details = 2;", "", Some("sparkle.ws.Status.details = 2 is gone")),
        ("ws.proto", "  string details = 2;", "  reserved 2; reserved \"details\";", Some("details = 2 is gone")),
        ("ws.proto", "string code = 1;", "repeated string code = 1;", Some("code = 1 was string and is repeated string")),
        ("ws.proto", "bool duplicate = 1;", "oneof which { bool duplicate = 1; }", Some("duplicate = 1 was bool and is bool in which")),
        ("ws.proto", "message Pong {}", "", Some("message sparkle.ws.Pong is gone")),
        ("ws.proto", "message Pong {}", "message Pong { string words = 1; }", None),
        ("ws.proto", "string details = 2;", "string details = 2; uint32 percent = 3;", None),
        ("job.proto", "string codec = 10;", "string codec = 20;", Some("sparkle.job.TurnJob.codec = 10 is gone")),
        ("job.proto", "int64 accepted_at = 12;", "string accepted_at = 12;", Some("accepted_at = 12 was int64 and is string")),
        ("job.proto", "string role = 7;", "reserved 7; reserved \"role\";", Some("role = 7 is gone: mark it deprecated")),
    ];
    for (file, what, with, expected) in cases {
        let (changed, _folder) = changed_messages(file, &[(what, with)]);
        assert_found(
            &broken_messages(&present, &changed),
            expected.as_slice(),
            with,
        );
    }
    let renamed = [("package sparkle.ws;", "package sparkle.ws3;")];
    let (changed, _folder) = changed_messages("ws.proto", &renamed);
    assert!(
        broken_messages(&present, &changed).len() > 10,
        "every message is gone"
    );
}

#[test]
fn a_jobs_field_may_retire_over_two_releases_and_its_number_stays_taken() {
    let (deprecated, _one) = changed_messages(
        "job.proto",
        &[("string role = 7;", "string role = 7 [deprecated = true];")],
    );
    let (retired, _two) = changed_messages(
        "job.proto",
        &[("string role = 7;", "reserved 7; reserved \"role\";")],
    );
    let (reused, _three) =
        changed_messages("job.proto", &[("string role = 7;", "string part = 7;")]);
    assert_found(
        &broken_messages(&messages("proto"), &deprecated),
        &[],
        "deprecated",
    );
    assert_found(&broken_messages(&deprecated, &retired), &[], "retired");
    let expected = [
        "takes the retired number 7",
        "no longer reserves",
        "the name role",
    ];
    assert_found(&broken_messages(&retired, &reused), &expected, "reused");
}

/// The value at a path, to be changed.
fn at<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    value
        .pointer_mut(path)
        .unwrap_or_else(|| panic!("no {path}"))
}

fn remove(value: &mut Value, path: &str, name: &str) {
    let removed = match at(value, path) {
        Value::Object(entries) => entries.remove(name),
        Value::Array(items) => {
            let place = items.iter().position(|item| item == name);
            place.map(|place| items.remove(place))
        }
        _ => None,
    };
    assert!(removed.is_some(), "no {name} at {path}");
}

#[test]
fn breaks_of_the_document_are_found() {
    type Change = fn(&mut Value);
    const SCHEMAS: &str = "/components/schemas";
    let cases: [(Change, &str); 16] = [
        (
            |d| remove(d, "/components/messages", "cancel"),
            "Clients of the last release send cancel",
        ),
        (
            |d| remove(d, "/components/messages", "usage"),
            "Servers of the last release send usage",
        ),
        (
            |d| *at(d, "/components/messages/ack/x-protobuf") = "Done".into(),
            "the payload of ack was \"Ack\" and is \"Done\"",
        ),
        (
            |d| {
                remove(
                    d,
                    "/components/messages/ack/payload/allOf/1/required",
                    "stream",
                )
            },
            "ack.stream is no longer required",
        ),
        (
            |d| {
                *at(d, "/components/messages/ping/payload/allOf/1") = {
                    let mut own = at(d, "/components/messages/ping/payload/allOf/1").clone();
                    own["required"] = json!(["payload"]);
                    own
                }
            },
            "ping.payload is now required",
        ),
        (|d| remove(d, SCHEMAS, "Ack"), "the schema Ack is gone"),
        (
            |d| remove(d, "/components/schemas/ChatMessage/properties", "role"),
            "ChatMessage.role is gone",
        ),
        (
            |d| {
                *at(d, "/components/schemas/HistoryRequest/required") =
                    json!(["session_id", "limit"])
            },
            "HistoryRequest.limit is now required",
        ),
        (
            |d| remove(d, "/components/schemas/Done/required", "finish_reason"),
            "Done.finish_reason is no longer required",
        ),
        (
            |d| {
                remove(
                    d,
                    "/components/schemas/Done/properties/finish_reason/x-words",
                    "length",
                )
            },
            "no longer knows \"length\"",
        ),
        (
            |d| {
                remove(
                    d,
                    "/components/schemas/ChatMessage/properties/cache/enum",
                    "only",
                )
            },
            "cache no longer knows \"only\"",
        ),
        (
            |d| {
                *at(
                    d,
                    "/components/schemas/ChatMessage/properties/message/maxLength",
                ) = 1_000.into()
            },
            "maxLength went from 32768 to 1000",
        ),
        (
            |d| {
                *at(
                    d,
                    "/components/schemas/HistoryRequest/properties/limit/maximum",
                ) = 50.into()
            },
            "maximum went from 100 to 50",
        ),
        (
            |d| *at(d, "/components/schemas/Usage/properties/cost_microusd/type") = "number".into(),
            "type was \"integer\" and is \"number\"",
        ),
        (
            |d| remove(d, "/components/schemas/ErrorCode/x-codes", "TIMEOUT"),
            "the error code TIMEOUT",
        ),
        (
            |d| *at(d, "/components/schemas/ErrorCode/x-codes/TIMEOUT/retryable") = false.into(),
            "no longer as retryable",
        ),
    ];
    let present = yaml("proto/asyncapi.yaml");
    assert_found(&broken_document(&present, &present), &[], "nothing");
    for (change, expected) in cases {
        let mut changed = present.clone();
        change(&mut changed);
        assert_found(&broken_document(&present, &changed), &[expected], expected);
    }
}

#[test]
fn breaks_of_tables_are_found() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 6] = [
        (
            |t| remove(t, "/Resources", "RatesTable"),
            "RatesTable is gone",
        ),
        (
            |t| {
                *at(
                    t,
                    "/Resources/FramesTable/Properties/KeySchema/1/AttributeName",
                ) = "turn".into()
            },
            "FramesTable has another key schema",
        ),
        (
            |t| {
                *at(
                    t,
                    "/Resources/FramesTable/Properties/AttributeDefinitions/1/AttributeType",
                ) = "S".into()
            },
            "FramesTable has another key schema",
        ),
        (
            |t| {
                remove(
                    t,
                    "/Resources/TurnsTable/Properties",
                    "TimeToLiveSpecification",
                )
            },
            "TurnsTable expires by another",
        ),
        (
            |t| {
                remove(
                    t,
                    "/Resources/SessionsTable/Properties",
                    "LocalSecondaryIndexes",
                )
            },
            "other local indexes",
        ),
        (
            |t| {
                *at(t, "/Resources/RatesTable/Properties") = {
                    let mut properties = at(t, "/Resources/RatesTable/Properties").clone();
                    properties["TableName"] = "rates".into();
                    properties
                }
            },
            "RatesTable has another name",
        ),
    ];
    let present = template("template.yaml");
    assert_found(
        &broken_tables(&tables(&present), &tables(&present)),
        &[],
        "nothing",
    );
    for (change, expected) in cases {
        let mut changed = present.clone();
        change(&mut changed);
        assert_found(
            &broken_tables(&tables(&present), &tables(&changed)),
            &[expected],
            expected,
        );
    }
}

#[test]
fn breaks_of_items_are_found() {
    let present = heads();
    let row = "| `digest` | S | SHA-256";
    let retired = replaced(&present, row, "| `digest` | S | retired; SHA-256");
    #[rustfmt::skip]
    let cases = [
        (&present, "| `attempts` | N |", "| `attempts` | S |", Some("LeasesTable.attempts was N  and is S")),
        (&present, "| `seq` | N, range key |", "| `seq` | N |", Some("FramesTable.seq was N range key and is N")),
        (&present, row, "| `hash` | S | absent on old ones; SHA-256", Some("TurnsTable.digest is gone")),
        (&present, row, "| `colour` | S | any |\n| `digest` | S | SHA-256", Some("TurnsTable.colour is new")),
        (&present, row, "| `colour` | S | absent: none |\n| `digest` | S | SHA-256", None),
        (&present, "`RatesTable`", "`SpeedsTable`", Some("RatesTable is no longer documented")),
        (&retired, "| `digest` | S | retired; SHA-256", "| `hash` | S | absent on old ones; SHA-256", None),
    ];
    for (released, what, with, expected) in cases {
        let changed = replaced(released, what, with);
        let broken = broken_items(&layouts(released), &layouts(&changed));
        assert_found(&broken, expected.as_slice(), with);
    }
}
