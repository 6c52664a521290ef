//! What `doctor` tells people about the host.

use super::host::{Host, Namespace};
use crate::Fact;
use crate::linux::cgroup::{Controllers, NoTree, Origin, Tree};
use crate::linux::landlock;
use rustix::fs::{Access, access};
use std::path::Path;

/// The first release that has all system calls and files which Stockade can't do without: `cgroup.kill` came last.
const OLDEST: (u32, u32) = (5, 14);

/// Everything found out, the most basic first.
pub(super) fn all(host: &Host, tree: &Result<Tree, NoTree>) -> Vec<Fact> {
    let mut facts = vec![kernel(), caller(host), version(tree), parent(tree)];
    let consequences = [
        (Controllers::MEMORY, "memory", "limits.memory is watched; no memory_high"),
        (Controllers::CPU, "cpu", "limits.cpu pins to whole CPUs; no cpu_weight"),
        (Controllers::PIDS, "pids", "limits.pids is RLIMIT_NPROC"),
        (Controllers::CPUSET, "cpuset", "limits.cpus is a CPU mask; no mems"),
        (Controllers::IO, "io", "no limits.io, no io_weight"),
        (Controllers::HUGETLB, "hugetlb", "no limits.huge_pages"),
    ];
    for (controller, name, consequence) in consequences {
        facts.push(one_controller(host, tree, controller, name, consequence));
    }
    facts.push(swap());
    facts.push(user_namespaces(host));
    facts.push(namespaces(host));
    facts.extend(apparmor(host));
    facts.push(access_rules(host));
    facts.push(filters(host));
    facts.push(Fact::good(
        "no_new_privs",
        if no_new_privs() { "set already" } else { "can be set" },
    ));
    let pressure = access("/proc/pressure/memory", Access::EXISTS).is_ok();
    facts.push(Fact::good("pressure", if pressure { "told" } else { "not told, and not needed" }));
    facts.extend(process_ids());
    facts
}

fn kernel() -> Fact {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    match release_numbers(&release) {
        Some(numbers) if numbers < OLDEST => {
            let (major, minor) = OLDEST;
            Fact::bad(
                "kernel",
                release,
                "launches fail, or leave processes behind",
                format!("install Linux {major}.{minor} or newer"),
            )
        }
        _ => Fact::good("kernel", release),
    }
}

/// Major and minor number of a release such as `6.1.0-18-amd64`.
pub(super) fn release_numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn caller(host: &Host) -> Fact {
    let user = host.caller.user;
    let who = match (host.caller.privileged, user) {
        (true, _) => "root: sandboxes get a host user of their own".to_owned(),
        (false, 0) => "root of a container: sandboxes run as that root, without its rights".into(),
        (false, user) => format!("user {user}: sandboxes run as that user, without its rights"),
    };
    let effective = caps::read(None, caps::CapSet::Effective).map_or(0, |set| set.len());
    Fact::good("caller", format!("{who}; capabilities: {effective}"))
}

fn version(tree: &Result<Tree, NoTree>) -> Fact {
    const NAME: &str = "control groups";
    let Ok(tree) = tree else {
        return match access("/sys/fs/cgroup/memory", Access::EXISTS) {
            Ok(()) => Fact::bad(
                NAME,
                "version 1",
                "limits of the whole tree are watched, not enforced",
                "boot with `systemd.unified_cgroup_hierarchy=1` or `cgroup_no_v1=all`",
            ),
            Err(_) => Fact::good(NAME, "version 2, or none"),
        };
    };
    let mount = tree.mount().display();
    if tree.held_by_v1() == Controllers::NONE {
        return Fact::good(NAME, format!("version 2 at `{mount}`"));
    }
    Fact::bad(
        NAME,
        format!("hybrid: version 2 at `{mount}`, and version 1 has: {}", tree.held_by_v1()),
        "limits of the whole tree are watched, not enforced",
        "boot with `systemd.unified_cgroup_hierarchy=1` or `cgroup_no_v1=all`",
    )
}

