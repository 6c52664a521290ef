//! The guest's own side: pid 1 prepares a machine as a distribution would leave it, a child of it
//! runs the job.
//!
//! Two processes, because pid 1 must reap whatever a test abandons, and the runner must be able to
//! tell which of its own children are still there.

mod delegation;
mod links;
mod modules;
mod mounts;
mod work;

use crate::failure::{Attempt, Failure, Result};
use crate::frame::{self, Frame};
use crate::job::Job;
use rustix::process::{WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use delegation::SESSION;
pub use work::work;

/// The kernel command line's word for the job's path.
pub const JOB: &str = "stockade.job=";
/// The kernel command line's word for the frames' device.
pub const FRAMES: &str = "stockade.frames=";
/// The kernel command line's word for the 9p tag of the host's root; absent where the kernel has
/// mounted the root itself.
pub const ROOT_TAG: &str = "stockade.root=";

/// The line to the host.
#[derive(Debug)]
pub struct Channel {
    device: File,
    token: String,
}

impl Channel {
    /// Opens the device that the host listens on.
    ///
    /// # Errors
    ///
    /// When it can't be opened for writing.
    pub fn open(device: &Path, token: &str) -> Result<Self> {
        let device = File::options()
            .write(true)
            .open(device)
            .attempt(|| format!("failed to open the frames' device `{}`", device.display()))?;
        Ok(Self { device, token: token.to_owned() })
    }

    /// Sends one frame.
    ///
    /// # Errors
    ///
    /// When the device refuses it.
    pub fn send(&mut self, frame: &Frame) -> Result<()> {
        let line = format!("{}\n", frame::encode(&self.token, frame));
        self.device.write_all(line.as_bytes()).attempt(|| "failed to send a frame to the host")
    }
}

/// Pid 1: prepares the guest, runs the job in a child, powers off.
///
/// Never returns on purpose: a kernel panics when its init exits, and the host would have to wait
/// for that.
///
/// # Errors
///
/// Only when even powering off fails.
pub fn init() -> Result<()> {
    if let Err(failure) = prepare_and_work() {
        // The console is the only place left; the host keeps it in a file and shows it.
        if let Ok(mut console) = File::options().write(true).open("/dev/console") {
            writeln!(console, "guest: {}", failure.chain()).ok();
        }
    }
    rustix::fs::sync();
    reboot(RebootCommand::PowerOff).attempt(|| "failed to power off")
}

fn prepare_and_work() -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    mounts::proc()?;
    let words = Words::read()?;
    if let Some(tag) = &words.root_tag {
        modules::load_all(Path::new("/modules"))?;
        mounts::switch_root(tag)?;
    }
    mounts::kernel_file_systems()?;
    let job = Job::read(&words.job)?;
    let mut channel = Channel::open(&words.frames, &job.token)?;
    let mut notes = Vec::new();
    for module in &job.modules {
        if let Err(failure) = modules::load(module) {
            notes.push(failure.chain());
        }
    }
    notes.extend(mounts::writable_places(&job)?);
    if let Err(failure) = links::loopback_up() {
        notes.push(failure.chain());
    }
    notes.extend(delegation::prepare()?);
    channel.send(&hello()?)?;
    for note in notes {
        channel.send(&Frame::Note(note))?;
    }
    drop(channel);
    let worker = Command::new("/proc/self/exe")
        .arg("work")
        .arg(&words.job)
        .arg(&words.frames)
        .stdin(Stdio::null())
        .spawn()
        .attempt(|| "failed to start the runner")?;
    let worker = rustix::process::Pid::from_child(&worker);
    loop {
        let ended = wait(WaitOptions::empty()).attempt(|| "failed to wait for the runner")?;
        if ended.is_some_and(|(pid, _)| pid == worker) {
            return Ok(());
        }
    }
}

fn hello() -> Result<Frame> {
    let uname = rustix::system::uname();
    let uptime = fs::read_to_string("/proc/uptime").attempt(|| "failed to read `/proc/uptime`")?;
    let uptime_s = uptime.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    Ok(Frame::Hello { kernel: uname.release().to_string_lossy().into_owned(), uptime_s })
}

/// What the host put on the kernel's command line.
struct Words {
    job: PathBuf,
    frames: PathBuf,
    root_tag: Option<String>,
}

impl Words {
    fn read() -> Result<Self> {
        let line =
            fs::read_to_string("/proc/cmdline").attempt(|| "failed to read `/proc/cmdline`")?;
        let find = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key));
        let need = |key: &str| {
            find(key).ok_or_else(|| Failure::new(format!("no `{key}` on the kernel command line")))
        };
        Ok(Self {
            job: PathBuf::from(need(JOB)?),
            frames: PathBuf::from(need(FRAMES)?),
            root_tag: find(ROOT_TAG).map(str::to_owned),
        })
    }
}
