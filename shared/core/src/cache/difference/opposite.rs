//! Negation, opposites, and members of one class.

use super::{Seen, Side, words};
use crate::cache::text::{find_phrase, phrases, without_phrases};

/// Whether one says no an odd number of times and the other does not.
pub(super) fn negation(one: &Side, two: &Side) -> Seen {
    (negations(one) % 2 != negations(two) % 2).into()
}

fn negations(side: &Side) -> usize {
    let mut text = side.lower.clone();
    for idiom in phrases(words::NEGATION_IDIOMS_ZH) {
        text = text.replace(idiom, "□");
    }
    let chars: Vec<char> = text.chars().collect();
    let chinese = chars.iter().enumerate().filter(|&(at, &c)| {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        // 能不能, 有没有: a question, and no negation.
        let asks = before.is_some() && before == chars.get(at + 1);
        "不没无非未别勿".contains(c) && !asks
    });
    let spaced = without_phrases(&side.spaced(), words::NEGATION_IDIOMS_EN);
    let english = spaced.split(' ').filter(|word| {
        word.ends_with("n't") || phrases(words::NEGATIONS_EN).any(|negation| negation == *word)
    });
    chinese.count() + english.count()
}

/// Whether one has a word and the other its opposite, or the same with `un`, `in`, `dis` or `non`.
pub(super) fn antonym(one: &Side, two: &Side) -> Seen {
    let is_listed = replaced(words::ANTONYMS, one, two) || replaced(words::ANTONYMS_ZH, one, two);
    let is_prefixed = |from: &Side, to: &Side| {
        let lost = from
            .stems
            .iter()
            .filter(|stem| stem.len() > 4 && !to.stems.contains(stem));
        lost.into_iter().any(|stem| {
            let prefixes = ["un", "in", "im", "ir", "dis", "non"];
            to.stems.iter().any(|other| {
                let mut rests = prefixes
                    .iter()
                    .filter_map(|prefix| other.strip_prefix(prefix));
                rests.any(|rest| rest == stem) && !from.stems.contains(other)
            })
        })
    };
    (is_listed || is_prefixed(one, two) || is_prefixed(two, one)).into()
}

/// Whether each has another member of one class.
pub(super) fn sibling(one: &Side, two: &Side) -> Seen {
    replaced(words::SIBLINGS, one, two).into()
}

/// Whether of one group of words each has one that the other lacks. A group's words stand between `/`.
fn replaced(groups: &'static str, one: &Side, two: &Side) -> bool {
    let (left, right) = (Own::of(one, two), Own::of(two, one));
    phrases(groups).any(|group| {
        group.split('/').any(|word| left.has(word)) && group.split('/').any(|word| right.has(word))
    })
}

/// What one question has and the other has not.
struct Own<'a> {
    side: &'a Side,
    other: &'a Side,
    spaced: String,
    other_spaced: String,
    stems: Vec<&'a str>,
}

impl<'a> Own<'a> {
    fn of(side: &'a Side, other: &'a Side) -> Self {
        let stems = side.stems.iter().filter(|stem| !other.stems.contains(stem));
        Self {
            side,
            other,
            spaced: side.spaced(),
            other_spaced: other.spaced(),
            stems: stems.map(String::as_str).collect(),
        }
    }

    fn has(&self, word: &str) -> bool {
        if !word.is_ascii() {
            return self.side.lower.contains(word) && !self.other.lower.contains(word);
        }
        if word.contains(' ') {
            return find_phrase(&self.spaced, word).is_some()
                && find_phrase(&self.other_spaced, word).is_none();
        }
        // Stemming is what costs: only what may be it.
        let begins_alike = |stem: &str| stem.as_bytes().get(..2) == word.as_bytes().get(..2);
        let mut alike = self
            .stems
            .iter()
            .filter(|stem| begins_alike(stem))
            .peekable();
        alike.peek().is_some() && {
            let stem = super::stem(word);
            alike.any(|other| *other == stem)
        }
    }
}
