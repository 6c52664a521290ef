//! What writable directories may hold, from outside: a real ext4 with project quotas, and what is on it at the end.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use support::{Outcome, PYTHON, Scene, Started, is_root, skip};

const MEBIBYTE: u64 = 1 << 20;

/// A scene with an ext4 of its own at `disk`, in mounts that only this thread and what it starts see.
struct Disk(Scene);

impl Disk {
    /// Makes one; the reason why there is none here is what a skip says.
    fn new() -> Result<Self, String> {
        Self::with("-O quota,project -E quotatype=prjquota", "prjquota", "project-quota")
    }

    fn with(features: &str, options: &str, word: &str) -> Result<Self, String> {
        if !is_root() {
            return Err("root: only root may mount".into());
        }
        let scene = Scene::new();
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let line = format!(
            "mount --make-rprivate / && truncate --size 200M image && mkfs.ext4 -q {features} image && \
             mkdir disk && mount -o loop,{options} image disk && mkdir disk/out"
        );
        let made = host(&scene, &line);
        if made.status.success() {
            Ok(Self(scene))
        } else {
            Err(format!("{word}: {}", made.stderr.replace('\n', " ")))
        }
    }

    /// Runs Python code that may write `disk/out`.
    fn python(&self, flags: &[&str], code: &str) -> Outcome {
        self.0.python(&[&["--write", "disk/out"], flags].concat(), code)
    }

    /// Bytes below a directory as the file system counts them: data, directories and what describes them.
    fn held(&self, name: &str) -> u64 {
        fn sum(path: &Path) -> u64 {
            let own = fs::symlink_metadata(path).unwrap();
            let below = own.is_dir().then(|| fs::read_dir(path).unwrap());
            let below = below.into_iter().flatten().map(|entry| sum(&entry.unwrap().path()));
            own.blocks() * 512 + below.sum::<u64>()
        }
        sum(&self.0.path().join(name))
    }

    /// Size of the file system as a directory on it sees it: of a limited one, its limit (statfs(2)).
    fn seen_size(&self, name: &str) -> u64 {
        let stat = nix::sys::statvfs::statvfs(&self.0.path().join(name)).unwrap();
        stat.blocks() * stat.fragment_size()
    }

    /// Files of its limits that are in force, or were when somebody was killed.
    fn claims(&self) -> usize {
        let device = fs::metadata(self.0.path().join("disk")).unwrap().dev();
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let own = format!("{major}:{minor}-");
        let names = fs::read_dir("/run/stockade/disk").unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&own)).count()
    }

    /// Starts a sandbox that waits, with a name of its own.
    fn waiting(&self, name: &str, flags: &[&str]) -> Started {
        let flags = [&["--name", name], flags].concat();
        Started::new(self.0.command(&flags, &["sh", "-c", "echo up; read line || true"]))
    }
}

/// Runs a line of a root's shell on the host.
fn host(scene: &Scene, line: &str) -> Outcome {
    let mut command = Command::new("bash");
    command.args(["-e", "-c", line]).current_dir(scene.path());
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    scene.finish(command)
}

/// Ends the test where there is no such disk.
macro_rules! disk {
    () => {
        match Disk::new() {
            Ok(disk) => disk,
            Err(why) => skip!("{why}"),
        }
    };
}

/// Writes up to 20 MiB into a file, and says how it ended.
const FILL: &str = "
import errno, os
file = os.open('disk/out/fill', os.O_WRONLY | os.O_CREAT)
try:
    left = 20 << 20
    while left:
        left -= os.write(file, bytes(min(left, 1 << 16)))
    print('all')
except OSError as error:
    print(errno.errorcode[error.errno])
";

/// Makes up to 100 files, and says how many, and how it ended.
const CREATE: &str = "
import errno
try:
    for number in range(100):
        open(f'disk/out/{number}', 'x')
    print('all')
except OSError as error:
    print(errno.errorcode[error.errno], number)
";

