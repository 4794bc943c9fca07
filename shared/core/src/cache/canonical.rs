//! Which spellings of a question are one question (R-CACHE-1).
//!
//! Two questions of one canonical form get one answer, unseen by anybody. So whatever may carry meaning stays,
//! and in doubt two spellings stay two questions: a miss costs a call, a wrong answer costs trust.
//!
//! | step | does | leaves |
//! | --- | --- | --- |
//! | `fold` | NFKC; wide punctuation to ASCII; invisible marks go | `x²`, `H₂O`, `½`, `①`, `㎡`, `ℝ`, letters that only look alike |
//! | `verbatim` | finds code and formulas: backticks, `$…$`, `\(…\)`, `\[…\]` | all that is in them |
//! | `case` | folds ASCII capitals of ordinary words | `NASA`, `pH`, `mRNA`, `Co`, `Polish`, `f(X)`, `Node.js` |
//! | `space` | takes out white space beside CJK and punctuation, makes the rest one space | `1. 5`, `3 , 000`, `5! = 120`, the lines of indented code |
//! | here | strips one `?` or `.` at the end | `!`, `...`, `??`, `1.`, `etc.`, `vitamin C.` |
//!
//! The steps are made so that a canonical form is its own canonical form: none of them makes or breaks a
//! delimiter of code, and none makes a word foldable that was not.

mod case;
mod fold;
mod space;
#[cfg(test)]
mod tests;
mod verbatim;

use crate::id::digest;

/// The longest question that has a canonical form, in bytes: API Gateway's frame.
pub const QUESTION_BYTES_MAX: usize = 32 * 1024;

/// A piece of a question: what the steps see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Glyph<'a> {
    Char(char),
    /// Code or a formula with its delimiters.
    Verbatim(&'a str),
}

impl Glyph<'_> {
    /// The character, a backtick for code and formulas: no rule takes one for part of a word.
    fn char(self) -> char {
        match self {
            Self::Char(c) => c,
            Self::Verbatim(_) => '`',
        }
    }

    fn is_space(self) -> bool {
        self.char().is_whitespace()
    }
}

/// A question without what does not matter in its spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Canonical(String);

impl Canonical {
    /// The canonical form. `None` where nothing is asked (empty, only punctuation, white space or invisible
    /// marks; emoji do ask) or the question is over [`QUESTION_BYTES_MAX`]: nothing is cached for those.
    /// Takes time in proportion to the length.
    ///
    /// ```
    /// use sparkle_core::cache::canonical::Canonical;
    ///
    /// let one = Canonical::of("What is  photosynthesis ?").unwrap();
    /// assert_eq!(one.as_str(), "what is photosynthesis");
    /// assert_ne!(Canonical::of("C#是什么"), Canonical::of("C是什么"));
    /// ```
    pub fn of(question: &str) -> Option<Self> {
        if question.len() > QUESTION_BYTES_MAX {
            return None;
        }
        let visible = fold::visible(question);
        let mut glyphs = Vec::with_capacity(visible.len());
        for piece in verbatim::pieces(&visible) {
            match piece {
                verbatim::Piece::Prose(text) => {
                    glyphs.extend(fold::prose(text).chars().map(Glyph::Char));
                }
                verbatim::Piece::Verbatim(text) => glyphs.push(Glyph::Verbatim(text)),
            }
        }
        trim(&mut glyphs);
        case::fold(&mut glyphs);
        strip_end(&mut glyphs);
        let text = space::joined(&glyphs);
        glyphs
            .iter()
            .any(|&glyph| asks(glyph))
            .then_some(Self(text))
    }

    /// The form itself. It is a learner's text: not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the form as 64 hex digits.
    pub fn digest(&self) -> String {
        digest(&[&self.0])
    }
}

/// Prose and verbatim parts of a question in order, prose with folded characters.
pub(super) fn parts(question: &str) -> Vec<(Part, String)> {
    let visible = fold::visible(question);
    let pieces = verbatim::pieces(&visible).into_iter();
    let parts = pieces.map(|piece| match piece {
        verbatim::Piece::Prose(text) => (Part::Prose, fold::prose(text)),
        verbatim::Piece::Verbatim(text) => (Part::Verbatim, text.to_owned()),
    });
    parts.collect()
}

/// What a part of a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Prose,
    Verbatim,
}

/// Whether a text has marks that no reader sees and no canonical form has: a model sees them.
pub fn has_hidden(text: &str) -> bool {
    text.chars().any(fold::is_invisible)
}

fn trim(glyphs: &mut Vec<Glyph<'_>>) {
    while glyphs.last().is_some_and(|glyph| glyph.is_space()) {
        glyphs.pop();
    }
    let blank = glyphs.iter().take_while(|glyph| glyph.is_space()).count();
    glyphs.drain(..blank);
}

/// Takes one `?` or `.` off the end, unless it is one of several, or a `.` that belongs to a number or an
/// abbreviation.
fn strip_end(glyphs: &mut Vec<Glyph<'_>>) {
    let Some((&Glyph::Char(mark @ ('?' | '.')), before)) = glyphs.split_last() else {
        return;
    };
    let mut before = before.iter().rev().copied().skip_while(|g| g.is_space());
    let stays = match before.next().map(Glyph::char) {
        Some('?' | '.') => true,
        Some(c) if mark == '.' => {
            let word: String = std::iter::once(c)
                .chain(before.map(Glyph::char))
                .take_while(char::is_ascii_alphabetic)
                .take(4)
                .collect();
            c.is_numeric() || word.len() == 1 || word.eq_ignore_ascii_case("cte")
        }
        _ => false,
    };
    if !stays {
        glyphs.pop();
        trim(glyphs);
    }
}

/// Whether it says anything: no punctuation, white space or mark that only changes its neighbour.
fn asks(glyph: Glyph<'_>) -> bool {
    match glyph {
        Glyph::Verbatim(text) => text.chars().any(char::is_alphanumeric),
        Glyph::Char(c) if c.is_alphanumeric() => true,
        Glyph::Char(c) => !matches!(c,
            '\0'..='\u{BF}' | '×' | '÷'
            | '\u{2B0}'..='\u{36F}'
            | '\u{2000}'..='\u{206F}' | '\u{20D0}'..='\u{20FF}'
            | '\u{2E00}'..='\u{2E7F}' | '\u{3000}'..='\u{303F}' | '\u{30FB}'
            | '\u{E000}'..='\u{F8FF}' | '\u{FE00}'..='\u{FE6F}' | '\u{FF00}'..='\u{FFFF}'
            | '\u{E0000}'..),
    }
}
