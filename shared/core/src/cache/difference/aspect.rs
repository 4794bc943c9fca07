//! What is asked about a thing, and in what form and language the answer is wanted.

use super::{Seen, Side, words};
use crate::cache::text::{find_phrase, is_han, phrases};

/// Whether both ask something that can be told, and not the same.
pub(super) fn aspect(one: &Side, two: &Side) -> Seen {
    let (left, right) = (asked(one), asked(two));
    (!left.is_empty() && !right.is_empty() && !left.iter().any(|class| right.contains(class)))
        .into()
}

/// The classes of [`words::ASPECTS`] that a question belongs to; the general ones only where no other does.
fn asked(side: &Side) -> Vec<usize> {
    let found = classes(side, words::ASPECTS);
    if found.is_empty() {
        classes(side, words::ASPECTS_GENERAL)
            .into_iter()
            .map(|class| class + 100)
            .collect()
    } else {
        found
    }
}

/// Whether the forms wanted differ.
pub(super) fn form(one: &Side, two: &Side) -> Seen {
    (classes(one, words::FORMS) != classes(two, words::FORMS)).into()
}

/// Whether the languages differ, that of the question or that of the answer.
pub(super) fn language(one: &Side, two: &Side) -> Seen {
    // A formula is of none, and letters that stand for a number.
    let is_word =
        |word: &&String| word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.len() > 1;
    let counts = |side: &Side| {
        let han = side.lower.chars().filter(|&c| is_han(c)).count();
        (han, side.words.iter().filter(is_word).count())
    };
    let (left, right) = (counts(one), counts(two));
    let are_both_spoken = left != (0, 0) && right != (0, 0);
    let is_chinese = |(han, latin): (usize, usize)| han > latin;
    let wanted = |side: &Side| classes(side, words::LANGUAGES);
    (are_both_spoken && is_chinese(left) != is_chinese(right) || wanted(one) != wanted(two)).into()
}

/// The numbers of the groups of which a question has a phrase.
fn classes(side: &Side, groups: &'static str) -> Vec<usize> {
    let spaced = side.spaced();
    let has = |phrase: &str| {
        if phrase.is_ascii() {
            find_phrase(&spaced, phrase).is_some()
        } else {
            side.lower.contains(phrase)
        }
    };
    let groups = phrases(groups).enumerate();
    groups
        .filter(|(_, group)| group.split('/').any(has))
        .map(|(nth, _)| nth)
        .collect()
}
