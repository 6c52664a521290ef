//! What one policy permits that another doesn't. Pure.

use super::keys;
use super::{Explained, Policy};
use crate::platform::{Control, Limits, Network, PortSet, TcpPorts};
use serde::Serialize;
use std::collections::BTreeSet;

/// One difference between two policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The key.
    pub key: &'static str,
    /// What the first says of it; of a list, what only it has.
    pub first: Vec<String>,
    /// What the second says.
    pub second: Vec<String>,
    /// Which of the two permits more.
    pub wider: Wider,
}

/// Which of two policies permits more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wider {
    /// The first.
    First,
    /// The second.
    Second,
    /// Each permits something that the other doesn't.
    Both,
    /// Neither: it is only different.
    Neither,
}

/// Keys whose entries take something away.
const DENIALS: [&str; 3] = ["syscalls.deny", "filesystem.hide", "filesystem.deny"];
/// Keys that say what a policy is, not what it permits; the list that calls add up to has a key of its own here.
const NO_PERMISSION: [&str; 5] =
    ["description", "extends", "syscalls.base", "syscalls.allow", "syscalls.deny"];
/// Lists whose entries permit something each.
const PERMISSIONS: [&str; 10] = [
    "filesystem.read",
    "filesystem.read_optional",
    "filesystem.write",
    "filesystem.copy",
    "filesystem.devices",
    "capabilities.keep",
    "environment.keep",
    "degrade.allow",
    "network.allow",
    "network.publish",
];

/// Compares two policies, each with its values as [`explain`](super::explain) gives them.
pub fn diff(
    (first, of_first): (&Policy, &[Explained]),
    (second, of_second): (&Policy, &[Explained]),
) -> Vec<Difference> {
    let mut all = Vec::new();
    for key in keys::all().filter(|key| !NO_PERMISSION.contains(&key.path)) {
        let only = |these: &[Explained], those: &[Explained]| -> Vec<String> {
            let values = |of: &[Explained]| {
                let of = of.iter().filter(|value| value.key == key.path);
                of.map(|value| value.value.clone()).collect::<BTreeSet<_>>()
            };
            values(these).difference(&values(those)).cloned().collect()
        };
        let (mine, theirs) = (only(of_first, of_second), only(of_second, of_first));
        if mine.is_empty() && theirs.is_empty() {
            continue;
        }
        let wider = match key.path {
            path if DENIALS.contains(&path) => of_lists(&theirs, &mine),
            path if PERMISSIONS.contains(&path) => of_lists(&mine, &theirs),
            "network.mode" => of_numbers(Some(reach(first.network)), Some(reach(second.network))),
            "filesystem.access_rules" => {
                let open = |policy: &Policy| Some(u128::from(!policy.access_rules));
                of_numbers(open(first), open(second))
            }
            "network.tcp_bind" => of_ports(&first.tcp.bind, &second.tcp.bind),
            "network.tcp_connect" => of_ports(&first.tcp.connect, &second.tcp.connect),
            "identity.ids" => {
                let count = |policy: &Policy| Some(policy.identity.several().unwrap_or(1).into());
                of_numbers(count(first), count(second))
            }
            path => match path.parse::<Control>() {
                Ok(limit) if limit.is_limit() => of_limits(limit, &first.limits, &second.limits),
                _ => Wider::Neither,
            },
        };
        all.push(Difference { key: key.path, first: mine, second: theirs, wider });
    }
    all.extend(calls(first, second));
    all
}

/// System calls that only one of them allows, whichever of their words that follows from.
fn calls(first: &Policy, second: &Policy) -> Option<Difference> {
    let names = |policy: &Policy| policy.syscalls.allow.iter().cloned().collect::<BTreeSet<_>>();
    let (one, other) = (names(first), names(second));
    let mine: Vec<String> = one.difference(&other).cloned().collect();
    let theirs: Vec<String> = other.difference(&one).cloned().collect();
    if mine.is_empty() && theirs.is_empty() {
        return None;
    }
    let wider = of_lists(&mine, &theirs);
    Some(Difference { key: "syscalls", first: mine, second: theirs, wider })
}

fn of_lists(mine: &[String], theirs: &[String]) -> Wider {
    match (mine.is_empty(), theirs.is_empty()) {
        (false, true) => Wider::First,
        (true, false) => Wider::Second,
        (false, false) => Wider::Both,
        (true, true) => Wider::Neither,
    }
}

fn of_ports(first: &Option<PortSet>, second: &Option<PortSet>) -> Wider {
    let covers = |one: &Option<PortSet>, other: &Option<PortSet>| {
        TcpPorts::covers(one.as_ref(), other.as_ref())
    };
    match (covers(first, second), covers(second, first)) {
        (true, true) => Wider::Neither,
        (true, false) => Wider::First,
        (false, true) => Wider::Second,
        (false, false) => Wider::Both,
    }
}

