//! What this host can enforce: from a few cheap readings ([`host`]) for every launch, and for `doctor` by trying every
//! wall for real ([`trial`]).

mod facts;
mod host;
mod trial;

use super::cgroup::{Controllers, NoTree, Tree};
use super::landlock;
use crate::{Availability, Control, Probe, Support};
use host::{Host, Namespace};
use std::collections::BTreeMap;

/// Answers for every control. `Quick` takes some 100 microseconds, `Thorough` some tens of milliseconds.
pub(crate) fn support(probe: Probe, tree: &Result<Tree, NoTree>) -> Support {
    let host = Host::read(probe, tree);
    let mut support = Support {
        backend: "linux".into(),
        controls: controls(&host),
        needed: trial::BASE.into(),
        facts: Vec::new(),
    };
    if probe == Probe::Thorough {
        trial::correct(&mut support.controls, &host, tree);
        support.facts = facts::all(&host, tree);
    }
    support
}

/// What a host with these readings can do: pure, so that every host can be tried on any.
fn controls(host: &Host) -> BTreeMap<Control, Availability> {
    Control::all().map(|control| (control, availability(host, control))).collect()
}

fn availability(host: &Host, control: Control) -> Availability {
    let namespace = |kind| match host.namespace(kind) {
        None => Availability::Enforced,
        Some(why) => unavailable(why),
    };
    match control {
        Control::Memory => watched(host, Controllers::MEMORY, WATCHED_MEMORY),
        Control::Pids => watched(host, Controllers::PIDS, WATCHED_PIDS),
        Control::Cpu => watched(host, Controllers::CPU, PINNED),
        Control::MemoryHigh => only_group(host, Controllers::MEMORY),
        Control::MemoryStall => match &host.pressure {
            Ok(()) => only_group(host, Controllers::MEMORY),
            Err(why) => unavailable(why.clone()),
        },
        Control::MemoryMin | Control::MemoryLow | Control::Zswap => {
            only_group(host, Controllers::MEMORY)
        }
        Control::CpuWeight | Control::CpuBurst | Control::CpuIdle => {
            only_group(host, Controllers::CPU)
        }
        Control::Cpus => watched(host, Controllers::CPUSET, AFFINITY),
        Control::Mems => only_group(host, Controllers::CPUSET),
        Control::Io => only_group(host, Controllers::IO),
        Control::IoWeight => match &host.io_shares {
            Some(why) if host.lacks(Controllers::IO).is_none() => unavailable(why.clone()),
            _ => only_group(host, Controllers::IO),
        },
        Control::Disk | Control::DiskFiles => match &host.no_disk_limits {
            None => Availability::Enforced,
            Some(why) => unavailable(why.clone()),
        },
        Control::HugePages => only_group(host, Controllers::HUGETLB),
        Control::Swap => match host.lacks(Controllers::MEMORY) {
            Some(why) if !host.swap => degraded(NO_SWAP, why),
            Some(why) => unavailable(why),
            None => Availability::Enforced,
        },
        // Each process carries these itself; the starter keeps the time, and adds up the CPU time by looking again and
        // again, so that a tree can be over by what it uses between two looks.
        Control::OpenFiles
        | Control::FileSize
        | Control::CoreSize
        | Control::Stack
        | Control::LockedMemory
        | Control::Realtime
        | Control::Nice
        | Control::Output
        | Control::WallTime
        | Control::CpuTime
        | Control::Capabilities
        | Control::NoNewPrivileges
        | Control::Descriptors => Availability::Enforced,
        // One user namespace makes all the others possible, so without it there is none of them.
        Control::User => namespace(Namespace::User),
        Control::Filesystem => namespace(Namespace::Mount),
        Control::Lifetime | Control::Processes => namespace(Namespace::Pid),
        Control::Ipc => namespace(Namespace::Ipc),
        Control::Hostname => namespace(Namespace::Uts),
        // The proxy of a network of its own is the only way out of it.
        Control::Network | Control::NetworkSend => namespace(Namespace::Net),
        Control::QuotaView => namespace(Namespace::Cgroup),
        Control::Clock => namespace(Namespace::Time),
        Control::Ids => match &host.no_ids {
            None => namespace(Namespace::User),
            Some(why) => unavailable(why.clone()),
        },
        Control::Groups => groups(host),
        Control::AccessRules => access_rules(host),
        Control::TcpPorts => tcp_ports(host),
        Control::Overlay => match &host.no_overlay {
            None => namespace(Namespace::Mount),
            Some(why) => unavailable(why.clone()),
        },
        Control::Syscalls if host.filters => Availability::Enforced,
        Control::Syscalls => unavailable(NoTree {
            reason: "the kernel has no system call filters (CONFIG_SECCOMP_FILTER), or a filter \
                     around this process forbids more"
                .into(),
            remedy: String::new(),
        }),
    }
}

const WATCHED_MEMORY: &str = "watched: Stockade adds up the memory of the tree and ends the \
                              sandbox when it is over; each process is held by RLIMIT_DATA";
const WATCHED_PIDS: &str = "RLIMIT_NPROC of the sandbox's own user";
const PINNED: &str = "pinned to as many CPUs as asked for, rounded up; no quota";
const AFFINITY: &str = "a CPU mask of each process, which the program itself may change";
const NO_SWAP: &str = "nothing is limited, but the host has no swap now";

fn watched(host: &Host, controller: Controllers, how: &str) -> Availability {
    host.lacks(controller).map_or(Availability::Enforced, |why| degraded(how, why))
}

fn only_group(host: &Host, controller: Controllers) -> Availability {
    host.lacks(controller).map_or(Availability::Enforced, unavailable)
}

fn groups(host: &Host) -> Availability {
    if host.caller.privileged || host.groups == 0 {
        return Availability::Enforced;
    }
    let number = host.groups;
    degraded(
        "they stay: what they may read on the host they may read inside, where the view has it",
        NoTree {
            reason: format!("the caller has {number} and may not drop them without root"),
            remedy: "start Stockade as root, or from an account without supplementary groups"
                .into(),
        },
    )
}

fn access_rules(host: &Host) -> Availability {
    let abi = match host.landlock {
        Ok(abi) => abi,
        Err(reason) => {
            return unavailable(NoTree { reason: reason.into(), remedy: host.landlock_remedy() });
        }
    };
    let rules = landlock::rules(abi, &[]);
    if rules.complete {
        return Availability::Enforced;
    }
    let reason = format!("this kernel has version {abi} of Landlock");
    degraded(&rules.how, NoTree { reason, remedy: "run Linux 6.12 or newer".into() })
}

fn tcp_ports(host: &Host) -> Availability {
    match host.landlock {
        Ok(landlock::PORTS..) if host.filters => Availability::Enforced,
        Ok(landlock::PORTS..) => unavailable(NoTree {
            reason: "without system call filters there are ways round the kernel's rules".into(),
            remedy: String::new(),
        }),
        Ok(abi) => unavailable(NoTree {
            reason: format!("this kernel has version {abi} of Landlock, without rules for ports"),
            remedy: "run Linux 6.7 or newer".into(),
        }),
        Err(reason) => {
            unavailable(NoTree { reason: reason.into(), remedy: host.landlock_remedy() })
        }
    }
}

fn degraded(how: &str, NoTree { reason, remedy }: NoTree) -> Availability {
    Availability::Degraded { how: how.into(), reason, remedy }
}

fn unavailable(NoTree { reason, remedy }: NoTree) -> Availability {
    Availability::Unavailable { reason, remedy }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::at_best;
