//! Who a learner is and how they like to be taught (R-PROF-1).
//!
//! What a learner may change is a [`Change`]; what an operator decides is an [`Adjustment`]. Neither touches
//! the tier, which is the token's alone: nothing here is read where a quota is decided.
//!
//! | module | decides |
//! | --- | --- |
//! | `change` | what a learner may write, and what is refused |
//! | `style` | which part of a profile shapes an answer, and which part is personal |
//! | `copies` | whether a copy of a profile may still be used (R-PROF-2) |

use std::{fmt, str::FromStr};

use crate::{id::UserId, quota::window};

mod change;
mod copies;
mod style;

pub use change::{
    Change, Draft, NICKNAME_CHARACTERS_MAX, SLOTS_MAX, TIMEZONE_BYTES_MAX, Unacceptable, Why,
};
pub use copies::{COPIES_MAX, COPY_LIFE, Copies, Stamp};
pub use style::{Manner, Personal, Style};

/// Language of a learner who has not said, BCP 47 (R-PROF-1).
pub const LANGUAGE: &str = "zh-CN";
/// The tutor's part where nobody has chosen (R-PROF-1).
pub const PERSONA: &str = "coach";
/// R-PROF-1.
pub const DAILY_CAP: u32 = 5;
/// Flame level from which a learner counts as a pro in the app (R-PROF-1). It raises no quota.
pub const PRO_FLAME_LEVEL: u32 = 3;
/// Highest flame level that an operator may set.
pub const FLAME_LEVEL_MAX: u32 = 100;
/// Highest daily cap that an operator may set.
pub const DAILY_CAP_MAX: u32 = 1_000;

/// A learner as the tutor knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserContext {
    /// The token's `sub`.
    pub user_id: UserId,
    /// At most [`NICKNAME_CHARACTERS_MAX`] characters on one line; empty if none was given.
    pub nickname: String,
    /// IANA name.
    pub timezone: String,
    /// BCP 47.
    pub language: String,
    /// How they like to be taught, and how they are doing.
    pub preferences: Preferences,
    /// When they like to learn, in their time zone; at most [`SLOTS_MAX`].
    pub active_slots: Vec<Slot>,
    /// So many times a day the app turns to them by itself.
    pub daily_cap: u32,
    /// The tutor's part.
    pub persona_type: String,
    /// How they came to Sparkle, in a word.
    pub registration_source: String,
    /// How often it was changed: it rises with each change.
    pub version: u64,
}

/// How a learner likes to be taught, and how they are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preferences {
    /// How deep explanations go.
    pub depth: Percent,
    /// How far they may lead beyond the question.
    pub curiosity: Percent,
    /// Grows with learning; an operator's or the app's own program's to set.
    pub flame_level: u32,
    /// How lively they have been of late; likewise.
    pub flame_brightness: Percent,
}

impl UserContext {
    /// A learner of whom nothing is known yet.
    pub fn unknown(user_id: UserId) -> Self {
        Self {
            user_id,
            nickname: String::new(),
            timezone: window::ZONE.to_owned(),
            language: LANGUAGE.to_owned(),
            preferences: Preferences::default(),
            active_slots: Vec::new(),
            daily_cap: DAILY_CAP,
            persona_type: PERSONA.to_owned(),
            registration_source: "unknown".to_owned(),
            version: 0,
        }
    }

    /// Whether the app treats them as a pro. Their quota does not follow: that is the token's tier.
    pub fn is_pro(&self) -> bool {
        self.preferences.flame_level >= PRO_FLAME_LEVEL
    }

    /// With what an operator has decided.
    pub fn adjust(&mut self, adjustment: &Adjustment) {
        let preferences = &mut self.preferences;
        if let Some(level) = adjustment.flame_level {
            preferences.flame_level = level.min(FLAME_LEVEL_MAX);
        }
        if let Some(brightness) = adjustment.flame_brightness {
            preferences.flame_brightness = brightness;
        }
        if let Some(cap) = adjustment.daily_cap {
            self.daily_cap = cap.min(DAILY_CAP_MAX);
        }
    }
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            depth: Percent::HALF,
            curiosity: Percent::HALF,
            flame_level: 1,
            flame_brightness: Percent::HALF,
        }
    }
}

/// What an operator changes of a profile; what is absent stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adjustment {
    /// At most [`FLAME_LEVEL_MAX`].
    pub flame_level: Option<u32>,
    /// How lively the learner has been.
    pub flame_brightness: Option<Percent>,
    /// At most [`DAILY_CAP_MAX`].
    pub daily_cap: Option<u32>,
}

/// A learner in figures, for the app to show and to sort by; all of it follows from the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analytics {
    /// Whether the flame burns at all.
    pub is_active: bool,
    /// How brightly.
    pub active_level: Level,
    /// By flame level.
    pub engagement_level: Engagement,
    /// As in the profile.
    pub flame_level: u32,
    /// As in the profile.
    pub flame_brightness: Percent,
    /// As in the profile.
    pub depth_preference: Percent,
    /// As in the profile.
    pub curiosity_preference: Percent,
    /// As in the profile.
    pub registration_source: String,
}

impl Analytics {
    /// Of one learner.
    pub fn of(context: &UserContext) -> Self {
        let Preferences {
            depth,
            curiosity,
            flame_level,
            flame_brightness,
        } = context.preferences;
        Self {
            is_active: flame_level > 0 && flame_brightness.get() > 0,
            active_level: Level::of(flame_brightness),
            engagement_level: Engagement::of(flame_level),
            flame_level,
            flame_brightness,
            depth_preference: depth,
            curiosity_preference: curiosity,
            registration_source: context.registration_source.clone(),
        }
    }
}

