//! What can be read again while the service runs: on SIGHUP, and when its files change. Each thing is taken as a whole, and one
//! that cannot be used changes nothing.
//!
//! Changes are found by looking at files (docs/adr/0011), through links: what Kubernetes mounts is exchanged by a link.

use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::fault::chain;

/// Why the new state is not used.
type Unusable = Box<dyn Error + Send + Sync>;

/// Takes a thing as its files have it now. Says how these were before they were read, which are other files where the thing has
/// come to name others.
type Again = Box<dyn Fn() -> Result<Vec<Stamp>, Unusable> + Send + Sync>;

/// The things that can be read again.
#[derive(Default)]
pub struct Reloads(Vec<Reload>);

struct Reload {
    what: &'static str,
    files: Box<dyn Fn() -> Vec<PathBuf> + Send + Sync>,
    again: Again,
    /// As the files were before they were read last.
    seen: Mutex<Vec<Stamp>>,
}

/// Which of them to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those whose files have changed since they were looked at last.
    Changed,
}

impl Reloads {
    /// Adds a thing that is made of these files and folders. `again` reads it anew and puts it in the place of the old one, or
    /// fails and leaves the old one; it says how the files were before it read them. `seen` is the same of the first time: what
    /// has changed since is read again.
    pub fn add<E>(
        &mut self,
        what: &'static str,
        seen: Vec<Stamp>,
        files: impl Fn() -> Vec<PathBuf> + Send + Sync + 'static,
        again: impl Fn() -> Result<Vec<Stamp>, E> + Send + Sync + 'static,
    ) where
        E: Into<Unusable>,
    {
        let seen = Mutex::new(seen);
        let again = Box::new(move || again().map_err(Into::into));
        self.0.push(Reload { what, files: Box::new(files), again, seen });
    }

    /// Reads them again, from files: not for an async thread. Says in the log what became of each.
    pub fn run(&self, which: Which) {
        let mut any = false;
        for Reload { what, files, again, seen } in &self.0 {
            // Before they are read: what changes meanwhile is seen the next time.
            let now = stamps(&files());
            let see = |now| std::mem::replace(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner), now);
            let before = see(now.clone());
            // Of some things there may be none.
            if now.is_empty() && before.is_empty() || which == Which::Changed && before == now {
                continue;
            }
            any = true;
            // A panic is a defect of ours, for which neither the service nor the other things are given up.
            let outcome =
                panic::catch_unwind(AssertUnwindSafe(again)).unwrap_or_else(|_| Err("a panic, told above".into()));
            match outcome {
                Ok(read) => {
                    see(read);
                    tracing::info!(what, "read again");
                }
                Err(error) => {
                    let cause = chain(&*error);
                    tracing::error!(what, cause, "cannot be used as it is now; what was read before stays in force");
                }
            }
        }
        if !any && which == Which::All {
            tracing::info!("nothing here can be read again: no files were given");
        }
    }
}

/// A file, and by what it is told from the one that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    path: PathBuf,
    found: Found,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Nothing,
    /// What is in it counts, and not what comes and goes there while a mount is exchanged.
    Folder,
    /// Its place on the disk, its size, and when it was last written and exchanged.
    File {
        place: (u64, u64),
        size: u64,
        written: (i64, i64),
        exchanged: (i64, i64),
    },
}

impl Stamp {
    /// As it is now, at the end of its links.
    pub fn of(path: &Path) -> Self {
        let found = match fs::metadata(path) {
            Err(_) => Found::Nothing,
            Ok(folder) if folder.is_dir() => Found::Folder,
            Ok(file) => Found::File {
                place: (file.dev(), file.ino()),
                size: file.size(),
                written: (file.mtime(), file.mtime_nsec()),
                exchanged: (file.ctime(), file.ctime_nsec()),
            },
        };
        Self { path: path.to_owned(), found }
    }

