//! `sparkle admin`, `sparkle costs` and `sparkle cache`: handed over to `sparkle-operator`, which is built beside this program.
//!
//! That program is part of the application and knows its tables; this one knows where they are. If the shell
//! names tables (`SPARKLE_TABLE_*`), they are meant, wherever the shell's AWS variables lead. Otherwise the
//! tables of a local stack are.

use std::{
    collections::BTreeMap, ffi::OsString, fs, os::unix::process::CommandExt, path::PathBuf,
    process::Command,
};

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::{
    settings::{DYNAMODB_PORT, Settings, shell_environment},
    sqs::REGION,
    stack,
    template::{Surroundings, Template},
};

const TABLES: &str = "SPARKLE_TABLE_";
const PROGRAM: &str = "sparkle-operator";

/// What to hand over.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Operation {
    /// The local stack that is meant: a file with what it printed with --json [default: the one at --dynamodb-port]
    #[arg(long, value_name = "FILE")]
    pub stack: Option<PathBuf>,
    /// See `sparkle admin --help`, `sparkle costs --help`, `sparkle cache --help`
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    pub arguments: Vec<OsString>,
}

impl Operation {
    /// Becomes that program.
    ///
    /// # Errors
    /// It is not there, or it is not known where the tables are.
    pub fn run(self, command: &str, settings: &Settings) -> anyhow::Result<()> {
        let here = std::env::current_exe().context("this program has no path")?;
        let mut program = Command::new(here.with_file_name(PROGRAM));
        program.arg(command).args(&self.arguments);
        let names_tables = shell_environment()
            .keys()
            .any(|name| name.starts_with(TABLES));
        if !names_tables {
            program
                .envs(local(self.stack.as_ref(), settings)?)
                .env_remove("AWS_SESSION_TOKEN");
        }
        // Only returns if it did not become one.
        let error = program.exec();
        Err(error).with_context(|| format!("{PROGRAM} cannot be run; `cargo build` builds it"))
    }
}

/// The environment that leads to a local stack.
fn local(stack: Option<&PathBuf>, settings: &Settings) -> anyhow::Result<BTreeMap<String, String>> {
    let endpoint = match (stack, &settings.dynamodb_endpoint) {
        (Some(file), _) => {
            let unusable = || format!("{} is not what a stack printed", file.display());
            let printed = fs::read_to_string(file).with_context(unusable)?;
            let addresses: Value = serde_json::from_str(&printed).with_context(unusable)?;
            let dynamodb = addresses.get("dynamodb").and_then(Value::as_str);
            dynamodb.with_context(unusable)?.to_owned()
        }
        (None, Some(endpoint)) => endpoint.clone(),
        (None, None) => format!(
            "http://127.0.0.1:{}",
            settings.dynamodb_port.unwrap_or(DYNAMODB_PORT)
        ),
    };
    let template = stack::find(&settings.template)?;
    let template = Template::load(&template, &Surroundings::default())?;
    let variables = template
        .functions
        .into_iter()
        .flat_map(|function| function.environment);
    let mut environment: BTreeMap<String, String> = variables
        .filter(|(name, _)| name.starts_with(TABLES))
        .collect();
    for (name, value) in [
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint.as_str()),
        ("AWS_REGION", REGION),
        // The account's owner, who may do everything.
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    Ok(environment)
}
