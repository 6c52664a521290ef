//! What keeping a service's lines costs: how much of them a daemon keeps in a second, beside `cat > file` behind the same program,
//! and what memory the daemon has meanwhile.
//!
//! `cargo bench --bench logs -- --mib 256`. Lines have 100 bytes; files are rotated and compressed as usual, and once more
//! without compression. Nothing is asserted: times belong to a machine.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const USUAL_MIB: u64 = 256;

type Failure = Box<dyn std::error::Error>;

/// Writes so many bytes, in lines of 100.
fn program(bytes: u64) -> String {
    format!("yes {} | head -c {bytes}", "x".repeat(99))
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().collect();
    let given = words.iter().position(|word| word == "--mib");
    let given = given.and_then(|at| words.get(at + 1)).map(|text| text.parse()).transpose()?;
    let mib: u64 = given.unwrap_or(USUAL_MIB);
    let scene = tempfile::tempdir()?;
    let plain = plain(scene.path(), mib)?;
    let mut out = io::stdout().lock();
    #[expect(clippy::cast_precision_loss, reason = "a speed to be read")]
    let speed = |time: Duration| mib as f64 / time.as_secs_f64();
    writeln!(out, "{mib} MiB behind `cat > file`: {:.0} MiB/s", speed(plain))?;
    for (name, logging) in [
        ("as usual", "logging = {}"),
        ("not compressed", "logging = { rotation = { compress = false } }"),
        ("not kept", "logging = { driver = \"none\" }"),
    ] {
        let Kept { time, idle, most } = kept(&scene.path().join(name), mib, logging)?;
        let ratio = time.as_secs_f64() / plain.as_secs_f64();
        writeln!(
            out,
            "{name}: {:.0} MiB/s, {ratio:.1} x the time of `cat`; the daemon: {idle} KiB before, {most} KiB at most",
            speed(time)
        )?;
    }
    Ok(())
}

/// How long it takes into a file.
fn plain(directory: &Path, mib: u64) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let line = format!("{} | cat > plain", program(mib << 20));
    Command::new("sh").args(["-c", &line]).current_dir(directory).status()?;
    Ok(begun.elapsed())
}

struct Kept {
    time: Duration,
    /// Memory of the daemon, in KiB.
    idle: u64,
    most: u64,
}

/// How long it takes as a service whose lines are kept by `logging`.
fn kept(directory: &Path, mib: u64, logging: &str) -> Result<Kept, Failure> {
    fs::create_dir(directory)?;
    let command = program(mib << 20);
    let stack = format!(
        "[services.it]\npolicy = \"default\"\nenabled = false\ntype = \"oneshot\"\n\
         command = [\"sh\", \"-c\", \"{command}\"]\n{logging}\n"
    );
    fs::write(directory.join("stockade.toml"), stack)?;
    let mut command = stockade(directory);
    command.args(["daemon", "--socket", "api.sock", "--state", "state"]).stderr(Stdio::piped());
    let mut daemon = command.spawn()?;
    let mut line = String::new();
    BufReader::new(daemon.stderr.take().ok_or("no pipe")?).read_line(&mut line)?;
    let idle = memory(&daemon, "VmRSS:")?;
    let begun = Instant::now();
    let ask = ["start", "it", "--socket", "api.sock"];
    let status = stockade(directory).args(ask).stdout(Stdio::null()).status()?;
    let most = memory(&daemon, "VmHWM:")?;
    stockade(directory).args(["down", "--socket", "api.sock"]).stdout(Stdio::null()).status()?;
    // It ends when all that was written is kept.
    daemon.wait()?;
    if !status.success() {
        return Err("the service failed".into());
    }
    Ok(Kept { time: begun.elapsed(), idle, most })
}

fn stockade(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.current_dir(directory).stdin(Stdio::null());
    command
}

/// A figure of `/proc/PID/status`, in KiB.
fn memory(of: &Child, name: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(format!("/proc/{}/status", of.id()))?;
    let line = text.lines().find(|line| line.starts_with(name)).ok_or("no such figure")?;
    let number = line.split_whitespace().nth(1).ok_or("no number")?;
    Ok(number.parse()?)
}
