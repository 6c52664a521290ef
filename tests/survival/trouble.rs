//! A full disk, and supervisors that are killed at any moment.

use super::{Desk, NEVER_AGAIN, kill, marker, reaches, rests, service};
use crate::support::{self, Scene, processes_with, signal};
use nix::sys::signal::Signal;
use std::path::Path;
use std::time::Duration;
use stockade::supervisor::{Outcome, State};

#[tokio::test(flavor = "current_thread")]
async fn on_a_full_disk_nothing_new_is_started_and_what_runs_is_not_lost() {
    if !support::is_root() {
        support::skip!("root: only root can mount a small file system");
    }
    let marker = marker(2008);
    // Ends are trouble of another kind than that it can't be launched, which is tried twice.
    let again = "enabled = false\nrestart = { policy = \"always\", delay = \"1ms\", factor = 1.0, \
                 start_attempts = 2, max_attempts = 0 }";
    let text = [
        service("runs", &format!("echo; exec sleep {marker}"), NEVER_AGAIN),
        service("short", "exit 1", again),
    ];
    let desk = Desk::new(&text.concat());
    let state = desk.scene.directory("state");
    let small = Mounted::small(&state);
    let supervisor = desk.supervisor().await;
    reaches(&supervisor, "runs", |status| status.ready).await;
    std::fs::write(format!("{state}/rest"), vec![0; 2 << 20]).unwrap_err();
    let short = supervisor.service("short").unwrap();
    short.start().await.unwrap();
    // What was set aside covers some more runs, but isn't used up by them.
    let status = reaches(&supervisor, "short", |status| status.state == State::Failed).await;
    assert!(status.why.contains("No space left on device"), "{}", status.why);
    assert!(status.why.contains("failed to write `"), "{}", status.why);
    // The end of what runs is noted all the same.
    signal(processes_with(&marker)[0], Signal::SIGKILL);
    reaches(&supervisor, "runs", rests).await;
    drop((short, supervisor));
    let journal = std::fs::read_to_string(format!("{state}/journal")).unwrap();
    assert!(journal.contains("\"signal\":9"), "{journal}");
    std::fs::remove_file(format!("{state}/rest")).unwrap();
    let supervisor = desk.supervisor().await;
    let status = supervisor.service("runs").unwrap().status();
    assert_eq!((status.state, status.last), (State::Failed, Some(Outcome::Signalled(9))));
    let short = supervisor.service("short").unwrap();
    let before = short.status().generation.0;
    short.start().await.unwrap();
    reaches(&supervisor, "short", |status| status.generation.0 > before + 2).await;
    supervisor.kill().await.unwrap();
    drop((short, supervisor));
    drop(small);
}

/// A small file system in memory, until it is dropped.
struct Mounted(String);

impl Mounted {
    fn small(place: &str) -> Self {
        use nix::mount::{MsFlags, mount};
        let options = Some("size=1m,mode=0700");
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), options).unwrap();
        Self(place.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Also while a test that failed still has it open.
        nix::mount::umount2(self.0.as_str(), nix::mount::MntFlags::MNT_DETACH).unwrap_or(());
    }
}

/// A bounded random number, from the system's, as the library has its own.
fn chance(below: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8) % below
}

#[tokio::test(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "the moment of a kill is nobody's event")]
async fn a_hundred_kills_at_any_moment_lose_no_end_and_never_make_two_of_one() {
    let scene = Scene::new();
    let alive = scene.directory("alive");
    // Whoever finds the lock taken is a second copy, and says so.
    let once = |name: &str, rest: &str| {
        format!(
            "exec 9>>{alive}/{name}.lock; flock -n 9 || echo {name} >> {alive}/two; \
             echo >> {alive}/{name}.starts; {rest}"
        )
    };
    let always = "restart = { policy = \"always\", delay = \"1ms\", factor = 1.0, start_attempts = 0, max_attempts = 0 }";
    let rest = format!("{always}\nfilesystem = {{ write = [{alive:?}] }}");
    let always = rest.as_str();
    let text = [
        service("steady", &once("steady", "while :; do sleep 0.05; done"), always),
        service("short", &once("short", "sleep 0.0$((RANDOM % 9)); exit 4"), always),
        service("child", &once("child", "sleep 0.03 & wait; exit 5"), always),
    ];
    let desk = Desk::new(&text.concat());
    let journal = || std::fs::read_to_string(desk.state().join("journal")).unwrap_or_default();
    // Kills are spread over twice the time in which a supervisor begins to run programs here.
    let begin = std::time::Instant::now();
    let first = desk.other("");
    desk.kill_when(first, || Path::new(&alive).join("child.starts").exists());
    let most = u64::try_from(begin.elapsed().as_millis()).unwrap().max(125) * 2;
    for _ in 0..100 {
        let mut other = desk.other("");
        std::thread::sleep(Duration::from_millis(chance(most)));
        assert_eq!(other.try_wait().unwrap(), None, "it ended by itself: {}", journal());
        kill(&mut other);
        assert!(!journal().contains("unobserved"), "{}", journal());
    }
    let supervisor = desk.supervisor().await;
    let steady = reaches(&supervisor, "steady", |status| status.ready).await;
    assert_eq!(steady.last, None, "{}", steady.why);
    for (name, code) in [("short", 4), ("child", 5)] {
        let status = supervisor.service(name).unwrap().status();
        assert_eq!(status.last, Some(Outcome::Exited(code)), "{}", status.why);
    }
    supervisor.kill().await.unwrap();
    assert!(!Path::new(&alive).join("two").exists(), "there were two");
    let starts =
        |name: &str| std::fs::read_to_string(format!("{alive}/{name}.starts")).unwrap().len();
    assert_eq!(starts("steady"), 1);
    for name in ["short", "child"] {
        let generation = supervisor.service(name).unwrap().status().generation.0;
        let starts = u64::try_from(starts(name)).unwrap();
        println!("{name}: {starts} starts in {generation} runs");
        // Runs whose launch was broken off have a number and no start.
        assert!(starts <= generation && starts > 5, "{starts} starts in {generation} runs");
    }
}
