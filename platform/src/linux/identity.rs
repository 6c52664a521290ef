//! Who the program is: the caller, and the ids inside and outside.

mod accounts;
mod claims;
mod helpers;
mod map;

pub(crate) use claims::Claim;
pub(crate) use helpers::Helpers;
pub(crate) use map::Map;

use super::cgroup::NoTree;
use crate::{Control, Decision, IdRange, Identity, LaunchPlan, PlatformError, Stage};
use accounts::Accounts;
use claims::{Kind, Ledger, blocks};
use rustix::process::{getegid, geteuid};

/// Host ids for sandboxes started by root. The range from 0x7000_0000 to 0x7fff_ffff is given to nothing else by systemd's
/// scheme (its "Users, Groups, UIDs and GIDs on systemd Systems") and stays positive in a 32-bit int. The first part is for
/// sandboxes with one id, so that these never stand between the blocks of others.
const SINGLE_IDS: (u32, u32) = (0x7000_0000, 0x0100_0000);
/// The rest, whose beginning is a multiple of every size of a block.
const BLOCKS: (u32, u32) = (0x7100_0000, 0x0e00_0000);

/// As whom the kernel shows users without a number (proc_sys_kernel(5), `overflowuid`).
const NOBODY: u32 = 65534;

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

    /// Why it can launch nothing: a sandbox would be the host's root, or nobody could give it another user.
    ///
    /// The host's root without any capability still owns `/proc/sys` and what else the kernel goes by owners for: with one
    /// file there it has the host. So it is never the user of a sandbox, whatever number it is shown as.
    pub(crate) fn no_launch(&self) -> Option<NoTree> {
        if self.privileged {
            let has = |one| caps::has_cap(None, caps::CapSet::Effective, one).unwrap_or(false);
            let needed = [
                caps::Capability::CAP_SYS_ADMIN,
                caps::Capability::CAP_SETUID,
                caps::Capability::CAP_SETGID,
            ];
            let lacking = needed.into_iter().find(|one| !has(*one))?;
            return Some(NoTree {
                reason: format!(
                    "root has no {lacking} here, as in a container without privileges, and can give sandboxes no user of their own"
                ),
                remedy: "start Stockade as another user than root (docker, podman: `--user 1000`), or with CAP_SYS_ADMIN, \
                         CAP_SETUID and CAP_SETGID"
                    .into(),
            });
        }
        self.is_hosts_root().then(|| NoTree {
            reason: format!(
                "user {} of this user namespace is the host's root, and so would be the program",
                self.user
            ),
            remedy:
                "start Stockade as root outside of that user namespace, or make it as another user"
                    .into(),
        })
    }

    /// Whether this user is the host's root under whatever number: the owner of `/proc`, which the host's root is in every
    /// user namespace.
    fn is_hosts_root(&self) -> bool {
        let owner = rustix::fs::stat("/proc").map(|stat| stat.st_uid);
        if owner != Ok(self.user) {
            return false;
        }
        // Who has no number here is shown as this one; its bearer may be somebody else.
        self.user != NOBODY || {
            let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
            Map::read(&map).is_none_or(|map| map.outside(NOBODY).is_none_or(|outside| outside == 0))
        }
    }

    /// Why it can't have several ids inside.
    pub(crate) fn lacks_ids(&self) -> Option<NoTree> {
        let none = |reason: &str, remedy: String| Some(NoTree { reason: reason.into(), remedy });
        if self.privileged {
            return None;
        }
        if Helpers::find().is_none() {
            let reason = "`newuidmap` and `newgidmap`, which map them for users, aren't installed";
            return none(reason, "apt install uidmap (as root; elsewhere shadow-utils)".into());
        }
        if rustix::thread::no_new_privs().unwrap_or(false) {
            let reason =
                "`newuidmap`, which maps them for users, has no power here: no_new_privs is set";
            return none(reason, "start Stockade outside of what set it".into());
        }
        let accounts = Accounts::read_sub_ids();
        let [users, groups] = accounts.sub_ids(self.user);
        let file = if users.is_empty() { "/etc/subuid" } else { "/etc/subgid" };
        (users.is_empty() || groups.is_empty()).then(|| NoTree {
            reason: format!("`{file}` has no ids for the caller"),
            remedy: accounts.remedy(self.user, 1),
        })
    }
}

