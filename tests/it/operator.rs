//! `sparkle admin` and `sparkle costs`, as an operator types them, against a running stack.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{Client, Folder, Stack, binaries, root};
use tokio::process::Command;

use crate::provider::Provider;

/// Those in which a learner need not have left a trace: of no learner, or for a moment only.
const WITHOUT_TRACE: [&str; 3] = ["FramesTable", "IntentsTable", "PolicyTable"];

/// Every table that there is, also those that came after this test.
fn tables() -> Result<Vec<String>> {
    let template = std::fs::read_to_string(root().join("template.yaml"))?;
    let template: serde_yaml_ng::Value = serde_yaml_ng::from_str(&template)?;
    let resources = template["Resources"].as_mapping();
    let is_table =
        |resource: &serde_yaml_ng::Value| resource["Type"].as_str() == Some("AWS::DynamoDB::Table");
    let tables = resources
        .context("no resources")?
        .iter()
        .filter(|(_, resource)| is_table(resource))
        .filter_map(|(name, _)| name.as_str().map(str::to_owned));
    Ok(tables.collect())
}

/// Types commands.
pub(crate) struct Operator {
    folder: Folder,
}

impl Operator {
    pub(crate) fn of(stack: &Stack) -> Result<Self> {
        let folder = Folder::new()?;
        let addresses = json!({ "dynamodb": stack.address("dynamodb") });
        std::fs::write(folder.path().join("stack.json"), addresses.to_string())?;
        Ok(Self { folder })
    }

    /// What a command prints, if it succeeds; else what it says is wrong.
    pub(crate) async fn types(&self, command: &str) -> Result<String, String> {
        let mut words = command.split(' ');
        let output = Command::new(binaries().join("sparkle"))
            .current_dir(root())
            .arg(words.next().unwrap_or_default())
            .arg("--stack")
            .arg(self.folder.path().join("stack.json"))
            .args(words)
            .output()
            .await
            .map_err(|error| error.to_string())?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    pub(crate) async fn does(&self, command: &str) -> Result<String> {
        let done = self.types(command).await;
        done.map_err(|wrong| anyhow::anyhow!("{command}: {wrong}"))
    }
}

/// Says something and waits until it is in the ledger.
async fn settled(stack: &Stack, client: &mut Client, session: &str, message: &str) -> Result<()> {
    client.chat(session, message).await?;
    while !stack.items("IntentsTable").await?.is_empty() {}
    Ok(())
}

/// Everything that is stored, as text, by table.
async fn stored(stack: &Stack) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for table in tables()? {
        let items = stack.items(&table).await?;
        all.extend(items.iter().map(|item| (table.clone(), item.to_string())));
    }
    Ok(all)
}

async fn money(stack: &Stack, table: &str) -> Result<[u64; 3]> {
    let mut sums = [0; 3];
    for item in stack.items(table).await? {
        for (sum, name) in sums
            .iter_mut()
            .zip(["cost", "prompt_tokens", "completion_tokens"])
        {
            *sum += item[name].as_u64().unwrap_or_default();
        }
    }
    Ok(sums)
}

/// A stack on which two messages are a long conversation, so that each has a summary.
async fn remembering(provider: &Provider) -> Result<Stack> {
    let options = provider.options();
    let options = options
        .variable("SPARKLE_CONTEXT_WHOLE", "1")
        .variable("SPARKLE_CONTEXT_LEAST", "1")
        .variable("SPARKLE_CONTEXT_SUMMARY_OVER", "1");
    options.start().await
}

/// A learner who has left traces in every table, and is away.
async fn traces(stack: &Stack, user: &str, message: &str) -> Result<()> {
    let mut client = stack.connect(user).await?;
    client.ask("profile.update", json!({ "depth": 80 })).await?;
    // As an answer is kept; those that are told by a script are not.
    let kept = json!({
        "scope": { "S": format!("learner/{user}") },
        "entry": { "S": "00000000000000000000000000000000/q/d1" },
        "question": { "S": "什么是导数" },
        "answer": { "S": "变化率" },
    });
    let put = json!({ "TableName": "CacheTable", "Item": kept });
    stack.dynamo("PutItem", &put).await?;
    for session in [&*format!("{}-s1", user.replace('/', "-")), "s2"] {
        remembered(stack, &mut client, user, session, message).await?;
    }
    Ok(())
}

