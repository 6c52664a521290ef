//! Services that somebody else started: Stockade looks at them, and touches them only where it is told to.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use stockade::supervisor::{Journal, Outcome, Stack, State, Supervisor};
use support::service::wait;
use support::{Scene, signal};

/// A process of somebody else's, which goes with the test.
struct Other(Child);

impl Other {
    fn new(program: &str, arguments: &[&str]) -> Self {
        let child = Command::new(program).args(arguments).stdout(Stdio::null()).spawn().unwrap();
        let own = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        // It gets its own name a moment after this process goes on (vfork(2)).
        while std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap() == own {
            std::thread::yield_now();
        }
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    fn kill(&self) {
        signal(self.pid(), Signal::SIGKILL);
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn stack(scene: &Scene, lines: &str) -> Stack {
    let path = scene.file("stockade.toml", &format!("[services.it]\n{lines}\n"));
    Stack::load(Path::new(&path), scene.path()).unwrap()
}

fn start(scene: &Scene, lines: &str) -> Supervisor {
    Supervisor::start(&stack(scene, lines)).0
}

#[tokio::test(flavor = "current_thread")]
async fn a_process_of_somebody_elses_is_watched_and_left_alone() {
    let scene = Scene::new();
    let mut other = Other::new("sleep", &["1000"]);
    let team = start(&scene, &format!("attach = {{ pid = {} }}", other.pid()));
    let status = wait(&team, |status| status.ready).await;
    assert_eq!((status.state, status.pid), (State::Running, Some(other.pid())));
    let it = team.service("it").unwrap();
    let usage = it.usage().await.unwrap().unwrap();
    assert!(usage.memory.current.is_some_and(|memory| memory.0 > 0), "{usage:?}");
    assert_eq!(usage.pids.current, Some(1));
    let error = it.signal("USR1".parse().unwrap()).await.unwrap_err();
    assert!(format!("{error:?}").contains("isn't sent anything"), "{error:?}");
    for end in ["stop", "restart", "kill"] {
        match end {
            "stop" => _ = it.stop().await.unwrap(),
            "kill" => _ = it.kill().await.unwrap(),
            _ => it.restart().await.unwrap(),
        }
        assert!(other.runs(), "{end}");
        it.start().await.unwrap();
        wait(&team, |status| status.ready).await;
    }
    // How it ends nobody here is told.
    other.kill();
    let status = wait(&team, |status| status.state == State::Completed).await;
    assert_eq!((status.last, status.pid), (Some(Outcome::Unobserved), None));
    team.stop().await.unwrap();
    let mut other = Other::new("sleep", &["1000"]);
    let team = start(&scene, &format!("attach = {{ pid = {} }}", other.pid()));
    wait(&team, |status| status.ready).await;
    team.stop().await.unwrap();
    drop(team);
    assert!(other.runs());
}

#[tokio::test(flavor = "current_thread")]
async fn one_that_may_be_stopped_is_asked_and_then_killed() {
    let scene = Scene::new();
    for (line, signal) in
        [("exec sleep 1000", 15), ("trap '' TERM; while :; do sleep 0.02; done", 9)]
    {
        let mut other = Other::new("bash", &["-c", line]);
        let lines = format!(
            "attach = {{ pid = {}, stop = true }}\nstop.grace_period = \"500ms\"",
            other.pid()
        );
        // Until it has its name, or its trap, it isn't what it is to be.
        let is_ready = || match signal {
            15 => std::fs::read(format!("/proc/{}/comm", other.pid())).unwrap() == b"sleep\n",
            _ => ignores_term(other.pid()),
        };
        while !is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let team = start(&scene, &lines);
        wait(&team, |status| status.ready).await;
        let status = team.service("it").unwrap().stop().await.unwrap();
        assert_eq!(status.state, State::Inactive, "{status:?}");
        assert_eq!(other.0.wait().unwrap().signal(), Some(signal));
    }
}

fn ignores_term(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & (1 << 14) != 0
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_must_be_that_of_one_process() {
    let scene = Scene::new();
    let name = format!("own{}", std::process::id());
    let program = scene.at(&name);
    std::fs::copy("/bin/sleep", &program).unwrap();
    let lines = format!("attach = {{ name = \"{name}\" }}");
    let team = start(&scene, &lines);
    let status = wait(&team, |status| status.state == State::Failed).await;
    let none = format!("no process is named `{name}`");
    assert!(status.last.unwrap().to_string().contains(&none));
    let (first, second) = (Other::new(&program, &["1000"]), Other::new(&program, &["1000"]));
    let mut pids = [first.pid(), second.pid()];
    pids.sort_unstable();
    let it = team.service("it").unwrap();
    it.start().await.unwrap();
    let status = wait(&team, |status| status.state == State::Failed).await;
    let told = format!("2 processes are named `{name}`: {}, {}", pids[0], pids[1]);
    assert!(status.last.as_ref().unwrap().to_string().contains(&told), "{status:?}");
    drop(second);
    it.start().await.unwrap();
    let status = wait(&team, |status| status.ready).await;
    assert_eq!(status.pid, Some(first.pid()));
    team.stop().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_that_others_could_write_names_nobody() {
    let scene = Scene::new();
    let other = Other::new("sleep", &["1000"]);
    let path = scene.file("it.pid", &format!("{}\n", other.pid()));
    let set = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    let lines = format!("attach = {{ pid_file = \"{path}\" }}");
    set(0o666);
    let team = start(&scene, &lines);
    let status = wait(&team, |status| status.state == State::Failed).await;
    assert!(status.last.unwrap().to_string().contains("could be written by others"));
    set(0o644);
    let it = team.service("it").unwrap();
    it.start().await.unwrap();
    let status = wait(&team, |status| status.ready).await;
    assert_eq!(status.pid, Some(other.pid()));
    it.stop().await.unwrap();
    for text in ["1", "", "me", "-5"] {
        scene.file("it.pid", text);
        it.start().await.unwrap();
        let status = wait(&team, |status| status.state == State::Failed).await;
        assert!(status.last.unwrap().to_string().contains("no process is named in"), "{text:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_next_supervisor_goes_on_with_the_same_process_and_with_no_other() {
    let scene = Scene::new();
    let (other, stranger) = (Other::new("sleep", &["1000"]), Other::new("sleep", &["1000"]));
    let path = scene.file("it.pid", &other.pid().to_string());
    let stack = stack(&scene, &format!("attach = {{ pid_file = \"{path}\" }}"));
    let state = scene.path().join("state");
    let supervisor = async || {
        let journal = Journal::open(&state).await.unwrap();
        Supervisor::resume(&stack, journal, None).0
    };
    let team = supervisor().await;
    wait(&team, |status| status.ready).await;
    drop(team);
    // What the file says by now doesn't matter.
    scene.file("it.pid", &stranger.pid().to_string());
    let team = supervisor().await;
    let status = wait(&team, |status| status.ready).await;
    assert_eq!((status.pid, status.generation.0), (Some(other.pid()), 1));
    drop(team);
    drop(other);
    let team = supervisor().await;
    let status = wait(&team, |status| status.state == State::Completed).await;
    assert_eq!((status.last, status.pid), (Some(Outcome::Unobserved), None));
}

#[test]
fn what_is_about_starting_a_program_has_no_meaning_there() {
    let scene = Scene::new();
    for (lines, why) in [
        (
            "attach = { pid = 5 }\ncommand = [\"true\"]",
            "services.it.command: it isn't Stockade's to start",
        ),
        (
            "attach = { pid = 5 }\nlimits.memory = \"1GiB\"",
            "services.it.limits: it isn't Stockade's to start",
        ),
        (
            "attach = { pid = 5 }\nrestart.policy = \"always\"",
            "services.it.restart: it isn't Stockade's to start",
        ),
        (
            "attach = { pid = 5 }\nstop.signal = \"INT\"",
            "services.it.stop: it is never asked to end",
        ),
        ("attach = { pid = 1 }", "`1` is not a whole number from 2"),
        ("attach = { pid = 5, name = \"x\" }", "it names two processes"),
        ("attach = { stop = true }", "it names no process"),
        ("attach = { pidfile = \"/x\" }", "did you mean `pid_file`?"),
        ("attach = { pid_file = \"x\" }", "`x` is not an absolute path"),
        ("attach = { name = \"a-name-that-is-too-long\" }", "is no name of a process"),
        ("enabled = true", "it has no `command`, and doesn't `attach` to a process"),
    ] {
        let path = scene.file("stockade.toml", &format!("[services.it]\n{lines}\n"));
        let error = Stack::load(Path::new(&path), scene.path()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    // What counts for the others needn't for this one.
    let text = "[defaults]\npolicy = \"default\"\nrestart.policy = \"always\"\n[services.it]\nattach = { pid = 5 }\n";
    let path = scene.file("stockade.toml", text);
    Stack::load(Path::new(&path), scene.path()).unwrap();
}

#[test]
fn it_is_shown_as_what_it_is() {
    let scene = Scene::new();
    scene.file("stockade.toml", "[services.it]\nattach = { pid = 5 }\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    let shown = command.current_dir(scene.path()).args(["config", "show"]).output().unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), "it: attached to process 5 [none]\n");
}
