//! One event to one function of a running stack, as `sam local invoke` does it.

use std::{
    fs,
    io::{Read, Write, stderr, stdin, stdout},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use reqwest::{Client, StatusCode, Url};
use serde::de::IgnoredAny;
use serde_json::Value;

/// What to invoke, and what to show of it.
#[derive(Debug, Args)]
pub struct Request {
    /// Its name, such as ws-message
    pub function: String,
    /// A file with the event, or - for stdin; without it, an empty object. tests/events has examples
    pub event: Option<PathBuf>,
    /// Print the answer byte for byte as the function gave it
    #[arg(long)]
    pub raw: bool,
    /// Print the end of the invocation's log, with its REPORT line, on stderr
    #[arg(long)]
    pub log: bool,
}

impl Request {
    /// Invokes the function of the stack at `address` and prints what it answers on stdout, also if
    /// that is an error.
    ///
    /// # Errors
    /// The event is no JSON, there is no stack or no such function, or the function answered with
    /// an error.
    pub async fn send(self, address: &str) -> anyhow::Result<()> {
        let event = self.event()?;
        let http = Client::new();
        let functions = Url::parse(&format!("http://{address}/2015-03-31/functions"))?;
        let mut url = functions.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend([self.function.as_str(), "invocations"]);
        }
        let mut request = http.post(url).body(event);
        if self.log {
            request = request.header("x-amz-log-type", "Tail");
        }
        let answer = request.send().await.with_context(|| {
            format!("no stack answers at {address}; start one with `cargo run`")
        })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let body = answer.text().await.context("the answer broke off")?;
        if status == StatusCode::NOT_FOUND {
            let known = names(&http, functions).await.with_context(|| {
                format!("what answers at {address} is not a stack; name its --port")
            })?;
            let known = known.join(", ");
            bail!("there is no function {}; there are {known}", self.function);
        }
        if !status.is_success() {
            bail!("the event is refused with {status}: {body}");
        }
        if self.log {
            let log = header("x-amz-log-result").and_then(|log| BASE64_STANDARD.decode(log).ok());
            let log = log.unwrap_or_else(|| b"(no log came with the answer)\n".to_vec());
            stderr().write_all(&log)?;
        }
        let shown = if self.raw { body } else { pretty(body) };
        let mut out = stdout();
        out.write_all(shown.as_bytes())?;
        out.flush()?;
        match header("x-amz-function-error") {
            Some(kind) => bail!("{} answered with an error: {kind}", self.function),
            None => Ok(()),
        }
    }

    fn event(&self) -> anyhow::Result<String> {
        let Some(path) = &self.event else {
            return Ok("{}".to_owned());
        };
        let (name, text) = if path == Path::new("-") {
            let mut text = String::new();
            let read = stdin().read_to_string(&mut text);
            ("on stdin".to_owned(), read.map(|_bytes| text))
        } else {
            (path.display().to_string(), fs::read_to_string(path))
        };
        let text = text.with_context(|| format!("the event {name} cannot be read"))?;
        serde_json::from_str::<IgnoredAny>(&text)
            .with_context(|| format!("the event {name} is not JSON"))?;
        Ok(text)
    }
}

/// With line breaks, and one at the end; what is not JSON stays as it is.
fn pretty(body: String) -> String {
    let value = serde_json::from_str::<Value>(&body);
    let pretty = value.and_then(|value| serde_json::to_string_pretty(&value));
    let mut shown = pretty.unwrap_or(body);
    shown.push('\n');
    shown
}

/// The functions that there are.
async fn names(http: &Client, functions: Url) -> anyhow::Result<Vec<String>> {
    let answer = http.get(functions).send().await?.error_for_status()?;
    let known: Value = answer.json().await?;
    let known = known.get("Functions").and_then(Value::as_array);
    let name = |function: &Value| Some(function.get("FunctionName")?.as_str()?.to_owned());
    Ok(known.into_iter().flatten().filter_map(name).collect())
}
