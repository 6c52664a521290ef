//! What is Windows' own of `stockade`: names, paths, words and what jobs keep. What is the same everywhere stands in `outsider`.
#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::exit, reason = "a program's code is what is tested")]
#![allow(clippy::disallowed_methods, reason = "programs of these tests wait for nothing but time")]

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use stockade::platform::Control;

const PART: &str = "STOCKADE_TEST_PART";

/// What a program of these tests does: what the variable says, and nothing when this is run as a test.
#[test]
fn part() {
    let Ok(part) = std::env::var(PART) else { return };
    match part.split_once(':').unwrap_or((&part, "")) {
        ("exit", code) => std::process::exit(code.parse::<u32>().unwrap().cast_signed()),
        ("sleep", _) => std::thread::sleep(Duration::from_secs(60)),
        (other, _) => panic!("no part `{other}`"),
    }
    std::process::exit(0);
}

const ARGUMENTS: [&str; 3] = ["--exact", "part", "--nocapture"];

/// A directory with a policy that does without everything that only other systems have, by name.
struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new(rest: &str) -> Self {
        let scene = Self { directory: tempfile::tempdir().unwrap() };
        let names: Vec<String> =
            Control::all().map(|control| format!("{:?}", control.name())).collect();
        scene.policy("open", &format!("{rest}\n[degrade]\nallow = [{}]", names.join(", ")));
        scene
    }

    fn policy(&self, name: &str, text: &str) {
        let own = "[environment]\nkeep = [\"SystemRoot\", \"STOCKADE_TEST_PART\"]";
        let path = self.at(&format!("{name}.toml"));
        fs::write(path, format!("extends = \"base\"\n{own}\n{text}\n")).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn stockade(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// Runs this test's own program in a part, under the policy.
    fn run(&self, flags: &[&str], part: &str) -> Output {
        let policy = ["run", "--policy", r".\open.toml", "--report", "report.json"];
        let own = std::env::current_exe().unwrap();
        let mut command = self.stockade(&policy);
        command.args(flags).arg("--").arg(own).args(ARGUMENTS).env(PART, part);
        command.output().unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.at("report.json")).unwrap()).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_policy_with_walls_is_refused_with_each_name_and_what_would_accept_it() {
    let scene = Scene::new("");
    let run = scene.stockade(&["run", "--policy", "base", "--", "cmd"]).output().unwrap();
    assert_eq!(run.status.code(), Some(125));
    let told = text(&run.stderr);
    for name in ["filesystem.view", "syscalls", "isolation.processes"] {
        assert!(told.contains(name), "{told}");
    }
    for word in ["fork", "signal", "cgroup", "namespace", "/proc"] {
        assert!(!told.contains(word), "{word}: {told}");
    }
}

#[test]
fn a_program_is_found_by_the_policys_path_and_never_in_the_current_directory() {
    let scene = Scene::new("[environment.set]\nPATH = 'C:\\windows\\system32'");
    let run = |command: &str| {
        let flags = ["run", "--policy", r".\open.toml", "--", command];
        scene.stockade(&flags).arg("/c").arg("exit 3").output().unwrap()
    };
    assert_eq!(run("cmd").status.code(), Some(3));
    assert_eq!(run("CMD.EXE").status.code(), Some(3));
    fs::copy(std::env::current_exe().unwrap(), scene.at("here.exe")).unwrap();
    let missing = run("here");
    assert_eq!(missing.status.code(), Some(127), "{}", text(&missing.stderr));
    assert!(text(&missing.stderr).contains("`here` was not found"), "{}", text(&missing.stderr));
    fs::write(scene.at("job.bat"), "exit 3").unwrap();
    let batch = run(r".\job.bat");
    assert_eq!(batch.status.code(), Some(126), "{}", text(&batch.stderr));
}

#[test]
fn doctor_and_policy_answer() {
    let scene = Scene::new("");
    let doctor = scene.stockade(&["doctor", "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(told["backend"], "windows", "{told}");
    assert_eq!(told["controls"]["lifetime"]["state"], "enforced", "{told}");
    let list = scene.stockade(&["policy", "list"]).output().unwrap();
    assert!(text(&list.stdout).contains("worker"), "{}", text(&list.stderr));
    let explain = ["policy", "explain", r".\open.toml", "--", r"C:\windows\system32\cmd.exe"];
    let explained = scene.stockade(&explain).output().unwrap();
    assert_eq!(explained.status.code(), Some(0), "{}", text(&explained.stderr));
}

/// Holds on every system: a limit that the job doesn't keep is told, never called enforced.
#[test]
fn what_a_job_loses_is_refused_by_name_or_reported_as_missing() {
    let scene = Scene::new("");
    let doctor = scene.stockade(&["doctor", "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let limits = [("limits.cpu", "--cpu", "0.5"), ("limits.nice", "--nice", "5")];
    for (control, flag, value) in limits {
        let held = told["controls"][control]["state"] == "enforced";
        let run = scene.run(&[flag, value], "exit:0");
        assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
        let state = if held { "enforced" } else { "unavailable" };
        assert_eq!(scene.report()["enforcement"][control]["state"], state, "{control}");
    }
}

#[test]
fn stats_finds_a_sandbox_that_runs() {
    let scene = Scene::new("");
    let own = std::env::current_exe().unwrap();
    let state = scene.at("state");
    let mut command = scene.stockade(&["run", "--policy", r".\open.toml", "--name", "seen", "--"]);
    command.arg(own).args(ARGUMENTS).env(PART, "sleep").env("LOCALAPPDATA", &state);
    let mut started = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let stats = scene.stockade(&["stats"]).env("LOCALAPPDATA", &state).output().unwrap();
        if text(&stats.stdout).contains("seen-") {
            break;
        }
        assert!(Instant::now() < deadline, "{} {}", text(&stats.stdout), text(&stats.stderr));
        std::thread::sleep(Duration::from_millis(100));
    }
    let stop = scene.stockade(&["stop", "seen"]).env("LOCALAPPDATA", &state).output().unwrap();
    assert_eq!(stop.status.code(), Some(0), "{}", text(&stop.stderr));
    started.wait().unwrap();
}
