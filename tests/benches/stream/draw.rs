//! Who asks what, and when: a stream drawn from a seed, the same for every way that is measured.
//!
//! How often a group is asked follows Zipf's law: the group of rank r in proportion to 1 / r^[`EXPONENT`], the
//! ranks drawn from the seed. Half of the time it is asked in its usual form, else in one of the others.

use std::collections::HashSet;

use anyhow::{Context, Result};
use fastrand::Rng;
use sparkle_core::profile::{Level, Percent};

use crate::questions::{Kind, Language, Question};

/// Of Zipf's law: an assumption, as are all the shares below; no learners were watched.
pub(crate) const EXPONENT: f64 = 1.0;
/// Of a hundred questions: those that are asked once by one learner.
pub(crate) const SOLO_PERCENT: u32 = 4;
/// Those that depend on what was said, on who asks or on when.
pub(crate) const NEVER_KEPT_PERCENT: u32 = 6;
/// Those that differ in one thing from what the learner asked just before.
pub(crate) const NEAR_PERCENT: u32 = 8;
/// How often a group is asked in its usual form.
pub(crate) const USUAL_PERCENT: u32 = 50;
/// Fewest and most questions of a conversation.
pub(crate) const CONVERSATION: std::ops::RangeInclusive<u32> = 4..=12;

/// One question of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) learner: usize,
    pub(crate) session: String,
    /// Places in the questions and in its forms.
    pub(crate) question: usize,
    pub(crate) form: usize,
}

/// With whom a learner shares answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// With nobody.
    Private,
    /// With everybody who wants answers of the same depth.
    Shared,
}

/// What a question is to those with whom its learner shares answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Novelty {
    /// It was asked in these words.
    Exact,
    /// It was asked, in other words only.
    OtherWords,
    /// It was never asked, but one that differs from it in one thing was.
    NearMiss,
    /// It was never asked, and none near it.
    New,
    /// It depends on what was said, on who asks or on when.
    NotCacheable,
}

impl Novelty {
    pub(crate) const ALL: [Self; 5] = [
        Self::Exact,
        Self::OtherWords,
        Self::NearMiss,
        Self::New,
        Self::NotCacheable,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Exact => "exact repeats",
            Self::OtherWords => "repeats in other words",
            Self::NearMiss => "near misses",
            Self::New => "new",
            Self::NotCacheable => "not cacheable",
        }
    }
}

/// The language of a learner: every other one's is English.
pub(crate) fn language(learner: usize) -> Language {
    if learner.is_multiple_of(2) {
        Language::Chinese
    } else {
        Language::English
    }
}

/// How deep a learner wants explanations: three of five are content with the middle.
pub(crate) fn depth(learner: usize) -> u32 {
    [30, 40, 50, 60, 70].get(learner % 5).copied().unwrap_or(50)
}

/// Those who share answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Circle {
    Learner(usize),
    Depth(Level),
}

/// One learner's conversation, as it is drawn.
#[derive(Clone, Default)]
struct Talk {
    conversations: u32,
    left: u32,
    asked_here: u32,
    /// The group that was asked just before.
    newest: Option<usize>,
}

/// What is asked, most often first, and what it weighs.
struct Popularity {
    groups: Vec<usize>,
    /// Of the groups until then.
    weights: Vec<f64>,
}

impl Popularity {
    fn of(questions: &[Question], language: Language, rng: &mut Rng) -> Self {
        let mut groups = of_kind(questions, language, |kind| kind == Kind::Group);
        rng.shuffle(&mut groups);
        let mut sum = 0.0;
        let weights = (1_u32..).zip(&groups).map(|(rank, _)| {
            sum += f64::from(rank).powf(-EXPONENT);
            sum
        });
        Self {
            weights: weights.collect(),
            groups,
        }
    }

    fn draw(&self, rng: &mut Rng) -> Result<usize> {
        let all = self.weights.last().context("no groups")?;
        let drawn = rng.f64() * all;
        let place = self.weights.partition_point(|weight| *weight <= drawn);
        self.groups.get(place).copied().context("no group")
    }
}

fn of_kind(questions: &[Question], language: Language, is_it: impl Fn(Kind) -> bool) -> Vec<usize> {
    let kept = questions
        .iter()
        .enumerate()
        .filter(|(_, question)| question.language == language && is_it(question.kind));
    kept.map(|(place, _)| place).collect()
}

