//! How often an answer is served for other words, and how often wrongly (R-CACHE-2, M3).
//!
//!     cargo bench -p sparkle-tests --bench verdict
//!     cargo bench -p sparkle-tests --bench verdict -- --rows FILE --dump FILE    for fitting: see shared/embed/tuning
//!
//! Of labelled pairs of questions: what is served at the shipped setting; and, at equal shares of the pairs that
//! ask the same, how many of those that do not are served by the verdict and by the best threshold of the cosine
//! that caches elsewhere use. Nothing was fitted to these rows. Most sets may not be in the repository:
//! `SPARKLE_EVAL_DATA` names their folder, else `../shared/data`; what is not there is left out, and said so.
//! `ask_gptcache.py` beside this file asks GPTCache the same, if `python3` has it.

mod curve;
mod peer;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use curve::{Curve, Scored};
use serde::{Deserialize, Serialize};
use sparkle_core::cache::verdict::{self, Signs};
use sparkle_embed::{Bundled, Reading, Verifier};
use sparkle_tests::{
    bench::{Profile, describe_machine, say},
    root,
};

const SETS: [&str; 5] = ["qqp_en", "lcqmc_zh", "bq_zh", "oppo_zh", "pawsx_zh"];

/// A row of a set.
#[derive(Debug, Deserialize)]
struct Pair {
    a: String,
    b: String,
    label: u8,
}

/// A row of our own set.
#[derive(Debug, Deserialize)]
struct Triple {
    q: String,
    same: String,
    different: String,
    kind: String,
}

/// What is known of a pair, for fitting.
#[derive(Debug, Serialize)]
struct Dumped<'a> {
    a: &'a str,
    b: &'a str,
    label: u8,
    language: &'static str,
    logit: f32,
    similarity: f64,
    plain: f64,
    differences: Vec<String>,
}

/// The bundled model.
struct Mind {
    bundled: Bundled,
    verifier: Verifier,
}

fn main() -> Result<()> {
    let (mut rows, mut dump) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--rows" => rows = arguments.next().map(PathBuf::from),
            "--dump" => dump = arguments.next().map(PathBuf::from),
            other => bail!("{other} is not [--rows FILE] [--dump FILE]"),
        }
    }
    describe_machine(if cfg!(debug_assertions) {
        Profile::Debug
    } else {
        Profile::Release
    })?;
    let weights = root().join("shared/embed/weights");
    let mind = Mind {
        bundled: Bundled::open(&weights)?,
        verifier: Verifier::open(&weights)?,
    };
    if let Some(rows) = rows {
        return mind.dump(&rows, &dump.context("--rows goes with --dump")?);
    }
    let folder = std::env::var_os("SPARKLE_EVAL_DATA");
    let folder = folder.map_or_else(|| root().join("../shared/data"), PathBuf::from);
    for set in SETS {
        let path = folder.join("pairs").join(format!("{set}.jsonl"));
        if !path.exists() {
            say(&format!(
                "\n{set}: not here (SPARKLE_EVAL_DATA names the folder)"
            ))?;
            continue;
        }
        let pairs = read::<Pair>(&path)?;
        let scored: Vec<Scored> = pairs.iter().map(|pair| mind.score(pair)).collect();
        Curve::of(&scored).print(set)?;
        peer::print(&scored)?;
    }
    mind.triples()
}

impl Mind {
    fn read(&self, question: &str) -> Option<Reading> {
        self.bundled.read(question).ok()
    }

    /// What speaks for and against a pair, and the cosine without centring; none if one cannot be read.
    fn signs(&self, a: &str, b: &str) -> Option<(Signs, f64)> {
        let (one, other) = (self.read(a)?, self.read(b)?);
        let logit = self.verifier.logit(one.states(), other.states()).ok()?;
        let similarity = one.vector().similarity(other.vector()).ok()?;
        let signs = Signs::of(a, b, logit, similarity);
        Some((signs, one.plain_similarity(&other)))
    }

    fn score(&self, pair: &Pair) -> Scored {
        let signs = self.signs(&pair.a, &pair.b);
        Scored {
            is_same: pair.label == 1,
            plain: signs.map_or(-1.0, |(_, plain)| plain),
            centred: signs.map_or(-1.0, |(signs, _)| signs.similarity),
            verdict: signs
                .and_then(|(signs, _)| verdict::probability(&signs))
                .unwrap_or(-1.0),
            is_served: signs.is_some_and(|(signs, _)| verdict::sure(&signs).is_some()),
        }
    }

    /// Our own questions, each with one that asks the same and one that only looks so.
    fn triples(&self) -> Result<()> {
        let triples = read::<Triple>(&root().join("shared/core/tests/tutoring_triples.jsonl"))?;
        let (mut hits, mut wrong) = (0, Vec::new());
        for triple in &triples {
            let sure = |other: &str| {
                let signs = self.signs(&triple.q, other);
                signs.and_then(|(signs, _)| verdict::sure(&signs))
            };
            hits += usize::from(sure(&triple.same).is_some());
            if sure(&triple.different).is_some() {
                wrong.push(format!(
                    "{}: {} / {}",
                    triple.kind, triple.q, triple.different
                ));
            }
        }
        say(&format!(
            "\ntutoring triples at the shipped setting: {hits} of {} that ask the same are served, {} that do not (target 0)",
            triples.len(),
            wrong.len()
        ))?;
        for wrong in wrong {
            say(&format!("  served wrongly: {wrong}"))?;
        }
        Ok(())
    }

    fn dump(&self, rows: &Path, to: &Path) -> Result<()> {
        let mut lines = String::new();
        for pair in read::<Pair>(rows)? {
            let Some((signs, plain)) = self.signs(&pair.a, &pair.b) else {
                continue;
            };
            let seen = signs.differences.iter();
            let dumped = Dumped {
                a: &pair.a,
                b: &pair.b,
                label: pair.label,
                language: signs.language.as_str(),
                logit: signs.logit,
                similarity: signs.similarity,
                plain,
                differences: seen.map(|seen| format!("{seen:?}")).collect(),
            };
            lines.push_str(&serde_json::to_string(&dumped)?);
            lines.push('\n');
        }
        Ok(fs::write(to, lines)?)
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let rows = text.lines().filter(|line| !line.trim().is_empty());
    rows.map(|line| Ok(serde_json::from_str(line)?)).collect()
}
