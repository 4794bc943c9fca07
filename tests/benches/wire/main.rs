//! What the wire costs: bytes of whole conversations, frames of an answer, CPU of the codecs (M17, R-CONN-3).
//!
//!     cargo bench -p sparkle-tests --bench wire
//!     cargo bench -p sparkle-tests --bench wire -- DIALOGUES.jsonl   conversations of your own too
//!
//! The conversations in `conversations.jsonl` were written for this; their answers are cut into the tokens
//! of o200k_base, as a model streams them. A file of your own holds one conversation a line,
//! `{"lang": "en", "turns": [{"role": "user", "text": "…"}, {"role": "assistant", "text": "…"}, …]}`;
//! its answers are cut into words and pairs of Chinese characters, which is about as long as tokens are.
//! Nothing is sent: frames are made by the code that makes them, and their characters counted.

mod bytes;
mod cpu;

use anyhow::{Context, Result};
use serde::Deserialize;
use sparkle_tests::bench::{Profile, describe_machine, say};

const CONVERSATIONS: &str = include_str!("conversations.jsonl");

/// A conversation as it was held.
#[derive(Debug, Deserialize)]
struct Conversation {
    language: String,
    turns: Vec<Turn>,
}

/// A question and the pieces in which the model hands over the answer.
#[derive(Debug, Deserialize)]
struct Turn {
    question: String,
    pieces: Vec<String>,
}

fn main() -> Result<()> {
    // Also built and run by `cargo test --benches`, which passes other arguments.
    let path = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    describe_machine(if cfg!(debug_assertions) {
        Profile::Debug
    } else {
        Profile::Release
    })?;
    let own = CONVERSATIONS
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?));
    bytes::measure(
        "the conversations of this benchmark",
        &own.collect::<Result<Vec<_>>>()?,
    )?;
    if let Some(path) = path {
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let conversations = text.lines().map(dialogue).collect::<Result<Vec<_>>>()?;
        bytes::measure("a file of yours, in estimated tokens", &conversations)?;
    }
    say("")?;
    cpu::measure()
}

/// A line of a file of dialogues.
fn dialogue(line: &str) -> Result<Conversation> {
    #[derive(Deserialize)]
    struct Said {
        role: String,
        text: String,
    }
    #[derive(Deserialize)]
    struct Dialogue {
        lang: String,
        turns: Vec<Said>,
    }
    let Dialogue { lang, turns } = serde_json::from_str(line)?;
    let pairs = turns.windows(2).filter_map(|pair| match pair {
        [asked, told] if asked.role == "user" && told.role == "assistant" => Some(Turn {
            question: asked.text.clone(),
            pieces: estimated_tokens(&told.text),
        }),
        _ => None,
    });
    Ok(Conversation {
        language: lang,
        turns: pairs.collect(),
    })
}

/// Words with the space before them, and Chinese characters two at a time.
fn estimated_tokens(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for c in text.chars() {
        let continues = pieces.last().is_some_and(|piece| {
            if c.is_ascii() {
                c.is_ascii_alphanumeric() && piece.is_ascii()
            } else {
                !piece.is_ascii() && piece.chars().count() < 2
            }
        });
        match pieces.last_mut() {
            Some(piece) if continues => piece.push(c),
            _ => pieces.push(c.to_string()),
        }
    }
    pieces
}
