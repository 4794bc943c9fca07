//! How a client wrote the names of its headers: hyper hands them over in lower case, API Gateway as they
//! were sent.

use std::sync::{Arc, Mutex, PoisonError};

/// The names of a request's headers as they were sent. Only the first request of a connection has them in
/// its extensions, which is where clients upgrade.
#[derive(Debug, Clone)]
pub struct SentNames(Vec<String>);

impl SentNames {
    /// The name as it was sent, whatever its letters.
    pub fn find(&self, name: &str) -> Option<&str> {
        let mut names = self.0.iter().map(String::as_str);
        names.find(|sent| sent.eq_ignore_ascii_case(name))
    }
}

/// What a connection has read so far, until its first head has been asked for.
#[derive(Debug, Clone)]
pub(super) struct Head(Arc<Mutex<Option<Vec<u8>>>>);

impl Head {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(Vec::new()))))
    }

    /// Keeps what was read, up to `bytes_max` in all.
    pub(super) fn keep(&self, read: &[u8], bytes_max: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_mut() {
            let room = bytes_max.saturating_sub(kept.len());
            kept.extend(read.iter().take(room));
        }
    }

    /// The names in it, once; from here on nothing is kept.
    pub(super) fn names(&self) -> Option<SentNames> {
        let head = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        let head = String::from_utf8_lossy(&head);
        let lines = head
            .split("\r\n")
            .skip(1)
            .take_while(|line| !line.is_empty());
        let names = lines.filter_map(|line| line.split_once(':').map(|(name, _)| name.to_owned()));
        Some(SentNames(names.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_letters_and_what_follows_the_head_is_left() {
        let head = Head::new();
        for part in [
            "GET / HTTP/1.1\r\nHeaderAuth1: a:b\r\nx-lo",
            "wer: 1\r\n\r\nbody: no\r\n",
        ] {
            head.keep(part.as_bytes(), 1024);
        }
        let names = head.names().unwrap();
        assert_eq!(names.find("headerauth1"), Some("HeaderAuth1"));
        assert_eq!(names.find("X-Lower"), Some("x-lower"));
        assert_eq!(names.find("body"), None);
        head.keep(b"GET / HTTP/1.1\r\nX: 1\r\n\r\n", 1024);
        assert!(head.names().is_none(), "only of the first request");
    }
}
