//! Denied system calls are told: what it was, how often, by which wall, and what would allow it; and what ends a program for
//! one is known from what only looks like it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use serde_json::Value;
use std::fs;
use std::time::Duration;
use support::{Outcome, PYTHON, Scene, Started, lacks, skip, untold};

/// Makes calls by their numbers: `unshare(CLONE_NEWUSER)`, a VSOCK socket, and more, so often each.
const CALLS: &str = "
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
arm = __import__('platform').machine() == 'aarch64'
numbers = dict(unshare=97 if arm else 272, socket=198 if arm else 41, ioctl=29 if arm else 16, mount=40 if arm else 165,
    clone3=435, fchmod=52 if arm else 91, getpid=172 if arm else 39)
def call(name, *arguments):
    answer = libc.syscall(numbers[name], *[ctypes.c_long(one) for one in arguments])
    return ctypes.get_errno() if answer < 0 else 0
";

fn python(scene: &Scene, flags: &[&str], code: &str) -> Outcome {
    scene.python(flags, &format!("{CALLS}{code}"))
}

/// The denials of a report, without their remedies.
fn denials(run: &Outcome) -> Vec<(String, u64)> {
    let all = run.reported("/denials").as_array().unwrap().clone();
    let one = |denial: &Value| {
        assert_eq!(denial["wall"], "syscalls", "{denial}");
        (denial["what"].as_str().unwrap().to_owned(), denial["times"].as_u64().unwrap())
    };
    all.iter().map(one).collect()
}

#[test]
fn the_report_says_what_was_denied_and_how_often() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene) {
        skip!("{why}");
    }
    let code = "
for _ in range(3): assert call('unshare', 0x10000000) == 1
assert call('socket', 40, 1, 0) == 1
assert call('mount', 0, 0, 0, 0, 0) == 1
assert call('clone3', 0, 0) == 38
assert call('getpid') == 0";
    let run = python(&scene, &["-v"], code).expect_code(0);
    let expected = [
        ("unshare(CLONE_NEWUSER)".to_owned(), 3),
        ("mount".into(), 1),
        ("socket(AF_VSOCK, SOCK_STREAM, 0)".into(), 1),
    ];
    assert_eq!(denials(&run), expected);
    let told = "stockade: syscalls: denied unshare(CLONE_NEWUSER) 3 times; `[syscalls] allow = [\"unshare\"]` would allow it";
    assert!(run.stderr.contains(told), "{}", run.told());
    // Allowed, nothing is denied.
    let flags =
        ["--allow-syscall", "unshare", "--allow-syscall", "socket:any", "--allow-syscall", "mount"];
    let run = python(
        &scene,
        &flags,
        "call('unshare', 0); call('socket', 40, 1, 0); call('mount', 0, 0, 0, 0, 0)",
    );
    assert_eq!(denials(&run.expect_code(0)), []);
}

#[test]
fn the_line_that_is_told_allows_what_was_denied() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene) {
        skip!("{why}");
    }
    for attempt in [
        "call('unshare', 0)",
        "call('socket', 40, 1, 0)",
        "call('socket', 2, 5, 0)",
        "call('ioctl', 1, 0x5412, 0)",
        "call('fchmod', 1, 0o4755)",
        "call('mount', 0, 0, 0, 0, 0)",
    ] {
        let denied = python(&scene, &[], attempt).expect_code(0);
        assert_eq!(denials(&denied).len(), 1, "{attempt}: {}", denied.told());
        let line = denied.reported("/denials/0/allow").as_str().unwrap();
        let text = format!("extends = \"default\"\n{}\n", line.replacen("] ", "]\n", 1));
        let policy = scene.file("mended.toml", &text);
        let allowed = python(&scene, &["--policy", &policy], attempt).expect_code(0);
        assert_eq!(denials(&allowed), [], "{attempt}: {line}");
    }
}

