//! Where code and formulas are.
//!
//! | begins | ends |
//! | --- | --- |
//! | a run of backticks | the next run of as many; three or more without an end: the text's end |
//! | `$$` | the next `$$` |
//! | `$` before something | the next `$` that comes after something and not before a digit: `$5 and $6` are prices |
//! | `\(`, `\[` | the next `\)`, `\]` |
//!
//! What does not end is prose. `\$` and `\\` are no delimiters.

use std::collections::HashMap;

/// A stretch of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Prose(&'a str),
    /// With its delimiters.
    Verbatim(&'a str),
}

/// What may begin or end a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mark {
    Backticks(usize),
    DoubleDollar,
    Dollar,
    Open(u8),
    Close(u8),
}

#[derive(Debug, Clone, Copy)]
struct Token {
    mark: Mark,
    start: usize,
    end: usize,
}

/// The text in pieces, in order. They make it up again.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let tokens = tokens(text);
    let mut ends: HashMap<Mark, Vec<Token>> = HashMap::new();
    for &token in tokens.iter().rev() {
        if can_end(text, token) {
            ends.entry(token.mark).or_default().push(token);
        }
    }
    let mut pieces = Vec::new();
    let mut at = 0;
    for token in tokens {
        if token.start < at || !can_begin(text, token) {
            continue;
        }
        let closing = match token.mark {
            Mark::Open(bracket) => Mark::Close(bracket),
            mark => mark,
        };
        let later = ends.entry(closing).or_default();
        while later.last().is_some_and(|end| end.start < token.end) {
            later.pop();
        }
        let end = match (later.last(), token.mark) {
            (Some(end), _) => end.end,
            (None, Mark::Backticks(3..)) => text.len(),
            (None, _) => continue,
        };
        pieces.push(Piece::Prose(text.get(at..token.start).unwrap_or_default()));
        pieces.push(Piece::Verbatim(
            text.get(token.start..end).unwrap_or_default(),
        ));
        at = end;
    }
    pieces.push(Piece::Prose(text.get(at..).unwrap_or_default()));
    pieces
}

fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let run = |from: usize, byte: u8| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().take_while(|&&b| b == byte).count()
    };
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(&byte) = bytes.get(start) {
        let next = bytes.get(start + 1).copied();
        let (mark, length) = match (byte, next) {
            (b'`', _) => {
                let length = run(start, b'`');
                (Some(Mark::Backticks(length)), length)
            }
            (b'$', Some(b'$')) => (Some(Mark::DoubleDollar), 2),
            (b'$', _) => (Some(Mark::Dollar), 1),
            (b'\\', Some(b'(')) => (Some(Mark::Open(b')')), 2),
            (b'\\', Some(b'[')) => (Some(Mark::Open(b']')), 2),
            (b'\\', Some(bracket @ (b')' | b']'))) => (Some(Mark::Close(bracket)), 2),
            (b'\\', Some(b'$' | b'\\')) => (None, 2),
            _ => (None, 1),
        };
        let end = start + length;
        tokens.extend(mark.map(|mark| Token { mark, start, end }));
        start = end;
    }
    tokens
}

fn can_begin(text: &str, token: Token) -> bool {
    let after = text.get(token.end..).and_then(|rest| rest.chars().next());
    match token.mark {
        Mark::Dollar => after.is_some_and(|c| !c.is_whitespace()),
        Mark::Close(_) => false,
        _ => true,
    }
}

fn can_end(text: &str, token: Token) -> bool {
    let before = text
        .get(..token.start)
        .and_then(|head| head.chars().next_back());
    let after = text.get(token.end..).and_then(|rest| rest.chars().next());
    match token.mark {
        Mark::Dollar => before.is_some_and(|c| !c.is_whitespace()) && !after.is_some_and(is_digit),
        Mark::Open(_) => false,
        _ => true,
    }
}

/// What is a digit after NFKC, too.
fn is_digit(c: char) -> bool {
    matches!(c, '0'..='9' | '０'..='９' | '\u{1D7CE}'..='\u{1D7FF}')
}
