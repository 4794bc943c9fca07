//! The invariants of ARCHITECTURE.md as tests: each fails with the place that breaks it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_yaml_ng::Value;
use sparkle_tests::root;

/// Every file of ours with that ending below a folder, with its text.
fn sources(folder: &str, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() && name != "target" && name != "vendor" {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no {ending} in {folder}");
    found
}

/// The lines that a program is made of: no comments, and nothing from the first test module on.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// Asserts that no line of code in these folders holds one of the words, but in the files allowed.
fn assert_absent(folders: &[&str], words: &[&str], allowed: &[&str], invariant: &str) {
    for folder in folders {
        for (path, text) in sources(folder, ".rs") {
            let shown = path.display().to_string();
            if allowed.iter().any(|allowed| shown.contains(allowed)) {
                continue;
            }
            for line in code(&text) {
                for word in words {
                    assert!(
                        !line.contains(word),
                        "{invariant}: {shown} says {word}: {line}"
                    );
                }
            }
        }
    }
}

fn template() -> Value {
    serde_yaml_ng::from_str(&fs::read_to_string(root().join("template.yaml")).unwrap()).unwrap()
}

/// The resources of one type, by logical id, with their properties.
fn resources(kind: &str) -> BTreeMap<String, Value> {
    let template = template();
    let resources = template["Resources"].as_mapping().unwrap();
    let of_kind = resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == kind);
    of_kind
        .map(|(id, resource)| {
            (
                id.as_str().unwrap().to_owned(),
                resource["Properties"].clone(),
            )
        })
        .collect()
}

/// A value without its CloudFormation tag.
fn untagged(value: &Value) -> &Value {
    match value {
        Value::Tagged(tagged) => &tagged.value,
        other => other,
    }
}

fn folder_of(function: &Value) -> String {
    function["CodeUri"]
        .as_str()
        .unwrap()
        .trim_start_matches("functions/")
        .to_owned()
}

