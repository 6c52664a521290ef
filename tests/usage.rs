//! What a sandbox used, from outside: each figure follows what its program did, and what can't be known isn't zero.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use stockade::platform::{Bytes, Network, Usage};
use stockade::{Policy, Sandbox};
use support::{Outcome, PYTHON, Scene, cgroup_of, lacks, skip};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::time::timeout;

const MEBIBYTE: u64 = 1 << 20;

/// Longer than anything takes.
const HUNG: Duration = Duration::from_secs(60);

/// Keeps one CPU busy in its own code for two seconds of the clock, at which it looks seldom.
const BUSY: &str = "
import time
end = time.monotonic() + 2
while time.monotonic() < end:
    for _ in range(20000): pass";

/// The same in the kernel, which fills a buffer with zeros.
const BUSY_KERNEL: &str = "
import time
end = time.monotonic() + 2
buffer = bytearray(1 << 20)
with open('/dev/zero', 'rb', 0) as zeros:
    while time.monotonic() < end:
        for _ in range(20): zeros.readinto(buffer)";

/// Sends a MiB to itself over its own network.
const TALK: &str = "
import socket
listener = socket.create_server(('127.0.0.1', 0))
near = socket.create_connection(listener.getsockname())
far, _ = listener.accept()
for _ in range(64):
    near.sendall(b'x' * 16384)
    left = 16384
    while left: left -= len(far.recv(left))";

/// A program under the default policy that has said a line, and goes on to the next when it is told to.
struct Held {
    sandbox: Sandbox,
    lines: Lines<BufReader<stockade::platform::OutputPipe>>,
}

impl Held {
    async fn start(policy: Policy, command: &[&str]) -> Self {
        let builder = Sandbox::builder(policy).command(command.iter().copied()).piped();
        let mut sandbox = builder.start().unwrap();
        let lines = BufReader::new(sandbox.stdout.take().unwrap()).lines();
        let mut held = Self { sandbox, lines };
        held.hear().await;
        held
    }

    /// Python code, with `step()` where it says a line and waits for one.
    async fn python(policy: Policy, code: &str) -> Self {
        let code = format!("def step():\n    print('up', flush=True)\n    input()\n{code}\nstep()");
        Self::start(policy, &[PYTHON, "-c", &code]).await
    }

    async fn hear(&mut self) {
        let line = timeout(HUNG, self.lines.next_line()).await.unwrap().unwrap();
        assert_eq!(line.as_deref(), Some("up"));
    }

    async fn step(&mut self) {
        let stdin = self.sandbox.stdin.as_mut().unwrap();
        stdin.write_all(b"\n").await.unwrap();
        self.hear().await;
    }

    fn usage(&mut self) -> Usage {
        self.sandbox.usage().unwrap()
    }
}

fn default() -> Policy {
    Policy::shipped("default").unwrap()
}

/// The disk below a scene as the kernel's accounts name it, or why there is none.
fn disk(scene: &Scene) -> Result<String, &'static str> {
    let device = fs::metadata(scene.path()).unwrap().dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    if major == 0 {
        return Err("the scratch directory is on none");
    }
    let place = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).unwrap();
    let whole = if place.join("partition").exists() { place.parent().unwrap() } else { &place };
    Ok(fs::read_to_string(whole.join("dev")).unwrap().trim_end().to_owned())
}

/// What a report says of one device; zeros when it names no such device.
fn device(run: &Outcome, number: &str) -> [u64; 4] {
    let devices = run.reported("/io/devices").as_array().unwrap();
    let found = devices.iter().find(|one| one["device"] == number);
    ["read_bytes", "written_bytes", "reads", "writes"]
        .map(|name| found.map_or(0, |one| one[name].as_u64().unwrap()))
}

