//! `stockade run` as its callers see it: streams, exit codes, signals, reports, arguments, environment.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers in a test file for no tests")]

mod support;

use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use support::{Outcome, PYTHON, Scene, Started, guarded, skip};

/// Whether a program can be started on this machine.
fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Writes until somebody stops reading, and tells how that is seen. (Rust ignores SIGPIPE, so it is an error.)
fn refused(mut to: impl Write) -> ErrorKind {
    let block = [b'x'; 1 << 16];
    loop {
        if let Err(error) = to.write_all(&block) {
            return error.kind();
        }
    }
}

// Streams.

#[test]
fn output_arrives_byte_for_byte_on_the_stream_it_was_written_to() {
    let code = "import sys; sys.stdout.buffer.write(bytes(range(256))); sys.stderr.write('E\\n')";
    let run = Scene::new().python(&[], code).expect_code(0);
    assert_eq!(run.stdout, (0..=255).collect::<Vec<u8>>());
    assert_eq!(run.stderr, "E\n");
}

#[test]
fn input_arrives_byte_for_byte() {
    let scene = Scene::new();
    let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[n as usize % 3]).collect();
    fs::write(scene.at("input"), &bytes).unwrap();
    let mut command = scene.command(&[], &["cat"]);
    command.stdin(fs::File::open(scene.at("input")).unwrap());
    assert_eq!(scene.finish(command).expect_code(0).stdout, bytes);
}

