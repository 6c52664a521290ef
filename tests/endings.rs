//! How sandboxes end: each row is a run with its exit status and what the report says of it; where a limit ended it, the
//! same program runs on with that limit alone raised or left out.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/programs.rs"]
mod programs;
mod support;

use nix::sys::signal::Signal;
use programs::{CHILDREN, FORKS, HOG};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};
use support::{Outcome, Scene, Started, lacks, skip};

/// An ending: exit status of `stockade run`, and `cause`, `limit`, `exit_code` and `signal` of the report.
struct End(i32, &'static str, Option<&'static str>, Option<i32>, Option<i32>);

/// The program exits by itself.
const fn exited(code: i32) -> End {
    End(code, "exited", None, Some(code), None)
}

/// A signal ends it that no limit explains.
const fn signalled(signal: i32) -> End {
    End(128 + signal, "signalled", None, None, Some(signal))
}

/// A time limit ends it: with an exit code where it put things in order, else by this signal.
const fn timed_out(limit: &'static str, exit_code: Option<i32>, signal: Option<i32>) -> End {
    End(124, "timed_out", Some(limit), exit_code, signal)
}

const OUT_OF_MEMORY: End = End(137, "out_of_memory", Some("limits.memory"), None, Some(9));
const TOO_MUCH_OUTPUT: End = End(137, "limit_exceeded", Some("limits.output"), None, Some(9));

