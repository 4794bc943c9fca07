//! Capitals that carry no meaning.
//!
//! | word | folds |
//! | --- | --- |
//! | three letters or more, only the first one a capital, beside nothing but white space, CJK and plain punctuation | yes |
//! | of two letters: a function word that is no chemical element, such as `Is`, `To`, `Of` | yes |
//! | `In`, `At` at the beginning of a sentence, before `what`, `which`, `the` | yes |
//! | one that means something else in small letters: `Polish`, `Turkey`, `Rust` | no |
//! | all other: `NASA`, `NaCl`, `pH`, `Co`, `I`, `A`, `X`, `Win10`, `Node.js`, `T-shirt`, `Array(3)`, `Élan` | no |

use super::Glyph;

/// Function words of two letters that are no element's symbol.
const SHORT: [&str; 17] = [
    "an", "by", "do", "if", "is", "it", "me", "my", "of", "on", "or", "so", "to", "up", "us", "we",
    "oh",
];
/// What may come after `In` and `At` when they are no indium and no astatine.
const AFTER_PREPOSITION: [&str; 4] = ["what", "which", "the", "how"];
/// Words that are another word when they begin with a capital.
const CAPITONYMS: [&str; 60] = [
    "access", "amazon", "ampere", "apple", "april", "august", "bath", "base", "bash", "basic",
    "cancer", "celsius", "chad", "chile", "china", "cologne", "dart", "earth", "excel", "flash",
    "gap", "hamlet", "java", "job", "jordan", "julia", "kelvin", "lent", "lima", "lisp", "march",
    "mark", "may", "mercury", "meta", "mobile", "mole", "moor", "newton", "nice", "oracle",
    "pascal", "perl", "pole", "polish", "reading", "ruby", "rust", "scheme", "shell", "slack",
    "swift", "swede", "tangier", "turkey", "visa", "wales", "windows", "word", "zoom",
];

/// Folds them in place.
pub(super) fn fold(glyphs: &mut [Glyph<'_>]) {
    let mut at = 0;
    while at < glyphs.len() {
        let length = word_length(glyphs, at);
        if length > 0
            && is_ordinary(glyphs, at, length)
            && let Some(first) = glyphs.get_mut(at)
        {
            *first = Glyph::Char(first.char().to_ascii_lowercase());
        }
        at += length.max(1);
    }
}

/// How many ASCII letters begin here, with apostrophes between them.
fn word_length(glyphs: &[Glyph<'_>], at: usize) -> usize {
    let char = |at: usize| glyphs.get(at).map_or(' ', |glyph| glyph.char());
    let is_letter = |at: usize| char(at).is_ascii_alphabetic();
    let mut end = at;
    while is_letter(end) || (end > at && char(end) == '\'' && is_letter(end + 1)) {
        end += 1;
    }
    end - at
}

fn word(glyphs: &[Glyph<'_>], at: usize) -> String {
    let letters = glyphs.iter().skip(at).take(word_length(glyphs, at));
    letters
        .map(|glyph| glyph.char().to_ascii_lowercase())
        .collect()
}

/// Whether only its first letter is a capital, and that says nothing.
fn is_ordinary(glyphs: &[Glyph<'_>], at: usize, length: usize) -> bool {
    let char = |at: Option<usize>| {
        let glyph = at.and_then(|at| glyphs.get(at));
        glyph.map_or(' ', |glyph| glyph.char())
    };
    let mut letters = (at..at + length).map(|at| char(Some(at)));
    let is_capitalised = letters.next().is_some_and(|c| c.is_ascii_uppercase())
        && !letters.any(|c| c.is_ascii_uppercase());
    if !is_capitalised {
        return false;
    }
    let before = char(at.checked_sub(1));
    let after = char(Some(at + length));
    let ends = after != '.' || !char(Some(at + length + 1)).is_alphanumeric();
    let stands_alone = (parts(before) || matches!(before, '(' | '['))
        && (parts(after) || matches!(after, ')' | ']') || (after == '.' && ends));
    if !stands_alone {
        return false;
    }
    let word = word(glyphs, at);
    let stem = word.split('\'').next().unwrap_or_default();
    match stem.len() {
        0 | 1 => false,
        2 if SHORT.contains(&stem) => true,
        2 => {
            let next = self::word(glyphs, at + length + 1);
            matches!(stem, "in" | "at")
                && begins_sentence(glyphs, at)
                && after == ' '
                && AFTER_PREPOSITION.contains(&next.as_str())
        }
        _ => !CAPITONYMS.contains(&stem),
    }
}

/// What may stand beside a word without being of it.
fn parts(c: char) -> bool {
    c.is_whitespace()
        || super::space::is_cjk(c)
        || matches!(c, ',' | ';' | ':' | '!' | '?' | '"' | '\'')
}

fn begins_sentence(glyphs: &[Glyph<'_>], at: usize) -> bool {
    let mut before = glyphs.iter().take(at).rev().map(|glyph| glyph.char());
    match before.next() {
        None => true,
        Some(space) => {
            space.is_whitespace() && before.next().is_some_and(|c| matches!(c, '.' | '?' | '!'))
        }
    }
}
