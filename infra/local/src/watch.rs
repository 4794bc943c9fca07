//! Rebuilding the functions when their sources change, and running what was built.
//!
//! What a binary is made of is what cargo wrote beside it (its `.d` file), with the manifests: so
//! exactly what cargo would rebuild is watched, wherever it is. A build that fails changes nothing.
//! The template is watched only to say that it takes a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{sync::Notify, task::spawn_blocking, time::timeout};
use tracing::{error, info, warn};

use crate::{binaries, lambda::Lambda};

/// A burst of changes, as of an editor or a checkout, is over after so much silence.
const QUIET: Duration = Duration::from_millis(100);

/// Sources cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system watches no (more) files.
    #[error("{path} cannot be watched; on Linux, fs.inotify limits how much may be")]
    System {
        /// A folder.
        path: String,
        /// What the system said.
        source: notify::Error,
    },
    /// Cargo did not say what a binary is made of, or the template is gone.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Sources under watch.
#[derive(Debug)]
pub struct Watch {
    template: PathBuf,
    binaries: BTreeMap<String, PathBuf>,
    /// The binaries that the functions run from, by function.
    running: BTreeMap<String, Stamp>,
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    seen: Arc<Seen>,
}

/// What the watcher's thread reports.
#[derive(Debug, Default)]
struct Seen {
    sources: Mutex<Sources>,
    change: Notify,
}

/// Files that matter, and those of them that have changed.
#[derive(Debug, Default)]
struct Sources {
    files: BTreeSet<PathBuf>,
    /// Folders of which every file matters.
    trees: BTreeSet<PathBuf>,
    changed: BTreeSet<PathBuf>,
}

/// What tells one build of a binary from another.
type Stamp = Option<(SystemTime, u64)>;

impl Watch {
    /// Watches what `binaries` (function to binary) are made of, and the template, in whose folder
    /// they are built.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn start(
        template: &Path,
        binaries: BTreeMap<String, PathBuf>,
    ) -> Result<Watch, WatchError> {
        let template = canonical(template)?;
        let seen = Arc::new(Seen::default());
        let reported = Arc::clone(&seen);
        let watcher = notify::recommended_watcher(move |event| reported.take(event));
        let watcher = watcher.map_err(|source| WatchError::System {
            path: template.display().to_string(),
            source,
        })?;
        let mut watch = Watch {
            running: stamps(&binaries),
            template,
            binaries,
            watcher,
            folders: BTreeSet::new(),
            seen,
        };
        watch.look()?;
        info!(
            folders = watch.folders.len(),
            "watching the functions' sources"
        );
        Ok(watch)
    }

    /// Rebuilds and replaces until it is dropped.
    #[expect(clippy::infinite_loop, reason = "it ends when it is dropped")]
    pub async fn run(mut self, lambda: Lambda) {
        loop {
            self.seen.change.notified().await;
            while timeout(QUIET, self.seen.change.notified()).await.is_ok() {}
            let mut changed = mem::take(&mut self.seen.sources().changed);
            if changed.remove(&self.template) {
                warn!("the template has changed: restart the stack to serve what it says now");
            }
            if changed.is_empty() {
                continue;
            }
            let changed: Vec<String> = changed.iter().map(|path| self.shown(path)).collect();
            info!(changed = changed.join(" "), "rebuilding the functions");
            if self.build().await {
                self.replace(&lambda).await;
                if let Err(error) = self.look() {
                    error!(%error, "not all sources are watched any more");
                }
            }
        }
    }

    /// Builds what the functions run from; says whether that went well.
    async fn build(&self) -> bool {
        let workspace = self.workspace().to_owned();
        let names: Vec<String> = self.binaries.keys().cloned().collect();
        let built = spawn_blocking(move || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            binaries::build(&workspace, &names)
        });
        match built.await {
            Ok(Ok(_same_places)) => true,
            Ok(Err(error)) => {
                error!(%error, "what ran before runs on");
                false
            }
            Err(error) => {
                error!(%error, "the build was stopped");
                false
            }
        }
    }

    /// Runs the binaries that are others than those that run.
    async fn replace(&mut self, lambda: &Lambda) {
        let built = stamps(&self.binaries);
        let before = mem::replace(&mut self.running, built.clone());
        let is_new = |function: &&String| before.get(*function) != built.get(*function);
        let replaced: Vec<&String> = built.keys().filter(is_new).collect();
        for function in &replaced {
            if let Err(error) = lambda.replace(function).await {
                error!(%error, "a function is not replaced");
            }
        }
        info!(functions = ?replaced, "rebuilt and replaced");
    }

    /// Watches what the binaries are made of now.
    fn look(&mut self) -> Result<(), WatchError> {
        let mut listed = BTreeSet::new();
        for binary in self.binaries.values() {
            let file = binary.with_extension("d");
            let list = fs::read_to_string(&file).map_err(|source| unreadable(&file, source))?;
            let built_into = binary.parent().unwrap_or(Path::new("/")).to_owned();
            let built_into = canonical(&built_into)?;
            // What is not there any more is what the next build complains about.
            let there = paths(&list).filter_map(|path| path.canonicalize().ok());
            listed.extend(there.filter(|path| !path.starts_with(&built_into)));
        }
        let (trees, files): (BTreeSet<_>, BTreeSet<_>) =
            listed.into_iter().partition(|path| path.is_dir());
        let manifests = self.manifests(&files);
        let files: BTreeSet<PathBuf> = files
            .into_iter()
            .chain(manifests)
            .chain([self.template.clone()])
            .collect();
        let folders = files.iter().filter_map(|file| file.parent());
        let folders = folders.map(|folder| (folder, RecursiveMode::NonRecursive));
        let whole = trees.iter().map(|tree| (&**tree, RecursiveMode::Recursive));
        for (folder, mode) in folders.chain(whole) {
            if self.folders.insert(folder.to_owned()) {
                self.watcher
                    .watch(folder, mode)
                    .map_err(|source| WatchError::System {
                        path: folder.display().to_string(),
                        source,
                    })?;
            }
        }
        let mut sources = self.seen.sources();
        sources.files = files;
        sources.trees = trees;
        Ok(())
    }

    /// The manifests above these files, and the lock file.
    fn manifests(&self, files: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        let workspace = self.workspace();
        let folders = files.iter().flat_map(|file| file.ancestors().skip(1));
        let folders: BTreeSet<&Path> = folders
            .filter(|folder| folder.starts_with(workspace))
            .collect();
        let manifests = folders.iter().map(|folder| folder.join("Cargo.toml"));
        let all = manifests.chain([workspace.join("Cargo.toml"), workspace.join("Cargo.lock")]);
        all.filter(|manifest| manifest.is_file()).collect()
    }

    fn workspace(&self) -> &Path {
        self.template.parent().unwrap_or(Path::new("/"))
    }

    fn shown(&self, path: &Path) -> String {
        let within = path.strip_prefix(self.workspace()).unwrap_or(path);
        within.display().to_string()
    }
}

