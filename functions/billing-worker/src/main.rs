//! Triggered by the queue of bills. Writes the ledger and its sums, and takes settled calls out of the
//! intents, in one transaction. Idempotency key: source and call id.

use billing_worker::App;
use sparkle_aws::{
    boot,
    push::Push,
    queue::DeadLetters,
    table::{
        accounts::Accounts, answers::Answers, intents::Intents, ledger::Ledger, policies::Policies,
        profiles::Profiles,
    },
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let aws = boot::aws()?;
    let app = App {
        accounts: Accounts::open(&aws)?,
        answers: Answers::open(&aws)?,
        policies: Policies::open(&aws)?,
        intents: Intents::open(&aws)?,
        ledger: Ledger::open(&aws)?,
        profiles: Profiles::open(&aws)?,
        push: Push::open(&aws)?,
        dead_letters: DeadLetters::open(&aws)?,
    };
    boot::serve(async |event, at| billing_worker::handle(&app, event, at.now).await).await
}
