//! `stockade exec`: another program in a sandbox that runs, behind every one of its walls.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use nix::sys::signal::Signal;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use support::{
    PYTHON, Scene, Started, cgroup_of, guarded, lacks, listed, processes_with, signal, skip,
};

/// A name that no other run of these tests has.
fn own(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// A line of bash that runs as a sandbox of this name, and is listed.
fn started(scene: &Scene, name: &str, flags: &[&str], line: &str) -> Started {
    let line = format!("echo up; {line}");
    let name = &*own(name);
    let flags = [&["--name", name], flags].concat();
    let started = Started::new(scene.command(&flags, &["bash", "-c", &line]));
    listed(name);
    started
}

fn exec(name: &str, program: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.args(["exec", &own(name), "--"]).args(program).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(mut command: Command) -> Output {
    let child = command.spawn().unwrap();
    guarded(child.id(), || child.wait_with_output().unwrap())
}

#[track_caller]
fn said(name: &str, program: &[&str]) -> String {
    let output = output(exec(name, program));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a process can tell of its walls, one line each.
const WALLS: &str = "
import os, resource, socket
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status') if ':\\t' in line)
for name in ['Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Umask', 'SigBlk', 'SigIgn', 'SigCgt']:
    print(name, status.get(name, '').strip())
for name in sorted(os.listdir('/proc/self/ns')):
    print(name, os.readlink('/proc/self/ns/' + name))
for name in sorted(name for name in dir(resource) if name.startswith('RLIMIT_')):
    print(name, resource.getrlimit(getattr(resource, name)))
print(sorted(os.environ.items()))
print(os.getcwd(), os.nice(0), os.sched_getaffinity(0), socket.gethostname())
print(os.getsid(0) == os.getpid())
print([fd for fd in os.listdir('/proc/self/fd') if int(fd) > 2 and os.path.exists('/proc/self/fd/' + fd)])
print(open('/proc/self/mountinfo').read())
def attempt(what):
    try: return what()
    except OSError as error: return error.errno
print(attempt(lambda: os.unshare(os.CLONE_NEWUSER)) if hasattr(os, 'unshare') else '')
print(attempt(lambda: open('/etc/new', 'w')), attempt(lambda: os.setuid(0)), attempt(lambda: os.mknod('/tmp/x', 0o20600, 0x103)))
";

#[test]
fn it_has_the_walls_of_the_sandboxs_own_program() {
    for flags in [
        &[][..],
        &["--pids", "50", "--open-files", "100", "--env", "WORD=said"],
        &["--net", "host"],
        &["--init", "false"],
    ] {
        let scene = Scene::new();
        // Shells run as many processes as they like; nothing of theirs counts.
        let line = format!("{PYTHON} -c \"$WALLS\"; echo .; read");
        let walls = format!("WALLS={WALLS}");
        let flags = [flags, &["--env", &walls]].concat();
        let mut run = started(&scene, "walls", &flags, &line);
        let mut own = String::new();
        loop {
            match run.line() {
                end if end == "." => break,
                line => own += &(line + "\n"),
            }
        }
        let inside = said("walls", &["bash", "-c", &format!("{PYTHON} -c \"$WALLS\"; :")]);
        // The shell's child leads no session; that of `exec` is its own.
        let comparable = |text: &str| -> Vec<String> {
            let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
            let kept = lines.filter(|line| !line.contains("'_'"));
            kept.map(str::to_owned).collect()
        };
        let (own, inside) = (comparable(&own), comparable(&inside));
        assert!(own.iter().any(|line| line.starts_with("NoNewPrivs 1")), "{own:#?}");
        assert!(own.iter().any(|line| line.starts_with("CapBnd 0000000000000000")), "{own:#?}");
        for (own, inside) in own.iter().zip(&inside) {
            assert_eq!(own, inside, "with {flags:?}");
        }
        assert_eq!(own.len(), inside.len());
        run.finish(&scene).expect_code(1);
    }
}

#[test]
fn it_stands_in_the_cgroup_of_the_sandbox_and_ends_with_it() {
    let scene = Scene::new();
    let run = started(&scene, "ends", &[], "read");
    let own = cgroup_of(run.program());
    let marker = format!("1004.{}", std::process::id());
    let mut inside = exec("ends", &["sleep", &marker]).spawn().unwrap();
    let pid = eventually(|| processes_with(&marker).into_iter().find(|pid| is_sleep(*pid)));
    if own != cgroup_of(std::process::id()) {
        assert_eq!(cgroup_of(pid).unwrap().parent(), own.as_deref());
    }
    run.finish(&scene).expect_code(1);
    let ended = guarded(inside.id(), || inside.wait().unwrap());
    assert!(matches!(ended.code(), Some(137 | 125)), "{ended}");
    assert_eq!(processes_with(&marker), Vec::<u32>::new());
}

fn is_sleep(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
}

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "nobody is told of a stranger's process")]
fn eventually<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "it never came");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn its_streams_are_the_callers_and_so_are_its_exit_code_and_signals() {
    let scene = Scene::new();
    let run = started(&scene, "streams", &[], "read");
    let mut command = exec("streams", &["bash", "-c", "read x; echo got $x; echo err >&2; exit 7"]);
    let mut child: Child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"word\n").unwrap();
    let output = guarded(child.id(), || child.wait_with_output().unwrap());
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((&*output.stdout, &*output.stderr), (&b"got word\n"[..], &b"err\n"[..]));

    let line = "trap 'echo heard; exit 3' TERM; echo ready; while :; do sleep 0.02; done";
    let mut child = exec("streams", &["bash", "-c", line]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    signal(child.id(), Signal::SIGTERM);
    assert_eq!(lines.next().unwrap().unwrap(), "heard");
    assert_eq!(guarded(child.id(), || child.wait().unwrap()).code(), Some(3));

    let output = self::output(exec("streams", &["bash", "-c", "kill -KILL $$"]));
    assert_eq!(output.status.code(), Some(137));
    for (program, code, told) in [
        ("no-such-program", 127, "failed to execute `no-such-program`: not found inside"),
        ("/etc/passwd", 126, "failed to execute `/etc/passwd`: Permission denied"),
    ] {
        let output = self::output(exec("streams", &[program]));
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(told), "{error}");
    }
    run.finish(&scene).expect_code(1);
}

