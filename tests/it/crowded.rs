//! A namespace with more entries than a copy holds, the newest of which are damaged.

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::json;
use sparkle_core::cache::canonical::Canonical;
use sparkle_tests::{Answer, Client, entries, entries::Entry, processes};

use crate::{cache::level, endpoint::Endpoint};

const ENTRIES: usize = 12_000;
/// More than one query reads.
const DAMAGED: usize = 1_600;
/// What the function is given (`template.yaml`).
const MEMORY_BYTES_MAX: u64 = 384 * 1024 * 1024;

async fn ask(client: &mut Client, session: &str, text: &str) -> Result<Answer> {
    let payload = json!({ "session_id": session, "message": text });
    let id = client.request("chat", payload).await?;
    client.answer(&id).await
}

#[tokio::test]
async fn among_very_many_entries_and_damaged_ones_the_right_one_is_found() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    let stack = endpoint.answering().start().await?;
    let dynamodb = stack.address("dynamodb");
    let mut ann = stack.connect("ann").await?;
    let first = ask(&mut ann, "s1", "为什么天空是蓝色的？").await?;
    let entry = Entry::kept(dynamodb, "为什么天空是蓝色的", &[]).await?;
    let (mut rng, dimension) = (Rng::with_seed(1), entry.dimension()?);
    let mut another = |number: usize, later_ms: i64| -> Result<Entry> {
        let form = Canonical::of(&format!("第{number}个问题问的是什么")).context("no form")?;
        let vector: Vec<u8> = (0..dimension).map(|_| rng.u8(..)).collect();
        entry.with((form.as_str(), &form.digest()), later_ms, &vector)
    };
    let mut items = Vec::new();
    for number in 0..ENTRIES {
        // Each is older than the first, by an hour and more.
        let Entry { answer, candidate } = another(number, -3_600_000 - i64::try_from(number)?)?;
        items.extend([answer, candidate]);
    }
    for number in ENTRIES..ENTRIES + DAMAGED {
        let Entry { mut candidate, .. } = another(number, 1)?;
        candidate.remove("vector");
        items.push(candidate);
    }
    entries::write(dynamodb, items.into_iter()).await?;
    for session in ["s2", "s3"] {
        let same = ask(&mut ann, session, "天空为什么是蓝色的呢？").await?;
        assert_eq!(level(&same), "semantic", "{same:?}");
        assert_eq!(same.text, first.text);
    }
    let other = ask(&mut ann, "s4", "怎样计算圆的面积？").await?;
    assert_eq!(level(&other), "none");
    let workers = processes::of_function(stack.pid(), "turn-worker");
    ensure!(!workers.is_empty());
    for worker in workers {
        let peak = processes::memory_peak_bytes(worker.pid)?;
        ensure!(peak < MEMORY_BYTES_MAX, "{peak} bytes");
    }
    Ok(())
}
