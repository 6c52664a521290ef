//! What this backend can do for each control. Pure: it is the same on every Unix, but for who asks.

use super::{seatbelt, system};
use crate::{Availability, Control, Fact, Support};

/// What can be done for a caller who is root, or who isn't.
pub(super) fn support(root: bool) -> Support {
    let answer = |control| (control, availability(control, root, system::SEATBELT));
    let controls = Control::all().map(answer).collect();
    let walls = match system::SEATBELT {
        true => {
            "Seatbelt is the only wall: beside files and the network, the program may do all that this user may"
        }
        false => "there are no walls: what the program may do as this user, it may do",
    };
    let facts = vec![Fact::bad("backend", "posix", walls, "")];
    Support { backend: "posix".into(), controls, facts, ..Support::default() }
}

/// What a control has on macOS for a user who isn't root.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn at_best(control: Control) -> Availability {
    availability(control, false, true)
}

fn availability(control: Control, root: bool, seatbelt: bool) -> Availability {
    match control {
        Control::OpenFiles
        | Control::FileSize
        | Control::CoreSize
        | Control::Stack
        | Control::LockedMemory
        | Control::Output
        | Control::WallTime
        | Control::CpuTime
        | Control::Descriptors => Availability::Enforced,
        Control::Nice if root => {
            Availability::instead("root may lower it again", "the program is root")
        }
        Control::Nice => Availability::Enforced,
        Control::Memory => Availability::instead(WATCHED_MEMORY, NO_TREE),
        Control::Pids => Availability::instead(WATCHED_PIDS, NO_TREE),
        Control::Lifetime => Availability::instead(SEEN, NO_TREE),
        Control::User | Control::Capabilities if root => {
            Availability::none("the program is root, as the caller is")
        }
        Control::User | Control::Capabilities => Availability::Enforced,
        Control::Filesystem if seatbelt => Availability::instead(seatbelt::FILES, seatbelt::OLD),
        Control::Network if seatbelt => Availability::instead(seatbelt::NETWORK, seatbelt::OLD),
        Control::TcpPorts if seatbelt => Availability::instead(seatbelt::PORTS, seatbelt::OLD),
        limit if limit.is_limit() => {
            Availability::none("no system call of POSIX sets it for a tree")
        }
        _ => Availability::none("the posix backend has no walls"),
    }
}

/// How a control is held that no process carries.
pub(super) fn how(control: Control) -> &'static str {
    match control {
        Control::Output => "counted and cut on its way",
        Control::WallTime => "a clock of Stockade's",
        Control::Descriptors => "closed when the program is executed",
        Control::Nice => "setpriority",
        Control::User => "the caller's own, which isn't root",
        Control::Capabilities => "the caller has none",
        _ => "",
    }
}

const NO_TREE: &str = "POSIX has limits for processes and users, and none for a tree";
const WATCHED_MEMORY: &str = "watched: Stockade adds up the memory of the tree and ends the sandbox when it is over; RLIMIT_AS holds \
                              each process, where the system lets it";
const WATCHED_PIDS: &str = "watched: Stockade counts the tree and ends the sandbox when it is over; RLIMIT_NPROC holds all of the \
                            user's processes, unless that is root";
const SEEN: &str = "every process of the session, and every one that was seen to descend from it, is killed at the end; nobody \
                    does that where Stockade itself is killed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wall_is_promised_and_every_other_answer_has_its_reason() {
        for control in Control::all() {
            for (root, seatbelt) in [(true, true), (true, false), (false, true), (false, false)] {
                match availability(control, root, seatbelt) {
                    Availability::Enforced => {
                        let own = [Control::Descriptors, Control::User, Control::Capabilities];
                        assert!(control.is_limit() || own.contains(&control), "{control}");
                    }
                    Availability::Degraded { how, reason, .. } => {
                        assert!(!how.is_empty() && !reason.is_empty(), "{control}");
                    }
                    Availability::Unavailable { reason, .. } => assert!(!reason.is_empty()),
                }
            }
        }
    }
}
