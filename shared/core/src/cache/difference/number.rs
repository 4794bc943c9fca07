//! Numbers and units, however they are written.

use super::{Gap, Seen, Side, words};
use crate::cache::text::{is_han, lists, phrases};

const DIGITS: &str = "〇一二三四五六七八九";
/// Measures that make another number of a Chinese one: 一元二次 is not 二元一次.
const MEASURES: &str = "元次维阶倍";

/// The numbers of a question, sorted; `2次` where the measure is part of it.
fn numbers(side: &Side) -> Vec<String> {
    let mut numbers = Vec::new();
    let mut text = side.lower.clone();
    for idiom in phrases(words::NUMBER_IDIOMS) {
        text = text.replace(idiom, "□");
    }
    chinese(&text, &mut numbers);
    for (at, word) in side.words.iter().enumerate() {
        let before = at
            .checked_sub(1)
            .and_then(|at| side.words.get(at))
            .map_or("", |word| word);
        let after = side.words.get(at + 1).map_or("", |word| word);
        if word == "second" && (before.ends_with(|c: char| c.is_ascii_digit()) || before == "per") {
            continue;
        }
        if let Some((_, value)) = words::pairs(words::NUMBERS_EN).find(|(name, _)| name == word) {
            numbers.push(value.to_owned());
        } else if word.contains(|c: char| c.is_ascii_digit()) {
            digits(word, after, &mut numbers);
        }
    }
    numbers.sort();
    numbers.dedup();
    numbers
}

/// The runs of digits of a word; `1,000`, `1.50` and `25k` as `1000`, `1.5` and `25000`.
fn digits(word: &str, after: &str, numbers: &mut Vec<String>) {
    let measure = after.chars().next().filter(|&c| MEASURES.contains(c));
    let runs = word.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ',');
    for run in runs
        .map(|run| run.trim_matches(['.', ',']))
        .filter(|run| !run.is_empty())
    {
        let mut value = run.replace(',', "");
        if value.contains('.') {
            value.truncate(value.trim_end_matches('0').trim_end_matches('.').len());
        }
        if word.ends_with('k') && word.trim_end_matches('k').ends_with(run) && !value.contains('.')
        {
            value.push_str("000");
        }
        value.extend(measure);
        numbers.push(value);
    }
}

fn is_numeral(c: char) -> bool {
    DIGITS.contains(c) || "零两十百千万亿".contains(c)
}

/// Chinese numerals: 十二, 三百, 一九八四. A lone 一 counts only as 第一, in 四分之一 or before a measure.
fn chinese(text: &str, numbers: &mut Vec<String>) {
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let run: Vec<char> = chars
            .iter()
            .skip(at)
            .copied()
            .take_while(|&c| is_numeral(c))
            .collect();
        if run.is_empty() {
            at += 1;
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| chars.get(at)).copied();
        let after = chars.get(at + run.len()).copied();
        let measure = after.filter(|&c| MEASURES.contains(c));
        let is_ordinal = matches!(before, Some('第' | '之'))
            || after == Some('年')
            || after == Some('月')
            || measure.is_some();
        // 3万: the digits before have it.
        let is_scale = "十百千万亿".contains(c) && before.is_some_and(|c| c.is_ascii_digit());
        let is_lone = run.len() == 1 && (c == '一' || "百千万亿".contains(c));
        if !is_scale && (!is_lone || is_ordinal) {
            let mut value = value(&run).to_string();
            value.extend(measure);
            numbers.push(value);
        }
        at += run.len();
    }
}

fn value(run: &[char]) -> u64 {
    let digit = |c: char| match c {
        '零' => Some(0),
        '两' => Some(2),
        _ => DIGITS
            .chars()
            .position(|digit| digit == c)
            .and_then(|at| u64::try_from(at).ok()),
    };
    if run.iter().all(|&c| digit(c).is_some()) {
        let digits = run.iter().take(18).filter_map(|&c| digit(c));
        return digits.fold(0, |sum, digit| sum * 10 + digit);
    }
    let (mut total, mut section, mut last): (u64, u64, u64) = (0, 0, 0);
    for &c in run {
        let scale: u64 = match c {
            '十' => 10,
            '百' => 100,
            '千' => 1_000,
            '万' => 10_000,
            '亿' => 100_000_000,
            _ => {
                last = digit(c).unwrap_or(0);
                continue;
            }
        };
        if scale >= 10_000 {
            let sum = section.saturating_add(last).max(1);
            total = total.saturating_add(sum).saturating_mul(scale);
            section = 0;
        } else {
            section = section.saturating_add(last.max(1).saturating_mul(scale));
        }
        last = 0;
    }
    total.saturating_add(section).saturating_add(last)
}

