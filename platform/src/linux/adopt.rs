//! Taking over a sandbox that outlived its starter.
//!
//! Who answers at the door is asked for the token, and the kernel says which process that is. That number may be another
//! one's a moment later, so a descriptor of the process is opened, its start time read after that, and only when the same
//! process then hands over what it keeps is it known to be the one that the descriptor means. It must also stand in the
//! cgroup that has the sandbox's name. The inode of that cgroup needn't be known: that the process stands in it says more.
//!
//! Whatever doesn't agree, nothing is signalled, and nothing is taken for gone that may be there.

use super::cgroup::{self, Cgroup, Tree};
use super::lasting::{self, Door, Lasting};
use super::processes::started_at;
use super::running::{LinuxRunning, Taken};
use super::{dialer, spawn};
use crate::OutputPipe;
use crate::{Adopted, Adoption, Dialer, Gate, LaunchPlan, PlatformError, ProcessIdentity, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stockade_child::Message;

/// How long the first process may take to answer: it may still build the walls.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one that is killed may take to be gone.
const TO_GO: Duration = Duration::from_secs(2);

/// What the first process handed over.
#[derive(Debug, Default)]
struct Handed {
    proxy: Option<OwnedFd>,
    sockets: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    /// By their places.
    kept: [Option<OwnedFd>; lasting::HANDED],
    program: i32,
}

/// Why it isn't taken over.
enum Hindrance {
    /// Nobody is there.
    Nobody,
    /// Somebody is, or may be.
    Doubt(String),
    Failed(PlatformError),
}

impl From<PlatformError> for Hindrance {
    fn from(error: PlatformError) -> Self {
        Self::Failed(error)
    }
}

/// Takes it over.
///
/// # Errors
/// As [`crate::Backend::adopt`].
pub(crate) fn adopt(
    plan: &LaunchPlan,
    known: Option<&ProcessIdentity>,
    tree: Option<&Tree>,
) -> Result<Adoption, PlatformError> {
    let Some(token) = plan.lasting else { return Ok(Adoption::Gone) };
    let door = Door::of(&plan.id)?;
    // What stands still can't answer. Its name is this sandbox's alone.
    if let Some(group) = known.and_then(|known| known.group.as_deref()) {
        cgroup::thaw(group, &plan.id)?;
    }
    match attend(&door, token, known, plan) {
        Ok(attended) => {
            take_over(attended, door, plan).map(|adopted| Adoption::Taken(Box::new(adopted)))
        }
        Err(Hindrance::Nobody) => gone(&door, plan, known, tree),
        Err(Hindrance::Doubt(why)) => Ok(Adoption::Unknown(why)),
        Err(Hindrance::Failed(error)) => Err(error),
    }
}

/// A first process that is known to be the one.
struct Attended {
    control: OwnedFd,
    pidfd: OwnedFd,
    identity: ProcessIdentity,
    handed: Handed,
}

fn attend(
    door: &Door,
    token: Token,
    known: Option<&ProcessIdentity>,
    plan: &LaunchPlan,
) -> Result<Attended, Hindrance> {
    let deadline = Instant::now() + PATIENCE;
    let mut refusals = 0;
    let (control, pid) = loop {
        let control = match door.knock() {
            Ok(control) => control,
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Err(Hindrance::Nobody),
            Err(error) => return Err(failed(plan, error).into()),
        };
        match hear_from(control.as_fd(), token, deadline) {
            Ok(Some(pid)) => break (control, pid),
            // It ended just now, which the next knock shows; or it lets nobody in who knows no better.
            Ok(None) if refusals < 2 => refusals += 1,
            Ok(None) => return Err(Hindrance::Doubt("it doesn't let this supervisor in".into())),
            Err(Errno::TIMEDOUT) => {
                let why = "it doesn't answer, or another supervisor has it";
                return Err(Hindrance::Doubt(why.into()));
            }
            Err(error) => return Err(failed(plan, error).into()),
        }
    };
    let pidfd = match Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        Some(Ok(pidfd)) => pidfd,
        Some(Err(Errno::SRCH)) | None => return Err(Hindrance::Nobody),
        Some(Err(error)) => return Err(failed(plan, error).into()),
    };
    let pid = pid.unsigned_abs();
    let started = started_at(pid).map_err(|error| Hindrance::from(failed(plan, error)))?;
    let Some(started) = started else { return Err(Hindrance::Nobody) };
    if let Some(known) = known
        && (known.pid, known.started) != (pid, started)
    {
        let why = format!("process {pid} answers for it, and it was process {}", known.pid);
        return Err(Hindrance::Doubt(why));
    }
    let handed = collect(control.as_fd(), deadline)
        .map_err(|error| Hindrance::from(failed(plan, error)))?
        .ok_or(Hindrance::Nobody)?;
    let group = Cgroup::path_of(pid, plan)?;
    if let Some(known) = known
        && known.group != group
    {
        let why = format!("process {pid} isn't in the control group that it was started in");
        return Err(Hindrance::Doubt(why));
    }
    let identity = ProcessIdentity { pid, started, group };
    Ok(Attended { control, pidfd, identity, handed })
}

