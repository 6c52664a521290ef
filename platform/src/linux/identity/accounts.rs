//! Who has which ids on this host: passwd(5), group(5), subuid(5), subgid(5).
//!
//! Files are read, and services that know of more accounts (nsswitch.conf(5)) aren't asked: they may be out of reach, and a
//! static program has no way to.

use crate::IdRange;

/// The files, as texts; empty where one can't be read.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: String,
    groups: String,
    sub_users: String,
    sub_groups: String,
}

/// Names that sub ids may stand under in a range that is given to sandboxes: so that no tool gives them to anybody else.
const RESERVED: [&str; 3] = ["stockade", "root", "0"];

impl Accounts {
    /// Reads the host's.
    pub(super) fn read() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            users: read("/etc/passwd"),
            groups: read("/etc/group"),
            sub_users: read("/etc/subuid"),
            sub_groups: read("/etc/subgid"),
        }
    }

    /// Reads what tells of sub ids.
    pub(super) fn read_sub_ids() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (users, sub_users) = (read("/etc/passwd"), read("/etc/subuid"));
        Self { users, sub_users, sub_groups: read("/etc/subgid"), groups: String::new() }
    }

    /// The name of a user, where it has one.
    pub(super) fn name_of(&self, user: u32) -> Option<&str> {
        entries(&self.users).find(|(_, id)| *id == user).map(|(name, _)| name)
    }

    /// Sub ids of a user: of users, and of groups.
    pub(super) fn sub_ids(&self, user: u32) -> [Vec<IdRange>; 2] {
        let (name, number) = (self.name_of(user), user.to_string());
        [&self.sub_users, &self.sub_groups].map(|text| {
            let own = sub_ids(text).filter(|(owner, _)| *owner == number || Some(*owner) == name);
            own.map(|(_, range)| range).collect()
        })
    }

    /// The command that gives a user sub ids which nobody has.
    pub(super) fn remedy(&self, user: u32, count: u32) -> String {
        let taken = [&self.sub_users, &self.sub_groups];
        let taken = taken.into_iter().flat_map(|text| sub_ids(text)).map(|(_, range)| range.last());
        // Where useradd(8) begins (login.defs(5), `SUB_UID_MIN`).
        let first = taken.max().map_or(100_000, |last| last.saturating_add(1)).max(100_000);
        let last = first.saturating_add(count.max(65_536) - 1);
        match self.name_of(user) {
            Some(name) => format!(
                "usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {name} (as root)"
            ),
            None => format!(
                "add the line `{user}:{first}:{}` to /etc/subuid and /etc/subgid (as root)",
                last - first + 1
            ),
        }
    }

    /// An account that has ids of a range, and where it has them.
    pub(super) fn owner_in(&self, range: IdRange) -> Option<(String, &'static str)> {
        for (text, file) in [(&self.users, "/etc/passwd"), (&self.groups, "/etc/group")] {
            let within = |id| IdRange::starting(id, 1).is_some_and(|one| one.meets(range));
            if let Some((name, _)) = entries(text).find(|(_, id)| within(*id)) {
                return Some((name.to_owned(), file));
            }
        }
        for (text, file) in [(&self.sub_users, "/etc/subuid"), (&self.sub_groups, "/etc/subgid")] {
            let others = sub_ids(text).filter(|(owner, _)| !RESERVED.contains(owner));
            if let Some((name, _)) = others.into_iter().find(|(_, theirs)| theirs.meets(range)) {
                return Some((name.to_owned(), file));
            }
        }
        None
    }
}

/// Names and numbers of users or groups.
fn entries(text: &str) -> impl Iterator<Item = (&str, u32)> {
    text.lines().filter_map(|line| {
        let mut words = line.split(':');
        let name = words.next()?;
        Some((name, words.nth(1)?.trim().parse().ok()?))
    })
}

/// Owners and ranges, each line `owner:first:count`.
fn sub_ids(text: &str) -> impl Iterator<Item = (&str, IdRange)> {
    text.lines().filter_map(|line| {
        let mut words = line.split(':').map(str::trim);
        let owner = words.next()?;
        let range = IdRange::starting(words.next()?.parse().ok()?, words.next()?.parse().ok()?)?;
        Some((owner, range))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            users: "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nfar:x:300000:1::/:\n".into(),
            groups: "root:x:0:\nann:x:1000:\nfiles:x:400000:\n".into(),
            sub_users: "# a note\nann:100000:65536\n1000:300001:10\nroot:500000:10\nbob:700000:10\n".into(),
            sub_groups: "ann:200000:65536\n".into(),
        }
    }

    fn range(first: u32, count: u32) -> IdRange {
        IdRange::starting(first, count).unwrap()
    }

    #[test]
    fn sub_ids_stand_under_a_name_or_a_number() {
        let all = [vec![range(100_000, 65_536), range(300_001, 10)], vec![range(200_000, 65_536)]];
        assert_eq!(accounts().sub_ids(1000), all);
        assert_eq!(accounts().sub_ids(1001), [vec![], vec![]]);
    }

    #[test]
    fn the_remedy_names_numbers_that_nobody_has() {
        assert_eq!(
            accounts().remedy(1000, 5),
            "usermod --add-subuids 700010-765545 --add-subgids 700010-765545 ann (as root)"
        );
        assert_eq!(
            Accounts::default().remedy(7, 70_000),
            "add the line `7:100000:70000` to /etc/subuid and /etc/subgid (as root)"
        );
    }

    #[test]
    fn whoever_has_ids_of_a_range_is_named() {
        let owner = |first, count| accounts().owner_in(range(first, count));
        assert_eq!(owner(290_000, 20_000), Some(("far".into(), "/etc/passwd")));
        assert_eq!(owner(400_000, 1), Some(("files".into(), "/etc/group")));
        assert_eq!(owner(165_535, 2), Some(("ann".into(), "/etc/subuid")));
        assert_eq!(owner(265_000, 2), Some(("ann".into(), "/etc/subgid")));
        assert_eq!(owner(700_009, 2), Some(("bob".into(), "/etc/subuid")));
        assert_eq!(owner(500_000, 10), None);
        assert_eq!(owner(800_000, 65_536), None);
    }
}
