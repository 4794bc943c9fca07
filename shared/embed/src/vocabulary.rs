//! Text to the ids of the pieces that the model knows.
//!
//! Hides `tokenizer.json` and how it is obeyed: Unicode's NFC, the map of characters, words at white space, and for
//! each word the pieces of the highest total score (<https://arxiv.org/abs/1804.10959>). Hugging Face's `tokenizers`
//! gives the same ids (a test says so), but takes longer to load and more memory, which a cold start pays. Differences
//! are meant: what looks like a special token in a text, such as `</s>`, is text, and raised digits stay raised.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use icu_normalizer::ComposingNormalizerBorrowed;
use serde::Deserialize;

use crate::charmap::Charmap;
use crate::error::{OpenError, ReadError};

pub(crate) const FILE: &str = "tokenizer.json";
/// Marks a word's beginning.
const MARK: char = '▁';
/// What stands before and after every text, and for what is not known.
const START: u32 = 0;
const END: u32 = 2;
const UNKNOWN: u32 = 3;
/// How much worse than the worst piece an unknown character is.
const UNKNOWN_PENALTY: f64 = 10.0;
/// The model has learned questions with this word in front.
const PREFIX: &str = "query:";
/// Tokens of [`PREFIX`].
pub(crate) const PREFIX_TOKENS: usize = 3;

#[derive(Deserialize)]
struct TokenizerFile {
    added_tokens: Vec<Added>,
    normalizer: Normalizers,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    content: String,
}

#[derive(Deserialize)]
struct Normalizers {
    normalizers: Vec<Normalizer>,
}

#[derive(Deserialize)]
struct Normalizer {
    precompiled_charsmap: Option<String>,
}

#[derive(Deserialize)]
struct Model {
    vocab: Vec<(Box<str>, f64)>,
}

/// A piece of words.
#[derive(Debug, Clone, Copy)]
struct Piece {
    id: u32,
    score: f64,
}

/// All pieces.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    charmap: Charmap,
    pieces: HashMap<Box<str>, Piece>,
    longest_bytes: usize,
    unknown_score: f64,
    prefix: Vec<u32>,
}

/// The best way to a place in a word.
#[derive(Clone, Copy)]
struct Step {
    score: f64,
    start: usize,
    id: u32,
}

impl Vocabulary {
    /// Reads `tokenizer.json`, which has so many pieces.
    pub(crate) fn open(folder: &Path, pieces: usize) -> Result<Self, OpenError> {
        let path = folder.join(FILE);
        let bytes =
            std::fs::read(&path).map_err(|source| OpenError::Unreadable { path, source })?;
        let damaged = |problem: String| OpenError::damaged(FILE, problem);
        let file: TokenizerFile =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if file.model.vocab.len() != pieces {
            return Err(damaged(format!(
                "{} pieces instead of {pieces}",
                file.model.vocab.len()
            )));
        }
        let mut maps = file
            .normalizer
            .normalizers
            .into_iter()
            .filter_map(|each| each.precompiled_charsmap);
        let charmap = maps.next().and_then(|map| STANDARD.decode(map).ok());
        let charmap = charmap.and_then(|map| Charmap::parse(&map));

        let special: HashSet<String> = file
            .added_tokens
            .into_iter()
            .map(|added| added.content)
            .collect();
        let vocab = file.model.vocab;
        let worst = vocab
            .iter()
            .fold(f64::INFINITY, |worst, (_, score)| worst.min(*score));
        let longest_bytes = vocab.iter().map(|(text, _)| text.len()).max().unwrap_or(0);
        let pieces = (0..)
            .zip(vocab)
            .filter(|(_, (text, _))| !special.contains(&**text));
        let mut vocabulary = Self {
            charmap: charmap.ok_or_else(|| damaged("no map of characters".to_owned()))?,
            pieces: pieces
                .map(|(id, (text, score))| (text, Piece { id, score }))
                .collect(),
            longest_bytes,
            unknown_score: worst - UNKNOWN_PENALTY,
            prefix: Vec::new(),
        };
        vocabulary.prefix.push(START);
        vocabulary.prefix.extend(vocabulary.pieces_of(PREFIX));
        if vocabulary.prefix.len() != 1 + PREFIX_TOKENS || vocabulary.prefix.contains(&UNKNOWN) {
            return Err(damaged(format!("{PREFIX} is not {PREFIX_TOKENS} pieces")));
        }
        Ok(vocabulary)
    }

    /// The ids of a question: start, prefix, its pieces, end.
    ///
    /// # Errors
    /// It has no pieces, or unknown ones.
    pub(crate) fn ids(&self, text: &str) -> Result<Vec<u32>, ReadError> {
        let pieces = self.pieces_of(&marked(text));
        if pieces.is_empty() {
            return Err(ReadError::Blank);
        }
        if pieces.contains(&UNKNOWN) {
            return Err(ReadError::Unknown);
        }
        Ok(self.around(pieces))
    }

    fn around(&self, pieces: Vec<u32>) -> Vec<u32> {
        let mut ids = self.prefix.clone();
        ids.extend(pieces);
        ids.push(END);
        ids
    }

