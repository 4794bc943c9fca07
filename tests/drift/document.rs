//! `proto/asyncapi.yaml` against `proto/`, `decode` and `encode`.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use prost_reflect::{FieldDescriptor, Kind};
use serde_json::{Value, json};
use sparkle_core::frame::{
    COMMENT_BYTES_MAX, ErrorCode, FinishReason, MESSAGE_BYTES_MAX, PAGE_ENTRIES_MAX,
    TARGET_ID_BYTES_MAX, TITLE_BYTES_MAX,
};
use sparkle_wire::frame::{PAYLOAD_BYTES_MAX, VERSION, decode};

use crate::{messages, snapshot, yaml};

const DOCUMENT: &str = "proto/asyncapi.yaml";
const GOLDEN: &str =
    "shared/wire/tests/snapshots/frame__every_frame_to_a_client_has_its_golden_json.snap";
const GOLDEN_DEFLATED: &str =
    "shared/wire/tests/snapshots/encoding__a_client_that_takes_deflate_has_its_golden_frames.snap";
/// Types of the protocol, of which a release speaks some.
const CLIENT_TYPES: [&str; 18] = [
    "chat",
    "resume",
    "cancel",
    "ping",
    "quota",
    "usage",
    "lookup",
    "profile.get",
    "profile.update",
    "history",
    "sessions",
    "auth",
    "models",
    "feedback",
    "tool_result",
    "task.get",
    "study",
    "sync",
];

/// Who sends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Server,
}

/// The messages of one side, by `type`.
pub(crate) fn messages_of(document: &Value, sender: Sender) -> BTreeMap<String, Value> {
    let envelope = match sender {
        Sender::Client => "#/components/schemas/FromClient",
        Sender::Server => "#/components/schemas/FromServer",
    };
    let messages = document["components"]["messages"].as_object().unwrap();
    messages
        .values()
        .filter(|message| message["payload"]["allOf"][0]["$ref"] == envelope)
        .map(|message| {
            (
                message["name"].as_str().unwrap().to_owned(),
                message.clone(),
            )
        })
        .collect()
}

/// What checks whole frames of a message.
pub(crate) fn validator(document: &Value, message: &Value) -> Validator {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "allOf": [message["payload"]],
        "components": document["components"],
    });
    jsonschema::validator_for(&schema).unwrap()
}

pub(crate) fn examples(message: &Value) -> impl Iterator<Item = &Value> {
    let examples = message["examples"].as_array().expect("examples");
    assert!(!examples.is_empty());
    examples.iter().map(|example| &example["payload"])
}

fn schema<'a>(document: &'a Value, name: &str) -> &'a Value {
    let schema = &document["components"]["schemas"][name];
    assert!(!schema.is_null(), "no schema {name}");
    schema
}

/// The schema that a property refers to, or the property itself.
fn target<'a>(document: &'a Value, property: &'a Value) -> &'a Value {
    match property["$ref"].as_str() {
        Some(reference) => schema(document, reference.rsplit('/').next().unwrap()),
        None => property,
    }
}

/// Why a property is not the field that it should be.
fn mismatch(document: &Value, property: &Value, field: &FieldDescriptor) -> Option<String> {
    let property_or_item = if field.is_list() {
        if property["type"] != "array" {
            return Some("is a list".to_owned());
        }
        &property["items"]
    } else {
        property
    };
    let found = target(document, property_or_item);
    let (kind, format) = match field.kind() {
        Kind::String => ("string", None),
        Kind::Bool => ("boolean", None),
        Kind::Int64 => ("integer", Some("int64")),
        Kind::Uint32 => ("integer", Some("uint32")),
        Kind::Float => ("number", Some("float")),
        Kind::Message(message) => {
            let name = message.full_name().trim_start_matches("sparkle.ws.");
            return (found["x-protobuf"] != name).then(|| format!("is a {name}"));
        }
        other => {
            return Some(format!(
                "has a type that JSON frames do not know: {other:?}"
            ));
        }
    };
    if property["x-number"] != field.number() {
        return Some(format!("has the number {}", field.number()));
    }
    let agrees = found["type"] == kind && found["format"].as_str() == format;
    (!agrees).then(|| format!("is of type {kind} {format:?}"))
}

