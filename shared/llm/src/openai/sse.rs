//! Bytes into the data of server-sent events, however the network cut them.
//!
//! By the rules of <https://html.spec.whatwg.org/multipage/server-sent-events.html>, with two
//! differences: an event has a size limit, and one that ends with the stream instead of an empty
//! line counts. Names, ids and retry times are of no use here and are dropped.

use crate::error::LlmError;

/// Limit of one event, and of one line: a thousand times what a provider sends.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The line that is not over yet.
    line: Vec<u8>,
    /// The data lines of the event that is not over yet, each with its line feed.
    data: Vec<u8>,
    /// The last line ended with CR: an LF right behind it is the same line break.
    after_cr: bool,
    /// The first line, which alone may have a byte order mark, is behind us.
    begun: bool,
}

impl Decoder {
    /// Takes the next bytes and hands the data of every event that they complete to `on_event`.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        mut on_event: impl FnMut(&str) -> Result<(), LlmError>,
    ) -> Result<(), LlmError> {
        if let (true, Some(&first)) = (self.after_cr, bytes.first()) {
            self.after_cr = false;
            if first == b'\n' {
                bytes = bytes.get(1..).unwrap_or_default();
            }
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (head, rest) = bytes.split_at(end);
            self.grow_line(head)?;
            self.end_line(&mut on_event)?;
            let is_cr = rest.first() == Some(&b'\r');
            let width = if is_cr && rest.get(1) == Some(&b'\n') {
                2
            } else {
                1
            };
            bytes = rest.get(width..).unwrap_or_default();
            self.after_cr = is_cr && width == 1 && bytes.is_empty();
        }
        self.grow_line(bytes)
    }

    /// The stream has ended: hands over the event that no empty line has completed, if any.
    pub(super) fn finish(
        &mut self,
        mut on_event: impl FnMut(&str) -> Result<(), LlmError>,
    ) -> Result<(), LlmError> {
        self.end_line(&mut on_event)?;
        self.end_event(&mut on_event)
    }

    fn grow_line(&mut self, bytes: &[u8]) -> Result<(), LlmError> {
        if self.line.len() + self.data.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(LlmError::Garbage {
                what: "an event without end",
            });
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(
        &mut self,
        on_event: &mut impl FnMut(&str) -> Result<(), LlmError>,
    ) -> Result<(), LlmError> {
        let mut line = self.line.as_slice();
        if !self.begun {
            self.begun = true;
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            self.line.clear();
            return self.end_event(on_event);
        }
        // A line without a colon is a field with an empty value; one that begins with it, a comment.
        let data = if line == b"data" {
            Some(&[][..])
        } else {
            line.strip_prefix(b"data:")
        };
        if let Some(data) = data {
            self.data
                .extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            self.data.push(b'\n');
        }
        self.line.clear();
        Ok(())
    }

    fn end_event(
        &mut self,
        on_event: &mut impl FnMut(&str) -> Result<(), LlmError>,
    ) -> Result<(), LlmError> {
        if self.data.pop().is_none() {
            return Ok(());
        }
        let event = std::str::from_utf8(&self.data)
            .map_err(|_torn| LlmError::Garbage {
                what: "text that is not UTF-8",
            })
            .and_then(on_event);
        self.data.clear();
        event
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{FutureExt, StreamExt, stream};
    use proptest::prelude::*;

    use super::*;

    fn events(chunks: &[&[u8]]) -> Result<Vec<String>, LlmError> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.push(chunk, |event| {
                events.push(event.to_owned());
                Ok(())
            })?;
        }
        Ok(events)
    }

    #[test]
    fn every_line_break_comment_and_field_of_the_standard() {
        let body = b"\xEF\xBB\xBFdata: a\r\ndata:b\r\rid: 7\n: comment\nevent: x\ndata:  c\n\n\
                     data\n\nretry: 1\n\ndatax: no\n\n";
        assert_eq!(events(&[body]).expect("events"), ["a\nb", " c", ""]);
    }

    #[test]
    fn a_line_break_of_two_bytes_may_be_cut_in_two() {
        let chunks = [
            &b"data: a\r"[..],
            b"",
            b"\ndata: b\r",
            b"\n",
            b"\r",
            b"\ndata: c\r",
            b"\r",
        ];
        assert_eq!(events(&chunks).expect("events"), ["a\nb", "c"]);
    }

    #[test]
    fn an_event_that_ends_with_the_stream_counts() {
        let mut decoder = Decoder::default();
        let mut last = None;
        decoder
            .push(b"data: [DONE]", |_| Ok(()))
            .expect("no event yet");
        decoder
            .finish(|event| {
                last = Some(event.to_owned());
                Ok(())
            })
            .expect("an event");
        assert_eq!(last.as_deref(), Some("[DONE]"));
    }

    #[test]
    fn an_endless_line_or_event_is_refused() {
        for endless in [&b"data: aaaaaaaaaaaa"[..], b"data: a\n", b":aaaaaaaaaaaaa"] {
            let mut decoder = Decoder::default();
            let pushed = (0..EVENT_BYTES_MAX).find(|_| decoder.push(endless, |_| Ok(())).is_err());
            assert!(pushed.is_some(), "{endless:?}");
            assert!(decoder.line.capacity() + decoder.data.capacity() < 4 * EVENT_BYTES_MAX);
        }
    }

    /// What `sse-stream`, an independent decoder, makes of the same chunks.
    fn oracle(chunks: &[&[u8]]) -> Option<Vec<String>> {
        let chunks: Vec<Result<Bytes, std::io::Error>> = chunks
            .iter()
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        let events = sse_stream::SseByteStream::new(stream::iter(chunks)).collect::<Vec<_>>();
        // Its input is all there, so that it never has to wait.
        let events = events.now_or_never()?;
        let events: Result<Vec<_>, _> = events.into_iter().collect();
        Some(
            events
                .ok()?
                .into_iter()
                .filter_map(|event| event.data)
                .collect(),
        )
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        const TEXTS: [&str; 11] = [
            "data: ",
            "data:",
            "data",
            ": ",
            "\r",
            "\n",
            "\r\n",
            "\n\n",
            "导数 🙂",
            "\u{FEFF}",
            "x",
        ];
        prop::collection::vec(prop::sample::select(&TEXTS[..]), 0..24)
            .prop_map(|texts| texts.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn agrees_with_an_independent_decoder(
            body in line(), cut in any::<prop::sample::Index>(), cut2 in any::<prop::sample::Index>(),
        ) {
            let (head, tail) = body.split_at(cut.index(body.len() + 1));
            let (middle, tail) = tail.split_at(cut2.index(tail.len() + 1));
            let chunks = [head, middle, tail];
            prop_assert_eq!(events(&chunks).ok(), oracle(&chunks));
        }
    }
}
