//! What somebody sees of a sandbox who stands outside and knows nothing of how it is made: the same questions to every backend of
//! this system. Where answers differ, they do so as [`TABLE`] says, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::exit, reason = "a program's code is what is tested")]
#![allow(clippy::zombie_processes, reason = "what is left behind is tested")]
#![allow(
    clippy::disallowed_methods,
    reason = "the programs of these tests wait for nothing but time"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a program writes is tested")]

use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use stockade::platform::Control;

/// A backend, and how its answers differ from those of the others.
#[derive(Debug)]
struct Backend {
    /// Its name in `doctor` and in the table of README.
    name: &'static str,
    /// The systems that it is tried on, as Rust names them.
    systems: &'static [&'static str],
    /// What has `run` take it.
    flags: &'static [&'static str],
    /// Whether a program sees only those files that the policy names.
    has_view: bool,
    /// Exit codes that a program can have there.
    codes: &'static [u32],
    /// What a program that doesn't mind is ended by when it is asked to: the number of a signal, where there are such.
    asked: Option<i32>,
    /// What a program that is killed is ended by.
    killed: Option<i32>,
    /// What a file is called that could be a program and has nothing of one in it: a name's end makes one on Windows.
    plain: &'static str,
    /// What it says where it can't stop a tree; nothing where it always can.
    cannot_pause: Option<&'static str>,
    /// What exists only while `stockade run` does.
    ends_with_starter: bool,
}

const TABLE: [Backend; 3] = [
    Backend {
        name: "linux",
        systems: &["linux"],
        flags: &[],
        has_view: true,
        codes: &[0, 7, 255],
        asked: Some(15),
        killed: Some(9),
        plain: "plain",
        cannot_pause: Some("without a control group"),
        ends_with_starter: true,
    },
    Backend {
        name: "posix",
        systems: &["linux", "macos"],
        flags: &["--backend", "posix"],
        has_view: false,
        codes: &[0, 7, 255],
        asked: Some(15),
        killed: Some(9),
        plain: "plain",
        cannot_pause: None,
        // Nobody is left who would do it.
        ends_with_starter: false,
    },
    Backend {
        name: "windows",
        systems: &["windows"],
        flags: &[],
        has_view: false,
        // The last is what Ctrl-C leaves (STATUS_CONTROL_C_EXIT).
        codes: &[0, 7, 255, 0x103, 0xc000_013a],
        asked: None,
        killed: None,
        plain: "plain.exe",
        cannot_pause: None,
        ends_with_starter: true,
    },
];

fn backends() -> impl Iterator<Item = &'static Backend> {
    TABLE.iter().filter(|backend| backend.systems.contains(&std::env::consts::OS))
}

/// Says which part of [`part`] a program of these tests plays.
const PART: &str = "STOCKADE_TEST_PART";
const ARGUMENTS: [&str; 4] = ["--exact", "part", "--nocapture", "--quiet"];

/// How long a program goes on that nobody ends.
const LONG: Duration = Duration::from_secs(60);
/// After this a late program writes, if it is there.
const LATE: Duration = Duration::from_secs(2);

