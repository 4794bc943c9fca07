//! What an answer depends on beside the question's own words, and who may see both (R-CACHE-3).
//!
//! Word lists for Chinese and English, read against what is only mentioned: in "explain the word 'it'" and
//! in code nobody points at anything. In doubt an answer depends on something, and a text is private.

mod privacy;
#[cfg(test)]
mod tests;
mod words;

pub use self::privacy::{Sharing, may_be_shared};
use self::words::{
    APPOSITIONS_ZH, ASKING_EN, ASKING_ZH, BEFORE_DEICTIC_EN, BEGINNINGS_EN, BEGINNINGS_ZH,
    BOUNDARIES_EN, CLIMATE, CONVERSATION_EN, CONVERSATION_ZH, DURATIONS_EN, ELECTRIC, EMPTY_EN,
    ENDINGS_EN, EXEMPT_EN, EXEMPT_ZH, FILLERS_ZH, LEARNER_EN, LEARNER_ZH, MOMENT_EN, MOMENT_ZH,
    PLACES_ZH, QUESTION_WORDS_ZH, RECKONED_ZH, REPLIES, SELF_EN, SKILLS_EN, UNITS, VARIETY_EN,
    VARIETY_ZH,
};
use super::text::{
    MENTION, Text, has_part, has_phrase, is_han, lists, phrases, without_phrases, words,
};

/// Longer questions are not read, in characters: the rules look back from each pronoun.
const READ_CHARS_MAX: usize = 1_000;

/// What an answer depends on, the more confining ones later. Where a question depends on several, the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependence {
    /// The question's words alone.
    Nothing,
    /// Who asks.
    Learner,
    /// When it is asked.
    Moment,
    /// Chance: another answer is wanted each time.
    Variety,
    /// What was said before.
    Conversation,
}

impl Dependence {
    /// What the answer to a question depends on. One of over 1,000 characters is not read: it may depend on
    /// anything.
    ///
    /// ```
    /// use sparkle_core::cache::dependence::Dependence;
    ///
    /// assert_eq!(Dependence::of("What is photosynthesis?"), Dependence::Nothing);
    /// assert_eq!(Dependence::of("为什么它是绿色的？"), Dependence::Conversation);
    /// ```
    pub fn of(question: &str) -> Self {
        if question.chars().nth(READ_CHARS_MAX).is_some() {
            return Self::Conversation;
        }
        let text = Text::of(question);
        let reading = Reading::of(&text);
        if reading.is_conversation() {
            Self::Conversation
        } else if reading.says(VARIETY_ZH, VARIETY_EN) {
            Self::Variety
        } else if reading.is_momentary() {
            Self::Moment
        } else if reading.is_about_learner() {
            Self::Learner
        } else {
            Self::Nothing
        }
    }
}

/// A question in the two shapes that rules look at.
#[derive(Debug)]
struct Reading {
    /// Small letters, without what only contains a word of the lists (其他, 那达慕).
    han: String,
    /// Words between single spaces.
    spaced: String,
}

impl Reading {
    fn of(text: &Text) -> Self {
        let mut han = text.own.to_lowercase();
        for exempt in phrases(EXEMPT_ZH) {
            han = han.replace(exempt, "□□");
        }
        let mut spaced = without_phrases(&text.spaced(), EXEMPT_EN);
        // In a Chinese sentence English words are what it is about.
        let han_count = han.chars().filter(|&c| is_han(c)).count();
        let is_latin = |word: &&str| word.starts_with(|c: char| c.is_ascii_alphabetic());
        let is_chinese = han_count >= 4 && han_count > spaced.split(' ').filter(is_latin).count();
        if is_chinese {
            spaced = spaced.replace(|c: char| c.is_ascii_alphabetic(), "□");
        }
        Self { han, spaced }
    }

    fn says(&self, han: &'static str, english: &'static str) -> bool {
        has_part(&self.han, han) || has_phrase(&self.spaced, english)
    }