#[test]
fn rules_give_what_they_say_and_are_counted() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene) {
        skip!("{why}");
    }
    let policy = scene.file(
        "rules.toml",
        "extends = \"default\"\n[syscalls]\nrules = [\n\
         { name = \"socket\", arg0 = [\"AF_UNIX\", \"AF_INET\"] },\n\
         { name = \"mount\", action = \"errno ENODEV\" },\n\
         { name = \"unshare\", arg0 = 0, action = \"log\" },\n]\n",
    );
    let code = "print(call('socket', 1, 1, 0), call('socket', 2, 1, 0), call('socket', 10, 1, 0), \
                call('mount', 0, 0, 0, 0, 0), call('unshare', 0), call('unshare', 0x10000000))";
    let run = python(&scene, &["--policy", &policy], code).expect_code(0);
    assert_eq!(String::from_utf8_lossy(&run.stdout), "0 0 1 19 0 1\n");
    let expected = [
        ("mount".to_owned(), 1),
        ("socket(AF_INET6, SOCK_STREAM, 0)".into(), 1),
        ("unshare(CLONE_NEWUSER)".into(), 1),
    ];
    assert_eq!(denials(&run), expected);
    // Without the rules nothing but the base list speaks.
    let run = python(&scene, &[], code).expect_code(0);
    assert_eq!(String::from_utf8_lossy(&run.stdout), "0 0 0 1 1 1\n");
}

#[test]
fn an_end_for_a_forbidden_call_is_told_from_the_same_signal_by_hand() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene) {
        skip!("{why}");
    }
    let cause = |run: &Outcome| run.reported("/cause").as_str().unwrap().to_owned();
    let kill = ["--on-violation", "kill"];
    let run = python(&scene, &kill, "call('unshare', 0x10000000)").expect_code(159);
    assert_eq!(
        (cause(&run).as_str(), denials(&run)),
        ("denied", vec![("unshare(CLONE_NEWUSER)".into(), 1)])
    );
    let by_hand = "import os, signal; os.kill(os.getpid(), signal.SIGSYS)";
    let run = python(&scene, &kill, by_hand).expect_code(159);
    assert_eq!((cause(&run).as_str(), run.reported("/signal")), ("signalled", &31.into()));
    // What a program does with the signal doesn't help it.
    for standing in [
        "signal.signal(signal.SIGSYS, signal.SIG_IGN)",
        "signal.signal(signal.SIGSYS, lambda *_: None)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSYS])",
    ] {
        let code =
            format!("import signal; {standing}\ncall('unshare', 0x10000000)\nprint('alive')");
        let run = python(&scene, &kill, &code).expect_code(159);
        assert_eq!(
            (cause(&run).as_str(), run.stdout.as_slice()),
            ("denied", &b""[..]),
            "{standing}"
        );
    }
    // One process of several, and none of the others.
    let code = "import os
child = os.fork()
if child == 0: call('unshare', 0x10000000); os._exit(0)
assert os.WTERMSIG(os.waitpid(child, 0)[1]) == 31";
    let run = python(&scene, &kill, code).expect_code(0);
    assert_eq!((cause(&run).as_str(), denials(&run).len()), ("exited", 1));
    // A rule of one call.
    let flags = ["--syscall-rule", "name=unshare,action=kill"];
    let run = python(&scene, &flags, "call('mount', 0, 0, 0, 0, 0); call('unshare', 0)");
    assert_eq!((cause(&run.expect_code(159)).as_str(),), ("denied",));
}

#[test]
fn threads_are_ended_with_their_process() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene) {
        skip!("{why}");
    }
    let code = "import threading, time
threading.Thread(target=lambda: call('unshare', 0x10000000)).start()
time.sleep(30)";
    let run = python(&scene, &["--on-violation", "kill"], code).expect_code(159);
    assert_eq!(run.reported("/cause"), "denied");
    assert!(run.reported("/wall_time_s").as_f64() < Some(20.0));
}

#[test]
fn without_an_init_denials_are_told_too() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene) {
        skip!("{why}");
    }
    let code = "print(call('unshare', 0x10000000))";
    let run = python(&scene, &["--init", "false"], code).expect_code(0);
    assert_eq!((denials(&run).len(), run.stdout.as_slice()), (1, &b"1\n"[..]));
    let run = python(&scene, &["--init", "false", "--on-violation", "kill"], code).expect_code(159);
    assert_eq!((run.reported("/cause"), run.reported("/signal")), (&"denied".into(), &9.into()));
    // Where nobody can hand over what tells of them, they are denied all the same.
    let without = ["--init", "false", "--deny-syscall", "sendmsg"];
    let run = python(&scene, &without, code).expect_code(0);
    assert_eq!((denials(&run).len(), run.stdout.as_slice()), (0, &b"1\n"[..]));
    let how = run.reported("/enforcement")["syscalls"]["how"].as_str().unwrap();
    assert!(how.contains("denials aren't counted: without an init"), "{how}");
}