impl Seen {
    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => return warn!(%error, "a change may have been missed"),
        };
        // Cargo reads what is watched: that is no change.
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        let mut sources = self.sources();
        for path in event.paths {
            let is_source = sources.files.contains(&path)
                || sources.trees.iter().any(|tree| path.starts_with(tree));
            if is_source {
                sources.changed.insert(path);
                self.change.notify_one();
            }
        }
    }
}

fn stamps(binaries: &BTreeMap<String, PathBuf>) -> BTreeMap<String, Stamp> {
    let stamp = |path: &PathBuf| {
        let known = fs::metadata(path).ok()?;
        Some((known.modified().ok()?, known.len()))
    };
    let stamped = binaries.iter();
    stamped
        .map(|(function, path)| (function.clone(), stamp(path)))
        .collect()
}

/// The files after the colon in a rule of make, as cargo writes it: a space in a name is `\ `.
fn paths(rule: &str) -> impl Iterator<Item = PathBuf> {
    let list = rule.split_once(": ").map_or("", |(_, list)| list);
    let list = list.replace("\\ ", "\0");
    let names: Vec<PathBuf> = list
        .split_whitespace()
        .map(|name| name.replace('\0', " ").into())
        .collect();
    names.into_iter()
}

fn canonical(path: &Path) -> Result<PathBuf, WatchError> {
    path.canonicalize()
        .map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> WatchError {
    WatchError::Unreadable {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_are_one_file() {
        let rule = "/t/debug/f: /w/src/main.rs /w/a\\ b/c.rs\n";
        let expected = ["/w/src/main.rs", "/w/a b/c.rs"].map(PathBuf::from);
        assert_eq!(paths(rule).collect::<Vec<_>>(), expected);
        assert_eq!(paths("").count(), 0);
    }
}