/// What a program of these tests does; nothing when it runs as a test.
#[test]
fn part() {
    let Ok(part) = std::env::var(PART) else { return };
    match part.split_once(' ').unwrap_or((&part, "")) {
        ("exit", code) => std::process::exit(code.parse::<u32>().unwrap().cast_signed()),
        ("sleep", path) => {
            fs::write(path, "here").unwrap();
            std::thread::sleep(LONG);
        }
        ("echo", _) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).unwrap();
            print!("out {text}");
            eprint!("err {text}");
        }
        ("leave", path) => {
            let mut own = Command::new(std::env::current_exe().unwrap());
            own.args(ARGUMENTS).env(PART, format!("late {path}")).spawn().unwrap();
            // It is there when its parent has gone.
            let begun = PathBuf::from(format!("{path}.begun"));
            while !begun.exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        ("late", path) => {
            fs::write(format!("{path}.begun"), "here").unwrap();
            std::thread::sleep(LATE);
            fs::write(path, "still here").unwrap();
        }
        ("ticks", path) => {
            let begun = Instant::now();
            while begun.elapsed() < LONG {
                let mut file = fs::File::options().create(true).append(true).open(path).unwrap();
                file.write_all(b".").unwrap();
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        (other, _) => panic!("no part `{other}`"),
    }
    std::process::exit(0);
}

/// A directory with a policy that does without what a backend hasn't, by name.
struct Scene {
    directory: tempfile::TempDir,
    backend: &'static Backend,
    /// What its sandboxes are called, and no others.
    name: String,
}

impl Scene {
    fn new(backend: &'static Backend) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("outsider{}-{number}", std::process::id());
        let scene = Self { directory: tempfile::tempdir().unwrap(), backend, name };
        let names: Vec<_> = Control::all().map(|control| format!("{:?}", control.name())).collect();
        let mut policy = format!(
            "extends = \"base\"\n[environment]\nkeep = [{PART:?}, \"SystemRoot\"]\n[degrade]\nallow = [{}]\n",
            names.join(", ")
        );
        if backend.has_view {
            let own = program();
            let read = own.parent().unwrap();
            policy +=
                &format!("[filesystem]\nread = [{read:?}]\nwrite = [{:?}]\n", scene.at("inside"));
        }
        fs::create_dir(scene.at("inside")).unwrap();
        fs::write(scene.at("open.toml"), policy).unwrap();
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn stockade(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Where it is known who runs.
        for place in ["XDG_RUNTIME_DIR", "LOCALAPPDATA"] {
            command.env(place, self.directory.path());
        }
        command
    }

    /// `stockade run` of a command.
    fn command(&self, flags: &[&str], words: &[&Path], part: &str) -> Command {
        let policy = Path::new(".").join("open.toml");
        let mut command = self.stockade(&["run", "--report", "report.json", "--name", &self.name]);
        command.arg("--policy").arg(policy).args(self.backend.flags).args(flags);
        command.arg("--").args(words).env(PART, part);
        command
    }

    /// A part of these tests' own program, in a sandbox.
    fn run(&self, flags: &[&str], part: &str) -> Output {
        self.start(flags, part).wait_with_output().unwrap()
    }

    fn start(&self, flags: &[&str], part: &str) -> Child {
        let own = program();
        let mut command = self.command(flags, &[&own], part);
        command.args(ARGUMENTS).stdin(Stdio::piped()).spawn().unwrap()
    }

    /// One that goes on until it is ended.
    fn sleeping(&self, flags: &[&str]) -> Child {
        let here = self.at("inside/here");
        let child = self.start(flags, &format!("sleep {}", here.display()));
        eventually(|| here.exists());
        child
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.at("report.json")).unwrap()).unwrap()
    }

    /// Looks at how a run ended by force is told: by a signal, where there are such, and by a code of the system's else.
    fn ended_by_force(&self, output: &Output, signal: Option<i32>) {
        let report = self.report();
        let code = output.status.code().unwrap();
        match signal {
            Some(signal) => {
                assert_eq!((code, &report["signal"]), (128 + signal, &signal.into()), "{report}");
                assert_eq!(report["exit_code"], Value::Null);
            }
            None => assert!(code != 0 && report["signal"].is_null(), "{code} {report}"),
        }
    }
}

/// This program, by a name that has no link in it.
fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn eventually(is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < LONG, "it never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_program_has_its_three_streams() {
    for backend in backends() {
        let scene = Scene::new(backend);
        let mut child = scene.start(&[], "echo");
        child.stdin.take().unwrap().write_all(b"some text").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{backend:?} {}", text(&output.stderr));
        assert!(text(&output.stdout).ends_with("out some text"), "{}", text(&output.stdout));
        assert_eq!(text(&output.stderr), "err some text", "{backend:?}");
    }
}

