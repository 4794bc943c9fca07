//! What a learner writes into their profile, and the profile as they see it.

use sparkle_core::profile::{Analytics, Change, Draft, Unacceptable, UserContext, Why};

use super::decode::Wrong;
use crate::generated::ws;

/// The change that a payload asks for. What is not the learner's to write is refused, also where it would
/// change nothing.
pub(super) fn change(payload: ws::ProfileUpdate) -> Result<Change, Wrong> {
    let foreign = [
        ("user_id", payload.user_id.is_some()),
        ("is_pro", payload.is_pro.is_some()),
        ("flame_level", payload.flame_level.is_some()),
        ("flame_brightness", payload.flame_brightness.is_some()),
        ("daily_cap", payload.daily_cap.is_some()),
    ];
    if let Some((field, _)) = foreign.into_iter().find(|&(_, is_given)| is_given) {
        return Err(Wrong::argument(&format!("payload.{field}")));
    }
    let draft = Draft {
        nickname: payload.nickname,
        timezone: payload.timezone,
        language: payload.language,
        persona_type: payload.persona_type,
        depth: payload.depth,
        curiosity: payload.curiosity,
        active_slots: payload.active_slots,
        reset: payload.reset,
    };
    Change::of(&draft).map_err(|Unacceptable { field, why }| {
        let path = format!("payload.{field}");
        match why {
            Why::TooLarge => Wrong::too_large(&path),
            Why::Invalid => Wrong::argument(&path),
        }
    })
}

pub(super) fn message(context: &UserContext) -> ws::Profile {
    let analytics = Analytics::of(context);
    let preferences = &context.preferences;
    ws::Profile {
        user_id: context.user_id.to_string(),
        nickname: context.nickname.clone(),
        timezone: context.timezone.clone(),
        language: context.language.clone(),
        is_pro: context.is_pro(),
        preferences: Some(ws::profile::Preferences {
            depth: preferences.depth.get(),
            curiosity: preferences.curiosity.get(),
            flame_level: preferences.flame_level,
            flame_brightness: preferences.flame_brightness.get(),
        }),
        active_slots: context
            .active_slots
            .iter()
            .map(ToString::to_string)
            .collect(),
        daily_cap: context.daily_cap,
        persona_type: context.persona_type.clone(),
        analytics: Some(ws::profile::Analytics {
            is_active: analytics.is_active,
            active_level: analytics.active_level.as_str().to_owned(),
            engagement_level: analytics.engagement_level.as_str().to_owned(),
            flame_level: analytics.flame_level,
            flame_brightness: analytics.flame_brightness.get(),
            depth_preference: analytics.depth_preference.get(),
            curiosity_preference: analytics.curiosity_preference.get(),
            registration_source: analytics.registration_source,
        }),
        version: i64::try_from(context.version).unwrap_or(i64::MAX),
    }
}
