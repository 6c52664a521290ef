//! What it costs to keep services running, next to launching the same programs and no more.
//!
//! `cargo bench --bench supervise -- --services 200 --idle 1000 --seconds 60`. Ratios are read and nothing is asserted: times
//! belong to a machine. What an idle daemon costs is what the kernel says of its process: its processor time over a while, and
//! its share of memory (`Pss`, proc_pid_smaps_rollup(5)).

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use stockade::supervisor::{Journal, Stack, Status, Supervisor};
use stockade::{Policy, Sandbox};
use tempfile::TempDir;

type Failure = Box<dyn std::error::Error>;

const PROGRAM: [&str; 2] = ["/bin/sleep", "infinity"];

/// A number after its flag.
fn number(flag: &str, otherwise: u64) -> Result<u64, Failure> {
    let mut words = std::env::args().skip_while(|word| word != flag);
    match (words.next(), words.next()) {
        (None, _) => Ok(otherwise),
        (Some(_), Some(value)) => Ok(value.parse()?),
        (Some(_), None) => Err(format!("`{flag}` wants a number").into()),
    }
}

fn main() -> Result<(), Failure> {
    let services = usize::try_from(number("--services", 200)?)?;
    let idle = usize::try_from(number("--idle", 1000)?)?;
    let seconds = Duration::from_secs(number("--seconds", 60)?);
    let mut told = String::new();
    let bare = in_runtime(bare(services))?;
    let plain = in_runtime(supervised(services, false))?;
    let lasting = in_runtime(supervised(services, true))?;
    let ratio = |time: Duration| time.as_secs_f64() / bare.as_secs_f64();
    writeln!(told, "{services} launches                    {:8.2} s", bare.as_secs_f64())?;
    for (what, time) in [("supervised", plain), ("with a journal", lasting)] {
        let verdict = if ratio(time) <= 2.0 { "met" } else { "missed" };
        let (time, ratio) = (time.as_secs_f64(), ratio(time));
        writeln!(
            told,
            "{services} services {what:<18} {time:8.2} s {ratio:5.2} x (<= 2: {verdict})"
        )?;
    }
    let scratch = TempDir::new()?;
    std::fs::write(scratch.path().join("stockade.toml"), stack(idle))?;
    let daemon = Daemon::start(scratch.path())?;
    let took = daemon.wait(idle)?;
    writeln!(told, "{idle} services in a daemon           {took:8.2} s")?;
    let from = daemon.cpu()?;
    pause(seconds);
    let share = (daemon.cpu()? - from) / seconds.as_secs_f64() * 100.0;
    let (memory, files) = (daemon.memory()?, daemon.files()?);
    let verdict = |met: bool| if met { "met" } else { "missed" };
    writeln!(
        told,
        "idle, of a core                 {share:8.3} % (< 1: {})",
        verdict(share < 1.0)
    )?;
    writeln!(
        told,
        "memory                          {memory:8.1} MiB (< 50: {})",
        verdict(memory < 50.0)
    )?;
    writeln!(told, "descriptors of a service        {:8.1}", files as f64 / idle.max(1) as f64)?;
    daemon.kill()?;
    let next = Daemon::start(scratch.path())?;
    let took = next.wait(idle)?;
    writeln!(told, "{idle} services taken over            {took:8.2} s")?;
    next.end(scratch.path())?;
    io::stdout().write_all(told.as_bytes())?;
    Ok(())
}

/// Waiting for nothing but time is what this is about.
#[expect(clippy::disallowed_methods, reason = "the pause is what is measured")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn in_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// The time that so many launches take, one after the other, of programs that stay.
async fn bare(count: usize) -> Result<Duration, Failure> {
    let policy = Policy::shipped("default")?;
    let from = Instant::now();
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(Sandbox::builder(policy.clone()).command(PROGRAM).piped().start()?);
    }
    let took = from.elapsed();
    for mut sandbox in all {
        sandbox.kill()?;
        sandbox.wait().await?;
    }
    Ok(took)
}

fn stack(count: usize) -> String {
    let mut text = String::new();
    for at in 0..count {
        text += &format!("[services.s{at}]\npolicy = \"default\"\ncommand = {PROGRAM:?}\n");
    }
    text
}

/// The time until so many services run.
async fn supervised(count: usize, lasting: bool) -> Result<Duration, Failure> {
    let scratch = TempDir::new()?;
    let file = scratch.path().join("stockade.toml");
    std::fs::write(&file, stack(count))?;
    let stack = Stack::load(&file, Path::new("/"))?;
    let journal = match lasting {
        true => Some(Journal::open(&scratch.path().join("state")).await?),
        false => None,
    };
    let from = Instant::now();
    let (supervisor, _lines) = match journal {
        Some(journal) => Supervisor::resume(&stack, journal, None),
        None => Supervisor::start(&stack),
    };
    for name in supervisor.names() {
        let service = supervisor.service(&name).ok_or("a service is missing")?;
        service.wait_for(|status: &Status| status.ready).await?;
    }
    let took = from.elapsed();
    supervisor.kill().await?;
    Ok(took)
}

/// `stockade daemon` in a process of its own.
struct Daemon {
    child: Child,
    begun: Instant,
}

impl Daemon {
    fn start(place: &Path) -> Result<Self, Failure> {
        let begun = Instant::now();
        let mut child = stockade(place)
            .args(["daemon", "--socket", "api.sock", "--state", "state"])
            .stderr(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stderr = child.stderr.take().ok_or("there is no standard error")?;
        BufReader::new(stderr).read_line(&mut line)?;
        if !line.contains("answers") {
            return Err(line.into());
        }
        Ok(Self { child, begun })
    }

    /// Seconds since its start until everything runs.
    fn wait(&self, count: usize) -> Result<f64, Failure> {
        loop {
            let place = std::fs::read_link(format!("/proc/{}/cwd", self.child.id()))?;
            let told = stockade(&place).args(["ps", "--json"]).output()?;
            let told: serde_json::Value = serde_json::from_slice(&told.stdout)?;
            let all = told["services"].as_array().ok_or("there are no services")?;
            if all.iter().filter(|service| service["ready"] == true).count() == count {
                return Ok(self.begun.elapsed().as_secs_f64());
            }
            pause(Duration::from_millis(50));
        }
    }

    /// Seconds of processor time so far (proc_pid_schedstat; in nanoseconds, over all threads).
    fn cpu(&self) -> Result<f64, Failure> {
        let mut sum = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let time: f64 = text.split(' ').next().unwrap_or_default().parse()?;
            sum += time / 1e9;
        }
        Ok(sum)
    }

    /// MiB of memory that are its own, and its part of what it shares.
    fn memory(&self) -> Result<f64, Failure> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let line = line.ok_or("the kernel doesn't tell `Pss`")?;
        let pages: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(pages / 1024.0)
    }

    fn files(&self) -> Result<usize, Failure> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    fn kill(mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn end(mut self, place: &Path) -> Result<(), Failure> {
        stockade(place).args(["down"]).output()?;
        self.child.wait()?;
        Ok(())
    }
}

fn stockade(place: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.current_dir(place).env("STOCKADE_SOCKET", "api.sock");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}