#[test]
fn exit_codes_are_passed_on_and_reported() {
    for backend in backends() {
        let scene = Scene::new(backend);
        for code in backend.codes {
            let output = scene.run(&[], &format!("exit {code}"));
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code.cast_signed()), "{backend:?} {told}");
            let report = scene.report();
            assert_eq!(report["cause"], "exited", "{report}");
            assert_eq!(report["exit_code"], code.cast_signed(), "{report}");
            assert!(report["wall_time_s"].as_f64().unwrap() > 0.0, "{report}");
        }
    }
}

#[test]
fn what_can_not_be_run_has_a_code_of_its_own() {
    for backend in backends() {
        let scene = Scene::new(backend);
        let missing = scene.command(&[], &[Path::new("no-such-program")], "").output().unwrap();
        assert_eq!(missing.status.code(), Some(127), "{backend:?} {}", text(&missing.stderr));
        let plain = scene.at("inside").join(backend.plain);
        fs::write(&plain, "no program").unwrap();
        let plain = scene.command(&[], &[&plain], "").output().unwrap();
        assert_eq!(plain.status.code(), Some(126), "{backend:?} {}", text(&plain.stderr));
        let flags = ["--policy", "no-such-policy"];
        let refused = scene.command(&flags, &[&program()], "exit 0").output().unwrap();
        assert_eq!(refused.status.code(), Some(125), "{backend:?} {}", text(&refused.stderr));
    }
}

#[test]
fn wall_time_ends_it() {
    for backend in backends() {
        let scene = Scene::new(backend);
        let began = Instant::now();
        let flags = ["--wall-time", "1s", "--grace", "0s"];
        let output = scene.sleeping(&flags).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(124), "{backend:?} {}", text(&output.stderr));
        assert!(began.elapsed() < LONG);
        let report = scene.report();
        assert_eq!(report["cause"], "timed_out", "{report}");
        assert_eq!(report["enforcement"]["limits.wall_time"]["state"], "enforced", "{report}");
    }
}

#[test]
fn too_much_output_ends_it() {
    for backend in backends() {
        let scene = Scene::new(backend);
        let mut child = scene.start(&["--output", "100B"], "echo");
        child.stdin.take().unwrap().write_all(&[b'x'; 1000]).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(137), "{backend:?} {}", text(&output.stderr));
        assert_eq!(scene.report()["limit"], "limits.output");
        assert!(output.stdout.len() + output.stderr.len() < 1000, "{backend:?}");
    }
}

#[test]
fn stop_and_kill_reach_it() {
    for backend in backends() {
        for (verb, signal) in [("stop", backend.asked), ("kill", backend.killed)] {
            let scene = Scene::new(backend);
            let child = scene.sleeping(&["--grace", "1s"]);
            let asked = scene.stockade(&[verb, &scene.name]).output().unwrap();
            assert_eq!(asked.status.code(), Some(0), "{backend:?} {}", text(&asked.stderr));
            let output = child.wait_with_output().unwrap();
            assert_eq!(scene.report()["cause"], "stopped", "{backend:?} {verb}");
            scene.ended_by_force(&output, signal);
        }
    }
}

