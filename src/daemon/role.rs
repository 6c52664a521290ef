//! Who may ask the daemon for what. Pure.

use crate::platform::{group_id, user_id};
use serde::Serialize;
use std::fmt;

/// What somebody may do. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See what there is.
    Read,
    /// Start, stop and signal services.
    Operate,
    /// Put another stack into force, and end the daemon.
    Admin,
}

impl Role {
    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::Read, Self::Operate, Self::Admin].into_iter().find(|role| role.to_string() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        })
    }
}

/// A role for a user or for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    role: Role,
    who: Who,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    User(u32),
    Group(u32),
}

impl std::str::FromStr for Grant {
    type Err = String;

    /// Such as `read:alice` or `operate:@staff`.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "write `ROLE:USER` or `ROLE:@GROUP`, the role `read`, `operate` or `admin`";
        let (role, who) = text.split_once(':').ok_or_else(form)?;
        let role = Role::of_word(role).ok_or_else(form)?;
        let failed = |error| format!("failed to look up `{who}`: {error}");
        let who = match who.strip_prefix('@') {
            Some(group) => group_id(group)
                .map_err(failed)?
                .map(Who::Group)
                .ok_or_else(|| format!("there is no group `{group}`"))?,
            None => user_id(who)
                .map_err(failed)?
                .map(Who::User)
                .ok_or_else(|| format!("there is no user `{who}`"))?,
        };
        Ok(Self { role, who })
    }
}

/// The role of a user who is in these groups: the daemon's own and root have all rights, strangers none.
pub(super) fn role_of(grants: &[Grant], own: u32, user: u32, groups: &[u32]) -> Option<Role> {
    if user == own || user == 0 {
        return Some(Role::Admin);
    }
    let is_meant = |grant: &&Grant| match grant.who {
        Who::User(one) => one == user,
        Who::Group(one) => groups.contains(&one),
    };
    grants.iter().filter(is_meant).map(|grant| grant.role).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_highest_role_that_was_given_and_a_stranger_none() {
        let grants: Vec<Grant> =
            ["read:@100", "operate:7", "read:7"].iter().map(|text| text.parse().unwrap()).collect();
        let role = |user, groups: &[u32]| role_of(&grants, 5, user, groups);
        assert_eq!((role(5, &[]), role(0, &[])), (Some(Role::Admin), Some(Role::Admin)));
        assert_eq!((role(7, &[9]), role(8, &[9, 100])), (Some(Role::Operate), Some(Role::Read)));
        assert_eq!((role(8, &[7]), role(100, &[])), (None, None));
        assert!(Role::Read < Role::Operate && Role::Operate < Role::Admin);
    }

    #[test]
    fn a_grant_names_a_role_and_somebody_who_exists() {
        let wrong = |text: &str| text.parse::<Grant>().unwrap_err();
        let form = "write `ROLE:USER` or `ROLE:@GROUP`, the role `read`, `operate` or `admin`";
        assert_eq!((wrong("root"), wrong("owner:root")), (form.into(), form.into()));
        assert_eq!(wrong("read:no-such-user"), "there is no user `no-such-user`");
        assert_eq!(wrong("read:@no-such-group"), "there is no group `no-such-group`");
    }
}
