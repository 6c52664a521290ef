//! What deciding costs a launch, before there is a process: reading the policy, compiling the plan, preparing its
//! operations; and what the kernel takes to install the filter of system calls.
//!
//! `cargo bench --bench decide -- --rounds 500`. Times are medians; nothing is asserted, since they belong to a machine.
//! The target of an installation is 100 microseconds for the default list.

use seccompiler::sock_filter;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use stockade::Policy;
use stockade::plan::{self, LaunchRequest};
use stockade::platform::{self, Availability, Control, LaunchPlan, Probe, Support};

const ROUNDS: usize = 500;
/// The target for the default list.
const MOST_INSTALL: Duration = Duration::from_micros(100);

type Failure = Box<dyn std::error::Error>;

/// The median of what so many rounds took.
fn median(
    rounds: usize,
    mut once: impl FnMut() -> Result<Duration, Failure>,
) -> Result<Duration, Failure> {
    let mut times = (0..rounds).map(|_| once()).collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    times.get(rounds / 2).copied().ok_or_else(|| "no round at all".into())
}

/// What a piece of work takes.
fn timed<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<Duration, Failure> {
    let from = Instant::now();
    let done = work()?;
    let took = from.elapsed();
    drop(done);
    Ok(took)
}

fn plan(policy: &Policy, support: &Support) -> Result<LaunchPlan, Failure> {
    let request = LaunchRequest {
        id: plan::new_id(Some("decide"), None),
        command: vec!["/bin/true".into()],
        ..LaunchRequest::default()
    };
    Ok(plan::compile(policy, support, request)?)
}

/// Installs the filters in a thread of their own, which keeps them to its end.
fn install(filters: &[Vec<sock_filter>]) -> Result<Duration, Failure> {
    let filters = filters.to_vec();
    let work = move || {
        let from = Instant::now();
        let done = filters.iter().try_for_each(|filter| seccompiler::apply_filter(filter));
        done.map(|()| from.elapsed()).map_err(|error| error.to_string())
    };
    thread::spawn(work).join().map_err(|_| "the thread panicked")?.map_err(Into::into)
}

/// Rounds from `--rounds N`; the `--bench` that cargo adds means nothing here.
fn rounds() -> Result<usize, Failure> {
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--rounds" {
            return Ok(words.next().ok_or("`--rounds` needs a number")?.parse()?);
        }
    }
    Ok(ROUNDS)
}

fn main() -> Result<(), Failure> {
    let rounds = rounds()?.max(1);
    let backend = platform::native()?;
    // A host that can do all: what this one lacks would only make it faster.
    let mut support = backend.support(Probe::Quick);
    support.controls = Control::all().map(|control| (control, Availability::Enforced)).collect();
    let directory = Path::new("/");
    let mut to = io::stdout().lock();
    let heads = ["load us", "compile us", "digest us", "prepare us"];
    writeln!(
        to,
        "{:10} {:>11} {:>11} {:>11} {:>11}",
        "policy", heads[0], heads[1], heads[2], heads[3]
    )?;
    for (name, _) in stockade::policy::shipped() {
        let policy = Policy::load(name, &[], directory)?;
        let compiled = plan(&policy, &support)?;
        let load = median(rounds, || timed(|| Ok(Policy::load(name, &[], directory)?)))?;
        let compile = median(rounds, || timed(|| plan(&policy, &support)))?;
        let digest = median(rounds, || timed(|| Ok(policy.digest())))?;
        let prepare = median(rounds, || timed(|| Ok(backend.explain(&compiled)?)))?;
        write!(to, "{name:10}")?;
        for time in [load, compile, digest, prepare] {
            write!(to, " {:11.1}", time.as_secs_f64() * 1e6)?;
        }
        writeln!(to)?;
    }
    filter(&mut to, rounds)?;
    Ok(())
}

/// What the default list takes to compile, and the kernel to install.
fn filter(mut to: impl Write, rounds: usize) -> Result<(), Failure> {
    let syscalls = Policy::load("default", &[], Path::new("/"))?.syscalls;
    let compile = median(rounds, || timed(|| Ok(platform::linux::filters(&syscalls)?)))?;
    let native = platform::linux::filters(&syscalls)?;
    let filters: Vec<Vec<sock_filter>> = native
        .iter()
        .map(|filter| {
            let own = |it: &libc::sock_filter| sock_filter {
                code: it.code,
                jt: it.jt,
                jf: it.jf,
                k: it.k,
            };
            filter.iter().map(own).collect()
        })
        .collect();
    let install = median(rounds, || install(&filters))?;
    let instructions: usize = filters.iter().map(Vec::len).sum();
    writeln!(
        to,
        "\nfilter of `default`: {} names allowed, {instructions} instructions; compile {:.1} us, install {:.1} us",
        syscalls.allow.len(),
        compile.as_secs_f64() * 1e6,
        install.as_secs_f64() * 1e6,
    )?;
    let verdict = if install <= MOST_INSTALL { "met" } else { "missed" };
    writeln!(to, "installed in at most {MOST_INSTALL:?}: {verdict}")?;
    Ok(())
}
