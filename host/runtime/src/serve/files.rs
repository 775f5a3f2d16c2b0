//! Tells when files change. The system tells of folders, so that a file that is replaced, as
//! an editor, a compiler or an operator does it, is not lost from sight.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// How a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Another file took its name, whole.
    Replaced,
    /// Something was written; more may follow.
    Written,
}

/// Files by their places, under the names that were given.
type Known = Arc<Mutex<BTreeMap<PathBuf, String>>>;

/// Tells until it is dropped.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    known: Known,
}

impl Watch {
    /// Calls `tell` with the name of each file that changes, as it was given to [`Watch::add`].
    pub fn start(mut tell: impl FnMut(&str, How) + Send + 'static) -> notify::Result<Self> {
        let known = Known::default();
        let names = Arc::clone(&known);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let Ok(event) = event else { return };
            let known = names.lock().unwrap_or_else(PoisonError::into_inner);
            told(&event, &known, &mut tell);
        })?;
        Ok(Self { watcher, known })
    }

    /// One more file, whose folder has to be there.
    pub fn add(&mut self, file: &str) -> notify::Result<()> {
        let place = place(file)?;
        if let Some(folder) = place.parent() {
            self.watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(place, file.to_owned());
        Ok(())
    }
}

/// A file's place with the real name of its folder.
fn place(file: &str) -> notify::Result<PathBuf> {
    let path = Path::new(file);
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().map_err(notify::Error::io)?;
    Ok(folder.join(path.file_name().unwrap_or_default()))
}

fn told(event: &Event, known: &BTreeMap<PathBuf, String>, tell: &mut impl FnMut(&str, How)) {
    // The system has had more to tell than it keeps: whatever it is, it may be any file.
    if event.need_rescan() {
        return known.values().for_each(|name| tell(name, How::Replaced));
    }
    let Some(how) = how(event.kind) else { return };
    let changed = event.paths.iter().filter_map(|path| known.get(path));
    changed.for_each(|name| tell(name, how));
}

fn how(kind: EventKind) -> Option<How> {
    match kind {
        // The system tells of both names together once more.
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(How::Replaced),
        EventKind::Create(_)
        | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any)
        | EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(How::Written),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_that_is_replaced_is_told_of_by_the_name_that_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let name = |file: &str| folder.path().join(file).display().to_string();
        postern_files::write_atomic(name("a"), b"1").unwrap();
        let (sender, told) = channel();
        let mut watch = Watch::start(move |file, how| {
            drop(sender.send((file.to_owned(), how)));
        })
        .unwrap();
        watch.add(&name("a")).unwrap();
        postern_files::write_atomic(name("a"), b"2").unwrap();
        let got = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(got, (name("a"), How::Replaced));
        drop(watch);
        assert!(told.recv().is_err(), "nobody tells any more");
    }

    #[test]
    fn when_the_system_has_lost_count_every_file_may_have_changed() {
        let known = ["a", "b"].map(|name| (PathBuf::from("/x").join(name), name.to_owned()));
        let lost = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        let mut all = Vec::new();
        told(&lost, &known.into(), &mut |name: &str, how| all.push((name.to_owned(), how)));
        assert_eq!(all, ["a", "b"].map(|name| (name.to_owned(), How::Replaced)));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let mut watch = Watch::start(|_, _| {}).unwrap();
        assert!(watch.add("/nowhere/at/all").is_err());
    }
}
