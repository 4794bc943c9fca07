//! What rules see between two questions that a learned score can miss (R-CACHE-2).
//!
//! Each kind is a feature of its own for the calibrated decision; none decides alone here. A kind fires where
//! both questions can be read, so most say nothing of most pairs.
//!
//! | module | sees |
//! | --- | --- |
//! | `number` | numbers in digits, Chinese and English, signs between them, and units |
//! | `opposite` | negation, opposites, members of one class |
//! | `name` | names, code, quotations, and one word put for another in the same sentence |
//! | `order` | two things that changed places around a word that has a direction |
//! | `aspect` | what is asked about a thing, the form and the language wanted |

mod aspect;
mod name;
mod number;
mod opposite;
mod order;
#[cfg(test)]
mod tests;
mod words;

use super::{
    dependence::Dependence,
    text::{MENTION, Text, is_han, words as split},
};

/// Longer questions are not compared, in characters.
const READ_CHARS_MAX: usize = 1_000;

/// A kind of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difference {
    /// Each has a number that the other lacks, or calculates otherwise with the same.
    NumberReplaced,
    /// One has a number more.
    NumberMissing,
    /// Each has a unit that the other lacks.
    Unit,
    /// One says no, the other does not.
    Negation,
    /// One says the opposite of a word of the other.
    Antonym,
    /// Each has another member of one class: seasons, subjects, planets, tenses.
    Sibling,
    /// Each has a name, a quotation or code that the other lacks.
    NameReplaced,
    /// One has a name more.
    NameMissing,
    /// One word stands for another in an otherwise equal sentence.
    Substitution,
    /// Two things changed places around a word with a direction.
    Order,
    /// Another thing is asked: why and how, example and formula.
    Aspect,
    /// Another form is wanted: a poem, a table, few words.
    Form,
    /// Another language is wanted, or spoken.
    Language,
    /// They do not depend on the same ([`Dependence`]).
    Dependence,
    /// One is over 1,000 characters: they were not compared.
    Unread,
}

impl Difference {
    /// All kinds, in the order of their features.
    pub const ALL: [Self; 15] = [
        Self::NumberReplaced,
        Self::NumberMissing,
        Self::Unit,
        Self::Negation,
        Self::Antonym,
        Self::Sibling,
        Self::NameReplaced,
        Self::NameMissing,
        Self::Substitution,
        Self::Order,
        Self::Aspect,
        Self::Form,
        Self::Language,
        Self::Dependence,
        Self::Unread,
    ];

    fn bit(self) -> u16 {
        Self::ALL
            .iter()
            .position(|&kind| kind == self)
            .map_or(0, |at| 1 << at)
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Differences(u16);

impl Differences {
    /// Whether rules see nothing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a kind was seen.
    pub fn has(self, kind: Difference) -> bool {
        self.0 & kind.bit() != 0
    }

    /// The kinds that were seen, in the order of [`Difference::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Difference> {
        Difference::ALL
            .into_iter()
            .filter(move |&kind| self.has(kind))
    }

    fn note(&mut self, kind: Difference, is_seen: Seen) {
        if is_seen == Seen::Yes {
            self.0 |= kind.bit();
        }
    }
}

/// What a rule found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Yes,
    No,
}

impl From<bool> for Seen {
    fn from(is_seen: bool) -> Self {
        if is_seen { Self::Yes } else { Self::No }
    }
}

