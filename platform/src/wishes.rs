//! What a watched program wished for: the calls it made, the paths it named, whom it talked to.

use crate::Access;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most paths that are kept: a program chooses them, so there is no end to them.
const MOST: usize = 100_000;

/// What was seen so far. Shared between what watches and what learns from it.
#[derive(Debug, Default)]
pub struct Wishes(Mutex<Wished>);

/// Everything that was seen of one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wished {
    /// Names of the system calls that it made.
    pub calls: BTreeSet<&'static str>,
    /// Absolute paths that it named, whether there is something or not, and what for.
    pub paths: BTreeMap<PathBuf, Named>,
    /// Whom it tried to connect to.
    pub connections: BTreeSet<SocketAddr>,
    /// Ports of its own that it listened on.
    pub ports: BTreeSet<u16>,
    /// Whether something was left out, since there was too much of it.
    pub partial: bool,
}

/// What a path was named for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The widest wish.
    pub access: Access,
    /// The first system call that had this wish; empty for a program that was executed.
    pub call: &'static str,
}

impl Wishes {
    /// It made this call.
    pub fn call(&self, name: &'static str) {
        self.table().calls.insert(name);
    }

    /// It named this path in a call.
    pub fn path(&self, path: PathBuf, access: Access, call: &'static str) {
        let mut table = self.table();
        if table.paths.len() >= MOST && !table.paths.contains_key(&path) {
            table.partial = true;
            return;
        }
        let known = table.paths.entry(path).or_insert(Named { access, call });
        if access > known.access {
            *known = Named { access, call };
        }
    }

    /// It wanted to connect there.
    pub fn connection(&self, address: SocketAddr) {
        let mut table = self.table();
        if table.connections.len() >= MOST {
            table.partial = true;
            return;
        }
        table.connections.insert(address);
    }

    /// It wanted to be reached there.
    pub fn port(&self, port: u16) {
        self.table().ports.insert(port);
    }

    /// Everything so far.
    pub fn all(&self) -> Wished {
        self.table().clone()
    }

    /// A poisoned lock only means that a thread panicked while it added; the table is whole.
    fn table(&self) -> MutexGuard<'_, Wished> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wider_wish_for_a_path_stays() {
        let wishes = Wishes::default();
        for (access, call) in
            [(Access::Read, "stat"), (Access::Write, "openat"), (Access::Read, "access")]
        {
            wishes.path("/srv/a".into(), access, call);
        }
        let named = Named { access: Access::Write, call: "openat" };
        assert_eq!(wishes.all().paths.into_values().collect::<Vec<_>>(), [named]);
    }
}