#[test]
fn what_goes_to_a_disk_and_comes_from_it_is_told_of_that_disk() {
    let scene = Scene::new();
    if let Some(why) = lacks("limits.io") {
        skip!("io: {why}");
    }
    let number = match disk(&scene) {
        Ok(number) => number,
        Err(why) => skip!("disk: {why}"),
    };
    // Devices are counted where the sandbox has a limit on some; this one is in nobody's way.
    let flags = ["--write", ".", "--io", "path=.,read=1TiB/s"];
    let bytes = 8 * MEBIBYTE;
    let (much, half) = (bytes..2 * bytes, bytes / 2);

    let line = "dd if=/dev/zero of=file bs=64k count=128 oflag=direct";
    let writer = scene.bash(&flags, line).expect_code(0);
    let [read, written, _, writes] = device(&writer, &number);
    assert!(much.contains(&written), "{written} of {bytes}{}", writer.told());
    assert!((128..1280).contains(&writes), "{writes}{}", writer.told());
    assert!(read < half, "{read}{}", writer.told());

    let line = "dd if=file of=/dev/null bs=64k iflag=direct";
    let reader = scene.bash(&flags, line).expect_code(0);
    let [read, written, reads, _] = device(&reader, &number);
    assert!(much.contains(&read), "{read} of {bytes}{}", reader.told());
    assert!((128..1280).contains(&reads), "{reads}{}", reader.told());
    assert!(written < half, "{written}{}", reader.told());

    let idle = scene.bash(&flags, ":").expect_code(0);
    let [read, written, ..] = device(&idle, &number);
    assert!(read < half && written < half, "{}", idle.told());

    // Loops and volumes are devices too, so what is told in all is the sum of what is told of each.
    let devices = reader.reported("/io/devices").as_array().unwrap();
    let sum: u64 = devices.iter().map(|one| one["read_bytes"].as_u64().unwrap()).sum();
    assert_eq!(reader.reported("/io/read_bytes").as_u64(), Some(sum));
}

#[tokio::test(flavor = "current_thread")]
async fn memory_of_files_is_told_from_memory_of_none() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    // The kernel brings these figures up to date some hundred pages at a time. Python itself takes some MiB, and what it
    // is the first to read counts for it as well.
    let held = Bytes::mib(30)..Bytes::mib(60);
    let (small, all) = (Bytes::mib(30), Bytes::mib(32));

    let mut heap = Held::python(default(), "held = bytearray(32 << 20)").await;
    let usage = heap.usage().memory;
    assert!(held.contains(&usage.anonymous.unwrap()), "{usage:?}");
    assert!(usage.file.unwrap() < small, "{usage:?}");
    assert!(usage.current.unwrap() >= all, "{usage:?}");

    let write = "with open('/tmp/file', 'wb') as file:
    for _ in range(32): file.write(bytes(1 << 20))";
    let mut file = Held::python(default(), write).await;
    let usage = file.usage().memory;
    assert!(held.contains(&usage.file.unwrap()), "{usage:?}");
    assert!(usage.anonymous.unwrap() < small, "{usage:?}");
    assert!(usage.current.unwrap() >= all, "{usage:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn the_peak_of_memory_stays_when_the_memory_is_given_back() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    let much = Bytes::mib(100);
    let take = "held = bytearray(100 << 20)\nstep()\ndel held";
    let mut program = Held::python(default(), take).await;
    let then = program.usage().memory;
    assert!(then.current.unwrap() >= much && then.peak.unwrap() >= much, "{then:?}");
    program.step().await;
    let now = program.usage().memory;
    assert!(now.current.unwrap() < much && now.peak.unwrap() >= much, "{now:?}");

    let mut frugal = Held::python(default(), "pass").await;
    let never = frugal.usage().memory;
    assert!(never.peak.unwrap() < much, "{never:?}");
}

#[test]
fn the_report_has_the_peak_of_memory() {
    // Known everywhere: without a control group from samples and of the largest process.
    let scene = Scene::new();
    let peak = |code| {
        let run = scene.python(&[], code).expect_code(0);
        run.reported("/memory/peak_bytes").as_u64().unwrap()
    };
    let (much, little) = (peak("held = bytearray(100 << 20)"), peak("pass"));
    assert!(much >= 100 * MEBIBYTE, "{much}");
    assert!(little < 100 * MEBIBYTE, "{little}");
}

#[tokio::test(flavor = "current_thread")]
async fn each_page_that_is_touched_is_a_fault() {
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: {why}");
    }
    // Pages of the usual size: a huge one is one fault.
    let touch = "
import mmap
pages = mmap.mmap(-1, 4000 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
try: pages.madvise(mmap.MADV_NOHUGEPAGE)
except OSError: pass
step()
for page in range(4000): pages[page * 4096] = 1
step()";
    let mut program = Held::python(default(), touch).await;
    let start = program.usage().memory.faults.unwrap();
    program.step().await;
    let touched = program.usage().memory.faults.unwrap();
    program.step().await;
    let end = program.usage().memory;
    // As above, some hundred may be missing, and be told later.
    assert!((3500..6000).contains(&(touched - start)), "{start}, then {touched}");
    assert!(end.faults.unwrap() - touched < 1000, "{touched}, then {end:?}");
    assert!(end.major_faults.unwrap() <= end.faults.unwrap(), "{end:?}");
}

