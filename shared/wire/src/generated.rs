//! What `build.rs` makes of `proto/`.
#![expect(
    clippy::pedantic,
    unreachable_pub,
    reason = "generated; the sources in proto/ carry the documentation"
)]

pub(crate) mod ws {
    include!(concat!(env!("OUT_DIR"), "/sparkle.ws.rs"));
}

pub(crate) mod job {
    include!(concat!(env!("OUT_DIR"), "/sparkle.job.rs"));
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `null` stands for a default value, as in Protobuf's own JSON.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    use serde::Deserialize;
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
