//! Whether the ids are those of OpenAI's own tiktoken.
//!
//! It is asked through `oracle.py`, if `python3` can import it (`pip install tiktoken`). Its vocabularies are
//! taken from the sources of the crate tiktoken-rs, which cargo has anyway; it checks that they are OpenAI's.
//! Where it is missing, `shared/llm/tests/tokens/golden.json` is what it has said once.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::Value;
use sparkle_tests::{
    Folder,
    bench::{against, say},
    root,
};

use crate::{
    FAMILIES,
    texts::{self, Texts},
};

const RANDOM_TEXTS: u64 = 5_000;

/// Prints how many texts are cut as tiktoken cuts them.
pub(crate) fn measure(texts: &Texts) -> Result<()> {
    let said = texts.messages.iter().map(|text| text.text.clone());
    let hostile = texts::hostile(4_000).into_iter().map(|(_, text)| text);
    let random = (0..RANDOM_TEXTS).map(|seed| mixture(texts, &mut Rng::with_seed(seed)));
    let all: Vec<String> = said
        .chain(hostile)
        .chain(random)
        .chain([texts::code()])
        .collect();
    let folder = Folder::new()?;
    let (asked, told) = (folder.path().join("texts"), folder.path().join("ids"));
    fs::write(&asked, serde_json::to_string(&all)?)?;
    let mut python = Command::new("python3");
    python.arg(root().join("tests/benches/tokenizer/oracle.py"));
    python.args([&asked, &told, &vocabularies()?]);
    let output = python.output();
    let said = match &output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout)),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    };
    let version = match said {
        Ok(version) => version,
        Err(why) => {
            return say(&format!(
                "\noracle: OpenAI's tiktoken was not asked ({}): pip install tiktoken; what it has said once is in \
                 shared/llm/tests/tokens",
                why.trim().lines().last().unwrap_or_default()
            ));
        }
    };
    let ids: BTreeMap<String, Vec<Vec<u32>>> = serde_json::from_slice(&fs::read(&told)?)?;
    say(&format!(
        "\noracle: OpenAI's tiktoken {} in Python, {} texts of up to {} bytes, {RANDOM_TEXTS} of them mixed at random",
        version.trim(),
        all.len(),
        all.iter().map(String::len).max().unwrap_or_default()
    ))?;
    for (name, family) in FAMILIES {
        let ids = ids.get(name).context("a family")?;
        ensure!(ids.len() == all.len(), "tiktoken left texts out");
        let both = all.iter().zip(ids);
        let others = both.filter(|(text, ids)| family.ids(text).as_ref() != Some(*ids));
        let others = others.count();
        let target = format!("M9: ids of {name} identical to tiktoken's");
        against(&target, &format!("{others} texts differ"), others == 0)?;
    }
    Ok(())
}

/// Parts of messages, code, hostile and random text, one after the other.
fn mixture(texts: &Texts, rng: &mut Rng) -> String {
    let mut mixture = String::new();
    for _ in 0..rng.usize(1..6) {
        match rng.usize(..4) {
            0 => mixture.extend((0..rng.usize(..40)).map(|_| rng.char(..))),
            1 => mixture.extend((0..rng.usize(..40)).map(|_| rng.char(' '..='~'))),
            2 => mixture += &" \n\t".repeat(rng.usize(..4)),
            _ => {
                let text = &texts.messages[rng.usize(..texts.messages.len())].text;
                let first = text.floor_char_boundary(rng.usize(..=text.len()));
                mixture += text.get(first..).unwrap_or_default();
            }
        }
    }
    mixture
}

/// The folder of vocabularies in the sources of tiktoken-rs.
fn vocabularies() -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1", "--locked"]);
    let output = cargo.current_dir(root()).output()?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let found = packages
        .iter()
        .find(|package| package["name"] == "tiktoken-rs");
    let manifest = found.and_then(|package| package["manifest_path"].as_str());
    let folder = manifest.and_then(|manifest| Path::new(manifest).parent());
    Ok(folder.context("tiktoken-rs")?.join("assets"))
}
