//! What the tutor knows of a learner, for them to read and to change.

use sparkle_aws::{failure::Failure, table::accounts::Payer};
use sparkle_core::{
    frame::{Body, ErrorBody},
    profile::Change,
};

use super::Answering;

impl Answering<'_> {
    /// The learner's profile. Cost: one read.
    pub(crate) async fn profile(&self) -> Result<Option<ErrorBody>, Failure> {
        let context = self.app.profiles.find(&self.asked.identity.user_id).await?;
        self.asked.reply(Body::Profile(Box::new(context))).await?;
        Ok(None)
    }

    /// Changes the profile; the next message that is sent after the answer is answered by it, on any instance.
    /// Cost: one read, one transaction; for another time zone one write more.
    pub(crate) async fn change_profile(
        &self,
        change: &Change,
    ) -> Result<Option<ErrorBody>, Failure> {
        let (app, identity, now) = (self.app, self.asked.identity, self.asked.now);
        let user = &identity.user_id;
        if let Some(zone) = change.timezone() {
            // Who has spent nothing yet begins in it at once.
            let policy = app.policies.current(now).await?;
            let payer = Payer {
                user_id: user,
                tier: identity.tier,
                policy: &policy,
            };
            app.accounts.open_in(zone, payer, now).await?;
        }
        let beside = (&app.arrivals, &app.accounts);
        let apply = |context: &mut _| change.apply(context);
        let context = app.profiles.change(user, apply, beside, now).await?;
        self.asked.reply(Body::Profile(Box::new(context))).await?;
        Ok(None)
    }
}
