//! Nothing stays behind, however often something was started.

#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use stockade::platform::{Network, Publish};
use stockade::{Policy, Sandbox};
use support::cgroup_of;

/// The name of every sandbox here, by which what belongs to it is known from what belongs to other tests.
const NAME: &str = "leak";

/// How many run side by side.
const AT_ONCE: usize = 4;

/// What this process and the host hold of sandboxes.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    children: usize,
    mounts: usize,
    cgroups: usize,
    names: usize,
}

impl Held {
    fn now(parent: Option<&PathBuf>) -> Self {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        let children = tasks.map(|task| {
            // A thread may have ended since.
            let text = fs::read_to_string(task.unwrap().path().join("children"));
            text.unwrap_or_default().split_whitespace().count()
        });
        let named = |directory: Option<PathBuf>| {
            let entries = directory.into_iter().flat_map(fs::read_dir).flatten();
            let names = entries.map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_str().unwrap().contains(NAME)).count()
        };
        Self {
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            children: children.sum(),
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count(),
            cgroups: named(parent.cloned()),
            names: named(Some(stockade::platform::RuntimeDir::place())),
        }
    }
}

/// Bytes of this process's memory that no file backs.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// The default policy, with a network from which something leads out and in.
fn policy() -> Policy {
    let policy = Policy::shipped("default").unwrap().network(Network::Filtered);
    let anywhere = Publish { outside: ([127, 0, 0, 1], 0).into(), inside: 80 };
    policy.allow("example.org".parse().unwrap()).publish(anywhere)
}

fn start(program: &str) -> Sandbox {
    let policy = policy();
    let mut sandbox =
        Sandbox::builder(policy).name(NAME).command([program, "1000"]).start().unwrap();
    sandbox.list().unwrap();
    sandbox
}

async fn launches(number: usize) {
    for _ in 0..number / AT_ONCE {
        let mut all: Vec<Sandbox> = (0..AT_ONCE).map(|_| start("true")).collect();
        for sandbox in &mut all {
            assert!(sandbox.wait().await.unwrap().success());
        }
    }
    // What is no longer needed is dropped when its turn comes.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Launches so many, and compares before and after.
async fn leave_nothing(number: usize) {
    let first = start("sleep");
    let own = cgroup_of(std::process::id());
    let group = cgroup_of(first.pid()).filter(|group| Some(group) != own.as_ref());
    let parent = group.map(|group| group.parent().unwrap().to_owned());
    let alive = Held::now(parent.as_ref());
    drop(first);
    // What is kept for the next launch is there after the first ones.
    launches(40).await;
    let (before, least) = (Held::now(parent.as_ref()), memory());
    // The comparison can fail: of a sandbox that lives something is held.
    assert!(alive.children > before.children && alive.names > before.names, "{alive:?}");
    assert!(parent.is_none() || alive.cgroups > before.cgroups, "{alive:?}");
    launches(number).await;
    assert_eq!(Held::now(parent.as_ref()), before);
    // An allocator keeps some room; what every launch lost, were it only 100 bytes, would be a MiB after 10,000.
    let more = memory().saturating_sub(least);
    assert!(more < 1 << 20, "{more} bytes more after {number} launches");
}

#[tokio::test(flavor = "current_thread")]
async fn hundreds_of_launches_leave_nothing() {
    leave_nothing(200).await;
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "takes minutes: run it alone, with `--ignored`"]
async fn ten_thousand_launches_leave_nothing() {
    leave_nothing(10_000).await;
}
