//! Services outlive their supervisor, by real processes: a supervisor is a process of its own here, which is killed.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "survival/dialogue.rs"]
mod dialogue;
mod support;
#[path = "survival/trouble.rs"]
mod trouble;

use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use stockade::platform::Control;
use stockade::supervisor::{Journal, Outcome, Stack, State, Status, Supervisor};
use support::{Scene, processes_with, signal};

/// A stack file and a state directory.
struct Desk {
    scene: Scene,
}

/// A service of a line of bash, under the policy that starts on any host.
fn service(name: &str, line: &str, rest: &str) -> String {
    format!(
        "[services.{name}]\npolicy = \"default\"\ncommand = [\"bash\", \"-c\", {line:?}]\n{rest}\n"
    )
}

const NEVER_AGAIN: &str = "restart = { policy = \"no\" }";

impl Desk {
    fn new(stack: &str) -> Self {
        let scene = Scene::new();
        scene.file("stockade.toml", stack);
        Self { scene }
    }

    fn state(&self) -> PathBuf {
        self.scene.path().join("state")
    }

    /// Whether it stands in the journal that something runs: before, it is a launch that may have been broken off.
    fn runs(&self) -> bool {
        let journal = std::fs::read_to_string(self.state().join("journal")).unwrap_or_default();
        journal.contains(r#""state":"running""#)
    }

    fn stack(&self) -> Stack {
        Stack::load(&self.scene.path().join("stockade.toml"), Path::new("/")).unwrap()
    }

    /// A supervisor in this process.
    async fn supervisor(&self) -> Supervisor {
        let journal = Journal::open(&self.state()).await.unwrap();
        Supervisor::resume(&self.stack(), journal, None).0
    }

    /// A supervisor in another process, that can be killed.
    fn other(&self, order: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_supervisor_until_it_is_killed"])
            .env("STOCKADE_TEST_DESK", self.scene.path())
            .env("STOCKADE_TEST_ORDER", order)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Lets another supervisor work until a file of the scene has what is wanted, and kills it.
    fn kill_when(&self, mut other: Child, is: impl Fn() -> bool) {
        wait_until("the other supervisor got so far", || {
            assert_eq!(other.try_wait().unwrap(), None, "the other supervisor ended by itself");
            is()
        });
        kill(&mut other);
    }
}

fn kill(other: &mut Child) {
    signal(other.id(), Signal::SIGKILL);
    other.wait().unwrap();
}

#[expect(clippy::disallowed_methods, reason = "nobody tells what another process has done")]
fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never was so: {what}");
}

/// What the other process does. In a run of the tests themselves it has nothing to supervise, and ends.
#[test]
fn a_supervisor_until_it_is_killed() {
    let desk = std::env::var_os("STOCKADE_TEST_DESK").map(PathBuf::from);
    // Who is killed removes nothing, so only who isn't makes one.
    let scratch = desk.is_none().then(Scene::new);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let place = desk.as_deref().or(scratch.as_ref().map(Scene::path)).unwrap();
        let stack = match &desk {
            Some(desk) => Stack::load(&desk.join("stockade.toml"), Path::new("/")).unwrap(),
            None => Desk::new("").stack(),
        };
        let journal = Journal::open(&place.join("state")).await.unwrap();
        let (supervisor, mut lines) = Supervisor::resume(&stack, journal, None);
        if desk.is_none() {
            return supervisor.wait().await.unwrap();
        }
        let service = async |name: &str| {
            let controller = supervisor.service(name).unwrap();
            controller.ready().await.unwrap();
            controller
        };
        // Ready is a program that is executed; what it does about signals it has done when it speaks.
        let mut speaks = async |name: &str| {
            while lines.next().await.is_some_and(|line| &*line.service != name) {}
            service(name).await
        };
        let order = std::env::var("STOCKADE_TEST_ORDER").unwrap_or_default();
        match order.split_once(' ') {
            Some(("stop", name)) => drop(speaks(name).await.stop().await.unwrap()),
            Some(("pause", name)) => speaks(name).await.pause().await.unwrap(),
            Some(("reexec", name)) => {
                let before = service(name).await.status();
                let told = place.join(format!("pid-{}", std::process::id()));
                if told.exists() {
                    std::fs::write(place.join("again"), format!("{:?}", before.pid)).unwrap();
                } else {
                    std::fs::write(told, format!("{:?}", before.pid)).unwrap();
                    let program = std::env::current_exe().unwrap();
                    let arguments = std::env::args_os().skip(1);
                    panic!("{}", stockade::supervisor::reexec(&program, arguments));
                }
            }
            _ => {}
        }
        while lines.next().await.is_some() {}
        std::future::pending::<()>().await;
    });
}

