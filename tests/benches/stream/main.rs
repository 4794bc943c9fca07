//! What the answer cache does for a stream of questions, and to whom it gives a wrong answer (R-CACHE-5,
//! R-CACHE-8, M3, M4).
//!
//!     cargo bench -p sparkle-tests --bench stream                    private, as shipped, and shared
//!     cargo bench -p sparkle-tests --bench stream -- --shared        only with answers shared
//!     cargo bench -p sparkle-tests --bench stream -- --short         few questions: bounds are wide
//!     cargo bench -p sparkle-tests --bench stream -- --mix           only what the stream holds
//!     cargo bench -p sparkle-tests --bench stream -- --release       of what is deployed
//!
//! `--learners 6 --questions 1200 --seed 1` are the defaults. The stream (`draw.rs`) is drawn from questions that
//! were written for it (`questions.rs`), and goes one question at a time through the WebSocket of a real stack
//! whose model is the scripted provider. It runs three times: without a cache, which says what it would cost;
//! with the cache as it is shipped; with answers shared. A hit is judged by the `response_id` in its `done`: it is
//! right if that answer was made for a question of the same group. Words that were answered by what was kept for
//! other words are not kept themselves: when they come again, that is an exact repeat and a semantic hit. How long
//! an exact hit takes is measured by the bench `overhead`.

mod draw;
mod figures;
mod pace;
mod questions;
mod school;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use sparkle_tests::bench::{Profile, describe_machine, say};

use draw::{Ask, Sharing};
use figures::Run;
use questions::Question;
use school::{Bill, Profiles, School, Turn, Way};

struct Plan {
    profile: Profile,
    learners: usize,
    questions: usize,
    seed: u64,
    ways: &'static [Sharing],
    depth: Depth,
}

/// How much is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Nothing is asked.
    Mix,
    Whole,
}

impl Plan {
    fn of_arguments() -> Result<Self> {
        let mut plan = Self {
            profile: Profile::Debug,
            learners: 6,
            questions: 1_200,
            seed: 1,
            ways: &[Sharing::Private, Sharing::Shared],
            depth: Depth::Whole,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().context("a value is missing");
            match argument.as_str() {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--release" => plan.profile = Profile::Release,
                "--short" => (plan.learners, plan.questions) = (4, 200),
                "--shared" => plan.ways = &[Sharing::Shared],
                "--mix" => plan.depth = Depth::Mix,
                "--learners" => plan.learners = value()?.parse()?,
                "--questions" => plan.questions = value()?.parse()?,
                "--seed" => plan.seed = value()?.parse()?,
                other => bail!(
                    "{other} is not [--learners N] [--questions N] [--seed S] [--shared] [--short] [--mix] [--release]"
                ),
            }
        }
        ensure!(
            plan.learners > 0 && plan.questions > 0,
            "nobody asks anything"
        );
        Ok(plan)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = Plan::of_arguments()?;
    let questions = questions::questions()?;
    let stream = draw::stream(&questions, plan.learners, plan.questions, plan.seed)?;
    describe(&plan, &questions)?;
    for sharing in plan.ways {
        figures::show_mix(&draw::novelties(&questions, &stream, *sharing), *sharing)?;
    }
    if plan.depth == Depth::Mix {
        return Ok(());
    }
    describe_machine(plan.profile)?;
    let programs = plan.profile.build()?;
    let (without, profiles) = run(&plan, &programs, &questions, &stream, Way::Bypass).await?;
    let whole: Bill = without.iter().map(|turn| turn.bill).sum();
    say(&format!(
        "\nwithout a cache: {} tokens, {} micro-dollars; what summaries cost is in no figure",
        whole.tokens, whole.cost_microusd
    ))?;
    say(match profiles {
        Profiles::On => "profiles: each learner has one",
        Profiles::Absent => "profiles: none, the stack does not know `profile.update`",
    })?;
    for sharing in plan.ways {
        let way = Way::Cached(*sharing);
        let (turns, _) = run(&plan, &programs, &questions, &stream, way).await?;
        let run = Run::of(&questions, &stream, *sharing, turns);
        run.show(&without)?;
        if *sharing == Sharing::Shared {
            pace::show(&run)?;
        }
    }
    Ok(())
}

fn describe(plan: &Plan, questions: &[Question]) -> Result<()> {
    let groups = questions
        .iter()
        .filter(|question| question.kind == questions::Kind::Group);
    let groups: Vec<&Question> = groups.collect();
    let forms: usize = groups.iter().map(|group| group.forms.len()).sum();
    let with_near = groups.iter().filter(|group| !group.near.is_empty()).count();
    say(&format!(
        "client       this program, built {}, on the same machine; one question at a time\n\
         stack        everything on that is shipped; store in memory\n\
         model        the scripted provider over HTTP: it begins after {:?} ms, and goes on without pauses\n\
         questions    {} groups with {forms} forms, {with_near} of them in families of near misses\n\
         stream       {} questions of {} learners, half of them Chinese, in conversations of {:?}; seed {}\n\
         \x20            by Zipf's law with exponent {:.1} over the groups of a language; usual form {} %, other\n\
         \x20            forms {} %; {} % follow-ups and questions on the learner or the moment, {} % asked once\n\
         \x20            while they last, {} % of the others near the one before",
        if cfg!(debug_assertions) {
            "in debug"
        } else {
            "for release"
        },
        school::OPENS_AFTER_MS,
        groups.len(),
        plan.questions,
        plan.learners,
        draw::CONVERSATION,
        plan.seed,
        draw::EXPONENT,
        draw::USUAL_PERCENT,
        100 - draw::USUAL_PERCENT,
        draw::NEVER_KEPT_PERCENT,
        draw::SOLO_PERCENT,
        draw::NEAR_PERCENT,
    ))
}

/// Has the whole stream asked.
async fn run(
    plan: &Plan,
    programs: &Path,
    questions: &[Question],
    stream: &[Ask],
    way: Way,
) -> Result<(Vec<Turn>, Profiles)> {
    let mut school = School::gather(programs, way, plan.learners, stream.len(), plan.seed).await?;
    let mut turns = Vec::with_capacity(stream.len());
    for (place, ask) in stream.iter().enumerate() {
        turns.push(school.ask(questions, place, ask).await?);
    }
    let profiles = school.profiles;
    school.dismiss().await?;
    Ok((turns, profiles))
}
