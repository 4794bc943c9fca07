//! Hides how far each stream has been delivered, also across restarts of the stack: as on AWS a
//! mapping goes on where it was.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How far the streams have been delivered. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints {
    file: Option<Arc<PathBuf>>,
    /// The last sequence number by function, stream and shard, in one line.
    delivered: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Checkpoints {
    /// Reads what an earlier stack has left, or begins anew. `Default` keeps nothing.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn open(file: PathBuf) -> io::Result<Checkpoints> {
        let delivered = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Checkpoints {
            file: Some(Arc::new(file)),
            delivered: Arc::new(Mutex::new(delivered)),
        })
    }

    /// The last record of a shard that was delivered.
    pub(super) fn last(&self, mapping: &str, shard_id: &str) -> Option<String> {
        self.delivered().get(&key(mapping, shard_id)).cloned()
    }

    /// Everything up to this record has been dealt with. A file that cannot be written costs
    /// deliveries that come again after a restart, which is legal.
    pub(super) fn advance(&self, mapping: &str, shard_id: &str, sequence_number: &str) {
        let mut delivered = self.delivered();
        delivered.insert(key(mapping, shard_id), sequence_number.to_owned());
        self.write(&delivered);
    }

    /// Forgets shards of a mapping that are gone.
    pub(super) fn retain<'s>(&self, mapping: &str, shards: impl Iterator<Item = &'s str>) {
        let kept: Vec<_> = shards.map(|shard_id| key(mapping, shard_id)).collect();
        let prefix = key(mapping, "");
        self.delivered()
            .retain(|key, _| !key.starts_with(&prefix) || kept.contains(key));
    }

    fn write(&self, delivered: &BTreeMap<String, String>) {
        let Some(file) = &self.file else {
            return;
        };
        let text = serde_json::to_vec(delivered).unwrap_or_default();
        let next = file.with_extension("next");
        // Whole or not at all, also when the stack is killed.
        if let Err(error) = fs::write(&next, text).and_then(|()| fs::rename(&next, &**file)) {
            tracing::warn!(%error, "how far streams are delivered is not kept");
        }
    }

    fn delivered(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.delivered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(mapping: &str, shard_id: &str) -> String {
    format!("{mapping} {shard_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_goes_on_where_the_last_one_was() {
        let folder = std::env::temp_dir().join(format!("checkpoints-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("streams.json");
        let first = Checkpoints::open(file.clone()).unwrap();
        assert_eq!(first.last("f arn", "s1"), None);
        first.advance("f arn", "s1", "7");
        first.advance("f arn", "s1", "8");
        first.advance("g arn", "s1", "9");
        let second = Checkpoints::open(file.clone()).unwrap();
        assert_eq!(second.last("f arn", "s1").as_deref(), Some("8"));
        second.retain("f arn", ["s2"].into_iter());
        assert_eq!(second.last("f arn", "s1"), None);
        assert_eq!(second.last("g arn", "s1").as_deref(), Some("9"));
        fs::write(&file, "{").unwrap();
        assert!(Checkpoints::open(file).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
