//! `--watch`: a changed source is built and run, a broken one changes nothing.
//!
//! The workspace is one of its own with a single function, so that building takes a second.

use std::{path::Path, process::Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sparkle_tests::{Folder, PATIENCE, binaries, http};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    task::yield_now,
    time::timeout,
};

/// Speaks the Runtime API itself: there is no crate to be compiled.
const MAIN: &str = r##"
use std::{env, io::{BufRead, BufReader, Read, Write}, net::TcpStream};

fn call(head: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(env::var("AWS_LAMBDA_RUNTIME_API").unwrap()).unwrap();
    let length = body.len();
    write!(stream, "{head} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut stream = BufReader::new(stream);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else {
            if line.trim().is_empty() { break } else { continue }
        };
        match &*name.to_lowercase() {
            "content-length" => length = value.parse().unwrap(),
            "lambda-runtime-aws-request-id" => id = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (id, String::from_utf8(body).unwrap())
}

fn main() {
    loop {
        let (id, event) = call("GET /2018-06-01/runtime/invocation/next", "");
        // An event that names a file is held until the file is there.
        if let Some(file) = event.split('"').find(|part| part.starts_with('/')) {
            std::fs::write(format!("{file}.held"), "").unwrap();
            while !std::path::Path::new(file).exists() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        let answer = format!("{{\"says\":{:?}}}", answer::ANSWER);
        call(&format!("POST /2018-06-01/runtime/invocation/{id}/response"), &answer);
    }
}

mod answer;
"##;

const TEMPLATE: &str = "
Transform: AWS::Serverless-2016-10-31
Parameters:
  JwtSecret: { Type: String, Default: '' }
  LlmApiKeySecret: { Type: String, Default: '' }
Resources:
  Api:
    Type: AWS::Serverless::WebSocketApi
    Properties:
      StageName: dev
      RouteSelectionExpression: $request.body.type
      Routes:
        $default:
          FunctionArn: !Ref HelloFunction.Alias
  HelloFunction:
    Type: AWS::Serverless::Function
    Metadata: { BuildMethod: rust-cargolambda }
    Properties:
      CodeUri: functions/hello
      Runtime: provided.al2023
      Handler: bootstrap
      Timeout: 60
      AutoPublishAlias: live
";

fn say(workspace: &Path, code: &str) -> Result<()> {
    let file = workspace.join("functions/hello/src/answer.rs");
    Ok(std::fs::write(file, code)?)
}

fn write_workspace(workspace: &Path) -> Result<()> {
    let package = workspace.join("functions/hello");
    std::fs::create_dir_all(package.join("src"))?;
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"functions/hello\"]\n";
    std::fs::write(workspace.join("Cargo.toml"), members)?;
    let manifest = "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    std::fs::write(package.join("Cargo.toml"), manifest)?;
    std::fs::write(package.join("src/main.rs"), MAIN)?;
    std::fs::write(workspace.join("template.yaml"), TEMPLATE)?;
    say(workspace, "pub const ANSWER: &str = \"one\";")
}

/// A stack that watches, with its log as it comes.
struct Watching {
    http: String,
    log: Lines<BufReader<ChildStderr>>,
    _process: Child,
}

impl Watching {
    async fn start(workspace: &Path) -> Result<Self> {
        let mut process = Command::new(binaries().join("sparkle"))
            .args(["--port", "0", "--json", "--ephemeral", "--watch"])
            .env_remove("CARGO_TARGET_DIR")
            .current_dir(workspace)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut log = BufReader::new(process.stderr.take().context("no stderr")?).lines();
        let mut stdout = BufReader::new(process.stdout.take().context("no stdout")?).lines();
        let ready = timeout(PATIENCE, stdout.next_line()).await??;
        let Some(ready) = ready else {
            let mut said = String::new();
            while let Some(line) = log.next_line().await? {
                said.push_str(&line);
                said.push('\n');
            }
            bail!("it does not start: {said}");
        };
        let ready: Value = serde_json::from_str(&ready)?;
        Ok(Self {
            http: ready["http"].as_str().context("no address")?.to_owned(),
            log,
            _process: process,
        })
    }

    /// Waits until the log says something, and returns what it said up to there.
    async fn says(&mut self, words: &str) -> Result<String> {
        let mut said = String::new();
        let reading = async {
            while !said.contains(words) {
                let line = self.log.next_line().await?.context("the stack has ended")?;
                said.push_str(&line);
                said.push('\n');
            }
            anyhow::Ok(())
        };
        let outcome = timeout(PATIENCE, reading).await;
        outcome.with_context(|| format!("not {words}: {said}"))??;
        Ok(said)
    }

    async fn invoke(&self, event: &str) -> Result<String> {
        let url = format!("{}/2015-03-31/functions/hello/invocations", self.http);
        let answer = http().post(url).body(event.to_owned()).send().await?;
        Ok(answer.text().await?)
    }
}

#[tokio::test]
async fn a_change_is_built_and_run_and_a_mistake_changes_nothing() -> Result<()> {
    let folder = Folder::new()?;
    let workspace = folder.path();
    write_workspace(workspace)?;
    let mut stack = Watching::start(workspace).await?;
    assert_eq!(stack.invoke("{}").await?, r#"{"says":"one"}"#);

    // What runs while it is replaced finishes as what it began as.
    let release = workspace.join("release");
    let held_at = workspace.join("release.held");
    let url = format!("{}/2015-03-31/functions/hello/invocations", stack.http);
    let event = serde_json::json!({ "until": release });
    let mut held = std::pin::pin!(http().post(url).json(&event).send());
    tokio::select! {
        answer = &mut held => panic!("{answer:?} came at once"),
        () = async { while !held_at.exists() { yield_now().await } } => {}
    }
    say(workspace, "pub const ANSWER: &str = \"two\";")?;
    let said = stack.says("rebuilt and replaced").await?;
    assert!(said.contains("functions/hello/src/answer.rs"), "{said}");
    assert!(said.contains(r#"functions=["hello"]"#), "{said}");
    assert_eq!(stack.invoke("{}").await?, r#"{"says":"two"}"#);
    std::fs::write(&release, "")?;
    assert_eq!(held.await?.text().await?, r#"{"says":"one"}"#);

    say(workspace, "pub const ANSWER: &str = 3;")?;
    let said = stack.says("what ran before runs on").await?;
    assert!(said.contains("mismatched types"), "{said}");
    assert_eq!(stack.invoke("{}").await?, r#"{"says":"two"}"#);

    say(workspace, "pub const ANSWER: &str = \"four\";")?;
    stack.says("rebuilt and replaced").await?;
    assert_eq!(stack.invoke("{}").await?, r#"{"says":"four"}"#);

    std::fs::write(
        workspace.join("template.yaml"),
        format!("{TEMPLATE}\n# new"),
    )?;
    stack.says("restart the stack").await?;
    Ok(())
}
