//! Triggered by `$connect`. Writes the connection; writing it twice changes nothing.

use sparkle_aws::{boot, table::connections::Connections};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let connections = Connections::open(&boot::aws()?)?;
    boot::serve(async |event, at| ws_connect::handle(&connections, event, at.now).await).await
}
