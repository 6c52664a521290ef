//! One boot of one guest: its files, its process, and the frames it sends until it ends.

mod qemu;
mod uml;

pub use qemu::Accelerator;

use crate::catalogue::Machine;
use crate::failure::{Attempt, Failure, Result};
use crate::frame::{self, Frame, NotAFrame};
use crate::job::{Job, Task};
use crate::kernel::Kernel;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Until a guest says hello.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// With hardware acceleration a guest is there in 3 s; where the acceleration is itself emulated it
/// may hang, and the slower way is tried instead.
const ACCELERATED_BOOT_LIMIT: Duration = Duration::from_secs(30);
/// On top of a test's own limit, before the guest counts as dead.
const PATIENCE: Duration = Duration::from_secs(60);
/// The size of the disk that becomes `/tmp`; sparse, so it takes only what is written.
const SCRATCH_BYTES: u64 = 4 << 30;

/// What a guest needs, whatever boots it.
#[derive(Debug)]
pub struct Guest<'a> {
    /// Its name, for files and messages.
    pub name: &'a str,
    /// What to boot.
    pub kernel: &'a Kernel,
    /// The modules to load inside.
    pub modules: &'a [String],
    /// The `guest` program.
    pub init: &'a Path,
    /// Below `target/`: kernels, logs, and one directory for each boot.
    pub cache: PathBuf,
    /// How a virtual machine runs.
    pub accelerator: Accelerator,
    /// How long a shell command may take.
    pub shell_limit: Duration,
}

/// How a boot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The job is done.
    Done(i32),
    /// It ended without a good-bye; the reason, with the end of the console's log.
    Died(String),
    /// It never said hello.
    NeverUp(String),
}

/// The files of one boot, removed with it.
#[derive(Debug)]
struct BootDirectory(PathBuf);