#[test]
fn no_more_bytes_can_be_written_than_the_limit_and_with_none_they_can() {
    let disk = disk!();
    let run = disk.python(&["--disk", "8MiB"], FILL).expect_text("EDQUOT\n");
    let held = disk.held("disk/out");
    // At most a step of the program's below: a write of 64 KiB that doesn't fit as a whole may do less, or nothing.
    assert!((8 * MEBIBYTE - (64 << 10)..=8 * MEBIBYTE).contains(&held), "{held}");
    assert_eq!(run.reported("/enforcement/limits.disk/state"), "enforced");
    assert_eq!(run.reported("/enforcement/limits.disk/value"), "8388608");
    assert_eq!(run.reported("/disk/used_bytes").as_u64(), Some(held));
    assert_eq!(run.reported("/cause"), "exited");

    disk.python(&[], FILL).expect_text("all\n");
    assert!(disk.held("disk/out") > 20 * MEBIBYTE);
}

#[test]
fn no_more_files_can_be_made_than_the_limit_and_with_none_they_can() {
    let disk = disk!();
    // The directory is one of them.
    let run = disk.python(&["--disk-files", "50"], CREATE).expect_text("EDQUOT 49\n");
    assert_eq!(fs::read_dir(disk.0.path().join("disk/out")).unwrap().count(), 49);
    assert_eq!(run.reported("/enforcement/limits.disk_files/value"), "50");
    assert_eq!(run.reported("/disk/files"), 50);

    host(&disk.0, "rm disk/out/*").expect_code(0);
    disk.python(&[], CREATE).expect_text("all\n");
}

#[test]
fn what_is_there_already_counts_and_what_comes_from_outside_as_well() {
    let disk = disk!();
    let line = "cd disk; mkdir -p out/a/b; for place in out out/a out/a/b .; do head -c 2M /dev/zero > $place/old; done
        ln out/old out/a/again; ln -s old out/link; mkfifo out/fifo";
    host(&disk.0, line).expect_code(0);
    let run = disk.python(&["--disk", "8MiB"], FILL).expect_text("EDQUOT\n");
    let held = disk.held("disk/out");
    // Two names are one file, so that two of the eight MiB were left.
    let one = held - 2 * MEBIBYTE;
    assert!((8 * MEBIBYTE - (64 << 10)..=8 * MEBIBYTE).contains(&one), "{held}");
    assert_eq!(run.reported("/disk/used_bytes").as_u64(), Some(one));

    // The kernel refuses to move in or link what counts for nobody; a copy counts.
    host(&disk.0, "rm disk/out/fill").expect_code(0);
    let refused = |outcome: std::io::Result<()>| outcome.unwrap_err().raw_os_error();
    let at = |name: &str| disk.0.path().join("disk").join(name);
    assert_eq!(refused(fs::hard_link(at("old"), at("out/in"))), Some(18));
    assert_eq!(refused(fs::rename(at("old"), at("out/in"))), Some(18));
    host(&disk.0, "mv disk/old disk/out/in").expect_code(0);
    let run = disk.python(&["--disk", "10MiB"], "print('hello')").expect_text("hello\n");
    let used = run.reported("/disk/used_bytes").as_u64().unwrap();
    assert!(used >= 8 * MEBIBYTE, "{used}");
}

#[test]
fn more_than_the_limit_is_there_and_nothing_is_written_or_removed() {
    let disk = disk!();
    host(&disk.0, "head -c 6M /dev/zero > disk/out/old").expect_code(0);
    let run = disk.python(&["--disk", "2MiB"], FILL).expect_text("EDQUOT\n");
    assert_eq!(run.reported("/enforcement/limits.disk/value"), "2097152");
    assert_eq!(fs::metadata(disk.0.path().join("disk/out/old")).unwrap().len(), 6 * MEBIBYTE);
    assert_eq!(fs::metadata(disk.0.path().join("disk/out/fill")).unwrap().len(), 0);
}

