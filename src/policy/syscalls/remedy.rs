//! A denied system call, told: what it was, and the line of a policy that would allow it.

use super::{ENTRIES, RULES, constants};
use crate::platform::{ArgumentTest, Compare, Denial, DeniedCall, SyscallRule, Syscalls, Wall};
use crate::ports;

/// What was denied `times` times under `syscalls`.
pub(crate) fn denial(call: &DeniedCall, times: u64, syscalls: &Syscalls) -> Denial {
    let what = what(call);
    let round = |rule: &SyscallRule| {
        let meets =
            rule.name == call.name && rule.tests.iter().all(|test| holds(test, &call.arguments));
        meets && syscalls.rules.contains(rule)
    };
    if ports::rules().iter().any(round) {
        let why = Some("it would get round `network.tcp_ports`".to_owned());
        return Denial { wall: Wall::Syscalls, what, why, times, allow: None };
    }
    let allow = allow(call, syscalls);
    Denial { wall: Wall::Syscalls, what, why: None, times, allow }
}

/// The call as C would have it, with `_` for what isn't told.
fn what(call: &DeniedCall) -> String {
    match call {
        DeniedCall { name: "", others: true, .. } => "other calls of another processor mode".into(),
        DeniedCall { name: "", number, .. } => format!("call {number} of another processor mode"),
        DeniedCall { name, others: true, .. } => format!("{name} (other arguments)"),
        DeniedCall { name, arguments, .. } if arguments.is_empty() => (*name).into(),
        DeniedCall { name, arguments, .. } => {
            let last = arguments.iter().map(|(index, _)| *index).max().unwrap_or(0);
            let each = (0..=last).map(|wanted| {
                let found = arguments.iter().find(|(index, _)| *index == wanted);
                found
                    .map_or_else(|| "_".into(), |(_, value)| constants::shown(name, wanted, *value))
            });
            format!("{name}({})", each.collect::<Vec<_>>().join(", "))
        }
    }
}

/// The line that allows it, and as little else as can be said: the name alone where the rules for its arguments let it
/// pass, else exactly these arguments.
fn allow(call: &DeniedCall, syscalls: &Syscalls) -> Option<String> {
    let DeniedCall { name, arguments, others, .. } = call;
    if !ENTRIES.iter().any(|entry| entry.names.contains(name)) {
        return None;
    }
    let own = syscalls.rules.iter().filter(|rule| rule.name == *name);
    let base = RULES.iter().filter(|rule| rule.names.contains(name));
    let holds = |tests: &[ArgumentTest]| tests.iter().all(|test| holds(test, arguments));
    let listed = syscalls.allow.iter().any(|known| known == name);
    let has_own = own.clone().next().is_some_and(|_| !listed);
    if !listed && !has_own && !base.clone().any(|rule| holds(rule.tests)) {
        return Some(format!("[syscalls] allow = [\"{name}\"]"));
    }
    let tests =
        || own.clone().flat_map(|rule| &rule.tests).chain(base.clone().flat_map(|rule| rule.tests));
    let tested: Vec<&(u8, u64)> =
        arguments.iter().filter(|(index, _)| tests().any(|test| test.index == *index)).collect();
    if *others || tested.is_empty() {
        return Some(format!("[syscalls] allow = [\"{name}:any\"]"));
    }
    let wide = tested.iter().any(|(_, value)| *value > u64::from(u32::MAX));
    let fields = tested.iter().map(|(index, value)| {
        format!("arg{index} = \"{}\"", constants::shown(name, *index, *value))
    });
    let fields: Vec<String> = fields.chain(wide.then(|| "wide = true".into())).collect();
    Some(format!(
        "[syscalls] rules = [{{ name = \"{name}\", {}, action = \"allow\" }}]",
        fields.join(", ")
    ))
}

/// Whether a test holds, as far as the arguments are known.
fn holds(test: &ArgumentTest, arguments: &[(u8, u64)]) -> bool {
    let Some((_, value)) = arguments.iter().find(|(index, _)| *index == test.index) else {
        return false;
    };
    match test.compare {
        Compare::Equal(wanted) => *value == wanted,
        Compare::NotEqual(wanted) => *value != wanted,
        Compare::Masked { mask, value: wanted } => value & mask == wanted,
        Compare::Any(mask) => value & mask != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Calls;
    use super::*;
    use crate::platform::OnViolation;

    fn told(
        calls: &Calls,
        name: &'static str,
        arguments: &[(u8, u64)],
    ) -> (String, Option<String>) {
        let syscalls = calls.expand(OnViolation::Error).unwrap();
        let call = DeniedCall { name, number: 1, arguments: arguments.to_vec(), others: false };
        let Denial { what, allow, .. } = denial(&call, 1, &syscalls);
        (what, allow)
    }

    #[test]
    fn a_way_round_the_ports_is_told_as_that_and_only_where_ports_are_held() {
        let mut syscalls = Calls::default().expand(OnViolation::Error).unwrap();
        let arguments = vec![(0, 2), (1, 1), (2, 262)];
        let call = DeniedCall { name: "socket", number: 41, arguments, others: false };
        assert_eq!(denial(&call, 1, &syscalls).why, None);
        syscalls.rules.splice(..0, ports::rules());
        let told = denial(&call, 1, &syscalls);
        assert_eq!(told.why.as_deref(), Some("it would get round `network.tcp_ports`"));
        assert_eq!(told.allow, None);
    }

    #[test]
    fn what_was_denied_is_told_with_the_line_that_allows_it() {
        let calls = Calls::default();
        let mut without = Calls::default();
        without.deny("socket");
        for (calls, name, arguments, what, allow) in [
            (
                &calls,
                "unshare",
                &[(0, 0x1000_0000)][..],
                "unshare(CLONE_NEWUSER)",
                "allow = [\"unshare\"]",
            ),
            (&calls, "mount", &[], "mount", "allow = [\"mount\"]"),
            (
                &calls,
                "socket",
                &[(0, 40), (1, 1), (2, 0)],
                "socket(AF_VSOCK, SOCK_STREAM, 0)",
                "rules = [{ name = \"socket\", arg0 = \"AF_VSOCK\", arg1 = \"SOCK_STREAM\", arg2 = \"0\", action = \"allow\" }]",
            ),
            (
                &calls,
                "ioctl",
                &[(1, 0x5412)],
                "ioctl(_, TIOCSTI)",
                "rules = [{ name = \"ioctl\", arg1 = \"TIOCSTI\", action = \"allow\" }]",
            ),
            (&calls, "chmod", &[], "chmod", "allow = [\"chmod:any\"]"),
            (
                &without,
                "socket",
                &[(0, 2), (1, 1), (2, 0)],
                "socket(AF_INET, SOCK_STREAM, 0)",
                "allow = [\"socket\"]",
            ),
        ] {
            let expected = (what.to_owned(), Some(format!("[syscalls] {allow}")));
            assert_eq!(told(calls, name, arguments), expected);
        }
        let nothing = ("call 1 of another processor mode".to_owned(), None);
        assert_eq!(told(&calls, "", &[]), nothing);
    }
}
