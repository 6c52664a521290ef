//! What a launch costs, next to other launchers on the same machine in the same run.
//!
//! `cargo bench --bench launch -- --iterations 20`. Every launcher takes its turn in every round, so that whatever else
//! the machine does hits all of them, and medians are compared. Each turn is one launch after a pause of 10 ms (as a
//! service that starts something now and then) and two right after it (as a busy one): a launcher that moves processes
//! between control groups is slow only after a pause. Nothing is asserted: times belong to a machine, ratios are read.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use stockade::platform::Control;
use stockade::{Policy, Sandbox};
use tempfile::TempDir;

const PAUSE: Duration = Duration::from_millis(10);
const ROUNDS: usize = 100;
const PROGRAM: &str = "/bin/true";

/// The targets: what, of what, at most so many times.
const TARGETS: [(&str, &str, f64); 4] = [
    ("stockade run", "bwrap", 0.6),
    ("stockade run", "runc", 0.15),
    ("stockade run", "firejail", 0.1),
    ("library", "floor", 1.25),
];

type Failure = Box<dyn std::error::Error>;

/// One launcher and its times.
struct Row {
    name: &'static str,
    what: &'static str,
    launch: Box<dyn FnMut() -> Result<Duration, Failure>>,
    close: Vec<Duration>,
    paused: Vec<Duration>,
}

/// Rows that can run here, and the reasons of those that can't.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    missing: Vec<String>,
}

impl Table {
    /// Takes a row in if its launch works.
    fn add(
        &mut self,
        name: &'static str,
        what: &'static str,
        launch: impl FnMut() -> Result<Duration, Failure> + 'static,
    ) {
        let mut launch = Box::new(launch);
        match launch() {
            Ok(_) => {
                self.rows.push(Row { name, what, launch, close: Vec::new(), paused: Vec::new() })
            }
            Err(error) => self.missing.push(format!("{name}: {error}")),
        }
    }

    fn measure(&mut self, rounds: usize) -> Result<(), Failure> {
        for _ in 0..rounds {
            for row in &mut self.rows {
                pause();
                row.paused.push((row.launch)()?);
                row.close.extend([(row.launch)()?, (row.launch)()?]);
            }
        }
        Ok(())
    }

    /// Medians of one row in milliseconds: back to back, and after a pause.
    fn medians(&self, name: &str) -> Option<(f64, f64)> {
        let row = self.rows.iter().find(|row| row.name == name)?;
        Some((median(&row.close), median(&row.paused)))
    }

    fn print(&self, mut to: impl Write) -> io::Result<()> {
        let (plain_close, plain_paused) = self.medians("posix_spawn").unwrap_or((1.0, 1.0));
        let wide = self.rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
        writeln!(to, "{:wide$}  back to back      x  after 10 ms      x", "median, ms")?;
        for row in &self.rows {
            let (close, paused) = (median(&row.close), median(&row.paused));
            writeln!(
                to,
                "{:wide$}  {close:12.2} {:6.2}  {paused:11.2} {:6.2}",
                row.what,
                close / plain_close,
                paused / plain_paused,
            )?;
        }
        for missing in &self.missing {
            writeln!(to, "not measured: {missing}")?;
        }
        writeln!(to, "\ntarget                              back to back  after 10 ms")?;
        let mut verdict = |what: String, most: f64, ratios: [Option<f64>; 2]| {
            let shown = ratios.map(|ratio| match ratio {
                Some(ratio) => {
                    format!("{ratio:.2} {}", if ratio <= most { "met" } else { "missed" })
                }
                None => "-".into(),
            });
            let [close, paused] = shown;
            writeln!(to, "{what:34}  {close:>12}  {paused:>11}")
        };
        for (what, of, most) in TARGETS {
            let ratios = match (self.medians(what), self.medians(of)) {
                (Some(ours), Some(theirs)) => [Some(ours.0 / theirs.0), Some(ours.1 / theirs.1)],
                _ => [None, None],
            };
            verdict(format!("{what} <= {most} x {of}"), most, ratios)?;
        }
        // A pause costs every program its warm caches, so what counts is what it costs over that.
        let pauses = self
            .medians("stockade run")
            .map(|(close, paused)| (paused - plain_paused) / (close - plain_close));
        verdict("paused <= back to back, less /bin/true".into(), 1.0, [None, pauses])
    }
}

/// Waiting for nothing but time is what this is about.
#[expect(clippy::disallowed_methods, reason = "the pause is what is measured")]
fn pause() {
    std::thread::sleep(PAUSE);
}

fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

/// Times a command from spawn to its end; the standard library spawns by posix_spawn(3) where it can.
fn timed(command: &mut Command) -> Result<Duration, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let from = Instant::now();
    let status = command.status()?;
    let took = from.elapsed();
    if status.success() { Ok(took) } else { Err(format!("ended with {status}").into()) }
}

/// A launcher that is a command: its words, to which the program is added.
fn command(words: &'static str) -> impl FnMut() -> Result<Duration, Failure> {
    move || {
        let mut words = words.split_whitespace();
        let program = words.next().unwrap_or_default();
        timed(Command::new(program).args(words))
            .map_err(|error| format!("`{program}`: {error}").into())
    }
}