/// The differences between two questions; the same for either order. Takes time in proportion to the product
/// of their lengths, which are at most 1,000 characters each.
///
/// ```
/// use sparkle_core::cache::difference::{Difference, differences};
///
/// let seen = differences("What is Newton's first law?", "What is Newton's second law?");
/// assert!(seen.has(Difference::NumberReplaced));
/// assert!(differences("怎么用Python读取文件", "Python读文件的方法").is_empty());
/// ```
pub fn differences(a: &str, b: &str) -> Differences {
    let mut seen = Differences::default();
    if [a, b]
        .iter()
        .any(|text| text.chars().nth(READ_CHARS_MAX).is_some())
    {
        seen.note(Difference::Unread, Seen::Yes);
        return seen;
    }
    let (one, two) = (Side::of(a), Side::of(b));
    let numbers = number::gap(&one, &two);
    seen.note(Difference::NumberReplaced, (numbers == Gap::Both).into());
    seen.note(Difference::NumberReplaced, number::signs(&one, &two));
    seen.note(Difference::NumberMissing, (numbers == Gap::One).into());
    let units = Gap::between(&number::units(&one), &number::units(&two));
    seen.note(Difference::Unit, (units == Gap::Both).into());
    seen.note(Difference::Negation, opposite::negation(&one, &two));
    seen.note(Difference::Antonym, opposite::antonym(&one, &two));
    seen.note(Difference::Sibling, opposite::sibling(&one, &two));
    let names = name::gap(&one, &two);
    seen.note(Difference::NameReplaced, (names == Gap::Both).into());
    seen.note(Difference::NameMissing, (names == Gap::One).into());
    seen.note(Difference::Substitution, name::substitution(&one, &two));
    seen.note(Difference::Order, order::order(&one, &two));
    seen.note(Difference::Order, order::rearranged(a, b));
    seen.note(Difference::Aspect, aspect::aspect(&one, &two));
    seen.note(Difference::Form, aspect::form(&one, &two));
    seen.note(Difference::Language, aspect::language(&one, &two));
    let depends = Dependence::of(a) != Dependence::of(b);
    seen.note(Difference::Dependence, depends.into());
    seen
}

/// What two sets have that the other lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Neither,
    One,
    Both,
}

impl Gap {
    fn between(one: &[String], two: &[String]) -> Self {
        let lacks = |from: &[String], of: &[String]| from.iter().any(|item| !of.contains(item));
        Self::of(lacks(two, one), lacks(one, two))
    }

    fn of(one_lacks: bool, two_lacks: bool) -> Self {
        match (one_lacks, two_lacks) {
            (false, false) => Self::Neither,
            (true, true) => Self::Both,
            _ => Self::One,
        }
    }
}

/// A question as the rules read it.
#[derive(Debug)]
struct Side {
    /// Its own words in their case, with a mark for what is mentioned.
    own: String,
    mentions: Vec<String>,
    /// Everything in small letters, Chinese variants of one word made one.
    lower: String,
    /// The words of `lower`, each run of Han one word.
    words: Vec<String>,
    /// The same, English ones without endings.
    stems: Vec<String>,
}

impl Side {
    fn of(question: &str) -> Self {
        let text = Text::of(question);
        let mut whole = String::with_capacity(question.len());
        let mut mentions = text.mentions.iter();
        for c in text.own.chars() {
            match c {
                MENTION => whole.extend(mentions.next().map(|what| [" ", what, " "].concat())),
                _ => whole.push(c),
            }
        }
        let mut lower = whole.to_lowercase();
        for (variant, word) in words::pairs(words::VARIANTS) {
            lower = lower.replace(variant, word);
        }
        let words: Vec<String> = split(&lower).into_iter().map(ToOwned::to_owned).collect();
        Self {
            stems: words.iter().map(|word| stem(word)).collect(),
            own: text.own,
            mentions: text.mentions,
            lower,
            words,
        }
    }

    fn is_chinese(&self) -> bool {
        self.lower.chars().filter(|&c| is_han(c)).count() >= 2
    }

    /// Words between single spaces.
    fn spaced(&self) -> String {
        [" ", &self.words.join(" "), " "].concat()
    }
}

/// An English word without its usual endings: `plays`, `played` and `playing` are `play`.
fn stem(word: &str) -> String {
    let word = word.strip_suffix("'s").unwrap_or(word);
    if !word.chars().all(|c| c.is_ascii_alphabetic()) || word.len() < 4 {
        return word.to_owned();
    }
    let mut stem = match word {
        _ if word.ends_with("ies") => word.replace("ies", "y"),
        _ if ["ss", "us", "is"].iter().any(|end| word.ends_with(end)) => word.to_owned(),
        _ => word.strip_suffix('s').unwrap_or(word).to_owned(),
    };
    for ending in ["ing", "ed"] {
        if let Some(rest) = stem.strip_suffix(ending)
            && rest.len() > 2
            && rest.contains(['a', 'e', 'i', 'o', 'u', 'y'])
        {
            stem = rest.to_owned();
            break;
        }
    }
    if stem.len() > 3 && stem.ends_with('e') {
        stem.pop();
    }
    let mut tail = stem.chars().rev();
    let is_doubled = tail
        .next()
        .zip(tail.next())
        .is_some_and(|(x, y)| x == y && !"aeiousl".contains(x));
    if is_doubled && stem.len() > 3 {
        stem.pop();
    }
    stem
}
