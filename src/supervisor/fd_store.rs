//! Descriptors that a program leaves for its next run (sd_pid_notify_with_fds(3), "FDSTORE").

use super::notice::Store;
use crate::platform::{OwnedFile, Shelf, is_abandoned, is_harmless, same_file};
use std::fs::File;
use std::io;

/// How the label of a socket begins.
const SOCKET: &[u8] = b"s";

/// Sockets of a program, by what they are.
pub(super) type Sockets = Vec<(String, OwnedFile)>;

/// What is kept of one program. It outlasts runs, and goes when the program isn't wanted any more.
#[derive(Debug, Default)]
pub(super) struct FdStore {
    kept: Vec<Kept>,
    /// The same once more, for the next supervisor.
    shelf: Option<Shelf>,
}

#[derive(Debug)]
struct Kept {
    name: String,
    file: OwnedFile,
    /// Whether it is given up when its other end is gone.
    watched: bool,
}

impl FdStore {
    /// Does what a program wishes with the descriptors that it sent. Above `most` in all, and where they would be ways to other
    /// files, they aren't kept.
    ///
    /// # Errors
    /// When the next supervisor won't have them; they are kept here all the same.
    pub(super) fn take(
        &mut self,
        store: Store,
        files: Vec<OwnedFile>,
        most: u32,
    ) -> io::Result<()> {
        let (name, watched) = match store {
            Store::Keep { name, watched } => (name, watched),
            Store::Remove { name } => {
                self.kept.retain(|kept| kept.name != name);
                return self.match_shelf();
            }
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut shelved = Ok(());
        for file in files {
            let is_known =
                |kept: &Kept| kept.name == name && same_file(&kept.file, &file).unwrap_or(false);
            if self.kept.len() < most
                && is_harmless(&file).unwrap_or(false)
                && !self.kept.iter().any(is_known)
            {
                let kept = Kept { name: name.clone(), file, watched };
                if let Some(shelf) = &self.shelf {
                    shelved = shelf.put(&kept.label(), &kept.file).and(shelved);
                }
                self.kept.push(kept);
            }
        }
        shelved
    }

    /// Takes from the shelf what isn't kept any more.
    fn match_shelf(&self) -> io::Result<()> {
        let Some(shelf) = &self.shelf else { return Ok(()) };
        let is_kept = |label: &[u8]| self.kept.iter().any(|kept| kept.label() == label);
        shelf.sort_out(|label, _| label.starts_with(SOCKET) || is_kept(label))
    }

    /// Puts the program's sockets beside what it stored, by what they are, instead of those of its last run.
    ///
    /// # Errors
    /// As [`Self::ends`].
    pub(super) fn add(&mut self, sockets: &[(String, File)]) -> io::Result<()> {
        let Some(shelf) = &self.shelf else { return Ok(()) };
        shelf.sort_out(|label, _| !label.starts_with(SOCKET))?;
        sockets.iter().try_for_each(|(key, file)| {
            let label = [SOCKET, key.as_bytes()].concat();
            shelf.put(&label, file)
        })
    }

    /// What whoever outlives this supervisor must hold, so that the next one has all of it.
    ///
    /// # Errors
    /// When the system has no descriptors left, or there is no room.
    pub(super) fn ends(&mut self) -> io::Result<[File; 2]> {
        if let Some(shelf) = &self.shelf {
            return shelf.ends();
        }
        let shelf = Shelf::new()?;
        self.kept.iter().try_for_each(|kept| shelf.put(&kept.label(), &kept.file))?;
        let ends = shelf.ends();
        self.shelf = Some(shelf);
        ends
    }

    /// Has what a supervisor before kept, from the ends that somebody held; the program's sockets come back.
    ///
    /// # Errors
    /// When not all of it could be read; the rest is kept.
    pub(super) fn restore(&mut self, ends: [File; 2], most: u32) -> io::Result<Sockets> {
        let shelf = Shelf::again(ends);
        let mut sockets = Vec::new();
        let read = shelf.sort_out(|label, file| {
            if let Some(key) = label.strip_prefix(SOCKET) {
                sockets.push((String::from_utf8_lossy(key).into_owned(), file));
                return true;
            }
            let Some((name, watched)) = Kept::of_label(label) else { return false };
            let before = self.kept.len();
            // Where it was broken off, something may be there twice.
            self.take(Store::Keep { name, watched }, vec![file], most).unwrap_or(());
            self.kept.len() > before
        });
        self.shelf = Some(shelf);
        read.map(|()| sockets)
    }

    /// Copies for the next run, without those whose other end is gone.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub(super) fn handed(&mut self) -> io::Result<Vec<(String, File)>> {
        let before = self.kept.len();
        self.kept.retain(|kept| !kept.watched || !is_abandoned(&kept.file));
        if self.kept.len() < before {
            self.match_shelf()?;
        }
        let copy = |kept: &Kept| Ok((kept.name.clone(), kept.file.try_clone()?.into()));
        self.kept.iter().map(copy).collect()
    }

