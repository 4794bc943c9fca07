//! A workspace of its own for stacks with another template: small functions, built in a second.

use std::path::PathBuf;

use anyhow::Result;
use sparkle_tests::{Folder, Options};

/// A function that waits for an event and answers none.
pub(crate) const IDLE: &str = r#"
use std::io::{Read, Write};
fn main() {
    let address = std::env::var("AWS_LAMBDA_RUNTIME_API").expect("an address");
    let mut api = std::net::TcpStream::connect(&address).expect("an api");
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: {address}\r\n\r\n");
    api.write_all(next.as_bytes()).expect("a call");
    let mut event = [0; 1024];
    while api.read(&mut event).is_ok_and(|bytes| bytes > 0) {}
}
"#;

/// A folder with a template and the sources of its functions.
pub(crate) struct Small(Folder);

impl Small {
    /// A template with a socket whose messages go to the function `idle`, and more resources.
    /// Of each function there is a name and a source; `idle` is there in any case.
    pub(crate) fn new(resources: &str, functions: &[(&str, &str)]) -> Result<Self> {
        let small = Self(Folder::new()?);
        let template = format!(
            "
Transform: AWS::Serverless-2016-10-31
Parameters:
  LlmApiKeySecret: {{ Type: String, Default: '' }}
  JwtSecret: {{ Type: String, Default: '' }}
Resources:
  Socket:
    Type: AWS::Serverless::WebSocketApi
    Properties:
      RouteSelectionExpression: $request.body.type
      Routes: {{ $default: {{ FunctionArn: !GetAtt Idle.Arn }} }}
  Idle:
    Type: AWS::Serverless::Function
    Properties: {{ CodeUri: functions/idle }}
{resources}
"
        );
        std::fs::write(small.template(), template)?;
        let workspace = "[workspace]\nresolver = \"3\"\nmembers = [\"functions/*\"]\n";
        std::fs::write(small.0.path().join("Cargo.toml"), workspace)?;
        for (name, source) in functions.iter().chain(&[("idle", IDLE)]) {
            let folder = small.0.path().join("functions").join(name);
            std::fs::create_dir_all(folder.join("src"))?;
            let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
            std::fs::write(folder.join("Cargo.toml"), package)?;
            std::fs::write(folder.join("src/main.rs"), source)?;
        }
        Ok(small)
    }

    fn template(&self) -> PathBuf {
        self.0.path().join("template.yaml")
    }

    /// A stack with this template.
    pub(crate) fn options(&self) -> Options {
        Options::default()
            .argument("--template")
            .argument(self.template().display().to_string())
    }
}