/// Shows the token, and gives the id of the process that answers; `None` where the connection is closed instead.
fn hear_from(
    control: BorrowedFd<'_>,
    token: Token,
    deadline: Instant,
) -> Result<Option<i32>, Errno> {
    match spawn::send(control, Message::Attend(token.words())) {
        Ok(()) => {}
        Err(Errno::PIPE | Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error),
    }
    wait_for(control, deadline)?;
    let heard = spawn::receive_from(control)?;
    // It would come before the descriptors from now on, and take their room.
    rustix::net::sockopt::set_socket_passcred(control, false)?;
    match heard {
        (Some(Message::Here), Some(pid)) => Ok(Some(pid)),
        _ => Ok(None),
    }
}

/// Asks for everything, and takes it; `None` where it ended in the middle of that.
fn collect(control: BorrowedFd<'_>, deadline: Instant) -> Result<Option<Handed>, Errno> {
    match spawn::send(control, Message::Go) {
        Ok(()) => {}
        Err(Errno::PIPE | Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut handed = Handed::default();
    loop {
        wait_for(control, deadline)?;
        match spawn::receive(control, RecvFlags::empty())? {
            (Some(Message::Proxy), Some(socket)) => handed.proxy = Some(socket),
            (Some(Message::Sockets), Some(socket)) => handed.sockets = Some(socket),
            (Some(Message::Listener), Some(listener)) => handed.listener = Some(listener),
            (Some(Message::Kept(place)), Some(fd)) => {
                let place = usize::try_from(place).ok().and_then(|at| handed.kept.get_mut(at));
                if let Some(place) = place {
                    *place = Some(fd);
                }
            }
            // No descriptor is left here for what came along.
            (
                Some(Message::Proxy | Message::Sockets | Message::Listener | Message::Kept(_)),
                None,
            ) => return Err(Errno::MFILE),
            (Some(Message::Started(program)), _) => {
                handed.program = program;
                return Ok(Some(handed));
            }
            (Some(_), _) => {}
            (None, _) => return Ok(None),
        }
    }
}

fn wait_for(control: BorrowedFd<'_>, deadline: Instant) -> Result<(), Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        let mut entries = [PollFd::from_borrowed_fd(control, PollFlags::IN)];
        match poll(&mut entries, Some(&left)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn take_over(attended: Attended, door: Door, plan: &LaunchPlan) -> Result<Adopted, PlatformError> {
    let Attended { control, pidfd, identity, handed } = attended;
    let system = |error| failed(plan, error);
    let io = |error: std::io::Error| {
        PlatformError::system(format!("failed to take over `{}`", plan.id), error)
    };
    let mut kept = handed.kept.into_iter();
    let [output, errors, memo, filter, walls, heard] =
        std::array::from_fn::<_, { lasting::OWN }, _>(|_| kept.next().flatten());
    let kept = kept.map(|file| file.map(File::from)).collect();
    let file = |fd: Option<OwnedFd>| fd.map(File::from).ok_or_else(|| system(Errno::PROTO));
    let lasting = Lasting { door, memo: file(memo)?, heard: file(heard)? };
    let walls = lasting::contents(&file(walls)?).and_then(|bytes| lasting::walls::read(&bytes));
    let walls = walls.map_err(io)?;
    let memo = lasting.memo().map_err(io)?;
    let pipe = |fd: Option<OwnedFd>| fd.map(|fd| OutputPipe::new(fd.into())).transpose();
    let (stdout, stderr) = (pipe(output).map_err(io)?, pipe(errors).map_err(io)?);
    let filter = filter.map(|fd| lasting::filter(&File::from(fd))).transpose().map_err(io)?;
    let dialer = handed.sockets.map(dialer::Sockets::new).transpose()?;
    let gate = Gate {
        proxy: handed.proxy.map(Into::into),
        dialer: dialer.map(|dialer| Arc::new(dialer) as Arc<dyn Dialer>),
    };
    let age = age_of(identity.started);
    let listener = handed.listener.zip(filter);
    let program = handed.program;
    let taken = Taken { identity, pidfd, control, listener, program, age, lasting, walls };
    let running = LinuxRunning::again(taken, plan)?;
    Ok(Adopted { running: Box::new(running), stdout, stderr, gate, memo, age, kept })
}

/// Since a process was started, by the clock that its start time is of (proc_pid_stat(5), `starttime`).
fn age_of(started: u64) -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    );
    now.saturating_sub(super::processes::from_ticks(started))
}

/// Nobody is at the door. That is its end, since only the first process has it, and holds it as long as it lives.
fn gone(
    door: &Door,
    plan: &LaunchPlan,
    known: Option<&ProcessIdentity>,
    tree: Option<&Tree>,
) -> Result<Adoption, PlatformError> {
    if let Some(known) = known
        && lives(known).map_err(|error| failed(plan, error))?
    {
        let why = format!("process {} runs, and its door is gone", known.pid);
        return Ok(Adoption::Unknown(why));
    }
    let group = known.and_then(|known| known.group.clone());
    let group = group.or_else(|| tree.map(|tree| tree.path().join(&plan.id)));
    if let Some(group) = group
        && !cgroup::clear(&group, &plan.id)?
    {
        let why = format!("something holds its control group `{}`", group.display());
        return Ok(Adoption::Unknown(why));
    }
    door.remove()?;
    // Its limits on directories went with its locks.
    super::disk::sweep().unwrap_or(0);
    Ok(Adoption::Gone)
}

/// Whether a process is still the one that it was. One that closes its descriptors may be on its way out.
fn lives(known: &ProcessIdentity) -> Result<bool, Errno> {
    let number = i32::try_from(known.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = number else { return Ok(false) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(false),
        other => other?,
    };
    if started_at(known.pid)? != Some(known.started) {
        return Ok(false);
    }
    match wait_for(pidfd.as_fd(), Instant::now() + TO_GO) {
        Ok(()) => Ok(false),
        Err(Errno::TIMEDOUT) => Ok(true),
        Err(error) => Err(error),
    }
}

fn failed(plan: &LaunchPlan, error: Errno) -> PlatformError {
    PlatformError::system(format!("failed to take over `{}`", plan.id), error)
}

#[cfg(test)]
mod tests {
    use super::super::LinuxBackend;
    use super::super::tests::plan;
    use super::*;
    use crate::{Backend, HowEnded, Launched, Signal, StdioSet, Witness};
    use std::sync::{Arc, Mutex};
    use tokio::io::AsyncReadExt;

    fn lasting(script: &str, id: &str) -> LaunchPlan {
        let mut plan = plan(script);
        plan.id = format!("{id}-{:08x}", std::process::id());
        plan.lasting = Some(Token::random().unwrap());
        plan
    }

    /// A launch whose starter is gone, as far as the sandbox can tell.
    fn left(backend: &LinuxBackend, plan: &LaunchPlan) -> ProcessIdentity {
        let mut launched = backend.launch(plan, StdioSet::piped()).unwrap();
        let identity = launched.running.identity().unwrap();
        launched.running.detach(true);
        identity
    }

    fn taken(adoption: Adoption) -> Adopted {
        match adoption {
            Adoption::Taken(adopted) => *adopted,
            other => panic!("{other:?}"),
        }
    }

    fn doubt(adoption: Adoption) -> String {
        match adoption {
            Adoption::Unknown(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_was_left_goes_on_and_its_output_and_its_end_are_told_once_more() {
        let backend = LinuxBackend::new();
        let plan = lasting(
            "trap 'echo two; exit 7' TERM; echo one; while :; do sleep 0.02; done",
            "goes-on",
        );
        let Launched { mut running, mut stdout, .. } =
            backend.launch(&plan, StdioSet::piped()).unwrap();
        running.remember(b"a note").unwrap();
        let identity = running.identity().unwrap();
        let mut text = [0; 4];
        stdout.take().unwrap().read_exact(&mut text).await.unwrap();
        running.detach(true);
        drop(running);
        // By two starters one after the other.
        let mut adopted = taken(backend.adopt(&plan, Some(&identity)).unwrap());
        assert_eq!(adopted.running.identity(), Some(identity.clone()));
        adopted.running.detach(true);
        drop(adopted);
        let mut adopted = taken(backend.adopt(&plan, Some(&identity)).unwrap());
        assert_eq!(adopted.memo, b"a note");
        // Another program gets in as it did before.
        let mut another = plan.clone();
        another.command = ["/bin/sh", "-c", "hostname"].map(Into::into).to_vec();
        let entering = adopted.running.exec(&another, StdioSet::piped()).unwrap();
        let mut execution = entering.await.unwrap();
        let mut said = String::new();
        execution.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "inside\n");
        let told = Arc::new(Mutex::new(None));
        let heard = told.clone();
        adopted.running.witness(Witness::new(move |how| *heard.lock().unwrap() = Some(how)));
        adopted.running.signal(Signal::Terminate).unwrap();
        let ended = adopted.running.wait().await.unwrap();
        assert_eq!(ended.how, HowEnded::Exited(7));
        assert_eq!(*told.lock().unwrap(), Some(HowEnded::Exited(7)));
        let mut rest = String::new();
        adopted.stdout.unwrap().read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "two\n");
        assert!(matches!(backend.adopt(&plan, Some(&identity)).unwrap(), Adoption::Gone));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_that_nobody_saw_waits_to_be_told() {
        let backend = LinuxBackend::new();
        let plan = lasting("sleep 1000 & echo last; exit 5", "waits");
        let identity = left(&backend, &plan);
        for _ in 0..2 {
            let mut adopted = taken(backend.adopt(&plan, None).unwrap());
            assert_eq!(adopted.running.identity(), Some(identity.clone()));
            let mut text = String::new();
            adopted.stdout.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
            // Whoever doesn't wait for the end hasn't taken note of it.
            adopted.running.detach(true);
        }
        let mut adopted = taken(backend.adopt(&plan, Some(&identity)).unwrap());
        assert_eq!(adopted.running.wait().await.unwrap().how, HowEnded::Exited(5));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_it_wrote_is_kept_until_that_is_taken_in_though_its_end_is_noted() {
        let backend = LinuxBackend::new();
        let plan = lasting("echo last; exit 5", "unread");
        let mut launched = backend.launch(&plan, StdioSet::piped()).unwrap();
        let (noted, hears) = std::sync::mpsc::channel();
        let witness = Witness::new(move |how| noted.send(how).unwrap());
        launched.running.witness(witness.after(Box::pin(std::future::pending())));
        {
            let mut wait = launched.running.wait();
            let mut how = None;
            while how.is_none() {
                let moment = tokio::time::sleep(Duration::from_millis(10));
                tokio::select! { _ = &mut wait => panic!("it was let go"), () = moment => {} }
                how = hears.try_recv().ok();
            }
            assert_eq!(how, Some(HowEnded::Exited(5)));
        }
        launched.running.detach(true);
        drop(launched);
        let mut adopted = taken(backend.adopt(&plan, None).unwrap());
        let mut text = String::new();
        adopted.stdout.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "last\n");
        // What never comes back holds nothing up for long.
        let witness = Witness::new(drop).after(Box::pin(std::future::pending()));
        adopted.running.witness(witness);
        assert_eq!(adopted.running.wait().await.unwrap().how, HowEnded::Exited(5));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_does_not_know_the_token_or_expects_another_is_not_let_in() {
        let backend = LinuxBackend::new();
        let plan = lasting("exec sleep 1000", "strangers");
        let identity = left(&backend, &plan);
        let mut wrong = plan.clone();
        wrong.lasting = Some(Token::random().unwrap());
        let why = doubt(backend.adopt(&wrong, Some(&identity)).unwrap());
        assert_eq!(why, "it doesn't let this supervisor in");
        // The number is used again, or was always another's.
        for other in [
            ProcessIdentity { pid: std::process::id(), ..identity.clone() },
            ProcessIdentity { started: identity.started + 1, ..identity.clone() },
        ] {
            let why = doubt(backend.adopt(&plan, Some(&other)).unwrap());
            assert!(why.contains("answers for it"), "{why}");
        }
        let mut adopted = taken(backend.adopt(&plan, Some(&identity)).unwrap());
        adopted.running.kill().unwrap();
        assert_eq!(adopted.running.wait().await.unwrap().how, HowEnded::Signaled(9));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_whose_door_is_gone_is_left_alone_and_one_whose_init_is_killed_is_gone() {
        let backend = LinuxBackend::new();
        let plan = lasting("exec sleep 1000", "door");
        let identity = left(&backend, &plan);
        Door::of(&plan.id).unwrap().remove().unwrap();
        let why = doubt(backend.adopt(&plan, Some(&identity)).unwrap());
        assert!(why.ends_with("runs, and its door is gone"), "{why}");
        let pid = Pid::from_raw(identity.pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert!(matches!(backend.adopt(&plan, Some(&identity)).unwrap(), Adoption::Gone));
        // A number of a process that lives, with another start: a stranger's, which nobody touches.
        let other = ProcessIdentity { pid: std::process::id(), ..identity };
        assert!(matches!(backend.adopt(&plan, Some(&other)).unwrap(), Adoption::Gone));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_denied_call_that_the_starter_before_had_in_hand_fails_instead_of_waiting_for_ever() {
        let backend = LinuxBackend::new();
        if backend.support(crate::Probe::Quick).of(crate::Control::Syscalls)
            != crate::Availability::Enforced
        {
            println!("\nSKIP: seccomp: there is none here");
            return;
        }
        let mut plan = lasting("unshare -U true; echo $?", "in-hand");
        plan.controls.insert(crate::Control::Syscalls, crate::Decision::Enforce);
        let all = crate::syscall_names().map(str::to_owned);
        Arc::make_mut(&mut plan.syscalls).allow = all.filter(|name| name != "unshare").collect();
        let identity = left(&backend, &plan);
        {
            let door = Door::of(&plan.id).unwrap();
            let token = plan.lasting.unwrap();
            let Ok(mut attended) = attend(&door, token, Some(&identity), &plan) else {
                panic!("it is there");
            };
            let listener = attended.handed.listener.take().unwrap();
            let heard = File::from(attended.handed.kept[5].take().unwrap());
            // What the task that answers does, up to where it dies.
            let id = super::super::listener::take_one(listener.as_fd()).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&heard, &(id - 1).to_ne_bytes(), 0).unwrap();
        }
        let mut adopted = taken(backend.adopt(&plan, Some(&identity)).unwrap());
        let mut text = String::new();
        adopted.stdout.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(adopted.running.wait().await.unwrap().how, HowEnded::Exited(0));
        assert_ne!(text, "0\n");
        let mut told = String::new();
        adopted.stderr.unwrap().read_to_string(&mut told).await.unwrap();
        assert!(told.contains("Function not implemented"), "{told}");
    }
}