#[test]
fn kept_changes_to_a_copy_count_and_the_original_does_not() {
    let disk = disk!();
    host(&disk.0, "head -c 6M /dev/zero > disk/out/old && mkdir disk/changes").expect_code(0);
    // A policy that doesn't show the directory in which it starts, since the changes lie below.
    let flags = ["--policy", "base", "--copy", "disk/out", "--overlay", "disk/changes"];
    let code = format!("import os\nos.chdir('{}')\n{FILL}", disk.0.at(""));
    let run = disk.0.python(&[&flags[..], &["--disk", "8MiB"]].concat(), &code);
    run.expect_text("EDQUOT\n");
    let held = disk.held("disk/changes");
    assert!((8 * MEBIBYTE - (64 << 10)..=8 * MEBIBYTE).contains(&held), "{held}");
    assert!(!fs::exists(disk.0.at("disk/out/fill")).unwrap());
    disk.0.python(&flags, &code).expect_text("all\n");
}

#[test]
fn several_directories_share_one_limit_and_a_file_alone_has_it_too() {
    let disk = disk!();
    host(&disk.0, "mkdir disk/more; touch disk/alone").expect_code(0);
    let code = FILL.replace("20 << 20", "5 << 20");
    let more = code.replace("out/fill", "more/fill");
    let flags = ["--write", "disk/more", "--disk", "8MiB"];
    disk.python(&flags, &(code.clone() + &more)).expect_text("all\nEDQUOT\n");
    assert!(disk.held("disk/out") + disk.held("disk/more") <= 8 * MEBIBYTE);
    // Alone it's limited anew, without what is in the other.
    let run = disk.python(&["--disk", "8MiB"], &code).expect_text("all\n");
    assert_eq!(run.reported("/disk/used_bytes").as_u64(), Some(disk.held("disk/out")));

    let alone = FILL.replace("out/fill", "alone");
    let flags = ["--write", "disk/alone", "--disk", "1MiB"];
    disk.0.python(&flags, &alone).expect_text("EDQUOT\n");
    let held = disk.held("disk/alone");
    assert!((MEBIBYTE - (64 << 10)..=MEBIBYTE).contains(&held), "{held}");
}

#[test]
fn the_limits_go_with_the_sandbox_and_not_before() {
    let disk = disk!();
    let whole = disk.seen_size("disk");
    let run = disk.waiting("lives", &["--write", "disk/out", "--disk", "8MiB"]);
    assert_eq!(disk.seen_size("disk/out"), 8 * MEBIBYTE);
    // Another start sweeps nothing of the living.
    disk.0.run(&[], &["true"]).expect_code(0);
    assert_eq!(disk.seen_size("disk/out"), 8 * MEBIBYTE);
    run.finish(&disk.0).expect_code(0);
    assert_eq!(disk.seen_size("disk/out"), whole);
    assert_eq!(disk.claims(), 0);
}

#[test]
fn what_a_killed_starter_left_is_swept_by_the_next_start() {
    let disk = disk!();
    let whole = disk.seen_size("disk");
    let run = disk.waiting("killed", &["--write", "disk/out", "--disk", "8MiB"]);
    run.signal(Signal::SIGKILL);
    run.finish(&disk.0);
    assert_eq!((disk.seen_size("disk/out"), disk.claims()), (8 * MEBIBYTE, 1));
    disk.0.run(&[], &["true"]).expect_code(0);
    assert_eq!((disk.seen_size("disk/out"), disk.claims()), (whole, 0));
}