#[test]
fn every_schema_has_the_fields_of_its_message() {
    let (document, pool) = (yaml(DOCUMENT), messages("proto"));
    let mut described = BTreeSet::new();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (schema, content) in schemas {
        let Some(name) = content["x-protobuf"].as_str() else {
            continue;
        };
        let message = pool.get_message_by_name(&format!("sparkle.ws.{name}"));
        let message = message.unwrap_or_else(|| panic!("{schema}: no message {name} in ws.proto"));
        described.insert(message.full_name().to_owned());
        let properties = content["properties"].as_object().unwrap();
        let is_envelope = name == "WebSocketMessage";
        for field in message.fields() {
            let Some(property) = properties.get(field.name()) else {
                let is_servers = is_envelope && schema == "FromClient";
                assert!(is_servers, "{schema} has no {}", field.name());
                continue;
            };
            if is_envelope && field.name() == "payload" {
                continue; // bytes in Protobuf, an object in JSON
            }
            if let Some(why) = mismatch(&document, property, &field) {
                panic!("{schema}.{}: in ws.proto it {why}", field.name());
            }
        }
        for property in properties.keys() {
            let field = message.get_field_by_name(property);
            assert!(field.is_some(), "{schema}.{property} is not in ws.proto");
        }
    }
    let all: BTreeSet<String> = pool
        .all_messages()
        .filter(|message| message.package_name() == "sparkle.ws")
        .map(|message| message.full_name().to_owned())
        .collect();
    assert_eq!(
        described, all,
        "messages of ws.proto and the document's schemas"
    );
}

#[test]
fn every_message_carries_the_payload_that_it_names() {
    let document = yaml(DOCUMENT);
    for sender in [Sender::Client, Sender::Server] {
        for (kind, message) in messages_of(&document, sender) {
            let own = &message["payload"]["allOf"][1]["properties"];
            assert_eq!(own["type"]["const"], kind.as_str());
            let payload = target(&document, &own["payload"]["oneOf"][0]);
            assert_eq!(payload["x-protobuf"], message["x-protobuf"], "{kind}");
        }
    }
}

#[test]
fn the_examples_of_clients_are_accepted_and_valid() {
    let document = yaml(DOCUMENT);
    for (kind, message) in messages_of(&document, Sender::Client) {
        let validator = validator(&document, &message);
        for example in examples(&message) {
            let (_, frame) = decode(&example.to_string()).unwrap_or_else(|error| {
                panic!("{example}: {} {:?}", error.code.as_str(), error.field)
            });
            assert_eq!(frame.request.name(), kind);
            let wrong: Vec<String> = validator
                .iter_errors(example)
                .map(|e| e.to_string())
                .collect();
            assert!(wrong.is_empty(), "{example}: {wrong:?}");
        }
    }
}