/// A bundle as `runc spec` writes it, with a static program that does nothing.
fn runc(scratch: &Path) -> Result<impl FnMut() -> Result<Duration, Failure> + use<>, Failure> {
    let bundle = scratch.join("bundle");
    std::fs::create_dir_all(bundle.join("rootfs"))?;
    let source = bundle.join("true.c");
    std::fs::write(&source, "int main(void) { return 0; }\n")?;
    compile(&source, &bundle.join("rootfs/true"))?;
    let mut spec = Command::new("runc");
    spec.arg("spec").current_dir(&bundle);
    timed(&mut spec).map_err(|error| format!("`runc spec`: {error}"))?;
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = ["/true"].as_slice().into();
    std::fs::write(&path, config.to_string())?;
    let mut number = 0;
    Ok(move || {
        number += 1;
        let name = format!("stockade-bench-{}-{number}", std::process::id());
        timed(
            Command::new("runc")
                .args(["run", "--no-new-keyring", "--bundle"])
                .args([bundle.as_os_str(), name.as_ref()]),
        )
    })
}

fn compile(source: &Path, program: &Path) -> Result<(), Failure> {
    let status = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .args([program, source])
        .status()
        .map_err(|error| format!("`cc`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`cc` ended with {status}").into()) }
}

/// A launch by the library in this process.
fn library() -> Result<impl FnMut() -> Result<Duration, Failure>, Failure> {
    let policy = Policy::shipped("default")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(move || {
        let from = Instant::now();
        let report = runtime.block_on(async {
            Sandbox::builder(policy.clone()).command([PROGRAM]).start()?.wait().await
        })?;
        let took = from.elapsed();
        if report.success() { Ok(took) } else { Err(format!("{report:?}").into()) }
    })
}

/// The size of the filter that a launch installs, as its report tells it.
fn filter_size() -> Result<usize, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sandbox =
            Sandbox::builder(Policy::shipped("default")?).command([PROGRAM]).start()?;
        let entry = sandbox.enforcement().iter().find(|entry| entry.control == Control::Syscalls);
        let words = entry.map(|entry| entry.how.clone()).unwrap_or_default();
        let size = words.split(' ').find_map(|word| word.parse().ok());
        sandbox.wait().await?;
        size.ok_or_else(|| format!("no filter: {words}").into())
    })
}

/// Paths of the host that a policy shows, each once, without those that lie in a directory that is shown anyway.
fn binds(policy: &Policy) -> Vec<PathBuf> {
    let there = policy.filesystem.binds.iter().filter_map(|bind| bind.source.canonicalize().ok());
    let mut paths: Vec<PathBuf> = there.collect();
    paths.sort();
    paths.dedup_by(|later, before| later.starts_with(before));
    paths
}

/// A C program that makes the same system calls: it runs beside this one and times itself.
fn floor(scratch: &Path) -> Result<impl FnMut() -> Result<Duration, Failure> + use<>, Failure> {
    let program = scratch.join("floor");
    compile(&Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/floor.c"), &program)?;
    let group = ["/sys/fs/cgroup/stockade", "/sys/fs/cgroup/unified/stockade"]
        .into_iter()
        .find(|path| Path::new(path).is_dir())
        .unwrap_or("-");
    let mut child = Command::new(program)
        .args([&filter_size()?.to_string(), group, PROGRAM])
        .args(binds(&Policy::shipped("default")?))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("no pipes".into());
    };
    Ok(move || {
        let mut nanoseconds = [0; 8];
        input.write_all(b"x")?;
        output.read_exact(&mut nanoseconds)?;
        Ok(Duration::from_nanos(u64::from_ne_bytes(nanoseconds)))
    })
}

/// Rounds from `--iterations N`; the `--bench` that cargo adds means nothing here.
fn rounds() -> Result<usize, Failure> {
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--iterations" {
            return Ok(words.next().ok_or("`--iterations` needs a number")?.parse()?);
        }
    }
    Ok(ROUNDS)
}

fn main() -> Result<(), Failure> {
    let rounds = rounds()?.max(1);
    let scratch = TempDir::new()?;
    let mut table = Table::default();
    table.add("posix_spawn", "/bin/true by posix_spawn", command(PROGRAM));
    table.add("stockade run", "stockade run -- /bin/true", || {
        timed(Command::new(env!("CARGO_BIN_EXE_stockade")).args(["run", "--", PROGRAM]))
    });
    table.add(
        "bwrap",
        "bwrap --unshare-all",
        command(
            "bwrap --unshare-all --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib \
             --symlink usr/lib64 /lib64 --proc /proc --dev /dev --tmpfs /tmp /bin/true",
        ),
    );
    match runc(scratch.path()) {
        Ok(launch) => table.add("runc", "runc run, static program", launch),
        Err(error) => table.missing.push(format!("runc: {error}")),
    }
    table.add(
        "firejail",
        "firejail --quiet --noprofile",
        command("firejail --quiet --noprofile /bin/true"),
    );
    table.add("library", "library, in this process", library()?);
    match floor(scratch.path()) {
        Ok(launch) => table.add("floor", "the same system calls in C", launch),
        Err(error) => table.missing.push(format!("floor: {error}")),
    }
    table.measure(rounds)?;
    table.print(io::stdout().lock())?;
    Ok(())
}
