//! Who the program is: the caller, and the ids inside and outside.

use crate::{Identity, PlatformError, RuntimeDir};
use rustix::fd::OwnedFd;
use rustix::process::{getegid, geteuid};

/// First of the host ids for sandboxes started by root. The range from here to 0x7fff_ffff is given to nothing else by
/// systemd's scheme (its "Users, Groups, UIDs and GIDs on systemd Systems") and stays positive in a 32-bit int.
const FIRST_HOST_ID: u32 = 0x7000_0000;
/// How many there are. Each launch draws its own.
const HOST_IDS: u32 = 0x0f00_0000;

/// Id inside for a program that root starts.
const USUAL_ID: u32 = 1000;

/// Who starts the sandbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// Effective user.
    pub(crate) user: u32,
    /// Effective group.
    pub(crate) group: u32,
    /// Root of the whole host, who may map any id. Root of a container is not.
    pub(crate) privileged: bool,
}

impl Caller {
    /// Looks at this process.
    pub(crate) fn find() -> Self {
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        Self { user, group, privileged: user == 0 && owns_every_id() }
    }
}

/// Whether this user namespace is the host's, or at least maps every id: `0 0 4294967295` (user_namespaces(7)).
fn owns_every_id() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut words = map.split_ascii_whitespace();
    words.next() == Some("0") && words.nth(1) == Some("4294967295")
}

/// The ids of one sandbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    /// User inside.
    pub(crate) user: u32,
    /// Group inside.
    pub(crate) group: u32,
    /// User as the host sees it.
    pub(crate) host_user: u32,
    /// Group as the host sees it.
    pub(crate) host_group: u32,
}

impl Ids {
    /// Decides the ids for one launch.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(crate) fn choose(identity: &Identity, caller: &Caller) -> Result<Self, PlatformError> {
        let (host_user, host_group, usual_user, usual_group) = if caller.privileged {
            let id = FIRST_HOST_ID + random()? % HOST_IDS;
            (id, id, USUAL_ID, USUAL_ID)
        } else if caller.user == 0 {
            // Root of a container: its own id, but not shown as root.
            (0, caller.group, USUAL_ID, USUAL_ID)
        } else {
            (caller.user, caller.group, caller.user, caller.group)
        };
        Ok(Self {
            user: identity.user.unwrap_or(usual_user),
            group: identity.group.unwrap_or(usual_group),
            host_user,
            host_group,
        })
    }

    /// Takes the host's user for this sandbox alone; `None` where a living sandbox has it. A caller's own ids are nobody's to
    /// take.
    ///
    /// # Errors
    /// When the file that says who is taken can't be had.
    pub(crate) fn claim(&self) -> Result<Option<Claim>, PlatformError> {
        match self.host_user.checked_sub(FIRST_HOST_ID) {
            Some(number) => {
                let file = RuntimeDir::make().and_then(|runtime| runtime.file(TAKEN));
                let claim = file.and_then(|file| Claim::take(file, number.into()));
                claim.map_err(|error| PlatformError::system("failed to take a user id", error))
            }
            None => Ok(Some(Claim(None))),
        }
    }

    /// Contents of `uid_map`.
    pub(crate) fn user_map(&self) -> String {
        format!("{} {} 1\n", self.user, self.host_user)
    }

    /// Contents of `gid_map`.
    pub(crate) fn group_map(&self) -> String {
        format!("{} {} 1\n", self.group, self.host_group)
    }
}

/// The file in which each byte stands for a user id, and is locked while a sandbox has it. It stays empty.
const TAKEN: &str = "users";

/// A user id that no other living sandbox has: a lock, which goes with this descriptor however its process ends.
#[derive(Debug)]
pub(crate) struct Claim(#[expect(dead_code, reason = "it is held, not used")] Option<OwnedFd>);

impl Claim {
    fn take(file: OwnedFd, number: i64) -> std::io::Result<Option<Self>> {
        let word = |number: i32| libc::c_short::try_from(number).unwrap_or(-1);
        let byte = libc::flock {
            l_type: word(libc::F_WRLCK),
            l_whence: word(libc::SEEK_SET),
            l_start: number,
            l_len: 1,
            l_pid: 0,
        };
        // Of the open file, not of the process (fcntl(2), "Open file description locks").
        match nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_OFD_SETLK(&byte)) {
            Ok(_) => Ok(Some(Self(Some(file)))),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn random() -> Result<u32, PlatformError> {
    let mut bytes = [0u8; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| PlatformError::system("failed to get random bytes", error))?;
    Ok(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_sandbox_s_for_as_long_as_it_lives() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let open = || OwnedFd::from(place.reopen().unwrap());
        let first = Claim::take(open(), 7).unwrap().unwrap();
        assert!(Claim::take(open(), 7).unwrap().is_none());
        assert!(Claim::take(open(), 8).unwrap().is_some());
        drop(first);
        assert!(Claim::take(open(), 7).unwrap().is_some());
    }

    #[test]
    fn root_never_becomes_root_and_a_user_stays_itself() {
        let root = Caller { user: 0, group: 0, privileged: true };
        let ids = Ids::choose(&Identity::default(), &root).unwrap();
        assert!(ids.host_user >= FIRST_HOST_ID && ids.host_user < 0x7fff_ffff, "{ids:?}");
        assert_eq!((ids.user, ids.group), (1000, 1000));

        let user = Caller { user: 1234, group: 99, privileged: false };
        let ids = Ids::choose(&Identity::default(), &user).unwrap();
        assert_eq!(
            (ids.user_map().as_str(), ids.group_map().as_str()),
            ("1234 1234 1\n", "99 99 1\n")
        );
    }
}