    fn is_conversation(&self) -> bool {
        self.is_short()
            || self.says(CONVERSATION_ZH, CONVERSATION_EN)
            || self.begins_as_a_reply()
            || self.points_in_chinese()
            || self.points_in_english()
    }

    /// Too little to be a question of its own, or only a value: an answer, or a nod.
    fn is_short(&self) -> bool {
        let han = self
            .han
            .chars()
            .filter(|&c| is_han(c) || c == MENTION)
            .count();
        let words = words(&self.spaced);
        let latin = words
            .iter()
            .filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
        let numbers = words
            .iter()
            .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let (latin, numbers) = (latin.count(), numbers.count());
        // 3h = ? min, tan(45°) = ?
        let is_of_units = words.iter().any(|word| lists(UNITS, word));
        let is_sum = numbers >= 2
            && ["=", "= ?"]
                .iter()
                .any(|end| self.spaced.trim_end().ends_with(end))
            || numbers >= 1 && is_of_units && self.spaced.contains("= ?");
        let is_script_of_words = self
            .spaced
            .chars()
            .any(|c| c.is_alphabetic() && !is_han(c) && !c.is_ascii());
        han < 4 && latin < 2 && han + latin + numbers < 4 && !is_sum && !is_script_of_words
            || han == 0 && latin == 0 && !is_sum && !is_script_of_words
            || lists(REPLIES, self.spaced.trim_matches([' ', '.', '!', '?', ',']))
    }

    fn begins_as_a_reply(&self) -> bool {
        phrases(BEGINNINGS_ZH).any(|word| self.han.starts_with(word))
            || phrases(BEGINNINGS_EN).any(|word| {
                let rest = self.spaced.trim_start().strip_prefix(word);
                rest.is_some_and(|rest| rest.starts_with(' '))
            })
            || phrases(ENDINGS_EN).any(|word| {
                let head = self
                    .spaced
                    .trim_end_matches(['.', '?', '!', ' '])
                    .strip_suffix(word);
                head.is_some_and(|head| head.ends_with(' '))
            })
            || (self.han.trim_end_matches(['?', '.', ' ']).ends_with('呢')
                && !has_part(&self.han, QUESTION_WORDS_ZH))
    }

    fn points_in_chinese(&self) -> bool {
        for (at, c) in self.han.char_indices() {
            let before = self.han.get(..at).unwrap_or_default();
            let rest = self.han.get(at..).unwrap_or_default();
            let points = match c {
                '它' | '他' | '她' => !has_antecedent_zh(before, 4),
                '这' | '那' => {
                    // 为什么那么黄: so yellow.
                    let is_degree =
                        rest.starts_with("那么") && before.chars().next_back().is_some_and(is_han);
                    let follows = ["这时", "那时", "这样", "那么"]
                        .iter()
                        .any(|word| rest.starts_with(word));
                    !(is_degree
                        || is_apposition(before, rest)
                        || follows && has_antecedent_zh(before, 8))
                }
                '上' | '前' | '之' | '下' | '以' | '后' => {
                    let is_place = phrases(PLACES_ZH).any(|place| rest.starts_with(place));
                    let begins = before
                        .chars()
                        .next_back()
                        .is_none_or(|c| !is_han(c) || "请把对在据按用你我和跟与".contains(c));
                    // 下面的句子: the sentence follows.
                    let has_text = rest
                        .split_once(':')
                        .is_some_and(|(_, text)| text.chars().count() > 3);
                    is_place && begins && !has_text
                }
                _ => false,
            };
            if points {
                return true;
            }
        }
        false
    }

