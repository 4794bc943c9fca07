//! What learners say of what they were given.

use sparkle_aws::{
    failure::Failure,
    metric,
    table::{answers::Outcome, turns::Witness},
};
use sparkle_core::{
    frame::{Ack, Body, ErrorBody, ErrorCode, Feedback, Target},
    notice,
};

use super::Answering;

impl Answering<'_> {
    /// Notes what a learner says, and serves nobody any more what it rejects. Done again it changes nothing. Cost:
    /// one write, one post; with a query more where the answer goes by its provider's name, and a write where it
    /// is rejected or says something of a verdict.
    pub(crate) async fn take_feedback(
        &self,
        feedback: &Feedback,
    ) -> Result<Option<ErrorBody>, Failure> {
        let (app, now) = (self.app, self.asked.now);
        let user = &self.asked.identity.user_id;
        let rated = match feedback.target {
            Target::Answer => app.turns.rate(user, feedback, now).await?,
            // There are none in this release.
            Target::Node => None,
        };
        let Some(rated) = rated else {
            let (code, language) = (ErrorCode::NotFound, self.asked.language());
            return Ok(Some(notice::error_in(code, "payload.id", language)));
        };
        if feedback.rating.rejects()
            && let Some(place) = &rated.place
        {
            app.answers.reject(place, &rated.response_id).await?;
        }
        let outcome = match feedback.rating.stars() {
            1 | 2 => Some(Outcome::Wrong),
            3 => None,
            _ => Some(Outcome::Right),
        };
        if let Some(outcome) = outcome {
            app.turns
                .weigh(&app.answers, user, (&rated, Witness::Learner), outcome, now)
                .await?;
        }
        let stars = feedback.rating.stars().to_string();
        let labels = [("target", feedback.target.as_str()), ("rating", &stars)];
        metric::count("feedback_total", 1, &labels, now);
        self.asked.reply(Body::Ack(Ack::default())).await?;
        Ok(None)
    }
}
