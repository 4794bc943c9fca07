//! What operators decide of one learner.

use aws_sdk_dynamodb::{
    operation::{
        delete_item::DeleteItemError,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::AttributeValue,
};
use sparkle_core::{id::UserId, policy::Allowance, unit::Timestamp};

use super::{Accounts, Payer};
use crate::table::{
    TableError,
    belongings::{Belongings, Json},
    number, text, text_of,
};

/// How often an allowance is changed that others change at the same time.
const TRIES_MAX: u32 = 10;

impl Accounts {
    /// Changes what applies to a learner instead of what the tier says, from the next call on; what applies
    /// then. What is used stays used, and what runs is not cut short. Cost: one read, one write; one more for
    /// a learner without an account.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn set_allowance(
        &self,
        payer: Payer<'_>,
        change: impl Fn(&mut Allowance),
        now: Timestamp,
    ) -> Result<Allowance, TableError> {
        self.open_for(payer, now).await?;
        let mut tries = 0;
        loop {
            tries += 1;
            let before = self.allowance_of(payer.user_id).await?;
            let mut allowance = match &before {
                Some(json) => serde_json::from_str(json)
                    .map_err(|_damaged| TableError::Corrupt("allowance"))?,
                None => Allowance::default(),
            };
            change(&mut allowance);
            let json = serde_json::to_string(&allowance)
                .map_err(|_unwritable| TableError::Corrupt("allowance"))?;
            let update = self
                .of_learner(payer.user_id)
                .update_expression("SET allowance = :allowance")
                .expression_attribute_values(":allowance", text(&json));
            let update = match before {
                Some(before) => update
                    .condition_expression("allowance = :before")
                    .expression_attribute_values(":before", text(&before)),
                None => update.condition_expression(
                    "attribute_exists(user_id) AND attribute_not_exists(allowance)",
                ),
            };
            match update.send().await {
                Ok(_) => return Ok(allowance),
                Err(error) => match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(_))
                        if tries < TRIES_MAX => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    async fn allowance_of(&self, user: &UserId) -> Result<Option<String>, TableError> {
        let get = self
            .dynamo
            .get_item()
            .table_name(&self.table)
            .key("user_id", text(user))
            .consistent_read(true);
        let item = get.send().await?.item.unwrap_or_default();
        Ok(text_of(&item, "allowance").ok().map(str::to_owned))
    }

    /// Has no model asked for a learner from now on; what runs is not cut short. Cost: two writes.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn suspend(&self, payer: Payer<'_>, now: Timestamp) -> Result<(), TableError> {
        self.open_for(payer, now).await?;
        let update = self
            .of_learner(payer.user_id)
            .update_expression("SET suspended = :true")
            .condition_expression("attribute_exists(user_id)")
            .expression_attribute_values(":true", AttributeValue::Bool(true));
        update.send().await?;
        Ok(())
    }

    /// Lets a learner go on; one who is not suspended goes on as well. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn resume(&self, user: &UserId) -> Result<(), TableError> {
        let update = self
            .of_learner(user)
            .update_expression("REMOVE suspended")
            .condition_expression("attribute_exists(user_id)");
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                // Who has no account is not suspended.
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(error.into()),
            },
        }
    }

    fn of_learner(&self, user: &UserId) -> UpdateItemFluentBuilder {
        self.dynamo
            .update_item()
            .table_name(&self.table)
            .key("user_id", text(user))
    }

    /// A learner's account, to be shown. Cost: one read.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn shown(&self, user: &UserId) -> Result<Vec<Json>, TableError> {
        let all = Belongings::of(&self.dynamo, &self.table, &["user_id"]);
        Ok(all.under(user.as_str()).await?.shown())
    }

    /// Removes the account of a learner who is suspended and for whom nothing is held; whether it is gone.
    /// Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn close(&self, user: &UserId) -> Result<bool, TableError> {
        let delete = self
            .dynamo
            .delete_item()
            .table_name(&self.table)
            .key("user_id", text(user))
            .condition_expression(
                "attribute_not_exists(user_id) \
                 OR (attribute_exists(suspended) AND size(holds) = :none)",
            )
            .expression_attribute_values(":none", number(0));
        match delete.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(error.into()),
            },
        }
    }
}
