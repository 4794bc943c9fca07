//! Characters: which are the same, and which are nothing.
//!
//! NFKC takes away more than spelling: it makes `x2` of `x²`, `21⁄2` of `2½` and `R` of `ℝ`. Those stay.

use std::{borrow::Cow, iter::once};

use icu_normalizer::{ComposingNormalizer, ComposingNormalizerBorrowed};

const NFKC: ComposingNormalizerBorrowed<'static> = ComposingNormalizer::new_nfkc();

/// The text without what nobody sees, also in code; the wide forms of what delimits code are narrow.
///
/// A joiner stays between emoji, where it makes one of two.
pub(super) fn visible(text: &str) -> String {
    let mut chars = text.chars().filter(|&c| !is_invisible(c)).peekable();
    let mut visible = String::with_capacity(text.len());
    let mut last = ' ';
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().unwrap_or(' ');
        if c == JOINER && !(is_pictograph(last) && is_pictograph(next)) {
            continue;
        }
        last = match c {
            '｀' | '\u{1FEF}' => '`',
            '＄' | '﹩' => '$',
            '＼' | '﹨' => '\\',
            _ if last == '\\' => bracket(c).unwrap_or(c),
            _ => c,
        };
        visible.push(last);
    }
    visible
}

/// The ASCII bracket that [`prose`] would make of it.
fn bracket(c: char) -> Option<char> {
    let folded =
        (!c.is_ascii() && !c.is_alphanumeric()).then(|| prose(c.encode_utf8(&mut [0; 4])))?;
    let bracket = folded.chars().next()?;
    matches!(bracket, '(' | ')' | '[' | ']').then_some(bracket)
}

/// Prose in NFKC, but for what NFKC confuses, with ASCII punctuation.
pub(super) fn prose(text: &str) -> String {
    let text = parted(text);
    let mut folded = String::with_capacity(text.len());
    let mut run_start = 0;
    for (at, c) in text.char_indices().filter(|&(_, c)| stays(c)) {
        folded.extend(nfkc(text.get(run_start..at)).chars().map(narrow));
        folded.push(c);
        run_start = at + c.len_utf8();
    }
    folded.extend(nfkc(text.get(run_start..)).chars().map(narrow));
    folded
}

fn nfkc(run: Option<&str>) -> Cow<'_, str> {
    NFKC.normalize(run.unwrap_or_default())
}

/// Wide commas and stops in ASCII. Before a digit they get a space, as they part numbers and do not make
/// one.
fn parted(text: &str) -> String {
    let mut parted = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let (mark, is_wide) = match c {
            '。' | '｡' => ('.', true),
            '、' | '､' | '﹑' | '，' | '﹐' => (',', true),
            _ => (c, false),
        };
        parted.push(mark);
        let is_digit = |c: &char| c.is_numeric() || matches!(c, '.' | ',' | ':');
        if is_wide && chars.peek().is_some_and(is_digit) {
            parted.push(' ');
        }
    }
    parted
}

/// The equal in ASCII of punctuation that NFKC leaves wide.
fn narrow(c: char) -> char {
    match c {
        '“' | '”' | '„' | '‟' | '〝' | '〞' | '〟' | '「' | '」' | '『' | '』' => {
            '"'
        }
        '‘' | '’' | '‚' | '‛' | '′' => '\'',
        '【' | '〔' | '〖' => '[',
        '】' | '〕' | '〗' => ']',
        '‐' | '‒' | '–' | '—' | '―' | '−' => '-',
        '〜' => '~',
        '∶' => ':',
        '・' | '•' | '‧' => '·',
        _ => c,
    }
}

/// Whether NFKC would make something else of it.
fn stays(c: char) -> bool {
    match c {
        // Nothing to fold, wide forms, and the styles of mathematical letters.
        '\0'..='\u{9F}' | '\u{4E00}'..='\u{9FFF}' | '\u{1D400}'..='\u{1D7FF}' => false,
        '\u{FE30}'..='\u{FE6F}' | '\u{FF00}'..='\u{FFEF}' => false,
        // Raised and lowered letters and digits.
        'ª' | 'º' | '²' | '³' | '¹' | '\u{2B0}'..='\u{2B8}' | '\u{2E0}'..='\u{2E4}' => true,
        '\u{1D2C}'..='\u{1D6A}' | '\u{1D78}' | '\u{1D9B}'..='\u{1DBF}' => true,
        '\u{2070}'..='\u{209F}' | '\u{2C7C}' | '\u{2C7D}' | '\u{A770}' => true,
        '\u{A69C}' | '\u{A69D}' | '\u{A7F2}'..='\u{A7F9}' | '\u{AB5C}'..='\u{AB5F}' => true,
        '\u{10780}'..='\u{107BA}' | '™' | '℠' => true,
        // Letters that are signs: sets, constants, cardinals.
        '\u{2100}'..='\u{214F}' => !matches!(c, '℃' | '℉' | '№' | 'Ω' | 'K' | 'Å'),
        // In circles, brackets and squares.
        '\u{2460}'..='\u{24FF}' | '\u{3200}'..='\u{32FF}' | '\u{1F100}'..='\u{1F2FF}' => true,
        _ if c.is_whitespace() => false,
        // Fractions, squared units, accents that stand alone.
        _ => NFKC.normalize_iter(once(c)).any(|part| {
            part != c && (part.is_ascii_digit() || matches!(part, '⁄' | '∕' | ' ' | '('))
        }),
    }
}

const JOINER: char = '\u{200D}';

pub(super) fn is_invisible(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{85}' | JOINER => false,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' => true,
        '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}' => true,
        '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' => true,
        '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' => true,
        '\u{FFF0}'..='\u{FFFB}' | '\u{E0100}'..='\u{E01EF}' => true,
        _ => c.is_control(),
    }
}

fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{2BFF}' | '\u{1F000}'..='\u{1FAFF}')
}
