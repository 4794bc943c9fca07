//! `ProfilesTable`: who each learner is and how they like to be taught; learners without an item have defaults.
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `user_id` | S, key | the learner |
//! | `nickname` | S | empty if none was given |
//! | `timezone` | S | IANA name |
//! | `language` | S | BCP 47 |
//! | `persona_type` | S | the tutor's part |
//! | `depth` | N | 0 to 100 |
//! | `curiosity` | N | 0 to 100 |
//! | `flame_level` | N | an operator's to set |
//! | `flame_brightness` | N | 0 to 100; an operator's to set |
//! | `active_slots` | L | each S, such as `19:00-21:30` |
//! | `daily_cap` | N | an operator's to set |
//! | `registration_source` | S | how they came to Sparkle |
//! | `version` | N | how often it was changed, from 1 |
//!
//! A change rests on the version that it was made from: of two devices that change a profile at once, one begins
//! again with what the other wrote. The same transaction replaces the stamp that copies of the profile are used
//! under ([`super::rates`]) and, where the time zone changes, the zone of the learner's next day
//! ([`super::accounts`]).

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    types::{AttributeValue, TransactWriteItem, Update},
};
use sparkle_core::{
    id::{self, UserId},
    profile::{Percent, Preferences, UserContext},
    unit::Timestamp,
};
use tokio::time::sleep;

use super::{
    CONTENDED_PAUSE, CONTENDED_TRIES_MAX, Item, TableError, accounts::Accounts,
    belongings::Belongings, client, number, number_of, rates::Arrivals, text, text_of,
};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
};

/// Who each learner is and how they like to be taught.
#[derive(Debug, Clone)]
pub struct Profiles {
    dynamo: Client,
    table: String,
}

impl Profiles {
    /// Opens the table that `SPARKLE_TABLE_PROFILES` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            dynamo: client(aws),
            table: config::required("SPARKLE_TABLE_PROFILES")?,
        })
    }

    /// A learner's profile; the defaults of one who has none. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn find(&self, user: &UserId) -> Result<UserContext, TableError> {
        let get = self
            .dynamo
            .get_item()
            .table_name(&self.table)
            .key("user_id", text(user))
            .consistent_read(true);
        match get.send().await?.item {
            Some(item) => context_of(user, &item),
            None => Ok(UserContext::unknown(user.clone())),
        }
    }

    /// Changes a learner's profile, and returns it as it is then. What changes nothing writes nothing. A changed
    /// time zone counts in the learner's account from the next day and month on; there has to be one
    /// ([`Accounts::open_in`]). Cost: one read, one transaction of 2 or 3 items; more while others change it.
    ///
    /// # Errors
    /// [`TableError`]; then it is not known whether it is changed, and the same change may be made again.
    pub async fn change(
        &self,
        user: &UserId,
        change: impl Fn(&mut UserContext),
        (arrivals, accounts): (&Arrivals, &Accounts),
        now: Timestamp,
    ) -> Result<UserContext, TableError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let before = self.find(user).await?;
            let mut after = before.clone();
            change(&mut after);
            if after == before {
                return Ok(before);
            }
            after.version = before.version.saturating_add(1);
            let mut writes = vec![self.writing(&after), arrivals.stamping(user, now)];
            if after.timezone != before.timezone {
                writes.push(accounts.moving(user, &after.timezone));
            }
            let writes = writes.into_iter().map(as_part);
            let writes = writes
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_incomplete| TableError::Corrupt("user_id"))?;
            let tried = [
                format!("{after:?}"),
                now.unix_ms().to_string(),
                tries.to_string(),
            ];
            let changing = self
                .dynamo
                .transact_write_items()
                .set_transact_items(Some(writes))
                // The SDK may send it again after a lost answer: the same token, the same effect.
                .client_request_token(token(&tried));
            match changing.send().await.map_err(TableError::from) {
                Ok(_) => return Ok(after),
                // Another device changed it, or a frame of the learner was counted at the same moment.
                Err(TableError::Conflict(_)) if tries < CONTENDED_TRIES_MAX => {
                    sleep(CONTENDED_PAUSE * tries).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The write of a profile in place of the version before it. Attributes of a later release stay.
    fn writing(&self, after: &UserContext) -> Result<Update, BuildError> {
        let before = after.version.saturating_sub(1);
        let mut update = Update::builder()
            .table_name(&self.table)
            .key("user_id", text(&after.user_id));
        let mut sets = Vec::new();
        for (name, value) in attributes(after) {
            sets.push(format!("#{name} = :{name}"));
            update = update
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        update = update.update_expression(format!("SET {}", sets.join(", ")));
        if before == 0 {
            update = update.condition_expression("attribute_not_exists(#version)");
        } else {
            update = update
                .condition_expression("#version = :before")
                .expression_attribute_values(":before", number(before));
        }
        update.build()
    }

    /// What is known of a learner. Cost: one query.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn belongings(&self, user: &UserId) -> Result<Belongings, TableError> {
        Belongings::of(&self.dynamo, &self.table, &["user_id"])
            .under(user.as_str())
            .await
    }
}

fn as_part(update: Result<Update, BuildError>) -> Result<TransactWriteItem, BuildError> {
    Ok(TransactWriteItem::builder().update(update?).build())
}

fn token(parts: &[String]) -> String {
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let mut token = id::digest(&parts);
    token.truncate(36);
    token
}

/// All attributes of an item but its key.
fn attributes(context: &UserContext) -> HashMap<&'static str, AttributeValue> {
    let Preferences {
        depth,
        curiosity,
        flame_level,
        flame_brightness,
    } = context.preferences;
    let slots = context.active_slots.iter().map(text).collect();
    HashMap::from([
        ("nickname", text(&context.nickname)),
        ("timezone", text(&context.timezone)),
        ("language", text(&context.language)),
        ("persona_type", text(&context.persona_type)),
        ("depth", number(depth.get())),
        ("curiosity", number(curiosity.get())),
        ("flame_level", number(flame_level)),
        ("flame_brightness", number(flame_brightness.get())),
        ("active_slots", AttributeValue::L(slots)),
        ("daily_cap", number(context.daily_cap)),
        ("registration_source", text(&context.registration_source)),
        ("version", number(context.version)),
    ])
}

fn context_of(user: &UserId, item: &Item) -> Result<UserContext, TableError> {
    let percent = |name| {
        let percent = Percent::new(number_of(item, name)?);
        percent.ok_or(TableError::Corrupt(name))
    };
    let texts = |name| text_of(item, name).map(str::to_owned);
    let slots = item.get("active_slots").and_then(|slots| slots.as_l().ok());
    let slots = slots.ok_or(TableError::Corrupt("active_slots"))?.iter();
    let slots = slots.map(|slot| slot.as_s().ok()?.parse().ok());
    Ok(UserContext {
        user_id: user.clone(),
        nickname: texts("nickname")?,
        timezone: texts("timezone")?,
        language: texts("language")?,
        preferences: Preferences {
            depth: percent("depth")?,
            curiosity: percent("curiosity")?,
            flame_level: number_of(item, "flame_level")?,
            flame_brightness: percent("flame_brightness")?,
        },
        active_slots: slots
            .collect::<Option<Vec<_>>>()
            .ok_or(TableError::Corrupt("active_slots"))?,
        daily_cap: number_of(item, "daily_cap")?,
        persona_type: texts("persona_type")?,
        registration_source: texts("registration_source")?,
        version: number_of(item, "version")?,
    })
}
