//! Triggered by a schedule, every minute. Writes holds that it gives back, calls that it settles, and the stop
//! of all spending. Idempotency: see the library.

use sparkle_aws::{
    boot,
    meter::Meter,
    table::{ledger::Ledger, policies::Policies},
};
use sweeper::App;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let aws = boot::aws()?;
    let app = App {
        meter: Meter::open(&aws)?,
        policies: Policies::open(&aws)?,
        ledger: Ledger::open(&aws)?,
    };
    boot::serve(async |event, at| sweeper::handle(&app, event, at.now).await).await
}
