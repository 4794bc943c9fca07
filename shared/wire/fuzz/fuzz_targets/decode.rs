//! Whatever a client sends, the decoder answers and does not panic.
//!
//!     cd shared/wire && RUSTC_BOOTSTRAP=1 cargo fuzz run decode -- -max_total_time=60
#![no_main]

use libfuzzer_sys::fuzz_target;
use sparkle_wire::frame;

fuzz_target!(|text: &str| {
    let _either = frame::decode(text);
});