/// What is run. Files such as `hog.py` lie where it starts.
enum Program {
    Bash(&'static str),
    Python(&'static str),
    /// The program itself.
    Plain(&'static str),
}
use Program::{Bash, Plain, Python};

/// One ending.
struct Row {
    what: &'static str,
    program: Program,
    flags: &'static str,
    end: End,
    /// The limit that must have been pressed.
    pressed: Option<&'static str>,
    /// Flags with one limit raised or left out, and how it ends then.
    freed: Vec<(&'static str, End)>,
}

fn row(what: &'static str, program: Program, flags: &'static str, end: End) -> Row {
    Row { what, program, flags, end, pressed: None, freed: Vec::new() }
}

impl Row {
    /// Runs it under its limit, and without.
    fn holds(&self) {
        let run = self.run(self.flags, &self.end);
        if let Some(limit) = self.pressed {
            let times = &run.reported("/pressed")[limit]["times"];
            assert!(times.as_u64() > Some(0), "{}{}", self.what, run.told());
        }
        for (flags, end) in &self.freed {
            let free = self.run(flags, end);
            if let Some(limit) = self.pressed {
                let pressed = &free.reported("/pressed")[limit];
                assert_eq!(pressed, &Value::Null, "{}{}", self.what, free.told());
            }
        }
    }

    fn freed(mut self, flags: &'static str, end: End) -> Self {
        self.freed.push((flags, end));
        self
    }

    fn pressed(mut self, limit: &'static str) -> Self {
        self.pressed = Some(limit);
        self
    }

    fn run(&self, flags: &str, end: &End) -> Outcome {
        let scene = Scene::new();
        scene.file("hog.py", HOG);
        scene.file("busy.py", BUSY);
        scene.file("unshare.py", UNSHARE);
        scene.script("garbage", "neither script nor program");
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let run = match self.program {
            Bash(line) => scene.bash(&flags, line),
            Python(code) => scene.python(&flags, code),
            Plain(program) => scene.run(&flags, &[program]),
        };
        end.expect(self.what, &run);
        run
    }
}

impl End {
    #[track_caller]
    fn expect(&self, what: &str, run: &Outcome) {
        let Self(status, cause, limit, exit_code, signal) = self;
        assert_eq!(run.status.code(), Some(*status), "{what}{}", run.told());
        let found = ["/cause", "/limit", "/exit_code", "/signal"].map(|place| run.reported(place));
        let wanted: [Value; 4] =
            [(*cause).into(), (*limit).into(), (*exit_code).into(), (*signal).into()];
        assert_eq!(found, wanted.each_ref(), "{what}{}", run.told());
    }
}

/// Runs every row, and the same with its limit raised.
fn hold(rows: &[Row]) {
    // Side by side: most of their time passes in sleeping.
    for some in rows.chunks(4) {
        std::thread::scope(|scope| {
            for row in some {
                scope.spawn(|| row.holds());
            }
        });
    }
}

/// Unshares nothing at all, which every kernel lets everybody do; 7 where the call is refused.
const UNSHARE: &str = "
import ctypes
raise SystemExit(0 if ctypes.CDLL(None).unshare(0) == 0 else 7)";

/// Uses four seconds of CPU time, and doesn't listen to polite signals.
const BUSY: &str = "
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while time.process_time() < 4: pass";

/// Uses the same in three children, none of which is long busy.
const BUSY_CHILDREN: &str = "
import os, time
for _ in range(3):
    if os.fork() == 0:
        while time.process_time() < 1.3: pass
        os._exit(0)
for _ in range(3): os.wait()";

#[test]
fn endings_by_itself() {
    hold(&[
        row("success", Bash("exit 0"), "", exited(0)),
        row("a code of its own", Bash("exit 3"), "", exited(3)),
        row("the highest code", Bash("exit 255"), "", exited(255)),
        row("a code that looks like a signal", Bash("exit 137"), "", exited(137)),
        row("a code that looks like a time limit", Bash("exit 124"), "", exited(124)),
        row("as first process", Bash("exit 3"), "--init false", exited(3)),
        row("SIGTERM to itself", Bash("kill -TERM $$"), "", signalled(15)),
        row("SIGSEGV to itself", Bash("kill -SEGV $$"), "", signalled(11)),
        row("SIGKILL to itself", Bash("kill -KILL $$"), "", signalled(9)),
        row("a real fault", Python("import ctypes; ctypes.string_at(8)"), "", signalled(11)),
        row(
            "a real fault as first process",
            Python("import ctypes; ctypes.string_at(8)"),
            "--init false",
            signalled(11),
        ),
        row("SIGKILL from a child", Bash("(kill -KILL $$); sleep 1000"), "", signalled(9)),
        row("a child's SIGKILL", Bash("bash -c 'kill -KILL $$'; exit 5"), "", exited(5)),
    ]);
}

#[test]
fn endings_before_the_program_ran() {
    let failed = |status| End(status, "launch_failed", None, None, None);
    hold(&[
        row("not found", Plain("/usr/bin/no-such-program"), "", failed(127)),
        row("not executable", Plain("./garbage"), "", failed(126)),
        row("a missing path", Bash("exit 0"), "--read /no/such/path", failed(125))
            .freed("--read-optional /no/such/path", exited(0)),
        row("a refused control", Bash("exit 0"), "--io path=/proc,read=1MiB/s", failed(125))
            .freed("", exited(0)),
    ]);
}

#[test]
fn endings_by_a_system_call() {
    if let Some(why) = lacks("syscalls") {
        skip!("seccomp: {why}");
    }
    let denied = || End(159, "denied", Some("syscalls"), None, Some(31));
    let killed = || End(159, "denied", Some("syscalls"), None, Some(9));
    let allowed = "--on-violation kill --allow-syscall unshare";
    let child = Bash("/usr/bin/python3 unshare.py; exit $?");
    hold(&[
        row("a forbidden call", Python(UNSHARE), "--on-violation kill", denied())
            .freed("--on-violation error", exited(7))
            .freed(allowed, exited(0)),
        // The first process of a namespace takes no signal that it didn't ask for, but a kill.
        row("as first process", Python(UNSHARE), "--on-violation kill --init false", killed())
            .freed("--on-violation error --init false", exited(7)),
        row("a child's forbidden call", child, "--on-violation kill", exited(159))
            .freed(allowed, exited(0)),
    ]);
}

#[test]
fn endings_by_limits_of_each_process() {
    hold(&[
        row(
            "a file too long",
            Bash("exec head -c 2M /dev/zero > /tmp/file"),
            "--file-size 1MiB",
            signalled(25),
        )
        .freed("--file-size 4MiB", exited(0)),
        row(
            "a child's file too long",
            Bash("head -c 2M /dev/zero > /tmp/file; exit $?"),
            "--file-size 1MiB",
            exited(153),
        )
        .freed("--file-size 4MiB", exited(0)),
    ]);
}

#[test]
fn endings_with_fewer_processes_than_wanted() {
    if let Some(why) = lacks("limits.pids") {
        skip!("pids: {why}");
    }
    hold(&[row("survived", Python(FORKS), "--pids 10", exited(0))
        .pressed("limits.pids")
        .freed("--pids 40", exited(0))]);
}

#[test]
fn endings_by_memory() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let child = || Bash("/usr/bin/python3 hog.py; exit $?");
    let fill = |place| match place {
        "/tmp" => Bash("head -c 150M /dev/zero > /tmp/file; exit 5"),
        _ => Bash("head -c 150M /dev/zero > /dev/shm/file; exit 5"),
    };
    let (less, more) = ("--memory 64MiB", "--memory 512MiB");
    let alone = "--memory 64MiB --oom-kill process";
    let killed_after = Bash("/usr/bin/python3 hog.py; kill -KILL $$");
    let reads_log = fs::File::open("/dev/kmsg").is_ok();
    let by_hand = if reads_log { signalled(9) } else { OUT_OF_MEMORY };
    let (small, big) = ("--memory 64MiB --tmp 512MiB", "--memory 512MiB --tmp 512MiB");
    let rows = [
        row("one process", Python(HOG), less, OUT_OF_MEMORY).freed(more, exited(0)),
        row("as first process", Python(HOG), "--memory 64MiB --init false", OUT_OF_MEMORY)
            .freed("--memory 512MiB --init false", exited(0)),
        row("a child", child(), less, OUT_OF_MEMORY).freed(more, exited(0)),
        row("a hundred children", Python(CHILDREN), less, OUT_OF_MEMORY)
            .freed("--memory 900MiB", exited(0)),
        row("a file in /tmp", fill("/tmp"), small, OUT_OF_MEMORY).freed(big, exited(5)),
        row("shared memory", fill("/dev/shm"), small, OUT_OF_MEMORY).freed(big, exited(5)),
        row("one victim", child(), "--memory 64MiB --oom-kill process", exited(137))
            .freed("--memory 512MiB --oom-kill process", exited(0)),
        row(
            "one victim, the program",
            Python(HOG),
            "--memory 64MiB --oom-kill process",
            OUT_OF_MEMORY,
        )
        .freed("--memory 512MiB --oom-kill process", exited(0)),
        // Which of the two the kernel killed, its log tells to those who may read it.
        row("one victim, and another killed by hand", killed_after, alone, by_hand)
            .freed("--memory 512MiB --oom-kill process", signalled(9)),
    ];
    hold(&rows.map(|row| row.pressed("limits.memory")));
}

#[test]
fn endings_by_waiting_for_memory() {
    if let Some(why) = lacks("limits.memory_stall") {
        skip!("psi-thresholds: {why}");
    }
    // Above `memory_high`, with nothing to give back, the kernel lets it do next to nothing.
    let stall = "--memory 512MiB --memory-high 24MiB --swap 0B --memory-stall 1s";
    let end = End(137, "limit_exceeded", Some("limits.memory_stall"), None, Some(9));
    hold(&[row("stalled", Python(HOG), stall, end)
        .pressed("limits.memory_high")
        .freed("--memory 512MiB --swap 0B --memory-stall 1s", exited(0))]);
}

#[test]
fn endings_by_time() {
    let obeys = || Bash("trap 'exit 4' TERM; sleep 4 & wait; exit 9");
    let ignores = || Bash("trap '' TERM; sleep 4; exit 9");
    let wall = |code, signal| timed_out("limits.wall_time", code, signal);
    let cpu = |signal| timed_out("limits.cpu_time", None, Some(signal));
    hold(&[
        row("grace obeyed", obeys(), "--wall-time 2s --grace 30s", wall(Some(4), None))
            .freed("", exited(9)),
        row(
            "no answer",
            Bash("sleep 4; exit 9"),
            "--wall-time 2s --grace 30s",
            wall(None, Some(15)),
        )
        .freed("", exited(9)),
        row("grace ignored", ignores(), "--wall-time 2s --grace 1s", wall(None, Some(9)))
            .freed("", exited(9)),
        row("no grace", obeys(), "--wall-time 2s --grace 0s", wall(None, Some(9)))
            .freed("--wall-time 30s --grace 0s", exited(9)),
        // To a first process without a handler the kernel delivers nothing but the kill.
        row(
            "as first process",
            Bash("sleep 4; exit 9"),
            "--wall-time 2s --grace 1s --init false",
            wall(None, Some(9)),
        )
        .freed("--init false", exited(9)),
        row("CPU time", Python(BUSY), "--cpu-time 2s --grace 0s", cpu(9))
            .freed("--cpu-time 60s --grace 0s", exited(0)),
        row("CPU time of all together", Python(BUSY_CHILDREN), "--cpu-time 2s --grace 9s", cpu(15))
            .freed("--cpu-time 60s --grace 9s", exited(0)),
    ]);
}

#[test]
fn endings_by_output() {
    let out = Bash("head -c 2000 /dev/zero; sleep 2; exit 9");
    let error = Bash("head -c 2000 /dev/zero >&2; sleep 2; exit 9");
    let both = Bash("head -c 600 /dev/zero; head -c 600 /dev/zero >&2; sleep 2; exit 9");
    let (less, more) = ("--output 1000B", "--output 1MiB");
    hold(&[
        row("standard output", out, less, TOO_MUCH_OUTPUT).freed(more, exited(9)),
        row("standard error", error, less, TOO_MUCH_OUTPUT).freed(more, exited(9)),
        row("both together", both, less, TOO_MUCH_OUTPUT).freed(more, exited(9)),
    ]);
}

#[test]
fn two_limits_at_once() {
    let sleep = || Bash("sleep 4; exit 9");
    let writes = || Bash("head -c 2000 /dev/zero; sleep 4; exit 9");
    let writes_at_the_end =
        Bash("trap 'head -c 2000 /dev/zero; exit 4' TERM; sleep 4 & wait; exit 9");
    let wall = |code, signal| timed_out("limits.wall_time", code, signal);
    let cpu = timed_out("limits.cpu_time", None, Some(9));
    hold(&[
        row("CPU before wall", Python(BUSY), "--cpu-time 2s --wall-time 50s --grace 0s", cpu)
            .freed("--wall-time 50s --grace 0s", exited(0)),
        row(
            "wall before CPU",
            sleep(),
            "--cpu-time 2s --wall-time 2s --grace 0s",
            wall(None, Some(9)),
        )
        .freed("--cpu-time 3s --grace 0s", exited(9)),
        // In its grace it goes over its CPU time as well, and by then that is neither here nor there.
        row(
            "CPU after wall",
            // Deaf from its first moment: Python takes its time to start.
            Bash("trap '' TERM; exec /usr/bin/python3 busy.py"),
            "--cpu-time 3500ms --wall-time 3s --grace 50s",
            wall(Some(0), None),
        )
        .freed("--wall-time 3s --grace 50s", wall(Some(0), None))
        .freed("--cpu-time 3s --grace 50s", timed_out("limits.cpu_time", Some(0), None)),
        row("output before wall", writes(), "--output 1000B --wall-time 50s", TOO_MUCH_OUTPUT)
            .freed("--output 1MiB --wall-time 50s", exited(9))
            .freed("--output 1MiB --wall-time 2s", wall(None, Some(15))),
        row(
            "output after wall",
            writes_at_the_end,
            "--output 1000B --wall-time 2s --grace 30s",
            wall(Some(4), None),
        )
        .freed("--output 1000B", exited(9)),
    ]);
}

#[test]
fn two_limits_of_which_one_is_memory() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    // `tail` keeps a last line that never ends.
    let hogs_at_the_end = Bash(
        "trap 'head -c 150M /dev/zero | tail > /dev/null; exit 4' TERM; sleep 4 & wait; exit 9",
    );
    let writes_after = || Bash("/usr/bin/python3 hog.py; head -c 2000 /dev/zero; sleep 2; exit 9");
    let waits_after = Bash("/usr/bin/python3 hog.py; sleep 5; exit 9");
    let writes_before = Bash("head -c 2000 /dev/zero; sleep 2; exec /usr/bin/python3 hog.py");
    let wall = |code, signal| timed_out("limits.wall_time", code, signal);
    hold(&[
        row(
            "memory long before wall",
            Python(HOG),
            "--memory 64MiB --wall-time 50s",
            OUT_OF_MEMORY,
        )
        .freed("--memory 512MiB --wall-time 50s", exited(0)),
        row(
            "memory after wall",
            hogs_at_the_end,
            "--memory 64MiB --wall-time 2s --grace 50s",
            wall(None, Some(9)),
        )
        .freed("--memory 512MiB --wall-time 2s --grace 50s", wall(Some(4), None))
        .freed("--memory 64MiB", exited(9)),
        row(
            "one victim long before wall",
            waits_after,
            "--memory 64MiB --oom-kill process --wall-time 5s --grace 30s",
            wall(None, Some(15)),
        )
        .freed("--memory 64MiB --oom-kill process", exited(9)),
        row(
            "one victim before output",
            writes_after(),
            "--memory 64MiB --oom-kill process --output 1000B",
            TOO_MUCH_OUTPUT,
        )
        .freed("--memory 64MiB --oom-kill process", exited(9)),
        row("memory before output", writes_after(), "--memory 64MiB --output 1000B", OUT_OF_MEMORY)
            .freed("--memory 512MiB --output 1000B", TOO_MUCH_OUTPUT),
        row(
            "output before memory",
            writes_before,
            "--memory 64MiB --output 1000B",
            TOO_MUCH_OUTPUT,
        )
        .freed("--memory 64MiB --output 1MiB", OUT_OF_MEMORY),
    ]);
}

/// Longer than the wall time of runs that happen while Stockade can't look.
const ASLEEP: Duration = Duration::from_secs(4);
/// A program that was to end and hasn't by then is a failure, which the row then shows.
const HUNG: Duration = Duration::from_secs(40);

/// A run that does all its work, to its end if it has one (`ends`), while Stockade is stopped, so that both reasons for an
/// end lie before it when it looks. With a wall time among the flags it sleeps until that is over.
fn asleep(flags: &str, ends: bool, line: &str) -> Outcome {
    let scene = Scene::new();
    scene.file("hog.py", HOG);
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let line = format!("echo up; read line; {line}");
    let mut started = Started::new(scene.command(&flags, &["bash", "-c", &line]));
    let first = support::only_child(started.child.id());
    started.signal(Signal::SIGSTOP);
    started.say("go\n");
    let begin = Instant::now();
    if flags.contains(&"--wall-time") {
        pause(ASLEEP);
    }
    while ends && !is_zombie(first) && begin.elapsed() < HUNG {
        pause(Duration::from_millis(20));
    }
    started.signal(Signal::SIGCONT);
    started.finish(&scene)
}

fn is_zombie(pid: u32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    text.rsplit(") ").next().unwrap().starts_with('Z')
}

#[expect(clippy::disallowed_methods, reason = "nobody tells of a child's child that ended")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[test]
fn an_end_that_came_before_the_time_was_over_is_the_cause_though_seen_later() {
    let flags = "--wall-time 3s --grace 0s";
    exited(3).expect("ended in time", &asleep(flags, true, "exit 3"));
    timed_out("limits.wall_time", None, Some(9))
        .expect("went on", &asleep(flags, false, "sleep 1000"));
}

#[test]
fn memory_that_ran_out_before_the_time_was_over_is_the_cause_though_seen_later() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let line = "/usr/bin/python3 hog.py; sleep 1000";
    let flags = "--memory 64MiB --wall-time 3s --grace 0s";
    OUT_OF_MEMORY.expect("killed in time", &asleep(flags, true, line));
    let flags = "--memory 512MiB --wall-time 3s --grace 0s";
    timed_out("limits.wall_time", None, Some(9)).expect("went on", &asleep(flags, false, line));
}

#[test]
fn too_much_output_is_the_cause_though_the_program_ended_by_itself() {
    let end = End(137, "limit_exceeded", Some("limits.output"), Some(3), None);
    let line = "head -c 2000 /dev/zero; exit 3";
    end.expect("over and out", &asleep("--output 1000B", true, line));
    exited(3).expect("within and out", &asleep("--output 1MiB", true, line));

    let end = End(137, "limit_exceeded", Some("limits.output"), None, Some(11));
    end.expect(
        "over and a fault",
        &asleep("--output 1000B", true, "head -c 2000 /dev/zero; kill -SEGV $$"),
    );
}

#[test]
fn the_kernels_kill_is_the_cause_where_too_much_output_was_not_yet_seen() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let line = "head -c 2000 /dev/zero; exec /usr/bin/python3 hog.py";
    OUT_OF_MEMORY.expect("both", &asleep("--memory 64MiB --output 1000B", true, line));
    let end = End(137, "limit_exceeded", Some("limits.output"), Some(0), None);
    end.expect("output alone", &asleep("--memory 512MiB --output 1000B", true, line));
    OUT_OF_MEMORY.expect("memory alone", &asleep("--memory 64MiB --output 1MiB", true, line));
}
