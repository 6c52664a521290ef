//! What was denied, told: what it was, why, and the line of a policy that would allow it.

use super::learn::quoted;
use super::syscalls;
use crate::platform::{Access, Denial, Denied, DeniedPath, LaunchPlan, PathReason, Syscalls, Wall};
use std::path::Path;

/// What was denied `times` times under `syscalls`.
pub(crate) fn denial(denied: &Denied, times: u64, syscalls: &Syscalls) -> Denial {
    match denied {
        Denied::Call(call) => syscalls::denial(call, times, syscalls),
        Denied::Path(path) => of_path(path, times),
    }
}

fn of_path(denied: &DeniedPath, times: u64) -> Denial {
    let DeniedPath { path, access, reason, grant, others } = denied;
    let (wall, why) = match reason {
        PathReason::NotShown => (Wall::View, "it is on the host and isn't shown"),
        PathReason::ReadOnly => (Wall::View, "it is shown for reading only"),
        PathReason::Hidden => (Wall::View, "`hide` stands in front of it"),
        PathReason::Denied => (Wall::View, "`deny` stands in front of it"),
        PathReason::Rules => (Wall::AccessRules, "no device nodes are made"),
    };
    let doing = if *access == Access::Read { "reading" } else { "writing" };
    let what = match others {
        true => format!("{doing} other paths"),
        false => format!("{doing} {}", LaunchPlan::readable(path)),
    };
    let key = if *access == Access::Read { "read" } else { "write" };
    let line = |path: &Path| {
        let is_reserved = super::paths::reserved(path).is_some();
        let text = path.to_str().filter(|_| !is_reserved)?;
        Some(format!("[filesystem] {key} = [{}]", quoted(text)))
    };
    let allow = grant.as_deref().and_then(line);
    Denial { wall, what, why: Some(why.into()), times, allow }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_with_the_line_that_allows_it() {
        let told = |path: &str, access, reason, grant: Option<&str>| {
            let grant = grant.map(Into::into);
            let denied =
                DeniedPath { path: path.into(), access, reason, grant, others: path.is_empty() };
            let Denial { wall, what, allow, .. } = of_path(&denied, 2);
            format!("{wall} {what} {allow:?}")
        };
        let (read, write) = (Access::Read, Access::Write);
        assert_eq!(
            told("/srv/\"x", read, PathReason::NotShown, Some("/srv/\"x")),
            r#"view reading /srv/"x Some("[filesystem] read = [\"/srv/\\\"x\"]")"#
        );
        assert_eq!(
            told("/srv/a/x", write, PathReason::ReadOnly, Some("/srv/a")),
            r#"view writing /srv/a/x Some("[filesystem] write = [\"/srv/a\"]")"#
        );
        assert_eq!(
            told("/dev/sda", read, PathReason::NotShown, Some("/dev")),
            "view reading /dev/sda None"
        );
        assert_eq!(
            told("/srv/n", write, PathReason::Rules, None),
            "access_rules writing /srv/n None"
        );
        assert_eq!(told("", read, PathReason::Hidden, None), "view reading other paths None");
    }
}
