//! The module against the kernel it runs on. Where that has no cgroup2 tree or no controllers, a test says `SKIP`.

use super::*;
use crate::{Control, Cores, Decision, LaunchPlan, State};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The tree, when it has `controllers`; else the reason is printed, begun with the feature that is missing.
fn tree_with(controllers: Controllers) -> Option<Tree> {
    let tree = match Tree::find() {
        Ok(tree) => tree,
        Err(none) => {
            println!("\nSKIP: delegation: {}", none.reason);
            return None;
        }
    };
    for one in controllers.each() {
        if let Some(none) = tree.lacks(one) {
            println!("\nSKIP: {one}: {}", none.reason);
            return None;
        }
    }
    Some(tree)
}

/// A plan without limits whose id no other test has.
fn plan(name: &str) -> LaunchPlan {
    LaunchPlan::new(format!("{name}-{:08x}", std::process::id()), vec!["true".into()])
}

/// A shell that waits for a line before it does `script`, so that it can be moved first.
fn shell_in(cgroup: &Cgroup, script: &str) -> Child {
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    cgroup.add(child.id()).unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    child
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_secs(20);
    runtime.block_on(async { tokio::time::timeout(limit, future).await }).unwrap()
}

#[test]
fn one_life_without_limits() {
    let Some(tree) = tree_with(Controllers::NONE) else { return };
    let (mut cgroup, enforcement) = tree.create(&plan("life")).unwrap();
    assert_eq!(enforcement, []);
    assert!(cgroup.is_empty().unwrap());

    let mut child = shell_in(&cgroup, "sleep 60");
    assert!(cgroup.contains(child.id()).unwrap());
    assert!(!cgroup.contains(std::process::id()).unwrap());
    assert!(!cgroup.is_empty().unwrap());
    let mut usage = crate::Usage::default();
    cgroup.usage(&mut usage).unwrap();
    assert!(usage.cpu.user.is_some() && usage.cpu.system.is_some());

    block_on(async {
        cgroup.freeze(true).await.unwrap();
        cgroup.kill().unwrap();
        cgroup.emptied().await.unwrap();
    });
    assert!(cgroup.is_empty().unwrap());
    let path = cgroup.path().to_owned();
    cgroup.remove().unwrap();
    cgroup.remove().unwrap();
    assert!(!path.exists());
    assert!(!child.wait().unwrap().success());
}

#[test]
fn dropping_kills_and_removes_also_what_was_made_below() {
    let Some(tree) = tree_with(Controllers::NONE) else { return };
    let (mut cgroup, _) = tree.create(&plan("drop")).unwrap();
    let path = cgroup.path().to_owned();
    let mut child = shell_in(&cgroup, "sleep 60");
    let mut counted = || {
        let mut pids = Vec::new();
        cgroup.pids(&mut pids, &mut Vec::new()).unwrap();
        pids.contains(&child.id())
    };
    assert!(counted());
    std::fs::create_dir_all(path.join("a/b")).unwrap();
    std::fs::write(path.join("a/b/cgroup.procs"), child.id().to_string()).unwrap();
    assert!(counted());
    drop(cgroup);
    assert!(!path.exists());
    assert!(!child.wait().unwrap().success());
}

#[test]
fn a_living_sandbox_survives_the_sweep_and_a_leftover_does_not() {
    let Some(tree) = tree_with(Controllers::NONE) else { return };
    let (alive, _) = tree.create(&plan("alive")).unwrap();
    let leftover = alive.path().with_file_name("crashed-00000000");
    std::fs::create_dir(&leftover).unwrap();
    tree.sweep().unwrap();
    assert!(!leftover.exists());
    assert!(alive.path().exists());
}

#[test]
fn the_name_of_a_leftover_can_be_used_again_and_that_of_a_living_one_cannot() {
    let Some(tree) = tree_with(Controllers::NONE) else { return };
    let plan = plan("again");
    std::fs::create_dir_all(tree.path().join(&plan.id)).unwrap();
    let (cgroup, _) = tree.create(&plan).unwrap();
    assert!(tree.create(&plan).is_err());
    assert!(cgroup.path().exists());
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the lock is held for a time, not until something happens"
)]
fn a_name_that_a_sweep_is_just_removing_is_had_when_it_is_gone() {
    let Some(tree) = tree_with(Controllers::NONE) else { return };
    let plan = plan("swept");
    // What a sweep does, in another process that isn't given a processor for a while.
    let path = tree.path().join(&plan.id);
    std::fs::create_dir_all(&path).unwrap();
    let held = std::fs::File::open(&path).unwrap();
    held.lock().unwrap();
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            std::fs::remove_dir(&path).unwrap();
            drop(held);
        });
        let (cgroup, _) = tree.create(&plan).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(200));
        assert!(cgroup.path().exists());
    });
}

#[test]
fn sweeps_and_launches_at_the_same_time_leave_each_other_alone() {
    let Some(tree) = tree_with(Controllers::NONE) else { return };
    let tree = &tree;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for number in 0..50 {
                    let name = format!("busy{thread}{number}");
                    let (cgroup, _) = tree.create(&plan(&name)).unwrap();
                    tree.sweep().unwrap();
                    assert!(cgroup.path().exists());
                }
            });
        }
    });
}

