//! The Linux backend: control groups, namespaces, Landlock, seccomp.
//!
//! A launch flows through `prepare` (decide and allocate), `cgroup` (quotas, before a process exists), `spawn`
//! (clone and wait for exec) into `running`. What the child does is in the package `stockade-child`.

mod adopt;
mod apparmor;
mod attached;
mod capabilities;
mod cgroup;
mod changes;
mod classic;
pub(crate) mod detect;
mod dialer;
mod disk;
mod entry;
#[cfg(fuzzing)]
pub mod fuzz;
mod identity;
mod kept;
mod kernel_log;
mod landlock;
mod lasting;
mod listener;
mod mounts;
mod ownership;
mod prepare;
pub(crate) mod processes;
mod reaped;
mod running;
mod script;
mod seccomp;
mod spawn;
mod starter;
mod streams;
mod text;
mod view;
mod window;

use crate::{Adoption, Attachment, ProcessIdentity, Running};
use crate::{Backend, Changes, LaunchPlan, Launched, PlatformError, Probe, StdioSet, Support};
use crate::{Control, Decision, Dialer, Enforcement, Gate, Overlay, State};
use cgroup::{Cgroup, LIMITS, NoTree, Tree};
use identity::{Caller, Ids};
use kept::Kept;
use lasting::Luggage;
use prepare::{Prepared, Walls};
use running::{Asked, LinuxRunning};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use spawn::Untold;
use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};
use streams::Streams;

/// The programs that filter system calls under a policy, as the kernel takes them: for those who look at or measure them.
///
/// # Errors
/// With [`crate::ErrorKind::Invalid`], when the list can't be made into programs.
pub fn filters(syscalls: &crate::Syscalls) -> Result<Vec<Box<[libc::sock_filter]>>, PlatformError> {
    Ok(vec![seccomp::compile(syscalls)?])
}

/// Launches into control groups and namespaces.
#[derive(Debug, Default)]
pub struct LinuxBackend {
    /// Found once: it is asked for its limits before each launch, and makes the group of each.
    tree: OnceLock<Result<Tree, NoTree>>,
    /// Whether the leftovers of crashed runs were looked for: once, since that looks at every sandbox alive.
    swept: OnceLock<()>,
}

impl LinuxBackend {
    /// The backend; looks at nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn tree(&self) -> &Result<Tree, NoTree> {
        self.tree.get_or_init(Tree::find)
    }

    fn sweep(&self) {
        self.swept.get_or_init(|| {
            if let Ok(tree) = self.tree() {
                // A leftover that can't be removed is no reason to refuse a launch; the next one tries again.
                tree.sweep().unwrap_or(0);
            }
            disk::sweep().unwrap_or(0);
        });
    }
}

impl Backend for LinuxBackend {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn support(&self, probe: Probe) -> Support {
        detect::support(probe, self.tree())
    }

    fn explain(&self, plan: &LaunchPlan) -> Result<Vec<String>, PlatformError> {
        let caller = Caller::find();
        let ids = Ids::unclaimed(plan, &caller)?;
        Ok(Prepared::new(plan, &caller, ids, None)?.script.describe())
    }

    fn profile(&self) -> Option<String> {
        Some(apparmor::profile())
    }

    fn changes(&self, word: &OsStr) -> Result<Changes, PlatformError> {
        changes::find(word)
    }

