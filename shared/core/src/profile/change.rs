//! What a learner may write into their profile.

use jiff::tz::TimeZone;

use super::{LANGUAGE, PERSONA, Percent, Slot, UserContext};
use crate::{frame, quota::window};

/// Most characters of a nickname.
pub const NICKNAME_CHARACTERS_MAX: usize = 40;
/// Most bytes of a time zone's name: the longest of the IANA database has 32.
pub const TIMEZONE_BYTES_MAX: usize = 64;
/// Most times of a day at which a learner likes to learn.
pub const SLOTS_MAX: usize = 12;

/// What a learner asks to be changed, unchecked. Empty and absent are the same: it stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "named as the fields of `UserContext`")]
pub struct Draft {
    pub nickname: String,
    pub timezone: String,
    pub language: String,
    pub persona_type: String,
    pub depth: Option<u32>,
    pub curiosity: Option<u32>,
    pub active_slots: Vec<String>,
    /// Names of fields that go back to their defaults.
    pub reset: Vec<String>,
}

/// A change of a profile, within all limits; what is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    nickname: Option<String>,
    timezone: Option<String>,
    language: Option<String>,
    persona_type: Option<String>,
    depth: Option<Percent>,
    curiosity: Option<Percent>,
    active_slots: Option<Vec<Slot>>,
}

/// A field of a [`Draft`] that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the profile's {field} is not acceptable")]
pub struct Unacceptable {
    /// Its name.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is over its limit.
    TooLarge,
    /// It is not what belongs there.
    Invalid,
}

impl Change {
    /// The change that a draft asks for. What it resets and sets as well is set.
    ///
    /// # Errors
    /// [`Unacceptable`] names the first field that is not within its limits.
    pub fn of(draft: &Draft) -> Result<Self, Unacceptable> {
        let mut change = Self::default();
        for field in &draft.reset {
            change.reset(field)?;
        }
        let given = |text: &str| !text.is_empty();
        if given(&draft.nickname) {
            change.nickname = Some(nickname(&draft.nickname)?);
        }
        if given(&draft.timezone) {
            change.timezone = Some(timezone(&draft.timezone)?);
        }
        if given(&draft.language) {
            if !frame::is_language(&draft.language) {
                return invalid("language");
            }
            change.language = Some(draft.language.clone());
        }
        if given(&draft.persona_type) {
            if !frame::is_label(&draft.persona_type) {
                return invalid("persona_type");
            }
            change.persona_type = Some(draft.persona_type.clone());
        }
        if let Some(depth) = draft.depth {
            change.depth = Some(percent("depth", depth)?);
        }
        if let Some(curiosity) = draft.curiosity {
            change.curiosity = Some(percent("curiosity", curiosity)?);
        }
        if !draft.active_slots.is_empty() {
            change.active_slots = Some(slots(&draft.active_slots)?);
        }
        Ok(change)
    }

    fn reset(&mut self, field: &str) -> Result<(), Unacceptable> {
        match field {
            "nickname" => self.nickname = Some(String::new()),
            "timezone" => self.timezone = Some(window::ZONE.to_owned()),
            "language" => self.language = Some(LANGUAGE.to_owned()),
            "persona_type" => self.persona_type = Some(PERSONA.to_owned()),
            "depth" => self.depth = Some(Percent::HALF),
            "curiosity" => self.curiosity = Some(Percent::HALF),
            "active_slots" => self.active_slots = Some(Vec::new()),
            _ => return invalid("reset"),
        }
        Ok(())
    }

    /// The time zone that is asked for; none if it stays.
    pub fn timezone(&self) -> Option<&str> {
        self.timezone.as_deref()
    }

    /// Changes a profile. Done twice it is done once; two changes of different fields come to the same in
    /// either order.
    pub fn apply(&self, context: &mut UserContext) {
        fn set<T: Clone>(field: &mut T, asked: Option<&T>) {
            if let Some(asked) = asked {
                field.clone_from(asked);
            }
        }
        set(&mut context.nickname, self.nickname.as_ref());
        set(&mut context.timezone, self.timezone.as_ref());
        set(&mut context.language, self.language.as_ref());
        set(&mut context.persona_type, self.persona_type.as_ref());
        set(&mut context.preferences.depth, self.depth.as_ref());
        set(&mut context.preferences.curiosity, self.curiosity.as_ref());
        set(&mut context.active_slots, self.active_slots.as_ref());
    }
}

fn invalid<T>(field: &'static str) -> Result<T, Unacceptable> {
    let why = Why::Invalid;
    Err(Unacceptable { field, why })
}

