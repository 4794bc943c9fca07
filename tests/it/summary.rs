//! What is remembered of long conversations: when a summary is made, by which call, and who sees it
//! (R-CTX-3).

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use sparkle_core::{
    id::{RequestId, SessionId, TraceId, UserId},
    policy::Tier,
    summary::SummaryJob,
    unit::Timestamp,
};
use sparkle_tests::{Client, Stack, get, http};
use sparkle_wire::job;
use tokio::time::{Duration, timeout};

use crate::{
    fault::Faulty,
    money::{balanced, ledger, limit},
    provider::Provider,
};

const SUMMARIES: &str = "SummaryQueue";
const DEAD: &str = "SummaryDeadLetterQueue";
/// A crashed worker's message comes again after 15 s, and some are crashed twice.
const PATIENCE: Duration = Duration::from_mins(2);

/// Turns after which a conversation has over 20 messages.
const LONG: usize = 11;

/// A stack whose learners are answered by one provider and whose summaries are written by another.
struct Tutored {
    stack: Stack,
    tutor: Provider,
    notes: Provider,
}

impl Tutored {
    async fn start() -> Result<Self> {
        let (tutor, notes) = (Provider::start().await?, Provider::start().await?);
        let options = tutor
            .options()
            .variable("SPARKLE_LLM_TIMEOUT_SECONDS", "30")
            .variable("SPARKLE_SUMMARY_BASE_URL", notes.base_url())
            .variable("SPARKLE_SUMMARY_MODEL", "gpt-4.1-mini")
            .variable("SPARKLE_SUMMARY_TOKENS_MAX", "300");
        let stack = options.start().await?;
        Ok(Self {
            stack,
            tutor,
            notes,
        })
    }
}

/// What the provider says to its next calls, whatever they ask.
async fn says(provider: &Provider, times: usize, script: Value) -> Result<()> {
    let url = provider
        .base_url()
        .replace("/v1", &format!("/script?times={times}"));
    let order = http().post(url).json(&script).send().await?;
    ensure!(order.status().is_success(), "{}", order.text().await?);
    Ok(())
}

/// The prompts that a provider has got, oldest first, each as its messages.
async fn prompts(provider: &Provider) -> Result<Vec<Value>> {
    let text = get(&provider.base_url().replace("/v1", "/requests")).await?;
    let requests: Vec<Value> = serde_json::from_str(&text)?;
    Ok(requests
        .into_iter()
        .map(|request| request["body"].clone())
        .collect())
}

/// Has a learner and the tutor speak, `turns` times, a few words each.
async fn speak(client: &mut Client, session: &str, turns: usize) -> Result<Value> {
    let mut done = Value::Null;
    for _ in 0..turns {
        let script =
            json!({ "pieces": ["yes"], "usage": { "prompt_tokens": 9, "completion_tokens": 1 } });
        let answer = client.chat(session, &format!("#script {script}")).await?;
        done = answer.payload("done").clone();
    }
    Ok(done)
}

/// What is remembered of ann's conversation `session`.
async fn remembered(stack: &Stack, session: &str) -> Result<Option<Value>> {
    let items = stack.items("SummariesTable").await?;
    let key = format!("ann/{session}");
    Ok(items.into_iter().find(|item| item["conversation"] == *key))
}

/// The summary that covers so much, once it is there.
async fn summary(stack: &Stack, session: &str, covers: u64) -> Result<Value> {
    let look = async {
        loop {
            if let Some(item) = remembered(stack, session).await?
                && item["covers"] == covers
            {
                return anyhow::Ok(item);
            }
        }
    };
    timeout(PATIENCE, look)
        .await
        .with_context(|| format!("no summary of {session} to {covers}"))?
}

async fn url(stack: &Stack, queue: &str) -> Result<String> {
    let asked = json!({ "QueueName": queue });
    let answer = stack.sqs("GetQueueUrl", &asked).await?;
    let url = answer["QueueUrl"].as_str();
    url.map(str::to_owned).context("no such queue")
}

