//! Whether a text may be about a person, or a secret.

use super::{Reading, speaks_of_self, words::EXEMPT_EN};
use crate::cache::{
    canonical::{Part, has_hidden, parts},
    text::{Text, without_phrases},
};

/// A longer text is somebody's work, in characters.
const SHARED_CHARS_MAX: usize = 300;
/// So many digits in a row may be a telephone, a card, a number of a person.
const DIGITS_MIN: usize = 6;
/// A run of letters and digits as long as this may be a key.
const KEY_CHARS_MIN: usize = 16;

/// Who may see a question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Nothing in it tells of anybody: learners may share it.
    Shareable,
    /// Only who wrote it.
    Private,
}

/// Who may see a text. Private where it may hold something about a person or a secret: addresses, numbers,
/// keys, links, paths, code blocks, the first person, or over 300 characters. It does not know people's
/// names: an answer of a shared scope needs more than this (R-CACHE-3).
///
/// ```
/// use sparkle_core::cache::dependence::{Sharing, may_be_shared};
///
/// assert_eq!(may_be_shared("什么是光合作用？"), Sharing::Shareable);
/// assert_eq!(may_be_shared("Write to ann@example.org"), Sharing::Private);
/// ```
pub fn may_be_shared(text: &str) -> Sharing {
    // What nobody sees could tell a model what to answer to those who ask the same without it.
    if text.chars().nth(SHARED_CHARS_MAX).is_some() || has_hidden(text) {
        return Sharing::Private;
    }
    let mut folded = String::with_capacity(text.len());
    let mut prose = String::with_capacity(text.len());
    for (part, piece) in parts(text) {
        folded.push_str(&piece);
        match part {
            Part::Prose => prose.push_str(&piece),
            // Numbers of a formula are nobody's.
            Part::Verbatim if piece.starts_with(['$', '\\']) => prose.push('□'),
            Part::Verbatim => prose.push_str(&piece),
        }
    }
    let lower = folded.to_lowercase();
    let is_private = TELLS.iter().any(|word| lower.contains(word))
        || has_handle(&folded)
        || has_digits(&prose)
        || has_key(&folded)
        || has_path(&folded)
        || tells_of_self(&lower);
    if is_private {
        Sharing::Private
    } else {
        Sharing::Shareable
    }
}

/// What stands beside private things, in small letters.
const TELLS: &[&str] = &[
    "```",
    "://",
    "www.",
    "sk-",
    "akia",
    "ghp_",
    "github_pat",
    "xoxb",
    "xoxp",
    "aiza",
    "eyj",
    "-----begin",
    "bearer ",
    "password",
    "passwd",
    "passcode",
    "密码",
    "口令",
    "api key",
    "api_key",
    "apikey",
    "secret",
    "token=",
    "phone number",
    "telephone",
    "passport",
    "social security",
    "card number",
    "credit card",
    "student id",
    "date of birth",
    "lives at",
    "home address",
    "e-mail",
    "电话",
    "手机",
    "邮箱",
    "微信",
    "身份证",
    "银行卡",
    "卡号",
    "学号",
    "住址",
    "家庭地址",
    "联系方式",
    "姓名",
    "证件",
    "名叫",
    "我的",
    "我叫",
    "我家",
    "我妈",
    "我爸",
    "我们学校",
    "我们班",
    "我们老师",
    "我是",
];

/// `@name`, `name@place`.
fn has_handle(text: &str) -> bool {
    text.split('@')
        .skip(1)
        .any(|after| after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Digits in a row, with at most one mark between two of them; two years are not a number.
fn has_digits(text: &str) -> bool {
    let mut digits = String::new();
    let mut gap = 0;
    let mut runs = Vec::new();
    for c in text.chars() {
        let digit = digit(c);
        if let Some(digit) = digit {
            digits.push(digit);
            gap = 0;
        } else if !digits.is_empty()
            && gap < 2
            && matches!(c, ' ' | '-' | '.' | '(' | ')' | '/' | '_')
        {
            gap += 1;
        } else if !digits.is_empty() {
            runs.push(std::mem::take(&mut digits));
        }
    }
    runs.push(digits);
    runs.iter()
        .any(|run| run.len() >= DIGITS_MIN && !is_span_of_years(run))
}

fn is_span_of_years(digits: &str) -> bool {
    let years = digits.split_at_checked(4).filter(|_| digits.len() == 8);
    years.is_some_and(|(from, to)| {
        let year = |text: &str| {
            text.parse()
                .is_ok_and(|year: u16| (1_000..2_100).contains(&year))
        };
        year(from) && year(to) && from <= to
    })
}

fn digit(c: char) -> Option<char> {
    const HAN: &str = "零一二三四五六七八九";
    if c == '〇' || c == '幺' {
        return Some('0');
    }
    let han = || HAN.chars().position(|digit| digit == c);
    c.to_digit(10)
        .or_else(|| han().and_then(|value| u32::try_from(value).ok()))
        .and_then(|value| char::from_digit(value, 10))
}

/// A long run of letters and digits that is no word.
fn has_key(text: &str) -> bool {
    let runs = text
        .split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '+' | '/' | '='));
    let mut runs = runs.filter(|run| run.len() >= KEY_CHARS_MIN);
    runs.any(|run| {
        run.contains(|c: char| c.is_ascii_digit())
            && run.contains(|c: char| c.is_ascii_alphabetic())
            || run.len() >= 2 * KEY_CHARS_MIN && !run.contains('-')
    })
}

/// `/srv/ann`, `~/notes`, `C:\Users`.
fn has_path(text: &str) -> bool {
    let mut words = text.split(|c: char| c.is_whitespace() || !c.is_ascii());
    words.any(|word| {
        let word = word.trim_matches(['"', '\'', '(', ')', ',', '.', '`']);
        let is_absolute = word.starts_with('/') && word.matches('/').count() > 1;
        is_absolute || word.starts_with("~/") || word.contains(":\\") || word.starts_with("\\\\")
    })
}

fn tells_of_self(lower: &str) -> bool {
    let text = Text {
        own: lower.to_owned(),
        mentions: Vec::new(),
    };
    let spaced = without_phrases(&text.spaced(), EXEMPT_EN);
    let owns = [" my ", " mine ", " myself ", " our ", " ours ", " am i "];
    owns.iter().any(|word| spaced.contains(word))
        || speaks_of_self(&Reading::of(&text).han, &spaced)
}
