//! `RatesTable`: how fast each learner sends, as one number that a conditional write moves on; and the stamp of
//! their profile, which is read by that write.
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `user_id` | S, key | the learner |
//! | `arrival` | N | theoretical arrival time, Unix microseconds (see `sparkle_core::rate`) |
//! | `profile_stamp` | N | absent: not known; another after each change of the profile, see `sparkle_core::profile` |
//! | `expires_at` | N, TTL | Unix s: when the bucket has long been full again, and no copy of the profile lives |
//!
//! A write that the SDK repeats after a lost answer may take a frame's worth twice: the learner has one
//! frame less for a moment, nothing else hangs on it.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure, Update},
};
use sparkle_core::{
    id::UserId,
    profile::Stamp,
    rate::{Arrival, RateLimit},
    unit::Timestamp,
};

use super::{Item, TableError, belongings::Belongings, client, number, number_of, text};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
};

/// Longer than a copy of a profile lives (`sparkle_core::profile::COPY_LIFE`), whatever clocks differ by.
const LIFE: Duration = Duration::from_hours(1);

/// How fast each learner sends.
#[derive(Debug, Clone)]
pub struct Rates {
    arrivals: Arrivals,
    limit: RateLimit,
}

/// How fast each learner has sent, whatever the limit.
#[derive(Debug, Clone)]
pub struct Arrivals {
    dynamo: Client,
    table: String,
}

/// Whether one more frame is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// It is; and so is the learner's profile stamped.
    Within(Option<Stamp>),
    /// It is not, nor will it be for so long.
    Exceeded {
        /// How long.
        retry_after: Duration,
    },
}

impl Arrivals {
    /// Opens the table that `SPARKLE_TABLE_RATES` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            dynamo: client(aws),
            table: config::required("SPARKLE_TABLE_RATES")?,
        })
    }

    /// The write that replaces the stamp of a learner's profile: no copy of it is used any more by whoever is
    /// asked for something afterwards.
    pub(super) fn stamping(&self, user: &UserId, now: Timestamp) -> Result<Update, BuildError> {
        Update::builder()
            .table_name(&self.table)
            .key("user_id", text(user))
            .update_expression(
                "SET profile_stamp = if_not_exists(profile_stamp, :now) + :one, expires_at = :expires",
            )
            .expression_attribute_values(":now", number(now.unix_ms()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":expires", number(now.after(LIFE).unix_seconds()))
            .build()
    }

    /// What is known of a learner. Cost: one read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn belongings(&self, user: &UserId) -> Result<Belongings, TableError> {
        Belongings::of(&self.dynamo, &self.table, &["user_id"])
            .under(user.as_str())
            .await
    }
}

impl Rates {
    /// Opens the table that `SPARKLE_TABLE_RATES` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError`] names what is missing.
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        let limit = RateLimit {
            per_second: config::positive("SPARKLE_RATE_PER_SECOND")?,
            burst: config::positive("SPARKLE_RATE_BURST")?,
        };
        Ok(Self {
            arrivals: Arrivals::open(aws)?,
            limit,
        })
    }

    /// Counts one frame. Cost: one write after a rest, two within a burst.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn take(&self, user: &UserId, now: Timestamp) -> Result<Rate, TableError> {
        let full = Arrival::at(now);
        let first = self.limit.next_arrival(full, now);
        let rested = self
            .update(user, now)
            .update_expression(
                "SET arrival = :arrival, expires_at = :expires, \
                 profile_stamp = if_not_exists(profile_stamp, :now)",
            )
            .condition_expression("attribute_not_exists(arrival) OR arrival <= :full")
            .expression_attribute_values(":full", number(full.0))
            .expression_attribute_values(":arrival", number(first.0));
        let busy = match changed(rested).await? {
            Changed::To(item) => return Ok(Rate::Within(stamp_of(&item))),
            Changed::Not(busy) => busy,
        };

        // `arrival` is ahead of now. It only grows, so the condition holds the limit under any race.
        let interval_us = first.0 - full.0;
        let latest = self.limit.latest_arrival(now).0 - interval_us;
        let within = self
            .update(user, now)
            .update_expression(
                "SET arrival = arrival + :interval, expires_at = :expires, \
                 profile_stamp = if_not_exists(profile_stamp, :now)",
            )
            .condition_expression("arrival <= :latest")
            .expression_attribute_values(":latest", number(latest))
            .expression_attribute_values(":interval", number(interval_us));
        let already_full = number_of::<i64>(&busy, "arrival")? > latest;
        let tried = if already_full {
            Changed::Not(busy)
        } else {
            changed(within).await?
        };
        Ok(match tried {
            Changed::To(item) => Rate::Within(stamp_of(&item)),
            Changed::Not(item) => {
                let arrival = Arrival(number_of(&item, "arrival")?);
                Rate::Exceeded {
                    retry_after: self.limit.retry_after(arrival, now),
                }
            }
        })
    }

    fn update(&self, user: &UserId, now: Timestamp) -> UpdateItemFluentBuilder {
        let Arrivals { dynamo, table } = &self.arrivals;
        dynamo
            .update_item()
            .table_name(table)
            .key("user_id", text(user))
            .expression_attribute_values(":expires", number(now.after(LIFE).unix_seconds()))
            .expression_attribute_values(":now", number(now.unix_ms()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

fn stamp_of(item: &Item) -> Option<Stamp> {
    let number = number_of(item, "profile_stamp").ok();
    number.and_then(Stamp::of_number)
}

/// The item as it stands.
enum Changed {
    /// The update was made.
    To(Item),
    /// Its condition failed.
    Not(Item),
}

async fn changed(update: UpdateItemFluentBuilder) -> Result<Changed, TableError> {
    match update.send().await {
        Ok(made) => Ok(Changed::To(made.attributes.unwrap_or_default())),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => failed
                .item
                .clone()
                .map(Changed::Not)
                .ok_or(TableError::Corrupt("arrival")),
            _ => Err(error.into()),
        },
    }
}