    /// Gives all of it up.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.shelf = None;
    }
}

impl Kept {
    /// Its name and whether it is watched, as they stand on the shelf.
    fn label(&self) -> Vec<u8> {
        let watched = if self.watched { b'w' } else { b'-' };
        [&[watched], self.name.as_bytes()].concat()
    }

    fn of_label(label: &[u8]) -> Option<(String, bool)> {
        let (watched, name) = label.split_first()?;
        Some((String::from_utf8(name.to_vec()).ok()?, *watched == b'w'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn keep(name: &str) -> Store {
        Store::Keep { name: name.into(), watched: true }
    }

    fn names(store: &mut FdStore) -> Vec<String> {
        store.handed().unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn no_more_than_agreed_is_kept_each_once_and_no_directory() {
        let mut store = FdStore::default();
        let (one, other) = UnixStream::pair().unwrap();
        let again = || OwnedFile::from(one.try_clone().unwrap());
        store.take(keep("a"), vec![again(), again()], 2).unwrap();
        store.take(keep("a"), vec![std::fs::File::open("/").unwrap().into()], 2).unwrap();
        assert_eq!(names(&mut store), ["a"]);
        store.take(keep("b"), vec![again(), other.try_clone().unwrap().into()], 2).unwrap();
        assert_eq!(names(&mut store), ["a", "b"]);
        store.take(Store::Remove { name: "a".into() }, Vec::new(), 2).unwrap();
        assert_eq!(names(&mut store), ["b"]);
        // Nobody holds its other end any more.
        drop(other);
        assert_eq!(names(&mut store), [""; 0]);
    }

    #[test]
    fn the_next_supervisor_has_what_is_kept_and_not_what_was_given_up() {
        let mut store = FdStore::default();
        let pipe = || std::io::pipe().unwrap();
        let ((_one, first), (_two, second), (_three, third)) = (pipe(), pipe(), pipe());
        store.take(keep("before"), vec![first.into()], 9).unwrap();
        let ends = store.ends().unwrap();
        store.take(keep("after"), vec![second.into()], 9).unwrap();
        let unwatched = Store::Keep { name: "more".into(), watched: false };
        store.take(unwatched, vec![third.into()], 9).unwrap();
        let socket = |key: &str| (key.to_owned(), File::open("/dev/null").unwrap());
        store.add(&[socket("old"), socket("other")]).unwrap();
        store.add(&[socket("web")]).unwrap();
        store.take(Store::Remove { name: "before".into() }, Vec::new(), 9).unwrap();
        drop(store);
        let mut next = FdStore::default();
        let sockets = next.restore(ends, 9).unwrap();
        assert_eq!(names(&mut next), ["after", "more"]);
        assert_eq!(sockets.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["web"]);
        assert_eq!(next.kept.iter().map(|kept| kept.watched).collect::<Vec<_>>(), [true, false]);
        let mut third = FdStore::default();
        third.restore(next.ends().unwrap(), 1).unwrap();
        assert_eq!(names(&mut third), ["after"]);
    }
}
