//! The notes of the offline tutor and how one is found for a question.
//!
//! Hides the index: Chinese by pairs of characters, everything else by words without endings and
//! stop words, each weighted by its rarity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

/// One JSON object a line.
const BUNDLED: &str = include_str!("notes.jsonl");

/// What a note must share with a question, in the weights of [`Notes::weight`]: two rare words or
/// pairs of characters, or one that is [`SHARE_MIN`] of the question.
const SCORE_MIN: u32 = 7;

/// One part in so many of the weight of a question is enough for a single word: "what is osmosis?".
const SHARE_MIN: u32 = 2;

/// Words that say nothing about the subject of a question.
const STOP_WORDS: &str = " a about again all am an and any are as ask asked at be because been before but by can \
    could did do does doing each else for from get give given gives had has have her here him his how i if in into \
    is it its just know learn let like made make many may me mean means more most much must my need no not \
    now of off on once one only or other our out over own please same say says she should so some such \
    tell than that the their them then there these they thing think this those to too two under until up us use \
    used using very want was we well were what when where whether which while who whom why will with would you \
    your explain help question answer work works happen happens ";

/// Pairs of characters that say nothing about the subject of a question.
const STOP_PAIRS: &str = " 什么 是什 怎么 怎样 为什 么是 请问 一下 如何 哪些 有哪 多少 是不 不是 可以 一个 我们 这个 那个 \
    解释 告诉 诉我 帮我 我想 想知 知道 问题 么样 请解 释一 么会 会有 ";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Language {
    Zh,
    En,
}

impl Language {
    /// Chinese as soon as one character is.
    pub(super) fn of(text: &str) -> Self {
        if text.chars().any(is_chinese) {
            Self::Zh
        } else {
            Self::En
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Note {
    pub(super) lang: Language,
    pub(super) subject: String,
    pub(super) text: String,
}

pub(super) struct Notes {
    notes: Vec<(Note, BTreeSet<String>)>,
    /// In how many notes a term occurs.
    spread: BTreeMap<String, usize>,
}

impl Notes {
    /// Read by whoever asks first, about 1 ms: not before the first question.
    pub(super) fn bundled() -> &'static Self {
        static NOTES: LazyLock<Notes> = LazyLock::new(Notes::read);
        &NOTES
    }

    fn read() -> Self {
        let notes: Vec<(Note, BTreeSet<String>)> = BUNDLED
            .lines()
            .filter_map(|line| serde_json::from_str::<Note>(line).ok())
            .map(|note| {
                let terms = terms(&note.text);
                (note, terms)
            })
            .collect();
        let mut spread = BTreeMap::new();
        for term in notes.iter().flat_map(|(_, terms)| terms) {
            *spread.entry(term.clone()).or_default() += 1;
        }
        Self { notes, spread }
    }

    /// The notes that fit a question best, at most two: the second only if it fits about as well.
    /// Those in the language of the question come first.
    pub(super) fn find(&self, question: &str) -> Vec<&Note> {
        let asked = terms(question);
        let language = Language::of(question);
        let whole: u32 = asked.iter().map(|term| self.weight(term)).sum();
        let fits = |score: u32| score >= SCORE_MIN || (score > 1 && score * SHARE_MIN >= whole);
        let mut fitting: Vec<(u32, &Note)> = self
            .notes
            .iter()
            .map(|(note, terms)| {
                let score: u32 = terms
                    .intersection(&asked)
                    .map(|term| self.weight(term))
                    .sum();
                (score, note)
            })
            .filter(|(score, _)| fits(*score))
            .collect();
        // The sort is stable: equal notes stay in the order of the file.
        fitting.sort_by_key(|(score, note)| (note.lang != language, std::cmp::Reverse(*score)));
        let best = fitting.first().map_or(0, |(score, _)| *score);
        fitting
            .into_iter()
            .take(2)
            .filter(|(score, note)| {
                note.lang == language && *score * 5 >= best * 4 || *score == best
            })
            .map(|(_, note)| note)
            .collect()
    }

    /// The subjects of one language, each once, in the order of the file.
    pub(super) fn subjects(&self, language: Language) -> Vec<&str> {
        let mut subjects = Vec::new();
        for (note, _) in self.notes.iter().filter(|(note, _)| note.lang == language) {
            if !subjects.contains(&note.subject.as_str()) {
                subjects.push(note.subject.as_str());
            }
        }
        subjects
    }

    /// 1 for a term that half of the notes have, 6 for one that a single note has.
    fn weight(&self, term: &str) -> u32 {
        let spread = self.spread.get(term).copied().unwrap_or(1).max(1);
        (self.notes.len() / spread).checked_ilog2().unwrap_or(0)
    }
}

fn is_chinese(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3134F}')
}

fn terms(text: &str) -> BTreeSet<String> {
    let mut terms = BTreeSet::new();
    let (mut word, mut before) = (String::new(), None);
    for c in text.chars().chain([' ']) {
        if c.is_alphanumeric() && !is_chinese(c) {
            word.extend(c.to_lowercase());
        } else if c != '\'' && !word.is_empty() {
            let is_stop = STOP_WORDS.contains(&format!(" {word} "));
            if !is_stop && word.chars().count() > 1 {
                terms.insert(stem(&word).to_owned());
            }
            word.clear();
        }
        if let (Some(before), true) = (before, is_chinese(c)) {
            let pair = String::from_iter([before, c]);
            if !STOP_PAIRS.contains(&format!(" {pair} ")) {
                terms.insert(pair);
            }
        }
        before = is_chinese(c).then_some(c);
    }
    terms
}

/// Without the commonest English endings, so that a plural finds its singular.
fn stem(word: &str) -> &str {
    if !word.is_ascii() {
        return word;
    }
    [
        "ations", "ation", "ings", "ing", "ied", "ies", "ed", "es", "s", "e", "y",
    ]
    .iter()
    .find_map(|ending| word.strip_suffix(ending).filter(|stem| stem.len() >= 3))
    .unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_note_is_read() {
        assert_eq!(Notes::bundled().notes.len(), BUNDLED.lines().count());
    }

    fn found(question: &str) -> Vec<String> {
        let notes = Notes::bundled();
        notes
            .find(question)
            .into_iter()
            .map(|note| note.text.clone())
            .collect()
    }

    #[test]
    fn a_question_finds_its_note_in_its_language() {
        for (question, expected) in [
            ("什么是勾股定理？", "勾股定理"),
            ("什么是导数?", "导数"),
            ("请解释一下相似三角形的面积比", "相似三角形"),
            ("What is osmosis?", "Osmosis"),
            ("Explain Newton's second law please", "Newton's second law"),
            ("how does photosynthesis work", "Photosynthesis"),
        ] {
            let found = found(question);
            assert!(
                found.first().is_some_and(|note| note.contains(expected)),
                "{question}: {found:?}"
            );
        }
    }

    #[test]
    fn what_no_note_covers_finds_nothing() {
        for question in [
            "南京明天会下雨吗？",
            "怎么煮红烧肉",
            "Who won the football match yesterday?",
            "what is the best book to read",
            "",
            "?!",
            "a",
        ] {
            assert!(
                found(question).is_empty(),
                "{question}: {:?}",
                found(question)
            );
        }
    }
}