/// A name on one line, without what could make a reader, or a model, see something else than was typed.
fn nickname(text: &str) -> Result<String, Unacceptable> {
    if text.chars().count() > NICKNAME_CHARACTERS_MAX {
        let (field, why) = ("nickname", Why::TooLarge);
        return Err(Unacceptable { field, why });
    }
    if text.chars().any(is_unprintable) {
        return invalid("nickname");
    }
    Ok(text.trim().to_owned())
}

/// Control characters, line and paragraph separators, and what turns the direction of writing (Unicode 16,
/// UAX #9). The joiners of emoji and of scripts that need them stay.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{feff}'
        )
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
}

/// The zone under the name that the IANA database writes.
fn timezone(name: &str) -> Result<String, Unacceptable> {
    if name.len() > TIMEZONE_BYTES_MAX {
        let (field, why) = ("timezone", Why::TooLarge);
        return Err(Unacceptable { field, why });
    }
    let zone = TimeZone::get(name).ok();
    let name = zone.as_ref().and_then(TimeZone::iana_name);
    name.map_or_else(|| invalid("timezone"), |name| Ok(name.to_owned()))
}

fn percent(field: &'static str, hundredths: u32) -> Result<Percent, Unacceptable> {
    Percent::new(hundredths).map_or_else(|| invalid(field), Ok)
}

