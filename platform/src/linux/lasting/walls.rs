//! What was decided at a launch and doesn't follow from its plan, written down for the next starter: so that it can start
//! another program behind the same walls.

use crate::linux::identity::{Helpers, Ids, Map};
use crate::linux::landlock::AccessRules;
use crate::linux::prepare::Walls;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The form, as JSON. Maps are as the kernel has them, paths bytes of any kind.
#[derive(Debug, Serialize, Deserialize)]
struct Form {
    user: u32,
    group: u32,
    host_user: u32,
    host_group: u32,
    users: String,
    groups: String,
    several: Option<u32>,
    helpers: bool,
    rules: Option<Rules>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Rules {
    abi: u32,
    handled_fs: u64,
    handled_net: u64,
    scoped: u64,
    paths: Vec<(Vec<u8>, u64)>,
    ports: BTreeMap<u16, u64>,
    how: String,
    complete: bool,
}

/// Writes them down.
pub(crate) fn written(ids: &Ids, rules: Option<&(u32, AccessRules)>) -> io::Result<Vec<u8>> {
    let rules = rules.map(|(abi, rules)| Rules {
        abi: *abi,
        handled_fs: rules.handled_fs,
        handled_net: rules.handled_net,
        scoped: rules.scoped,
        paths: rules
            .rules
            .iter()
            .map(|(path, rights)| (path.as_os_str().as_bytes().to_vec(), *rights))
            .collect(),
        ports: rules.ports.clone(),
        how: rules.how.clone(),
        complete: rules.complete,
    });
    let form = Form {
        user: ids.user,
        group: ids.group,
        host_user: ids.host_user,
        host_group: ids.host_group,
        users: ids.users.text(),
        groups: ids.groups.text(),
        several: ids.several,
        helpers: ids.helpers.is_some(),
        rules,
    };
    Ok(serde_json::to_vec(&form)?)
}

/// Reads them back.
pub(crate) fn read(bytes: &[u8]) -> io::Result<Walls> {
    let form: Form = serde_json::from_slice(bytes)?;
    let map = |text: &str| Map::read(text).ok_or(io::ErrorKind::InvalidData);
    let ids = Ids {
        user: form.user,
        group: form.group,
        host_user: form.host_user,
        host_group: form.host_group,
        users: map(&form.users)?,
        groups: map(&form.groups)?,
        several: form.several,
        helpers: form.helpers.then(Helpers::find).flatten(),
    };
    let rules = form.rules.map(|rules| {
        let paths = rules.paths.into_iter();
        let paths = paths.map(|(path, rights)| (OsString::from_vec(path).into(), rights));
        let made = AccessRules {
            handled_fs: rules.handled_fs,
            handled_net: rules.handled_net,
            scoped: rules.scoped,
            rules: paths.collect(),
            ports: rules.ports,
            how: rules.how,
            complete: rules.complete,
        };
        (rules.abi, made)
    });
    Ok(Walls { ids, rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walls_come_back_as_they_were() {
        let ids = Ids {
            user: 1,
            group: 2,
            host_user: 3,
            host_group: 4,
            users: Map::around((1, 3), 700, 9),
            groups: Map::one(2, 4),
            several: Some(9),
            helpers: None,
        };
        let rules = AccessRules {
            handled_fs: u64::MAX,
            handled_net: 1,
            scoped: 2,
            rules: vec![(OsString::from_vec(b"/a\xff".to_vec()).into(), 1 << 40)],
            ports: [(80, 1)].into(),
            how: "held".into(),
            complete: true,
        };
        let walls = read(&written(&ids, Some(&(6, rules.clone()))).unwrap()).unwrap();
        assert_eq!(walls.rules, Some((6, rules)));
        assert_eq!((walls.ids.users, walls.ids.groups), (ids.users, ids.groups));
        let few = [walls.ids.user, walls.ids.group, walls.ids.host_user, walls.ids.host_group];
        assert_eq!((few, walls.ids.several), ([1, 2, 3, 4], Some(9)));
    }
}