#[test]
fn a_parent_that_someone_removed_is_made_again() {
    let Some(tree) = tree_with(Controllers::NONE) else { return };
    if tree.origin() != Origin::OwnDirectory {
        return println!("\nSKIP: root: the parent is delegated, not Stockade's own");
    }
    drop(tree.create(&plan("first")).unwrap());
    // Other tests may have a sandbox in it just now; then it stays, and that is fine as well.
    drop(std::fs::remove_dir(tree.path()));
    let (cgroup, _) = tree.create(&plan("second")).unwrap();
    assert!(cgroup.path().exists());
}

#[test]
fn limits_are_in_force_before_there_is_a_process() {
    let Some(tree) = tree_with(Controllers::ALL) else { return };
    let mut plan = plan("limits");
    plan.limits.memory = Some(Bytes((64 << 20) + 1));
    plan.limits.memory_high = Some(Bytes::mib(48));
    plan.limits.swap = Some(Bytes(0));
    plan.limits.cpu = Cores::from_millis(1500);
    plan.limits.cpu_weight = Some(50);
    plan.limits.pids = Some(64);
    let (cgroup, enforcement) = tree.create(&plan).unwrap();
    assert!(cgroup.is_empty().unwrap());
    let told: Vec<_> = enforcement
        .iter()
        .map(|one| (one.control, one.state, one.value.as_deref()))
        .filter(|(control, ..)| *control != Control::Swap)
        .collect();
    assert_eq!(
        told,
        [
            (Control::MemoryHigh, State::Enforced, Some("50331648")),
            (Control::Memory, State::Enforced, Some("67108864")),
            (Control::Cpu, State::Enforced, Some("150000 100000")),
            (Control::CpuWeight, State::Enforced, Some("50")),
            (Control::Pids, State::Enforced, Some("65")),
        ]
    );
    assert!(enforcement.iter().any(|one| one.control == Control::Swap));
    let read = |file| std::fs::read_to_string(cgroup.path().join(file)).unwrap();
    assert_eq!(read("memory.max"), "67108864\n");
    assert_eq!(read("memory.oom.group"), "1\n");
    assert_eq!(read("cpu.max"), "150000 100000\n");
    assert_eq!(read("pids.max"), "65\n");
    assert_eq!(cgroup.memory_limit().unwrap(), Some(Bytes::mib(64)));
}

#[test]
fn a_limit_that_the_plan_watches_instead_is_not_written() {
    let Some(tree) = tree_with(Controllers::ALL) else { return };
    let mut plan = plan("watched");
    plan.limits.memory = Some(Bytes::mib(64));
    let watched = Decision::Degrade { how: "watched".into(), reason: "asked for".into() };
    plan.controls.insert(Control::Memory, watched);
    let (cgroup, enforcement) = tree.create(&plan).unwrap();
    assert_eq!(enforcement, []);
    assert_eq!(cgroup.memory_limit().unwrap(), None);
}

#[test]
fn a_value_that_the_kernel_changes_is_refused_and_leaves_nothing() {
    let Some(tree) = tree_with(Controllers::ALL) else { return };
    let mut plan = plan("refused");
    // Becomes `max`: more pages than the kernel counts.
    plan.limits.memory = Some(Bytes(u64::MAX));
    let error = tree.create(&plan).unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    assert!(!tree.path().join(&plan.id).exists());
}

#[test]
fn memory_over_the_limit_kills_the_whole_tree_and_is_counted() {
    let Some(tree) = tree_with(Controllers::MEMORY) else { return };
    let mut plan = plan("oom");
    plan.limits.memory = Some(Bytes::mib(16));
    plan.limits.swap = Some(Bytes(0));
    let (mut cgroup, _) = tree.create(&plan).unwrap();
    // `tail` keeps the last line, and this one never ends.
    let mut child = shell_in(&cgroup, "sleep 60 & tail /dev/zero");
    block_on(cgroup.emptied()).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(cgroup.hits().unwrap().memory_kills >= 2, "the shell or its sleep was spared");
    let mut usage = crate::Usage::default();
    cgroup.usage(&mut usage).unwrap();
    let peak = usage.memory.peak;
    assert!(peak.is_none_or(|peak| peak > Bytes::mib(12) && peak <= Bytes::mib(16)), "{peak:?}");
}

#[test]
fn a_refused_process_is_counted() {
    let Some(tree) = tree_with(Controllers::PIDS) else { return };
    let mut plan = plan("pids");
    plan.limits.pids = Some(3);
    let (mut cgroup, _) = tree.create(&plan).unwrap();
    let mut child = shell_in(&cgroup, "for i in 1 2 3 4 5 6; do sleep 60 & done; sleep 60");
    child.wait().unwrap();
    assert!(cgroup.hits().unwrap().pids >= 1);
    let mut usage = crate::Usage::default();
    cgroup.usage(&mut usage).unwrap();
    assert!(usage.pids.current <= Some(4));
    cgroup.remove().unwrap();
}