/// In their order, each once.
fn slots(texts: &[String]) -> Result<Vec<Slot>, Unacceptable> {
    let field = "active_slots";
    if texts.len() > SLOTS_MAX {
        let why = Why::TooLarge;
        return Err(Unacceptable { field, why });
    }
    let mut slots = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(slot) => slots.push(slot),
            Err(_not_a_slot) => return invalid(field),
        }
    }
    slots.sort_unstable();
    slots.dedup();
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::UserId;

    fn ann() -> UserContext {
        UserContext::unknown(UserId::parse("ann").unwrap())
    }

    fn changed(draft: &Draft) -> UserContext {
        let mut ann = ann();
        Change::of(draft).unwrap().apply(&mut ann);
        ann
    }

    fn refused(draft: &Draft) -> (&'static str, Why) {
        let Unacceptable { field, why } = Change::of(draft).unwrap_err();
        (field, why)
    }

    #[test]
    fn what_a_learner_says_is_kept_and_what_they_do_not_say_stays() {
        let draft = Draft {
            nickname: " 小明 ".to_owned(),
            timezone: "europe/berlin".to_owned(),
            depth: Some(0),
            active_slots: ["19:00-21:00", "07:00-08:00", "19:00-21:00"]
                .map(str::to_owned)
                .into(),
            ..Draft::default()
        };
        let found = changed(&draft);
        assert_eq!(
            (&*found.nickname, &*found.timezone),
            ("小明", "Europe/Berlin")
        );
        assert_eq!(found.preferences.depth.get(), 0);
        let slots: Vec<String> = found.active_slots.iter().map(Slot::to_string).collect();
        assert_eq!(slots, ["07:00-08:00", "19:00-21:00"]);
        assert_eq!(
            (&*found.language, &*found.persona_type),
            (LANGUAGE, PERSONA)
        );
        assert_eq!(changed(&Draft::default()), ann());
    }

    #[test]
    fn what_is_reset_has_its_default_again_and_what_is_set_as_well_is_set() {
        let names = [
            "nickname",
            "timezone",
            "language",
            "persona_type",
            "depth",
            "curiosity",
            "active_slots",
        ];
        let draft = Draft {
            nickname: "Ann".to_owned(),
            timezone: "UTC".to_owned(),
            language: "en".to_owned(),
            persona_type: "friend".to_owned(),
            depth: Some(90),
            curiosity: Some(10),
            active_slots: vec!["07:00-08:00".to_owned()],
            reset: Vec::new(),
        };
        let mut found = changed(&draft);
        assert_ne!(found, ann());
        let reset = Draft {
            reset: names.map(str::to_owned).into(),
            ..Draft::default()
        };
        Change::of(&reset).unwrap().apply(&mut found);
        assert_eq!(found, ann());
        let both = Draft {
            language: "en".to_owned(),
            reset: vec!["language".to_owned()],
            ..Draft::default()
        };
        assert_eq!(changed(&both).language, "en");
    }

    #[test]
    fn what_is_over_a_limit_or_no_such_thing_is_refused_by_its_name() {
        let nickname = |nickname: &str| Draft {
            nickname: nickname.to_owned(),
            ..Draft::default()
        };
        assert!(Change::of(&nickname(&"长".repeat(40))).is_ok());
        assert_eq!(
            refused(&nickname(&"长".repeat(41))),
            ("nickname", Why::TooLarge)
        );
        for text in [
            "a\nb",
            "a\u{2028}b",
            "a\u{0}",
            "\u{202e}nna",
            "a\u{e0041}",
            "\u{85}",
        ] {
            assert_eq!(
                refused(&nickname(text)),
                ("nickname", Why::Invalid),
                "{text:?}"
            );
        }
        let draft = |change: fn(&mut Draft)| {
            let mut draft = Draft::default();
            change(&mut draft);
            refused(&draft)
        };
        let invalid = Why::Invalid;
        for zone in ["Mars/Olympus", "../etc/passwd", "UTC+8", "Asia/Shanghai\n"] {
            let draft = Draft {
                timezone: zone.to_owned(),
                ..Draft::default()
            };
            assert_eq!(refused(&draft), ("timezone", invalid), "{zone}");
        }
        let large = Why::TooLarge;
        assert_eq!(
            draft(|draft| draft.timezone = "x".repeat(65)),
            ("timezone", large)
        );
        assert_eq!(
            draft(|draft| draft.language = "zh_CN".to_owned()),
            ("language", invalid)
        );
        assert_eq!(
            draft(|draft| draft.persona_type = "a b".to_owned()),
            ("persona_type", invalid)
        );
        assert_eq!(draft(|draft| draft.depth = Some(101)), ("depth", invalid));
        assert_eq!(
            draft(|draft| draft.curiosity = Some(101)),
            ("curiosity", invalid)
        );
        assert_eq!(
            draft(|draft| draft.active_slots = vec!["noon".to_owned()]),
            ("active_slots", invalid)
        );
        assert_eq!(
            draft(|draft| draft.active_slots = vec!["07:00-08:00".to_owned(); 13]),
            ("active_slots", large)
        );
        assert_eq!(
            draft(|draft| draft.reset = vec!["flame_level".to_owned()]),
            ("reset", invalid)
        );
    }

    fn drafts() -> impl Strategy<Value = Draft> {
        let word = |choices: &'static [&'static str]| {
            prop::sample::select(choices).prop_map(str::to_owned)
        };
        let names: &[&str] = &["nickname", "depth", "language", "timezone", "active_slots"];
        (
            word(&["", "Ann", "小明"]),
            word(&["", "UTC", "Asia/Tokyo"]),
            word(&["", "en", "zh-TW"]),
            prop::option::of(0..=100_u32),
            prop::option::of(0..=100_u32),
            prop::collection::vec(word(&["07:00-08:00", "22:00-01:00"]), 0..3),
            prop::collection::vec(word(names), 0..3),
        )
            .prop_map(
                |(nickname, timezone, language, depth, curiosity, active_slots, reset)| Draft {
                    nickname,
                    timezone,
                    language,
                    persona_type: String::new(),
                    depth,
                    curiosity,
                    active_slots,
                    reset,
                },
            )
    }

    proptest! {
        #[test]
        fn a_change_done_twice_is_done_once_and_never_touches_what_is_not_the_learners(draft in drafts()) {
            let once = changed(&draft);
            let mut twice = once.clone();
            Change::of(&draft).unwrap().apply(&mut twice);
            prop_assert_eq!(&twice, &once);
            let fixed = |context: &UserContext| {
                let preferences = context.preferences;
                (
                    context.user_id.clone(), context.daily_cap, context.is_pro(), context.version,
                    preferences.flame_level, preferences.flame_brightness,
                    context.registration_source.clone(),
                )
            };
            prop_assert_eq!(fixed(&once), fixed(&ann()));
        }

        #[test]
        fn no_draft_panics_and_a_nickname_that_is_taken_is_one_short_line(
            nickname in "\\PC{0,50}|[\\u{0}-\\u{2fff}]{0,50}", timezone in ".{0,70}", slot in ".{0,12}",
        ) {
            let draft = Draft { nickname, timezone, active_slots: vec![slot], ..Draft::default() };
            let _either = Change::of(&draft);
            let draft = Draft { nickname: draft.nickname, ..Draft::default() };
            if let Ok(change) = Change::of(&draft) {
                let mut found = ann();
                change.apply(&mut found);
                prop_assert!(found.nickname.chars().count() <= NICKNAME_CHARACTERS_MAX);
                prop_assert!(!found.nickname.contains(is_unprintable));
            }
        }
    }
}
