//! Compiles `proto/` with protox, so that no system `protoc` is needed.

use std::{error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", proto.display());
    let files = protox::compile(["sparkle/ws.proto", "sparkle/job.proto"], [&proto])?;
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
