//! What is counted: messages of tutoring in both languages, code, and texts that are made to be slow.

use anyhow::Result;
use fastrand::Rng;
use serde::Deserialize;

use crate::talk::{self, Length, Talk};

const CONVERSATIONS: &str = include_str!("../wire/conversations.jsonl");
const CODE: [&str; 4] = [
    include_str!("../../../shared/core/src/price.rs"),
    include_str!("../../../shared/core/src/context.rs"),
    include_str!("../../../infra/local/src/sqs.rs"),
    include_str!("../../contract/oracle.py"),
];

/// A text in a language: `zh` or `en`.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) language: String,
    pub(crate) text: String,
}

/// All there is.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) messages: Vec<Text>,
    /// Whether recorded ones are among them, in words.
    pub(crate) recorded: String,
}

impl Texts {
    /// How many of each language.
    pub(crate) fn languages(&self) -> String {
        let of = |language| self.of(language).count();
        format!("{} of them zh and {} en", of("zh"), of("en"))
    }

    pub(crate) fn of(&self, language: &str) -> impl Iterator<Item = &str> {
        let spoken = self.messages.iter();
        let spoken = spoken.filter(move |text| text.language == language);
        spoken.map(|text| text.text.as_str())
    }
}

#[derive(Deserialize)]
struct Conversation {
    language: String,
    turns: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    question: String,
    pieces: Vec<String>,
}

/// Generated conversations, those of the benchmark `wire`, and the recorded ones, where there are any.
pub(crate) fn all() -> Result<Texts> {
    let mut messages = Vec::new();
    let mut add = |talks: Vec<Talk>| {
        for talk in talks {
            for turn in talk.turns {
                for text in [turn.question, turn.answer] {
                    let language = talk.language.clone();
                    messages.push(Text { language, text });
                }
            }
        }
    };
    add(talk::generated(10, 60, Length::Short)?);
    let recorded = match talk::recorded()? {
        Some(talks) => {
            let held = format!("with {} recorded conversations", talks.len());
            add(talks);
            held
        }
        None => format!(
            "no recorded ones, since there is no {} (SPARKLE_EVAL_DATA names the folder)",
            talk::recorded_path().display()
        ),
    };
    for line in CONVERSATIONS.lines() {
        let Conversation { language, turns } = serde_json::from_str(line)?;
        for turn in turns {
            for text in [turn.question, turn.pieces.concat()] {
                let language = language.clone();
                messages.push(Text { language, text });
            }
        }
    }
    Ok(Texts { messages, recorded })
}

/// Code in Rust and Python.
pub(crate) fn code() -> String {
    CODE.concat()
}

/// Texts of about so many bytes that are made to be slow, each with its name.
pub(crate) fn hostile(bytes: usize) -> Vec<(&'static str, String)> {
    let run = |unit: &str| unit.repeat(bytes / unit.len());
    let random = |seed, of: &dyn Fn(&mut Rng) -> char| {
        let mut rng = Rng::with_seed(seed);
        let mut text = String::new();
        while text.len() + 4 <= bytes {
            text.push(of(&mut rng));
        }
        text
    };
    let emoji = ["😀", "👩‍👩‍👧‍👦", "🇨🇳", "👍🏽", "❤️", "🧮"];
    vec![
        ("one letter: aaa…", run("a")),
        ("one character: 的的的…", run("的")),
        ("one digit: 000…", run("0")),
        ("one sign: !!!…", run("!")),
        ("spaces", run(" ")),
        ("line breaks", run("\n")),
        ("spaces and breaks in turn", run(" \n")),
        ("one emoji: 😀😀…", run("😀")),
        ("emoji of several parts", run(&emoji.concat())),
        ("letter and accent in turn", run("e\u{301}")),
        ("an apostrophe after each letter", run("a'")),
        ("random Unicode", random(1, &|rng| rng.char(..))),
        (
            "random Chinese characters",
            random(2, &|rng| rng.char('一'..='龥')),
        ),
        (
            "random letters, no break",
            random(3, &|rng| rng.lowercase()),
        ),
        (
            "random letters and digits",
            random(4, &|rng| rng.alphanumeric()),
        ),
        ("random ASCII", random(5, &|rng| rng.char(' '..='~'))),
        ("two letters: abab…", run("ab")),
        ("Thai, no break", run("การเรียนรู้คณิตศาสตร์")),
    ]
}
