//! Compiles `proto/` with protox, so that no system `protoc` is needed.

use std::error::Error;

/// From the package's folder, where cargo starts this: a built copy of it may be started from another
/// checkout's target folder, and must read that checkout.
const PROTO: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}/sparkle");
    let files = protox::compile(["sparkle/ws.proto", "sparkle/job.proto"], [PROTO])?;
    prost_build::Config::new()
        // JSON frames are the same messages: snake_case names, default values left out.
        .type_attribute(".sparkle.ws", "#[derive(serde::Serialize, serde::Deserialize)] #[serde(default)]")
        .field_attribute(
            ".sparkle.ws",
            "#[serde(skip_serializing_if = \"crate::generated::is_default\", deserialize_with = \"crate::generated::null_is_default\")]",
        )
        .compile_fds(files)?;
    Ok(())
}