/// What can be asked in one language.
struct Shelf {
    popularity: Popularity,
    /// What is left of them.
    solos: Vec<usize>,
    follow_ups: Vec<usize>,
    others_never_kept: Vec<usize>,
}

impl Shelf {
    fn of(questions: &[Question], language: Language, rng: &mut Rng) -> Self {
        let mut solos = of_kind(questions, language, |kind| kind == Kind::Solo);
        rng.shuffle(&mut solos);
        let others = |kind: Kind| kind.is_never_kept() && kind != Kind::FollowUp;
        Self {
            popularity: Popularity::of(questions, language, rng),
            solos,
            follow_ups: of_kind(questions, language, |kind| kind == Kind::FollowUp),
            others_never_kept: of_kind(questions, language, others),
        }
    }

    /// The next question of a conversation.
    fn draw(&mut self, questions: &[Question], talk: &Talk, rng: &mut Rng) -> Result<usize> {
        let kind = rng.u32(0..100);
        if kind < NEVER_KEPT_PERCENT {
            let follows = talk.asked_here > 0 && rng.bool();
            let from = if follows {
                &self.follow_ups
            } else {
                &self.others_never_kept
            };
            return rng.choice(from).copied().context("nothing of the kind");
        }
        if kind < NEVER_KEPT_PERCENT + SOLO_PERCENT
            && let Some(solo) = self.solos.pop()
        {
            return Ok(solo);
        }
        let near = talk.newest.map(|newest| &questions[newest].near);
        let is_near = rng.u32(0..100) < NEAR_PERCENT;
        match near.and_then(|near| rng.choice(near)) {
            Some(near) if is_near => Ok(*near),
            _ => self.popularity.draw(rng),
        }
    }
}

/// So many questions of so many learners.
///
/// # Errors
/// There are no questions to draw from.
pub(crate) fn stream(
    questions: &[Question],
    learners: usize,
    length: usize,
    seed: u64,
) -> Result<Vec<Ask>> {
    let mut rng = Rng::with_seed(seed);
    let mut chinese = Shelf::of(questions, Language::Chinese, &mut rng);
    let mut english = Shelf::of(questions, Language::English, &mut rng);
    let mut talks = vec![Talk::default(); learners];
    let mut stream = Vec::with_capacity(length);
    for _ in 0..length {
        let learner = rng.usize(0..learners);
        let talk = &mut talks[learner];
        if talk.left == 0 {
            talk.conversations += 1;
            talk.left = rng.u32(CONVERSATION);
            talk.asked_here = 0;
        }
        let shelf = match language(learner) {
            Language::Chinese => &mut chinese,
            Language::English => &mut english,
        };
        let question = shelf.draw(questions, talk, &mut rng)?;
        let forms = questions[question].forms.len();
        let form = if forms == 1 || rng.u32(0..100) < USUAL_PERCENT {
            0
        } else {
            rng.usize(1..forms)
        };
        talk.left -= 1;
        talk.asked_here += 1;
        if questions[question].kind == Kind::Group {
            talk.newest = Some(question);
        }
        stream.push(Ask {
            learner,
            session: format!("talk-{}", talk.conversations),
            question,
            form,
        });
    }
    Ok(stream)
}

/// What each question of the stream is.
pub(crate) fn novelties(questions: &[Question], stream: &[Ask], sharing: Sharing) -> Vec<Novelty> {
    let mut forms_asked = HashSet::new();
    let mut asked = HashSet::new();
    let novelty = |ask: &Ask| {
        let circle = match sharing {
            Sharing::Private => Circle::Learner(ask.learner),
            Sharing::Shared => {
                Circle::Depth(Percent::new(depth(ask.learner)).map_or(Level::Medium, Level::of))
            }
        };
        let question = &questions[ask.question];
        let was_asked = asked.contains(&(circle, ask.question));
        let near_was = question
            .near
            .iter()
            .any(|near| asked.contains(&(circle, *near)));
        let is_new_form = forms_asked.insert((circle, ask.question, ask.form));
        asked.insert((circle, ask.question));
        if question.kind.is_never_kept() {
            Novelty::NotCacheable
        } else if !is_new_form {
            Novelty::Exact
        } else if was_asked {
            Novelty::OtherWords
        } else if near_was {
            Novelty::NearMiss
        } else {
            Novelty::New
        }
    };
    stream.iter().map(novelty).collect()
}
