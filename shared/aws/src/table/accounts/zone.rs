//! In which time zone a learner's days begin.

use aws_sdk_dynamodb::{error::BuildError, types::Update};
use sparkle_core::{id::UserId, policy::Allowance, quota::Account, unit::Timestamp};

use super::{Accounts, Payer};
use crate::table::{TableError, text};

impl Accounts {
    /// Sees to it that a learner has an account: one who had none has spent nothing, so their first day begins in
    /// this zone. Cost: one write.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn open_in(
        &self,
        zone: &str,
        payer: Payer<'_>,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let limits = payer.policy.limits(payer.tier, &Allowance::default());
        let account = Account::opened(zone, &limits, now);
        self.create(payer.user_id, &account).await?;
        Ok(())
    }

    /// The write that lets the next day and month of a learner begin in another zone; those that run stay as
    /// they are (R-METER-2). It fails without an account.
    pub(in crate::table) fn moving(&self, user: &UserId, zone: &str) -> Result<Update, BuildError> {
        Update::builder()
            .table_name(&self.table)
            .key("user_id", text(user))
            .update_expression("SET #zone = :zone")
            .condition_expression("attribute_exists(user_id)")
            .expression_attribute_names("#zone", "zone")
            .expression_attribute_values(":zone", text(zone))
            .build()
    }
}
