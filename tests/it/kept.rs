//! `sparkle cache`, as an operator types it, against a running stack.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::Stack;

use crate::{
    cache::{kept, started},
    operator::Operator,
};

/// Questions of the first learner; the second asks the last of them too.
const QUESTIONS: [&str; 3] = [
    "什么是光合作用？",
    "What is a derivative?",
    "What is an integral?",
];

/// A stack on which two learners were answered, the first of them once for nothing.
async fn answered() -> Result<Stack> {
    let (_provider, stack) = started(|options| options).await?;
    let mut ann = stack.connect("ann").await?;
    for (place, question) in (1..).zip(QUESTIONS) {
        ann.chat(&format!("s{place}"), question).await?;
        kept(&stack, place).await?;
    }
    let again = ann.chat("again", QUESTIONS[1]).await?;
    ensure!(again.payload("done")["cache"] == "exact", "{again:?}");
    stack.connect("ben").await?.chat("s1", QUESTIONS[2]).await?;
    kept(&stack, QUESTIONS.len() + 1).await?;
    while !stack.items("IntentsTable").await?.is_empty() {}
    Ok(stack)
}

/// Owner, question, hits and saved tokens of every row but the last, and what the last says.
fn read(shown: &str) -> Result<(Vec<Vec<String>>, String)> {
    let mut rows: Vec<Vec<String>> = shown
        .lines()
        .skip(1)
        .map(|row| {
            row.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .collect();
    let total = rows.pop().context("no total")?;
    Ok((rows, total.join(" ")))
}

/// What is kept, by its owner and question.
async fn left(stack: &Stack) -> Result<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut left: Vec<_> = kept(stack, 0)
        .await?
        .iter()
        .map(|entry| (text(&entry["scope"]), text(&entry["question"])))
        .collect();
    left.sort();
    Ok(left)
}

#[tokio::test]
async fn an_operator_sees_what_is_kept_and_what_it_saved() -> Result<()> {
    let stack = answered().await?;
    let operator = Operator::of(&stack)?;
    let (rows, total) = read(&operator.does("cache show").await?)?;
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert_eq!(
        rows[0][..2],
        ["learner/ann", "what is a derivative"],
        "{rows:?}"
    );
    assert_eq!(rows[0][3], "1", "{rows:?}");
    let saved = &rows[0][4];
    ensure!(saved != "0", "{rows:?}");
    assert_eq!(total, format!("total 4 answers 1 {saved}"));
    for (command, count) in [
        ("cache show --user ben", 1),
        ("cache show --user nobody", 0),
        ("cache show --topic IS", 3),
        ("cache show --topic 光合", 1),
        ("cache show --topic derivative --user ben", 0),
        ("cache show --older-than 1", 0),
        ("cache show --older-than 0", 4),
        ("cache show --newer-than 1", 4),
    ] {
        let (rows, total) = read(&operator.does(command).await?)?;
        assert_eq!(rows.len(), count, "{command}");
        let expected = if count == 1 {
            "total 1 answer ".to_owned()
        } else {
            format!("total {count} answers ")
        };
        ensure!(total.starts_with(&expected), "{command}: {total}");
    }
    let (rows, total) = read(&operator.does("cache show --limit 1").await?)?;
    assert_eq!(rows.len(), 1);
    ensure!(total.starts_with("total 4 answers 1 "), "{total}");
    Ok(())
}

#[tokio::test]
async fn an_operator_removes_answers_by_topic_learner_and_age_and_they_are_not_served() -> Result<()>
{
    let stack = answered().await?;
    let operator = Operator::of(&stack)?;
    let clear = async |which: &str| operator.does(&format!("cache clear {which}")).await;
    assert_eq!(clear("--older-than 1").await?, "0 answers are removed\n");
    assert_eq!(clear("--topic Derivative").await?, "1 answer is removed\n");
    let mut ann = stack.connect("ann").await?;
    let id = ann
        .request("chat", json!({ "message": QUESTIONS[1], "cache": "only" }))
        .await?;
    assert_eq!(ann.answer(&id).await?.payload("error")["code"], "NOT_FOUND");
    assert_eq!(
        clear("--user ann --topic integral").await?,
        "1 answer is removed\n"
    );
    let own = |owner: &str, question: &str| (owner.to_owned(), question.to_owned());
    assert_eq!(
        left(&stack).await?,
        [
            own("learner/ann", "什么是光合作用"),
            own("learner/ben", "what is an integral")
        ]
    );
    assert_eq!(clear("--user ben").await?, "1 answer is removed\n");
    assert_eq!(clear("--older-than 0").await?, "1 answer is removed\n");
    assert_eq!(clear("--all").await?, "0 answers are removed\n");
    ensure!(stack.items("CacheTable").await?.is_empty());
    Ok(())
}

/// What leads to an answer holds its question too.
#[tokio::test]
async fn what_leads_to_an_answer_goes_with_it() -> Result<()> {
    let stack = answered().await?;
    let operator = Operator::of(&stack)?;
    let entries = kept(&stack, 4).await?;
    let entry = entries
        .iter()
        .find(|entry| entry["question"] == "what is a derivative");
    let entry = entry.context("no such answer")?;
    let key = entry["entry"].as_str().context("no entry")?;
    let (namespace, digest) = key.split_once("/q/").context("no answer's key")?;
    // Beside the one that the worker has written.
    let mark = format!("{namespace}/v/e1/{:013}/{digest}", 1_764_000_000_000_u64);
    let candidate = json!({
        "scope": { "S": "learner/ann" },
        "entry": { "S": mark },
        "question": { "S": "what is a derivative" },
        "vector": { "B": "AAAA" },
        "expires_at": { "N": "4000000000" },
    });
    let put = json!({ "TableName": "CacheTable", "Item": candidate });
    stack.dynamo("PutItem", &put).await?;
    let (rows, _) = read(&operator.does("cache show").await?)?;
    assert_eq!(rows.len(), 4, "a candidate is no answer");
    let said = operator.does("cache clear --topic derivative").await?;
    assert_eq!(said, "1 answer is removed\n");
    for left in stack.items("CacheTable").await? {
        let question = left["question"].as_str().unwrap_or_default();
        ensure!(!question.to_lowercase().contains("derivative"), "{left}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_to_be_removed_must_be_said() -> Result<()> {
    let stack = Stack::start().await?;
    let operator = Operator::of(&stack)?;
    for (command, told) in [
        ("cache", "show"),
        ("cache clear", "--all"),
        ("cache clear --all --user ann", "cannot be used with"),
        ("cache clear --older-than soon", "a whole number of days"),
        ("cache clear --older-than -1", "unexpected argument"),
        ("cache clear --topic ", "a value is required"),
        ("cache clear --newer-than 3", "unexpected argument"),
        ("cache show --limit many", "invalid"),
        ("cache burn", "unrecognized"),
    ] {
        let wrong = operator.types(command).await.err();
        let wrong = wrong.with_context(|| format!("{command} was done"))?;
        ensure!(wrong.contains(told), "{command}: {wrong}");
    }
    Ok(())
}