/// Says something and waits until it is summarised, and both are in the ledger.
async fn remembered(
    stack: &Stack,
    client: &mut Client,
    user: &str,
    session: &str,
    message: &str,
) -> Result<()> {
    // Each time by the model: the same question is asked in two conversations.
    let chat = json!({ "session_id": session, "message": message, "cache": "bypass" });
    let id = client.request("chat", chat).await?;
    client.answer(&id).await?;
    let conversation = format!("{user}/{session}");
    let is_its = |item: &Value| item["conversation"] == *conversation && item["text"].is_string();
    while !stack.items("SummariesTable").await?.iter().any(is_its) {}
    while !stack.items("IntentsTable").await?.is_empty() {}
    Ok(())
}

#[tokio::test]
async fn an_erased_learner_is_in_no_table_and_the_ledger_keeps_every_token_and_micro_dollar()
-> Result<()> {
    let provider = Provider::start().await?;
    let stack = remembering(&provider).await?;
    let operator = Operator::of(&stack)?;
    let usage = json!({ "prompt_tokens": 100, "completion_tokens": 20, "cached_tokens": 40 });
    let script = json!({ "pieces": ["导", "数"], "usage": usage });
    let message = format!("#script {script}");
    // The second one's conversations begin as the first one's do.
    for user in ["zoe-canary", "zoe-canary/b", "ann"] {
        traces(&stack, user, &message).await?;
    }
    // A socket that is open, and a stream that nobody follows any more.
    let _open = stack.connect("zoe-canary").await?;
    let before = stored(&stack).await?;
    let of = |all: &[(String, String)], name: &str| -> Vec<String> {
        let quoted = [
            format!("\"{name}\""),
            format!("\"{name}/s2\""),
            format!("\"learner/{name}\""),
        ];
        let named = all
            .iter()
            .filter(|(_, item)| quoted.iter().any(|name| item.contains(name)));
        named.map(|(table, _)| table.clone()).collect()
    };
    let traced = of(&before, "zoe-canary");
    for table in tables()? {
        let is_traced = traced.contains(&table) || WITHOUT_TRACE.contains(&&*table);
        ensure!(is_traced, "no trace in {table}");
    }
    let others_before = of(&before, "zoe-canary/b").len();
    let (lines, sums) = (
        money(&stack, "LedgerTable").await?,
        money(&stack, "UsageTable").await?,
    );
    assert_eq!(lines.map(|sum| 2 * sum), sums, "of each learner and of all");
    let count = stack.items("LedgerTable").await?.len();
    assert_eq!(count, 12, "six answers and six summaries");

    let said = operator.does("admin erase zoe-canary").await?;
    assert!(said.contains(" 4 messages\n"), "{said}");

    let after = stored(&stack).await?;
    for (table, item) in &after {
        let traces = item.replace("zoe-canary/b", "").replace("zoe-canary-b", "");
        ensure!(!traces.contains("zoe-canary"), "{table}: {item}");
    }
    assert_eq!(
        of(&after, "zoe-canary/b").len(),
        others_before,
        "another learner's"
    );
    assert_eq!(money(&stack, "LedgerTable").await?, lines);
    assert_eq!(money(&stack, "UsageTable").await?, sums);
    let erased: Vec<Value> = stack
        .items("LedgerTable")
        .await?
        .into_iter()
        .filter(|line| {
            line["user_id"]
                .as_str()
                .is_some_and(|id| id.starts_with("erased-"))
        })
        .collect();
    let calls: HashSet<&str> = erased
        .iter()
        .filter_map(|line| line["call"].as_str())
        .collect();
    assert_eq!((erased.len(), calls.len()), (4, 4));
    for line in &erased {
        for name in ["session_id", "request_id", "trace_id"] {
            assert!(line[name].is_null(), "{line}");
        }
    }

    // Who comes back begins anew; to erase nobody is no error.
    operator.does("admin erase zoe-canary").await?;
    let mut client = stack.connect("zoe-canary").await?;
    let sessions = client.ask("sessions", json!({})).await?;
    let entries = sessions["payload"]["entries"].as_array();
    assert!(entries.is_none_or(Vec::is_empty), "{sessions}");
    remembered(&stack, &mut client, "zoe-canary", "s9", &message).await?;
    let quota = client.ask("quota", json!({})).await?;
    let ledger = stack.items("LedgerTable").await?;
    let used = ledger
        .iter()
        .filter(|line| line["user_id"] == "zoe-canary")
        .flat_map(|line| [&line["prompt_tokens"], &line["completion_tokens"]])
        .filter_map(Value::as_u64);
    let used: u64 = used.sum();
    assert!(used > 120, "{used}");
    assert_eq!(quota["payload"]["day"]["used"], used, "{quota}");
    Ok(())
}