#[test]
fn what_is_limited_for_one_sandbox_is_refused_to_the_next_also_above_and_below() {
    let disk = disk!();
    host(&disk.0, "mkdir -p disk/out/a/b disk/beside; head -c 2M /dev/zero > disk/out/a/b/old")
        .expect_code(0);
    let limited = |path: &str| {
        let path = format!("disk/{path}");
        disk.0.run(&["--write", &path, "--disk", "50MiB"], &["true"])
    };
    let used = |run: &Outcome| run.reported("/disk/used_bytes").as_u64().unwrap();
    let first = disk.waiting("first", &["--write", "disk/out/a", "--disk", "8MiB"]);
    let said = "is limited for the sandbox `first-";
    for path in ["out/a", "out/a/b", "out", "out/a/b/old"] {
        limited(path).expect_refusal(&["limits.disk can't be enforced here: ", said]);
    }
    limited("beside").expect_code(0);
    assert_eq!(disk.seen_size("disk/out/a"), 8 * MEBIBYTE);
    first.finish(&disk.0).expect_code(0);

    // One after the other, each is limited in all that it holds.
    for path in ["out", "out/a/b", "out/a", "out", "out/a/b", "out"] {
        let run = limited(path).expect_code(0);
        assert_eq!(used(&run), disk.held(&format!("disk/{path}")), "{path}");
    }
}

#[test]
fn a_file_with_a_name_in_two_limited_directories_is_refused() {
    let disk = disk!();
    let line = "cd disk; mkdir other; echo > out/one; ln out/one out/two; ln out/one other/three";
    host(&disk.0, line).expect_code(0);
    let flags = |path: &'static str| ["--write", path, "--disk", "8MiB"];
    disk.0.run(&flags("disk/out"), &["true"]).expect_code(0);
    let said = "`three` has another name outside".replace("`three", "/disk/other/three");
    disk.0.run(&flags("disk/other"), &["true"]).expect_refusal(&[&said]);
    // Where all its names are inside, it goes along.
    host(&disk.0, "rm disk/other/three").expect_code(0);
    disk.0.run(&flags("disk"), &["true"]).expect_code(0);
}

#[test]
fn limits_are_raised_and_lowered_while_it_runs() {
    let disk = disk!();
    let code = "
import sys
with open('disk/out/fill', 'ab', 0) as file:
    print('up', flush=True)
    for line in sys.stdin:
        try:
            print(file.write(bytes(int(line) << 20)), flush=True)
        except OSError as error:
            print(error.errno, flush=True)";
    let flags = ["--name", "changed", "--write", "disk/out", "--disk", "4MiB"];
    let mut run = Started::new(disk.0.command(&flags, &[PYTHON, "-c", code]));
    support::listed("changed");
    let update = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        let output = command.args(["update", "changed"]).args(flags).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    run.say("3\n");
    assert_eq!(run.line(), "3145728");
    assert_eq!(update(&["--disk", "8MiB"]), (Some(0), String::new()));
    run.say("4\n");
    assert_eq!(run.line(), "4194304");
    let (code, told) = update(&["--disk", "2MiB", "--disk-files", "1"]);
    assert_eq!(code, Some(0), "{told}");
    let said = "limits.disk: its directories hold 7.0MiB of 2MiB: nothing is removed";
    assert!(told.contains(said) && told.contains("hold 2 files of 1"), "{told}");
    run.say("1\n");
    assert_eq!(run.line(), "122");
    let ended = run.finish(&disk.0).expect_code(0);
    assert_eq!(ended.reported("/enforcement/limits.disk/value"), "2097152");
    assert_eq!(ended.reported("/enforcement/limits.disk_files/value"), "1");

    let run = disk.waiting("unlimited", &["--write", "disk/out"]);
    support::listed("unlimited");
    let output = Command::new(env!("CARGO_BIN_EXE_stockade"))
        .args(["update", "unlimited", "--disk", "1MiB"])
        .output();
    let told = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(told.contains("is limited from the start, or not at all"), "{told}");
    run.finish(&disk.0).expect_code(0);
}

#[test]
fn what_counts_for_somebody_else_is_refused() {
    let disk = disk!();
    host(&disk.0, "mkdir disk/out/a; chattr -p 5 disk/out/a").expect_code(0);
    let run = || disk.0.run(&["--write", "disk/out", "--disk", "8MiB"], &["true"]);
    run().expect_refusal(&["/disk/out/a` has the project id 5, which is another's", "chattr -p 0"]);
    host(&disk.0, "chattr -p 0 disk/out/a").expect_code(0);
    run().expect_code(0);
}