#[test]
fn time_held_back_by_the_cpu_limit_is_told_with_its_periods() {
    if let Some(why) = lacks("limits.cpu") {
        skip!("cpu: {why}");
    }
    let scene = Scene::new();
    let figures = |flags: &[&str]| {
        let run = scene.python(flags, BUSY).expect_code(0);
        let names = ["/cpu/throttled_s", "/cpu/periods", "/cpu/throttled_periods"];
        names.map(|name| run.reported(name).as_f64().unwrap())
    };
    let [throttled, periods, throttled_periods] = figures(&["--cpu", "0.2"]);
    // Two seconds at a fifth are 20 periods, 80 ms of each spent waiting.
    assert!(throttled > 0.8, "{throttled}");
    assert!(throttled_periods >= 10.0 && periods >= throttled_periods, "{throttled_periods}");

    let [throttled, _, throttled_periods] = figures(&["--cpu", "8"]);
    assert!(throttled == 0.0 && throttled_periods == 0.0, "{throttled}, {throttled_periods}");
}

#[test]
fn time_in_the_program_is_told_from_time_in_the_kernel() {
    let scene = Scene::new();
    let inside = |code: &str| {
        let run = scene.python(&[], code).expect_code(0);
        let [user, system] =
            ["/cpu/user_s", "/cpu/system_s"].map(|name| run.reported(name).as_f64().unwrap());
        assert!(user + system > 0.5, "{}", run.told());
        user / (user + system)
    };
    let outside = |code: &str| {
        let told = "import os\nuser, system = os.times()[:2]\nprint(user / (user + system))";
        support::python_outside(&format!("{code}\n{told}")).trim().parse::<f64>().unwrap()
    };
    // By the CPU's time, not the clock's: a machine that does other things besides gives little of that.
    let worked = |code: &str| {
        code.replace("end = time.monotonic() + 2", "end = time.process_time() + 1")
            .replace("time.monotonic() <", "time.process_time() <")
    };
    let [own, kernel] = [BUSY, BUSY_KERNEL].map(|code| {
        let code = worked(code);
        (inside(&code), outside(&code))
    });
    assert!(own.0 > 0.6, "{own:?} of a loop's time was its own");
    // User-mode Linux itself takes nearly all of its time for the program's.
    for (inside, outside) in [own, kernel] {
        assert!((inside - outside).abs() < 0.25, "{inside} inside, {outside} outside");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn processes_are_counted_now_and_at_most() {
    let line = "for i in 1 2 3 4 5 6 7; do sleep 3600 & done; echo up; read go
                kill $(jobs -p); wait; echo up; read go";
    let mut program = Held::start(default(), &["bash", "-c", line]).await;
    // The init and the shell are two more.
    let then = program.usage().pids;
    assert_eq!(then.current, Some(9));
    program.step().await;
    let now = program.usage().pids;
    assert_eq!(now.current, Some(2));

    let group = cgroup_of(program.sandbox.pid()).filter(|_| lacks("limits.pids").is_none());
    match group {
        // It counts what forks as well, as the shell did for `jobs`.
        Some(group) if group.join("pids.peak").exists() => {
            let most = now.peak.unwrap();
            assert!((9..=11).contains(&most), "{most}");
        }
        // An older kernel doesn't tell, and samples may have missed the most.
        Some(_) => assert_eq!(now.peak, None),
        // The most that was seen.
        None => assert_eq!(now.peak, Some(9)),
    }
}

#[tokio::test(flavor = "current_thread")]
async fn open_files_are_counted_where_the_kernel_tells() {
    let open = "step()\nheld = [open('/dev/null') for _ in range(50)]\nstep()\ndel held";
    let mut program = Held::python(default(), open).await;
    let start = program.usage().open_files;
    program.step().await;
    let more = program.usage().open_files;
    program.step().await;
    let end = program.usage().open_files;
    // Linux 6.2 tells as the size of this directory.
    if fs::metadata("/proc/self/fd").unwrap().len() > 0 {
        // Three streams of the program, and at least the init's socket.
        let count = start.unwrap();
        assert!((4..20).contains(&count), "{count}");
        assert_eq!((more, end), (Some(count + 50), Some(count)));
    } else {
        assert_eq!((start, more, end), (None, None, None));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_goes_over_its_own_network_is_told() {
    if let Some(why) = lacks("network.mode") {
        skip!("network-namespace: {why}");
    }
    let mut silent = Held::python(default(), "import socket").await;
    let silent = silent.usage().network.unwrap();
    assert!(silent.sent < Bytes(64 << 10) && silent.received < Bytes(64 << 10), "{silent:?}");

    let mut talker = Held::python(default(), TALK).await;
    let told = talker.usage().network.unwrap();
    let much = Bytes::mib(1)..Bytes::mib(2);
    assert!(much.contains(&told.sent) && much.contains(&told.received), "{told:?}");

    // The host's interfaces count what everybody sends.
    let mut shared = Held::python(default().network(Network::Host), TALK).await;
    assert_eq!(shared.usage().network, None);
}

#[test]
fn the_report_has_the_whole_traffic_though_nobody_looked() {
    if let Some(why) = lacks("network.mode") {
        skip!("network-namespace: {why}");
    }
    let scene = Scene::new();
    let talker = scene.python(&[], TALK).expect_code(0);
    for name in ["/network/sent_bytes", "/network/received_bytes"] {
        let bytes = talker.reported(name).as_u64();
        assert!(bytes >= Some(MEBIBYTE) && bytes < Some(2 * MEBIBYTE), "{}", talker.told());
    }
    let silent = scene.python(&[], "import socket").expect_code(0);
    assert!(silent.reported("/network/sent_bytes").as_u64().unwrap() < 65536, "{}", silent.told());
    let shared = scene.python(&["--net", "host"], TALK).expect_code(0);
    assert!(shared.reported("/network").is_null(), "{}", shared.told());
}

#[test]
fn waiting_for_the_cpu_is_pressure() {
    if let Some(why) = lacks("limits.cpu") {
        skip!("cpu: {why}");
    }
    let scene = Scene::new();
    let limited = scene.python(&["--cpu", "0.2"], BUSY).expect_code(0);
    // A kernel that can measure and doesn't has the file, and refuses to read it.
    if let Err(error) = fs::read_to_string("/proc/pressure/cpu") {
        assert!(limited.reported("/pressure/cpu").is_null(), "{}", limited.told());
        skip!("psi: `/proc/pressure/cpu`: {error}");
    }
    let some = |run: &Outcome| run.reported("/pressure/cpu/some_s").as_f64().unwrap();
    assert!(some(&limited) > 0.5, "{}", limited.told());
    let full = limited.reported("/pressure/cpu/full_s").as_f64().unwrap();
    assert!(full > 0.5 && full <= some(&limited), "{}", limited.told());
    for kind in ["memory", "io"] {
        assert!(limited.reported(&format!("/pressure/{kind}/some_s")).is_f64());
    }

    let free = scene.python(&["--cpu", "8"], BUSY).expect_code(0);
    assert!(some(&free) < some(&limited) / 2.0, "{}{}", free.told(), limited.told());
}

#[test]
fn without_a_control_group_figures_are_unknown_and_not_zero() {
    if !support::is_root() {
        skip!("root: only root may cover the cgroup tree and still map ids");
    }
    let scene = Scene::new();
    let code = "import time\nwhile time.process_time() < 0.5:\n    for _ in range(20000): pass";
    let inner = scene.command(&[], &[PYTHON, "-c", code]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c"]).current_dir(scene.path()).stdin(Stdio::null());
    command.arg("mount -t tmpfs none /sys/fs/cgroup && exec \"$0\" \"$@\"");
    command.arg(inner.get_program()).args(inner.get_args());
    let run = scene.finish(command).expect_code(0);
    for place in [
        "/cpu/throttled_s",
        "/cpu/periods",
        "/cpu/throttled_periods",
        "/memory/file_bytes",
        "/memory/anonymous_bytes",
        "/memory/swap_bytes",
        "/memory/faults",
        "/memory/major_faults",
        "/io",
        "/pressure/cpu",
        "/pressure/memory",
        "/pressure/io",
    ] {
        assert!(run.reported(place).is_null(), "{place}{}", run.told());
    }
    assert!(run.reported("/cpu/user_s").as_f64() > Some(0.2), "{}", run.told());
    assert!(run.reported("/memory/peak_bytes").as_u64() > Some(MEBIBYTE), "{}", run.told());
    // The default policy's limits are watched here, so that it was looked at.
    assert!(run.reported("/pids/peak").as_u64() >= Some(2), "{}", run.told());
}
