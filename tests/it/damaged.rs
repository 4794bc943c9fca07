//! Entries of the cache that are not as any release writes them: they serve nobody, are counted, and are in nobody's
//! way.
//!
//! Each is asked about in a role of its own, so in a namespace of its own. All texts have one vector (`endpoint`): what
//! can be read of a damaged candidate is as near as can be.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{
    Answer, Client, Stack,
    cloud::Typed,
    entries::{Entry, mark_of},
};

use crate::{
    cache::level,
    endpoint::{Endpoint, number_of},
};

const QUESTION: &str = "为什么天空是蓝色的？";
/// The same in other words.
const SAME: &str = "天空为什么是蓝色的呢？";
const SAME_TOO: &str = "天空为什么是蓝色的？";
const OTHER: &str = "怎样计算圆的面积？";

/// What is wrong with an entry.
type Damage = (&'static str, fn(&mut Typed));

fn set(item: &mut Typed, name: &str, value: Value) {
    item.insert(name.to_owned(), value);
}

/// Candidates that are counted as damaged.
const CANDIDATES: [Damage; 10] = [
    ("a short vector", |item| {
        set(item, "vector", json!({ "B": "AAEC" }));
    }),
    ("a vector of nothing", |item| {
        set(item, "vector", json!({ "B": "AAAAAAAAAAA=" }));
    }),
    ("an empty vector", |item| {
        set(item, "vector", json!({ "B": "" }));
    }),
    ("no vector", |item| drop(item.remove("vector"))),
    ("a vector as text", |item| {
        set(item, "vector", json!({ "S": "f6AAAA==" }));
    }),
    ("no question", |item| drop(item.remove("question"))),
    ("a number for a question", |item| {
        set(item, "question", json!({ "N": "7" }));
    }),
    ("another's question", |item| {
        set(item, "question", json!({ "S": SAME }));
    }),
    ("no end", |item| drop(item.remove("expires_at"))),
    ("a text for its end", |item| {
        set(item, "expires_at", json!({ "S": "soon" }));
    }),
];

/// Answers that are counted as damaged.
const ANSWERS: [Damage; 15] = [
    ("no question", |item| drop(item.remove("question"))),
    ("a number for a question", |item| {
        set(item, "question", json!({ "N": "7" }));
    }),
    ("another's question", |item| {
        set(item, "question", json!({ "S": "怎样计算圆的面积" }));
    }),
    ("a number for an answer", |item| {
        set(item, "answer", json!({ "N": "7" }));
    }),
    ("an empty answer", |item| {
        set(item, "answer", json!({ "S": "" }));
    }),
    ("nothing but an answer", |item| {
        item.retain(|name, _| matches!(name.as_str(), "scope" | "entry" | "answer"));
    }),
    ("no name of the provider's", |item| {
        drop(item.remove("response_id"));
    }),
    ("a text for its tokens", |item| {
        set(item, "prompt_tokens", json!({ "S": "many" }));
    }),
    ("tokens below nothing", |item| {
        set(item, "completion_tokens", json!({ "N": "-1" }));
    }),
    ("more tokens than there are", |item| {
        set(item, "cached_tokens", json!({ "N": "1E+30" }));
    }),
    ("no time", |item| drop(item.remove("made_at"))),
    ("no asker", |item| drop(item.remove("asker"))),
    ("no end", |item| drop(item.remove("expires_at"))),
    ("a text for its hits", |item| {
        set(item, "hits", json!({ "S": "many" }));
    }),
    ("a call that is under way until a text", |item| {
        item.retain(|name, _| matches!(name.as_str(), "scope" | "entry"));
        set(item, "flight", json!({ "S": "a turn" }));
        set(item, "flight_until", json!({ "S": "soon" }));
    }),
];

async fn ask(client: &mut Client, role: &str, text: &str) -> Result<Answer> {
    let payload = json!({ "message": text, "role": role });
    let id = client.request("chat", payload).await?;
    client.answer(&id).await
}

/// What is kept for a question of this canonical form in a new namespace: until it is there.
async fn kept(stack: &Stack, seen: &[String], form: &str) -> Result<(Typed, Typed)> {
    let Entry { answer, candidate } = Entry::kept(stack.address("dynamodb"), form, seen).await?;
    Ok((answer, candidate))
}

fn namespace_of(item: &Typed) -> String {
    let namespace = mark_of(item).split('/').next();
    namespace.unwrap_or_default().to_owned()
}

/// What the metric says of damaged entries of a kind.
async fn counted(stack: &Stack, kind: &str) -> Result<usize> {
    let name = format!("cache_corrupt_total{{kind=\"{kind}\"}} ");
    let metrics = stack.get("/metrics").await?;
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
    Ok(count.map_or(Ok(0), str::parse)?)
}

/// Until so many are counted.
async fn counts(stack: &Stack, kind: &str, least: usize) -> Result<()> {
    for _ in 0..200 {
        if counted(stack, kind).await? >= least {
            return Ok(());
        }
    }
    anyhow::bail!("{kind}: {} of {least}", counted(stack, kind).await?)
}

/// No function has panicked or ended.
async fn ends_well(stack: Stack) -> Result<()> {
    let log = stack.kill().await?;
    for word in ["panicked", "does not start", "exited with"] {
        ensure!(!log.contains(word), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_damaged_candidate_is_passed_over_and_counted_and_hides_nothing() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    let stack = endpoint.options().start().await?;
    let mut ann = stack.connect("ann").await?;
    let mut seen = Vec::new();
    for (place, (what, damage)) in CANDIDATES.iter().enumerate() {
        let role = format!("role-{place}");
        let first = ask(&mut ann, &role, QUESTION).await?;
        let (_, mut candidate) = kept(&stack, &seen, "为什么天空是蓝色的").await?;
        damage(&mut candidate);
        stack.put("CacheTable", &candidate).await?;
        let second = ask(&mut ann, &role, SAME).await?;
        assert_eq!(level(&second), "none", "{what}");
        ensure!(number_of(&second.text)? > number_of(&first.text)?, "{what}");
        kept(&stack, &seen, "天空为什么是蓝色的呢").await?;
        let third = ask(&mut ann, &role, SAME_TOO).await?;
        assert_eq!(level(&third), "semantic", "{what}");
        assert_eq!(third.text, second.text, "{what}");
        counts(&stack, "candidate", place + 1).await?;
        seen.push(namespace_of(&candidate));
    }
    ends_well(stack).await
}

#[tokio::test]
async fn a_damaged_answer_is_served_to_nobody_and_its_question_is_asked_again() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    let stack = endpoint.options().start().await?;
    let mut ann = stack.connect("ann").await?;
    let mut seen = Vec::new();
    for (place, (what, damage)) in ANSWERS.iter().enumerate() {
        let role = format!("role-{place}");
        let first = ask(&mut ann, &role, QUESTION).await?;
        let (mut answer, _) = kept(&stack, &seen, "为什么天空是蓝色的").await?;
        damage(&mut answer);
        stack.put("CacheTable", &answer).await?;
        let before = counted(&stack, "answer").await?;
        let looked = json!({ "message": QUESTION, "role": role });
        let looked = ann.ask("lookup", looked).await?;
        assert_eq!(looked["payload"], json!({ "level": "none" }), "{what}");
        for question in [QUESTION, SAME] {
            let again = ask(&mut ann, &role, question).await?;
            assert_eq!(level(&again), "none", "{what}: {question}");
            ensure!(number_of(&again.text)? > number_of(&first.text)?, "{what}");
        }
        let (same, _) = kept(&stack, &seen, "天空为什么是蓝色的呢").await?;
        let same = same["answer"]["S"].as_str().context("no answer")?;
        let third = ask(&mut ann, &role, SAME_TOO).await?;
        assert_eq!(level(&third), "semantic", "{what}");
        assert_eq!(third.text, same, "{what}");
        counts(&stack, "answer", before + 1).await?;
        seen.push(namespace_of(&answer));
    }
    ends_well(stack).await
}

#[tokio::test]
async fn what_is_over_or_of_another_version_or_leads_nowhere_is_not_served() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    let stack = endpoint.options().start().await?;
    let mut ann = stack.connect("ann").await?;
    let past = json!({ "N": "1700000000" });
    let mut seen = Vec::new();
    for what in ["candidate", "answer", "version", "nowhere"] {
        let first = ask(&mut ann, what, QUESTION).await?;
        let (mut answer, mut candidate) = kept(&stack, &seen, "为什么天空是蓝色的").await?;
        seen.push(namespace_of(&answer));
        let mark = mark_of(&candidate).to_owned();
        match what {
            "candidate" => set(&mut candidate, "expires_at", past.clone()),
            "answer" => set(&mut answer, "expires_at", past.clone()),
            "version" => {
                stack.remove_entry(&candidate).await?;
                let of_another = mark.replace("x8/", "x9/");
                ensure!(of_another != mark, "{mark}");
                set(&mut candidate, "entry", json!({ "S": of_another }));
            }
            _ => stack.remove_entry(&answer).await?,
        }
        stack.put("CacheTable", &candidate).await?;
        if what != "nowhere" {
            stack.put("CacheTable", &answer).await?;
        }
        let second = ask(&mut ann, what, SAME).await?;
        assert_eq!(level(&second), "none", "{what}");
        let marks = stack.typed_items("CacheTable").await?;
        let is_there = marks.iter().any(|item| mark_of(item) == mark);
        // What leads to nothing is taken away by who finds it.
        assert_eq!(is_there, what == "candidate", "{what}");
        // What is over is replaced.
        let third = ask(&mut ann, what, QUESTION).await?;
        let is_kept = matches!(what, "candidate" | "version");
        assert_eq!(level(&third) == "exact", is_kept, "{what}");
        assert_eq!(third.text == first.text, is_kept, "{what}");
    }
    assert_eq!(counted(&stack, "answer").await?, 0);
    assert_eq!(counted(&stack, "candidate").await?, 0);
    ends_well(stack).await
}

/// Somebody has written into a learner's part what is another's, or leads astray.
#[tokio::test]
async fn a_poisoned_candidate_leads_to_no_other_answer_and_to_nobody_elses() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    let stack = endpoint.options().start().await?;
    let (mut ann, mut ben) = (stack.connect("ann").await?, stack.connect("ben").await?);
    let first = ask(&mut ann, "", QUESTION).await?;
    let (_, candidate) = kept(&stack, &[], "为什么天空是蓝色的").await?;
    let other = ask(&mut ann, "", OTHER).await?;
    let (_, astray) = kept(&stack, &[], "怎样计算圆的面积").await?;
    // In ben's part, a candidate for ann's answer.
    let mut poisoned = candidate.clone();
    set(&mut poisoned, "scope", json!({ "S": "learner/ben" }));
    stack.put("CacheTable", &poisoned).await?;
    let own = ask(&mut ben, "", SAME).await?;
    assert_eq!(level(&own), "none");
    ensure!(own.text != first.text, "{own:?}");
    // In ann's, candidates with the words of one question that lead to the answer of another.
    stack.remove_entry(&candidate).await?;
    let mut poisoned = astray.clone();
    for words in [SAME, "天空为什么是蓝色"] {
        set(&mut poisoned, "question", json!({ "S": words }));
        stack.put("CacheTable", &poisoned).await?;
        let fresh = ask(&mut ann, "", SAME).await?;
        ensure!(fresh.text != other.text, "{words}: {fresh:?}");
    }
    ensure!(counted(&stack, "candidate").await? > 0);
    ends_well(stack).await
}

/// How often answers were wrong is not known: then only the same question is answered.
#[tokio::test]
async fn without_readable_evidence_only_the_same_question_is_answered() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    let stack = endpoint.options().start().await?;
    let mut ann = stack.connect("ann").await?;
    let first = ask(&mut ann, "", QUESTION).await?;
    let (answer, _) = kept(&stack, &[], "为什么天空是蓝色的").await?;
    let mut evidence = Typed::new();
    set(&mut evidence, "scope", answer["scope"].clone());
    let entry = format!("{}/e/zh", namespace_of(&answer));
    set(&mut evidence, "entry", json!({ "S": entry }));
    set(&mut evidence, "checked", json!({ "S": "many" }));
    set(&mut evidence, "expires_at", json!({ "N": "4000000000" }));
    stack.put("CacheTable", &evidence).await?;
    let same = ask(&mut ann, "", SAME).await?;
    assert_eq!(level(&same), "none");
    let again = ask(&mut ann, "", QUESTION).await?;
    assert_eq!((level(&again), &again.text), ("exact", &first.text));
    counts(&stack, "evidence", 1).await?;
    ends_well(stack).await
}