#[test]
fn it_stands_still_while_it_is_paused() {
    for backend in backends() {
        let scene = Scene::new(backend);
        let ticks = scene.at("inside/ticks");
        let mut child = scene.start(&[], &format!("ticks {}", ticks.display()));
        let count = || fs::metadata(&ticks).map_or(0, |file| file.len());
        eventually(|| count() > 0);
        let ask = |verb: &str| {
            let asked = scene.stockade(&[verb, &scene.name]).output().unwrap();
            let told = text(&asked.stderr);
            assert!(asked.status.success() || backend.cannot_pause.is_some(), "{backend:?} {told}");
            if asked.status.success() { Ok(()) } else { Err(told) }
        };
        if let (Err(told), Some(cannot)) = (ask("pause"), backend.cannot_pause) {
            assert!(told.contains(cannot), "{backend:?} {told}");
            child.kill().unwrap();
            child.wait().unwrap();
            continue;
        }
        let before = count();
        std::thread::sleep(LATE);
        assert_eq!(count(), before, "{backend:?}");
        ask("resume").unwrap();
        eventually(|| count() > before);
        ask("kill").unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn its_wall_time_is_lowered_while_it_runs() {
    for backend in backends() {
        let scene = Scene::new(backend);
        let child = scene.sleeping(&["--wall-time", "1h", "--grace", "0s"]);
        let update = ["update", &scene.name, "--wall-time", "1s"];
        let asked = scene.stockade(&update).output().unwrap();
        assert_eq!(asked.status.code(), Some(0), "{backend:?} {}", text(&asked.stderr));
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(124), "{backend:?} {}", text(&output.stderr));
        assert_eq!(scene.report()["limit"], "limits.wall_time", "{backend:?}");
    }
}

#[test]
fn what_it_leaves_behind_ends_with_it() {
    for backend in backends() {
        let scene = Scene::new(backend);
        let late = scene.at("inside/late");
        let output = scene.run(&[], &format!("leave {}", late.display()));
        assert_eq!(output.status.code(), Some(0), "{backend:?} {}", text(&output.stderr));
        std::thread::sleep(LATE * 2);
        assert!(scene.at("inside/late.begun").exists() && !late.exists(), "{backend:?}");
        // Without a sandbox it goes on.
        let mut bare = Command::new(program());
        bare.args(ARGUMENTS).env(PART, format!("leave {}", scene.at("bare").display()));
        assert!(bare.stdout(Stdio::null()).status().unwrap().success());
        eventually(|| scene.at("bare").exists());
    }
}

#[test]
fn whoever_started_it_is_killed() {
    for backend in backends() {
        let scene = Scene::new(backend);
        let late = scene.at("inside/late");
        let mut child = scene.start(&[], &format!("late {}", late.display()));
        eventually(|| scene.at("inside/late.begun").exists());
        child.kill().unwrap();
        child.wait().unwrap();
        std::thread::sleep(LATE * 2);
        assert_eq!(late.exists(), !backend.ends_with_starter, "{backend:?}");
    }
}

#[test]
fn what_it_can_not_do_is_refused_by_name_and_the_line_that_is_offered_accepts_it() {
    for backend in backends().filter(|backend| !backend.has_view) {
        let scene = Scene::new(backend);
        let policy =
            "extends = \"base\"\n[environment]\nkeep = [\"STOCKADE_TEST_PART\", \"SystemRoot\"]\n";
        fs::write(scene.at("open.toml"), policy).unwrap();
        let refused = scene.run(&[], "exit 7");
        let told = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(125), "{backend:?} {told}");
        for name in ["filesystem.view", "syscalls", "network.mode"] {
            assert!(told.contains(name), "{backend:?} {told}");
        }
        let (_, rest) = told.split_once("`[degrade] ").expect(&told);
        let (line, _) = rest.split_once('`').expect(&told);
        fs::write(scene.at("open.toml"), format!("{policy}[degrade]\n{line}\n")).unwrap();
        let accepted = scene.run(&[], "exit 7");
        assert_eq!(accepted.status.code(), Some(7), "{backend:?} {}", text(&accepted.stderr));
        assert_eq!(scene.report()["enforcement"]["syscalls"]["state"], "unavailable");
    }
}

#[test]
fn it_says_which_backend_it_is() {
    for backend in backends() {
        let scene = Scene::new(backend);
        let flags = [&["doctor", "--json"], backend.flags].concat();
        let output = scene.stockade(&flags).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["backend"], backend.name, "{told}");
    }
}
