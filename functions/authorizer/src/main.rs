//! Triggered by API Gateway before `$connect`. Checks the client's token; writes nothing.

use sparkle_aws::{boot, token::Tokens};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let tokens = Tokens::open(&boot::aws()?).await?;
    boot::serve(async |event, at| authorizer::handle(&tokens, event, at.now).await).await
}
