//! One run of `cargo vm`: which guests, what they do, and how it came out.

use crate::boot::{self, End, Guest};
use crate::campaign::Campaign;
use crate::catalogue::{Catalogue, GuestSpec, Machine};
use crate::checkout::Checkout;
use crate::failure::{Attempt, Failure, Result};
use crate::frame::Frame;
use crate::host;
use crate::job::{Job, Task};
use crate::kernel::Kernel;
use crate::options::Options;
use crate::programs;
use crate::suites;
use crate::tally::{Counts, Tally};
use crate::terminal;
use std::fs::{self, File};
use std::io::Read;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const SHELL_LIMIT: Duration = Duration::from_secs(600);

/// Does what the command line says.
///
/// # Errors
///
/// When it can't even begin: bad names, a build that fails.
pub fn run(options: &Options) -> Result<ExitCode> {
    if let Some(command) = &options.shell_command {
        return shell(options, command);
    }
    let counts = tests(options)?;
    if !options.list {
        terminal::line(format!("\n{counts}"));
    }
    Ok(if counts.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the tests that the command line chooses, shows them, and closes with the result.
///
/// # Errors
///
/// When it can't even begin: bad names, a build that fails.
pub fn tests(options: &Options) -> Result<Counts> {
    let checkout = Checkout::find()?;
    let catalogue = Catalogue::read()?;
    let names = guest_names(options);
    // All names are looked up before anything is built: a typing error should be told at once.
    let guests = names
        .iter()
        .map(|name| Ok((name.as_str(), catalogue.guest(name)?)))
        .collect::<Result<Vec<_>>>()?;
    let helper = checkout.build_guest()?;
    let all = suites::collect(&checkout, catalogue.unit_tests())?;
    let campaigns: Vec<Campaign<'_>> =
        guests.iter().flat_map(|(name, spec)| Campaign::plan(name, spec, &all, options)).collect();
    let chosen: usize = campaigns.iter().map(Campaign::len).sum();
    if options.list {
        for campaign in &campaigns {
            campaign.names().for_each(|name| terminal::line(format!("{name}: test")));
        }
        terminal::line(format!("\n{chosen} tests"));
        return Ok(Counts::default());
    }
    terminal::line(format!("\nrunning {chosen} tests"));
    let tally = Tally::default();
    let campaigns = campaigns.iter().filter(|campaign| campaign.len() > 0);
    if campaigns.clone().any(|campaign| campaign.has(programs::SUITE))
        && let Err(failure) = programs::fetch(&checkout.cache())
    {
        // Those tests will say that they are missing, which fails them in the guests; the others can run.
        terminal::note(format!("note: no programs: {}", failure.chain()));
    }
    let (here, mut guests): (Vec<_>, Vec<_>) =
        campaigns.partition(|campaign| campaign.spec.machine == Machine::Host);
    // Those of root take longest: none of them is to begin last, and be waited for alone.
    guests.sort_by_key(|campaign| campaign.is_of_user());
    // Alone: a test here ends by ending every process below this one.
    for campaign in here {
        host::run(campaign, &helper, &checkout, &environment(&checkout), &tally)?;
    }
    side_by_side(&guests, |campaign| in_guest(campaign, &helper, &checkout, options, &tally));
    tally.close();
    Ok(tally.counts())
}

/// Does something for each campaign, one more at once than there are processors: a guest runs one
/// test after the other, and a test keeps one processor busy or sleeps.
fn side_by_side(campaigns: &[&Campaign<'_>], each: impl Fn(&Campaign<'_>) + Sync) {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let lanes = (processors + 1).min(campaigns.len());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                while let Some(campaign) = campaigns.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(campaign);
                }
            });
        }
    });
}

/// Runs one guest's tests, in as many boots as it takes. Whatever goes wrong with the guest itself
/// is a failure of the tests that it was to run.
fn in_guest(
    campaign: &Campaign<'_>,
    helper: &Path,
    checkout: &Checkout,
    options: &Options,
    tally: &Tally,
) {
    let prepared = kernel(campaign.name, campaign.spec, options, checkout).and_then(|kernel| {
        let label = campaign.label();
        let guest = guest(&label, campaign.spec, &kernel, helper, checkout, options);
        campaign.run(tally, &mut |cases, on_frame| {
            boot::run(&guest, job(checkout, Task::Tests(cases))?, on_frame)
        })
    });
    if let Err(failure) = prepared {
        campaign.lose_all(tally, &failure.chain());
    }
}

fn guest<'a>(
    name: &'a str,
    spec: &'a GuestSpec,
    kernel: &'a Kernel,
    helper: &'a Path,
    checkout: &Checkout,
    options: &Options,
) -> Guest<'a> {
    Guest {
        name,
        kernel,
        modules: &spec.modules,
        init: helper,
        cache: checkout.cache(),
        accelerator: options.accelerator,
        shell_limit: options.timeout.unwrap_or(SHELL_LIMIT),
    }
}

fn shell(options: &Options, command: &str) -> Result<ExitCode> {
    let checkout = Checkout::find()?;
    let catalogue = Catalogue::read()?;
    let helper = checkout.build_guest()?;
    let mut worst = ExitCode::SUCCESS;
    for name in guest_names(options) {
        let spec = catalogue.guest(&name)?;
        if spec.machine == Machine::Host {
            return Err(Failure::new("`--shell-command` is for guests; this is the host's shell"));
        }
        let kernel = kernel(&name, spec, options, &checkout)?;
        let guest = guest(&name, spec, &kernel, &helper, &checkout, options);
        let task = Task::Shell { command: command.to_owned(), as_user: !options.as_root };
        match boot::run(&guest, job(&checkout, task)?, &mut show_shell)? {
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
    Ok(Job {
        token: token()?,
        task,
        keep,
        environment: environment(checkout),
        writable: vec![scratch],
        modules: Vec::new(),
        scratch: None,
    })
}

/// What every test finds in its environment, here and in the guests.
fn environment(checkout: &Checkout) -> Vec<(String, String)> {
    let root = checkout.root.display().to_string();
    let environment = [
        ("RUST_BACKTRACE", "1"),
        // insta would ask cargo where the workspace is; there is no cargo inside.
        ("INSTA_WORKSPACE_ROOT", root.as_str()),
        ("INSTA_UPDATE", "no"),
    ];
    environment.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// A word that no test can guess.
fn token() -> Result<String> {
    let attempt = || "failed to read `/dev/urandom`";
    let mut bytes = [0_u8; 12];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).attempt(attempt)?;
    Ok(bytes.iter().fold("#".to_owned(), |token, byte| token + &format!("{byte:02x}")))
}
