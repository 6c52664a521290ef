//! Quotas, from outside: each is reached and holds, the same program gets further without it, and the launch is refused
//! where it can't be held.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{PYTHON, Scene, lacks, skip};

/// Takes memory a MiB at a time, up to the argument, and tells when it has it all.
const HOG: &str = "
import sys
held = [bytearray(b'x' * (1 << 20)) for _ in range(int(sys.argv[1]))]
print('held', len(held))";

/// Forks sleepers until it may no more, or has as many as the argument; tells how many there are.
const FORKS: &str = "
import os, signal, sys
children = []
try:
    while len(children) < int(sys.argv[1]):
        pid = os.fork()
        if pid == 0:
            signal.pause()
        children.append(pid)
except OSError:
    pass
print(len(children), flush=True)";

/// Keeps one CPU busy for so many seconds of the clock.
const BUSY: &str = "
import sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end: pass";

/// Where cgroup v2 is mounted.
fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    line.split(' ').nth(1).map(PathBuf::from)
}

fn hog(scene: &Scene, flags: &[&str], mebibytes: &str) -> support::Outcome {
    scene.run(flags, &[PYTHON, "-c", HOG, mebibytes])
}

#[test]
fn memory_is_killed_at_its_limit_and_that_is_the_cause() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let scene = Scene::new();
    let limited = hog(&scene, &["--memory", "64MiB"], "150").expect_code(137);
    assert_eq!(limited.reported("/cause"), "out_of_memory", "{}", limited.told());
    assert_eq!(limited.reported("/limit"), "limits.memory");
    assert_eq!(limited.reported("/enforcement/limits.memory/state"), "enforced");
    assert_eq!(limited.reported("/enforcement/limits.memory/value"), "67108864");
    // The kernel accounts for memory in batches, so that the peak may show some pages less, never more.
    if let Some(peak) = limited.reported("/memory/peak_bytes").as_u64() {
        assert!((60 << 20..=64 << 20).contains(&peak), "{}", limited.told());
    }

    hog(&scene, &["--memory", "512MiB"], "150").expect_text("held 150\n");
}

#[test]
fn running_out_of_memory_ends_the_whole_tree() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let scene = Scene::new();
    scene.file("hog.py", HOG);
    let line = format!("{PYTHON} hog.py 150; echo the shell goes on");
    let limited = scene.bash(&["--memory", "64MiB"], &line).expect_code(137);
    assert_eq!(limited.stdout, b"", "{}", limited.told());
    assert_eq!(limited.reported("/cause"), "out_of_memory");

    scene.bash(&["--memory", "512MiB"], &line).expect_text("held 150\nthe shell goes on\n");
}

#[test]
fn a_kill_by_somebody_else_is_not_taken_for_memory() {
    let scene = Scene::new();
    let killed = scene.bash(&[], "kill -KILL $$").expect_code(137);
    assert_eq!(killed.reported("/cause"), "signalled", "{}", killed.told());
    assert_eq!(killed.reported("/signal"), 9);
}

#[test]
fn no_more_processes_than_the_limit() {
    let scene = Scene::new();
    // The program itself is the first of the 20.
    let limited = scene.run(&["--pids", "20"], &[PYTHON, "-c", FORKS, "40"]);
    limited.expect_text("19\n");

    scene.run(&["--pids", "60"], &[PYTHON, "-c", FORKS, "40"]).expect_text("40\n");
}

#[test]
fn a_fork_bomb_is_refused_processes_and_ends_with_its_sandbox() {
    if let Some(why) = lacks("limits.pids") {
        skip!("pids: {why}");
    }
    let scene = Scene::new();
    let marker = "3600.4242";
    let bomb = format!("bomb() {{ bomb | bomb & sleep {marker}; }}; bomb 2> /dev/null; sleep 1");
    let ended = scene.bash(&["--pids", "30", "--wall-time", "2s", "--grace", "0s"], &bomb);
    assert!(ended.reported("/pids/denied").as_u64() > Some(0), "{}", ended.told());
    assert!(ended.reported("/pids/peak").as_u64() <= Some(31), "{}", ended.told());
    assert_eq!(support::processes_with(marker), Vec::<u32>::new());
}

