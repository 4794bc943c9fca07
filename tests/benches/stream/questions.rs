//! What learners ask: `questions.jsonl`, written for this benchmark alone. No rule and no model was fitted to it.
//!
//! A *group* is one question in several forms that all have the same right answer. The groups of a family are
//! near misses: they differ in one thing (a number, a unit, a negation, a name, an order, an opposite, what is
//! asked of a thing, how detailed), so that the answer to one is wrong for the others.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use sparkle_core::cache::canonical::Canonical;

/// What is to become of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Asked again and again, in one form or another.
    #[serde(skip)]
    Group,
    /// Asked once.
    Solo,
    /// Means nothing without what was said before.
    FollowUp,
    /// Its answer depends on who asks.
    Learner,
    /// Its answer depends on when it is asked.
    Moment,
}

impl Kind {
    /// Whether no kept answer may ever be given.
    pub(crate) fn is_never_kept(self) -> bool {
        matches!(self, Self::FollowUp | Self::Learner | Self::Moment)
    }
}

/// In which language a learner learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Chinese,
    English,
}

impl Language {
    /// As `chat` takes it.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Chinese => "zh-CN",
            Self::English => "en",
        }
    }

    fn of(id: &str, text: &str) -> Self {
        let has_han = |text: &str| {
            text.chars()
                .any(|one| ('\u{4e00}'..='\u{9fff}').contains(&one))
        };
        if id.starts_with("zh-") || (!id.starts_with("en-") && has_han(text)) {
            Self::Chinese
        } else {
            Self::English
        }
    }
}

/// One question.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) kind: Kind,
    pub(crate) language: Language,
    /// The usual one first.
    pub(crate) forms: Vec<String>,
    /// Places of the questions that differ from it in one thing.
    pub(crate) near: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    kind: Option<Kind>,
    forms: Vec<String>,
    #[serde(default)]
    near: Vec<String>,
}

/// All of them.
///
/// # Errors
/// The file contradicts itself: two forms count as the same words, or a near question is not there.
pub(crate) fn questions() -> Result<Vec<Question>> {
    let lines: Vec<Line> = include_str!("questions.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect::<Result<_>>()?;
    let places: HashMap<&str, usize> = lines
        .iter()
        .enumerate()
        .map(|(place, line)| (line.id.as_str(), place))
        .collect();
    ensure!(places.len() == lines.len(), "two questions have one id");
    let mut taken = HashSet::new();
    let mut questions = Vec::with_capacity(lines.len());
    for (place, line) in lines.iter().enumerate() {
        for text in &line.forms {
            let canonical = Canonical::of(text).with_context(|| format!("{text} asks nothing"))?;
            ensure!(
                taken.insert(canonical.as_str().to_owned()),
                "{} asks in words that are taken: {text}",
                line.id
            );
        }
        let near = line.near.iter().map(|id| {
            let other = places.get(id.as_str()).copied();
            other.with_context(|| format!("{}: no {id}", line.id))
        });
        let first = line.forms.first().with_context(|| line.id.clone())?;
        questions.push(Question {
            kind: line.kind.unwrap_or(Kind::Group),
            language: Language::of(&line.id, first),
            forms: line.forms.clone(),
            near: near.collect::<Result<_>>()?,
        });
        ensure!(
            questions[place].near.iter().all(|near| *near != place),
            "{} is near itself",
            line.id
        );
    }
    Ok(questions)
}
