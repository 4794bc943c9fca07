//! What is said of an answer.

use aws_sdk_dynamodb::{
    error::BuildError,
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{
        ConditionCheck, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};
use sparkle_core::{
    cache::entry::Place,
    frame::{Feedback, TurnJob},
    id::{RequestId, UserId},
    notice::Language,
    unit::Timestamp,
};
use sparkle_wire::job;

use tokio::time::sleep;

use super::{Turns, turn_key};
use crate::table::{
    CONTENDED_PAUSE, CONTENDED_TRIES_MAX, Item, Right, TableError,
    answers::{Answers, Outcome},
    number, number_of, text, text_of,
};

/// An answer that its learner has spoken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rated {
    /// What the provider called it, or nothing.
    pub response_id: String,
    /// Where it is kept, if it is.
    pub place: Option<Place>,
    /// If the answer was kept for other words.
    verdict: Option<Verdict>,
}

/// That two questions ask the same, as it was told a learner by an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    request: RequestId,
    /// Of the question.
    language: Language,
    /// What is known of it.
    weighed: Option<Outcome>,
    /// Stars that the learner gave.
    rating: Option<u32>,
}

impl Rated {
    /// An answer of which nothing was said yet, that was kept at `place` for other words than those of `turn`, in
    /// this language.
    pub fn unrated(turn: &TurnJob, place: &Place, language: Language) -> Self {
        Self {
            response_id: String::new(),
            place: Some(place.clone()),
            verdict: Some(Verdict {
                request: turn.request_id.clone(),
                language,
                weighed: None,
                rating: None,
            }),
        }
    }
}

/// Who says what came of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// The learner: the last word counts.
    Learner,
    /// A model, which is not asked where somebody has spoken.
    Model,
}

