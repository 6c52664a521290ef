//! The environment of a program.

use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;

/// Which variables of the caller's environment stay, and which are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Environment {
    /// Names that are passed on when the caller has them.
    pub keep: Vec<String>,
    /// Names and values that are set, over what is kept.
    pub set: BTreeMap<String, String>,
}

impl Environment {
    /// The environment for a caller who has `caller`.
    pub fn resolve(
        &self,
        caller: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Vec<(OsString, OsString)> {
        let kept = caller.into_iter().filter(|(name, _)| {
            name.to_str().is_some_and(|name| {
                self.keep.iter().any(|keep| is_same_variable(keep, name))
                    && !self.set.keys().any(|set| is_same_variable(set, name))
            })
        });
        let mut all: Vec<_> = kept.collect();
        all.extend(self.set.iter().map(|(name, value)| (name.into(), value.into())));
        all.sort();
        all
    }
}

/// Whether two names are of the same variable: Windows doesn't tell capitals apart.
fn is_same_variable(one: &str, other: &str) -> bool {
    if cfg!(windows) { one.eq_ignore_ascii_case(other) } else { one == other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_keeps_only_what_is_named_and_set_wins() {
        let environment = Environment {
            keep: vec!["TERM".into(), "PATH".into()],
            set: [("PATH".into(), "/usr/bin".into())].into(),
        };
        let caller = [("TERM", "xterm"), ("PATH", "/evil"), ("AWS_KEY", "secret")];
        let resolved = environment.resolve(caller.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(resolved, [("PATH".into(), "/usr/bin".into()), ("TERM".into(), "xterm".into())]);
    }
}