#[test]
fn what_is_on_several_file_systems_is_refused() {
    let disk = disk!();
    disk.0.directory("elsewhere");
    let flags = ["--write", "disk/out", "--write", "elsewhere", "--disk", "8MiB"];
    disk.0
        .run(&flags, &["true"])
        .expect_refusal(&["are on two file systems, and a limit is on one"]);
    host(&disk.0, "mkdir disk/out/deep; truncate --size 20M other; mkfs.ext4 -q other; mount -o loop other disk/out/deep").expect_code(0);
    let said = "another file system is mounted below";
    disk.0
        .run(&["--write", "disk/out", "--disk", "8MiB"], &["true"])
        .expect_refusal(&[said, "/out/deep`"]);
    host(&disk.0, "mount -o remount,bind,ro disk/out/deep").expect_code(0);
    disk.0.run(&["--write", "disk/out", "--disk", "8MiB"], &["true"]).expect_code(0);
}

#[test]
fn a_file_system_without_project_quotas_is_refused_with_the_remedy_or_accepted_by_name() {
    let disk = match Disk::with("", "defaults", "loopback") {
        Ok(disk) => disk,
        Err(why) => skip!("{why}"),
    };
    if let Some(why) = support::lacks("limits.disk") {
        skip!("project-quota: {why}");
    }
    let flags = ["--disk", "8MiB", "--disk-files", "100"];
    disk.python(&flags, FILL).expect_refusal(&[
        "limits.disk can't be enforced here: the `ext4` of `",
        "/disk/out` has no project quotas",
        "tune2fs -O project -Q prjquota /dev/loop",
    ]);
    let accepted = ["--degrade", "limits.disk", "--degrade", "limits.disk_files"];
    let run = disk.python(&[&flags[..], &accepted, &["-v"]].concat(), FILL).expect_text("all\n");
    for control in ["limits.disk", "limits.disk_files"] {
        assert_eq!(run.reported(&format!("/enforcement/{control}/state")), "unavailable");
        let how = run.reported(&format!("/enforcement/{control}/how")).as_str().unwrap();
        assert!(how.contains("has no project quotas"), "{how}");
    }
    assert!(run.stderr.contains("warning: limits.disk is unavailable"), "{}", run.told());
    // One of the two isn't enough.
    disk.python(&[&flags[..], &accepted[..2]].concat(), FILL).expect_code(125);

    fs::create_dir("/dev/shm/stockade-disk-test").unwrap();
    host(&disk.0, "chmod 777 /dev/shm/stockade-disk-test").expect_code(0);
    let run = disk.0.run(&["--write", "/dev/shm/stockade-disk-test", "--disk", "8MiB"], &["true"]);
    fs::remove_dir("/dev/shm/stockade-disk-test").unwrap();
    run.expect_refusal(&["`/dev/shm/stockade-disk-test` is in memory, on no disk"]);
}

#[test]
fn where_nothing_may_be_written_nothing_needs_a_limit() {
    if let Some(why) = support::lacks("limits.disk") {
        let word = if is_root() { "project-quota" } else { "root" };
        skip!("{word}: {why}");
    }
    let run = Scene::new().run(&["--disk", "8MiB"], &["true"]).expect_code(0);
    assert_eq!(run.reported("/enforcement/limits.disk/how"), "no path on a disk may be written");
}

#[test]
fn a_user_is_told_that_it_takes_root() {
    if is_root() {
        return;
    }
    let run = Scene::new().run(&["--write", ".", "--disk", "8MiB"], &["true"]);
    let said = "limits.disk can't be enforced here: only root may set project quotas";
    run.expect_refusal(&[said, "hint: start Stockade as root"]);
}