impl Turns {
    /// Notes what a learner says of an answer of the last 24 h, which is named by its request or by what the
    /// provider called it; of several by that name the newest is meant. None if the learner was given none. Saying
    /// it again changes nothing; what is said later counts. Cost: one write; by the provider's name one query over
    /// the learner's turns more.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn rate(
        &self,
        user: &UserId,
        feedback: &Feedback,
        now: Timestamp,
    ) -> Result<Option<Rated>, TableError> {
        if let Ok(request) = RequestId::parse(&*feedback.id)
            && let Some(rated) = self.rate_turn(user, &request, feedback, now).await?
        {
            return Ok(Some(rated));
        }
        match self.turn_of_response(user, &feedback.id, now).await? {
            Some(request) => self.rate_turn(user, &request, feedback, now).await,
            None => Ok(None),
        }
    }

    async fn rate_turn(
        &self,
        user: &UserId,
        request: &RequestId,
        feedback: &Feedback,
        now: Timestamp,
    ) -> Result<Option<Rated>, TableError> {
        let update = self
            .dynamo
            .update_item()
            .table_name(&self.turns)
            .set_key(Some(turn_key(user, request)))
            .update_expression("SET rating = :rating, #comment = :comment")
            .condition_expression("#state = :completed AND expires_at > :now")
            .expression_attribute_names("#comment", "comment")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":rating", number(feedback.rating.stars()))
            .expression_attribute_values(":comment", text(&feedback.comment))
            .expression_attribute_values(":completed", text("completed"))
            .expression_attribute_values(":now", number(now.unix_seconds()))
            .return_values(ReturnValue::AllNew);
        let rated = match update.send().await {
            Ok(rated) => rated.attributes.unwrap_or_default(),
            Err(error) => {
                return match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(None),
                    _ => Err(error.into()),
                };
            }
        };
        let response_id = text_of(&rated, "response_id").unwrap_or_default();
        let place = text_of(&rated, "place").ok();
        let language = text_of(&rated, "verdict").ok().map(Language::of_tag);
        Ok(Some(Rated {
            verdict: language.map(|language| Verdict {
                request: request.clone(),
                language,
                weighed: weighed_of(&rated),
                rating: Some(feedback.rating.stars()),
            }),
            response_id: response_id.to_owned(),
            place: place.and_then(|word| job::place_of_word(word, user)),
        }))
    }

    /// The right to have it judged whether an answer that was kept for other words is right, as long as nobody has
    /// said so.
    ///
    /// # Errors
    /// [`TableError::Corrupt`], never in fact.
    pub fn right_to_weigh(&self, turn: &TurnJob) -> Result<Right, TableError> {
        let check = ConditionCheck::builder()
            .table_name(&self.turns)
            .set_key(Some(turn_key(&turn.user_id, &turn.request_id)))
            .condition_expression("attribute_exists(verdict) AND attribute_not_exists(weighed)")
            .build();
        check
            .map(Right)
            .map_err(|_incomplete| TableError::Corrupt("request_id"))
    }

    /// Counts what somebody says as evidence of how often an answer that was kept for other words is wrong: of each
    /// such answer once, by what was said last. Cost: nothing, or one transaction of 2 items.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn weigh(
        &self,
        answers: &Answers,
        user: &UserId,
        (rated, witness): (&Rated, Witness),
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let (Some(verdict), Some(place)) = (&rated.verdict, &rated.place) else {
            return Ok(());
        };
        let (mut before, mut tries) = (verdict.weighed, 0);
        while before != Some(outcome) {
            tries += 1;
            let weighed = self.weighing((user, verdict), before, outcome);
            let noted = answers.noting(place, verdict.language, (before, outcome), now);
            let (Ok(weighed), Ok(noted)) = (weighed, noted) else {
                return Err(TableError::Corrupt("user_id"));
            };
            let write = |update| TransactWriteItem::builder().update(update).build();
            let transact = self.dynamo.transact_write_items();
            let transact = transact.set_transact_items(Some(vec![write(weighed), write(noted)]));
            let Err(error) = transact.send().await else {
                return Ok(());
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
                error.as_service_error()
            else {
                return Err(error.into());
            };
            let of_turn = cancelled.cancellation_reasons().first();
            let refused = of_turn.filter(|why| why.code() == Some("ConditionalCheckFailed"));
            match refused {
                // Another was faster, the learner has said something else since, or the turn is gone.
                Some(why) => {
                    let found = why.item().and_then(weighed_of);
                    if found == before || witness == Witness::Model || tries >= CONTENDED_TRIES_MAX
                    {
                        return Ok(());
                    }
                    before = found;
                }
                None if tries < CONTENDED_TRIES_MAX => sleep(CONTENDED_PAUSE * tries).await,
                None => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The write that says what became of an answer, of which `before` was known, unless its learner has changed
    /// their mind meanwhile.
    fn weighing(
        &self,
        (user, verdict): (&UserId, &Verdict),
        before: Option<Outcome>,
        outcome: Outcome,
    ) -> Result<Update, BuildError> {
        let update = Update::builder()
            .table_name(&self.turns)
            .set_key(Some(turn_key(user, &verdict.request)))
            .update_expression("SET weighed = :outcome")
            .expression_attribute_values(":outcome", text(word(outcome)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut condition = "attribute_exists(verdict)".to_owned();
        let update = match before {
            None => {
                condition.push_str(" AND attribute_not_exists(weighed)");
                update
            }
            Some(before) => {
                condition.push_str(" AND weighed = :before");
                update.expression_attribute_values(":before", text(word(before)))
            }
        };
        let update = match verdict.rating {
            None => update,
            Some(rating) => {
                condition.push_str(" AND rating = :rating");
                update.expression_attribute_values(":rating", number(rating))
            }
        };
        update.condition_expression(condition).build()
    }

    /// The newest of a learner's turns whose answer the provider called so.
    async fn turn_of_response(
        &self,
        user: &UserId,
        response_id: &str,
        now: Timestamp,
    ) -> Result<Option<RequestId>, TableError> {
        let query = self
            .dynamo
            .query()
            .table_name(&self.turns)
            .key_condition_expression("user_id = :user")
            .filter_expression("response_id = :response_id AND expires_at > :now")
            .expression_attribute_values(":user", text(user))
            .expression_attribute_values(":response_id", text(response_id))
            .expression_attribute_values(":now", number(now.unix_seconds()))
            .consistent_read(true);
        let finished_at = |item: &Item| number_of::<i64>(item, "finished_at");
        let mut newest: Option<Item> = None;
        let mut items = query.into_paginator().items().send();
        while let Some(item) = items.try_next().await? {
            let is_newer = match &newest {
                Some(newest) => finished_at(newest)? < finished_at(&item)?,
                None => true,
            };
            if is_newer {
                newest = Some(item);
            }
        }
        let Some(newest) = newest else {
            return Ok(None);
        };
        let request = RequestId::parse(text_of(&newest, "request_id")?);
        let request = request.map_err(|_invalid| TableError::Corrupt("request_id"))?;
        Ok(Some(request))
    }
}

/// As it is written.
fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Right => "right",
        Outcome::Wrong => "wrong",
    }
}

fn weighed_of(item: &Item) -> Option<Outcome> {
    let weighed = text_of(item, "weighed").ok()?;
    let all = [Outcome::Right, Outcome::Wrong];
    all.into_iter().find(|outcome| word(*outcome) == weighed)
}
