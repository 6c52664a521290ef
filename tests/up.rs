//! `stockade up`: services of a stack file, by real processes.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use nix::sys::signal::Signal;
use std::process::{Command, Output, Stdio};
use support::{Scene, Started, processes_with};

fn stockade(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.current_dir(scene.path()).args(arguments).stdin(Stdio::null());
    command
}

/// Runs a stack to its end.
fn up(stack: &str) -> (Output, String, String) {
    let scene = Scene::new();
    scene.file("stockade.toml", stack);
    let child = stockade(&scene, &["up"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    let output = support::guarded(child.id(), || child.wait_with_output().unwrap());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

/// A job, or a service that goes on, under the policy that starts on any host.
fn service(name: &str, line: &str, rest: &str) -> String {
    format!(
        "[services.{name}]\npolicy = \"default\"\ncommand = [\"bash\", \"-c\", {line:?}]\n{rest}\n"
    )
}

#[test]
fn services_are_started_after_what_they_need_and_their_lines_have_their_names() {
    let stack = [
        service("web", "echo web; echo error >&2", "depends_on = { setup = \"completed\" }"),
        service("setup", "sleep 0.3; echo setup", "type = \"oneshot\""),
    ];
    let (output, stdout, stderr) = up(&stack.concat());
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    let mut lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.remove(0), "setup | setup", "{stdout}");
    lines.sort_unstable();
    assert_eq!(lines, ["web   | error", "web   | web"]);
    let told = "stockade: web: pending: waits for `setup` to complete\n";
    assert!(stderr.contains(told) && stderr.contains("web: completed: exited with 0"), "{stderr}");
}

#[test]
fn what_fails_is_tried_again_and_given_up_and_what_needs_it_is_not_started() {
    let restart = "restart = { delay = \"1ms\", start_attempts = 5, max_attempts = 2 }";
    let stack = [
        service("bad", "echo try; exit 9", restart),
        service("needs", "echo never", "depends_on = { bad = \"completed\" }"),
    ];
    let (output, stdout, stderr) = up(&stack.concat());
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert_eq!(stdout, "bad   | try\n".repeat(3));
    for told in [
        "bad: failed: exited with 9; no more than 2 attempts are made",
        "needs: failed: `bad` failed, which it needs",
    ] {
        assert!(stderr.contains(told), "{stderr}");
    }
}

#[test]
fn one_that_escalates_takes_the_others_with_it() {
    let marker = format!("1003.{}", std::process::id());
    let restart = "restart = { policy = \"always\", max_attempts = 1, delay = \"1ms\", on_exhausted = \"escalate\" }";
    let stack = [
        service("other", &format!("sleep {marker}; true"), "stop = { grace_period = \"20s\" }"),
        service("vital", "exit 1", restart),
    ];
    let (output, stdout, stderr) = up(&stack.concat());
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stderr.contains("other: inactive: asked to stop"), "{stderr}");
    assert_eq!(processes_with(&marker), Vec::<u32>::new());
}

#[test]
fn a_signal_stops_services_each_after_those_that_need_it() {
    let scene = Scene::new();
    let line = |name: &str| {
        format!(
            "trap 'echo {name} ends; exit' TERM; echo {name} runs; while :; do sleep 0.02; done"
        )
    };
    let stack =
        [service("db", &line("db"), ""), service("web", &line("web"), "depends_on = [\"db\"]")];
    scene.file("stockade.toml", &stack.concat());
    let mut started = Started::new(stockade(&scene, &["up"]));
    // One runs once it is executed, which is before it has said so.
    let mut first = [started.first_line.clone(), started.line()];
    first.sort_unstable();
    assert_eq!(first, ["db  | db runs", "web | web runs"]);
    started.signal(Signal::SIGTERM);
    assert_eq!(started.line(), "web | web ends");
    assert_eq!(started.line(), "db  | db ends");
    let ended = started.finish(&scene).expect_code(0);
    assert!(ended.stderr.contains("stopping all services"), "{}", ended.stderr);
}

/// Waits until no process has the marker: a killed starter's sandboxes end a moment after it.
#[expect(
    clippy::disallowed_methods,
    reason = "nobody tells when the last process of another's is gone"
)]
fn gone(marker: &str) {
    for _ in 0..6000 {
        if processes_with(marker).is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{:?}", processes_with(marker));
}

#[test]
fn a_second_signal_kills_and_a_killed_up_leaves_nothing() {
    let scene = Scene::new();
    let marker = format!("marker-{}", std::process::id());
    let line =
        format!("trap 'echo heard' TERM; echo runs; while :; do sleep 0.02; done # {marker}");
    scene.file("stockade.toml", &service("deaf", &line, "stop = { grace_period = \"1h\" }"));
    for end in [Signal::SIGINT, Signal::SIGKILL] {
        let mut started = Started::new(stockade(&scene, &["up"]));
        assert_eq!(started.first_line, "deaf | runs");
        assert!(!processes_with(&marker).is_empty());
        started.signal(end);
        if end == Signal::SIGINT {
            assert_eq!(started.line(), "deaf | heard");
            started.signal(end);
        }
        started.finish(&scene);
        gone(&marker);
    }
}

#[test]
fn what_a_service_makes_has_the_permissions_that_it_is_to_have() {
    let line = "touch /tmp/it; umask; stat -c %a /tmp/it";
    let stack = [
        service("own", line, "type = \"oneshot\"\numask = \"077\""),
        service("usual", line, "type = \"oneshot\"\ndepends_on = { own = \"completed\" }"),
    ];
    let (output, stdout, stderr) = up(&stack.concat());
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    let told = "own   | 0077\nown   | 600\nusual | 0022\nusual | 644\n";
    assert_eq!(stdout, told, "{stderr}");
    let scene = Scene::new();
    scene.file("stockade.toml", &service("web", "true", "umask = 22"));
    let wrong = stockade(&scene, &["config", "check"]).output().unwrap();
    let told = String::from_utf8(wrong.stderr).unwrap();
    assert!(told.contains("filesystem.umask: `22` must be in quotes"), "{told}");
}

#[test]
fn less_memory_alone_is_a_limit_under_the_shipped_policy() {
    let scene = Scene::new();
    let web = "[services.web]\npolicy = \"service\"\ncommand = [\"true\"]\n";
    for (limits, code) in [
        ("limits.memory = \"64MiB\"", 0),
        ("limits = { memory = \"64MiB\", memory_high = \"65MiB\" }", 125),
    ] {
        scene.file("stockade.toml", &format!("{web}{limits}\n"));
        let checked = stockade(&scene, &["config", "check"]).output().unwrap();
        let told = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(code), "{told}");
    }
}