fn parent(tree: &Result<Tree, NoTree>) -> Fact {
    const NAME: &str = "place of sandboxes";
    match tree {
        Ok(tree) => {
            let path = tree.path();
            let origin = match tree.origin() {
                Origin::Asked => "named by STOCKADE_CGROUP",
                Origin::Delegated => "delegated to the caller",
                Origin::OwnDirectory => "Stockade's own directory",
            };
            Fact::good(NAME, format!("`{}`, {origin}", path.display()))
        }
        Err(NoTree { reason, remedy }) => Fact::bad(
            NAME,
            reason,
            "no limit of the whole tree is enforced; the tree is ended by its first process",
            remedy,
        ),
    }
}

fn one_controller(
    host: &Host,
    tree: &Result<Tree, NoTree>,
    controller: Controllers,
    name: &str,
    consequence: &str,
) -> Fact {
    let name = format!("controller {name}");
    match (host.lacks(controller), tree) {
        // The reason is told once, by the place of sandboxes.
        (Some(_), Err(_)) => Fact::bad(&name, "out of reach", consequence, ""),
        (Some(NoTree { reason, remedy }), Ok(_)) => Fact::bad(&name, reason, consequence, remedy),
        (None, Ok(tree)) if tree.enabled().has(controller) => Fact::good(&name, "enabled"),
        (None, _) => Fact::good(&name, "available, enabled by the first launch that needs it"),
    }
}

fn swap() -> Fact {
    let text = std::fs::read_to_string("/proc/swaps");
    let found = match text.as_deref().map(|text| text.lines().count()) {
        Ok(0 | 1) => "none",
        Ok(_) => "on",
        Err(_) => "not in this kernel",
    };
    Fact::good("swap", found)
}

fn user_namespaces(host: &Host) -> Fact {
    match host.namespace(Namespace::User) {
        None => Fact::good("user namespaces", "allowed"),
        Some(NoTree { reason, remedy }) => {
            Fact::bad("user namespaces", reason, "nothing can be launched", remedy)
        }
    }
}

fn namespaces(host: &Host) -> Fact {
    let missing: Vec<_> = Namespace::ALL
        .iter()
        .zip(host.namespaces)
        .filter(|(kind, possible)| {
            **kind != Namespace::User && *possible != super::host::Possible::Yes
        })
        .map(|(kind, _)| kind.file())
        .collect();
    match missing.as_slice() {
        [] => Fact::good("other namespaces", "all"),
        // Nothing but a policy's clock offsets needs it.
        ["time"] => Fact::good("other namespaces", "all but time (only clock offsets need it)"),
        _ => Fact::bad(
            "other namespaces",
            format!("missing: {}", missing.join(" ")),
            "their walls can't be built",
            "see the controls below",
        ),
    }
}

fn apparmor(host: &Host) -> Option<Fact> {
    let present = access("/sys/module/apparmor", Access::EXISTS).is_ok();
    let restricts = host.apparmor_restricts;
    match (present, restricts) {
        (false, _) => None,
        (true, false) => Some(Fact::good("AppArmor", "leaves user namespaces alone")),
        (true, true) => {
            Some(Fact::bad("AppArmor", "takes their rights", "nothing can be launched", ""))
        }
    }
}

fn access_rules(host: &Host) -> Fact {
    match host.landlock {
        Ok(abi) if landlock::rules(abi, &[]).complete => {
            Fact::good("Landlock", format!("version {abi}"))
        }
        Ok(abi) => Fact::bad(
            "Landlock",
            format!("version {abi}"),
            "the second wall around files has gaps; the first has none",
            "run Linux 6.12 or newer",
        ),
        Err(reason) => Fact::bad(
            "Landlock",
            reason,
            "there is no second wall around files",
            host.landlock_remedy(),
        ),
    }
}

fn filters(host: &Host) -> Fact {
    if host.filters {
        return Fact::good("system call filters", "all answers");
    }
    Fact::bad(
        "system call filters",
        "missing",
        "system calls can't be filtered",
        "run a kernel with CONFIG_SECCOMP_FILTER",
    )
}

fn no_new_privs() -> bool {
    rustix::thread::no_new_privs().unwrap_or(false)
}

fn process_ids() -> Option<Fact> {
    let most = std::fs::read_to_string(Path::new("/proc/sys/kernel/pid_max")).ok()?;
    Some(Fact::good("process ids", format!("at most {}", most.trim())))
}
