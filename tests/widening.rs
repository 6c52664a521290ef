//! Adding to a policy file what a run needed: no more than that, after it was shown, and with everything else in the file kept.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use support::desk::Desk;
use support::{PYTHON, Scene, is_root};

const JOB: &str = "
import sys
for name in sys.argv[1:]:
    try: print(open(name).read(), end='')
    except OSError as error: print(error.strerror)
open('out/result', 'w').write('done')";

const POLICY: &str = "# Ours: what the job may.
extends = \"base\"   # all walls

[filesystem]
# Its own.
read_optional = [\"/etc\"]
read = [\"./job.py\", './data/input'] # what it reads
write = [
    \"./out\",   # results
]
";

fn scene(policy: &str) -> Scene {
    let scene = Scene::new();
    for name in ["data", "out", "more"] {
        scene.directory(name);
    }
    for name in ["data/input", "data/other", "data/secret", "data/key"] {
        scene.file(name, &format!("{name}\n"));
    }
    scene.file("job.py", JOB);
    scene.file("job.toml", policy);
    scene
}

fn command(scene: &Scene, flags: &[&str], program: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.current_dir(scene.path()).stdin(Stdio::null()).args(["policy", "learn"]);
    command.args(["--update", "job.toml"]).args(flags).arg("--").args(program);
    command
}

fn update(scene: &Scene, flags: &[&str], program: &[&str]) -> Output {
    command(scene, flags, program).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(scene: &Scene) -> String {
    fs::read_to_string(scene.at("job.toml")).unwrap()
}

#[test]
fn what_is_missing_is_added_and_then_nothing_is_missing() {
    let scene = scene(POLICY);
    let program = [PYTHON, "job.py", "data/input", "data/other"];
    fs::set_permissions(scene.at("job.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    let updated = update(&scene, &["--yes"], &program);
    assert!(updated.status.success(), "{}", told(&updated));
    let workdir = format!("workdir = \"{}\"\n", scene.path().display());
    let expected = POLICY.replace(
        "'./data/input'] # what it reads",
        "'./data/input', \"./data/other\"] # what it reads",
    ) + &workdir;
    assert_eq!(text(&scene), expected, "{}", told(&updated));
    let mode = fs::metadata(scene.at("job.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    let shown = format!(
        "job.toml: filesystem.read: it would permit more\n  + {}   (openat)\n",
        scene.at("data/other")
    );
    assert!(told(&updated).contains(&shown), "{}", told(&updated));
    // The next run passes, and what wasn't needed still isn't there.
    let run = scene.run(&["-p", "job.toml"], &[&program[..], &["data/key"]].concat());
    run.expect_text("data/input\ndata/other\nNo such file or directory\n");
    let again = update(&scene, &["--yes"], &program);
    assert!(again.status.success(), "{}", told(&again));
    assert!(told(&again).contains("`job.toml` permits all that it needed"), "{}", told(&again));
    assert_eq!(text(&scene), expected);
}

#[test]
fn without_a_yes_it_is_only_shown() {
    let scene = scene(POLICY);
    let program = [PYTHON, "job.py", "data/other"];
    let asked = update(&scene, &[], &program);
    assert_eq!(asked.status.code(), Some(125));
    let all = told(&asked);
    assert!(all.contains("data/other   (openat)"), "{all}");
    assert!(all.contains("error: `job.toml` stays as it is: nobody can be asked here"), "{all}");
    assert!(all.contains("hint: `--yes` adds it without asking"), "{all}");
    let dry = update(&scene, &["--dry-run"], &program);
    assert!(dry.status.success() && told(&dry).contains("data/other   (openat)"), "{}", told(&dry));
    assert_eq!(text(&scene), POLICY);
    // Nothing is left of it beside the file either.
    let names = fs::read_dir(scene.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().ends_with(".new")));
}

#[test]
fn at_a_terminal_it_asks() {
    let mut desk = Desk::new();
    fs::create_dir(desk.scene.at("out")).unwrap();
    for (name, text) in [("job.py", JOB), ("other", ""), ("job.toml", POLICY)] {
        desk.scene.file(name, text);
    }
    fs::create_dir(desk.scene.at("data")).unwrap();
    desk.scene.file("data/input", "");
    for (answer, end, code) in
        [("n\r", "`job.toml` stays as it is", 125), ("y\r", "added to `job.toml`", 0)]
    {
        let update = command(&desk.scene, &[], &[PYTHON, "job.py", "other"]);
        let run = desk.start(&update);
        desk.shows("Add this to `job.toml`? [y/N] ");
        assert_eq!(text(&desk.scene), POLICY);
        desk.types(answer);
        desk.shows(end);
        desk.outcome(run).expect_code(code);
    }
    assert!(text(&desk.scene).contains("\"./other\"] # what it reads"));
}

#[test]
fn what_the_file_denies_stays_denied() {
    let denials = "deny = [\"./data/secret\"] # never\nhide = [\"./data/key\"]\n\n[syscalls]\ndeny = [\"getpriority\"]\n\
                   rules = [{ name = \"sched_getparam\", action = \"errno ENODEV\" }]\n";
    let code = "import os
for name in 'data/secret', 'data/key':
    try: print(open(name).read(), end='')
    except OSError as error: print(error.strerror)
for call in lambda: os.getpriority(os.PRIO_PROCESS, 0), lambda: os.sched_getparam(0).sched_priority:
    try: print(call())
    except OSError as error: print(error.strerror)";
    let program = [PYTHON, "-c", code];
    let closed = POLICY.replace("\"/etc\"", "\"/etc\", \"./data\"") + denials;
    let scene = scene(&closed);
    let before = text(&scene);
    let updated = update(&scene, &["--yes"], &program);
    assert!(updated.status.success(), "{}", told(&updated));
    // Also while it is watched.
    let seen = String::from_utf8_lossy(&updated.stdout).into_owned();
    assert_eq!(seen, "Permission denied\nOperation not permitted\nNo such device\n");
    for (what, by) in [
        (scene.at("data/secret"), "filesystem.deny`, job.toml:"),
        (scene.at("data/key"), "filesystem.hide`, job.toml:"),
        ("getpriority".into(), "syscalls.deny`, job.toml:"),
        ("sched_getparam".into(), "syscalls.rules`, job.toml:"),
    ] {
        let line = format!("`{what}` is denied by `{by}");
        assert!(told(&updated).contains(&line), "{line}\n{}", told(&updated));
    }
    assert_eq!(text(&scene), before, "{}", told(&updated));
    // Where it doesn't, they are added.
    let none = "[syscalls]\nbase = \"none\"\nallow = [\"@file-system\", \"@io\"]\n";
    scene.file("job.toml", &format!("{}\n{none}", POLICY));
    let updated = update(&scene, &["--yes"], &program);
    let after = text(&scene);
    for added in ["./data/secret", "./data/key", "\"getpriority\"", "\"sched_getparam\""] {
        assert!(after.contains(added), "{added}: {after}{}", told(&updated));
    }
}

#[test]
fn reading_within_writing_and_the_systems_places_stay_as_they_are() {
    let policy = "extends = \"base\"\n[filesystem]\nread_optional = [\"/etc\"]\nread = [\"./data\"]\nwrite = [\".\"]\n";
    let scene = scene(policy);
    let code = "
for name in 'data/new', '/etc/new', '/usr/lib/new', 'more/new':
    try: open(name, 'w')
    except OSError as error: pass";
    let updated = update(&scene, &["--yes"], &[PYTHON, "-c", code]);
    let all = told(&updated);
    assert!(all.contains("is for reading within what may be changed, job.toml:4"), "{all}");
    assert!(all.contains("writing to `/etc` isn't added"), "{all}");
    assert!(all.contains("writing to `/usr/lib` isn't added"), "{all}");
    assert_eq!(text(&scene), policy, "{all}");
    // Where the same place isn't within one, it moves.
    scene.file(
        "job.toml",
        "extends = \"base\"\n[filesystem]\nread_optional = [\"/etc\"]\nread = [\"./data\"]\nworkdir = \"./data\"\n",
    );
    let updated =
        update(&scene, &["--yes"], &[PYTHON, "-c", "try: open('new', 'w')\nexcept OSError: pass"]);
    let expected = "extends = \"base\"\n[filesystem]\nread_optional = [\"/etc\"]\nread = []\nworkdir = \"./data\"\nwrite = [\"./data\"]\n";
    assert_eq!(text(&scene), expected, "{}", told(&updated));
    assert!(scene.run(&["-p", "job.toml"], &[PYTHON, "-c", "open('new', 'w')"]).status.success());
}

#[test]
fn what_no_ordinary_program_calls_is_told_and_not_added() {
    let scene = scene(POLICY);
    let code = "import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))";
    let updated = update(&scene, &["--yes"], &[PYTHON, "-c", code]);
    assert_eq!(String::from_utf8_lossy(&updated.stdout), "-1\n");
    let line = "`unshare(CLONE_NEWUSER)` isn't added: ordinary programs don't need it";
    assert!(told(&updated).contains(line), "{}", told(&updated));
    assert_eq!(text(&scene), POLICY);
}

#[test]
fn limits_that_were_too_small_get_room_and_others_stay() {
    let limits = "extends = \"base\"\nfilesystem.read_optional = [\"/etc\"]\n[degrade]\nallow = [\"limits.memory\", \"limits.pids\"]\n\
                  [limits]\nmemory = \"16MiB\" # too little\npids = 2\nwall_time = \"10ms\"\nopen_files = 99\n";
    let scene = scene(limits);
    let code = "import threading, time
data = bytearray(64 << 20)
for at in range(0, len(data), 4096): data[at] = 1
for _ in range(4): threading.Thread(target=time.sleep, args=[0.5]).start()
time.sleep(0.5)";
    let program = [PYTHON, "-c", code];
    let updated = update(&scene, &["--yes"], &program);
    assert!(updated.status.success(), "{}", told(&updated));
    let after = text(&scene);
    let toml = |key: &str| {
        let line = after.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
        line.split_once('=').unwrap().1.trim().to_owned()
    };
    let memory = toml("memory");
    assert!(memory.starts_with('"') && memory.ends_with("MiB\" # too little"), "{after}");
    assert!(memory[1..].split_once("MiB").unwrap().0.parse::<u64>().unwrap() >= 96, "{after}");
    assert!(toml("pids").parse::<u64>().unwrap() >= 8, "{after}");
    assert!(
        toml("wall_time").trim_matches('"').trim_end_matches('s').parse::<u64>().unwrap() >= 10
    );
    assert_eq!(toml("open_files"), "99");
    let run = scene.run(&["-p", "job.toml"], &program).expect_code(0);
    assert_eq!(run.reported("/cause"), "exited");
    // Room that is enough stays as it is.
    let again = update(&scene, &["--yes"], &program);
    assert!(told(&again).contains("permits all that it needed"), "{}", told(&again));
}

#[test]
fn whom_it_talks_to_is_added() {
    let scene = scene(
        "extends = \"base\"\nfilesystem.read_optional = [\"/etc\"]\n[network]\nmode = \"none\" # nobody yet\n",
    );
    let code = "import socket
for address in ('192.0.2.1', 443), ('127.0.0.1', 9):
    try: socket.create_connection(address, 1)
    except OSError: pass";
    let updated = update(&scene, &["--yes"], &[PYTHON, "-c", code]);
    let expected = "extends = \"base\"\nfilesystem.read_optional = [\"/etc\"]\n[network]\nmode = \"filtered\" # nobody yet\nallow = [\"192.0.2.1:443\"]\n";
    assert_eq!(text(&scene), expected, "{}", told(&updated));
    // Asked for by name through the proxy.
    let code = "import os, socket
host, port = os.environ['HTTPS_PROXY'].removeprefix('http://').strip('/').split(':')
link = socket.create_connection((host, int(port)))
link.sendall(b'CONNECT example.org:443 HTTP/1.1\\r\\nHost: example.org:443\\r\\n\\r\\n')
print(link.recv(99).split()[1].decode())";
    let updated = update(&scene, &["--yes"], &[PYTHON, "-c", code]);
    assert_eq!(String::from_utf8_lossy(&updated.stdout), "403\n", "{}", told(&updated));
    assert!(
        text(&scene).contains("allow = [\"192.0.2.1:443\", \"example.org:443\"]"),
        "{}",
        told(&updated)
    );
}

#[test]
fn only_the_named_file_of_a_chain_is_added_to() {
    let scene = scene("extends = \"./lower.toml\"\n");
    let lower = scene.file("lower.toml", &POLICY.replace("./out", "./more"));
    let before = fs::read_to_string(&lower).unwrap();
    let program = [PYTHON, "job.py", "data/other"];
    let updated = update(&scene, &["--yes"], &program);
    let expected = format!(
        "extends = \"./lower.toml\"\n\n[filesystem]\nwrite = [\"./out\"]\nread = [\"./data/other\"]\nworkdir = \"{}\"\n",
        scene.path().display()
    );
    assert_eq!(text(&scene), expected, "{}", told(&updated));
    assert_eq!(fs::read_to_string(&lower).unwrap(), before);
    scene.run(&["-p", "job.toml"], &program).expect_text("data/other\n");
}

#[test]
fn a_file_that_was_changed_meanwhile_stays() {
    let policy = "extends = \"base\"\n[filesystem]\nwrite = [\".\"]\n";
    let scene = scene(policy);
    let (other, code) = ("/etc/shadow", "import os\nos.stat('/etc/shadow')\n");
    for change in [
        "open('job.toml', 'a').write('# mine')",
        "open('new', 'w').write('# mine'); os.rename('new', 'job.toml')",
        "os.rename('job.toml', 'x'); os.symlink('x', 'job.toml')",
    ] {
        let program = format!("{code}{change}");
        let updated = update(&scene, &["--yes"], &[PYTHON, "-c", &program]);
        let all = told(&updated);
        assert!(updated.status.code() == Some(125), "{all}");
        assert!(all.contains("`job.toml` was changed meanwhile"), "{all}");
        assert!(!text(&scene).contains(other), "{}", text(&scene));
        fs::remove_file(scene.at("job.toml")).unwrap();
        scene.file("job.toml", policy);
    }
    // Nobody does.
    let updated = update(&scene, &["--yes"], &[PYTHON, "-c", code]);
    assert!(text(&scene).contains(other), "{}", told(&updated));
}

#[test]
fn what_can_not_be_added_to_is_told_before_anything_runs() {
    let scene = scene(POLICY);
    let refused = |word: &str, drop: bool, said: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.current_dir(scene.path()).args(["policy", "learn", "--yes", "--update", word]);
        command.args(["--", "touch", "out/ran"]);
        if drop {
            command.uid(65534);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{word}");
        for part in said {
            assert!(told(&output).contains(part), "{word}: {}", told(&output));
        }
        assert!(!fs::exists(scene.at("out/ran")).unwrap());
    };
    let own = "hint: write `extends = \"worker\"` into a file of your own";
    refused("worker", false, &["`worker` comes with Stockade", own]);
    refused(
        "none.toml",
        false,
        &["there is no `none.toml`", "hint: without one yet, `-o none.toml`"],
    );
    symlink("job.toml", scene.at("link.toml")).unwrap();
    let hint = "hint: name what it leads to: `--update job.toml`";
    refused("link.toml", false, &["`link.toml` is a symlink, which isn't followed", hint]);
    refused("data", false, &["failed to open `data`", "it is a directory"]);
    scene.file("wrong.toml", "[limits]\nmemroy = 1\n");
    refused("wrong.toml", false, &["did you mean `memory`?"]);
    let open = scene.file("closed.toml", POLICY);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o444)).unwrap();
    // For root no mode is in the way.
    refused(
        "closed.toml",
        is_root(),
        &["failed to open `closed.toml`", "hint: it and its directory"],
    );
    assert_eq!(text(&scene), POLICY);
}