    fn pieces_of(&self, text: &str) -> Vec<u32> {
        let composed = ComposingNormalizerBorrowed::new_nfc().normalize(text);
        let mapped = self.charmap.apply(&composed);
        let mut ids = Vec::new();
        for word in mapped.split_whitespace() {
            let mark = if word.starts_with(MARK) { "" } else { "▁" };
            let marked = [mark, word].concat();
            // A mark within a word begins another.
            let mut rest = marked.as_str();
            while !rest.is_empty() {
                let end = rest
                    .char_indices()
                    .skip(1)
                    .find(|&(_, character)| character == MARK);
                let (word, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
                self.cut(word, &mut ids);
                rest = after;
            }
        }
        ids
    }

    /// Viterbi's algorithm over one word. Unknown characters in a row are one piece.
    fn cut(&self, word: &str, ids: &mut Vec<u32>) {
        let mut steps: Vec<Option<Step>> = vec![None; word.len() + 1];
        let mut score = 0.0;
        for (start, character) in word.char_indices() {
            if start > 0 {
                score = steps
                    .get(start)
                    .copied()
                    .flatten()
                    .map_or(f64::NEG_INFINITY, |step| step.score);
            }
            let rest = word.get(start..).unwrap_or_default();
            let mut is_known = false;
            for (at, character) in rest.char_indices() {
                let end = at + character.len_utf8();
                if end > self.longest_bytes {
                    break;
                }
                let Some(piece) = rest.get(..end).and_then(|text| self.pieces.get(text)) else {
                    continue;
                };
                is_known |= at == 0;
                better(
                    &mut steps,
                    start + end,
                    Step {
                        score: score + piece.score,
                        start,
                        id: piece.id,
                    },
                );
            }
            if !is_known {
                let score = score + self.unknown_score;
                better(
                    &mut steps,
                    start + character.len_utf8(),
                    Step {
                        score,
                        start,
                        id: UNKNOWN,
                    },
                );
            }
        }
        let from = ids.len();
        let mut end = word.len();
        while let Some(step) = steps.get(end).copied().flatten() {
            if step.id != UNKNOWN || ids.len() == from || ids.last() != Some(&UNKNOWN) {
                ids.push(step.id);
            }
            end = step.start;
        }
        if let Some(cut) = ids.get_mut(from..) {
            cut.reverse();
        }
    }
}

/// Sets raised, lowered and fractional digits apart, which the map of characters makes plain ones of: 2⁵ is not 25, and
/// 1½ not 11/2.
fn marked(text: &str) -> String {
    let mut marked = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '²' | '³' | '¹' | '⁰'..='ⁿ' => marked.push('^'),
            '₀'..='₎' => marked.push('_'),
            '¼'..='¾' | '⅐'..='⅟' | '↉' => marked.push(' '),
            _ => {}
        }
        marked.push(character);
    }
    marked
}

fn better(steps: &mut [Option<Step>], end: usize, step: Step) {
    if let Some(place) = steps.get_mut(end)
        && place.is_none_or(|best| step.score > best.score)
    {
        *place = Some(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        text: String,
        ids: Vec<u32>,
    }

    fn vocabulary() -> Vocabulary {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
        Vocabulary::open(&folder, 102_937).expect("the bundled vocabulary")
    }

    /// `tests/ids.json` is what `tokenizers` 0.23 says of texts of our own and of random characters.
    #[test]
    fn ids_are_those_of_hugging_face() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ids.json");
        let golden: Vec<Golden> =
            serde_json::from_slice(&std::fs::read(path).expect("read")).expect("golden");
        let vocabulary = vocabulary();
        let mut wrong = Vec::new();
        for Golden { text, ids } in &golden {
            let found = vocabulary.around(vocabulary.pieces_of(text));
            if found != *ids {
                wrong.push((text, ids, found));
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {}: {:?}",
            wrong.len(),
            golden.len(),
            &wrong[..wrong.len().min(8)]
        );
    }

    #[test]
    fn what_looks_like_a_special_token_is_text() {
        let vocabulary = vocabulary();
        for special in [
            "<s>", "</s>", "<pad>", "<unk>", "<mask>", "a<s>b", "</s></s>",
        ] {
            let ids = vocabulary.ids(special).expect("pieces");
            let (inner, end) = (&ids[1..ids.len() - 1], ids[ids.len() - 1]);
            assert_eq!((ids[0], end), (START, END));
            assert!(
                !inner.iter().any(|id| *id < 4 || *id == 102_936),
                "{special}: {ids:?}"
            );
        }
    }

    #[test]
    fn unknown_characters_in_a_row_are_one_piece_and_no_reading() {
        let vocabulary = vocabulary();
        let ids = vocabulary.pieces_of("a한국b");
        let unknown = ids.iter().filter(|&&id| id == UNKNOWN);
        assert_eq!(unknown.count(), 1, "{ids:?}");
        assert_eq!(vocabulary.ids("a한국b"), Err(ReadError::Unknown));
    }

    #[test]
    fn raised_digits_and_fractions_are_not_plain_ones() {
        let vocabulary = vocabulary();
        for (one, other) in [
            ("2⁵", "25"),
            ("x²", "x2"),
            ("log₂8", "log28"),
            ("1½", "11/2"),
            ("3¼", "31⁄4"),
        ] {
            assert_ne!(vocabulary.ids(one), vocabulary.ids(other), "{one}");
        }
    }
}
