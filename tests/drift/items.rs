//! Stored items: the tables of attributes at the heads of the table modules against the code below them
//! and against `template.yaml`, and against the last release.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;
use sparkle_tests::root;

use crate::read;

const TABLES: &str = "shared/aws/src/table";
/// Words of expressions that are no attributes.
const FUNCTIONS: [&str; 7] = [
    "attribute_exists",
    "attribute_not_exists",
    "begins_with",
    "contains",
    "if_not_exists",
    "list_append",
    "size",
];
/// Lower-case texts in the modules that are neither attributes nor words of their heads: parts of a token.
const NOT_STORED: [&str; 2] = ["nothing", "failure"];

/// What an attribute is documented to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    /// `S`, `N`, `B`, `BOOL`, `L`, `SS`.
    pub(crate) kind: String,
    /// `hash key`, `range key`, `TTL`, or nothing.
    pub(crate) role: String,
    pub(crate) meaning: String,
}

/// The attributes of each table, by logical id.
pub(crate) type Layouts = BTreeMap<String, BTreeMap<String, Attribute>>;

/// Reads the tables in the heads of modules: a paragraph that begins with a table's name, then its rows.
pub(crate) fn layouts(heads: &str) -> Layouts {
    let mut layouts = Layouts::new();
    let mut table = String::new();
    for line in heads.lines() {
        let named = line
            .strip_prefix('`')
            .and_then(|line| line.split('`').next());
        if let Some(name) = named.filter(|name| name.ends_with("Table")) {
            name.clone_into(&mut table);
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", name, kind, meaning @ .., ""] = cells.as_slice() else {
            continue;
        };
        let Some(name) = name
            .strip_prefix('`')
            .and_then(|name| name.strip_suffix('`'))
        else {
            continue; // the table's own head
        };
        let (kind, role) = kind.split_once(", ").unwrap_or((kind, ""));
        let attribute = Attribute {
            kind: kind.to_owned(),
            role: if role == "key" { "hash key" } else { role }.to_owned(),
            meaning: meaning.join("|"),
        };
        let layout = layouts.entry(table.clone()).or_default();
        let twice = layout.insert(name.to_owned(), attribute);
        assert!(twice.is_none(), "{table}.{name} is documented twice");
    }
    layouts
}

/// The head of a module.
fn head(module: &str) -> String {
    let lines = module.lines().filter_map(|line| line.strip_prefix("//!"));
    lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned() + "\n")
        .collect()
}

/// The table modules, by path.
fn modules() -> BTreeMap<String, String> {
    let entries = fs::read_dir(root().join(TABLES)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().display().to_string());
    names
        .filter(|name| name.ends_with(".rs"))
        .map(|name| {
            let path = format!("{TABLES}/{name}");
            let module = read(&path) + &parts(path.trim_end_matches(".rs"));
            (path, module)
        })
        .collect()
}

/// The code of a module's submodules.
fn parts(folder: &str) -> String {
    let Ok(entries) = fs::read_dir(root().join(folder)) else {
        return String::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().display().to_string());
    let parts = names.map(|name| read(&format!("{folder}/{name}")));
    let code = parts.map(|part| {
        part.split("#[cfg(test)]")
            .next()
            .unwrap()
            .replace("//!", "//")
    });
    code.collect()
}

/// The heads of all table modules.
pub(crate) fn heads() -> String {
    modules().values().map(|module| head(module)).collect()
}

/// The tables of a template, by logical id, with their properties.
pub(crate) fn tables(template: &Value) -> BTreeMap<String, Value> {
    let resources = template["Resources"].as_object().unwrap();
    let tables = resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == "AWS::DynamoDB::Table");
    tables
        .map(|(id, table)| (id.clone(), table["Properties"].clone()))
        .collect()
}

/// A key schema as `attribute role` words, with the types of the attributes.
pub(crate) fn keys(table: &Value, schema: &Value) -> Vec<(String, String, String)> {
    let definitions = table["AttributeDefinitions"].as_array().unwrap();
    let key = |key: &Value| {
        let name = key["AttributeName"].as_str().unwrap();
        let definition = definitions.iter().find(|d| d["AttributeName"] == name);
        let definition = definition.unwrap_or_else(|| panic!("{name} is not defined"));
        let role = key["KeyType"].as_str().unwrap().to_lowercase() + " key";
        (
            name.to_owned(),
            role,
            definition["AttributeType"].as_str().unwrap().to_owned(),
        )
    };
    schema.as_array().unwrap().iter().map(key).collect()
}

/// A template, whose CloudFormation tags do not matter here.
pub(crate) fn template(path: &str) -> Value {
    let tagged: serde_yaml_ng::Value = serde_yaml_ng::from_str(&read(path)).unwrap();
    serde_json::to_value(untagged(tagged)).unwrap()
}