/// The higher one permits more, and most does what isn't limited.
fn of_numbers(first: Option<u128>, second: Option<u128>) -> Wider {
    match first.unwrap_or(u128::MAX).cmp(&second.unwrap_or(u128::MAX)) {
        std::cmp::Ordering::Greater => Wider::First,
        std::cmp::Ordering::Less => Wider::Second,
        std::cmp::Ordering::Equal => Wider::Neither,
    }
}

/// How much of the network can be reached.
fn reach(network: Network) -> u128 {
    match network {
        Network::None => 0,
        Network::Host => 2,
        _ => 1,
    }
}

fn of_limits(limit: Control, first: &Limits, second: &Limits) -> Wider {
    let most = |limits: &Limits| match limit {
        Control::Memory => limits.memory.map(|it| it.0.into()),
        Control::MemoryHigh => limits.memory_high.map(|it| it.0.into()),
        Control::MemoryStall => limits.memory_stall.map(|it| it.as_nanos()),
        Control::Swap => limits.swap.map(|it| it.0.into()),
        Control::Zswap => limits.zswap.map(|it| it.0.into()),
        Control::HugePages => limits.huge_pages.map(|it| it.0.into()),
        Control::Cpu => limits.cpu.map(|it| it.millis().into()),
        Control::Pids => limits.pids.map(Into::into),
        Control::Disk => limits.disk.map(|it| it.0.into()),
        Control::NetworkSend => limits.network_send.map(|it| it.0.0.into()),
        Control::OpenFiles => limits.open_files.map(Into::into),
        Control::FileSize => limits.file_size.map(|it| it.0.into()),
        Control::CoreSize => limits.core_size.map(|it| it.0.into()),
        Control::Stack => limits.stack.map(|it| it.0.into()),
        Control::LockedMemory => limits.locked_memory.map(|it| it.0.into()),
        Control::Output => limits.output.map(|it| it.0.into()),
        Control::WallTime => limits.wall_time.map(|it| it.as_nanos()),
        Control::CpuTime => limits.cpu_time.map(|it| it.as_nanos()),
        // Shares and places: neither is more than the other.
        _ => Some(0),
    };
    of_numbers(most(first), most(second))
}

#[cfg(test)]
mod tests {
    use super::super::{Override, explain};
    use super::*;
    use std::path::Path;

    fn loaded(name: &str, overrides: &[(&str, &str)]) -> (Policy, Vec<Explained>) {
        let overrides: Vec<Override> =
            overrides.iter().map(|(key, value)| Override::new(key, value).unwrap()).collect();
        explain(name, &overrides, Path::new("/srv/app")).unwrap()
    }

    fn told(one: &(Policy, Vec<Explained>), other: &(Policy, Vec<Explained>)) -> Vec<String> {
        let all = diff((&one.0, &one.1), (&other.0, &other.1));
        all.iter()
            .map(|it| format!("{} {:?} {:?} {:?}", it.key, it.wider, it.first, it.second))
            .collect()
    }

    #[test]
    fn a_policy_does_not_differ_from_itself() {
        let one = loaded("worker", &[]);
        assert_eq!(told(&one, &one), [""; 0]);
    }

    #[test]
    fn each_difference_says_who_permits_more() {
        let one =
            loaded("worker", &[("limits.memory", "1GiB"), ("filesystem.deny", "/usr/share/doc")]);
        let changes = [
            ("network.mode", "host"),
            ("limits.memory", "unlimited"),
            ("filesystem.write", "/srv/out"),
            ("syscalls.allow", "ptrace"),
            ("identity.hostname", "other"),
            ("filesystem.access_rules", "false"),
            ("identity.ids", "65536"),
            ("identity.range", "200000-265535"),
            ("limits.wall_time", "1s"),
        ];
        let other = loaded("worker", &changes);
        insta::assert_snapshot!(told(&one, &other).join("\n"), @r#"
        limits.memory Second ["1GiB"] ["unlimited"]
        limits.wall_time First ["60s"] ["1s"]
        filesystem.write Second [] ["/srv/out"]
        filesystem.deny Second ["/usr/share/doc"] []
        filesystem.access_rules Second ["true"] ["false"]
        network.mode Second ["none"] ["host"]
        identity.ids Second [] ["65536"]
        identity.range Neither [] ["200000-265535"]
        identity.hostname Neither ["worker"] ["other"]
        syscalls Second [] ["ptrace"]
        "#);
    }
}