#[test]
fn the_code_speaks_the_types_that_are_documented_and_no_others() {
    let document = yaml(DOCUMENT);
    let documented = messages_of(&document, Sender::Client);
    for kind in CLIENT_TYPES {
        let frame = json!({ "version": VERSION, "type": kind, "request_id": "r1" });
        let is_known = match decode(&frame.to_string()) {
            Ok(_) => true,
            Err(error) => error.code != ErrorCode::UnknownType,
        };
        assert_eq!(is_known, documented.contains_key(kind), "{kind}");
    }
    let documented: BTreeSet<String> = messages_of(&document, Sender::Server).into_keys().collect();
    let spoken: BTreeSet<String> = golden(GOLDEN)
        .map(|frame| frame["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(spoken, documented);
}

/// The frames of a snapshot that are JSON.
fn golden(path: &str) -> impl Iterator<Item = Value> {
    let lines = snapshot(path).into_iter();
    lines.filter_map(|line| serde_json::from_str(&line).ok())
}

#[test]
fn what_the_server_sends_is_valid_and_its_words_are_known() {
    let document = yaml(DOCUMENT);
    let of_server = messages_of(&document, Sender::Server);
    let documented = of_server
        .values()
        .flat_map(|message| examples(message).cloned());
    for frame in golden(GOLDEN)
        .chain(golden(GOLDEN_DEFLATED))
        .chain(documented.collect::<Vec<_>>())
    {
        let message = &of_server[frame["type"].as_str().unwrap()];
        let validator = validator(&document, message);
        let wrong: Vec<String> = validator
            .iter_errors(&frame)
            .map(|e| e.to_string())
            .collect();
        assert!(wrong.is_empty(), "{frame}: {wrong:?}");
        let payload = target(
            &document,
            &message["payload"]["allOf"][1]["properties"]["payload"]["oneOf"][0],
        );
        assert_known_words(&document, payload, &frame["payload"]);
    }
    let reasons = &schema(&document, "Done")["properties"]["finish_reason"]["x-words"];
    for reason in [
        FinishReason::Stop,
        FinishReason::Length,
        FinishReason::Cancelled,
        FinishReason::Blocked,
    ] {
        assert!(
            reasons
                .as_array()
                .unwrap()
                .contains(&json!(reason.as_str()))
        );
    }
}

/// Every field is documented, and every word of a field that has a list of them is on it.
fn assert_known_words(document: &Value, schema: &Value, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let property = &schema["properties"][name];
        assert!(!property.is_null(), "{name} of {value} is not documented");
        for item in value.as_array().into_iter().flatten() {
            assert_known_words(document, target(document, &property["items"]), item);
        }
        if let Some(words) = property["x-words"].as_array() {
            assert!(
                words.contains(value),
                "{name}: {value} is not among {words:?}"
            );
        }
    }
}

#[test]
fn every_error_code_is_documented_as_it_is() {
    let document = yaml(DOCUMENT);
    let documented = schema(&document, "ErrorCode")["x-codes"]
        .as_object()
        .unwrap();
    for code in ErrorCode::ALL {
        let told = documented.get(code.as_str());
        let told = told.unwrap_or_else(|| panic!("{} is not documented", code.as_str()));
        assert_eq!(told["retryable"], code.is_retryable(), "{}", code.as_str());
    }
    assert_eq!(documented.len(), ErrorCode::ALL.len());
}

#[test]
fn limits_are_documented_as_they_are() {
    let document = yaml(DOCUMENT);
    let property =
        |schema_name: &str, name: &str| schema(&document, schema_name)["properties"][name].clone();
    assert_eq!(property("FromClient", "version")["const"], VERSION);
    assert_eq!(
        property("ChatMessage", "message")["x-bytes-max"],
        MESSAGE_BYTES_MAX
    );
    assert_eq!(
        property("SessionsRequest", "title")["x-bytes-max"],
        TITLE_BYTES_MAX
    );
    assert_eq!(
        property("LookupRequest", "message")["x-bytes-max"],
        MESSAGE_BYTES_MAX
    );
    let feedback = |name: &str| property("FeedbackRequest", name)["x-bytes-max"].clone();
    assert_eq!(feedback("id"), TARGET_ID_BYTES_MAX);
    assert_eq!(feedback("comment"), COMMENT_BYTES_MAX);
    assert_eq!(
        property("HistoryRequest", "limit")["maximum"],
        PAGE_ENTRIES_MAX
    );
    assert_eq!(
        property("SessionsRequest", "limit")["maximum"],
        PAGE_ENTRIES_MAX
    );
    assert_eq!(
        schema(&document, "Deflated")["x-bytes-max"],
        PAYLOAD_BYTES_MAX
    );
}

/// Values that are at or past a limit, of a wrong type or odd.
fn odd_values() -> Vec<Value> {
    let lengths = [
        0, 1, 35, 36, 64, 65, 200, 201, 256, 257, 2_000, 2_001, 8_192, 8_193, 32_768, 32_769,
    ];
    let mut values: Vec<Value> = lengths.map(|len| json!("x".repeat(len))).into();
    values.extend([0, 1, 100, 101, -1].map(|number| json!(number)));
    values.extend([
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.5),
        json!(true),
        json!([]),
        json!({}),
    ]);
    let words = [
        " ",
        "a b",
        "a/b",
        "a.b",
        "导数",
        "\u{0}",
        "\n",
        "\u{7f}",
        "\u{85}",
        "bypass",
        "burn",
        "rename",
        "deflate",
        "2.0",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "4BF92F3577B34DA6A3CE929D0E0E4736",
    ];
    values.extend(words.map(|word| json!(word)));
    values
}

#[test]
fn what_the_document_allows_is_accepted_and_what_it_forbids_is_refused() {
    let document = yaml(DOCUMENT);
    let (mut allowed, mut refused) = (0, 0);
    for (kind, message) in messages_of(&document, Sender::Client) {
        let validator = validator(&document, &message);
        let payload = target(
            &document,
            &message["payload"]["allOf"][1]["properties"]["payload"]["oneOf"][0],
        );
        let mut check = |frame: &Value, is_optional_here: bool| {
            let (is_valid, decoded) = (validator.is_valid(frame), decode(&frame.to_string()));
            if is_valid {
                allowed += 1;
                assert!(decoded.is_ok(), "allowed and refused: {frame}: {decoded:?}");
            } else if !is_optional_here {
                refused += 1;
                assert!(decoded.is_err(), "forbidden and accepted: {frame}");
            }
        };
        for example in examples(&message).filter(|example| example.get("encoding").is_none()) {
            for name in schema(&document, "FromClient")["properties"]
                .as_object()
                .unwrap()
                .keys()
            {
                for value in odd_values() {
                    let mut frame = example.clone();
                    frame[name] = value;
                    check(&frame, false);
                }
            }
            for required in ["version", "type", "request_id"] {
                let mut frame = example.clone();
                frame.as_object_mut().unwrap().remove(required);
                check(&frame, false);
            }
            for name in payload["properties"].as_object().unwrap().keys() {
                for value in odd_values() {
                    let mut frame = example.clone();
                    frame["payload"][name] = value;
                    // What a session is not listed by is not looked at when one is listed.
                    check(&frame, kind == "sessions");
                }
            }
            for required in payload["required"].as_array().into_iter().flatten() {
                let mut frame = example.clone();
                frame["payload"]
                    .as_object_mut()
                    .unwrap()
                    .remove(required.as_str().unwrap());
                check(&frame, false);
            }
        }
    }
    assert!(
        allowed > 100 && refused > 500,
        "{allowed} allowed, {refused} refused"
    );
}
