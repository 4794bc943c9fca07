//! Makes one spelling of a text's many: compatibility forms, full-width letters, spaces, control characters.
//!
//! Hides `SentencePiece`'s compiled map of characters (its `Darts` double array and the replacements behind it;
//! <https://github.com/google/sentencepiece/blob/v0.2.0/src/normalizer.cc>), read as Hugging Face's `tokenizers` reads
//! it: whole graphemes first, the shortest entry that begins one decides.

use unicode_segmentation::UnicodeSegmentation;

/// Graphemes of so many bytes and more are looked up character by character, as `tokenizers` does.
const GRAPHEME_BYTES_MAX: usize = 6;

/// The map.
#[derive(Debug)]
pub(crate) struct Charmap {
    units: Vec<u32>,
    replacements: String,
}

impl Charmap {
    /// Reads the compiled map; `None` if it is none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (units, replacements) = rest.split_at_checked(length)?;
        let (units, cut) = units.as_chunks::<4>();
        cut.is_empty().then_some(Self {
            units: units.iter().map(|&unit| u32::from_le_bytes(unit)).collect(),
            replacements: String::from_utf8(replacements.to_vec()).ok()?,
        })
    }

    /// The text with everything replaced.
    pub(crate) fn apply(&self, text: &str) -> String {
        let mut mapped = String::with_capacity(text.len());
        for grapheme in text.graphemes(true) {
            let short = grapheme.len() < GRAPHEME_BYTES_MAX;
            if let Some(replacement) = short.then(|| self.replacement(grapheme)).flatten() {
                mapped.push_str(replacement);
                continue;
            }
            for character in grapheme.chars() {
                match self.replacement(character.encode_utf8(&mut [0; 4])) {
                    Some(replacement) => mapped.push_str(replacement),
                    None => mapped.push(character),
                }
            }
        }
        mapped
    }

    /// What the shortest entry that `text` begins with is replaced by.
    fn replacement(&self, text: &str) -> Option<&str> {
        let unit = |at: u32| self.units.get(usize::try_from(at).ok()?).copied();
        let offset = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let mut at = offset(unit(0)?);
        for byte in text.bytes().take_while(|&byte| byte != 0) {
            at ^= u32::from(byte);
            let here = unit(at)?;
            if here & (1 << 31 | 0xff) != u32::from(byte) {
                return None;
            }
            at ^= offset(here);
            if here >> 8 & 1 == 1 {
                let start = usize::try_from(unit(at)? & !(1 << 31)).ok()?;
                return self.replacements.get(start..)?.split('\0').next();
            }
        }
        None
    }
}
