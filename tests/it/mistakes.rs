//! Templates and functions that cannot be served: what is wrong is said, and where.

use anyhow::Result;
use serde_json::Value;
use sparkle_tests::{Stack, http};

use crate::small::{IDLE, Small};

/// A further function of the template.
fn function(id: &str, folder: &str, more: &str) -> String {
    format!(
        "
  {id}:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/{folder}
      {more}
"
    )
}

/// The status and the payload of an invocation.
async fn invoke(stack: &Stack, function: &str) -> Result<Value> {
    let http_address = stack.address("http");
    let url = format!("{http_address}/2015-03-31/functions/{function}/invocations");
    let answer = http().post(url).body("{}").send().await?;
    Ok(answer.json().await?)
}

#[tokio::test]
async fn a_template_that_cannot_be_served_is_refused_with_the_place() -> Result<()> {
    let variables = |value: &str| format!("Environment: {{ Variables: {{ A: {value} }} }}");
    let circle = [
        function("A", "idle-a", &variables("!GetAtt B.Arn")),
        function("B", "idle-b", &variables("!GetAtt A.Arn")),
    ];
    for (resources, expected) in [
        (
            "  Search: { Type: AWS::OpenSearchService::Domain }".to_owned(),
            "Search is of type AWS::OpenSearchService::Domain, which is not served locally",
        ),
        (circle.concat(), "A -> B -> A is a circular reference"),
        (
            function("A", "idle-a", &variables("!Ref Nothing")),
            "Environment.Variables.A of A refers to Nothing, which is no",
        ),
        (
            function("A", "idle", ""),
            "Idle and A are both named idle; rename one of them",
        ),
        (
            "  A: { Type: AWS::Serverless::Function }".to_owned(),
            "A has no CodeUri; add it",
        ),
        (
            function("A", "idle-a", "Events: { E: { Type: S3 } }"),
            "E of A is an event of type S3, which is not served locally",
        ),
        ("  A: [".to_owned(), "is not valid YAML"),
    ] {
        let small = Small::new(&resources, &[])?;
        let (status, said) = small.options().fail().await?;
        assert!(!status.success(), "{resources}");
        assert!(said.contains(expected), "{resources}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_function_without_a_package_or_that_does_not_build_is_named() -> Result<()> {
    let absent = Small::new(&function("Absent", "absent", ""), &[])?;
    let (status, said) = absent.options().fail().await?;
    assert!(!status.success());
    let expected = "the template names the function absent, but no package";
    assert!(said.contains(expected), "{said}");

    let broken = function("Broken", "broken", "");
    let broken = Small::new(&broken, &[("broken", "fn main() { does_not_exist() }")])?;
    let (status, said) = broken.options().fail().await?;
    assert!(!status.success());
    for expected in [
        "functions/broken/src/main.rs",
        "does_not_exist",
        "do not build",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    Ok(())
}

/// 100 MB at once, with lines that are longer than any log takes, and then as good as gold.
const FLOOD: &str = r#"
let mut out = std::io::stdout().lock();
let line = "x".repeat(1_000_000) + "\n";
for _ in 0..100 { out.write_all(line.as_bytes()).expect("a pipe"); }
"#;

#[tokio::test]
async fn functions_that_crash_or_flood_their_log_leave_the_others_alone() -> Result<()> {
    let resources = [
        function("Crash", "crash", ""),
        function("Leak", "leak", "MemorySize: 128"),
        function("Flood", "flood", ""),
    ];
    let crash = r#"fn main() { panic!("no reason at all"); }"#;
    let leak = "fn main() { let mut held = Vec::new(); loop { held.push(vec![1_u8; 8 << 20]); } }";
    let flood = IDLE.replace("fn main() {", &format!("fn main() {{ {FLOOD}"));
    let functions = [("crash", crash), ("leak", leak), ("flood", &flood)];
    let small = Small::new(&resources.concat(), &functions)?;
    let stack = small.options().start().await?;
    for (name, expected) in [("crash", "no reason at all"), ("leak", "does not start")] {
        let answer = invoke(&stack, name).await?;
        assert_eq!(answer["errorType"], "Runtime.InitError", "{answer}");
        let message = answer["errorMessage"].as_str().unwrap_or_default();
        assert!(message.contains(expected), "{message}");
    }
    assert!(stack.get("/health").await?.contains("ok"));
    // It takes an event when it has said all, and never answers it.
    let answer = invoke(&stack, "flood").await?;
    assert_eq!(answer["errorType"], "Sandbox.Timedout", "{answer}");
    let log = stack.kill().await?;
    assert!(log.contains("crash does not start"), "{log}");
    let (start, bytes) = (log.get(..500).unwrap_or(&log), log.len());
    assert!(log.contains("a function floods its log"), "{start}");
    assert!(bytes < 20_000_000, "{bytes} bytes are shown");
    Ok(())
}