#[test]
fn half_a_core_is_half_a_core() {
    if let Some(why) = lacks("limits.cpu") {
        skip!("cpu: {why}");
    }
    let scene = Scene::new();
    let share = |flags: &[&str]| {
        let run = scene.run(flags, &[PYTHON, "-c", BUSY, "3"]).expect_code(0);
        let figure = |place: &str| run.reported(place).as_f64().unwrap();
        (figure("/cpu/user_s") + figure("/cpu/system_s")) / figure("/wall_time_s")
    };
    let (limited, free) = (share(&["--cpu", "0.5"]), share(&["--cpu", "8"]));
    // Three seconds are 30 periods of the quota; the last one may be used whole, and the guest's clock ticks at 4 ms.
    assert!((0.40..0.60).contains(&limited), "{limited}");
    assert!(free > limited * 1.3, "{free} without the limit, {limited} with it");
}

#[test]
fn cpu_time_over_ends_it_and_sleeping_costs_none() {
    let scene = Scene::new();
    // Starting counts too, and takes an emulated processor a second.
    let flags = ["--cpu-time", "3s", "--grace", "0s"];
    let busy = scene.run(&flags, &[PYTHON, "-c", BUSY, "60"]).expect_code(124);
    assert_eq!(busy.reported("/cause"), "timed_out", "{}", busy.told());
    assert_eq!(busy.reported("/limit"), "limits.cpu_time");

    scene.bash(&flags, "sleep 4; echo rested").expect_text("rested\n");
}

#[test]
fn what_the_kernel_holds_is_what_the_policy_says_and_only_this_sandbox_stands_there() {
    if let Some(why) = lacks("limits.memory").or(lacks("limits.cpu")).or(lacks("limits.pids")) {
        skip!("memory: {why}");
    }
    let scene = Scene::new();
    let flags = [
        "--memory",
        "96MiB",
        "--memory-high",
        "80MiB",
        "--swap",
        "0B",
        "--cpu",
        "0.75",
        "--cpu-weight",
        "37",
        "--pids",
        "12",
        "--name",
        "readback",
    ];
    let mut command = scene.command(&flags, &["sh", "-c", "echo up; cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();

    let pid = child.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let first = children.split_whitespace().next().unwrap().to_owned();
    let group = fs::read_to_string(format!("/proc/{first}/cgroup")).unwrap();
    let group = group.lines().find_map(|line| line.strip_prefix("0::/")).unwrap().to_owned();
    let place = mount().unwrap().join(&group);
    let read =
        |name: &str| fs::read_to_string(place.join(name)).unwrap_or_default().trim().to_owned();
    let found =
        ["memory.max", "memory.high", "memory.oom.group", "cpu.max", "cpu.weight", "pids.max"]
            .map(read);
    let members = read("cgroup.procs").lines().count();
    drop(child.stdin.take());
    let ended = scene.outcome(format!("{command:?}"), child).expect_code(0);

    assert!(
        Path::new(&group).file_name().unwrap().to_str().unwrap().starts_with("readback-"),
        "{group}"
    );
    // One process more than the limit is for the sandbox's init.
    assert_eq!(
        found,
        ["100663296", "83886080", "1", "75000 100000", "37", "13"],
        "{}",
        ended.told()
    );
    // The init and the shell; whether that starts `cat` beside itself or becomes it is the shell's choice.
    assert!((2..=3).contains(&members), "{members}");
    assert!(!place.exists(), "{} is left", place.display());
}

#[test]
fn limits_of_each_process_hold() {
    let scene = Scene::new();
    let open = "
held = []
try:
    while len(held) < 200: held.append(open('/dev/null'))
except OSError as error: print(error.errno)
else: print('all')";
    scene.python(&["--open-files", "64"], open).expect_text("24\n");
    scene.python(&["--open-files", "512"], open).expect_text("all\n");

    let write = "
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try: print(open('/tmp/file', 'wb', 0).write(b'x' * (2 << 20)))
except OSError as error: print(error.errno)";
    scene.python(&["--file-size", "1MiB"], write).expect_text("1048576\n");
    scene.python(&["--file-size", "4MiB"], write).expect_text("2097152\n");

    let core = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))";
    scene.python(&[], core).expect_text("(0, 0)\n");
}

