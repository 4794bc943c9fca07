//! Two things that changed places around a word with a direction.
//!
//! "A and B", "A和B的区别" have none.

use super::{Seen, Side, words};
use crate::cache::text::{is_han, lists, phrases};

/// How far a thing may be from the word, in characters of Chinese.
const REACH_CHARS: usize = 10;

/// Whether there are two such things.
pub(super) fn order(one: &Side, two: &Side) -> Seen {
    let is_turned = |one, two| turned_in_english(one, two) || turned_in_chinese(one, two);
    (is_turned(one, two) || is_turned(two, one)).into()
}

/// Whether both have a direction and the same words in another order, question words and particles left out, which may stand anywhere:
/// "把十进制的1011化成二进制" and "把二进制的1011化成十进制".
pub(super) fn rearranged(one: &str, two: &str) -> Seen {
    let says = |list: &'static str| {
        let words = |text: &str| list.split('|').any(|word| text.contains(word));
        words(one) && words(two)
    };
    // Two that are joined may change places, and a verb and its object; not where one of them is denied.
    let may_change_places = says(words::JOINING) || !says(words::DIRECTED);
    if may_change_places && !says(words::DENIED_EN) {
        return Seen::No;
    }
    let (one, two) = (bare(one), bare(two));
    let sorted = |words: &[String]| {
        let mut sorted = words.to_vec();
        sorted.sort();
        sorted
    };
    (one != two && sorted(&one) == sorted(&two)).into()
}

/// The characters of a Chinese question or the words of another one, without those that may stand anywhere.
fn bare(question: &str) -> Vec<String> {
    let lower = question.to_lowercase();
    if lower.chars().any(is_han) {
        let without = phrases(words::MOVABLE_ZH).fold(lower, |text, word| text.replace(word, ""));
        let letters = without.chars().filter(|c| c.is_alphanumeric());
        return letters.map(String::from).collect();
    }
    let words = lower.split(|c: char| !c.is_alphanumeric() && c != '\'');
    let words = words.filter(|word| !word.is_empty() && !lists(words::MOVABLE_EN, word));
    words.map(str::to_owned).collect()
}

/// `x … m … y` against `y … m … x`, with `m` a marker or the same word of content in both.
fn turned_in_english(one: &Side, two: &Side) -> bool {
    let things = |side: &Side| -> Vec<(usize, String)> {
        let words = side.words.iter().zip(&side.stems).enumerate();
        let is_thing = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_alphanumeric()) && !lists(words::NO_THINGS, word)
        };
        let things = words.filter(|(_, (word, _))| is_thing(word));
        things
            .map(|(at, (_, stem))| (at, stem.clone()))
            .take(24)
            .collect()
    };
    let (left, right) = (things(one), things(two));
    let place = |things: &[(usize, String)], stem: &str| {
        let mut places = things
            .iter()
            .filter(|(_, other)| other == stem)
            .map(|&(at, _)| at);
        places.next().filter(|_| places.next().is_none())
    };
    left.iter().enumerate().any(|(nth, (x_left, x))| {
        left.iter().skip(nth + 1).any(|(y_left, y)| {
            let Some((x_right, y_right)) = place(&right, x).zip(place(&right, y)) else {
                return false;
            };
            x != y
                && y_right < x_right
                && shares_marker(
                    &between(one, *x_left, *y_left),
                    &between(two, y_right, x_right),
                )
        })
    })
}

/// The words and stems between two places.
fn between(side: &Side, from: usize, to: usize) -> Vec<(&str, &str)> {
    let words = side.words.iter().zip(&side.stems).take(to).skip(from + 1);
    words
        .map(|(word, stem)| (word.as_str(), stem.as_str()))
        .collect()
}

fn shares_marker(one: &[(&str, &str)], two: &[(&str, &str)]) -> bool {
    let is_symmetric =
        |words: &[(&str, &str)]| words.iter().any(|(word, _)| lists(words::SYMMETRIC, word));
    let directs = |word: &str| {
        lists(words::DIRECTIONS, word) || !lists(words::NO_THINGS, word) && word.len() > 2
    };
    let is_shared = |stem: &str| two.iter().any(|(_, other)| *other == stem);
    // A clause later there may be anything.
    let is_near = one.len() < 5 && two.len() < 5;
    // "Number of protons in oxygen", "oxygen proton number".
    let links = |words: &[(&str, &str)]| {
        words
            .iter()
            .any(|(word, _)| matches!(*word, "of" | "in" | "for"))
    };
    let is_compound = links(one) != links(two);
    let says = |word: &str| directs(word) && (!is_compound || lists(words::DIRECTIONS, word));
    is_near
        && !is_symmetric(one)
        && !is_symmetric(two)
        && one.iter().any(|(word, stem)| says(word) && is_shared(stem))
}

/// What stands before a marker in one stands after it in the other, and the other way round.
fn turned_in_chinese(one: &Side, two: &Side) -> bool {
    phrases(words::DIRECTIONS_ZH).any(|group| {
        group.split('/').any(|marker| {
            let Some((before, after)) = around(&one.lower, marker) else {
                return false;
            };
            let others = group
                .split('/')
                .filter_map(|marker| around(&two.lower, marker));
            others.into_iter().any(|(other_before, other_after)| {
                let x = shared(&before, &other_after);
                let y = shared(&after, &other_before);
                // 什么是凝固, 凝固是什么.
                let is_thing = |text: &str| {
                    (text.chars().count() > 1 || text.chars().any(|c| !is_han(c)))
                        && !text.contains("什么")
                };
                // 十进制 and 二进制 share a part; of 氧化铁 and 铁 one is the other's.
                let part = shared(&x, &y).len();
                is_thing(&x) && is_thing(&y) && part < x.len() && part < y.len()
            })
        })
    })
}

fn around(text: &str, marker: &str) -> Option<(String, String)> {
    let (before, after) = text.split_once(marker)?;
    let is_word = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '+' | '#');
    let before: Vec<char> = before
        .chars()
        .rev()
        .take_while(is_word)
        .take(REACH_CHARS)
        .collect();
    let after = after
        .chars()
        .take_while(is_word)
        .take(REACH_CHARS)
        .collect();
    Some((before.into_iter().rev().collect(), after))
}

/// The longest run that both have.
fn shared(one: &str, two: &str) -> String {
    let chars: Vec<char> = one.chars().filter(|c| !c.is_whitespace()).collect();
    let two: String = two.split_whitespace().collect();
    let mut longest = String::new();
    for from in 0..chars.len() {
        for length in longest.chars().count() + 1..=chars.len() - from {
            let run: String = chars.iter().skip(from).take(length).collect();
            if !two.contains(&run) {
                break;
            }
            longest = run;
        }
    }
    longest
}