/// How many messages a queue holds, whoever has them.
async fn depth(stack: &Stack, queue: &str) -> Result<u64> {
    let asked = json!({ "QueueUrl": url(stack, queue).await?, "AttributeNames": ["All"] });
    let answer = stack.sqs("GetQueueAttributes", &asked).await?;
    let number = |name: &str| {
        let digits = answer["Attributes"][name].as_str();
        digits.and_then(|digits| digits.parse::<u64>().ok())
    };
    let visible = number("ApproximateNumberOfMessages").context("no number")?;
    Ok(visible + number("ApproximateNumberOfMessagesNotVisible").context("no number")?)
}

async fn drained(stack: &Stack, queue: &str) -> Result<()> {
    let look = async {
        while depth(stack, queue).await? > 0 {}
        anyhow::Ok(())
    };
    timeout(PATIENCE, look)
        .await
        .context("the queue is never empty")?
}

/// An order by an outside producer.
fn order(id: &str, session: &str, upto: u64) -> Result<String> {
    let now_ms = std::time::UNIX_EPOCH.elapsed()?.as_millis();
    Ok(job::encode_summary(&SummaryJob {
        id: RequestId::parse(id)?,
        user_id: UserId::parse("ann")?,
        session_id: SessionId::parse(session)?,
        trace_id: TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736")?,
        upto,
        requested_at: Timestamp::from_unix_ms(i64::try_from(now_ms)?),
        tier: Tier::Free,
    }))
}

async fn send(stack: &Stack, bodies: &[String]) -> Result<()> {
    let url = url(stack, SUMMARIES).await?;
    for batch in bodies.chunks(10) {
        let entries = batch.iter().enumerate();
        let entry = |(place, body): (usize, &String)| json!({ "Id": place.to_string(), "MessageBody": body });
        let entries: Vec<Value> = entries.map(entry).collect();
        let sent = json!({ "QueueUrl": url, "Entries": entries });
        stack.sqs("SendMessageBatch", &sent).await?;
    }
    Ok(())
}

#[tokio::test]
async fn over_20_messages_a_prompt_holds_the_summary_and_the_newest_messages() -> Result<()> {
    let Tutored {
        stack,
        tutor,
        notes,
    } = Tutored::start().await?;
    let usage = json!({ "prompt_tokens": 100, "completion_tokens": 7 });
    says(
        &notes,
        9,
        json!({ "pieces": ["Ann wants ", "derivatives."], "usage": usage }),
    )
    .await?;
    let mut client = stack.connect("ann").await?;
    let done = speak(&mut client, "s1", LONG - 1).await?;
    assert!(done.get("summary_used").is_none());
    assert_eq!(remembered(&stack, "s1").await?, None, "20 are not over 20");
    speak(&mut client, "s1", 1).await?;
    let kept = summary(&stack, "s1", 17).await?;
    assert_eq!(
        (&kept["text"], &kept["tokens"]),
        (&json!("Ann wants derivatives."), &json!(7))
    );

    let asked = prompts(&notes).await?;
    assert_eq!(
        (asked.len(), &asked[0]["model"]),
        (1, &json!("gpt-4.1-mini"))
    );
    assert_eq!(asked[0]["max_tokens"], 300, "{}", asked[0]);
    let material = asked[0]["messages"][1]["content"].as_str();
    let lines: Vec<Value> = material
        .context("no material")?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), 17);
    assert_eq!(
        (&lines[16]["speaker"], &lines[1]["text"]),
        (&json!("user"), &json!("yes"))
    );

    let done = speak(&mut client, "s1", 1).await?;
    assert_eq!(done["summary_used"], true);
    let prompt = prompts(&tutor).await?.pop().context("no prompt")?;
    let messages = prompt["messages"].as_array().context("no messages")?;
    let recalled = messages[1]["content"].as_str().unwrap_or_default();
    assert!(recalled.contains("Ann wants derivatives."), "{prompt}");
    assert_eq!(messages[1]["role"], "system");
    let roles: Vec<&str> = messages[2..]
        .iter()
        .filter_map(|message| message["role"].as_str())
        .collect();
    // The newest five, the question before them, and the new one.
    let pair = ["user", "assistant"];
    assert_eq!(roles, [&pair[..], &pair, &pair, &["user"]].concat());

    // Three turns later the next one is made of this one and of what was said since.
    speak(&mut client, "s1", 2).await?;
    summary(&stack, "s1", 23).await?;
    let asked = prompts(&notes).await?;
    assert_eq!(asked.len(), 2);
    let material = asked[1]["messages"][1]["content"].as_str();
    let lines: Vec<&str> = material.unwrap_or_default().lines().collect();
    assert_eq!(
        (lines.len(), lines[0]),
        (7, r#"{"notes":"Ann wants derivatives."}"#)
    );

    let lines = ledger(&stack).await?;
    let of_notes: Vec<&Value> = lines
        .iter()
        .filter(|line| line["purpose"] == "summary")
        .collect();
    assert_eq!(of_notes.len(), 2);
    for line in of_notes {
        assert_eq!(line["model"], "gpt-4.1-mini");
        assert_eq!(
            (&line["prompt_tokens"], &line["completion_tokens"]),
            (&json!(100), &json!(7))
        );
        assert_eq!(line["estimated"], false);
    }
    balanced(&stack, "ann", &lines).await
}