#[test]
fn a1_core_is_pure() {
    let words = [
        "async ",
        "tokio",
        "std::env",
        "SystemTime",
        "Instant::now",
        "aws",
        "std::fs",
        "std::net",
    ];
    assert_absent(&["shared/core/src"], &words, &[], "A1");
    let manifest = fs::read_to_string(root().join("shared/core/Cargo.toml")).unwrap();
    let dependencies = manifest
        .split("[dependencies]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    let names: Vec<&str> = dependencies
        .lines()
        .filter_map(|line| line.split('.').next())
        .filter(|name| !name.is_empty())
        .collect();
    // `jiff` has its own time zones and `icu_normalizer` its own tables: they read no files.
    let pure = [
        "icu_normalizer",
        "jiff",
        "serde",
        "serde_json",
        "sha2",
        "thiserror",
    ];
    assert_eq!(names, pure, "A1");
}

#[test]
fn a2_sdk_types_stay_in_aws_and_prost_types_in_wire() {
    assert_absent(
        &[
            "shared",
            "functions",
            "infra/local/src",
            "infra/operator/src",
        ],
        &["aws_sdk_", "aws_smithy", "aws_types"],
        &["shared/aws/"],
        "A2",
    );
    assert_absent(
        &["shared", "functions", "infra/local/src"],
        &["prost"],
        &["shared/wire/"],
        "A2",
    );
    let generated = fs::read_to_string(root().join("shared/wire/src/lib.rs")).unwrap();
    assert!(
        generated.contains("\nmod generated;"),
        "A2: generated types are private"
    );
    let expressions = [
        "update_expression",
        "condition_expression",
        "expression_attribute",
    ];
    assert_absent(
        &["shared", "functions"],
        &expressions,
        &["shared/aws/src/table/"],
        "A2",
    );
}

#[test]
fn a3_dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("shared/core", &[][..]),
        ("shared/wire", &["sparkle-core"]),
        ("shared/llm", &["sparkle-core"]),
        ("shared/embed", &[]),
        ("shared/aws", &["sparkle-core", "sparkle-wire"]),
        ("infra/local", &["sparkle-wire"]),
        ("infra/operator", &["sparkle-aws", "sparkle-core"]),
    ]);
    let functions = [
        "sparkle-aws",
        "sparkle-core",
        "sparkle-embed",
        "sparkle-llm",
        "sparkle-wire",
    ];
    let ours: BTreeSet<String> = sources("functions", "Cargo.toml")
        .iter()
        .map(|(path, _)| {
            path.parent()
                .unwrap()
                .file_name()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .chain(functions.iter().map(|&name| name.to_owned()))
        .collect();
    for folder in ["shared", "functions", "infra/local", "infra/operator"] {
        for (path, manifest) in sources(folder, "Cargo.toml") {
            let place = path
                .parent()
                .unwrap()
                .strip_prefix(root())
                .unwrap()
                .display()
                .to_string();
            let may = allowed.get(place.as_str()).copied().unwrap_or(&functions);
            let dependencies = manifest
                .split("dependencies]\n")
                .skip(1)
                .flat_map(str::lines);
            for name in dependencies.filter_map(|line| line.split(['.', ' ']).next()) {
                assert!(
                    !ours.contains(name) || may.contains(&name),
                    "A3: {place} uses {name}"
                );
            }
        }
    }
}

#[test]
fn a4_nothing_is_scanned() {
    assert_absent(
        &["shared", "functions"],
        &[".scan()", "ProjectionType::Keys"],
        &[
            // To find what crashed; what is done about it rests on conditional writes.
            "shared/aws/src/table/intents.rs",
            // For operators, who read and remove what no key leads to.
            "shared/aws/src/table/belongings.rs",
            "shared/aws/src/table/ledger/operator.rs",
            "shared/aws/src/table/answers/operator.rs",
        ],
        "A4",
    );
    let text = fs::read_to_string(root().join("template.yaml")).unwrap();
    let scans = text.matches("dynamodb:Scan").count();
    assert_eq!(scans, 1, "A4: no function may scan but the sweeper");
}

#[test]
fn a5_no_counter_is_a_bare_add() {
    let heads: String = sources("shared/aws/src/table", ".rs")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    for (path, text) in sources("shared/aws/src/table", ".rs") {
        for line in code(&text) {
            let Some((_, added)) = line.split_once("ADD ") else {
                continue;
            };
            // To a set: adding twice is adding once.
            let attribute = added.split(' ').next().unwrap_or_default();
            let is_set = heads.contains(&format!("//! | `{attribute}` | SS |"));
            // To the sums of the ledger: in the transaction that rests on the line's absence.
            let is_guarded = path.ends_with("ledger.rs") && attribute == "prompt_tokens";
            assert!(is_set || is_guarded, "A5: {}: {line}", path.display());
        }
    }
}

#[test]
fn a6_money_is_whole() {
    // What is counted there is how often answers were wrong.
    let statistics = ["core/src/cache/evidence.rs", "core/src/cache/verdict"];
    assert_absent(&["shared/core/src"], &["f64", "f32"], &statistics, "A6");
}

#[test]
fn a7_the_environment_is_read_in_one_place() {
    assert_absent(
        &["shared", "functions", "infra/operator"],
        &["env::var", "env::vars"],
        &["shared/aws/src/config.rs", "shared/llm/examples"],
        "A7",
    );
    let config = fs::read_to_string(root().join("shared/aws/src/config.rs")).unwrap();
    let mut read = BTreeSet::new();
    for folder in ["shared/aws/src", "shared/cache/src", "functions"] {
        for (_, text) in sources(folder, ".rs") {
            let quoted = text
                .split('"')
                .filter(|word| word.starts_with("SPARKLE_") && !word.contains('*'));
            read.extend(quoted.map(str::to_owned));
        }
    }
    let documented = |name: &str| {
        config.contains(&format!("`{name}`"))
            || name.starts_with("SPARKLE_TABLE_")
            || name.starts_with("SPARKLE_QUEUE_")
    };
    for name in &read {
        assert!(
            documented(name),
            "A7: {name} is read but not in config.rs's table"
        );
    }
    for (id, function) in resources("AWS::Serverless::Function") {
        for (name, _) in function["Environment"]["Variables"].as_mapping().unwrap() {
            let name = name.as_str().unwrap();
            assert!(
                read.contains(name),
                "A7: {id} is given {name}, which nothing reads"
            );
        }
    }
}

#[test]
fn a8_every_function_has_a_folder_and_every_folder_a_function() {
    let named: BTreeSet<String> = resources("AWS::Serverless::Function")
        .values()
        .map(folder_of)
        .collect();
    let folders: BTreeSet<String> = fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(named, folders, "A8");
    for (id, function) in resources("AWS::Serverless::Function") {
        let pascal: String = folder_of(&function)
            .split('-')
            .map(|word| word[..1].to_uppercase() + &word[1..])
            .collect();
        assert_eq!(id, format!("{pascal}Function"), "A8");
    }
}

#[test]
fn a8_every_queue_source_reports_failures_and_has_a_dead_letter_queue_and_time() {
    let queues = resources("AWS::SQS::Queue");
    let mut sources = 0;
    for (id, function) in resources("AWS::Serverless::Function") {
        let Some(events) = function["Events"].as_mapping() else {
            continue;
        };
        for (_, event) in events.iter().filter(|(_, event)| event["Type"] == "SQS") {
            sources += 1;
            let event = &event["Properties"];
            let reports = event["FunctionResponseTypes"].as_sequence().unwrap();
            assert!(
                reports.iter().any(|kind| kind == "ReportBatchItemFailures"),
                "A8: {id}"
            );
            let queue = untagged(&event["Queue"])
                .as_str()
                .unwrap()
                .trim_end_matches(".Arn");
            let settings = &queues[queue];
            assert!(
                !settings["RedrivePolicy"].is_null(),
                "A8: {queue} has no dead-letter queue"
            );
            let visibility = settings["VisibilityTimeout"].as_u64().unwrap();
            let timeout = function["Timeout"].as_u64().unwrap();
            if queue == "TurnQueue" {
                assert_eq!(
                    (event["BatchSize"].as_u64(), visibility),
                    (Some(1), timeout),
                    "A8"
                );
                assert_eq!(settings["FifoThroughputLimit"], "perMessageGroupId", "A8");
            } else {
                assert!(
                    visibility >= 6 * timeout,
                    "A8: {queue} hides messages too briefly"
                );
            }
        }
    }
    assert!(sources > 0);
}

#[test]
fn a8_no_policy_allows_everything_and_every_route_is_an_alias() {
    let functions = resources("AWS::Serverless::Function");
    for (id, function) in &functions {
        // SAM's own role for a source lets its function read every queue and stream of the account.
        let has_source = function["Events"].as_mapping().is_some_and(|events| {
            let kinds = events.iter().map(|(_, event)| &event["Type"]);
            kinds
                .into_iter()
                .any(|kind| kind == "SQS" || kind == "DynamoDB")
        });
        assert!(
            !has_source || !function["Role"].is_null(),
            "A8: {id} has a source and no role of its own"
        );
    }
    for (id, holder) in functions.into_iter().chain(resources("AWS::IAM::Role")) {
        let policies = serde_yaml_ng::to_string(&holder["Policies"]).unwrap();
        for line in policies.lines() {
            let value = line
                .rsplit(['-', ' '])
                .next()
                .unwrap()
                .trim_matches(['\'', '"']);
            assert!(
                value != "*" && !value.ends_with(":*"),
                "A8: {id} allows {line}"
            );
        }
    }
    for (_, api) in resources("AWS::Serverless::WebSocketApi") {
        for (route, target) in api["Routes"].as_mapping().unwrap() {
            let target = untagged(&target["FunctionArn"]).as_str().unwrap();
            assert!(
                target.ends_with(".Alias"),
                "A8: the route {route:?} misses the alias"
            );
        }
    }
}

#[test]
fn a9_what_holds_text_or_tokens_does_not_show_it() {
    let event = fs::read_to_string(root().join("shared/aws/src/event.rs")).unwrap();
    for name in ["AuthorizerEvent", "SocketEvent", "QueueRecord"] {
        assert!(
            event.contains(&format!("impl Debug for {name}")),
            "A9: {name} derives Debug"
        );
    }
}

#[test]
fn every_module_says_what_it_hides_and_stays_short() {
    for folder in [
        "shared",
        "functions",
        "infra/local",
        "infra/operator",
        "tests",
    ] {
        for (path, text) in sources(folder, ".rs") {
            let shown = path.display();
            let is_fuzz = path.components().any(|part| part.as_os_str() == "fuzz");
            assert!(
                text.starts_with("//!") || is_fuzz,
                "{shown} begins without //!"
            );
            assert!(text.lines().count() <= 600, "{shown} has over 600 lines");
            if path.ends_with("src/main.rs") && shown.to_string().contains("functions/") {
                assert!(text.lines().count() <= 60, "{shown} has over 60 lines");
            }
        }
    }
}

#[test]
fn nothing_in_the_tree_names_a_machine() {
    for ending in [
        ".rs", ".md", ".yaml", ".toml", ".proto", ".js", ".py", ".html",
    ] {
        for (path, text) in sources("", ending) {
            let hidden = path.components().any(|part| {
                let part = part.as_os_str();
                part == ".git" || part == ".sparkle" || part == ".aws-sam"
            });
            if hidden || path.ends_with(Path::new("tests/tidy.rs")) {
                continue;
            }
            for word in ["/work/", "/root/", "/home/"] {
                assert!(!text.contains(word), "{} names {word}", path.display());
            }
        }
    }
}

#[test]
fn every_invariant_that_architecture_md_lists_has_its_test() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let tests = fs::read_to_string(root().join("tests/tidy.rs")).unwrap();
    let listed: Vec<&str> = architecture
        .lines()
        .filter_map(|line| line.strip_prefix("- **A")?.split("**").next())
        .collect();
    assert!(!listed.is_empty());
    for number in listed {
        assert!(
            tests.contains(&format!("fn a{number}_")),
            "A{number} has no test"
        );
    }
}
