//! A question as rules read it: folded characters, with what is only mentioned taken out.

use super::canonical::{Part, parts};

/// Stands where something was mentioned and not used.
pub(super) const MENTION: char = '□';
/// More than this between two quotation marks is no quotation, in characters.
const QUOTATION_CHARS_MAX: usize = 200;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// Its own words, in their case, with [`MENTION`] for code, formulas, quotations and titles.
    pub(super) own: String,
    /// What stood there, in order.
    pub(super) mentions: Vec<String>,
}

impl Text {
    pub(super) fn of(question: &str) -> Self {
        let mut text = Self {
            own: String::with_capacity(question.len()),
            mentions: Vec::new(),
        };
        for (part, piece) in parts(question) {
            match part {
                Part::Prose => text.take_prose(&piece),
                Part::Verbatim => text.mention(&piece),
            }
        }
        text
    }

    /// Its own words in small letters, between single spaces; punctuation and each run of Han are words.
    pub(super) fn spaced(&self) -> String {
        let mut spaced = String::from(" ");
        for word in words(&self.own) {
            // The trade, and no pronoun.
            match word {
                "IT" => spaced.push(MENTION),
                _ => spaced.push_str(&word.to_lowercase()),
            }
            spaced.push(' ');
        }
        spaced
    }

    fn mention(&mut self, what: &str) {
        self.own.push(MENTION);
        self.mentions.push(what.to_owned());
    }

    fn take_prose(&mut self, prose: &str) {
        let mut rest = prose;
        let mut last = ' ';
        while let Some(c) = rest.chars().next() {
            if let Some((inside, after)) = quotation(last, rest) {
                self.mention(inside);
                rest = after;
                last = MENTION;
            } else {
                self.own.push(c);
                last = c;
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
        }
    }
}

/// The phrases of a word list, which stand between `|`.
pub(super) fn phrases(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split('|').map(|phrase| {
        let phrase = phrase.strip_prefix(' ').unwrap_or(phrase);
        phrase.strip_suffix(' ').unwrap_or(phrase)
    })
}

/// Whether a word is one of a list's.
pub(super) fn lists(list: &'static str, word: &str) -> bool {
    phrases(list).any(|listed| listed == word)
}

/// Whether a list's phrase is anywhere in a text.
pub(super) fn has_part(text: &str, list: &'static str) -> bool {
    phrases(list).any(|part| text.contains(part))
}

/// Whether a list's phrase is in a text of [`Text::spaced`] as whole words.
pub(super) fn has_phrase(spaced: &str, list: &'static str) -> bool {
    let initials = initials(spaced);
    let mut phrases = phrases(list).filter(|phrase| may_begin(initials, phrase));
    phrases.any(|phrase| find_phrase(spaced, phrase).is_some())
}

/// The first bytes of a text's words, a bit for each remainder by 128: most phrases need no search.
fn initials(spaced: &str) -> u128 {
    let bytes = spaced.as_bytes();
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    let initials = pairs
        .filter(|&(&before, _)| before == b' ')
        .map(|(_, &first)| first);
    initials
        .chain(bytes.first().copied())
        .fold(0, |bits, first| bits | bit(first))
}

fn may_begin(initials: u128, phrase: &str) -> bool {
    phrase
        .as_bytes()
        .first()
        .is_some_and(|&first| initials & bit(first) != 0)
}

fn bit(byte: u8) -> u128 {
    1 << (byte & 127)
}

/// Where a phrase is as whole words.
pub(super) fn find_phrase(spaced: &str, phrase: &str) -> Option<usize> {
    let is_space = |byte: Option<&u8>| byte.is_none_or(|&byte| byte == b' ');
    let bytes = spaced.as_bytes();
    let found = spaced.match_indices(phrase).find(|&(at, _)| {
        is_space(at.checked_sub(1).and_then(|at| bytes.get(at)))
            && is_space(bytes.get(at + phrase.len()))
    });
    found.map(|(at, _)| at)
}

/// A text of [`Text::spaced`] with a mention for each of a list's phrases.
pub(super) fn without_phrases(spaced: &str, list: &'static str) -> String {
    let mut left = spaced.to_owned();
    let initials = initials(spaced);
    for phrase in phrases(list).filter(|phrase| may_begin(initials, phrase)) {
        let mut from = 0;
        while let Some(at) = left.get(from..).and_then(|rest| find_phrase(rest, phrase)) {
            left.replace_range(from + at..from + at + phrase.len(), "□ □");
            from += at;
        }
    }
    left
}

/// The quotation or title that a text begins with, and what follows.
fn quotation(before: char, text: &str) -> Option<(&str, &str)> {
    let open = text.chars().next()?;
    let close = match open {
        '"' => '"',
        '\'' if !before.is_alphanumeric() => '\'',
        '《' => '》',
        '〈' => '〉',
        _ => return None,
    };
    let body = text.get(open.len_utf8()..)?;
    let inside = body.char_indices().take(QUOTATION_CHARS_MAX);
    for (at, c) in inside.filter(|&(_, c)| c == close) {
        let after = body.get(at + c.len_utf8()..)?;
        let ends = close != '\'' || !after.chars().next().is_some_and(char::is_alphanumeric);
        if at > 0 && ends {
            return Some((body.get(..at)?, after));
        }
    }
    None
}

/// Words in order: runs of Latin letters, digits and what joins them; runs of Han; single marks.
pub(super) fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut last = Class::Space;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map_or(' ', |&(_, next)| next);
        let class = class(c, last, next);
        if class != last || class == Class::Mark {
            push(&mut words, text.get(start..at), last);
            start = at;
        }
        last = class;
    }
    push(&mut words, text.get(start..), last);
    words
}

fn push<'a>(words: &mut Vec<&'a str>, word: Option<&'a str>, class: Class) {
    if class != Class::Space {
        words.extend(word.filter(|word| !word.is_empty()));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Han,
    Latin,
    Mark,
}

fn class(c: char, last: Class, next: char) -> Class {
    match c {
        _ if c.is_whitespace() => Class::Space,
        _ if is_han(c) => Class::Han,
        '\'' | '.' | ',' if last == Class::Latin && next.is_ascii_alphanumeric() => {
            if c == ',' && !next.is_ascii_digit() {
                Class::Mark
            } else {
                Class::Latin
            }
        }
        '+' | '#' if last == Class::Latin && !next.is_alphanumeric() => Class::Latin,
        _ if c.is_alphanumeric() => Class::Latin,
        _ => Class::Mark,
    }
}

/// Han and kana.
pub(super) fn is_han(c: char) -> bool {
    matches!(c, '\u{3007}' | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{20000}'..='\u{3FFFF}')
        && c != '・'
        && c != '·'
}