#[tokio::test]
async fn a_thousand_orders_for_a_conversation_are_one_call() -> Result<()> {
    let Tutored {
        stack,
        tutor: _tutor,
        notes,
    } = Tutored::start().await?;
    says(
        &notes,
        1_000,
        json!({ "pieces": ["notes"], "open_pause_ms": 4_000 }),
    )
    .await?;
    let mut client = stack.connect("ann").await?;
    // Each of these turns but the first ten finds that there is no summary.
    speak(&mut client, "s1", LONG).await?;
    speak(&mut client, "s1", LONG).await?;
    let orders: Vec<String> = (0..1_000)
        .map(|n| order(&format!("order-{n}"), "s1", 17))
        .collect::<Result<_>>()?;
    send(&stack, &orders).await?;
    summary(&stack, "s1", 17).await?;
    drained(&stack, SUMMARIES).await?;
    assert_eq!(notes.stats().await?["calls"], 1);
    assert_eq!(
        depth(&stack, DEAD).await?,
        0,
        "who comes late finds it done"
    );
    let lines = ledger(&stack).await?;
    let of_notes = lines.iter().filter(|line| line["purpose"] == "summary");
    assert_eq!(of_notes.count(), 1);
    balanced(&stack, "ann", &lines).await
}

/// Where a worker dies, each once: at the claim, at the model, at the settlement, at the summary.
const POINTS: [&str; 8] = [
    "target: sqs, call: ChangeMessageVisibility, moment: after",
    "target: dynamodb, call: UpdateItem, moment: after",
    "target: llm, moment: before",
    "target: llm, moment: after, bytes: 300",
    "target: dynamodb, call: TransactWriteItems, moment: before",
    "target: dynamodb, call: TransactWriteItems, moment: after",
    "target: dynamodb, call: UpdateItem, moment: before, after: 2",
    "target: dynamodb, call: UpdateItem, moment: after, after: 2",
];

#[tokio::test]
async fn a_worker_may_die_at_any_point_and_the_summary_still_comes() -> Result<()> {
    try_join_all(POINTS.map(dies)).await?;
    Ok(())
}