fn untagged(value: serde_yaml_ng::Value) -> serde_yaml_ng::Value {
    use serde_yaml_ng::Value;
    match value {
        Value::Tagged(tagged) => untagged(tagged.value),
        Value::Sequence(items) => items.into_iter().map(untagged).collect(),
        Value::Mapping(entries) => {
            let untagged = entries
                .into_iter()
                .map(|(key, value)| (key, untagged(value)));
            Value::Mapping(untagged.collect())
        }
        other => other,
    }
}

/// The texts in the code of a module.
fn literals(module: &str) -> Vec<String> {
    let code = module.split("#[cfg(test)]").next().unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    // A text that goes on in the next line is one.
    let mut joined = String::new();
    for line in lines {
        match line.strip_suffix('\\') {
            Some(begun) => joined.push_str(begun),
            None => joined = joined + line + "\n",
        }
    }
    let literals = joined
        .lines()
        .flat_map(|line| line.split('"').skip(1).step_by(2));
    literals.map(str::to_owned).collect()
}

fn is_name(text: &str) -> bool {
    let is_of_name = |b: u8| b.is_ascii_lowercase() || b == b'_';
    // What begins with an underscore is the end of a name that is put together.
    !text.is_empty() && !text.starts_with('_') && text.bytes().all(is_of_name)
}

/// The attributes that a module's texts name: bare names, and the names in expressions.
fn attributes_used(literals: &[String]) -> BTreeSet<String> {
    let is_expression = |text: &str| {
        [" = :", " < :", " <= :", "attribute_", " IN ("]
            .iter()
            .any(|part| text.contains(part))
    };
    let mut used = BTreeSet::new();
    for literal in literals {
        if is_name(literal) {
            used.insert(literal.clone());
        } else if is_expression(literal) {
            let words = literal.split(|c: char| !c.is_ascii_alphanumeric() && !"_:#{".contains(c));
            used.extend(
                words
                    .filter(|word| is_name(word) && !FUNCTIONS.contains(word))
                    .map(str::to_owned),
            );
        }
    }
    used
}

#[test]
fn every_table_of_the_template_is_documented_with_its_keys() {
    let (documented, template) = (layouts(&heads()), template("template.yaml"));
    let tables = tables(&template);
    assert_eq!(
        documented.keys().collect::<Vec<_>>(),
        tables.keys().collect::<Vec<_>>(),
        "tables documented in {TABLES} and tables of template.yaml"
    );
    for (id, table) in &tables {
        let layout = &documented[id];
        let of_template: BTreeSet<_> = keys(table, &table["KeySchema"]).into_iter().collect();
        let of_head: BTreeSet<_> = layout
            .iter()
            .filter(|(_, attribute)| attribute.role.ends_with("key"))
            .map(|(name, attribute)| (name.clone(), attribute.role.clone(), attribute.kind.clone()))
            .collect();
        assert_eq!(
            of_head, of_template,
            "{id}: documented keys and template.yaml"
        );

        let expiring = layout.iter().find(|(_, attribute)| attribute.role == "TTL");
        let ttl = table["TimeToLiveSpecification"]["AttributeName"].as_str();
        assert_eq!(expiring.map(|(name, _)| name.as_str()), ttl, "{id}: TTL");

        for kind in ["LocalSecondaryIndexes", "GlobalSecondaryIndexes"] {
            for index in table[kind].as_array().into_iter().flatten() {
                let name = index["IndexName"].as_str().unwrap();
                assert!(
                    heads().contains(&format!("`{name}`")),
                    "{id}: {name} is not documented"
                );
                for (attribute, _, kind) in keys(table, &index["KeySchema"]) {
                    assert_eq!(layout[&attribute].kind, kind, "{id}.{attribute} in {name}");
                }
            }
        }
    }
}

#[test]
fn modules_name_the_attributes_that_their_heads_document_and_no_others() {
    for (path, module) in modules() {
        let (head, used) = (head(&module), attributes_used(&literals(&module)));
        let documented: BTreeSet<String> = layouts(&head)
            .into_values()
            .flat_map(BTreeMap::into_keys)
            .collect();
        for name in &documented {
            // Or in an expression as `#name`, where the name is reserved.
            assert!(
                used.contains(name),
                "{path}: {name} is documented and not used"
            );
        }
        for name in used.difference(&documented) {
            let is_word =
                head.contains(&format!("`{name}`")) || NOT_STORED.contains(&name.as_str());
            assert!(
                is_word,
                "{path}: {name} is used and not documented in the head"
            );
        }
    }
}

#[test]
fn an_attribute_that_is_not_documented_is_found() {
    let used = |code: &str| attributes_used(&literals(code));
    let found =
        used("  put.item(\"colour\", text(x));\n  .update_expression(\"SET shade = :shade\")");
    assert_eq!(found, ["colour", "shade"].map(str::to_owned).into());
    let found =
        used("// \"SET shade = :x\"\n x(\"SET #state = :a, n = if_not_exists(title, :t)\")");
    assert_eq!(found, ["n", "title"].map(str::to_owned).into());
}
