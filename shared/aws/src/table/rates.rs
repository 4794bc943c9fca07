//! `RatesTable`: how fast each learner sends, as one number that a conditional write moves on.
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `user_id` | S, key | the learner |
//! | `arrival` | N | theoretical arrival time, Unix microseconds (see `sparkle_core::rate`) |
//! | `expires_at` | N, TTL | Unix s: when the bucket has long been full again |
//!
//! A write that the SDK repeats after a lost answer may take a frame's worth twice: the learner has one
//! frame less for a moment, nothing else hangs on it.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::ReturnValuesOnConditionCheckFailure,
};
use sparkle_core::{
    id::UserId,
    rate::{Arrival, RateLimit},
    unit::Timestamp,
};

use super::{Item, TableError, belongings::Belongings, client, number, number_of, text};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
};

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
    /// It is.
    Within,
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
            .update_expression("SET arrival = :arrival, expires_at = :expires")
            .condition_expression("attribute_not_exists(arrival) OR arrival <= :full")
            .expression_attribute_values(":full", number(full.0))
            .expression_attribute_values(":arrival", number(first.0));
        let Some(busy) = changed(rested).await? else {
            return Ok(Rate::Within);
        };

        // `arrival` is ahead of now. It only grows, so the condition holds the limit under any race.
        let interval_us = first.0 - full.0;
        let latest = self.limit.latest_arrival(now).0 - interval_us;
        let within = self
            .update(user, now)
            .update_expression("SET arrival = arrival + :interval, expires_at = :expires")
            .condition_expression("arrival <= :latest")
            .expression_attribute_values(":latest", number(latest))
            .expression_attribute_values(":interval", number(interval_us));
        let already_full = number_of::<i64>(&busy, "arrival")? > latest;
        let refused = if already_full {
            Some(busy)
        } else {
            changed(within).await?
        };
        Ok(match refused {
            None => Rate::Within,
            Some(item) => {
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
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

/// None if the update was made, the item as it stands if its condition failed.
async fn changed(update: UpdateItemFluentBuilder) -> Result<Option<Item>, TableError> {
    match update.send().await {
        Ok(_) => Ok(None),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => failed
                .item
                .clone()
                .map(Some)
                .ok_or(TableError::Corrupt("arrival")),
            _ => Err(error.into()),
        },
    }
}
