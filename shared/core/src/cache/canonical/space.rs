//! White space that carries no meaning.
//!
//! | beside | goes |
//! | --- | --- |
//! | Han and kana | always |
//! | `, . ; : ! ? ( ) [ ] { } "` | yes, but not where digits would meet over `. , :`, and not where two marks would make another one: `! =` |
//! | other marks, such as `+ - = < ×` | where there is as much on the other side: `a + b`, but neither `A- b` nor `A -b` |
//! | `` ` ``, `$`, `\` | never: they would begin or end code |
//! | all else, digits and Korean too | no: it becomes one space |
//!
//! Where a line that ends in an opening mark, `:` or `;` is followed by one that is indented, lines and
//! indents stay: there it is code.

use super::Glyph;

/// The text.
pub(super) fn joined(glyphs: &[Glyph<'_>]) -> String {
    let layout = layout(glyphs);
    let mut text = String::with_capacity(glyphs.len());
    let mut at = 0;
    while let Some(&glyph) = glyphs.get(at) {
        if !glyph.is_space() {
            match glyph {
                Glyph::Char(c) => text.push(c),
                Glyph::Verbatim(code) => text.push_str(code),
            }
            at += 1;
            continue;
        }
        let rest = glyphs.get(at..).unwrap_or_default();
        let length = rest.iter().take_while(|glyph| glyph.is_space()).count();
        let blank = rest.iter().take(length).map(|glyph| glyph.char());
        let gap = Gap {
            glyphs,
            start: at,
            end: at + length,
        };
        if layout == Layout::Lines && blank.clone().any(|c| c == '\n') {
            text.push('\n');
            text.push_str(&indent(blank));
        } else if !gap.closes() {
            text.push(' ');
        }
        at += length;
    }
    text
}

/// Han and kana: scripts that part words by nothing, with their marks.
pub(super) fn is_cjk(c: char) -> bool {
    !c.is_numeric()
        && matches!(c,
        '\u{2E80}'..='\u{2FDF}' | '\u{3001}'..='\u{3029}' | '\u{3030}'..='\u{3098}' | '\u{309B}'..='\u{30FF}' | '\u{3100}'..='\u{312F}'
        | '\u{31A0}'..='\u{31FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Flowing,
    Lines,
}

fn layout(glyphs: &[Glyph<'_>]) -> Layout {
    let mut last = ' ';
    let mut at = 0;
    while let Some(glyph) = glyphs.get(at) {
        let rest = glyphs.get(at..).unwrap_or_default();
        let blank = rest.iter().take_while(|glyph| glyph.is_space());
        let blank: String = blank.map(|glyph| glyph.char()).collect();
        let opens = matches!(last, ':' | ';' | '{' | '(' | '[');
        if opens && blank.contains('\n') && indent(blank.chars()).len() > 1 {
            return Layout::Lines;
        }
        last = glyph.char();
        at += blank.chars().count().max(1);
    }
    Layout::Flowing
}

/// What comes after the last line break, a tab as four spaces.
fn indent(blank: impl Iterator<Item = char>) -> String {
    blank.fold(String::new(), |mut indent, c| {
        match c {
            '\n' => indent.clear(),
            '\t' => indent.push_str("    "),
            _ => indent.push(' '),
        }
        indent
    })
}

/// White space within a text.
#[derive(Debug, Clone, Copy)]
struct Gap<'a> {
    glyphs: &'a [Glyph<'a>],
    start: usize,
    end: usize,
}

impl Gap<'_> {
    /// Whether it goes.
    fn closes(self) -> bool {
        let left = self.start.checked_sub(1).and_then(|at| self.glyphs.get(at));
        let (Some(&left), Some(&right)) = (left, self.glyphs.get(self.end)) else {
            return true;
        };
        if is_delimiter(left) || is_delimiter(right) || is_combining(right.char()) {
            return false;
        }
        let (left, right) = (left.char(), right.char());
        let joins_digits = is_joiner(left) && (right.is_numeric() || is_joiner(right))
            || left.is_numeric() && is_joiner(right);
        let makes_a_mark = is_sign(left) && (is_sign(right) || is_operator(right));
        if joins_digits || makes_a_mark {
            return false;
        }
        is_cjk(left)
            || is_cjk(right)
            || is_plain(left)
            || is_plain(right)
            || (is_operator(right) && self.is_even_around(self.end))
            || (is_operator(left) && self.is_even_around(self.start.saturating_sub(1)))
    }

    /// Whether the operator at `at` has white space on both sides, and beyond it what it may stand between.
    fn is_even_around(self, at: usize) -> bool {
        let (head, tail) = self.glyphs.split_at(at);
        let is_part = |glyph: &&Glyph<'_>| is_operator(glyph.char());
        let mut left = head.iter().rev().skip_while(is_part).peekable();
        let mut right = tail.iter().skip_while(is_part).peekable();
        let is_open = |beside: Option<&&Glyph<'_>>| beside.is_none_or(|glyph| glyph.is_space());
        let has_room = is_open(left.peek()) && is_open(right.peek());
        let left = left.find(|glyph| !glyph.is_space()).copied();
        let right = right.find(|glyph| !glyph.is_space()).copied();
        let takes = |glyph: Option<Glyph<'_>>| {
            glyph.is_none_or(|glyph| !is_delimiter(glyph) && !is_operator(glyph.char()))
        };
        has_room && takes(left) && takes(right) && !left.is_some_and(|glyph| is_sign(glyph.char()))
    }
}

/// Plain text that would begin or end code or a formula if it met its neighbour.
fn is_delimiter(glyph: Glyph<'_>) -> bool {
    matches!(glyph, Glyph::Char('`' | '$' | '\\'))
}

/// What makes one number of two.
fn is_joiner(c: char) -> bool {
    matches!(c, '.' | ',' | ':')
}

/// What ends a sentence, or begins a sign such as `!=`.
fn is_sign(c: char) -> bool {
    matches!(c, '.' | ':' | '!' | '?')
}

fn is_plain(c: char) -> bool {
    matches!(c, ',' | ';' | '(' | ')' | '[' | ']' | '{' | '}' | '"') || is_sign(c)
}

/// Any other mark that is a sign by itself.
fn is_operator(c: char) -> bool {
    match c {
        '!'..='~' => !c.is_ascii_alphanumeric() && !is_plain(c) && c != '`',
        '\u{A1}'..='\u{BF}' | '\u{2010}'..='\u{205E}' | '\u{20A0}'..='\u{20CF}' => {
            !c.is_alphanumeric()
        }
        '\u{2100}'..='\u{2BFF}' => !c.is_alphanumeric(),
        _ => matches!(c, '×' | '÷'),
    }
}

/// What changes the character before it.
fn is_combining(c: char) -> bool {
    !c.is_ascii() && !c.is_alphanumeric() && !is_operator(c) && !is_cjk(c)
}
