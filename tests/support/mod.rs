//! What the outsider's tests share: a scratch directory, one run of the real binary, and looks at the host.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

pub(crate) mod daemon;
pub(crate) mod desk;
pub(crate) mod service;
mod skip;

pub(crate) use skip::skip;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The system's own interpreter, inside and outside: what `PATH` finds first may lie where no policy shows it.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// When a run counts as hung. Far above what the slowest guest needs, and below the limit of a test there.
const HUNG: Duration = Duration::from_secs(200);

/// A scratch directory that everybody may enter, in which the runs of one test happen.
pub(crate) struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A path below as text, for flags and commands.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.at(name), text).unwrap();
        self.at(name)
    }

    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub(crate) fn directory(&self, name: &str) -> String {
        fs::create_dir(self.at(name)).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o755)).unwrap();
        self.at(name)
    }

    /// `stockade run` in this directory, with a report; the default policy, which starts on any host.
    pub(crate) fn command<P: AsRef<OsStr>>(&self, flags: &[&str], program: &[P]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.current_dir(self.path()).stdin(Stdio::null());
        command.arg("run").args(["--report", &self.at("report.json")]);
        command.args(flags).arg("--").args(program);
        command
    }

    /// Runs a program inside to its end.
    pub(crate) fn run<P: AsRef<OsStr>>(&self, flags: &[&str], program: &[P]) -> Outcome {
        self.finish(self.command(flags, program))
    }

    /// Runs a line of bash inside.
    pub(crate) fn bash(&self, flags: &[&str], line: &str) -> Outcome {
        self.run(flags, &["bash", "-c", line])
    }

    /// Runs Python code inside.
    pub(crate) fn python(&self, flags: &[&str], code: &str) -> Outcome {
        self.run(flags, &[PYTHON, "-c", code])
    }

    /// Runs a command of [`Self::command`] to its end.
    pub(crate) fn finish(&self, mut command: Command) -> Outcome {
        let (shown, report) = (format!("{command:?}"), self.path().join("report.json"));
        if report.is_file() {
            fs::remove_file(&report).unwrap();
        }
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.outcome(shown, child)
    }

    /// Waits for a started command.
    pub(crate) fn outcome(&self, shown: String, child: Child) -> Outcome {
        let output = guarded(child.id(), || child.wait_with_output().unwrap());
        let report = fs::read(self.path().join("report.json")).unwrap_or_default();
        Outcome {
            shown,
            status: output.status,
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            report: serde_json::from_slice(&report).unwrap_or_default(),
        }
    }
}

/// Waits with `wait`; a process that hangs is killed, so that the test fails instead of hanging too.
pub(crate) fn guarded<R>(pid: u32, wait: impl FnOnce() -> R) -> R {
    let (done, waiting) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if waiting.recv_timeout(HUNG) == Err(mpsc::RecvTimeoutError::Timeout) {
                signal(pid, nix::sys::signal::Signal::SIGKILL);
            }
        });
        let result = wait();
        drop(done);
        result
    })
}

/// Sends a signal to a process that this test started and hasn't waited for.
pub(crate) fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// What one run left.
pub(crate) struct Outcome {
    shown: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    /// Null when none was written.
    pub(crate) report: serde_json::Value,
}

impl Outcome {
    /// The whole run, for a failure's message.
    pub(crate) fn told(&self) -> String {
        let mut text = format!("\n  command: {}\n  {}\n", self.shown, self.status);
        for (name, stream) in
            [("stdout", &*String::from_utf8_lossy(&self.stdout)), ("stderr", &*self.stderr)]
        {
            let shown: String = stream.chars().take(4000).collect();
            writeln!(text, "--- {name}\n{shown}").unwrap();
        }
        writeln!(text, "--- report\n{:#}", self.report).unwrap();
        text
    }

    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.told());
        self
    }

    /// Standard output as text, of a run that exited with 0.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.status.code(), Some(0), "{}", self.told());
        str::from_utf8(&self.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn expect_text(self, text: &str) -> Self {
        assert_eq!(self.text(), text, "{}", self.told());
        self
    }

    /// That the run failed with 125 and said each of these.
    #[track_caller]
    pub(crate) fn expect_refusal(self, said: &[&str]) -> Self {
        let run = self.expect_code(125);
        for part in said {
            assert!(run.stderr.contains(part), "`{part}` isn't said:{}", run.told());
        }
        run
    }

    /// What the report says at a place such as `/cpu/user_s`.
    #[track_caller]
    pub(crate) fn reported(&self, place: &str) -> &serde_json::Value {
        let found = self.report.pointer(place);
        found.unwrap_or_else(|| panic!("the report has no `{place}`:{}", self.told()))
    }
}

