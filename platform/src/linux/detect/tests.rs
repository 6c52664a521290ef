//! Decisions on hosts that aren't at hand, and the real answers of this one.

use super::host::Possible;
use super::*;
use crate::linux::identity::Caller;

/// A host that lacks nothing.
fn whole() -> Host {
    Host {
        lacks: Controllers::EACH.map(|one| (one, None)),
        swap: false,
        namespaces: [Possible::Yes; 8],
        debian_forbids: false,
        apparmor_restricts: false,
        caller: Caller { user: 1000, group: 1000, privileged: false },
        no_launch: None,
        groups: 0,
        landlock: Ok(8),
        pressure: Ok(()),
        io_shares: None,
        no_disk_limits: None,
        no_overlay: None,
        no_ids: None,
        filters: true,
    }
}

fn without(controller: Controllers) -> Host {
    let mut host = whole();
    for (one, why) in &mut host.lacks {
        if controller.has(*one) {
            *why = Some(NoTree { reason: "hybrid".into(), remedy: "boot".into() });
        }
    }
    host
}

/// What a control has on a host that lacks nothing, and on one that lacks only controllers.
pub(crate) fn at_best(control: Control) -> [Availability; 2] {
    [whole(), without(Controllers::ALL)].map(|host| availability(&host, control))
}

fn state(host: &Host, control: Control) -> &'static str {
    match availability(host, control) {
        Availability::Enforced => "enforced",
        Availability::Degraded { .. } => "degraded",
        Availability::Unavailable { .. } => "unavailable",
    }
}

#[test]
fn a_host_that_lacks_nothing_enforces_everything() {
    let host = whole();
    for (control, availability) in controls(&host) {
        assert_eq!(availability, Availability::Enforced, "{control}");
    }
}

#[test]
fn limits_without_controllers_are_watched_where_that_can_be() {
    let host = without(Controllers::ALL);
    for control in [Control::Memory, Control::Cpu, Control::Pids, Control::Swap, Control::Cpus] {
        assert_eq!(state(&host, control), "degraded", "{control}");
    }
    for control in [Control::MemoryHigh, Control::CpuWeight, Control::Mems, Control::HugePages] {
        assert_eq!(state(&host, control), "unavailable", "{control}");
    }
    assert_eq!(state(&host, Control::WallTime), "enforced");
    let host = without(Controllers::CPU);
    assert_eq!(state(&host, Control::Memory), "enforced");
    assert_eq!(state(&host, Control::Cpu), "degraded");
}

#[test]
fn swap_that_exists_and_has_no_limit_is_told() {
    let mut host = without(Controllers::MEMORY);
    host.swap = true;
    assert_eq!(state(&host, Control::Swap), "unavailable");
}

#[test]
fn no_wall_of_namespaces_stands_without_user_namespaces() {
    let mut forbidden = whole();
    forbidden.namespaces[0] = Possible::Forbidden;
    let mut debian = whole();
    debian.debian_forbids = true;
    let mut ubuntu = whole();
    ubuntu.apparmor_restricts = true;
    let mut disguised = whole();
    disguised.no_launch = Some(NoTree { reason: "root".into(), remedy: "another".into() });
    for host in [forbidden, debian, ubuntu, disguised] {
        for control in [Control::User, Control::Filesystem, Control::Processes, Control::Network] {
            let Availability::Unavailable { reason, remedy } = availability(&host, control) else {
                panic!("{control} on {host:?}");
            };
            assert!(!reason.is_empty() && !remedy.is_empty(), "{control}: {reason}");
        }
        assert_eq!(state(&host, Control::Syscalls), "enforced");
        assert_eq!(state(&host, Control::Memory), "enforced");
    }
}

#[test]
fn a_missing_kind_of_namespace_takes_only_its_own_wall() {
    let mut host = whole();
    host.namespaces[7] = Possible::Missing;
    assert_eq!(state(&host, Control::Clock), "unavailable");
    assert_eq!(state(&host, Control::Ipc), "enforced");
}

#[test]
fn supplementary_groups_stay_unless_root_starts() {
    let mut host = whole();
    host.groups = 3;
    assert_eq!(state(&host, Control::Groups), "degraded");
    host.caller = Caller { user: 0, group: 0, privileged: true };
    assert_eq!(state(&host, Control::Groups), "enforced");
}

#[test]
fn old_access_rules_have_gaps_and_none_are_none() {
    let mut host = whole();
    host.landlock = Ok(2);
    assert_eq!(state(&host, Control::AccessRules), "degraded");
    host.landlock = Err("off");
    assert_eq!(state(&host, Control::AccessRules), "unavailable");
}

#[test]
fn releases_compare_as_numbers() {
    assert_eq!(facts::release_numbers("6.1.0-18-amd64"), Some((6, 1)));
    assert_eq!(facts::release_numbers("5.9"), Some((5, 9)));
    assert_eq!(facts::release_numbers("unknown"), None);
}

#[test]
fn this_host_answers_for_every_control_and_a_trial_promises_no_more() {
    let tree = Tree::find();
    let quick = support(Probe::Quick, &tree);
    let thorough = support(Probe::Thorough, &tree);
    assert!(quick.facts.is_empty());
    assert!(!thorough.facts.is_empty());
    for control in Control::all() {
        println!("{control}: {:?}", thorough.of(control));
        if quick.of(control) != Availability::Enforced {
            assert_eq!(quick.of(control), thorough.of(control), "{control}");
        }
    }
    for fact in &thorough.facts {
        println!("{}: {} ({})", fact.name, fact.found, fact.consequence);
        assert!(fact.good == fact.consequence.is_empty(), "{}", fact.name);
    }
}