#[test]
fn with_clock_offsets_denials_are_told_too() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene)
        .or_else(|| lacks("isolation.clock").map(|why| format!("time-namespace: {why}")))
    {
        skip!("{why}");
    }
    let run =
        python(&scene, &["--clock-boottime", "1h"], "call('unshare', 0x10000000)").expect_code(0);
    assert_eq!(denials(&run).len(), 1);
}

#[test]
fn a_policy_that_allows_next_to_nothing_can_still_tell() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene) {
        skip!("{why}");
    }
    // The loader is denied what it needs, and says so by failing.
    let run = scene.run(&["--syscalls", "none"], &["/bin/true"]);
    assert!(!denials(&run).is_empty(), "{}", run.told());
    assert_ne!(run.status.code(), Some(0), "{}", run.told());
}

#[test]
fn a_loop_of_denied_calls_exhausts_nothing_and_is_counted_whole() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene) {
        skip!("{why}");
    }
    let code = "
import os
for child in range(4):
    if os.fork() == 0:
        for at in range(2000): call('unshare', at << 8)
        os._exit(0)
for child in range(4): assert os.wait()[1] == 0";
    let run = python(&scene, &["--wall-time", "50s"], code).expect_code(0);
    let all = denials(&run);
    assert_eq!(all.iter().map(|(_, times)| times).sum::<u64>(), 8000);
    assert!(all.len() < 200, "{} kinds", all.len());
    assert!(
        all.iter().any(|(what, times)| what == "unshare (other arguments)" && *times > 4000),
        "{all:?}"
    );
}

#[test]
fn programs_that_die_while_they_wait_for_an_answer_disturb_nobody() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene) {
        skip!("{why}");
    }
    let code = "
import os, signal, threading
for _ in range(30):
    child = os.fork()
    if child == 0:
        for _ in range(8): threading.Thread(target=lambda: [call('unshare', 0x10000000) for _ in range(1000)]).start()
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        signal.signal(signal.SIGALRM, lambda *_: None)
        while True: call('unshare', 0x10000000)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
assert call('unshare', 0x10000000) == 1";
    let run = python(&scene, &[], code).expect_code(0);
    assert_eq!(denials(&run).len(), 1, "{}", run.told());
}

#[test]
fn denials_are_events_as_they_happen() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene) {
        skip!("{why}");
    }
    let events = scene.at("events.jsonl");
    let code = "import time
call('unshare', 0x10000000)
time.sleep(0.5)
for _ in range(20): call('unshare', 0x10000000)";
    python(&scene, &["--events", &events], code).expect_code(0);
    let text = fs::read_to_string(&events).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let denied: Vec<&Value> = lines.iter().filter(|line| line["event"] == "denied").collect();
    let times: Vec<u64> = denied.iter().map(|line| line["times"].as_u64().unwrap()).collect();
    assert!(times.len() >= 2 && times[0] == 1 && times.iter().sum::<u64>() == 21, "{text}");
    assert_eq!(denied[0]["what"], "unshare(CLONE_NEWUSER)");
    assert_eq!(denied[0]["allow"], "[syscalls] allow = [\"unshare\"]");
    assert_eq!(lines.last().unwrap()["event"], "exited");
}

#[test]
fn when_nobody_listens_any_more_denied_calls_still_fail() {
    let scene = Scene::new();
    if let Some(why) = untold(&scene) {
        skip!("{why}");
    }
    // Its starter stands still: the call waits. It ends: the call fails, and the sandbox ends.
    let code = format!(
        "{CALLS}
print('ready', flush=True)
input()
print(call('unshare', 0x10000000), flush=True)
import time
time.sleep(60)"
    );
    let mut run = Started::new(scene.command(&[], &[PYTHON, "-u", "-c", &code]));
    run.signal(nix::sys::signal::Signal::SIGSTOP);
    run.say("go\n");
    stand(Duration::from_secs(1));
    run.signal(nix::sys::signal::Signal::SIGKILL);
    // It may not have lived to tell; an answer before the kill would be the starter's.
    let answer = run.line();
    assert!(["", "38"].contains(&answer.as_str()), "{answer}");
    // Its stream closes long before it would by itself.
    assert_eq!(run.line(), "");
    run.child.wait().unwrap();
}

#[expect(clippy::disallowed_methods, reason = "what does not happen can only be waited for")]
fn stand(time: Duration) {
    std::thread::sleep(time);
}
