//! What a learner may spend and what was spent, to the token: with the provider's own count as the truth.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{Client, Stack, request};
use tokio::time::{Duration, timeout};

use crate::{
    fault::{Faulty, entries},
    provider::Provider,
};

/// Turns of one learner that are asked for at once.
const CROWD: usize = 1_000;
const CONNECTIONS: usize = 10;
/// On a busy machine the first of the crowd waits for its answer as long as the last.
const PATIENCE: Duration = Duration::from_mins(5);

/// Lets other limits apply to everybody.
pub(crate) async fn limit(stack: &Stack, limits: Value) -> Result<()> {
    let unlimited = 1_000_000_000_000_u64;
    let mut of_tier = json!({
        "day_tokens": unlimited, "month_tokens": unlimited,
        "day_money": unlimited, "month_money": unlimited,
    });
    for (name, value) in limits.as_object().context("no limits")? {
        of_tier[name] = value.clone();
    }
    let settings = json!({
        "free": of_tier, "pro": of_tier,
        "everybody": { "day_money": 0, "month_money": 0 }, "is_stopped": false,
    });
    let item = json!({ "name": { "S": "policy" }, "settings": { "S": settings.to_string() } });
    let put = json!({ "TableName": "PolicyTable", "Item": item });
    stack.dynamo("PutItem", &put).await?;
    Ok(())
}

/// The ledger, once every call is in it.
pub(crate) async fn ledger(stack: &Stack) -> Result<Vec<Value>> {
    let settle = async {
        while !stack.items("IntentsTable").await?.is_empty() {}
        anyhow::Ok(())
    };
    let settled = timeout(PATIENCE, settle).await;
    settled.context("a call is never in the ledger")??;
    stack.items("LedgerTable").await
}

fn sum(lines: &[Value], names: &[&str]) -> u64 {
    let of_line = |line: &Value| {
        names
            .iter()
            .filter_map(|name| line[*name].as_u64())
            .sum::<u64>()
    };
    lines.iter().map(of_line).sum()
}

const TOKENS: [&str; 2] = ["prompt_tokens", "completion_tokens"];

