//! What one look at a running sandbox costs: the time of `Running::sample`, and what it allocates.
//!
//! `cargo bench --bench sample -- --samples 5000`. A host without controllers tells little of what there is to read, so
//! the figures that count are those of a guest: build with `cargo bench --bench sample --no-run`, then
//! `cargo vm --guest uml --as root --shell-command target/release/deps/sample-HASH`. Nothing is asserted: times belong to
//! a machine, and an emulated one takes many times as long; allocations are the same everywhere.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stockade::Policy;
use stockade::plan::{self, LaunchRequest};
use stockade::platform::{
    self, Availability, Backend, Bytes, Control, Cores, IoLimit, Launched, Probe, Rate, StdioSet,
    Usage,
};
use tokio::io::AsyncReadExt;

const SAMPLES: usize = 5000;
/// Before these, files are opened and room is made.
const WARM_UP: usize = 20;
/// The target for a sandbox of one process, beside no allocation.
const MOST_TIME: Duration = Duration::from_micros(50);

type Failure = Box<dyn std::error::Error>;

/// The system's allocator, which counts how often it is asked for memory.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came, and the count touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the same promises for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `place` came from the system's allocator, with this layout.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `place` came from the system's allocator, with this layout; the caller answers for the size.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// What some thousand looks at one sandbox cost.
struct Row {
    what: &'static str,
    times: Vec<Duration>,
    /// Of the look that allocated most, and of all together.
    allocations: (u64, u64),
    usage: Usage,
}

impl Row {
    fn measure(
        what: &'static str,
        samples: usize,
        mut launched: Launched,
    ) -> Result<Self, Failure> {
        let mut usage = Usage::default();
        for _ in 0..WARM_UP {
            launched.running.sample(&mut usage)?;
        }
        let mut times = Vec::with_capacity(samples);
        let mut allocations = (0, 0);
        for _ in 0..samples {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            let from = Instant::now();
            launched.running.sample(&mut usage)?;
            times.push(from.elapsed());
            let made = ALLOCATIONS.load(Ordering::Relaxed) - before;
            allocations = (allocations.0.max(made), allocations.1 + made);
        }
        times.sort_unstable();
        Ok(Self { what, times, allocations, usage })
    }

    /// The time that so many of a hundred looks don't exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let at = (self.times.len() * percent / 100).min(self.times.len() - 1);
        self.times.get(at).copied().unwrap_or_default()
    }

    fn print(&self, mut to: impl Write) -> io::Result<()> {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let (most, all) = self.allocations;
        writeln!(
            to,
            "{:32} {:9.1} {:9.1} {most:11} {all:9}",
            self.what,
            micros(self.percentile(50)),
            micros(self.percentile(99)),
        )
    }
}

/// A policy with every limit that has accounts of its own here, none of them in the program's way; the disk below
/// `directory` only if asked for.
fn policy(backend: &dyn Backend, directory: &Path, disk: bool) -> Result<Policy, Failure> {
    let mut policy = Policy::shipped("default")?.write(directory);
    let support = backend.support(Probe::Quick);
    let has = |control| support.of(control) == Availability::Enforced;
    if has(Control::Cpu) {
        policy = policy.cpu(Cores::from_f64(8.0).ok_or("8 is no number of cores")?);
    }
    if disk && has(Control::Io) {
        let read = Some(Rate(Bytes::mib(1 << 20)));
        policy.limits.io = vec![IoLimit { path: directory.into(), read, ..IoLimit::default() }];
    }
    Ok(policy)
}

/// Starts a line of a shell which says a word when all that it starts runs.
async fn start(backend: &dyn Backend, policy: &Policy, line: &str) -> Result<Launched, Failure> {
    let request = LaunchRequest {
        id: plan::new_id(Some("sample"), None),
        command: ["/bin/sh", "-c", line].map(Into::into).to_vec(),
        environment: std::env::vars_os().collect(),
        working_directory: None,
        terminal: false,
    };
    let plan = plan::compile(policy, &backend.support(Probe::Quick), request)?;
    let mut launched = backend.launch(&plan, StdioSet::piped())?;
    let pipe = launched.stdout.as_mut().ok_or("no pipe")?;
    pipe.read_u8().await.map_err(|error| format!("`{line}` never spoke: {error}"))?;
    Ok(launched)
}

/// Samples from `--samples N`; the `--bench` that cargo adds means nothing here.
fn samples() -> Result<usize, Failure> {
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--samples" {
            return Ok(words.next().ok_or("`--samples` needs a number")?.parse()?);
        }
    }
    Ok(SAMPLES)
}

/// What is known of the use of a sandbox, and what isn't.
fn known(usage: &Usage) -> (String, String) {
    let all = [
        ("cpu", usage.cpu.user.is_some()),
        ("throttled", usage.cpu.throttled.is_some()),
        ("memory", usage.memory.current.is_some()),
        ("faults", usage.memory.faults.is_some()),
        ("devices", usage.io.as_ref().is_some_and(|io| !io.devices.is_empty())),
        ("pids", usage.pids.current.is_some()),
        ("open files", usage.open_files.is_some()),
        ("network", usage.network.is_some()),
        ("pressure", usage.pressure.cpu.is_some()),
    ];
    let named = |known| {
        let names = all.iter().filter(|one| one.1 == known).map(|one| one.0);
        names.collect::<Vec<_>>().join(", ")
    };
    (named(true), named(false))
}

fn main() -> Result<(), Failure> {
    let samples = samples()?.max(1);
    let backend = platform::native()?;
    let backend = &*backend;
    let scratch = tempfile::tempdir()?;
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777))?;
    let directory = scratch.path().canonicalize()?;
    // Something goes to the disk, past the cache, so that there is a device to tell of.
    let file = directory.join("file");
    let used = format!("dd if=/dev/zero of={} bs=64k count=1 oflag=direct", file.display());
    let one = format!("{used} 2> /dev/null; echo up; exec sleep 3600");
    let many = "for i in $(seq 31); do sleep 3600 & done; echo up; wait";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(async {
        let mut with_init = policy(backend, &directory, true)?;
        let first = match start(backend, &with_init, &one).await {
            // No disk there.
            Err(_) if !with_init.limits.io.is_empty() => {
                with_init = policy(backend, &directory, false)?;
                start(backend, &with_init, &one).await?
            }
            first => first?,
        };
        let mut alone = with_init.clone();
        alone.init = false;
        Ok::<_, Failure>([
            Row::measure("one process", samples, start(backend, &alone, &one).await?)?,
            Row::measure("one process and the init", samples, first)?,
            Row::measure(
                "32 processes and the init",
                samples,
                start(backend, &with_init, many).await?,
            )?,
        ])
    })?;

    let mut to = io::stdout().lock();
    writeln!(to, "{:32} {:>9} {:>9} {:>21}", "", "median us", "p99 us", "most allocations, all")?;
    rows.iter().try_for_each(|row| row.print(&mut to))?;
    let [one, ..] = &rows;
    let (known, unknown) = known(&one.usage);
    writeln!(to, "\n{samples} samples each; known here: {known}; unknown: {unknown}")?;
    let verdict = |met| if met { "met" } else { "missed" };
    let time = verdict(one.percentile(50) <= MOST_TIME);
    let allocations = verdict(one.allocations.1 == 0);
    writeln!(to, "one process in at most {MOST_TIME:?}: {time}")?;
    writeln!(to, "without an allocation: {allocations}")?;
    Ok(())
}
