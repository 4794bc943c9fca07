//! Triggered by every JSON frame of the type `lookup`, and by programs that ask for a learner. Writes nothing
//! but the learner's rate and what is known of the connection, and takes out candidates that lead nowhere. Idempotency: it only reads.

use cache_lookup::App;
use sparkle_aws::{
    boot, door::Door, learners::Learners, lookup::Lookups, table::policies::Policies,
};
use sparkle_cache::Semantic;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let aws = boot::aws()?;
    let app = App {
        door: Door::open(&aws)?,
        policies: Policies::open(&aws)?,
        lookups: Lookups::open(&aws)?,
        learners: Learners::open(&aws)?,
        semantic: Semantic::open(&aws).await?,
    };
    boot::serve(async |event, at| cache_lookup::handle(&app, event, at.now).await).await
}