/// `stockade` where no cgroup is in reach: an empty file system lies over the tree.
fn without_groups(scene: &Scene, flags: &[&str], program: &[&str]) -> Command {
    let inner = scene.command(flags, program);
    let mut command = Command::new("unshare");
    command.args(if support::is_root() {
        &["--mount"][..]
    } else {
        &["--user", "--map-current-user", "--mount"]
    });
    command.current_dir(scene.path()).stdin(Stdio::null());
    command.args(["--", "sh", "-c", "mount -t tmpfs none /sys/fs/cgroup && exec \"$0\" \"$@\""]);
    command.arg(inner.get_program()).args(inner.get_args());
    command
}

#[test]
fn a_strict_policy_is_refused_where_limits_cannot_be_held_and_each_is_named() {
    if !support::is_root() {
        skip!("root: only root may cover the cgroup tree and still map ids");
    }
    let scene = Scene::new();
    let refused = scene.finish(without_groups(&scene, &["-p", "worker"], &["true"]));
    let refused =
        refused.expect_refusal(&["hint: ", "[degrade] allow = [", "`stockade doctor` tells more"]);
    for control in ["memory", "swap", "cpu", "cpu_weight", "pids"] {
        let said = format!("limits.{control} can't be enforced here: ");
        assert!(refused.stderr.contains(&said), "{said}{}", refused.told());
    }
    assert_eq!(refused.reported("/cause"), "launch_failed");
}

#[test]
fn a_limit_that_is_only_watched_still_ends_a_hog_and_is_called_degraded() {
    if !support::is_root() {
        skip!("root: only root may cover the cgroup tree and still map ids");
    }
    let scene = Scene::new();
    let program = [PYTHON, "-c", HOG, "400"];
    let run =
        scene.finish(without_groups(&scene, &["--memory", "64MiB"], &program)).expect_code(137);
    assert_eq!(run.reported("/cause"), "out_of_memory", "{}", run.told());
    assert_eq!(run.reported("/limit"), "limits.memory");
    assert_eq!(run.reported("/enforcement/limits.memory/state"), "degraded");
    // What RLIMIT_DATA leaves to a single process above the limit.
    assert!(run.reported("/memory/peak_bytes").as_u64() < Some(160 << 20), "{}", run.told());

    let free = scene.finish(without_groups(&scene, &["--memory", "1GiB"], &program));
    free.expect_text("held 400\n");
}

#[test]
fn a_private_directory_in_memory_holds_as_many_files_and_bytes_as_it_may() {
    let scene = Scene::new();
    let fill = "
import errno
for directory in '/tmp', '/dev/shm':
    made = 0
    try:
        while made < 200:
            open(f'{directory}/{made}', 'x').close()
            made += 1
    except OSError as error: print(made, error.errno == errno.ENOSPC)
    else: print('all')";
    // One is the directory itself, and one in `/tmp` the place of this scene.
    scene.python(&["--tmp-files", "100"], fill).expect_text("98 True\n99 True\n");
    scene.python(&["--tmp-files", "1000"], fill).expect_text("all\nall\n");
    // A file for each 4 KiB, when nothing is said.
    scene.python(&["--tmp", "400KiB"], fill).expect_text("98 True\n99 True\n");

    let write = "head -c 2M /dev/zero > /tmp/file; stat -c %s /tmp/file";
    scene.bash(&["--tmp", "1MiB"], write).expect_text("1048576\n");
    scene.bash(&["--tmp", "4MiB"], write).expect_text("2097152\n");
}