    fn launch(&self, plan: &LaunchPlan, stdio: StdioSet) -> Result<Launched, PlatformError> {
        let mut kept = kept_for(plan)?;
        let caller = Caller::find();
        let (ids, claim) = Ids::take(plan, &caller)?;
        let mut prepared = Prepared::new(plan, &caller, ids, kept.as_mut())?;
        prepared.script.forks = inherits(plan)?;
        let is_given_sockets = !stdio.passed.is_empty();
        let mut streams = Streams::open(stdio)?;
        streams.add_to(&mut prepared.script, plan.terminal);
        self.sweep();
        let (disk, space) = disk::hold(plan, &prepared.writable)?;
        let (cgroup, quotas) = group_for(self.tree(), plan)?;
        let locks = [
            cgroup.as_ref().map(Cgroup::fd),
            disk.as_ref().and_then(disk::DiskQuota::lock),
            claim.lock(),
            kept.as_ref().map(Kept::lock),
        ];
        let luggage = luggage(plan, &mut prepared, &streams, &locks)?;
        let room = plan.lasting.map_or(Ok(()), |_| room());
        let spawned = match room.and_then(|()| spawn::spawn(&prepared, cgroup.as_ref())) {
            Ok(spawned) => spawned,
            Err(error) => {
                luggage.into_iter().for_each(Luggage::discard);
                return Err(error);
            }
        };
        let lasting = luggage.map(Luggage::leave);
        // Its control socket's end isn't the end of one that lasts.
        let guard = lasting.is_some().then(|| spawn::Guard::of(&spawned.pidfd)).transpose()?;
        if let Some(kept) = &mut kept {
            kept.settle(&plan.id)?;
        }
        streams.close_theirs();
        let mut enforcement = prepared.enforcement;
        enforcement.extend(quotas);
        enforcement.extend(space);
        enforcement.sort_by_key(|entry| entry.control);
        if let Some(error) = spawned.moved {
            tell_move(&mut enforcement, error);
        }
        if let Err(untold) = &spawned.listener {
            tell_untold(&mut enforcement, *untold);
        }
        let mut spawned = spawned;
        let spawn::Handed { terminal, proxy, sockets } = std::mem::take(&mut spawned.handed);
        let dialer = sockets.map(dialer::Sockets::new).transpose()?;
        let gate = Gate {
            proxy: proxy.map(Into::into),
            dialer: dialer.map(|dialer| Arc::new(dialer) as Arc<dyn Dialer>),
        };
        let filter = std::mem::take(&mut prepared.script.filters).into_iter().next();
        let found = u32::try_from(spawned.program).ok();
        let walls = Walls { ids: prepared.ids, rules: prepared.rules };
        let heard = lasting.as_ref().map(|lasting| lasting.heard.try_clone()).transpose();
        let heard = heard.map_err(|error| {
            PlatformError::system("failed to keep what tells of denied system calls", error)
        })?;
        let asked = Asked { filter, sight: prepared.sight, heard };
        let mut running = LinuxRunning::new(spawned, plan, cgroup, disk, enforcement, asked)?;
        running.hold(claim, kept);
        running.know(walls);
        // Its environment says whom the descriptors are for.
        if is_given_sockets && plan.program_pid().is_some_and(|pid| Some(pid) != found) {
            let message = "the program has another process id than it was told";
            return Err(PlatformError::invalid(message));
        }
        if let Some(lasting) = lasting {
            running.outlive(lasting)?;
        }
        guard.into_iter().for_each(spawn::Guard::disarm);
        let running = Box::new(running);
        let (stdin, stdout, stderr) = streams.into_pipes()?;
        Ok(Launched { running, stdin, stdout, stderr, terminal, gate })
    }

    fn attach(
        &self,
        to: &Attachment,
        known: Option<&ProcessIdentity>,
    ) -> Result<Option<Box<dyn Running>>, PlatformError> {
        let attached = attached::attach(to, known)?;
        Ok(attached.map(|attached| Box::new(attached) as Box<dyn Running>))
    }

    fn adopt(
        &self,
        plan: &LaunchPlan,
        known: Option<&ProcessIdentity>,
    ) -> Result<Adoption, PlatformError> {
        adopt::adopt(plan, known, self.tree().as_ref().ok())
    }
}

/// Whether Stockade's init is the first process of a namespace.
fn is_first(plan: &LaunchPlan) -> bool {
    plan.init && plan.controls.get(&Control::Processes) == Some(&Decision::Enforce)
}

/// Whether the first process goes on with what the program leaves behind.
fn inherits(plan: &LaunchPlan) -> Result<bool, PlatformError> {
    if plan.forks && !is_first(plan) {
        let reason = "only an init that is the first of its processes sees the end of what a program leaves behind";
        return Err(PlatformError::unsupported(Control::Processes, reason));
    }
    Ok(plan.forks)
}

/// Sees that there is room for the descriptors that are made while a program runs already. One who keeps services starts many
/// programs, and what fails only then would have begun for nothing.
fn room() -> Result<(), PlatformError> {
    /// More than a launch with every wall takes up after the clone, its pipes and its listener included.
    const TO_COME: usize = 40;
    let failed = |error| PlatformError::system("failed to make room for its descriptors", error);
    let first = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).map_err(failed)?;
    let more = (1..TO_COME).map(|_| rustix::io::fcntl_dupfd_cloexec(&first, 0));
    more.collect::<Result<Vec<_>, _>>().map(drop).map_err(failed)
}

