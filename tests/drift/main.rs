//! Schema drift (R-OPS-6): the wire, the stored items and the documents about them agree with each other
//! and with the code, and nothing that the last release promised is broken (proto/README.md).

mod document;
mod items;
mod mutations;
mod released;

use std::{fs, path::Path};

use prost_reflect::DescriptorPool;
use serde_json::Value;
use sparkle_tests::root;

/// The text of a file of the repository.
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A YAML file of the repository.
fn yaml(path: &str) -> Value {
    serde_yaml_ng::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The messages of both packages in a folder with the layout of `proto/`.
fn messages(folder: impl AsRef<Path>) -> DescriptorPool {
    let files = ["sparkle/ws.proto", "sparkle/job.proto"];
    let files = protox::compile(files, [root().join(folder)]).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap()
}

/// The lines of a snapshot's content.
fn snapshot(path: &str) -> Vec<String> {
    let text = read(path);
    let content = text.splitn(3, "---\n").nth(2).expect("a head");
    content.lines().map(str::to_owned).collect()
}
