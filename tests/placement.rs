//! Where and how a program runs beside others: CPUs and memory nodes, niceness, idleness, bursts, protected memory, and
//! the limits that each process carries.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use support::{PYTHON, Scene, Started, cgroup_of, is_root, skip};

/// Whether a run was refused because this control can't be enforced here, with the reason.
fn refused(run: &support::Outcome, control: &str) -> Option<String> {
    let said = format!("{control} can't be enforced here: ");
    let line = run.stderr.lines().find_map(|line| line.split_once(&said))?;
    (run.status.code() == Some(125)).then(|| line.1.to_owned())
}

/// What the files of a running sandbox's cgroup say, with its directory.
fn files(flags: &[&str], names: &[&str]) -> Result<(Vec<String>, PathBuf), support::Outcome> {
    let scene = Scene::new();
    let probe = scene.run(flags, &["true"]);
    if probe.status.code() == Some(125) {
        return Err(probe);
    }
    let started = Started::new(scene.command(flags, &["sh", "-c", "echo up; read line"]));
    let place = cgroup_of(started.program()).unwrap();
    let read = |name: &&str| fs::read_to_string(place.join(name)).unwrap_or_default();
    let found = names.iter().map(read).map(|text| text.trim().to_owned()).collect();
    started.finish(&scene);
    Ok((found, place))
}

#[test]
fn a_pinned_tree_stays_on_its_cpus() {
    let scene = Scene::new();
    let line = "import os; os.sched_setaffinity(0, {0, 1}); print(sorted(os.sched_getaffinity(0)))";
    let run = scene.python(&["--cpus", "0"], line);
    if let Some(why) = refused(&run, "limits.cpus") {
        skip!("cpuset: {why}");
    }
    // It may ask for more, and gets no more.
    run.expect_text("[0]\n");
    let free = scene.python(&[], line);
    if free.status.code() != Some(0) {
        skip!("smp: {}", free.stderr.trim());
    }
    free.expect_text("[0, 1]\n");
}

#[test]
fn cpus_that_the_host_has_not_are_refused_by_name() {
    let run = Scene::new().run(&["--cpus", "0,4000"], &["true"]).expect_code(125);
    let why = refused(&run, "limits.cpus");
    if why.is_none_or(|why| !why.contains("4000")) {
        skip!("cpuset: {}", run.stderr.trim());
    }
    assert!(run.stderr.contains("hint: "), "{}", run.told());
}

#[test]
fn memory_nodes_are_those_of_the_policy() {
    match files(&["--mems", "0"], &["cpuset.mems", "cpuset.mems.effective"]) {
        Ok((found, _)) => assert_eq!(found, ["0", "0"]),
        Err(run) => skip!("cpuset: {}", refused(&run, "limits.mems").unwrap_or_default()),
    }
}

#[test]
fn bursts_and_idleness_are_in_force() {
    let names = ["cpu.max", "cpu.max.burst", "cpu.idle"];
    let flags = ["--cpu", "0.5", "--cpu-burst", "20ms", "--cpu-idle", "true"];
    let (found, _) = match files(&flags, &names) {
        Ok(found) => found,
        Err(run) => skip!("cpu: {}", refused(&run, "limits.cpu_burst").unwrap_or_default()),
    };
    assert_eq!(found, ["50000 100000", "20000", "1"]);
    let (plain, _) =
        files(&["--cpu", "0.5"], &names).unwrap_or_else(|run| panic!("{}", run.told()));
    assert_eq!(plain, ["50000 100000", "0", "0"]);
}

#[test]
fn protected_memory_is_protected_all_the_way_up_or_the_launch_is_refused() {
    let flags = ["--memory-min", "8MiB", "--memory-low", "16MiB"];
    let (found, place) = match files(&flags, &["memory.min", "memory.low"]) {
        Ok(found) => found,
        Err(run) if !is_root() && run.stderr.contains("itself is protected for") => {
            // What the caller was given isn't protected, and nobody but root may change that.
            assert!(run.stderr.contains("hint: echo 8388608 > /sys/fs/cgroup"), "{}", run.told());
            return;
        }
        Err(run) => skip!("memory: {}", refused(&run, "limits.memory_min").unwrap_or_default()),
    };
    assert_eq!(found, ["8388608", "16777216"]);
    // Afterwards the parent gives nothing any more, or what other sandboxes have.
    let parent = place.parent().unwrap();
    let after = fs::read_to_string(parent.join("memory.min")).unwrap();
    assert_eq!(after.trim(), "0");
}

#[test]
fn one_process_or_the_whole_tree_is_killed_for_memory() {
    let scene = Scene::new();
    scene.file("hog.py", "held = [bytearray(b'x' * (1 << 20)) for _ in range(150)]");
    let line = format!("{PYTHON} hog.py; echo \"child $?\"");
    let run = scene.bash(&["--memory", "64MiB", "--oom-kill", "process"], &line);
    if let Some(why) = refused(&run, "limits.memory") {
        skip!("memory: {why}");
    }
    if run.reported("/enforcement/limits.memory/state") != "enforced" {
        skip!("memory: only watched here");
    }
    let run = run.expect_code(0);
    assert_eq!(run.stdout, b"child 137\n", "{}", run.told());
    assert_eq!(run.reported("/cause"), "exited");
    scene.bash(&["--memory", "64MiB", "--oom-kill", "tree"], &line).expect_code(137);
}

#[test]
fn huge_pages_have_a_limit_of_their_own() {
    let sizes = fs::read_dir("/sys/kernel/mm/hugepages").map_or(0, Iterator::count);
    match files(&["--huge-pages", "0B"], &["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"]) {
        Ok(_) if sizes == 0 => {}
        Ok((found, _)) => assert_eq!(found, ["0", "0"]),
        Err(run) => skip!("hugetlb: {}", refused(&run, "limits.huge_pages").unwrap_or_default()),
    }
}

#[test]
fn a_nice_program_stays_nice() {
    let scene = Scene::new();
    let line = "import os
print(os.nice(0))
try: print(os.nice(-1))
except OSError as error: print(type(error).__name__)";
    scene.python(&["--nice", "10"], line).expect_text("10\nPermissionError\n");
    let own = support::python_outside("import os; print(os.nice(0))");
    assert!(scene.python(&[], line).text().starts_with(&own));
}

#[test]
fn stack_locked_memory_and_realtime_are_limits_of_each_process() {
    let scene = Scene::new();
    // A quarter of the stack is for the arguments of a new program (execve(2)).
    let long = "/bin/echo $(seq 60000) | wc -w";
    scene.bash(&["--stack", "256KiB"], long).expect_text("0\n");
    scene.bash(&["--stack", "64MiB"], long).expect_text("60000\n");

    let lock = "import mmap, ctypes
area = mmap.mmap(-1, 1 << 16)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
print(ctypes.CDLL(None).mlock(ctypes.c_void_p(address), 1 << 16))";
    scene.python(&["--locked-memory", "0B"], lock).expect_text("-1\n");
    scene.python(&["--locked-memory", "1MiB"], lock).expect_text("0\n");

    let priority = "import resource; print(resource.getrlimit(resource.RLIMIT_RTPRIO))";
    scene.python(&["--realtime", "0"], priority).expect_text("(0, 0)\n");
}