#[test]
fn a_gibibyte_goes_through_a_pipe_unchanged() {
    const SIZE: u64 = 1 << 30;
    let scene = Scene::new();
    let code = format!(
        "import os\nblock = bytes(range(256)) * 4096\nleft = {SIZE}\nwhile left:\n    left -= os.write(1, block[:left] if left % len(block) == 0 else block[-(left % len(block)):])"
    );
    let mut child =
        scene.command(&[], &[PYTHON, "-c", &code]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // As the writer: the n-th byte is n modulo 256.
    let expected: Vec<u8> = (0..=255).cycle().take(1 << 16).collect();
    let mut buffer = vec![0; (1 << 16) - 256];
    let (mut seen, mut wrong) = (0u64, 0u64);
    loop {
        let count = guarded(child.id(), || stdout.read(&mut buffer).unwrap());
        let offset = usize::try_from(seen % 256).unwrap();
        wrong += u64::from(buffer[..count] != expected[offset..offset + count]);
        seen += count as u64;
        if count == 0 {
            break;
        }
    }
    assert_eq!((seen, wrong), (SIZE, 0));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_program_may_close_its_input_early_and_the_writer_is_told() {
    let scene = Scene::new();
    let mut child = scene
        .command(&[], &["head", "-c1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(refused(child.stdin.take().unwrap()), ErrorKind::BrokenPipe);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"x"[..]));
}

#[test]
fn a_program_whose_reader_is_gone_gets_the_usual_signal() {
    let scene = Scene::new();
    let mut child = scene.command(&[], &["yes"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(guarded(child.id(), || child.wait().unwrap()).code(), Some(128 + 13));
}

#[test]
fn a_program_that_closes_its_input_and_goes_on_leaves_the_writer_no_reader() {
    let scene = Scene::new();
    let line = "exec <&-; echo closed; sleep 1000";
    let mut started = Started::new(scene.command(&[], &["bash", "-c", line]));
    assert_eq!(refused(started.child.stdin.take().unwrap()), ErrorKind::BrokenPipe);
    started.signal(Signal::SIGTERM);
    started.finish(&scene).expect_code(128 + 15);
}

#[test]
fn the_end_of_output_is_seen_when_the_program_closes_it() {
    let scene = Scene::new();
    let line = "echo first; exec >&-; read answer; exit 7";
    let mut started = Started::new(scene.command(&[], &["bash", "-c", line]));
    // The program still waits for input, so only its close can have ended this.
    assert_eq!(started.first_line, "first");
    assert_eq!(started.line(), "");
    started.say("go on\n");
    started.finish(&scene).expect_code(7);
}

// Exit codes.

#[test]
fn a_programs_own_exit_code_passes_through() {
    let scene = Scene::new();
    for code in [0, 1, 42, 124, 125, 255] {
        let run = scene.bash(&[], &format!("exit {code}")).expect_code(code);
        assert_eq!(run.reported("/cause"), "exited");
        assert_eq!(run.reported("/exit_code"), code);
    }
}

#[test]
fn an_end_by_a_signal_is_128_and_its_number() {
    let scene = Scene::new();
    for number in [1, 6, 9, 11, 15] {
        let run = scene.bash(&[], &format!("kill -{number} $$")).expect_code(128 + number);
        assert_eq!(run.reported("/cause"), "signalled", "{}", run.told());
        assert_eq!(run.reported("/signal"), number);
        assert!(run.reported("/exit_code").is_null());
    }
}

#[test]
fn the_end_of_the_wall_time_is_124() {
    let flags = ["--wall-time", "200ms", "--grace", "0s"];
    let run = Scene::new().run(&flags, &["sleep", "1000"]).expect_code(124);
    assert_eq!(run.reported("/cause"), "timed_out");
    assert_eq!(run.reported("/limit"), "limits.wall_time");
}

#[test]
fn the_end_of_the_cpu_time_is_124() {
    let flags = ["--cpu-time", "100ms", "--grace", "0s"];
    let run = Scene::new().bash(&flags, "while :; do :; done").expect_code(124);
    assert_eq!(run.reported("/limit"), "limits.cpu_time");
    let used = |part: &str| run.reported(part).as_f64().unwrap();
    // 0.09 and 0.01 are a hair less than 0.1 in binary.
    assert!(used("/cpu/user_s") + used("/cpu/system_s") > 0.0999, "{}", run.told());
}

#[test]
fn a_wrong_command_line_is_125() {
    let scene = Scene::new();
    for flags in [&["--no-such-flag"][..], &["--wall-time", "soon"], &["-p", "no-such-policy"]] {
        let run = scene.run(flags, &["true"]).expect_code(125);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{}", run.told());
    }
}

#[test]
fn a_program_that_cant_be_executed_is_126() {
    let scene = Scene::new();
    let path = scene.file("plain", "#!/bin/sh\necho ran\n");
    let run = scene.run(&[], &[&path]).expect_code(126);
    assert!(run.stderr.contains(&path), "{}", run.told());
    assert_eq!(run.reported("/cause"), "launch_failed");
}

#[test]
fn a_program_that_isnt_there_is_127() {
    let scene = Scene::new();
    for program in ["no-such-program", "/no/such/program", "./no-such-program"] {
        let run = scene.run(&[], &[program]).expect_code(127);
        assert!(run.stderr.contains(program), "{}", run.told());
        assert_eq!(run.reported("/cause"), "launch_failed");
    }
}

// Signals.

/// Sends a signal to Stockade while a bash script has a trap for it.
fn trapped(name: &str, signal: Signal) -> Outcome {
    let scene = Scene::new();
    let line =
        format!("trap 'echo got {name}; exit 33' {name}; echo ready; while :; do read -t 1; done");
    let mut started = Started::new(scene.command(&[], &["bash", "-c", &line]));
    // Open until the end, or `read` would spin.
    let _stdin = started.child.stdin.take();
    started.signal(signal);
    started.finish(&scene)
}

#[test]
fn signals_sent_to_stockade_reach_the_programs_own_handlers() {
    for (name, signal) in [
        ("INT", Signal::SIGINT),
        ("TERM", Signal::SIGTERM),
        ("HUP", Signal::SIGHUP),
        ("QUIT", Signal::SIGQUIT),
        ("USR1", Signal::SIGUSR1),
        ("USR2", Signal::SIGUSR2),
    ] {
        let run = trapped(name, signal).expect_code(33);
        assert_eq!(String::from_utf8_lossy(&run.stdout), format!("got {name}\n"), "{}", run.told());
    }
}

#[test]
fn a_signal_that_the_program_doesnt_catch_ends_it() {
    let scene = Scene::new();
    let started = Started::new(scene.command(&[], &["bash", "-c", "echo ready; exec sleep 1000"]));
    started.signal(Signal::SIGTERM);
    let run = started.finish(&scene).expect_code(128 + 15);
    assert_eq!(run.reported("/cause"), "signalled");
}

#[test]
fn signals_that_stockade_was_started_to_ignore_are_not_ignored_inside() {
    let line = "trap '' INT QUIT USR1; exec \"$@\"";
    let scene = Scene::new();
    let inner = scene.command(&[], &["grep", "^Sig[BI]", "/proc/self/status"]);
    let mut command = Command::new("bash");
    command.args(["-c", line, "bash"]).arg(inner.get_program()).args(inner.get_args());
    scene.finish(command).expect_text("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

// Reports.

#[test]
fn the_report_tells_one_run_in_full() {
    let run = Scene::new().bash(&["--name", "job"], "echo x; exit 3").expect_code(3);
    assert_eq!(run.reported("/version"), 1);
    assert!(run.reported("/id").as_str().unwrap().starts_with("job-"), "{}", run.told());
    assert_eq!(run.report["command"], serde_json::json!(["bash", "-c", "echo x; exit 3"]));
    assert_eq!(run.reported("/policy/name"), "default");
    assert!(run.reported("/started_at").as_str().unwrap().ends_with('Z'));
    let time = run.reported("/wall_time_s").as_f64().unwrap();
    assert!(time > 0.0 && time < 60.0, "{}", run.told());
    for figure in ["/cpu/user_s", "/cpu/system_s", "/memory/peak_bytes"] {
        assert!(run.reported(figure).is_number(), "{figure}: {}", run.told());
    }
    for control in ["filesystem.view", "isolation.processes", "network.mode", "capabilities"] {
        let state = &run.report["enforcement"][control]["state"];
        assert_eq!(state, "enforced", "{control}: {}", run.told());
    }
}

#[test]
fn a_report_goes_to_an_open_descriptor() {
    let scene = Scene::new();
    // bash gives the descriptor: no test has to make an inheritable one.
    let mut command = Command::new("bash");
    let line = format!(
        "exec {:?} run --report fd:3 -- sh -c 'echo out; exit 5' 3>{:?}",
        env!("CARGO_BIN_EXE_stockade"),
        scene.at("report.json"),
    );
    command.args(["-c", &line]).current_dir(scene.path());
    let run = scene.finish(command).expect_code(5);
    assert_eq!(run.stdout, b"out\n");
    assert_eq!(run.reported("/exit_code"), 5);
}

#[test]
fn a_launch_that_failed_is_reported_with_its_error() {
    let run = Scene::new().run(&[], &["/no/such/program"]).expect_code(127);
    assert!(run.reported("/error").as_str().unwrap().contains("/no/such/program"));
    assert!(run.reported("/exit_code").is_null() && run.reported("/signal").is_null());
    assert_eq!(run.reported("/wall_time_s"), 0.0);
}

#[test]
fn stderr_stays_the_programs_own_unless_a_summary_is_asked_for() {
    let scene = Scene::new();
    assert_eq!(scene.bash(&[], "echo E >&2").expect_code(0).stderr, "E\n");
    let run = scene.bash(&["--verbose"], "echo E >&2").expect_code(0);
    assert!(run.stderr.starts_with("E\nstockade: bash-"), "{}", run.told());
}

// Programs.

#[test]
fn python_computes() {
    let code = "import json, hashlib, threading\nprint(json.dumps({'a': hashlib.sha256(b'x').hexdigest()[:8]}))\nt = threading.Thread(target=print, args=('thread',)); t.start(); t.join()";
    Scene::new().python(&[], code).expect_text("{\"a\": \"2d711642\"}\nthread\n");
}

#[test]
fn bash_pipes_and_substitutes() {
    let line = "set -o pipefail; seq 1 1000 | sort -rn | head -n 3 | tr '\\n' ' '; echo $(cat <(echo sub))";
    Scene::new().bash(&[], line).expect_text("1000 999 998 sub\n");
}

#[test]
fn gcc_builds_a_program_that_runs() {
    if !has("gcc") {
        skip!("gcc: not installed");
    }
    let scene = Scene::new();
    let out = scene.directory("out");
    scene.file("hello.c", "#include <stdio.h>\nint main(void) { puts(\"built inside\"); }\n");
    let line = "gcc -O2 -Wall hello.c -o out/hello && out/hello";
    scene.bash(&["--write", &out], line).expect_text("built inside\n");
}

#[test]
fn a_static_program_needs_no_library() {
    let scene = Scene::new();
    let source = scene.file(
        "static.c",
        "#include <unistd.h>\nint main(void) { return write(1, \"alone\\n\", 6) != 6; }\n",
    );
    let built = Command::new("gcc").args(["-static", "-o", &scene.at("static"), &source]).output();
    if !built.is_ok_and(|output| output.status.success()) {
        skip!("gcc: can't link a static program");
    }
    scene.run(&[], &["./static"]).expect_text("alone\n");
}

#[test]
fn a_script_runs_by_the_interpreter_that_it_names() {
    let scene = Scene::new();
    scene.script("script.py", "#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1:])\n");
    scene.run(&[], &["./script.py", "a b", ""]).expect_text("['a b', '']\n");
}

#[test]
fn arguments_that_arent_utf_8_arrive_byte_for_byte() {
    let arguments: [&[u8]; 5] = [b"printf", b"%s|", b"\xff\xfe", b"caf\xe9", b" \t\n"];
    let run = Scene::new().run(&[], &arguments.map(OsStr::from_bytes)).expect_code(0);
    assert_eq!(run.stdout, b"\xff\xfe|caf\xe9| \t\n|");
    assert_eq!(run.report["command"][2], "\\xff\\xfe");
}

#[test]
fn words_after_the_separator_are_the_programs_even_when_they_look_like_flags() {
    let scene = Scene::new();
    scene.run(&[], &["echo", "--report", "-p", "--", "x"]).expect_text("--report -p -- x\n");
}

// Environment, and where it starts.

#[test]
fn the_environment_is_what_the_policy_names_and_nothing_else() {
    let scene = Scene::new();
    let mut command = scene.command(&["--env", "SET=by policy", "--keep-env", "KEPT"], &["env"]);
    command.env("KEPT", "from outside").env("SECRET", "hunter2").env("LD_PRELOAD", "/x.so");
    let run = scene.finish(command).expect_code(0);
    let lines: Vec<&str> = run.text().lines().collect();
    for expected in ["SET=by policy", "KEPT=from outside"] {
        assert!(lines.contains(&expected), "{}", run.told());
    }
    assert!(lines.iter().any(|line| line.starts_with("PATH=")), "{}", run.told());
    assert!(!run.text().contains("SECRET") && !run.text().contains("PRELOAD"), "{}", run.told());
}

#[test]
fn a_program_starts_in_the_callers_directory_when_it_is_visible() {
    let scene = Scene::new();
    let here = scene.path().to_str().unwrap();
    scene.run(&[], &["pwd"]).expect_text(&format!("{here}\n"));
    scene.run(&["--workdir", "/usr"], &["pwd"]).expect_text("/usr\n");
}

#[test]
fn a_program_leads_a_session_of_its_own() {
    let code = "import os; print(os.getsid(0) == os.getpid() == os.getpgid(0))";
    Scene::new().python(&[], code).expect_text("True\n");
}

#[test]
fn stockade_started_without_standard_streams_still_runs() {
    let scene = Scene::new();
    let out = scene.directory("out");
    let inner = scene.command(&["--write", &out], &["sh", "-c", "echo ran >out/ran; exit 9"]);
    let mut command = Command::new("bash");
    command.args(["-c", "exec \"$@\" <&- >&- 2>&-", "bash"]).current_dir(scene.path());
    command.arg(inner.get_program()).args(inner.get_args()).process_group(0);
    scene.finish(command).expect_code(9);
    assert_eq!(fs::read_to_string(scene.at("out/ran")).unwrap(), "ran\n");
}