impl BootDirectory {
    fn make(guest: &Guest<'_>) -> Result<Self> {
        let own = format!("{}-{}", guest.name, std::process::id());
        let path = guest.cache.join("boots").join(own);
        if path.to_string_lossy().contains(char::is_whitespace) {
            // A kernel's command line has no quoting that every kernel understands.
            return Err(Failure::new(format!("`{}` must not contain spaces", path.display())));
        }
        remove_abandoned(&guest.cache.join("boots"));
        fs::create_dir_all(&path).attempt(|| format!("failed to make `{}`", path.display()))?;
        Ok(Self(path))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Removes the directories of runs that were killed: their names end in a process that is gone.
fn remove_abandoned(boots: &Path) {
    for entry in fs::read_dir(boots).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let alive =
            name.rsplit('-').next().is_some_and(|pid| Path::new("/proc").join(pid).exists());
        if !alive {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

impl Drop for BootDirectory {
    fn drop(&mut self) {
        // What stays is below target/, and the next `cargo clean` takes it.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Boots a guest, lets it do its job, and passes every frame on.
///
/// # Errors
///
/// When the guest can't even be started.
pub fn run(guest: &Guest<'_>, job: Job, on_frame: &mut dyn FnMut(Frame)) -> Result<End> {
    if guest.kernel.machine != Machine::Qemu || !guest.accelerator.may_accelerate() {
        return boot(guest, job, guest.accelerator, on_frame);
    }
    match boot(guest, job.clone(), Accelerator::Kvm, on_frame)? {
        End::NeverUp(reason) if guest.accelerator == Accelerator::Auto => {
            Accelerator::kvm_has_failed();
            let reason = reason.lines().find(|line| line.contains("error")).unwrap_or(&reason);
            on_frame(Frame::Note(format!("KVM doesn't work here, emulating instead: {reason}")));
            boot(guest, job, Accelerator::Tcg, on_frame)
        }
        end => Ok(end),
    }
}

fn boot(
    guest: &Guest<'_>,
    mut job: Job,
    accelerator: Accelerator,
    on_frame: &mut dyn FnMut(Frame),
) -> Result<End> {
    let directory = BootDirectory::make(guest)?;
    let scratch = directory.file("scratch.ext4");
    make_scratch(&scratch)?;
    let log = guest.cache.join(format!("{}.log", guest.name));
    let job_file = directory.file("job.json");
    let errors = File::create(&log)
        .and_then(|_| File::options().append(true).open(&log))
        .attempt(|| format!("failed to write `{}`", log.display()))?;
    let (mut command, limit) = match guest.kernel.machine {
        Machine::Uml => (uml::command(guest, &directory, &mut job)?, BOOT_LIMIT),
        Machine::Qemu => {
            let limit =
                if accelerator == Accelerator::Kvm { ACCELERATED_BOOT_LIMIT } else { BOOT_LIMIT };
            (qemu::command(guest, &directory, &mut job, accelerator, &log)?, limit)
        }
        Machine::Host => return Err(Failure::new("the host is not booted")),
    };
    job.write(&job_file)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
    let mut running = Running::start(command, &job.token)?;
    let end = running.follow(guest, &job.task, limit, on_frame);
    let tail = || tail(&log, 25);
    Ok(match end {
        End::Died(reason) => End::Died(format!("{reason}\n{}", tail())),
        End::NeverUp(reason) => End::NeverUp(format!("{reason}\n{}", tail())),
        done @ End::Done(_) => done,
    })
}

/// A machine's command, below a keeper that ends it with the one who watches it.
fn machine(guest: &Guest<'_>, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(guest.init);
    command.args(["keep", "--"]).arg(program);
    command
}

/// A guest's process; it and its helpers are gone when this is.
struct Running {
    child: Child,
    lines: Receiver<String>,
    token: String,
}

impl Running {
    /// Starts a machine whose stdout carries the frames.
    fn start(mut command: Command, token: &str) -> Result<Self> {
        let program = command.get_args().nth(2).unwrap_or_default().to_string_lossy().into_owned();
        let mut child = command.spawn().attempt(|| format!("failed to start `{program}`"))?;
        let stdout = child.stdout.take();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let Some(stdout) = stdout else { return };
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
                let text = String::from_utf8_lossy(&line).into_owned();
                if sender.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Ok(Self { child, lines, token: token.to_owned() })
    }

    /// Passes frames on until the guest says good-bye, ends, or is silent for too long.
    fn follow(
        &mut self,
        guest: &Guest<'_>,
        task: &Task,
        boot_limit: Duration,
        on_frame: &mut dyn FnMut(Frame),
    ) -> End {
        let mut up = false;
        let mut deadline = Instant::now() + boot_limit;
        let fail = |up: bool, reason: String| {
            if up { End::Died(reason) } else { End::NeverUp(reason) }
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    return fail(up, "it was silent for too long and was ended".to_owned());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status =
                        self.child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
                    return fail(up, format!("it ended by itself ({status})"));
                }
            };
            let frame = match frame::decode(&self.token, &line) {
                Ok(frame) => frame,
                Err(NotAFrame::OtherText) => continue,
                Err(NotAFrame::Damaged(reason)) => {
                    on_frame(Frame::Note(format!("a damaged frame: {reason}")));
                    continue;
                }
            };
            let allowance = match (&frame, task) {
                (Frame::Bye { code }, _) => {
                    let code = *code;
                    self.let_it_power_off();
                    return End::Done(code);
                }
                (Frame::Started { index }, Task::Tests(cases)) => {
                    let own = cases.get(*index).map_or(0, |case| case.timeout_s);
                    Some(Duration::from_secs(own) + PATIENCE)
                }
                (Frame::Hello { .. }, Task::Shell { .. }) => Some(guest.shell_limit),
                // Output doesn't make a shell command's limit longer.
                (_, Task::Shell { .. }) => None,
                _ => Some(PATIENCE),
            };
            up |= matches!(frame, Frame::Hello { .. });
            if let Some(allowance) = allowance {
                deadline = Instant::now() + allowance;
            }
            on_frame(frame);
        }
    }

    /// Powering off closes the pipe; a machine that can't is ended by `drop`.
    fn let_it_power_off(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.lines.recv_timeout(left).is_err() {
                return;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The keeper sees its input end, and ends the machine.
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

fn make_scratch(path: &Path) -> Result<()> {
    let attempt = || format!("failed to make the disk `{}`", path.display());
    File::create(path).and_then(|file| file.set_len(SCRATCH_BYTES)).attempt(attempt)?;
    let status = Command::new("mkfs.ext4")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .args(["-q", "-F", "-E", "lazy_itable_init=1,nodiscard"])
        .arg(path)
        .status()
        .attempt(|| "failed to run `mkfs.ext4`")?;
    if status.success() { Ok(()) } else { Err(Failure::new(attempt())) }
}

/// The end of a log and, when the kernel gave up, the line where it says why.
fn tail(log: &Path, lines: usize) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let start = all.len().saturating_sub(lines);
    let (before, last) = all.split_at(start);
    let panic = before.iter().rfind(|line| line.contains("Kernel panic"));
    let shown: Vec<&str> = panic.into_iter().chain(last).copied().collect();
    format!("the end of {}:\n{}", log.display(), shown.join("\n"))
}