    fn points_in_english(&self) -> bool {
        let words: Vec<&str> = self.spaced.split_whitespace().collect();
        let word = |at: Option<usize>| at.and_then(|at| words.get(at)).copied().unwrap_or(".");
        words.iter().enumerate().any(|(at, &this)| {
            let before = word(at.checked_sub(1));
            let after = word(Some(at + 1));
            let head = words.get(..at).unwrap_or_default();
            // "What time is it": the time's.
            let is_of_time =
                before == "is" && matches!(word(at.checked_sub(2)), "time" | "day" | "date");
            match this.split('\'').next().unwrap_or_default() {
                "its" | "their" | "his" | "they" | "theirs" | "themselves" => content(head) < 2,
                "it" | "itself" | "he" | "him" | "she" | "her" | "hers" | "them" => {
                    !is_of_time && !has_antecedent_en(head)
                }
                "this" | "these" => !lists(DURATIONS_EN, after),
                "those" => after != "who" && after != "whose",
                "that" => {
                    !after.starts_with(|c: char| c.is_alphanumeric() || c == MENTION)
                        || this.len() > 4
                        || lists(BEFORE_DEICTIC_EN, before)
                }
                _ => false,
            }
        })
    }

    fn is_momentary(&self) -> bool {
        let is_current_of_time =
            self.spaced.contains(" current ") && !has_phrase(&self.spaced, ELECTRIC);
        let is_weather = ["天气", "weather"]
            .iter()
            .any(|word| self.spaced.contains(word))
            && !has_part(&self.spaced, CLIMATE);
        is_current_of_time || is_weather || self.asks_a_price() || self.says(MOMENT_ZH, MOMENT_EN)
    }

    /// 多少钱, but not of what is reckoned from prices that are given.
    fn asks_a_price(&self) -> bool {
        let is_given = ['元', '块'].iter().any(|unit| {
            let mut before = self.han.split(*unit);
            before.next_back();
            before
                .any(|text| text.ends_with(|c: char| c.is_ascii_digit() || "十百千万".contains(c)))
        });
        self.han.contains("多少钱") && !(is_given && has_part(&self.han, RECKONED_ZH))
    }

    fn is_about_learner(&self) -> bool {
        if self.says(LEARNER_ZH, LEARNER_EN) {
            return true;
        }
        let mut spaced = self.spaced.clone();
        for skill in phrases(SKILLS_EN) {
            spaced = spaced.replace(&[" my ", skill, " "].concat(), " □ ");
        }
        spaced.contains(" my ") || speaks_of_self(&self.han, &self.spaced)
    }
}

/// 这 after what it stands for: "温故而知新"这句话, 3、5、8这组数据.
fn is_apposition(before: &str, rest: &str) -> bool {
    let is_named = before.ends_with(|c: char| c == MENTION || c.is_ascii_digit());
    is_named && phrases(APPOSITIONS_ZH).any(|word| rest.starts_with(word))
}

/// Whether something of the first person is left when the usual ways to ask are taken out.
fn speaks_of_self(han: &str, spaced: &str) -> bool {
    let mut han = han.to_owned();
    for frame in phrases(ASKING_ZH) {
        han = han.replace(frame, "□");
    }
    han.contains('我') || has_phrase(&without_phrases(spaced, ASKING_EN), SELF_EN)
}

/// Whether a clause before names something: `least` Han beside what only keeps a talk going.
fn has_antecedent_zh(before: &str, least: usize) -> bool {
    let Some((clause, _)) = before.rsplit_once([',', '.', ';', '?', '!', ':', '，']) else {
        return false;
    };
    let mut clause = clause.to_owned();
    for filler in phrases(FILLERS_ZH) {
        clause = clause.replace(filler, "");
    }
    clause
        .chars()
        .filter(|&c| is_han(c) || c.is_ascii_alphabetic() || c == MENTION)
        .count()
        >= least
}

/// Whether a clause before names something.
fn has_antecedent_en(head: &[&str]) -> bool {
    let boundary = head.iter().rposition(|word| lists(BOUNDARIES_EN, word));
    content(boundary.and_then(|at| head.get(..at)).unwrap_or_default()) > 0
}

/// How many words say what is talked about.
fn content(words: &[&str]) -> usize {
    let says = |word: &&&str| {
        word.starts_with(|c: char| c.is_alphabetic() || c == MENTION) && !lists(EMPTY_EN, word)
    };
    words.iter().filter(says).count()
}
