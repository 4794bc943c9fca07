//! Raw deflate (RFC 1951) of payloads, which nobody can use to fill our memory.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a short stream takes more than its bytes at most.
const STORED_BYTES_MORE: usize = 32;

/// What is wrong with deflated bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// They are not one whole deflate stream.
    NotDeflate,
    /// They inflate to more than they may.
    TooLarge,
}

/// Inflates a whole stream to at most `bytes_max`. It never allocates more than that and the window
/// of the algorithm (32 KiB), whatever the stream says.
pub(super) fn inflate(deflated: &[u8], bytes_max: usize) -> Result<Vec<u8>, Broken> {
    // One byte of room more than may be used shows the difference between full and too large.
    let room_max = bytes_max + 1;
    let mut inflater = Decompress::new(false);
    let mut plain = Vec::with_capacity(deflated.len().saturating_mul(4).max(64).min(room_max));
    loop {
        let read = usize::try_from(inflater.total_in()).unwrap_or(usize::MAX);
        let rest = deflated.get(read..).unwrap_or_default();
        let status = inflater
            .decompress_vec(rest, &mut plain, FlushDecompress::Finish)
            .map_err(|_malformed| Broken::NotDeflate)?;
        if plain.len() > bytes_max {
            return Err(Broken::TooLarge);
        }
        if status == Status::StreamEnd {
            let is_whole = inflater.total_in() == u64::try_from(deflated.len()).unwrap_or(u64::MAX);
            return is_whole.then_some(plain).ok_or(Broken::NotDeflate);
        }
        if plain.len() < plain.capacity() {
            return Err(Broken::NotDeflate); // there is room, so what is missing is input
        }
        plain.reserve_exact(plain.len().min(room_max - plain.len()));
    }
}

/// Deflates bytes.
pub(super) fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut deflater = Compress::new(Compression::default(), false);
    let mut deflated = Vec::with_capacity(plain.len() + STORED_BYTES_MORE);
    loop {
        let read = usize::try_from(deflater.total_in()).unwrap_or(usize::MAX);
        let rest = plain.get(read..).unwrap_or_default();
        match deflater.compress_vec(rest, &mut deflated, FlushCompress::Finish) {
            Ok(Status::StreamEnd) | Err(_) => return deflated, // it has no way to fail
            Ok(_) => deflated.reserve(plain.len() / 2 + STORED_BYTES_MORE),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bomb_is_refused_without_being_inflated() {
        let bomb = deflate(&vec![0; 64 << 20]);
        assert!(bomb.len() < 128 * 1024, "{} bytes", bomb.len());
        assert_eq!(inflate(&bomb, 128 * 1024), Err(Broken::TooLarge));
    }

    #[test]
    fn the_limit_itself_is_allowed_and_one_more_is_not() {
        for (len, is_allowed) in [(999, true), (1_000, true), (1_001, false)] {
            let deflated = deflate(&vec![7; len]);
            let inflated = inflate(&deflated, 1_000);
            assert_eq!(inflated.is_ok(), is_allowed, "{len}");
            assert!(inflated.map_or(0, |plain| plain.capacity()) <= 1_001);
        }
    }

    #[test]
    fn only_one_whole_stream_is_a_stream() {
        let whole = deflate(&[b'a'; 100]);
        for cut in 0..whole.len() {
            assert_eq!(inflate(&whole[..cut], 1_000), Err(Broken::NotDeflate));
        }
        let trailed = [&*whole, b"x"].concat();
        assert_eq!(inflate(&trailed, 1_000), Err(Broken::NotDeflate));
        // A zlib header, which raw deflate has none of.
        let zlib = [&[0x78, 0x9c], &*whole].concat();
        assert_eq!(inflate(&zlib, 1_000), Err(Broken::NotDeflate));
    }

    proptest! {
        #[test]
        fn what_was_deflated_inflates_to_itself(text in "(ab|导数|[a-z]{1,9}){0,400}") {
            let deflated = deflate(text.as_bytes());
            prop_assert_eq!(inflate(&deflated, text.len()).unwrap(), text.as_bytes());
        }

        #[test]
        fn no_bytes_inflate_past_the_limit(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(plain) = inflate(&bytes, 500) {
                prop_assert!(plain.len() <= 500 && plain.capacity() <= 501);
            }
        }
    }
}