async fn dies(point: &str) -> Result<()> {
    let provider = Provider::start().await?;
    let rule = format!("{{{point}, function: summary-worker, fault: kill, times: 1}}");
    let faulty = Faulty::start(provider.options(), &format!("rules: [{rule}]")).await?;
    let stack = &faulty.stack;
    let mut client = stack.connect("ann").await?;
    speak(&mut client, "s1", LONG).await?;
    summary(stack, "s1", 17).await.context(point.to_owned())?;
    drained(stack, SUMMARIES).await?;
    assert_eq!(faulty.injected(0).await?, 1, "{point}");
    let lines = ledger(stack).await?;
    let of_notes: Vec<&Value> = lines
        .iter()
        .filter(|line| line["purpose"] == "summary")
        .collect();
    let calls = provider.stats().await?["calls"].as_u64().unwrap_or(0) - u64::try_from(LONG)?;
    assert!((1..=2).contains(&calls), "{point}: {calls}");
    assert!(
        u64::try_from(of_notes.len())? >= calls,
        "{point}: {lines:?}"
    );
    balanced(stack, "ann", &lines)
        .await
        .context(point.to_owned())?;
    // It is one that a turn uses.
    let done = speak(&mut client, "s1", 1).await?;
    assert_eq!(done["summary_used"], true, "{point}");
    Ok(())
}