/// What a sandbox takes along that outlives its starter.
fn luggage(
    plan: &LaunchPlan,
    prepared: &mut Prepared,
    streams: &Streams,
    locks: &[Option<BorrowedFd<'_>>],
) -> Result<Option<Luggage>, PlatformError> {
    let Some(token) = plan.lasting else { return Ok(None) };
    // Its end is the end of all of it only as the first process of a namespace of its own.
    if !is_first(plan) {
        let reason = "only with an init and processes of its own can a sandbox outlive its starter";
        return Err(PlatformError::unsupported(Control::Processes, reason));
    }
    if plan.terminal {
        return Err(PlatformError::invalid(
            "a terminal goes with its starter, and so does its program",
        ));
    }
    let locks: Vec<BorrowedFd<'_>> = locks.iter().flatten().copied().collect();
    let luggage = Luggage::pack(&plan.id, token, streams, prepared, &locks)?;
    luggage.add_to(&mut prepared.script);
    Ok(Some(luggage))
}

/// The directory in which a launch keeps changes, taken for it alone.
fn kept_for(plan: &LaunchPlan) -> Result<Option<Kept>, PlatformError> {
    let copies = plan.controls.get(&Control::Overlay) == Some(&Decision::Enforce);
    match &plan.filesystem.overlay {
        Some(Overlay::Keep(path)) if copies => Kept::take(path).map(Some),
        _ => Ok(None),
    }
}

/// Tells of every limit of the cgroup, and of the tree's end, that the first process was moved there: that is slow, and
/// the clone itself is counted where Stockade stands.
fn tell_move(enforcement: &mut [Enforcement], error: Errno) {
    let of_group = |control: Control| LIMITS.iter().any(|(limit, _)| *limit == control);
    for entry in enforcement.iter_mut() {
        if entry.control == Control::Lifetime || of_group(entry.control) {
            entry.how +=
                &format!("; moved into its cgroup after the clone, which refused it ({error})");
        }
    }
}

/// Tells that denied system calls are denied and no more.
fn tell_untold(enforcement: &mut [Enforcement], untold: Untold) {
    let why = match untold {
        Untold::NotAsked => {
            "without an init, and with sendmsg(2) denied, nobody can be told of them"
        }
        Untold::Refused(Errno::BUSY) => "a filter around Stockade is told of its own",
        Untold::Refused(_) => "the kernel refused to tell of them",
    };
    for entry in enforcement.iter_mut().filter(|entry| entry.control == Control::Syscalls) {
        if entry.state == State::Enforced {
            entry.how += &format!("; denials aren't counted: {why}");
        }
    }
}

/// The cgroup of a launch, with its limits in force; none where the host has no tree that this caller may use and the
/// plan needs none.
fn group_for(
    tree: &Result<Tree, NoTree>,
    plan: &LaunchPlan,
) -> Result<(Option<Cgroup>, Vec<Enforcement>), PlatformError> {
    match tree {
        Ok(tree) => tree.create(plan).map(|(cgroup, quotas)| (Some(cgroup), quotas)),
        Err(none) => match LIMITS
            .iter()
            .map(|(control, _)| control)
            .find(|control| plan.controls.get(control) == Some(&Decision::Enforce))
        {
            Some(control) => {
                Err(PlatformError::unsupported(*control, &none.reason).with_hint(&none.remedy))
            }
            None => Ok((None, Vec::new())),
        },
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{Access, Bind, Bytes, Ended, HowEnded, Tmp};
    use tokio::io::AsyncReadExt;

    pub(super) fn plan(script: &str) -> LaunchPlan {
        let command = ["/bin/sh", "-c", script].map(Into::into).to_vec();
        let mut plan = LaunchPlan::new("unit-0001", command);
        plan.filesystem.binds = ["/usr", "/bin", "/lib", "/lib64"]
            .map(|path| Bind { optional: true, ..Bind::same(path, Access::Read) })
            .to_vec();
        plan.filesystem.tmp = Some(Tmp { size: Bytes::mib(16) });
        plan.identity.hostname = Some("inside".into());
        let support = LinuxBackend::new().support(Probe::Quick);
        let walls = Control::all().filter(|control| {
            !control.name().starts_with("limits.")
                && !matches!(control, Control::Clock | Control::Syscalls)
                && support.of(*control) == crate::Availability::Enforced
        });
        plan.controls = walls.map(|control| (control, Decision::Enforce)).collect();
        plan
    }

    async fn run(mut plan: LaunchPlan, name: &str) -> (String, Ended) {
        plan.id = format!("unit-{name}");
        let mut launched = LinuxBackend::new().launch(&plan, StdioSet::piped()).expect("it starts");
        let (mut text, mut errors) = (String::new(), String::new());
        let (out, err) = (launched.stdout.take(), launched.stderr.take());
        out.expect("piped").read_to_string(&mut text).await.expect("it writes");
        err.expect("piped").read_to_string(&mut errors).await.expect("it writes");
        let ended = launched.running.wait().await.expect("it ends");
        assert_eq!(errors, "");
        (text, ended)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_program_runs_behind_every_wall_and_its_end_is_told() {
        let (text, ended) =
            run(plan("hostname; id -u | grep -qx 0 || echo nobody; exit 7"), "walls").await;
        assert_eq!((text.as_str(), ended.how), ("inside\nnobody\n", HowEnded::Exited(7)));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_program_without_an_init_is_the_first_process() {
        let mut plan = plan("echo $$; kill -KILL $$; exit 3");
        plan.init = false;
        let (text, ended) = run(plan, "alone").await;
        assert_eq!((text.as_str(), ended.how), ("1\n", HowEnded::Exited(3)));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn clock_offsets_move_the_uptime_inside() {
        let mut plan = plan("cut -d. -f1 /proc/uptime");
        if LinuxBackend::new().support(Probe::Quick).of(Control::Clock)
            != crate::Availability::Enforced
        {
            println!("\nSKIP: time-namespace: there are none here");
            return;
        }
        plan.clock.boottime = 1_000_000_000;
        plan.controls.insert(Control::Clock, Decision::Enforce);
        let (moved, _) = run(plan.clone(), "clock").await;
        plan.controls.remove(&Control::Clock);
        let (unmoved, _) = run(plan, "clock-off").await;
        assert!(moved.trim().parse::<u64>().unwrap() > 1_000_000_000, "{moved}");
        assert!(unmoved.trim().parse::<u64>().unwrap() < 1_000_000_000, "{unmoved}");
    }
}
