//! Whether a question may be answered by what was kept, and where that is looked for.

use std::time::Duration;

use super::{
    canonical::Canonical,
    dependence::{Dependence, Sharing, may_be_shared},
    entry::{Ground, Namespace, Place, Scope, Standing},
};
use crate::{
    chat,
    frame::{Lookup, TurnJob},
    id::UserId,
    profile::{Manner, Personal},
};

/// Longest canonical form of a question that is kept, in bytes: what is longer is hardly asked twice.
const QUESTION_BYTES_MAX: usize = 2_000;

/// What operators have decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Another number, and nothing of before is found.
    pub version: u32,
    /// Whether answers may be given to others than those who asked first.
    pub is_shared: bool,
    /// How long an answer is kept.
    pub life: Duration,
    /// How many of a hundred answers that are served for other words may be wrong, with 95 % confidence.
    pub wrong_percent_max: u32,
    /// The model that decides where it is in doubt whether two questions ask the same; none: then they do not.
    pub judge: Option<String>,
    /// Of a hundred answers that are served for other words how many that model checks afterwards.
    pub checked_percent: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: 1,
            is_shared: false,
            life: Duration::from_hours(7 * 24),
            wrong_percent_max: 5,
            judge: None,
            checked_percent: 10,
        }
    }
}

/// A question as it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// By whom.
    pub user: &'a UserId,
    /// Its words.
    pub question: &'a str,
    /// What the model is told of its part, and nothing of the learner.
    pub instructions: &'a str,
    /// What the model is told of the learner, or nothing.
    pub personal: &'a str,
    /// The model that answers.
    pub model: &'a str,
    /// Messages that were said before.
    pub said_before: u64,
}

/// A question whose answer may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// Its canonical form.
    pub question: Canonical,
    /// Where its answer is kept.
    pub place: Place,
    /// Whether it stands by itself.
    pub standing: Standing,
}

impl Sought {
    /// Where the answer to a turn's message is looked for, after so many messages.
    pub fn of_turn(
        turn: &TurnJob,
        manner: &Manner,
        model: &str,
        said_before: u64,
        settings: &Settings,
    ) -> Option<Self> {
        let style = manner.style.clone().asked(&turn.language, &turn.role);
        let personal = manner.personal.as_ref().map(Personal::text);
        let asked = Asked {
            user: &turn.user_id,
            question: &turn.message,
            instructions: &chat::instructions(&style, None),
            personal: personal.as_deref().unwrap_or_default(),
            model,
            said_before,
        };
        Self::of(&asked, settings)
    }

    /// Where the answer to a question would be looked for if it opened a conversation: as [`Self::of_turn`] has it.
    pub fn of_lookup(
        user: &UserId,
        manner: &Manner,
        lookup: &Lookup,
        model: &str,
        settings: &Settings,
    ) -> Option<Self> {
        let style = manner.style.clone().asked(&lookup.language, &lookup.role);
        let personal = manner.personal.as_ref().map(Personal::text);
        let asked = Asked {
            user,
            question: &lookup.message,
            instructions: &chat::instructions(&style, None),
            personal: personal.as_deref().unwrap_or_default(),
            model,
            said_before: 0,
        };
        Self::of(&asked, settings)
    }

    /// Where the answer to a question is looked for; none if it must be asked each time: it depends on what was
    /// said before, on who asks or on when, it asks for something new, or it is too long.
    pub fn of(asked: &Asked<'_>, settings: &Settings) -> Option<Self> {
        if asked.question.starts_with(chat::SCRIPT_MARK) {
            return None;
        }
        let question = Canonical::of(asked.question)?;
        if question.as_str().len() > QUESTION_BYTES_MAX {
            return None;
        }
        let standing = match Dependence::of(asked.question) {
            Dependence::Nothing => Standing::Alone,
            Dependence::Conversation if asked.said_before == 0 => Standing::First,
            Dependence::Conversation
            | Dependence::Learner
            | Dependence::Moment
            | Dependence::Variety => return None,
        };
        let is_for_all = settings.is_shared
            && standing == Standing::Alone
            && may_be_shared(asked.question) == Sharing::Shareable;
        let (scope, personal) = if is_for_all {
            (Scope::Everybody, "")
        } else {
            (Scope::Learner(asked.user.clone()), asked.personal)
        };
        let namespace = Namespace::of(Ground {
            version: settings.version,
            instructions: &[asked.instructions, personal],
            model: asked.model,
            standing,
        });
        let place = Place {
            scope,
            namespace,
            digest: question.digest(),
        };
        Some(Self {
            question,
            place,
            standing,
        })
    }

    /// Whether the answer may be given to others, so that nothing of a learner may be in its prompt.
    pub fn is_for_all(&self) -> bool {
        self.place.scope == Scope::Everybody
    }
}