/// What each has of numbers that the other lacks. A lone 1, as in "what first", tells nothing.
pub(super) fn gap(one: &Side, two: &Side) -> Gap {
    let (one, two) = (numbers(one), numbers(two));
    let is_lone = |here: &[String], there: &[String]| there.is_empty() && here == ["1"];
    if is_lone(&one, &two) || is_lone(&two, &one) {
        return Gap::Neither;
    }
    Gap::between(&one, &two)
}

/// Whether both calculate, and not the same: `2x + 3` is not `2x - 3`, and `-3` is not `3`.
pub(super) fn signs(one: &Side, two: &Side) -> Seen {
    let (one, two) = (operators(&one.lower), operators(&two.lower));
    let calculate = !one.is_empty() && !two.is_empty();
    let is_signed = |signs: &[char]| signs.contains(&SIGN);
    (one != two && (calculate || is_signed(&one) || is_signed(&two))).into()
}

/// Stands for a minus that is part of a number.
const SIGN: char = '±';

/// Signs between numbers, brackets and letters that stand alone, in their order; also those that are said in words.
fn operators(text: &str) -> Vec<char> {
    let text = words::pairs(words::OPERATORS).fold(text.to_owned(), |text, (word, sign)| {
        text.replace(word, sign)
    });
    let chars: Vec<char> = text.chars().collect();
    let at = |place: Option<usize>| place.and_then(|place| chars.get(place)).copied();
    let is_variable = |place: Option<usize>| {
        let is_letter = |place: Option<usize>| at(place).is_some_and(|c| c.is_ascii_alphabetic());
        let before = place.and_then(|place| place.checked_sub(1));
        let after = place.and_then(|place| place.checked_add(1));
        is_letter(place) && !is_letter(before) && !is_letter(after)
    };
    // The next place that is no space.
    let beside = |place: usize, step: isize| {
        let next = place.checked_add_signed(step);
        match at(next) {
            Some(' ') => next.and_then(|next| next.checked_add_signed(step)),
            _ => next,
        }
    };
    let is_number = |place| at(place).is_some_and(|c| c.is_ascii_digit() || is_numeral(c));
    let is_derived = |place: usize| {
        let follows = matches!(at(place.checked_add(1)), Some('(' | '\''));
        let before = place.checked_sub(1);
        is_variable(before) && follows
            || at(before) == Some('\'') && at(place.checked_add(1)) == Some('(')
    };
    let mut operators = Vec::new();
    for (place, &c) in chars.iter().enumerate() {
        let sign = match c {
            '−' | '–' => '-',
            '×' | '·' => '*',
            '÷' => '/',
            '+' | '-' | '*' | '/' | '=' | '^' | '<' | '>' | '≤' | '≥' | '≠' => c,
            // f'(x) is not f''(x).
            '\'' if is_derived(place) => {
                operators.push(c);
                continue;
            }
            _ => continue,
        };
        let is_joined = at(place.checked_sub(1)).is_some_and(|c| c.is_alphanumeric() && !is_han(c));
        let is_sign = sign == '-' && is_number(place.checked_add(1)) && !is_joined;
        let (before, after) = (beside(place, -1), beside(place, 1));
        let ends =
            is_number(before) || is_variable(before) || matches!(at(before), Some(')' | ']'));
        let begins = is_number(after) || is_variable(after) || matches!(at(after), Some('(' | '['));
        if ends && (begins || at(after) == Some('-')) {
            operators.push(sign);
        } else if is_sign {
            operators.push(SIGN);
        }
    }
    operators
}

/// The units of a question, one name for each.
pub(super) fn units(side: &Side) -> Vec<String> {
    let mut units = Vec::new();
    for class in phrases(words::UNITS) {
        let name = class.split('/').next().unwrap_or_default();
        let is_named = class.split('/').any(|unit| {
            if unit.is_ascii() {
                side.words.iter().any(|word| word == unit)
            } else {
                side.lower.contains(unit)
            }
        });
        if is_named && !lists(words::UNITS_VAGUE, name) {
            units.push(name.to_owned());
        }
    }
    units
}