async fn reaches(supervisor: &Supervisor, service: &str, is: impl Fn(&Status) -> bool) -> Status {
    let controller = supervisor.service(service).unwrap();
    let reached = tokio::time::timeout(Duration::from_secs(60), controller.wait_for(is)).await;
    reached.unwrap_or_else(|_| panic!("{:?}", controller.status())).unwrap()
}

fn rests(status: &Status) -> bool {
    status.is_at_rest()
}

#[tokio::test(flavor = "current_thread")]
async fn a_service_goes_on_when_its_supervisor_is_killed_and_the_next_one_hears_how_it_ends() {
    let marker = format!("2000.{}", std::process::id());
    let line = format!("trap 'exit 7' TERM; while :; do sleep 0.02; done # {marker}");
    let desk = Desk::new(&service("web", &line, NEVER_AGAIN));
    desk.kill_when(desk.other(""), || !processes_with(&marker).is_empty());
    // What it is about to execute has its words for a moment, and comes after it.
    let program = || processes_with(&marker).first().copied();
    let before = program().unwrap();
    let supervisor = desk.supervisor().await;
    let status = reaches(&supervisor, "web", |status| status.ready).await;
    assert_eq!(status.generation.0, 1);
    assert_eq!(program(), Some(before));
    // It has set its trap when it sleeps.
    wait_until("it sleeps", || {
        let children = std::fs::read_to_string(format!("/proc/{before}/task/{before}/children"));
        children.is_ok_and(|children| !children.trim().is_empty())
    });
    signal(before, Signal::SIGTERM);
    let status = reaches(&supervisor, "web", rests).await;
    assert_eq!((status.state, status.why.as_str()), (State::Failed, "exited with 7"));
    assert_eq!(processes_with(&marker), Vec::<u32>::new());
}

/// A marker that no other test has.
fn marker(number: u32) -> String {
    format!("{number}.{}", std::process::id())
}