#[tokio::test]
async fn an_hour_later_a_summary_only_serves_to_make_the_next_one() -> Result<()> {
    let Tutored {
        stack,
        tutor: _tutor,
        notes,
    } = Tutored::start().await?;
    says(&notes, 1, json!({ "pieces": ["Old notes."] })).await?;
    let mut client = stack.connect("ann").await?;
    speak(&mut client, "s1", LONG).await?;
    let kept = summary(&stack, "s1", 17).await?;
    let fresh_until = kept["fresh_until"].as_u64().context("no time")?;
    let now_ms = u64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    let hour = 3_600_000;
    assert!((now_ms + hour - 60_000..=now_ms + hour).contains(&fresh_until));
    let expire = json!({
        "TableName": "SummariesTable", "Key": { "conversation": { "S": "ann/s1" } },
        "UpdateExpression": "SET fresh_until = :past",
        "ExpressionAttributeValues": { ":past": { "N": (fresh_until - hour).to_string() } },
    });
    stack.dynamo("UpdateItem", &expire).await?;
    let done = speak(&mut client, "s1", 1).await?;
    assert!(done.get("summary_used").is_none(), "{done}");
    summary(&stack, "s1", 19).await?;
    let asked = prompts(&notes).await?;
    let material = asked[1]["messages"][1]["content"].as_str();
    let first = material.and_then(|lines| lines.lines().next());
    assert_eq!(first, Some(r#"{"notes":"Old notes."}"#));
    let done = speak(&mut client, "s1", 1).await?;
    assert_eq!(done["summary_used"], true);
    Ok(())
}

#[tokio::test]
async fn a_conversation_that_is_deleted_is_remembered_by_nothing() -> Result<()> {
    let Tutored {
        stack,
        tutor: _tutor,
        notes,
    } = Tutored::start().await?;
    let mut client = stack.connect("ann").await?;
    speak(&mut client, "s1", LONG).await?;
    summary(&stack, "s1", 17).await?;
    says(
        &notes,
        1,
        json!({ "pieces": ["late"], "open_pause_ms": 1_500 }),
    )
    .await?;
    speak(&mut client, "s2", LONG).await?;
    // While the model writes its summary.
    while notes.stats().await?["calls"] != 2 {}
    for session in ["s1", "s2"] {
        let delete = json!({ "action": "delete", "session_id": session });
        let answer = client.ask("sessions", delete).await?;
        ensure!(answer["type"] == "sessions", "{answer}");
    }
    drained(&stack, SUMMARIES).await?;
    assert_eq!(stack.items("SummariesTable").await?, Vec::<Value>::new());
    // An order that comes too late finds nothing.
    send(&stack, &[order("late", "s1", 17)?]).await?;
    drained(&stack, SUMMARIES).await?;
    assert_eq!(stack.items("SummariesTable").await?, Vec::<Value>::new());
    assert_eq!(notes.stats().await?["calls"], 2);
    // Both calls are paid for all the same.
    let lines = ledger(&stack).await?;
    let of_notes = lines.iter().filter(|line| line["purpose"] == "summary");
    assert_eq!(of_notes.count(), 2);
    Ok(())
}

#[tokio::test]
async fn an_order_that_nobody_can_fulfil_is_a_dead_letter_with_its_reason() -> Result<()> {
    let stack = Stack::start().await?;
    let whole = order("o1", "s1", 17)?;
    let unnamed = order("o1", "s1", 0)?;
    send(&stack, &["not base64".to_owned(), unnamed.clone(), whole]).await?;
    drained(&stack, SUMMARIES).await?;
    let mut letters = Vec::new();
    let receive = json!({
        "QueueUrl": url(&stack, DEAD).await?, "MaxNumberOfMessages": 10,
        "MessageAttributeNames": ["All"], "WaitTimeSeconds": 1,
    });
    while letters.len() < 2 {
        let received = stack.sqs("ReceiveMessage", &receive).await?;
        letters.extend(received["Messages"].as_array().cloned().unwrap_or_default());
    }
    let reason = |body: &str| {
        let letter = letters.iter().find(|letter| letter["Body"] == body);
        letter.map(|letter| letter["MessageAttributes"]["reason"]["StringValue"].clone())
    };
    let told = reason("not base64").context("no letter")?;
    assert!(told.to_string().contains("not base64"), "{told}");
    let told = reason(&unnamed).context("no letter")?;
    assert!(told.to_string().contains("upto"), "{told}");
    // The one that could be read was about no conversation.
    assert_eq!(depth(&stack, DEAD).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_learner_at_the_limit_gets_no_summary_and_a_model_that_fails_is_asked_again() -> Result<()>
{
    let Tutored {
        stack,
        tutor: _tutor,
        notes,
    } = Tutored::start().await?;
    let mut client = stack.connect("ann").await?;
    says(&notes, 1, json!({ "fail": "unavailable" })).await?;
    speak(&mut client, "s1", LONG).await?;
    summary(&stack, "s1", 17).await?;
    assert_eq!(notes.stats().await?["calls"], 2);
    speak(&mut client, "s2", LONG - 1).await?;
    limit(&stack, json!({ "day_tokens": 1 })).await?;
    let denied = async {
        // Every instance follows within 10 s; one that was given up rests.
        let mut n = 0;
        loop {
            n += 1;
            send(&stack, &[order(&format!("o{n}"), "s2", 15)?]).await?;
            drained(&stack, SUMMARIES).await?;
            let metrics = stack.get("/metrics").await?;
            if metrics.contains(r#"summaries_total{status="denied"} 1"#) {
                return anyhow::Ok(());
            }
            // It had room still: it is to be asked again.
            let forget = json!({
                "TableName": "SummariesTable", "Key": { "conversation": { "S": "ann/s2" } },
            });
            stack.dynamo("DeleteItem", &forget).await?;
        }
    };
    timeout(PATIENCE, denied).await.context("never denied")??;
    let kept = remembered(&stack, "s2").await?.context("no item")?;
    assert!(kept.get("text").is_none(), "{kept}");
    balanced(&stack, "ann", &ledger(&stack).await?).await
}

#[tokio::test]
async fn no_summary_is_ordered_while_too_many_orders_wait() -> Result<()> {
    let plan = "rules: [{function: summary-worker, target: dynamodb, call: Query, \
                fault: delay, delay_ms: 1500}]";
    let provider = Provider::start().await?;
    let options = provider
        .options()
        .variable("SPARKLE_SUMMARY_BACKLOG_MAX", "1");
    let faulty = Faulty::start(options, plan).await?;
    let stack = &faulty.stack;
    let mut client = stack.connect("ann").await?;
    speak(&mut client, "s1", LONG - 1).await?;
    let orders: Vec<String> = (0..1_000)
        .map(|n| order(&format!("order-{n}"), &format!("other-{n}"), 17))
        .collect::<Result<_>>()?;
    send(stack, &orders).await?;
    speak(&mut client, "s1", 1).await?;
    let shed = async {
        while !stack
            .get("/metrics")
            .await?
            .contains("summaries_shed_total 1")
        {}
        anyhow::Ok(())
    };
    timeout(PATIENCE, shed).await.context("never shed")??;
    assert_eq!(remembered(stack, "s1").await?, None);
    Ok(())
}
