//! Whether two questions ask the same, and whether such verdicts are right often enough to be used.

#![expect(
    clippy::float_arithmetic,
    reason = "it is statistics; nothing here is money or tokens"
)]

use super::{
    courtesy::bare,
    difference::{Difference, Differences, differences},
    entry::Similarity,
    evidence::Evidence,
};
use crate::notice::Language;

mod calibration;

use calibration::{CHINESE, ENGLISH, SEEN};

/// Differences with which an answer may be served all the same, if it is sure enough: what a question depends on is
/// known before it is looked for.
const TOLERATED: [Difference; 1] = [Difference::Dependence];

/// Differences that a model may find to be none: rules take many a paraphrase for one of these. About numbers,
/// units, names that stand for others, negation, opposites and directions nobody is asked.
const DOUBTED: [Difference; 3] = [
    Difference::NameMissing,
    Difference::Substitution,
    Difference::Aspect,
];
/// Below this probability nobody is asked: an opinion costs a fifth of an answer, and most would be no.
const DOUBT_MIN: f64 = 0.4;

/// What speaks for two questions asking the same, and against it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signs {
    /// What the verifier says.
    pub logit: f32,
    /// Cosine of the angle between their vectors, centred, -1 to 1.
    pub similarity: f64,
    /// What rules see.
    pub differences: Differences,
    /// Of the one that is asked.
    pub language: Language,
    /// What is left of them without courtesy.
    pub bare: Bare,
}

/// Whether two questions are the same without courtesy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    /// They are: that is sure, whatever else speaks for it or against.
    Same,
    /// They are not, so it takes more to know.
    Different,
}

impl Signs {
    /// What speaks for and against `question` asking the same as `other`, by the verifier's `logit`, their vectors'
    /// `similarity` and by themselves.
    pub fn of(question: &str, other: &str, logit: f32, similarity: f64) -> Self {
        let is_same = bare(question).is_some_and(|bare_one| bare(other) == Some(bare_one));
        Self {
            logit,
            similarity,
            differences: differences(question, other),
            language: language(question),
            bare: if is_same { Bare::Same } else { Bare::Different },
        }
    }
}

/// What was fitted for a language, by `shared/embed/tuning/calibrate.py` on pairs that the verifier was not tuned on.
#[derive(Debug)]
struct Calibration {
    bias: f64,
    logit: f64,
    similarity: f64,
    /// What a difference takes away, and adds if negative.
    differences: &'static [(Difference, f64)],
    /// With these two questions never ask the same.
    vetoes: &'static [Difference],
    /// How sure a verdict must be. Chosen, not fitted: a tenth of the labels of the English pairs are wrong
    /// themselves, so that no threshold looks safe there.
    sure_min: f64,
}

/// How sure it is that two questions ask the same, as a probability; none where that is not enough to be served:
/// a rule sees a difference, or the verifier is in doubt.
pub fn sure(signs: &Signs) -> Option<f64> {
    if signs.bare == Bare::Same {
        return Some(1.0);
    }
    let is_tolerated = |seen| TOLERATED.contains(&seen);
    let sure = probability(signs).filter(|_| signs.differences.iter().all(is_tolerated))?;
    (sure >= of(signs.language).sure_min).then_some(sure)
}

/// The probability that two questions ask the same, where that is in doubt, so that a model may decide; none where
/// it is hardly so, or a rule sees what must not be overruled.
pub fn doubt(signs: &Signs) -> Option<f64> {
    let may_be = |seen| TOLERATED.contains(&seen) || DOUBTED.contains(&seen);
    let probability = probability(signs).filter(|_| signs.differences.iter().all(may_be))?;
    (probability >= DOUBT_MIN).then_some(probability)
}

/// The probability that two questions ask the same; none where a rule says that they do not.
pub fn probability(signs: &Signs) -> Option<f64> {
    if signs.bare == Bare::Same {
        return Some(1.0);
    }
    let calibration = of(signs.language);
    let has = |difference: &Difference| signs.differences.has(*difference);
    if calibration.vetoes.iter().any(has) {
        return None;
    }
    let taken = calibration.differences.iter();
    let taken: f64 = taken
        .filter(|(difference, _)| has(difference))
        .map(|(_, weight)| weight)
        .sum();
    let score = calibration.bias
        + calibration.logit * f64::from(signs.logit)
        + calibration.similarity * signs.similarity
        - taken;
    Some(1.0 / (1.0 + (-score).exp()))
}