#[test]
fn a_stack_file_is_checked_and_shown_without_starting_anything() {
    let scene = Scene::new();
    scene.file("stockade.toml", &service("web", "true", "depends_on = [\"db\"]"));
    let wrong = stockade(&scene, &["config", "check"]).output().unwrap();
    let told = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(125));
    assert!(
        told.contains("stockade.toml:4:15: services.web.depends_on: there is no service `db`"),
        "{told}"
    );
    let more = service("db", "true", "enabled = false");
    scene.file("stockade.toml", &[service("web", "true", "depends_on = [\"db\"]"), more].concat());
    let shown = stockade(&scene, &["config", "show"]).output().unwrap();
    assert_eq!(
        String::from_utf8(shown.stdout).unwrap(),
        "db (disabled): bash -c true [default]\nweb: bash -c true [default]\n    after `db` is ready\n"
    );
    let schema = stockade(&scene, &["config", "schema"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert_eq!(schema["title"], "Stockade stack");
}

#[test]
fn a_terminal_gets_colours_of_services_and_nothing_else_that_it_would_obey() {
    let mut desk = support::desk::Desk::new();
    let line = r"printf '\033[31mred\033[0m \033]0;title\007 \033[2Jend\n'";
    desk.scene.file("stockade.toml", &service("web", line, ""));
    let child = desk.start(&stockade(&desk.scene, &["up"]));
    desk.shows("web | \x1b[31mred\x1b[0m ?]0;title? ?[2Jend\x1b[0m");
    desk.outcome(child).expect_code(0);
}
