//! Descriptors that a program leaves for its next run (sd_pid_notify_with_fds(3), "FDSTORE").

use super::notice::Store;
use crate::platform::{is_abandoned, is_harmless, same_file};
use std::fs::File;
use std::os::fd::OwnedFd;

/// What is kept of one program. It outlasts runs, and goes when the program isn't wanted any more.
#[derive(Debug, Default)]
pub(super) struct FdStore {
    kept: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    name: String,
    file: OwnedFd,
    /// Whether it is given up when its other end is gone.
    watched: bool,
}

impl FdStore {
    /// Does what a program wishes with the descriptors that it sent. Above `most` in all, and where they would be ways to other
    /// files, they aren't kept.
    pub(super) fn take(&mut self, store: Store, files: Vec<OwnedFd>, most: u32) {
        let (name, watched) = match store {
            Store::Keep { name, watched } => (name, watched),
            Store::Remove { name } => return self.kept.retain(|kept| kept.name != name),
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        for file in files {
            let is_known =
                |kept: &Kept| kept.name == name && same_file(&kept.file, &file).unwrap_or(false);
            if self.kept.len() < most
                && is_harmless(&file).unwrap_or(false)
                && !self.kept.iter().any(is_known)
            {
                self.kept.push(Kept { name: name.clone(), file, watched });
            }
        }
    }

    /// Copies for the next run, without those whose other end is gone.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub(super) fn handed(&mut self) -> std::io::Result<Vec<(String, File)>> {
        self.kept.retain(|kept| !kept.watched || !is_abandoned(&kept.file));
        let copy = |kept: &Kept| Ok((kept.name.clone(), kept.file.try_clone()?.into()));
        self.kept.iter().map(copy).collect()
    }

    /// Gives all of it up.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
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
        let again = || OwnedFd::from(one.try_clone().unwrap());
        store.take(keep("a"), vec![again(), again()], 2);
        store.take(keep("a"), vec![std::fs::File::open("/").unwrap().into()], 2);
        assert_eq!(names(&mut store), ["a"]);
        store.take(keep("b"), vec![again(), other.try_clone().unwrap().into()], 2);
        assert_eq!(names(&mut store), ["a", "b"]);
        store.take(Store::Remove { name: "a".into() }, Vec::new(), 2);
        assert_eq!(names(&mut store), ["b"]);
        // Nobody holds its other end any more.
        drop(other);
        assert_eq!(names(&mut store), [""; 0]);
    }
}