#[test]
fn whoever_leaves_takes_it_and_all_that_it_started_along() {
    let scene = Scene::new();
    let run = started(&scene, "leaves", &[], "read");
    let has_cgroup = cgroup_of(run.program()) != cgroup_of(std::process::id());
    let marker = format!("1005.{}", std::process::id());
    let line = format!("setsid sleep {marker} & setsid sleep {marker} & echo ready; wait");
    let mut child = exec("leaves", &["bash", "-c", &line]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    eventually(|| (processes_with(&marker).len() >= 3).then_some(()));
    signal(child.id(), Signal::SIGKILL);
    child.wait().unwrap();
    if has_cgroup {
        eventually(|| processes_with(&marker).is_empty().then_some(()));
    }

    // What it leaves behind goes with it too.
    let line = format!("setsid sleep {marker} < /dev/null > /dev/null 2>&1 & exit 4");
    let output = output(exec("leaves", &["bash", "-c", &line]));
    assert_eq!(output.status.code(), Some(4));
    if has_cgroup {
        assert_eq!(processes_with(&marker), Vec::<u32>::new());
    }
    assert_eq!(said("leaves", &["echo", "the sandbox goes on"]), "the sandbox goes on\n");
    run.finish(&scene).expect_code(1);
}

#[test]
fn it_can_signal_the_sandboxs_own_program() {
    let scene = Scene::new();
    let line = "trap 'echo heard' HUP; echo $$; while :; do sleep 0.02; done";
    let mut run = started(&scene, "hears", &[], line);
    let pid = run.line();
    said("hears", &["bash", "-c", &format!("kill -HUP {pid}")]);
    assert_eq!(run.line(), "heard");
    // The signal ends the sandbox, and that this one.
    output(exec("hears", &["bash", "-c", &format!("kill -KILL {pid}")]));
    run.finish(&scene).expect_code(137);
}

#[test]
fn a_stream_is_no_way_around_the_rules_for_files() {
    if let Some(why) = lacks("filesystem.access_rules") {
        skip!("landlock: {why}");
    }
    let (scene, outside) = (Scene::new(), tempfile::NamedTempFile::new().unwrap());
    std::fs::set_permissions(outside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .unwrap();
    let run = started(&scene, "stream", &[], "read");
    let mut command = exec("stream", &["bash", "-c", "echo changed > /proc/self/fd/0"]);
    let output = output({
        command.stdin(File::open(outside.path()).unwrap());
        command
    });
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("Permission denied"), "{error}");
    let mut text = String::new();
    File::open(outside.path()).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "");

    let mut command = exec("stream", &["true"]);
    command.stdin(File::open("/").unwrap());
    let output = self::output(command);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("standard input is a directory"), "{error}");
    run.finish(&scene).expect_code(1);
}

#[test]
fn nobody_enters_what_stands_still_or_has_ended() {
    let scene = Scene::new();
    let run = started(&scene, "still", &[], "read");
    let asked = |verb: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.args([verb, &own("still")]).stdout(Stdio::piped()).stderr(Stdio::piped());
        output(command)
    };
    if asked("pause").status.success() {
        let refused = output(exec("still", &["true"]));
        let error = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(125), "{error}");
        assert!(error.contains("the sandbox is paused"), "{error}");
        assert!(asked("resume").status.success());
    }
    run.finish(&scene).expect_code(1);
    assert_eq!(output(exec("still", &["true"])).status.code(), Some(125));
}