/// Whether answers may be served for other words, after what was seen of those that were: if with 95 % confidence at
/// most so many of a hundred of them are wrong.
///
/// What was seen before anything is known of a namespace counts as much as what is seen of it.
pub fn is_trusted(own: Evidence, wrong_percent_max: u32) -> bool {
    100.0 * own.plus(SEEN).wrong_at_most() <= f64::from(wrong_percent_max)
}

/// The language in which a question is judged: Chinese as soon as it has a Han character.
pub fn language(question: &str) -> Language {
    let is_han = |c: char| matches!(c, '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}');
    if question.contains(is_han) {
        Language::Chinese
    } else {
        Language::English
    }
}

/// What a client is told of how alike two questions are: 0 for a right angle or more.
pub fn similarity(cosine: f64) -> Similarity {
    let ten_thousandths = (cosine.clamp(0.0, 1.0) * 10_000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::as_conversions,
        reason = "it is between 0 and 10,000"
    )]
    let ten_thousandths = ten_thousandths as u16;
    // Only the same question is the same.
    Similarity::of_ten_thousandths(ten_thousandths.min(9_999))
}

fn of(language: Language) -> &'static Calibration {
    match language {
        Language::Chinese => &CHINESE,
        Language::English => &ENGLISH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(question: &str, other: &str, logit: f32) -> Signs {
        Signs::of(question, other, logit, 0.95)
    }

    #[test]
    fn a_verdict_takes_a_sure_verifier_and_no_difference_that_rules_see() {
        let same = ("为什么天空是蓝色的？", "天空为什么是蓝色的呢？");
        assert!(sure(&signs(same.0, same.1, 6.0)).is_some());
        assert_eq!(sure(&signs(same.0, same.1, 1.0)), None);
        for (question, other) in [
            ("3的平方是多少", "4的平方是多少"),
            ("哪些动物会冬眠？", "哪些动物不会冬眠？"),
            ("把十进制数1011化成二进制", "把二进制数1011化成十进制"),
            (
                "How do I convert miles to kilometers?",
                "How do I convert kilometers to miles?",
            ),
        ] {
            assert_eq!(
                sure(&signs(question, other, 9.0)),
                None,
                "{question} {other}"
            );
        }
    }

    #[test]
    fn courtesy_makes_no_other_question_whatever_the_verifier_says() {
        let polite = "Can you tell me what photosynthesis is?";
        let signs = signs(polite, "What is photosynthesis?", -9.0);
        assert_eq!(sure(&signs), Some(1.0));
    }

    #[test]
    fn a_doubt_is_below_a_verdict_and_never_about_a_number() {
        let same = ("为什么天空是蓝色的？", "天空为什么是蓝色的呢？");
        assert!(doubt(&signs(same.0, same.1, 1.0)).is_some());
        assert_eq!(doubt(&signs(same.0, same.1, -3.0)), None);
        for (question, other) in [
            ("3的平方是多少", "4的平方是多少"),
            ("哪些动物会冬眠？", "哪些动物不会冬眠？"),
            (
                "How do I convert miles to kilometers?",
                "How do I convert kilometers to miles?",
            ),
        ] {
            assert_eq!(
                doubt(&signs(question, other, 9.0)),
                None,
                "{question} {other}"
            );
        }
    }

    #[test]
    fn trust_ends_with_the_evidence() {
        assert!(is_trusted(Evidence::default(), 5));
        assert!(
            !is_trusted(Evidence::default(), 1),
            "too little is known for that"
        );
        let (checked, wrong) = (20, 18);
        assert!(!is_trusted(Evidence { checked, wrong }, 5));
        // Right ones win it back.
        let checked = 800;
        assert!(is_trusted(Evidence { checked, wrong }, 5));
    }

    #[test]
    fn only_the_same_question_is_the_same() {
        assert_eq!(similarity(1.0).ten_thousandths(), 9_999);
        assert_eq!(similarity(-0.3), Similarity::NONE);
    }
}