/// Whether this user namespace is the host's, or at least maps every id: `0 0 4294967295` (user_namespaces(7)).
fn owns_every_id() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut words = map.split_ascii_whitespace();
    words.next() == Some("0") && words.nth(1) == Some("4294967295")
}

/// The ids of one sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    /// User of the program inside.
    pub(crate) user: u32,
    /// Its group inside.
    pub(crate) group: u32,
    /// The user as the host sees it.
    pub(crate) host_user: u32,
    /// The group as the host sees it.
    pub(crate) host_group: u32,
    /// All users inside.
    pub(crate) users: Map,
    /// All groups inside.
    pub(crate) groups: Map,
    /// How many there are from 0 on, where there are more than the program's own.
    pub(crate) several: Option<u32>,
    /// Who writes the maps, where this process has no right to.
    pub(crate) helpers: Option<Helpers>,
}

/// Takes a block of ids; whether it was free.
type Take<'a> = dyn FnMut(Kind, IdRange) -> std::io::Result<bool> + 'a;

impl Ids {
    /// Decides the ids for one launch, and takes those of the host that aren't the caller's own for this sandbox alone.
    ///
    /// # Errors
    /// When there are none, or they may not be used.
    pub(crate) fn take(plan: &LaunchPlan, caller: &Caller) -> Result<(Self, Claim), PlatformError> {
        let several = several(plan);
        if !caller.privileged && several.is_none() {
            let ids = Self::choose(&plan.identity, None, caller, &mut |_, _| Ok(true))?;
            return Ok((ids, Claim::nothing()));
        }
        let ledger = Ledger::open()?;
        let mut take = |kind, block| ledger.take(kind, block);
        let ids = Self::choose(&plan.identity, several, caller, &mut take)?;
        Ok((ids, ledger.close()))
    }

    /// Decides ids that a launch could have, and takes nothing.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(crate) fn unclaimed(plan: &LaunchPlan, caller: &Caller) -> Result<Self, PlatformError> {
        Self::choose(&plan.identity, several(plan), caller, &mut |_, _| Ok(true))
    }

    fn choose(
        identity: &Identity,
        several: Option<u32>,
        caller: &Caller,
        take: &mut Take<'_>,
    ) -> Result<Self, PlatformError> {
        // Asked here again, since a policy may accept that a control is missing: this it can't.
        if let Some(why) = caller.no_launch() {
            return Err(PlatformError::unsupported(Control::User, why.reason).with_hint(why.remedy));
        }
        // Root of a container has its own id, but isn't shown as root.
        let usual = |own| if caller.user == 0 { USUAL_ID } else { own };
        let user = identity.user.unwrap_or(usual(caller.user));
        let group = identity.group.unwrap_or(usual(caller.group));
        let ids = |(users, host_user): (Map, u32), (groups, host_group): (Map, u32), helpers| {
            Self { user, group, host_user, host_group, users, groups, several, helpers }
        };
        match (caller.privileged, several) {
            (true, None) => {
                let id = of_root(identity.range, 1, take)?;
                Ok(ids((Map::one(user, id), id), (Map::one(group, id), id), None))
            }
            (true, Some(count)) => {
                for (word, id) in [("user", user), ("group", group)] {
                    if id >= count {
                        return Err(not_among(word, id, count));
                    }
                }
                let first = of_root(identity.range, count, take)?;
                let map = || Map::block(first, count);
                Ok(ids((map(), first + user), (map(), first + group), None))
            }
            (false, None) if identity.range.is_some() => {
                let message = "`identity.range` has no use here: with one id a user's sandbox has the user's own";
                Err(PlatformError::invalid(message)
                    .with_hint("ask for more with `identity.ids`, or start Stockade as root"))
            }
            (false, None) => Ok(ids(
                (Map::one(user, caller.user), caller.user),
                (Map::one(group, caller.group), caller.group),
                None,
            )),
            (false, Some(count)) => {
                if let Some(why) = caller.lacks_ids() {
                    let error = PlatformError::unsupported(Control::Ids, why.reason);
                    return Err(error.with_hint(why.remedy));
                }
                let accounts = Accounts::read_sub_ids();
                let sub = Sub { accounts: &accounts, caller, range: identity.range, count };
                let users = sub.map(Kind::Users, (user, caller.user), take)?;
                let groups = sub.map(Kind::Groups, (group, caller.group), take)?;
                Ok(ids((users, caller.user), (groups, caller.group), Helpers::find()))
            }
        }
    }
}

