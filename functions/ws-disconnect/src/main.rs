//! Triggered by `$disconnect`. Deletes the connection; deleting it twice changes nothing.

use sparkle_aws::{boot, table::connections::Connections};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), boot::BootError> {
    boot::logs();
    let connections = Connections::open(&boot::aws()?)?;
    boot::serve(async |event, _at| ws_disconnect::handle(&connections, event).await).await
}