/// How much a learner is at it (R-PROF-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Engagement {
    Low,
    Medium,
    High,
    VeryHigh,
}

impl Engagement {
    fn of(flame_level: u32) -> Self {
        match flame_level {
            0..=1 => Self::Low,
            2 => Self::Medium,
            3..=4 => Self::High,
            _ => Self::VeryHigh,
        }
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::VeryHigh => "very_high",
        }
    }
}

/// A percentage as three steps: fine enough to teach by, coarse enough that learners share answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Low,
    Medium,
    High,
}

impl Level {
    /// A third each.
    pub fn of(percent: Percent) -> Self {
        match percent.get() {
            0..=33 => Self::Low,
            34..=66 => Self::Medium,
            _ => Self::High,
        }
    }

    /// The word on the wire, in jobs and in digests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// The level that a word stands for; the middle one for any other.
    pub fn of_word(word: &str) -> Self {
        [Self::Low, Self::Medium, Self::High]
            .into_iter()
            .find(|level| level.as_str() == word)
            .unwrap_or(Self::Medium)
    }
}

/// 0 to 100 hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

impl Percent {
    /// Neither little nor much.
    pub const HALF: Self = Self(50);

    /// None over 100.
    pub const fn new(hundredths: u32) -> Option<Self> {
        if hundredths <= 100 {
            Some(Self(hundredths))
        } else {
            None
        }
    }

    /// 0 to 100.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A time of day at which a learner likes to learn, in their time zone: `19:00-21:30`. One that ends before it
/// begins ends on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Minutes after midnight.
    begin: u16,
    end: u16,
}

/// A text is no [`Slot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("times of a day such as 19:00-21:30, of which the second is another")]
pub struct NotASlot;

impl FromStr for Slot {
    type Err = NotASlot;

    fn from_str(text: &str) -> Result<Self, NotASlot> {
        let (begin, end) = text.split_once('-').ok_or(NotASlot)?;
        let (begin, end) = (minutes(begin)?, minutes(end)?);
        if begin == end {
            return Err(NotASlot);
        }
        Ok(Self { begin, end })
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { begin, end } = self;
        let (hour, minute) = (begin / 60, begin % 60);
        write!(f, "{hour:02}:{minute:02}-{:02}:{:02}", end / 60, end % 60)
    }
}

/// Minutes after midnight of `19:00`.
fn minutes(text: &str) -> Result<u16, NotASlot> {
    let (hour, minute) = text.split_once(':').ok_or(NotASlot)?;
    let number = |digits: &str, below: u16| {
        let is_two_digits = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        let number = digits.parse::<u16>().ok().filter(|&number| number < below);
        number.filter(|_| is_two_digits).ok_or(NotASlot)
    };
    Ok(number(hour, 24)? * 60 + number(minute, 60)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> UserContext {
        UserContext::unknown(UserId::parse("ann").unwrap())
    }

    #[test]
    fn a_learner_of_whom_nothing_is_known_has_the_defaults() {
        let ann = ann();
        assert_eq!(
            (&*ann.timezone, &*ann.language, &*ann.persona_type),
            ("Asia/Shanghai", "zh-CN", "coach")
        );
        assert_eq!((ann.daily_cap, ann.is_pro()), (5, false));
        assert!(ann.nickname.is_empty() && ann.active_slots.is_empty());
        let analytics = Analytics::of(&ann);
        assert!(analytics.is_active);
        assert_eq!(analytics.engagement_level, Engagement::Low);
        assert_eq!(analytics.active_level, Level::Medium);
    }

    #[test]
    fn engagement_follows_the_flame() {
        let engagement = |level| {
            let mut ann = ann();
            ann.adjust(&Adjustment {
                flame_level: Some(level),
                ..Adjustment::default()
            });
            (
                Analytics::of(&ann).engagement_level.as_str(),
                ann.is_pro(),
                Analytics::of(&ann).is_active,
            )
        };
        let found = [0, 1, 2, 3, 4, 5, 99].map(engagement);
        let expected = [
            ("low", false, false),
            ("low", false, true),
            ("medium", false, true),
            ("high", true, true),
            ("high", true, true),
            ("very_high", true, true),
            ("very_high", true, true),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_flame_without_brightness_is_out() {
        let mut ann = ann();
        ann.adjust(&Adjustment {
            flame_brightness: Percent::new(0),
            daily_cap: Some(u32::MAX),
            ..Adjustment::default()
        });
        assert!(!Analytics::of(&ann).is_active);
        assert_eq!(ann.daily_cap, DAILY_CAP_MAX);
    }

    #[test]
    fn a_slot_is_two_times_of_a_day() {
        for text in ["19:00-21:30", "22:00-01:00", "00:00-23:59"] {
            let slot: Slot = text.parse().unwrap();
            assert_eq!(slot.to_string(), text);
        }
        for text in [
            "",
            "19:00",
            "19:00-19:00",
            "24:00-25:00",
            "9:00-10:00",
            "19:60-20:00",
            "+1:00-02:00",
            "19:00-20:00-21:00",
            " 19:00-20:00",
            "１９:00-20:00",
        ] {
            assert_eq!(text.parse::<Slot>(), Err(NotASlot), "{text}");
        }
    }
}