/// How many ids a plan asks for, where those are several and it didn't give them up.
fn several(plan: &LaunchPlan) -> Option<u32> {
    let enforced = plan.controls.get(&Control::Ids) == Some(&Decision::Enforce);
    plan.identity.several().filter(|_| enforced)
}

fn not_among(word: &str, id: u32, count: u32) -> PlatformError {
    let message = format!(
        "the program's {word} {id} isn't among the {count} that `identity.ids` asks for: 0 to {}",
        count - 1
    );
    PlatformError::invalid(message)
        .with_hint(format!("name another in `identity.{word}`, or ask for more"))
}

/// The first of so many host ids for a sandbox that root starts, the same of users and of groups.
fn of_root(range: Option<IdRange>, count: u32, take: &mut Take<'_>) -> Result<u32, PlatformError> {
    let (first, all) = if count == 1 { SINGLE_IDS } else { BLOCKS };
    let own = IdRange::starting(first, all);
    if let Some(range) = range {
        let owner = Accounts::read().owner_in(range);
        if let Some((owner, file)) = owner {
            let message = format!(
                "`identity.range` {range} has ids of `{owner}` in `{file}`, whose programs could end the sandbox's and read its files"
            );
            return Err(PlatformError::invalid(message).with_hint(
                "name numbers that no account has; `stockade:FIRST:COUNT` in /etc/subuid and /etc/subgid keeps them free",
            ));
        }
    }
    let ranges: Vec<IdRange> = range.or(own).into_iter().collect();
    // What is Stockade's own has room enough to begin each block at a multiple of its size, so that those of one size lie
    // side by side; of a range that somebody names every id is used.
    let step = if range.is_some() { count } else { count.next_power_of_two() };
    free(Kind::Users, &ranges, count, step, take)?.ok_or_else(|| {
        let message = match range {
            Some(range) if range.count() < count => {
                format!("`identity.range` {range} has only {} of {count} ids", range.count())
            }
            Some(range) => format!("living sandboxes have all of `identity.range` {range}"),
            None => "living sandboxes have all host ids of Stockade's".into(),
        };
        PlatformError::launch(Stage::Prepare, message, None)
            .with_hint("wait until one ends, or ask for fewer ids or another range")
    })
}

/// Sub ids of an unprivileged caller.
struct Sub<'a> {
    accounts: &'a Accounts,
    caller: &'a Caller,
    /// Of which alone they may be.
    range: Option<IdRange>,
    /// How many ids there are to be inside, the caller's own among them where it is below.
    count: u32,
}

impl Sub<'_> {
    /// The caller's own id, which is `own.0` inside, and sub ids around it.
    fn map(&self, kind: Kind, own: (u32, u32), take: &mut Take<'_>) -> Result<Map, PlatformError> {
        let needed = self.count - u32::from(own.0 < self.count);
        Ok(Map::around(own, self.block(kind, needed, take)?, self.count))
    }

    /// The first of so many sub ids.
    fn block(&self, kind: Kind, needed: u32, take: &mut Take<'_>) -> Result<u32, PlatformError> {
        let [users, groups] = self.accounts.sub_ids(self.caller.user);
        let own = if kind == Kind::Users { users } else { groups };
        let (file, what) = match kind {
            Kind::Users => ("/etc/subuid", "users"),
            Kind::Groups => ("/etc/subgid", "groups"),
        };
        let within = |own: &IdRange| self.range.map_or(Some(*own), |range| own.within(range));
        let ranges: Vec<IdRange> = own.iter().filter_map(within).collect();
        if let Some(first) = free(kind, &ranges, needed, needed, take)? {
            return Ok(first);
        }
        let most = ranges.iter().map(|range| range.count()).max().unwrap_or(0);
        let reason = if most < needed {
            let within = self.range.map(|range| format!(" within `identity.range` {range}"));
            let within = within.unwrap_or_default();
            format!(
                "{needed} {what} are needed beside the caller's own, and `{file}` has {most} in a row{within}"
            )
        } else {
            format!(
                "living sandboxes of the caller have all {what} of `{file}` that {needed} in a row could be taken of"
            )
        };
        let more = match self.range {
            Some(_) => "leave `identity.range` out".to_owned(),
            None => self.accounts.remedy(self.caller.user, needed),
        };
        let hint = format!("ask for fewer with `identity.ids`, or: {more}");
        Err(PlatformError::unsupported(Control::Ids, reason).with_hint(hint))
    }
}

