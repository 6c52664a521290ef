//! The profile that lets Stockade make user namespaces where AppArmor takes the rights from those of unconfined programs.

use crate::plan::readable;
use std::path::PathBuf;

/// The profile as it is shipped, for a program that is installed.
const SHIPPED: &str = include_str!("../../../policies/apparmor/stockade");
/// Where it has the path of the program.
const PLACE: &str = "@{stockade} = \"/usr/bin/stockade\"";

/// The profile for this very program.
pub(super) fn profile() -> String {
    let path = readable(program().as_os_str());
    SHIPPED.replace(PLACE, &format!("@{{stockade}} = \"{}\"", escaped(&path)))
}

/// The command that installs it.
pub(super) fn remedy() -> String {
    let program = readable(program().as_os_str()).replace('\'', r"'\''");
    format!(
        "'{program}' doctor --apparmor-profile | sudo tee /etc/apparmor.d/stockade \
         && sudo apparmor_parser -r /etc/apparmor.d/stockade"
    )
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/stockade"))
}

/// A path of which no character is a pattern (apparmor.d(5), "Globbing").
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '\\' | '"' | '*' | '?' | '[' | ']' | '{' | '}' | '^') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_profile_gets_the_path_of_this_program_and_nothing_else_changes() {
        let profile = profile();
        let program = program();
        let own = format!("@{{stockade}} = \"{}\"", program.display());
        let differ: Vec<(&str, &str)> =
            SHIPPED.lines().zip(profile.lines()).filter(|(one, other)| one != other).collect();
        assert_eq!(differ, [(PLACE, own.as_str())]);
        assert_eq!(SHIPPED.matches("/usr/bin/stockade").count(), 1);
    }

    #[test]
    fn no_part_of_a_path_is_a_pattern() {
        assert_eq!(escaped("/opt/my dir/a{b}*\"q"), "/opt/my dir/a\\{b\\}\\*\\\"q");
    }
}
