//! Triggered by every JSON frame of the type `quota`, and by programs that ask for a learner. Writes nothing
//! but the learner's rate and what is known of the connection. Idempotency: it only reads.

use quota_check::App;
use sparkle_aws::{
    boot,
    door::Door,
    table::{accounts::Accounts, policies::Policies},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let aws = boot::aws()?;
    let app = App {
        door: Door::open(&aws)?,
        accounts: Accounts::open(&aws)?,
        policies: Policies::open(&aws)?,
    };
    boot::serve(async |event, at| quota_check::handle(&app, event, at.now).await).await
}
