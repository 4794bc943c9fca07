//! The front door: every frame that a client sends.
//!
//! It only admits and answers what needs no model. A `chat` is decoded, checked, made durable, queued
//! and acknowledged; the turn itself runs in `turn-worker`, which may outlive this function's 29 s
//! (docs/adr/0001). Who speaks, and what is refused whatever it asks, is the door's
//! (`sparkle_aws::door`).

mod admit;
mod answer;
mod feedback;
mod follow;
mod kept;
mod profile;

use sparkle_aws::{
    door::{Asked, Door},
    event::{RouteAnswer, SocketEvent},
    failure::Failure,
    learners::Learners,
    lookup::Lookups,
    meter::Meter,
    queue::TurnQueue,
    table::{
        accounts::Accounts, answers::Answers, conversations::Conversations, leases::Leases,
        ledger::Ledger, policies::Policies, profiles::Profiles, rates::Arrivals,
        summaries::Summaries, turns::Turns,
    },
    token::Tokens,
};
use sparkle_core::{
    cache::sought::{Settings, Sought},
    frame::{ErrorBody, Request},
    unit::Timestamp,
};

/// What a warm instance keeps.
#[derive(Debug)]
#[expect(missing_docs, reason = "each type says what it is")]
pub struct App {
    pub door: Door,
    pub turns: Turns,
    pub leases: Leases,
    pub conversations: Conversations,
    pub summaries: Summaries,
    pub queue: TurnQueue,
    pub accounts: Accounts,
    pub policies: Policies,
    pub ledger: Ledger,
    pub tokens: Tokens,
    pub meter: Meter,
    pub answers: Answers,
    pub settings: Settings,
    pub profiles: Profiles,
    pub learners: Learners,
    pub arrivals: Arrivals,
    pub lookups: Lookups,
}

/// A frame that is to be answered, and all that answering it takes.
struct Answering<'a> {
    app: &'a App,
    asked: &'a Asked<'a>,
}

/// Answers one frame.
///
/// # Errors
/// [`Failure`] only if nothing could be said to the client; API Gateway then tells it so itself.
/// Cost: two calls at once to know who speaks, one post, and what the request takes.
pub async fn handle(app: &App, event: SocketEvent, now: Timestamp) -> Result<RouteAnswer, Failure> {
    let answer = async |asked: &Asked<'_>| Answering { app, asked }.answer().await;
    app.door.answer(&event, now, answer).await
}

impl Answering<'_> {
    /// Answers the request; what it is refused for comes back as an error to tell.
    async fn answer(&self) -> Result<Option<ErrorBody>, Failure> {
        match &self.asked.frame.request {
            Request::Chat(chat) => self.admit(chat).await,
            Request::Cancel { request_id } => self.cancel(request_id).await,
            Request::Resume {
                request_id,
                after_seq,
            } => self.resume(request_id, *after_seq).await,
            Request::Ping => self.pong().await,
            Request::History {
                session_id,
                before,
                limit,
            } => self.history(session_id, *before, *limit).await,
            Request::Sessions(request) => self.sessions(request).await,
            Request::Models => self.models().await,
            Request::Auth { token } => self.renew(token).await,
            Request::Quota => self.quota().await,
            Request::Profile => self.profile().await,
            Request::ChangeProfile(change) => self.change_profile(change).await,
            Request::Usage { days, months } => self.usage(*days, *months).await,
            Request::Lookup(lookup) => {
                let app = self.app;
                let of = (&app.policies, &app.learners);
                // The model that finds the same in other words is cache-lookup's.
                let by_meaning = async |_: &Sought| None;
                app.lookups.answer(of, self.asked, lookup, by_meaning).await
            }
            Request::Feedback(feedback) => self.take_feedback(feedback).await,
        }
    }
}
