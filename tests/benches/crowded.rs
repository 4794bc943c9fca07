//! How long an answer takes that is found by its meaning in a namespace with very many others, and what memory that
//! takes (R-CACHE-2, M4).
//!
//!     cargo bench -p sparkle-tests --bench crowded                         1,000, 10,000 and 100,000 entries
//!     cargo bench -p sparkle-tests --bench crowded -- --entries 100000     so many
//!     cargo bench -p sparkle-tests --bench crowded -- --release            of what is deployed
//!
//! A learner's question is answered, entries of other questions are written beside its own, an hour older and with
//! random vectors, and then it is asked in other words: at first a warm instance reads its copy of the newest, later what
//! is new. The same is timed first in a namespace with nothing else in it. What is timed is a whole turn, from
//! sending to the last frame.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde_json::json;
use sparkle_core::cache::canonical::Canonical;
use sparkle_tests::{
    Answer, Client,
    bench::{Profile, Provider, Stack, Store, describe_machine, head, report, say},
    cloud::Typed,
    entries::{self, Entry},
    processes,
};

/// How often the question is asked in other words.
const LATER: usize = 20;
/// What was kept within the last minute is read anew for each lookup; this was long before.
const EARLIER_MS: i64 = 3_600_000;
const SEED: u64 = 7;
const MIB: f64 = 1024.0 * 1024.0;

/// Words, other words for the same, and the canonical form of the first.
const QUESTION: (&str, &str, &str) = (
    "为什么天空是蓝色的？",
    "天空为什么是蓝色的呢？",
    "为什么天空是蓝色的",
);

struct Plan {
    profile: Profile,
    entries: Vec<usize>,
}

impl Plan {
    fn of_arguments() -> Result<Self> {
        let mut plan = Self {
            profile: Profile::Debug,
            entries: vec![1_000, 10_000, 100_000],
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--release" => plan.profile = Profile::Release,
                "--entries" => {
                    let entries = arguments.next().context("a value is missing")?;
                    plan.entries = vec![entries.parse()?];
                }
                other => bail!("{other} is not [--entries N] [--release]"),
            }
        }
        Ok(plan)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = Plan::of_arguments()?;
    describe_machine(plan.profile)?;
    let programs = plan.profile.build()?;
    let provider = Provider::start(&programs).await?;
    say(&format!(
        "store        memory; one learner, one question at a time; vectors of the bundled model, {LATER} later lookups; \
         seed {SEED}\n"
    ))?;
    head()?;
    for entries in &plan.entries {
        let model = Some(provider.base_url.as_str());
        let stack = Stack::start(&programs, Store::Memory, model).await?;
        measure(&stack, *entries).await?;
    }
    Ok(())
}

/// Times lookups beside so many entries.
async fn measure(stack: &Stack, count: usize) -> Result<()> {
    let mut client = stack.connect("learner-1").await?;
    let mut namespaces = Vec::new();
    let alone = Crowd::of(stack, &mut client, "alone", &mut namespaces).await?;
    let mut waits = Vec::new();
    for number in 0..=LATER {
        waits.push(alone.find(&mut client, number).await?);
    }
    report("in other words, nothing else kept", &waits[1..], "")?;
    let before = peak(stack)?;

    let crowd = Crowd::of(stack, &mut client, "crowd", &mut namespaces).await?;
    let begun = Instant::now();
    entries::write(&stack.process.dynamodb, crowd.others(count)?).await?;
    let written = begun.elapsed().as_secs_f64();
    let first = crowd.find(&mut client, 0).await?;
    let remark = format!("the copy is read; {written:.1} s to write them");
    report(&format!("first beside {count} entries"), &[first], &remark)?;
    waits.clear();
    for number in 1..=LATER {
        waits.push(crowd.find(&mut client, number).await?);
    }
    report(&format!("later beside {count} entries"), &waits, "")?;
    let (instances, after) = (
        processes::of_function(stack.process.pid()?, "turn-worker").len(),
        peak(stack)?,
    );
    say(&format!(
        "  turn-worker's peak memory (VmHWM): {:.1} MiB, {:.1} MiB before; instances: {instances}; the right one was found \
         each time\n",
        after as f64 / MIB,
        before as f64 / MIB,
    ))
}

/// The most memory of any turn-worker.
fn peak(stack: &Stack) -> Result<u64> {
    let workers = processes::of_function(stack.process.pid()?, "turn-worker");
    let peaks = workers
        .iter()
        .map(|worker| processes::memory_peak_bytes(worker.pid));
    let peaks: Vec<u64> = peaks.collect::<Result<_>>()?;
    peaks.into_iter().max().context("no turn-worker")
}

/// A namespace and the answer in it that is looked for.
struct Crowd {
    role: &'static str,
    entry: Entry,
    text: String,
}

impl Crowd {
    /// Has a question answered in a namespace of its own.
    async fn of(
        stack: &Stack,
        client: &mut Client,
        role: &'static str,
        namespaces: &mut Vec<String>,
    ) -> Result<Self> {
        let (question, _, form) = QUESTION;
        let answer = ask(client, role, &format!("{role}-kept"), question).await?;
        let entry = Entry::kept(&stack.process.dynamodb, form, namespaces).await?;
        namespaces.push(entry.namespace().to_owned());
        Ok(Self {
            role,
            entry,
            text: answer.text,
        })
    }

    /// Items of other questions, each asked before this one.
    fn others(&self, count: usize) -> Result<impl Iterator<Item = Typed>> {
        let (mut rng, dimension) = (Rng::with_seed(SEED), self.entry.dimension()?);
        let mut items = Vec::with_capacity(2 * count);
        for number in 0..count {
            let form = Canonical::of(&format!("第{number}个问题问的是什么")).context("no form")?;
            let vector: Vec<u8> = (0..dimension).map(|_| rng.u8(..)).collect();
            let earlier_ms = -EARLIER_MS - i64::try_from(number)?;
            let words = (form.as_str(), &*form.digest());
            let Entry { answer, candidate } = self.entry.with(words, earlier_ms, &vector)?;
            items.extend([answer, candidate]);
        }
        Ok(items.into_iter())
    }

    /// Asks for the answer in other words, and how long that takes.
    async fn find(&self, client: &mut Client, number: usize) -> Result<Duration> {
        let (_, same, _) = QUESTION;
        let begun = Instant::now();
        let answer = ask(client, self.role, &format!("{}-{number}", self.role), same).await?;
        let took = begun.elapsed();
        let level = &answer.payload("done")["cache"];
        ensure!(
            level == "semantic" && answer.text == self.text,
            "{answer:?}"
        );
        Ok(took)
    }
}

async fn ask(client: &mut Client, role: &str, session: &str, text: &str) -> Result<Answer> {
    let payload = json!({ "session_id": session, "message": text, "role": role });
    let id = client.request("chat", payload).await?;
    client.answer(&id).await
}