#[tokio::test]
async fn a_learner_is_not_erased_while_a_call_is_not_in_the_ledger() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let operator = Operator::of(&stack)?;
    let mut client = stack.connect("ann").await?;
    let slow = json!({ "pieces": vec!["a"; 200], "pause_ms": 500 });
    let id = client
        .request(
            "chat",
            json!({ "session_id": "s1", "message": format!("#script {slow}") }),
        )
        .await?;
    while stack.items("IntentsTable").await?.is_empty() {}
    let refused = operator.types("admin erase ann").await;
    let said = refused.err().context("erased under a running call")?;
    assert!(
        said.contains("calls of ann that are not in the ledger yet: 1"),
        "{said}"
    );
    client
        .request("cancel", json!({ "request_id": id }))
        .await?;
    client.answer(&id).await?;
    while !stack.items("IntentsTable").await?.is_empty() {}
    assert_eq!(stack.items("LedgerTable").await?[0]["user_id"], "ann");
    operator.does("admin erase ann").await?;
    for (table, item) in stored(&stack).await? {
        ensure!(!item.contains("\"ann\""), "{table}: {item}");
    }
    Ok(())
}

#[tokio::test]
async fn an_export_holds_what_every_table_has_of_a_learner_and_of_no_other() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = remembering(&provider).await?;
    let operator = Operator::of(&stack)?;
    traces(&stack, "ann", "什么是导数?").await?;
    traces(&stack, "ann/b", "secret of another").await?;
    let _open = stack.connect("ann").await?;
    let export: Value = serde_json::from_str(&operator.does("admin export ann").await?)?;
    assert_eq!(export["user_id"], "ann");
    for (name, count) in [
        ("account", 1),
        ("ledger", 4),
        ("summaries", 2),
        ("messages", 4),
        ("conversations", 2),
        ("turns", 2),
        ("leases", 2),
        ("rates", 1),
        ("profiles", 1),
        ("usage", 1),
        ("intents", 0),
    ] {
        let found = export[name].as_array().map(Vec::len);
        assert_eq!(found, Some(count), "{name}: {export}");
    }
    assert!(
        export["connections"][0]["connection_id"].is_string(),
        "{export}"
    );
    assert!(export["messages"].to_string().contains("什么是导数?"));
    assert!(!export.to_string().contains("secret of another"));
    Ok(())
}

#[tokio::test]
async fn tiers_and_limits_of_a_learner_apply_at_once_and_are_taken_back() -> Result<()> {
    let stack = Stack::start().await?;
    let operator = Operator::of(&stack)?;
    let mut client = stack.connect("ann").await?;
    let mut limit = async |command: &str| -> Result<(String, u64)> {
        operator.does(command).await?;
        let quota = client.ask("quota", json!({})).await?["payload"].clone();
        let limit = quota["day"]["limit"].as_u64().context("no limit")?;
        Ok((quota["tier"].as_str().unwrap_or_default().to_owned(), limit))
    };
    let is = |tier: &str, limit| (tier.to_owned(), limit);
    assert_eq!(limit("admin tier ann pro").await?, is("pro", 500_000));
    assert_eq!(
        limit("admin limit ann --day-tokens 70").await?,
        is("pro", 70)
    );
    assert_eq!(limit("admin tier ann token").await?, is("free", 70));
    assert_eq!(
        limit("admin limit ann --day-tokens tier").await?,
        is("free", 50_000)
    );
    assert_eq!(
        limit("admin limit ann --day-tokens 1").await?,
        is("free", 1)
    );

    let refused = client.chat("s1", "什么是导数?").await?;
    assert_eq!(refused.last()["payload"]["code"], "QUOTA_EXCEEDED");
    operator.does("admin limit ann --day-tokens tier").await?;
    let answered = client.chat("s1", "什么是导数?").await?;
    assert_eq!(answered.last()["type"], "done");
    Ok(())
}

#[tokio::test]
async fn who_is_suspended_is_refused_until_resumed_and_others_are_not() -> Result<()> {
    let stack = Stack::start().await?;
    let operator = Operator::of(&stack)?;
    let (mut ann, mut ben) = (stack.connect("ann").await?, stack.connect("ben").await?);
    operator.does("admin resume ann").await?;
    operator.does("admin suspend ann").await?;
    let refused = ann.chat("s1", "hello").await?;
    assert_eq!(refused.last()["payload"]["code"], "FORBIDDEN");
    assert_eq!(ben.chat("s1", "hello").await?.last()["type"], "done");
    operator.does("admin resume ann").await?;
    assert_eq!(ann.chat("s1", "hello").await?.last()["type"], "done");
    Ok(())
}

