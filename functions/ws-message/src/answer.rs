//! The requests that one frame answers.

use sparkle_aws::{failure::Failure, table::conversations::Deleted, token::TokenError};
use sparkle_core::{
    frame::{Ack, Body, ErrorBody, ErrorCode, Period, ServerFrame, SessionsRequest, UsageReport},
    id::SessionId,
    notice,
    quota::Account,
};

use sparkle_wire::frame;

use super::Answering;

/// The gateway's largest frame (its WebSocket quotas, read 2026-11).
const FRAME_BYTES_MAX: usize = 32 * 1024;

impl Answering<'_> {
    async fn reply(&self, body: Body) -> Result<Option<ErrorBody>, Failure> {
        self.asked.reply(body).await?;
        Ok(None)
    }

    pub(crate) async fn pong(&self) -> Result<Option<ErrorBody>, Failure> {
        self.reply(Body::Pong).await
    }

    /// The models, at today's prices.
    pub(crate) async fn models(&self) -> Result<Option<ErrorBody>, Failure> {
        let catalogue = self.app.policies.catalogue(self.asked.now).await?;
        let models = catalogue.models();
        self.reply(Body::Models {
            entries: models.map(|model| model.at(self.asked.now)).collect(),
        })
        .await
    }

    /// What may still be used. Cost: one read.
    pub(crate) async fn quota(&self) -> Result<Option<ErrorBody>, Failure> {
        let account = self.account().await?;
        self.reply(Body::Quota(account.shown(self.asked.identity.tier)))
            .await
    }

    /// What was used and spent. Cost: one read, one query.
    pub(crate) async fn usage(&self, days: u32, months: u32) -> Result<Option<ErrorBody>, Failure> {
        let account = self.account().await?;
        let first = account.first_day(days, months, self.asked.now);
        let sums = self
            .app
            .ledger
            .days(&self.asked.identity.user_id, &first)
            .await?;
        let periods: Vec<Period> = sums.into_iter().map(|sums| sums.period).collect();
        let since = |first: &str| -> Vec<Period> {
            let is_since = |day: &&Period| *day.date >= *first;
            periods.iter().filter(is_since).cloned().collect()
        };
        let months = match months {
            0 => Vec::new(),
            _ => Period::months(&since(&account.first_day(1, months, self.asked.now))),
        };
        self.reply(Body::UsageReport(UsageReport {
            days: since(&account.first_day(days, 0, self.asked.now)),
            months,
            budget: account.budget(self.asked.now),
        }))
        .await
    }

    async fn account(&self) -> Result<Account, Failure> {
        let (app, identity) = (self.app, self.asked.identity);
        let (user, tier) = (&identity.user_id, identity.tier);
        Ok(app
            .accounts
            .standing(&app.policies, user, tier, self.asked.now)
            .await?)
    }

    /// A page of a conversation; one that does not exist is empty. Cost: one query.
    pub(crate) async fn history(
        &self,
        session_id: &SessionId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Option<ErrorBody>, Failure> {
        let user_id = &self.asked.identity.user_id;
        let page = self
            .app
            .conversations
            .page(user_id, session_id, before, limit)
            .await?;
        self.reply_fitting(page.len(), |kept| {
            let kept = page.get(page.len() - kept..).unwrap_or_default();
            let oldest = kept.first().map(|oldest| oldest.position);
            Body::History {
                session_id: session_id.clone(),
                entries: kept.iter().map(|placed| placed.entry.clone()).collect(),
                next_before: oldest.filter(|&position| position > 1),
            }
        })
        .await
    }

    /// Replies with as much of a page as fits in one frame of the gateway, but at least one entry.
    async fn reply_fitting(
        &self,
        entries: usize,
        page: impl Fn(usize) -> Body,
    ) -> Result<Option<ErrorBody>, Failure> {
        let (user_id, request_id) = (&self.asked.identity.user_id, &self.asked.frame.request_id);
        let mut kept = entries;
        let text = loop {
            let frame = ServerFrame::answer(user_id, request_id, page(kept));
            let text = frame::encode(&frame, self.asked.destination.format);
            if text.len() <= FRAME_BYTES_MAX || kept <= 1 {
                break text;
            }
            kept -= kept.div_ceil(4);
        };
        self.asked.post_text(text).await?;
        Ok(None)
    }

    /// Lists, renames or deletes conversations. Cost: see [`sparkle_aws::table::conversations`].
    pub(crate) async fn sessions(
        &self,
        request: &SessionsRequest,
    ) -> Result<Option<ErrorBody>, Failure> {
        let (user_id, conversations) = (&self.asked.identity.user_id, &self.app.conversations);
        let entries = match request {
            SessionsRequest::List { before, limit } => {
                let entries = conversations.list(user_id, *before, *limit).await?;
                let is_full = u32::try_from(entries.len()).is_ok_and(|count| count == *limit);
                let oldest = entries.last().map(|entry| entry.updated_at);
                let next_before = oldest.filter(|_| is_full);
                return self
                    .reply(Body::Sessions {
                        entries,
                        next_before,
                    })
                    .await;
            }
            SessionsRequest::Rename { session_id, title } => {
                let renamed = conversations.rename(user_id, session_id, title).await?;
                renamed.map(|entry| vec![entry])
            }
            SessionsRequest::Delete { session_id } => {
                let is_stopped = self.stop_all(session_id).await?;
                // First, so that it does not outlive a conversation whose deletion is cut short; last, since
                // one may have been ordered meanwhile.
                let summaries = &self.app.summaries;
                summaries.forget(user_id, session_id).await?;
                let deleted = conversations.delete(user_id, session_id).await?;
                summaries.forget(user_id, session_id).await?;
                match deleted {
                    Some(Deleted::Whole) => Some(Vec::new()),
                    Some(Deleted::Part) => {
                        return Ok(Some(notice::error(
                            ErrorCode::Unavailable,
                            self.asked.language(),
                        )));
                    }
                    // Its first answer was still being written.
                    None if is_stopped => Some(Vec::new()),
                    None => None,
                }
            }
        };
        match entries {
            Some(entries) => {
                self.reply(Body::Sessions {
                    entries,
                    next_before: None,
                })
                .await
            }
            None => Ok(Some(notice::error(
                ErrorCode::NotFound,
                self.asked.language(),
            ))),
        }
    }

    /// Has all unanswered questions of a conversation stopped, and leave nothing: it is not to come back
    /// with them. Whether there were any. Cost: one read, and a write for each.
    async fn stop_all(&self, session_id: &SessionId) -> Result<bool, Failure> {
        let (user_id, leases) = (&self.asked.identity.user_id, &self.app.leases);
        let standing = leases.find(user_id, session_id).await?;
        let mut is_stopped = false;
        for request in standing.iter().flat_map(|standing| &standing.waiting) {
            let stopped = leases.forget(user_id, session_id, request).await?;
            is_stopped |= stopped.is_some();
        }
        Ok(is_stopped)
    }

    /// Takes a fresh token of the same learner. Cost: one write.
    pub(crate) async fn renew(&self, token: &str) -> Result<Option<ErrorBody>, Failure> {
        let refused = |code| {
            Ok(Some(notice::error_in(
                code,
                "payload.token",
                self.asked.language(),
            )))
        };
        let identity = match self.app.tokens.verify(token, self.asked.now).await {
            Ok(identity) => identity,
            Err(TokenError::Invalid(_)) => return refused(ErrorCode::InvalidArgument),
            Err(error @ TokenError::KeysUnavailable(_)) => return Err(Failure::retry(error)),
        };
        if identity.user_id != self.asked.identity.user_id {
            return refused(ErrorCode::Forbidden);
        }
        self.asked.renew(&identity).await?;
        self.reply(Body::Ack(Ack::default())).await
    }
}