#[tokio::test(flavor = "current_thread")]
async fn an_end_that_no_supervisor_saw_is_told_with_all_that_was_written_before_it() {
    let marker = marker(2001);
    let line = format!("sleep 1; echo first; echo last >&2; exit 5 # {marker}");
    let desk = Desk::new(&service("job", &line, NEVER_AGAIN));
    desk.kill_when(desk.other(""), || desk.runs() && !processes_with(&marker).is_empty());
    wait_until("it has ended", || processes_with(&marker).is_empty());
    let journal = Journal::open(&desk.state()).await.unwrap();
    let (supervisor, mut lines) = Supervisor::resume(&desk.stack(), journal, None);
    let status = reaches(&supervisor, "job", rests).await;
    assert_eq!((status.generation.0, status.why.as_str()), (1, "exited with 5"));
    let report = status.report.unwrap();
    assert!(report.wall_time > Duration::from_millis(200), "{:?}", report.wall_time);
    assert!(!report.enforcement.is_empty() && report.started_at.starts_with("20"));
    let mut told = [lines.next().await.unwrap().text, lines.next().await.unwrap().text];
    told.sort();
    assert_eq!(told, ["first", "last"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_stop_goes_on_and_what_was_stopped_stays_so() {
    let marker = marker(2002);
    let line = format!("trap 'exec sleep {marker}' TERM; echo; while :; do sleep 0.02; done");
    let desk = Desk::new(&service("web", &line, "restart = { policy = \"always\" }"));
    let asleep = || {
        let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm"));
        processes_with(&marker).into_iter().any(|pid| name(pid).is_ok_and(|name| name == "sleep\n"))
    };
    desk.kill_when(desk.other("stop web"), asleep);
    let supervisor = desk.supervisor().await;
    let status = reaches(&supervisor, "web", rests).await;
    // It was asked once more, since nobody knew whether it had been.
    assert_eq!((status.state, status.why.as_str()), (State::Inactive, "asked to stop"));
    assert_eq!(status.last, Some(Outcome::Signalled(15)));
    drop(supervisor);
    let supervisor = desk.supervisor().await;
    assert_eq!(supervisor.service("web").unwrap().status().state, State::Inactive);
    // Only where the supervisor itself ended on purpose, it is one of those that are started.
    supervisor.close();
    drop(supervisor);
    let supervisor = desk.supervisor().await;
    let status = reaches(&supervisor, "web", |status| status.ready).await;
    assert_eq!(status.generation.0, 2);
    supervisor.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn attempts_and_delays_outlive_the_supervisor() {
    let restart = "restart = { delay = \"400ms\", factor = 1.0, jitter = 0.0, max_attempts = 2 }";
    let desk = Desk::new(&service("bad", "exit 9", restart));
    let supervisor = desk.supervisor().await;
    let waits = |status: &Status| status.state == State::Backoff;
    for attempts in 1..=2 {
        let status =
            reaches(&supervisor, "bad", |status| waits(status) && status.attempts == attempts);
        status.await;
    }
    let before = std::time::Instant::now();
    drop(supervisor);
    let supervisor = desk.supervisor().await;
    let status = supervisor.service("bad").unwrap().status();
    assert_eq!((status.state, status.attempts), (State::Backoff, 2));
    let status = reaches(&supervisor, "bad", rests).await;
    assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
    assert_eq!(status.why, "exited with 9; no more than 2 attempts are made");
    assert_eq!(status.generation.0, 3);
}

#[tokio::test(flavor = "current_thread")]
async fn where_the_init_was_killed_as_well_nobody_saw_the_end_and_it_is_started_again() {
    let marker = marker(2003);
    let desk = Desk::new(&service("web", &format!("echo; exec sleep {marker}"), ""));
    desk.kill_when(desk.other(""), || desk.runs() && !processes_with(&marker).is_empty());
    let program = processes_with(&marker)[0];
    let status = std::fs::read_to_string(format!("/proc/{program}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap();
    signal(parent.parse().unwrap(), Signal::SIGKILL);
    wait_until("the namespace is empty", || processes_with(&marker).is_empty());
    let supervisor = desk.supervisor().await;
    let again = |status: &Status| status.ready && status.generation.0 == 2;
    let status = reaches(&supervisor, "web", again).await;
    assert_eq!(status.last, Some(Outcome::Unobserved));
    supervisor.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn what_the_stack_has_no_more_is_ended_and_what_has_changed_is_started_anew() {
    let (old, new) = (marker(2004), marker(2005));
    let text = [
        service("leaves", &format!("echo; exec sleep {old}"), ""),
        service("changes", &format!("echo; exec sleep {old}"), ""),
    ];
    let desk = Desk::new(&text.concat());
    desk.kill_when(desk.other(""), || processes_with(&old).len() == 2);
    let changed =
        service("changes", &format!("echo; exec sleep {new}"), "limits = { open_files = 99 }");
    desk.scene.file("stockade.toml", &changed);
    let supervisor = desk.supervisor().await;
    let again = |status: &Status| status.ready && status.generation.0 == 2;
    reaches(&supervisor, "changes", again).await;
    while !processes_with(&old).is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    supervisor.kill().await.unwrap();
    drop(supervisor);
    assert!(
        !std::fs::read_to_string(desk.state().join("journal")).unwrap().contains("leaves\",\"id")
    );
}

#[tokio::test(flavor = "current_thread")]
async fn another_build_takes_the_place_of_the_supervisor_and_the_services_go_on() {
    let marker = marker(2006);
    let desk = Desk::new(&service("web", &format!("echo; exec sleep {marker}"), ""));
    let other = desk.other("reexec web");
    let pid = other.id();
    desk.kill_when(other, || desk.scene.path().join("again").exists());
    let read = |name: &str| std::fs::read_to_string(desk.scene.path().join(name)).unwrap();
    assert_eq!(read("again"), read(&format!("pid-{pid}")), "another run");
    let supervisor = desk.supervisor().await;
    let status = reaches(&supervisor, "web", |status| status.ready).await;
    assert_eq!(status.generation.0, 1);
    supervisor.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn what_stands_still_stands_still_again() {
    let marker = marker(2007);
    let desk = Desk::new(&service(
        "web",
        &format!("trap 'exit 6' TERM; echo; while :; do sleep 0.02; done # {marker}"),
        NEVER_AGAIN,
    ));
    let frozen = || {
        let first = processes_with(&marker).first().copied();
        let group = first.and_then(support::cgroup_of).map(|group| group.join("cgroup.events"));
        group.is_some_and(|events| {
            std::fs::read_to_string(events).unwrap_or_default().contains("frozen 1")
        })
    };
    let mut other = desk.other("pause web");
    wait_until("it runs", || !processes_with(&marker).is_empty());
    let place = processes_with(&marker).first().copied().and_then(support::cgroup_of);
    if place == support::cgroup_of(std::process::id()) {
        kill(&mut other);
        desk.supervisor().await.kill().await.unwrap();
        support::skip!("delegation: sandboxes have no cgroup of their own here");
    }
    desk.kill_when(other, frozen);
    let supervisor = desk.supervisor().await;
    let status = reaches(&supervisor, "web", |status| status.state == State::Paused).await;
    assert_eq!((status.generation.0, status.why.as_str()), (1, "asked to pause"));
    for _ in 0..6000 {
        if frozen() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(frozen(), "it goes on");
    let web = supervisor.service("web").unwrap();
    web.resume().await.unwrap();
    assert_eq!(web.stop().await.unwrap().last, Some(Outcome::Exited(6)));
}

/// Reads the parent's number of a process.
fn parent_of(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap();
    parent.parse().unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn a_stranger_with_the_number_of_what_ran_is_neither_taken_over_nor_signalled() {
    const NAME: &str = "a_stranger_with_the_number_of_what_ran_is_neither_taken_over_nor_signalled";
    const LAST: &str = "/proc/sys/kernel/ns_last_pid";
    if !support::is_root() {
        support::skip!("root: only root chooses the number of a process");
    }
    if !Path::new(LAST).exists() {
        support::skip!("checkpoint: this kernel lets nobody choose the number of a process");
    }
    // In a namespace of its own nobody else takes the number first.
    if std::env::var_os("STOCKADE_TEST_ALONE").is_none() {
        let mut alone = Command::new("unshare");
        alone.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        // Its first process reaps whoever has lost its parent.
        alone.args(["bash", "-c", "\"$0\" \"$@\"; exit"]);
        alone.arg(std::env::current_exe().unwrap()).args(["--exact", NAME, "--nocapture"]);
        let output = alone.env("STOCKADE_TEST_ALONE", "1").output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
        return;
    }
    let marker = marker(2009);
    let desk = Desk::new(&service("web", &format!("echo; exec sleep {marker}"), ""));
    desk.kill_when(desk.other(""), || desk.runs() && !processes_with(&marker).is_empty());
    let init = parent_of(processes_with(&marker)[0]);
    signal(init, Signal::SIGKILL);
    wait_until("its number is free", || !Path::new(&format!("/proc/{init}")).exists());
    let mut stranger = loop {
        std::fs::write(LAST, (init - 1).to_string()).unwrap();
        let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
        if other.id() == init {
            break other;
        }
        kill(&mut other);
    };
    let supervisor = desk.supervisor().await;
    let again = |status: &Status| status.ready && status.generation.0 == 2;
    let status = reaches(&supervisor, "web", again).await;
    assert_eq!(status.last, Some(Outcome::Unobserved));
    supervisor.kill().await.unwrap();
    assert_eq!(stranger.try_wait().unwrap(), None, "the stranger was signalled");
    kill(&mut stranger);
}

/// Seconds of processor time that a process has used (proc_pid_stat(5)).
fn busy(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split(' ').nth(11).map_or(0, |ticks| ticks.parse::<u64>().unwrap() / 100)
}

#[tokio::test(flavor = "current_thread")]
async fn limits_of_time_count_from_the_start_of_a_run_whoever_supervises_it() {
    let (wall, cpu) = (marker(2010), marker(2011));
    let limited = |name: &str, line: &str, limit: &str| {
        service(name, line, &format!("limits = {{ {limit}, grace = \"0s\" }}\n{NEVER_AGAIN}"))
    };
    let text = [
        limited("wall", &format!("exec sleep {wall}"), "wall_time = \"10s\""),
        limited("cpu", &format!("while :; do :; done # {cpu}"), "cpu_time = \"5s\""),
    ];
    let desk = Desk::new(&text.concat());
    let begin = std::time::Instant::now();
    let both = || [&wall, &cpu].iter().all(|marker| !processes_with(marker).is_empty());
    desk.kill_when(desk.other(""), || both() && desk.runs());
    // Nobody holds them meanwhile.
    let burner = processes_with(&cpu)[0];
    wait_until("both limits are over", || {
        busy(burner) >= 5 && begin.elapsed() >= Duration::from_secs(10)
    });
    assert!(both());
    let (before, spent) = (begin.elapsed(), Duration::from_secs(busy(burner)));
    let supervisor = desk.supervisor().await;
    for (name, limit) in [("wall", Control::WallTime), ("cpu", Control::CpuTime)] {
        let status = reaches(&supervisor, name, rests).await;
        assert_eq!((status.generation.0, status.last), (1, Some(Outcome::RunTimedOut)), "{name}");
        let report = status.report.unwrap();
        assert_eq!(report.limit, Some(limit));
        // Counted anew it would have had as much once more.
        let (used, allowed) = match limit {
            Control::CpuTime => {
                (report.cpu.user.unwrap_or_default(), spent + Duration::from_secs(5))
            }
            _ => (report.wall_time, before + Duration::from_secs(9)),
        };
        assert!(used < allowed, "{name}: {used:?}");
    }
}
