//! Names, code and quotations; and one word put for another.

use super::{Gap, Seen, Side, stem, words};
use crate::cache::text::{is_han, lists, words as split};

/// What each has of names that the other lacks.
pub(super) fn gap(one: &Side, two: &Side) -> Gap {
    Gap::of(lacks_name(one, two), lacks_name(two, one))
}

/// Whether `other` has a name that is nowhere in `side`.
fn lacks_name(side: &Side, other: &Side) -> bool {
    let is_quoted = other.mentions.iter().any(|what| {
        let what = what
            .trim_matches(['`', '$', ' ', '.', '?', ','])
            .to_lowercase();
        !what.is_empty() && !side.lower.contains(&what)
    });
    let short = abbreviated(other, side);
    is_quoted
        || names(other)
            .iter()
            .any(|name| !knows(side, name) && !short.contains(name))
}

/// Capitalised words within sentences, and Latin words within Chinese ones, in small letters.
fn names(side: &Side) -> Vec<String> {
    let own = split(&side.own);
    let is_chinese = side.is_chinese();
    let is_latin = |word: &&&str| word.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_capital = |word: &&&str| word.starts_with(|c: char| c.is_ascii_uppercase());
    let latin = own.iter().filter(is_latin).count();
    // A title has capitals everywhere.
    if !is_chinese && own.iter().filter(is_capital).count() * 3 > latin * 2 && latin > 3 {
        return Vec::new();
    }
    let mut names = Vec::new();
    for (at, word) in own.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| own.get(at));
        let begins =
            before.is_none_or(|mark| matches!(*mark, "." | "?" | "!" | ":" | "-" | "(" | "\""));
        let is_mixed = word.chars().skip(1).any(|c| c.is_ascii_uppercase());
        let is_name = (word.starts_with(|c: char| c.is_ascii_uppercase()) && !begins)
            || is_mixed
            || is_chinese;
        let lower = word.to_lowercase();
        let lower = lower.strip_suffix("'s").unwrap_or(&lower);
        if is_latin(&word)
            && is_name
            && !lists(words::NO_NAMES, lower)
            && !lists(words::SAYS_LITTLE, lower)
            && !is_number(lower)
        {
            names.push(lower.to_owned());
        }
    }
    names
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        || words::pairs(words::NUMBERS_EN).any(|(name, _)| name == word)
}

/// Whether a name is in a question: as a word or two, with a slip of the pen, as initials or in full.
fn knows(side: &Side, name: &str) -> bool {
    let stem = stem(name);
    let letters: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    let is_name = |word: &str| {
        word == stem
            || word == name
            || is_slip(word, &stem)
            || is_kin(word, name)
            || is_synonym(word, name)
            || word
                .chars()
                .filter(|c| c.is_alphanumeric())
                .eq(letters.chars())
    };
    let mut pairs = side.words.iter().zip(side.words.iter().skip(1));
    side.stems
        .iter()
        .chain(&side.words)
        .any(|word| is_name(word))
        || pairs.any(|(one, two)| [one.as_str(), two].concat() == letters)
        || is_initials(&letters, &side.words)
}

/// The words of a question that are initials in the other: `world`, `war`, `1` for `ww1`.
fn abbreviated(side: &Side, other: &Side) -> Vec<String> {
    let initials: Vec<char> = side
        .words
        .iter()
        .filter_map(|word| word.chars().next())
        .collect();
    let mut found = Vec::new();
    for short in other
        .words
        .iter()
        .filter(|word| word.len() > 2 && word.is_ascii())
    {
        let letters: Vec<char> = short.chars().collect();
        if let Some(at) = initials
            .windows(letters.len())
            .position(|run| run == letters)
        {
            found.extend(side.words.iter().skip(at).take(letters.len()).cloned());
        }
    }
    found
}

/// `india` and `indian`, `islam` and `islamic`.
fn is_kin(one: &str, two: &str) -> bool {
    let same = one
        .bytes()
        .zip(two.bytes())
        .take_while(|(x, y)| x == y)
        .count();
    let is_ending = |word: &str| {
        let ends = [
            "", "n", "an", "ian", "ese", "ish", "ic", "al", "ns", "ans", "ians", "y", "a", "e",
        ];
        word.get(same..).is_some_and(|rest| ends.contains(&rest))
    };
    same >= 4 && is_ending(one) && is_ending(two)
}

fn is_synonym(one: &str, two: &str) -> bool {
    words::pairs(words::NAME_SYNONYMS).any(|pair| pair == (one, two) || pair == (two, one))
}

/// Whether one letter more, less or changed makes one of the other, in words of five letters or more.
fn is_slip(one: &str, two: &str) -> bool {
    let (one, two) = if one.len() > two.len() {
        (two, one)
    } else {
        (one, two)
    };
    if one.len() < 5 || two.len() - one.len() > 1 || !one.is_ascii() || !two.is_ascii() {
        return false;
    }
    let same = one
        .bytes()
        .zip(two.bytes())
        .take_while(|(x, y)| x == y)
        .count();
    let rest = |text: &str, from: usize| text.get(from..).unwrap_or_default().to_owned();
    rest(one, same) == rest(two, same + 1) || rest(one, same + 1) == rest(two, same + 1)
}

fn is_initials(name: &str, words: &[String]) -> bool {
    let initials: String = words
        .iter()
        .filter_map(|word| word.chars().next())
        .collect();
    name.len() > 2 && name.is_ascii() && initials.contains(name)
}

/// Whether the questions are one but for a few words in one place, which say something on either side.
pub(super) fn substitution(one: &Side, two: &Side) -> Seen {
    let (left, right) = (tokens(one), tokens(two));
    let head = left.iter().zip(&right).take_while(|(x, y)| x == y).count();
    let most = left.len().min(right.len()) - head;
    let tail = left
        .iter()
        .rev()
        .zip(right.iter().rev())
        .take(most)
        .take_while(|(x, y)| x == y)
        .count();
    let middle = |tokens: &[String]| -> Vec<String> {
        let length = tokens.len() - head - tail;
        let middle = tokens.iter().skip(head).take(length);
        middle
            .filter(|token| !lists(words::SAYS_LITTLE, token))
            .cloned()
            .collect()
    };
    let (left, right) = (middle(&left), middle(&right));
    let is_short = |middle: &[String]| (1..=3).contains(&middle.len());
    let is_shared = left.iter().any(|token| {
        right
            .iter()
            .any(|other| token == other || is_slip(token, other))
    });
    let most = left.len().max(right.len());
    let (left_word, right_word) = (left.concat(), right.concat());
    let is_one_word = words::pairs(words::SYNONYMS).any(|(x, y)| {
        let (x, y) = (stem(x), stem(y));
        (left_word == x && right_word == y) || (left_word == y && right_word == x)
    });
    (is_short(&left)
        && is_short(&right)
        && !is_shared
        && !is_one_word
        && head + tail >= 2.max(most))
    .into()
}

/// Stems and single Han, without particles and polite words.
fn tokens(side: &Side) -> Vec<String> {
    let mut tokens = Vec::new();
    for (word, stem) in side.words.iter().zip(&side.stems) {
        if stem.starts_with(is_han) {
            let says = stem
                .chars()
                .filter(|c| !"的了吗呢啊呀吧么呐哦嘛是请".contains(*c));
            tokens.extend(says.map(String::from));
        } else if lists(words::SAYS_LITTLE, word) && !lists(words::ARTICLES, word) {
            tokens.push(word.clone());
        } else if stem.chars().any(char::is_alphanumeric) && !lists(words::ARTICLES, word) {
            tokens.push(stem.clone());
        }
    }
    tokens
}