#[tokio::test]
async fn a_policy_is_shown_replaced_and_refused_and_spending_stops_and_starts() -> Result<()> {
    let stack = Stack::start().await?;
    let operator = Operator::of(&stack)?;
    let shown = async || -> Result<Value> {
        Ok(serde_json::from_str(
            &operator.does("admin policy show").await?,
        )?)
    };
    let mut policy = shown().await?;
    assert_eq!(
        policy["free"]["day_tokens"], 50_000,
        "the one that is built in"
    );
    policy["free"]["day_tokens"] = json!(49_000);
    let file = operator.folder.path().join("policy.json");
    let set = format!("admin policy set {}", file.display());
    std::fs::write(&file, policy.to_string())?;
    operator.does(&set).await?;
    assert_eq!(shown().await?, policy);

    std::fs::write(&file, r#"{ "free": {} }"#)?;
    let said = operator.types(&set).await.err().context("not refused")?;
    assert!(
        said.contains("is not used") && said.contains("day_tokens"),
        "{said}"
    );
    assert_eq!(shown().await?, policy);

    operator.does("admin stop").await?;
    policy["is_stopped"] = json!(true);
    assert_eq!(shown().await?, policy, "nothing else is changed");
    let mut client = stack.connect("ann").await?;
    let refused = client.chat("s1", "hello").await?;
    assert_eq!(refused.last()["payload"]["code"], "UNAVAILABLE");
    assert!(stack.items("LedgerTable").await?.is_empty());
    operator.does("admin start").await?;
    policy["is_stopped"] = json!(false);
    assert_eq!(shown().await?, policy);
    operator.does("admin policy unset").await?;
    assert_eq!(shown().await?["free"]["day_tokens"], 50_000);
    Ok(())
}

#[tokio::test]
async fn models_and_prices_are_replaced_without_a_deployment_and_a_wrong_list_is_not_used()
-> Result<()> {
    let stack = Stack::start().await?;
    let operator = Operator::of(&stack)?;
    let deployed = operator.does("admin models show").await?;
    let mut list: Value = serde_json::from_str(&deployed)?;
    assert_eq!(
        list["models"][0]["id"], "offline",
        "the one that is built in"
    );
    list["models"][0]["prices"] =
        json!([{ "from": "2026-01-01", "input": 7_000_000, "cached_input": 0, "output": 0 }]);
    let mut second = list["models"][0].clone();
    second["id"] = json!("second");
    list["models"]
        .as_array_mut()
        .context("no models")?
        .push(second);
    list["offered"] = json!(["second", "offline"]);
    let file = operator.folder.path().join("models.json");
    let set = format!("admin models set {}", file.display());
    std::fs::write(&file, list.to_string())?;
    let said = operator.does(&set).await?;
    assert!(
        said.contains("the default") && said.contains("$7.000000"),
        "{said}"
    );

    list["models"][0]["prices"][0]["cached_input"] = json!(7_000_001);
    std::fs::write(&file, list.to_string())?;
    let said = operator.types(&set).await.err().context("not refused")?;
    assert!(
        said.contains("offline: from 2026-01-01 on a cached token costs more"),
        "{said}"
    );

    let mut client = stack.connect("ann").await?;
    let offered = async |client: &mut Client| -> Result<Vec<String>> {
        let models = client.ask("models", json!({})).await?;
        let entries = models["payload"]["entries"].as_array();
        let ids = entries.into_iter().flatten().map(|entry| &entry["id"]);
        Ok(ids.filter_map(Value::as_str).map(str::to_owned).collect())
    };
    assert_eq!(offered(&mut client).await?, ["second", "offline"]);
    settled(&stack, &mut client, "s1", "hello").await?;
    let line = &stack.items("LedgerTable").await?[0];
    assert_eq!(line["model"], "second", "{line}");
    let prompt_tokens = line["prompt_tokens"].as_u64().context("no tokens")?;
    assert_eq!(line["cost"], prompt_tokens * 7, "{line}");

    operator.does("admin models unset").await?;
    assert_eq!(operator.does("admin models show").await?, deployed);
    Ok(())
}

#[tokio::test]
async fn a_wrong_price_list_that_went_past_the_command_is_not_used() -> Result<()> {
    let stack = Stack::start().await?;
    let item = json!({ "name": { "S": "policy" }, "models": { "S": r#"{ "models": [] }"# } });
    let put = json!({ "TableName": "PolicyTable", "Item": item });
    stack.dynamo("PutItem", &put).await?;
    let mut client = stack.connect("ann").await?;
    let models = client.ask("models", json!({})).await?;
    assert_eq!(models["payload"]["entries"][0]["id"], "offline", "{models}");
    assert_eq!(client.chat("s1", "hello").await?.last()["type"], "done");
    Ok(())
}

#[tokio::test]
async fn costs_are_those_of_the_ledger_by_day_learner_conversation_and_model() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let operator = Operator::of(&stack)?;
    let usage = json!({ "prompt_tokens": 1_000, "completion_tokens": 20, "cached_tokens": 400 });
    let script = json!({ "pieces": ["a"], "usage": usage });
    for user in ["ann", "ben"] {
        let mut client = stack.connect(user).await?;
        for session in [&*format!("{user}-s1"), "s2"] {
            settled(&stack, &mut client, session, &format!("#script {script}")).await?;
        }
    }
    let table = operator.does("costs").await?;
    let row = |table: &str, words: &[&str]| -> Result<Vec<String>> {
        let has = |line: &&str| {
            words
                .iter()
                .all(|word| line.split_whitespace().any(|cell| cell == *word))
        };
        let line = table
            .lines()
            .find(has)
            .with_context(|| format!("{words:?}: {table}"))?;
        Ok(line.split_whitespace().map(str::to_owned).collect())
    };
    let ann = row(&table, &["ann", "gpt-4o-mini"])?;
    // 600 x 0.15 + 400 x 0.075 + 20 x 0.6 micro-dollars a call
    assert_eq!(
        ann[3..9],
        ["2", "0", "2,000", "800", "40", "$0.000264"],
        "{table}"
    );
    let all = row(&table, &["total", "4"])?;
    assert_eq!(
        all[1..7],
        ["4", "0", "4,000", "1,600", "80", "$0.000528"],
        "{table}"
    );
    assert!(
        table.contains("The platform's cost is an estimate: messages $"),
        "{table}"
    );

    let of_ben = operator
        .does("costs --user ben --by user,session --days 1")
        .await?;
    assert!(!of_ben.contains("ann"), "{of_ben}");
    for session in ["ben-s1", "s2"] {
        assert_eq!(row(&of_ben, &["ben", session])?[2], "1", "{of_ben}");
    }
    let by_month = operator.does("costs --by month").await?;
    let rows = by_month.lines().take_while(|line| !line.is_empty());
    assert!(
        by_month.starts_with("month ") && rows.count() <= 4,
        "{by_month}"
    );
    let nothing = operator.does("costs --user nobody").await?;
    assert_eq!(row(&nothing, &["total"])?[1], "0");
    Ok(())
}

#[tokio::test]
async fn commands_say_what_is_wrong_and_help() -> Result<()> {
    let stack = Stack::start().await?;
    let operator = Operator::of(&stack)?;
    let help = operator.does("admin --help").await?;
    for word in [
        "show", "tier", "limit", "suspend", "resume", "policy", "models", "stop", "start",
        "export", "erase",
    ] {
        assert!(help.contains(&format!("  {word} ")), "{word}: {help}");
    }
    let said = operator
        .types("admin tier ann gold")
        .await
        .err()
        .context("taken")?;
    assert!(said.contains("gold"), "{said}");
    stack.kill().await?;
    let said = operator
        .types("admin policy show")
        .await
        .err()
        .context("no stack")?;
    assert!(
        said.starts_with("sparkle: the table is not available"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn where_the_shell_names_tables_it_must_also_say_who_asks() -> Result<()> {
    let ask = |credentials: &[(&'static str, &'static str)]| {
        let mut command = Command::new(binaries().join("sparkle"));
        command
            .arg("costs")
            .env("SPARKLE_TABLE_ACCOUNTS", "sparkle-accounts");
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"] {
            command.env_remove(name);
        }
        command.envs(credentials.iter().copied());
        command
    };
    let said = async |mut command: Command| -> Result<String> {
        let output = command.output().await?;
        ensure!(!output.status.success(), "done without tables");
        Ok(String::from_utf8(output.stderr)?)
    };
    let nobody = said(ask(&[])).await?;
    assert!(nobody.contains("AWS_ACCESS_KEY_ID is not set"), "{nobody}");
    let somebody = said(ask(&[
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ]));
    let somebody = somebody.await?;
    assert!(
        somebody.contains("SPARKLE_TABLE_CACHE is not set"),
        "{somebody}"
    );
    Ok(())
}
