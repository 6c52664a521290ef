//! One run of `cargo vm`: which guests, what they do, and how it came out.

use crate::boot::{self, End, Guest};
use crate::catalogue::{Catalogue, GuestSpec};
use crate::checkout::Checkout;
use crate::failure::{Attempt, Result};
use crate::frame::Frame;
use crate::job::{Job, Task};
use crate::kernel::Kernel;
use crate::options::Options;
use crate::terminal;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const SHELL_LIMIT: Duration = Duration::from_secs(600);

/// Does what the command line says.
///
/// # Errors
///
/// When it can't even begin: bad names, a build that fails.
pub fn run(options: &Options) -> Result<ExitCode> {
    let checkout = Checkout::find()?;
    let catalogue = Catalogue::read()?;
    let helper = checkout.build_guest()?;
    let Some(command) = &options.shell_command else { return Ok(ExitCode::SUCCESS) };
    let mut worst = ExitCode::SUCCESS;
    for name in guest_names(options) {
        let spec = catalogue.guest(&name)?;
        let kernel = kernel(&name, spec, options, &checkout)?;
        let task =
            Task::Shell { command: command.clone(), as_user: options.as_user && !options.as_root };
        let guest = Guest {
            name: &name,
            kernel: &kernel,
            modules: &spec.modules,
            init: &helper,
            cache: &checkout.cache(),
            accelerator: options.accelerator,
            shell_limit: options.timeout.unwrap_or(SHELL_LIMIT),
        };
        let end = boot::run(&guest, job(&checkout, task)?, &mut show_shell)?;
        match end {
            End::Done(0) => {}
            End::Done(code) => worst = ExitCode::from(u8::try_from(code).unwrap_or(1)),
            End::Died(reason) | End::NeverUp(reason) => {
                terminal::note(format!("{name}: {reason}"));
                worst = ExitCode::from(125);
            }
        }
    }
    Ok(worst)
}

fn show_shell(frame: Frame) {
    match frame {
        Frame::Output(text) => terminal::piece(text),
        Frame::Hello { kernel, uptime_s } => {
            terminal::note(format!("[{kernel}, up after {uptime_s:.1} s]"));
        }
        Frame::Note(text) => terminal::note(format!("note: {text}")),
        Frame::Started { .. } | Frame::Finished { .. } | Frame::Bye { .. } => {}
    }
}

fn guest_names(options: &Options) -> Vec<String> {
    match (&options.kernel, options.guests.is_empty()) {
        (Some(_), _) => vec!["other".to_owned()],
        (None, true) => Catalogue::default_names(),
        (None, false) => options.guests.clone(),
    }
}

fn kernel(name: &str, spec: &GuestSpec, options: &Options, checkout: &Checkout) -> Result<Kernel> {
    match &options.kernel {
        Some(image) => Kernel::at(image, options.modules.as_deref()),
        None => Kernel::fetch(name, spec, &checkout.cache()),
    }
}

/// The job for one boot.
fn job(checkout: &Checkout, task: Task) -> Result<Job> {
    let scratch = checkout.target.join("tmp");
    fs::create_dir_all(&scratch).attempt(|| format!("failed to make `{}`", scratch.display()))?;
    let mut keep: Vec<PathBuf> = vec![checkout.root.clone()];
    if !checkout.target.starts_with(&checkout.root) {
        keep.push(checkout.target.clone());
    }
    let root = checkout.root.display().to_string();
    let environment = [
        ("RUST_BACKTRACE", "1"),
        // insta would ask cargo where the workspace is; there is no cargo inside.
        ("INSTA_WORKSPACE_ROOT", root.as_str()),
        ("INSTA_UPDATE", "no"),
    ];
    Ok(Job {
        token: token()?,
        task,
        keep,
        environment: environment.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        writable: vec![scratch],
        modules: Vec::new(),
        scratch: None,
    })
}

/// A word that no test can guess.
fn token() -> Result<String> {
    let attempt = || "failed to read `/dev/urandom`";
    let mut bytes = [0_u8; 12];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).attempt(attempt)?;
    Ok(bytes.iter().fold("#".to_owned(), |token, byte| token + &format!("{byte:02x}")))
}
