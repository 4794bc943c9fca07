//! `PolicyTable`: what operators decide without a deploy.
//!
//! | attribute | type | meaning |
//! | --- | --- | --- |
//! | `name` | S, key | `policy` |
//! | `settings` | S | JSON of `sparkle_core::policy::Policy`; absent: `infra/policy.json` applies |
//! | `models` | S | JSON of the form of `infra/models.json`; absent: that file applies |
//! | `stopped_until` | N | Unix ms: until then nothing is spent, since the budget of all learners is used up |

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::{Client, operation::update_item::builders::UpdateItemFluentBuilder};
use sparkle_core::{
    policy::Policy,
    price::{BUILT_IN, Catalogue},
    unit::Timestamp,
};
use tokio::sync::Mutex;
use tracing::error;

use super::{Item, TableError, client, number, number_of, text, text_of};
use crate::{
    boot::Aws,
    config::{self, ConfigError},
    failure::causes,
};

/// How soon every instance follows a change.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// What operators decide.
#[derive(Debug)]
pub struct Policies {
    dynamo: Client,
    table: String,
    /// Ids of the models that the deployment offers.
    offered: String,
    known: Mutex<Option<Known>>,
}

/// What was read, and when.
#[derive(Debug, Clone)]
struct Known {
    read_at: Timestamp,
    policy: Arc<Policy>,
    catalogue: Arc<Catalogue>,
}

/// Whether models are asked for anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Spending {
    Allowed,
    Stopped,
}

impl Policies {
    /// Opens the table that `SPARKLE_TABLE_POLICY` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError`]: a setting is missing, or names what is no model.
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        let offered = config::offered_models();
        // What is wrong with the settings is said at the start.
        Catalogue::offering(&offered)?;
        Ok(Self {
            dynamo: client(aws),
            table: config::required("SPARKLE_TABLE_POLICY")?,
            offered,
            known: Mutex::new(None),
        })
    }

    /// What applies now, or did within the last 10 s. Cost: one strongly consistent read every 10 s for each
    /// instance, [`Self::catalogue`] included.
    ///
    /// # Errors
    /// [`TableError`]: without a policy nothing may be spent.
    pub async fn current(&self, now: Timestamp) -> Result<Arc<Policy>, TableError> {
        Ok(self.known(now).await?.policy)
    }

    /// The models that are offered now, or were within the last 10 s, and what they cost. A list that is wrong
    /// is logged, and the one that is built in applies. Cost: as [`Self::current`].
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn catalogue(&self, now: Timestamp) -> Result<Arc<Catalogue>, TableError> {
        Ok(self.known(now).await?.catalogue)
    }

    async fn known(&self, now: Timestamp) -> Result<Known, TableError> {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known
            && known.read_at <= now
            && now < known.read_at.after(FRESH_FOR)
        {
            return Ok(known.clone());
        }
        let item = self.item().await?;
        let mut policy = policy_of(&item)?;
        let stopped_until = number_of(&item, "stopped_until").unwrap_or(0);
        policy.is_stopped |= now < Timestamp::from_unix_ms(stopped_until);
        let read = Known {
            read_at: now,
            policy: Arc::new(policy),
            catalogue: Arc::new(self.catalogue_of(&item)?),
        };
        *known = Some(read.clone());
        Ok(read)
    }

    fn catalogue_of(&self, item: &Item) -> Result<Catalogue, TableError> {
        if let Ok(models) = text_of(item, "models") {
            match Catalogue::parse(models, &self.offered) {
                Ok(catalogue) => return Ok(catalogue),
                Err(error) => error!(
                    error = causes(&error),
                    "the price list of PolicyTable is not used"
                ),
            }
        }
        Catalogue::offering(&self.offered).map_err(|_damaged| TableError::Corrupt("models"))
    }

    async fn item(&self) -> Result<Item, TableError> {
        let get = self
            .dynamo
            .get_item()
            .table_name(&self.table)
            .key("name", text("policy"))
            .consistent_read(true);
        Ok(get.send().await?.item.unwrap_or_default())
    }

    /// What operators have decided, a stop by the budget of all learners aside. Cost: one strongly consistent
    /// read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn decided(&self) -> Result<Policy, TableError> {
        policy_of(&self.item().await?)
    }

    /// Has all spending stopped or go on, and changes nothing else, everywhere within 10 s. A stop by the budget
    /// of all learners ends too; the sweeper stops again where it is used up. Cost: one read, one write.
    ///
    /// # Errors
    /// [`TableError::Conflict`] if the policy was changed meanwhile.
    pub async fn switch(&self, spending: Spending) -> Result<(), TableError> {
        let item = self.item().await?;
        let policy = Policy {
            is_stopped: spending == Spending::Stopped,
            ..policy_of(&item)?
        };
        let update = self.setting(&policy)?;
        let update = match text_of(&item, "settings") {
            Ok(before) => update
                .condition_expression("settings = :before")
                .expression_attribute_values(":before", text(before)),
            Err(_absent) => update.condition_expression("attribute_not_exists(settings)"),
        };
        update.send().await?;
        Ok(())
    }

    /// Lets another policy apply, everywhere within 10 s. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn set(&self, policy: &Policy) -> Result<(), TableError> {
        self.setting(policy)?.send().await?;
        Ok(())
    }

    fn setting(&self, policy: &Policy) -> Result<UpdateItemFluentBuilder, TableError> {
        let settings = serde_json::to_string(policy);
        let settings = settings.map_err(|_unwritable| TableError::Corrupt("settings"))?;
        Ok(self
            .update()
            .update_expression("SET settings = :settings REMOVE stopped_until")
            .expression_attribute_values(":settings", text(&settings)))
    }

    /// Lets the policy that is built in apply again, everywhere within 10 s; a stop ends. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn unset(&self) -> Result<(), TableError> {
        let update = self
            .update()
            .update_expression("REMOVE settings, stopped_until");
        update.send().await?;
        Ok(())
    }

    /// The price list that applies, as JSON, whether or not it is right. Cost: one strongly consistent read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn models(&self) -> Result<String, TableError> {
        let item = self.item().await?;
        Ok(text_of(&item, "models").unwrap_or(BUILT_IN).to_owned())
    }

    /// Lets another price list apply, everywhere within 10 s: one that [`Catalogue::parse`] reads. Cost: one
    /// write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn set_models(&self, json: &str) -> Result<(), TableError> {
        let update = self
            .update()
            .update_expression("SET models = :models")
            .expression_attribute_values(":models", text(json));
        update.send().await?;
        Ok(())
    }

    /// Lets the price list that is built in apply again, everywhere within 10 s. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn unset_models(&self) -> Result<(), TableError> {
        let update = self.update().update_expression("REMOVE models");
        update.send().await?;
        Ok(())
    }

    fn update(&self) -> UpdateItemFluentBuilder {
        self.dynamo
            .update_item()
            .table_name(&self.table)
            .key("name", text("policy"))
    }

    /// Lets nobody spend anything until a moment. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn stop_until(&self, until: Timestamp) -> Result<(), TableError> {
        let update = self
            .update()
            .update_expression("SET stopped_until = :until")
            .expression_attribute_values(":until", number(until.unix_ms()));
        update.send().await?;
        Ok(())
    }
}

fn policy_of(item: &Item) -> Result<Policy, TableError> {
    let policy = match text_of(item, "settings") {
        Ok(settings) => Policy::parse(settings),
        Err(_absent) => Policy::built_in(),
    };
    policy.map_err(|_damaged| TableError::Corrupt("settings"))
}