/// The first id of a block that was free and is now taken.
fn free(
    kind: Kind,
    ranges: &[IdRange],
    count: u32,
    step: u32,
    take: &mut Take<'_>,
) -> Result<Option<u32>, PlatformError> {
    for block in blocks(ranges, count, step, random()?) {
        let taken = take(kind, block);
        if taken.map_err(|error| PlatformError::system("failed to take ids of the host", error))? {
            return Ok(Some(block.first()));
        }
    }
    Ok(None)
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

    const ROOT: Caller = Caller { user: 0, group: 0, privileged: true };

    fn chosen(identity: &Identity, several: Option<u32>, caller: &Caller) -> Ids {
        Ids::choose(identity, several, caller, &mut |_, _| Ok(true)).unwrap()
    }

    #[test]
    fn root_never_becomes_root_and_a_user_stays_itself() {
        let ids = chosen(&Identity::default(), None, &ROOT);
        assert!(ids.host_user >= SINGLE_IDS.0 && ids.host_user < BLOCKS.0, "{ids:?}");
        assert_eq!((ids.user, ids.group), (1000, 1000));

        let user = Caller { user: 1234, group: 99, privileged: false };
        let ids = chosen(&Identity::default(), None, &user);
        assert_eq!(
            (ids.users.text().as_str(), ids.groups.text().as_str()),
            ("1234 1234 1\n", "99 99 1\n")
        );
    }

    #[test]
    fn several_ids_of_root_are_an_aligned_block_with_the_program_in_it() {
        for (count, size) in [(65_536, 65_536), (1001, 1024), (1 << 20, 1 << 20)] {
            let ids = chosen(&Identity::default(), Some(count), &ROOT);
            let first = ids.host_user - 1000;
            assert_eq!(first % size, 0, "{ids:?}");
            assert!(first >= BLOCKS.0 && first + count <= 0x7f00_0000, "{ids:?}");
            assert_eq!(ids.users.text(), format!("0 {first} {count}\n"));
            assert_eq!(ids.groups, ids.users);
        }
    }

    #[test]
    fn a_program_that_isnt_among_them_is_refused() {
        let error = Ids::choose(&Identity::default(), Some(100), &ROOT, &mut |_, _| Ok(true));
        let error = error.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the program's user 1000 isn't among the 100 that `identity.ids` asks for: 0 to 99"
        );
        assert_eq!(error.hint().unwrap(), "name another in `identity.user`, or ask for more");
    }

    #[test]
    fn what_is_taken_is_passed_over_and_an_end_is_told() {
        let identity = Identity {
            range: "200000-200029".parse().ok(),
            user: Some(0),
            group: Some(0),
            ..Identity::default()
        };
        let mut tried = Vec::new();
        let ids = Ids::choose(&identity, Some(10), &ROOT, &mut |_, block| {
            tried.push(block.first());
            Ok(tried.len() == 3)
        });
        let host = ids.unwrap().host_user;
        assert_eq!(tried.last(), Some(&host));
        tried.sort_unstable();
        assert_eq!(tried, [200_000, 200_010, 200_020]);
        let refused = |count| {
            let ids = Ids::choose(&identity, Some(count), &ROOT, &mut |_, _| Ok(false));
            ids.unwrap_err().to_string()
        };
        assert_eq!(refused(10), "living sandboxes have all of `identity.range` 200000-200029");
        assert_eq!(refused(31), "`identity.range` 200000-200029 has only 30 of 31 ids");
    }
}
