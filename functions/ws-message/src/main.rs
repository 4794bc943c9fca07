//! Triggered by every frame of a client. Writes the turn, its place in the queue, and what the frame
//! asks to be changed. Idempotency key: user and `request_id`.

use sparkle_aws::{
    boot, config,
    door::Door,
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
use ws_message::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let aws = boot::aws()?;
    let app = App {
        door: Door::open(&aws)?,
        turns: Turns::open(&aws)?,
        leases: Leases::open(&aws)?,
        conversations: Conversations::open(&aws)?,
        summaries: Summaries::open(&aws)?,
        queue: TurnQueue::open(&aws)?,
        accounts: Accounts::open(&aws)?,
        policies: Policies::open(&aws)?,
        ledger: Ledger::open(&aws)?,
        tokens: Tokens::open(&aws).await?,
        meter: Meter::open(&aws)?,
        answers: Answers::open(&aws)?,
        settings: config::cache()?,
        profiles: Profiles::open(&aws)?,
        learners: Learners::open(&aws)?,
        arrivals: Arrivals::open(&aws)?,
        lookups: Lookups::open(&aws)?,
    };
    boot::serve(async |event, at| ws_message::handle(&app, event, at.now).await).await
}
