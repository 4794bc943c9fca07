//! Building the functions with cargo and finding what it built.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::settings::cargo_variables;

/// The functions could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no cargo.
    #[error("cargo cannot be run; install Rust, or put cargo on the PATH")]
    NoCargo(#[source] std::io::Error),
    /// Cargo said what is wrong on stderr.
    #[error("the functions do not build; the compiler's messages are above")]
    Failed,
    /// A function of the template has no binary in the workspace.
    #[error("the template names the function {0}, but no package of the workspace builds it")]
    NoBinary(String),
}

/// Builds the workspace's default members, in the profile that this program was built in, and returns
/// the binary of each of `functions`. Blocks; the first build takes minutes and shows cargo's progress.
///
/// # Errors
/// [`BuildError`].
pub fn build(
    workspace: &Path,
    functions: &[&str],
) -> Result<BTreeMap<String, PathBuf>, BuildError> {
    let mut build = Command::new("cargo");
    // What `cargo run` says of this package would make cargo build other packages anew.
    for name in cargo_variables() {
        build.env_remove(name);
    }
    build.args([
        "build",
        "--bins",
        "--message-format=json-render-diagnostics",
    ]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let mut cargo = build
        .current_dir(workspace)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(BuildError::NoCargo)?;
    let mut built = BTreeMap::new();
    if let Some(stdout) = cargo.stdout.take() {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        built.extend(lines.filter_map(|line| executable(&line)));
    }
    if !cargo.wait().is_ok_and(|status| status.success()) {
        return Err(BuildError::Failed);
    }
    let binary = |&name: &&str| {
        let path = built
            .remove(name)
            .ok_or_else(|| BuildError::NoBinary(name.to_owned()))?;
        Ok((name.to_owned(), path))
    };
    functions.iter().map(binary).collect()
}

/// The binary that a line of cargo's messages is about.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    let path = message.get("executable")?.as_str()?;
    Some((name.to_owned(), path.into()))
}