/// Nothing is held, and what is used is what the lines say.
pub(crate) async fn balanced(stack: &Stack, user: &str, all: &[Value]) -> Result<()> {
    let accounts = stack.items("AccountsTable").await?;
    let account = accounts.iter().find(|account| account["user_id"] == user);
    let account = account.context("no account")?;
    ensure!(account["holds"] == json!({}), "{account}");
    let lines: Vec<Value> = all
        .iter()
        .filter(|line| line["user_id"] == user)
        .cloned()
        .collect();
    for kind in ["day", "month"] {
        let name = account[kind].as_str().context("no window")?;
        let window = &account["windows"][name];
        for (fund, spent) in [
            ("tokens", sum(&lines, &TOKENS)),
            ("money", sum(&lines, &["cost"])),
        ] {
            let part = |part: &str| window[format!("{fund}_{part}")].as_i64();
            let (limit, used) = (part("limit").unwrap_or(0), part("used").unwrap_or(0));
            ensure!(part("held") == Some(0), "{fund} held: {window}");
            ensure!(used == i64::try_from(spent)?, "{fund} {spent}: {window}");
            ensure!(part("left") == Some(limit - used), "{fund} left: {window}");
        }
    }
    let days = stack.items("UsageTable").await?;
    let is_shard = |day: &&Value| {
        let id = day["user_id"].as_str();
        id.is_some_and(|id| id.starts_with('\u{1}'))
    };
    let own: Vec<Value> = days
        .iter()
        .filter(|day| day["user_id"] == user)
        .cloned()
        .collect();
    let everybody: Vec<Value> = days.iter().filter(is_shard).cloned().collect();
    ensure!(sum(&own, &TOKENS) == sum(&lines, &TOKENS), "{own:?}");
    ensure!(sum(&own, &["cost"]) == sum(&lines, &["cost"]), "{own:?}");
    ensure!(
        sum(&everybody, &TOKENS) == sum(all, &TOKENS),
        "{everybody:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_call_is_in_the_ledger_to_the_token_and_its_learner_is_told() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let mut client = stack.connect("ann").await?;
    let usage = json!({ "prompt_tokens": 100, "completion_tokens": 20, "cached_tokens": 40 });
    let script = json!({ "pieces": ["导", "数"], "usage": usage });
    client.chat("s1", &format!("#script {script}")).await?;
    let lines = ledger(&stack).await?;
    let [line] = &*lines else {
        anyhow::bail!("{lines:?}")
    };
    for (name, value) in [
        ("prompt_tokens", json!(100)),
        ("cached_tokens", json!(40)),
        ("completion_tokens", json!(20)),
        ("estimated", json!(false)),
        ("cost", json!(24)),
        ("model", json!("gpt-4o-mini")),
        ("purpose", json!("chat")),
        ("session_id", json!("s1")),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    balanced(&stack, "ann", &lines).await?;
    let quota = client.ask("quota", json!({})).await?;
    assert_eq!(quota["payload"]["tier"], "free", "{quota}");
    let day = &quota["payload"]["day"];
    assert_eq!((&day["used"], &day["limit"]), (&json!(120), &json!(50_000)));
    assert_eq!(day["remaining"], 49_880, "{quota}");
    let report = client.ask("usage", json!({ "months": 2 })).await?;
    let report = &report["payload"];
    for period in [&report["days"][0], &report["months"][0]] {
        assert_eq!(period["input_tokens"], 100, "{report}");
        assert_eq!(period["cached_input_tokens"], 40, "{report}");
        assert_eq!(
            (&period["output_tokens"], &period["cost_microusd"]),
            (&json!(20), &json!(24))
        );
        assert_eq!(period["requests"], 1, "{report}");
    }
    assert_eq!(report["budget"]["used_microusd"], 24, "{report}");
    Ok(())
}

#[tokio::test]
async fn a_quota_of_1000_tokens_hit_by_1000_turns_at_once_is_never_passed() -> Result<()> {
    let provider = Provider::start().await?;
    let options = provider
        .options()
        .variable("SPARKLE_RATE_PER_SECOND", "10000")
        .variable("SPARKLE_RATE_BURST", "10000");
    let stack = options.start().await?;
    limit(&stack, json!({ "day_tokens": 1_000 })).await?;
    let script = json!({ "pieces": ["一", "二", "三"], "pause_ms": 5 });
    let message = format!("#script {script}");
    let mut learners = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let (mut client, message) = (stack.connect("ann").await?, message.clone());
        learners.spawn(async move {
            let turns = CROWD / CONNECTIONS;
            for turn in 0..turns {
                let (id, session) = (
                    format!("r{connection}-{turn}"),
                    format!("s{connection}-{turn}"),
                );
                let payload = json!({ "session_id": session, "message": message });
                client.send(request("chat", &id, payload)).await?;
            }
            ends(&mut client, turns).await
        });
    }
    let (mut answered, mut refused) = (0, 0);
    for told in learners.join_all().await {
        let (done, denied) = told?;
        answered += done;
        refused += denied;
    }
    assert_eq!(answered + refused, CROWD);
    assert!(answered > 0, "what fits is admitted");
    let lines = ledger(&stack).await?;
    assert_eq!(lines.len(), answered);
    let stats = provider.stats().await?;
    let served = sum(std::slice::from_ref(&stats), &TOKENS);
    assert!(served <= 1_000, "{stats}");
    assert_eq!(sum(&lines, &TOKENS), served);
    balanced(&stack, "ann", &lines).await
}

/// How many turns were answered, and how many were refused for their quota.
async fn ends(client: &mut Client, turns: usize) -> Result<(usize, usize)> {
    let (mut answered, mut refused) = (0, 0);
    while answered + refused < turns {
        let frame: Value = serde_json::from_str(&client.receive_within(PATIENCE).await?)?;
        match frame["type"].as_str() {
            Some("done") => answered += 1,
            Some("error") => {
                let error = &frame["payload"];
                ensure!(error["code"] == "QUOTA_EXCEEDED", "{frame}");
                ensure!(error["retry_after_ms"].as_u64() > Some(0), "{frame}");
                let message = error["message"].as_str().unwrap_or_default();
                ensure!(message.contains("1,000"), "{frame}");
                refused += 1;
            }
            _ => {}
        }
    }
    Ok((answered, refused))
}

/// Where a process dies between the first token that may cost something and the line in the ledger.
const POINTS: [&str; 13] = [
    "function: turn-worker, target: dynamodb, call: PutItem, moment: before",
    "function: turn-worker, target: dynamodb, call: PutItem, moment: after",
    "function: turn-worker, target: dynamodb, call: UpdateItem, moment: before, after: 1",
    "function: turn-worker, target: dynamodb, call: UpdateItem, moment: after, after: 1",
    "function: turn-worker, target: dynamodb, call: UpdateItem, moment: before, after: 2",
    "function: turn-worker, target: dynamodb, call: UpdateItem, moment: after, after: 2",
    "function: turn-worker, target: connections, call: POST, moment: before",
    "function: turn-worker, target: connections, call: POST, moment: after",
    "function: turn-worker, target: dynamodb, call: TransactWriteItems, moment: before",
    "function: turn-worker, target: dynamodb, call: TransactWriteItems, moment: after",
    "function: turn-worker, target: sqs, call: SendMessage, moment: after",
    "function: ws-message, target: sqs, call: SendMessage, moment: before",
    "function: ws-message, target: dynamodb, call: TransactWriteItems, moment: after",
];

#[tokio::test]
async fn a_process_that_dies_at_any_step_leaves_each_call_in_the_ledger_once() -> Result<()> {
    let provider = Provider::start().await?;
    let faulty = Faulty::start(provider.options(), "rules: []").await?;
    let stack = &faulty.stack;
    for (case, point) in POINTS.into_iter().enumerate() {
        let user = format!("ann{case}");
        let before = provider.stats().await?;
        let rule = format!("{{{point}, fault: kill, times: 1}}");
        faulty.plan(&format!("rules: [{rule}]")).await?;
        let script = json!({ "pieces": ["一", "二", "三", "四"], "pause_ms": 60 });
        let payload = json!({ "session_id": "s1", "message": format!("#script {script}") });
        let chat = request("chat", "r1", payload);
        let mut client = stack.connect(&user).await?;
        client.send(chat.clone()).await?;
        while faulty.injected(0).await? == 0 {}
        faulty.plan("rules: []").await?;
        let kept = loop {
            stack.connect(&user).await?.send(chat.clone()).await?;
            let kept = entries(&mut stack.connect(&user).await?, "s1").await?;
            if !kept.is_empty() {
                break kept;
            }
        };
        ensure!(
            kept.len() == 2 && kept[1]["text"] == "一二三四",
            "{point}: {kept:?}"
        );
        let all = ledger(stack).await?;
        let of_user = |line: &&Value| line["user_id"] == *user;
        let lines: Vec<Value> = all.iter().filter(of_user).cloned().collect();
        let after = provider.stats().await?;
        let more =
            |name: &str| after[name].as_u64().unwrap_or(0) - before[name].as_u64().unwrap_or(0);
        let served = TOKENS.iter().map(|name| more(name)).sum::<u64>();
        let counted: Vec<Value> = lines
            .iter()
            .filter(|line| line["estimated"] == false)
            .cloned()
            .collect();
        ensure!(counted.len() == 1, "{point}: {lines:?}");
        ensure!(
            u64::try_from(lines.len())? >= more("calls"),
            "{point}: {lines:?}"
        );
        if lines.len() == 1 {
            ensure!(sum(&lines, &TOKENS) == served, "{point}: {lines:?} {after}");
        } else {
            ensure!(sum(&lines, &TOKENS) >= served, "{point}: {lines:?} {after}");
        }
        balanced(stack, &user, &all).await.context(point)?;
    }
    Ok(())
}

/// Where the process dies that writes the ledger; its message comes again after a minute.
const AT_THE_LEDGER: [&str; 3] = [
    "call: GetItem, moment: before",
    "call: TransactWriteItems, moment: before",
    "call: TransactWriteItems, moment: after",
];

#[tokio::test]
async fn a_ledger_whose_writer_dies_has_each_call_once() -> Result<()> {
    let provider = Provider::start().await?;
    let faulty = Faulty::start(provider.options(), "rules: []").await?;
    let stack = &faulty.stack;
    for (case, point) in AT_THE_LEDGER.into_iter().enumerate() {
        let of_writer = "function: billing-worker, target: dynamodb, fault: kill, times: 1";
        faulty
            .plan(&format!("rules: [{{{of_writer}, {point}}}]"))
            .await?;
        let mut client = stack.connect(&format!("ann{case}")).await?;
        client.chat("s1", "thanks").await?;
        while faulty.injected(0).await? == 0 {}
    }
    faulty.plan("rules: []").await?;
    let lines = ledger(stack).await?;
    assert_eq!(lines.len(), AT_THE_LEDGER.len());
    for case in 0..AT_THE_LEDGER.len() {
        balanced(stack, &format!("ann{case}"), &lines).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bill_whose_message_was_lost_is_sent_again_by_the_sweeper() -> Result<()> {
    let provider = Provider::start().await?;
    let plan = "rules: [{function: turn-worker, target: sqs, call: SendMessage, \
                fault: kill, moment: before, times: 1}]";
    let faulty = Faulty::start(provider.options(), plan).await?;
    let stack = &faulty.stack;
    let mut client = stack.connect("ann").await?;
    let payload = json!({ "session_id": "s1", "message": "thanks" });
    client.request("chat", payload).await?;
    while faulty.injected(0).await? == 0 {}
    // It is settled, nobody sends it, and a sweep finds it after a minute.
    while stack.items("LedgerTable").await?.is_empty() {
        stack.invoke("sweeper", &json!({})).await?;
    }
    let lines = ledger(stack).await?;
    assert_eq!(lines.len(), 1);
    balanced(stack, "ann", &lines).await
}

#[tokio::test]
async fn what_providers_report_wrongly_is_bounded_and_marked() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let absurd = json!({ "prompt_tokens": 4_000_000_000_u32, "completion_tokens": 1 });
    let more = json!({ "prompt_tokens": 2_000, "completion_tokens": 9_000 });
    for (user, usage, expected) in [
        ("none", json!(null), None),
        ("absurd", absurd, None),
        ("more", more, Some(11_000)),
    ] {
        let mut script = json!({ "pieces": ["abc"] });
        if usage.is_null() {
            script["fail"] = json!("cut");
            script["fail_after"] = json!(1);
        } else {
            script["usage"] = usage;
        }
        let mut client = stack.connect(user).await?;
        client.chat("s1", &format!("#script {script}")).await?;
        let all = ledger(&stack).await?;
        let of_user = |line: &&Value| line["user_id"] == user;
        let lines: Vec<Value> = all.iter().filter(of_user).cloned().collect();
        assert_eq!(lines.len(), 1, "{user}");
        assert_eq!(lines[0]["estimated"], expected.is_none(), "{lines:?}");
        let tokens = sum(&lines, &TOKENS);
        match expected {
            Some(expected) => assert_eq!(tokens, expected, "{lines:?}"),
            None => assert!((3..50_000).contains(&tokens), "{lines:?}"),
        }
        balanced(&stack, user, &all).await?;
    }
    Ok(())
}

#[tokio::test]
async fn limits_below_what_is_used_and_a_stop_refuse_the_next_call() -> Result<()> {
    let provider = Provider::start().await?;
    let stack = provider.options().start().await?;
    let usage = json!({ "prompt_tokens": 100, "completion_tokens": 20 });
    let script = format!("#script {}", json!({ "pieces": ["a"], "usage": usage }));
    let mut client = stack.connect("ann").await?;
    client.chat("s1", &script).await?;
    limit(&stack, json!({ "day_money": 10 })).await?;
    let code = loop {
        // Every instance follows within 10 s.
        let answer = client.chat("s1", &script).await?;
        if answer.last()["type"] == "error" {
            break answer.payload("error")["code"].clone();
        }
    };
    assert_eq!(code, "BUDGET_EXCEEDED");
    let lines = ledger(&stack).await?;
    balanced(&stack, "ann", &lines).await?;
    let suspend = json!({
        "TableName": "AccountsTable", "Key": { "user_id": { "S": "ann" } },
        "UpdateExpression": "SET suspended = :true",
        "ExpressionAttributeValues": { ":true": { "BOOL": true } },
    });
    stack.dynamo("UpdateItem", &suspend).await?;
    let answer = client.chat("s1", &script).await?;
    assert_eq!(answer.payload("error")["code"], "FORBIDDEN");
    Ok(())
}