    /// Of which file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Of each file, and of what is in each folder and not hidden.
pub fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let mut stamps: Vec<_> = paths.iter().map(|path| Stamp::of(path)).collect();
    let folders = paths.iter().filter(|path| path.is_dir()).filter_map(|path| fs::read_dir(path).ok());
    let entries = folders.flatten().filter_map(Result::ok);
    let shown = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    stamps.extend(shown.map(|entry| Stamp::of(&entry.path())));
    // A folder is listed in any order.
    stamps.sort_by(|one, other| one.path.cmp(&other.path));
    stamps
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Files of one thing, and how often it was read again.
    fn watching(path: &Path) -> (Reloads, impl Fn() -> usize + use<>) {
        let (mut reloads, read) = (Reloads::default(), Arc::new(AtomicUsize::new(0)));
        let (path, count) = (vec![path.to_owned()], Arc::clone(&read));
        let (seen, files) = (stamps(&path), path.clone());
        let again = move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(stamps(&path))
        };
        reloads.add("thing", seen, move || files.clone(), again);
        (reloads, move || read.load(Ordering::Relaxed))
    }

    #[test]
    fn files_that_did_not_change_are_left_alone_unless_all_are_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("thing");
        let (reloads, read) = watching(&path);
        reloads.run(Which::Changed);
        assert_eq!(read(), 0, "there is none, as before");
        fs::write(&path, "one").expect("written");
        reloads.run(Which::Changed);
        reloads.run(Which::Changed);
        assert_eq!(read(), 1);
        reloads.run(Which::All);
        assert_eq!(read(), 2);
        fs::write(&path, "longer").expect("written");
        reloads.run(Which::Changed);
        fs::remove_file(&path).expect("removed");
        reloads.run(Which::Changed);
        assert_eq!(read(), 4);
    }

    /// A file that names others, as the configuration does.
    #[test]
    fn what_comes_to_name_other_files_is_read_once_and_watched_by_those() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let (list, read) = (at("list"), Arc::new(AtomicUsize::new(0)));
        for name in ["one", "two"] {
            fs::write(at(name), name).expect("written");
        }
        fs::write(&list, "one").expect("written");
        let files = Arc::new(Mutex::new(vec![list.clone(), at("one")]));
        let named = {
            let (list, folder) = (list.clone(), folder.path().to_owned());
            move || vec![list.clone(), folder.join(fs::read_to_string(&list).expect("read"))]
        };
        let again = {
            let (files, count) = (Arc::clone(&files), Arc::clone(&read));
            move || {
                count.fetch_add(1, Ordering::Relaxed);
                *files.lock().expect("no panic") = named();
                Ok::<_, Infallible>(stamps(&files.lock().expect("no panic")))
            }
        };
        let mut reloads = Reloads::default();
        let seen = stamps(&files.lock().expect("no panic"));
        reloads.add("list", seen, move || files.lock().expect("no panic").clone(), again);
        let count = || {
            reloads.run(Which::Changed);
            read.load(Ordering::Relaxed)
        };
        fs::write(&list, "two").expect("written");
        assert_eq!((count(), count()), (1, 1), "once");
        fs::write(at("one"), "longer").expect("written");
        assert_eq!(count(), 1, "which is no longer named");
        fs::write(at("two"), "longer").expect("written");
        assert_eq!(count(), 2);
    }

    #[test]
    fn a_panic_while_a_thing_is_read_leaves_the_others_and_is_not_repeated_until_its_files_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("thing");
        let tries = Arc::new(AtomicUsize::new(0));
        let mut reloads = Reloads::default();
        let (files, count) = (vec![path.clone()], Arc::clone(&tries));
        let again = move || -> Result<Vec<Stamp>, Infallible> {
            count.fetch_add(1, Ordering::Relaxed);
            panic!("a defect")
        };
        reloads.add("broken", Vec::new(), move || files.clone(), again);
        let (other, read) = watching(&path);
        reloads.0.extend(other.0);
        fs::write(&path, "one").expect("written");
        reloads.run(Which::Changed);
        reloads.run(Which::Changed);
        assert_eq!((tries.load(Ordering::Relaxed), read()), (1, 1));
    }

    /// As the kubelet does it: `..data` is another link from one moment to the next, and no file is written.
    #[test]
    fn a_mount_that_is_exchanged_by_its_link_has_changed() {
        let mount = tempfile::tempdir().expect("a folder");
        let at = |name: &str| mount.path().join(name);
        for moment in ["..one", "..two"] {
            fs::create_dir(at(moment)).expect("made");
            fs::write(at(moment).join("thing"), "same size").expect("written");
        }
        symlink("..one", at("..data")).expect("linked");
        symlink("..data/thing", at("thing")).expect("linked");
        let (file, file_read) = watching(&at("thing"));
        let (folder, folder_read) = watching(mount.path());
        folder.run(Which::Changed);
        symlink("..two", at("..data_tmp")).expect("linked");
        folder.run(Which::Changed);
        assert_eq!(folder_read(), 0, "what is prepared beside it is nothing yet");
        fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
        file.run(Which::Changed);
        folder.run(Which::Changed);
        assert_eq!((file_read(), folder_read()), (1, 1));
    }

    #[test]
    fn a_file_in_a_folder_that_is_written_to_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shop");
        fs::write(&path, "one").expect("written");
        let (reloads, read) = watching(folder.path());
        fs::write(&path, "another").expect("written");
        reloads.run(Which::Changed);
        assert_eq!(read(), 1);
    }
}