/// Output of Python code on the host: the same probe without any wall.
#[track_caller]
pub(crate) fn python_outside(code: &str) -> String {
    let output = Command::new(PYTHON).args(["-c", code]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether this test runs as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Processes on this host whose command line holds the marker.
pub(crate) fn processes_with(marker: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    let pids = entries.filter_map(|name| name.to_str()?.parse().ok());
    let has = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.windows(marker.len()).any(|part| part == marker.as_bytes())
    };
    pids.filter(has).collect()
}

/// Where this process's cgroup v2 groups are mounted.
pub(crate) fn cgroup_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let point = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(point))
    })
}

/// The cgroup directory of a process, as the host sees it.
pub(crate) fn cgroup_of(pid: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    Some(cgroup_mount()?.join(group))
}

/// A started run whose program has said a first line: it certainly runs.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) first_line: String,
    pub(crate) rest: std::io::BufReader<std::process::ChildStdout>,
    shown: String,
}

impl Started {
    /// Starts a command, its standard input a pipe, and waits for the first line.
    #[track_caller]
    pub(crate) fn new(mut command: Command) -> Self {
        use std::io::BufRead;
        let shown = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut rest = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut first_line = String::new();
        guarded(child.id(), || rest.read_line(&mut first_line).unwrap());
        if first_line.is_empty() {
            let output = child.wait_with_output().unwrap();
            panic!("it never spoke: {shown}\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Self { child, first_line: first_line.trim_end().to_owned(), rest, shown }
    }

    pub(crate) fn signal(&self, name: nix::sys::signal::Signal) {
        signal(self.child.id(), name);
    }

    /// The next line; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        use std::io::BufRead;
        let mut line = String::new();
        guarded(self.child.id(), || self.rest.read_line(&mut line).unwrap());
        line.trim_end().to_owned()
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the end, closing standard input; its output is what wasn't read yet.
    pub(crate) fn finish(mut self, scene: &Scene) -> Outcome {
        use std::io::Read;
        drop(self.child.stdin.take());
        let (mut stdout, pid) = (Vec::new(), self.child.id());
        guarded(pid, || self.rest.read_to_end(&mut stdout).unwrap());
        let mut outcome = scene.outcome(self.shown, self.child);
        outcome.stdout = stdout;
        outcome
    }

    /// The program's process as the host counts it: the one child of the sandbox's first process.
    pub(crate) fn program(&self) -> u32 {
        let first = only_child(self.child.id());
        only_child(first)
    }
}

/// The one child of a process.
#[track_caller]
pub(crate) fn only_child(pid: u32) -> u32 {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let path = task.unwrap().path().join("children");
        // A thread may have ended since.
        let text = fs::read_to_string(path).unwrap_or_default();
        children.extend(text.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
    assert_eq!(children.len(), 1, "children of {pid}: {children:?}");
    children[0]
}

/// Waits until a sandbox is listed under this name: its program's first word may come before.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "a list of names is looked at, and nobody is told of a new one"
)]
pub(crate) fn listed(name: &str) {
    let deadline = std::time::Instant::now() + HUNG;
    let known =
        || Command::new(env!("CARGO_BIN_EXE_stockade")).args(["stats", name]).output().unwrap();
    while !known().status.success() {
        assert!(std::time::Instant::now() < deadline, "{name} was never listed");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The reason why this control can't be held here; what `doctor` says of it.
pub(crate) fn lacks(control: &str) -> Option<String> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_stockade")).args(["doctor", "--json"]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let entry = &told["controls"][control];
    (entry["state"] != "enforced").then(|| format!("{}", entry["reason"]))
}

/// Why this kernel doesn't tell of denied calls, if so; a sandbox around this test may have taken the one listener there can be.
pub(crate) fn untold(scene: &Scene) -> Option<String> {
    if let Some(why) = lacks("syscalls") {
        return Some(format!("seccomp: {why}"));
    }
    let run = scene.run(&[], &["true"]).expect_code(0);
    let how = run.reported("/enforcement")["syscalls"]["how"].as_str().unwrap().to_owned();
    how.contains("aren't counted").then(|| format!("seccomp: {how}"))
}
