//! Where a filter around Stockade forbids the newer calls for mounts and lets mount(2) pass, as those of older container
//! runtimes do, the view is built in the old way, and is the same.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers in a test file for no tests")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use support::{Outcome, PYTHON, Scene, is_root, lacks, skip};

/// open_tree, move_mount, fsopen, fsconfig, fsmount, fspick and mount_setattr.
const NEWER: &str = "428,429,430,431,432,433,442";
const ENOSYS: &str = "38";
const EPERM: &str = "1";

/// The same command where these calls answer with this error.
fn without(errno: &str, calls: &str, command: &Command) -> Command {
    let mut around = Command::new(PYTHON);
    around.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/without.py"));
    around.args([errno, calls]).arg(command.get_program()).args(command.get_args());
    around.current_dir(command.get_current_dir().unwrap()).stdin(std::process::Stdio::null());
    around
}

fn classic(scene: &Scene, flags: &[&str], program: &[&str]) -> Outcome {
    scene.finish(without(ENOSYS, NEWER, &scene.command(flags, program)))
}

/// Every mount inside: where, of what kind, and how it is restricted; and how the starter says that it was mounted.
fn mounts(run: &Outcome) -> Vec<String> {
    let lines = run.text().lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let kind = words.iter().position(|word| *word == "-").unwrap() + 1;
        // Only the newer calls can map owners, which root's sandboxes need for some directories.
        let told = |option: &&str| !option.ends_with("atime") && *option != "idmapped";
        let options = words[5].split(',').filter(told);
        format!("{} {} {}", words[4], words[kind], options.collect::<Vec<_>>().join(","))
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// That both ways make the same of these flags.
#[track_caller]
fn is_the_same(scene: &Scene, flags: &[&str]) -> Vec<String> {
    let look = ["cat", "/proc/self/mountinfo"];
    let told = |run: &Outcome| run.reported("/enforcement/filesystem.view/how").to_string();
    let (new, old) = (scene.run(flags, &look), classic(scene, flags, &look));
    assert!(!told(&new).contains("the old way"), "{}", new.told());
    assert!(told(&old).contains("mounted the old way"), "{}", old.told());
    assert_eq!(mounts(&old), mounts(&new));
    mounts(&new)
}

#[test]
fn every_mount_of_a_view_is_the_same() {
    let scene = Scene::new();
    scene.file("key", "a secret\n");
    fs::set_permissions(scene.directory("data"), fs::Permissions::from_mode(0o777)).unwrap();
    let (data, secret) = (scene.at("data"), format!("key={}", scene.at("key")));
    let flags = [
        &["--write", &data, "--tmp", "1MiB", "--tmp-files", "50", "--file", "/etc/motd=hello"][..],
        &["--hide", "/usr/share/doc", "--deny", "/usr/share/info", "--device", "/dev/null"],
        &["--secret", &secret],
    ]
    .concat();
    // What there is to mask differs from host to host; the flags are the same for both.
    let flags: Vec<&str> = flags
        .chunks(2)
        .filter(|pair| !pair[1].starts_with("/usr/share") || fs::exists(pair[1]).unwrap())
        .flatten()
        .copied()
        .collect();
    let all = is_the_same(&scene, &flags);
    assert!(all.len() > 15, "{all:?}");
    assert!(all.iter().any(|line| line.starts_with("/usr ") && line.contains(" ro,nosuid,nodev")));
}

#[test]
fn what_can_be_done_in_it_is_the_same() {
    let scene = Scene::new();
    fs::set_permissions(scene.directory("data"), fs::Permissions::from_mode(0o777)).unwrap();
    scene.directory("shown");
    let (data, shown) = (scene.at("data"), scene.at("shown"));
    let flags = ["--write", &data, "--read", &shown, "--tmp", "64KiB", "--file", "/etc/motd=hello"];
    let line = "
        echo 1 > $DATA/made; echo 2 > $SHOWN/made; echo 3 > /made; echo 4 > /usr/made
        cat /etc/motd; echo; echo 5 > /etc/motd; cat $DATA/made
        head -c 100000 /dev/zero > /tmp/large; echo large $?
        echo x > /dev/null && head -c 1 /dev/zero | wc -c
        ls /proc/self/fd > /dev/null && ls -d /home /root; mount -t tmpfs x /tmp";
    let line = format!("DATA={data} SHOWN={shown}; {line}");
    let look = |run: Outcome| {
        let error: Vec<_> = run.stderr.lines().filter(|line| !line.contains("stockade")).collect();
        (String::from_utf8(run.stdout.clone()).unwrap(), error.join("\n"))
    };
    let program = ["bash", "-c", &line];
    let new = look(scene.run(&flags, &program));
    fs::remove_file(scene.at("data/made")).unwrap();
    let old = look(classic(&scene, &flags, &program));
    assert_eq!(old, new);
    assert!(old.0.starts_with("hello\n1\nlarge 1\n1\n"), "{old:?}");
    assert_eq!(old.1.matches("Read-only file system").count(), 4, "{old:?}");
}

#[test]
fn a_directory_as_the_root_and_copies_of_it_are_the_same() {
    if let Some(why) = lacks("filesystem.overlay") {
        skip!("overlay: {why}");
    }
    let scene = Scene::new();
    let root = scene.directory("root");
    for name in ["usr", "etc", "proc", "dev", "tmp", "bin", "lib", "lib64"] {
        scene.directory(&format!("root/{name}"));
    }
    let usr = ["--read", "/usr", "--read", "/bin", "--read", "/lib", "--read-optional", "/lib64"];
    let flags = [&["--root", &root, "--workdir", "/"], &usr[..]].concat();
    let all = is_the_same(&scene, &flags);
    assert!(all.iter().any(|line| line.starts_with("/ ") && line.contains(" ro,")), "{all:?}");
    if is_root() {
        // Root's copies show owners as others, which the old way can't.
        let flags = [&flags[..], &["--overlay", "discard"]].concat();
        let run = classic(&scene, &flags, &["true"]);
        run.expect_refusal(&["failed to map the owner of files in", "mount_setattr(2)"]);
        scene.run(&flags, &["true"]).expect_code(0);
        return;
    }
    let flags = [&flags[..], &["--overlay", "discard"]].concat();
    let all = is_the_same(&scene, &flags);
    assert!(all.iter().any(|line| line.starts_with("/ overlay rw,nosuid,nodev")), "{all:?}");
    let line = "echo 1 > /etc/made && cat /etc/made && ls /etc";
    classic(&scene, &flags, &["bash", "-c", line]).expect_text("1\nmade\n");
    assert!(!fs::exists(scene.at("root/etc/made")).unwrap());
}

#[test]
fn what_the_host_has_mounted_below_is_restricted_too() {
    if !is_root() {
        skip!("root: nobody else may mount something for the starter to find");
    }
    let scene = Scene::new();
    for name in ["shown", "shown/below", "shown/below/deeper"] {
        scene.directory(name);
    }
    let shown = scene.at("shown");
    // Mounted in a mount namespace of the test's own.
    let line = "mount -t tmpfs x $0/below && mkdir -m 777 $0/below/deeper && \
                mount -t tmpfs -o mode=777 y $0/below/deeper && shift 0 && exec \"$@\"";
    let within = |command: Command| {
        let mut around = Command::new("unshare");
        around.args(["--mount", "sh", "-c", line, &shown]);
        around.arg(command.get_program()).args(command.get_args());
        around.current_dir(scene.path()).stdin(std::process::Stdio::null());
        scene.finish(around)
    };
    let program = ["sh", "-c", "echo 1 > $0/below/deeper/made; cat /proc/self/mountinfo", &shown];
    let command = scene.command(&["--read", &shown], &program);
    let (old, new) = (within(without(ENOSYS, NEWER, &command)), within(command));
    for run in [&old, &new] {
        assert!(run.stderr.contains("Read-only file system"), "{}", run.told());
        let deeper = format!("{shown}/below/deeper tmpfs ro,nosuid,nodev");
        assert!(mounts(run).contains(&deeper), "{}", run.told());
    }
    assert_eq!(mounts(&old), mounts(&new));
}

#[test]
fn a_restriction_that_does_not_come_about_is_seen_before_the_program_starts() {
    let scene = Scene::new();
    let command = without(ENOSYS, NEWER, &scene.command(&[], &["echo", "ran"]));
    // Every call that would restrict a mount says that it did, and does nothing.
    let mut lying = Command::new("strace");
    lying.args([
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "trace=mount",
        "-e",
        "inject=mount:retval=0:when=12",
    ]);
    let works = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        skip!("strace: not installed, or it may not trace");
    }
    lying.arg(command.get_program()).args(command.get_args());
    lying.current_dir(scene.path()).stdin(std::process::Stdio::null());
    let run = scene.finish(lying).expect_refusal(&["inside isn't restricted as it should be"]);
    assert_eq!(run.stdout, b"", "{}", run.told());
    scene.finish(command).expect_text("ran\n");
}

#[test]
fn an_error_that_says_forbidden_is_understood_and_mount_itself_is_needed() {
    let scene = Scene::new();
    let command = scene.command(&[], &["echo", "ran"]);
    scene.finish(without(EPERM, NEWER, &command)).expect_text("ran\n");
    // One of them is enough.
    scene.finish(without(ENOSYS, "442", &command)).expect_text("ran\n");
    let all = format!("{NEWER},mount");
    let run = scene.finish(without(EPERM, &all, &command));
    run.expect_refusal(&["launch failed at `make mounts private`"]);
}

#[test]
fn owners_that_would_have_to_be_mapped_are_a_reason_to_refuse() {
    if !is_root() {
        skip!("root: a user's own files need no mapping");
    }
    let scene = Scene::new();
    let data = scene.directory("data");
    let run = classic(&scene, &["--write", &data], &["true"]);
    run.expect_refusal(&["failed to map the owner of files in", &data, "start as its owner"]);
    scene.run(&["--write", &data], &["true"]).expect_code(0);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    classic(&scene, &["--write", &data], &["true"]).expect_code(0);
}
