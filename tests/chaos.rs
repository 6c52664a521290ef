//! The daemon may die at any moment, and the system may run out of what it needs: services go on, each once, and nothing of
//! what they wrote or of how they ended is lost.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![expect(clippy::disallowed_methods, reason = "the moment of a kill is nobody's event")]
#![expect(
    clippy::print_stdout,
    reason = "who looks at a failure wants to know what happened before"
)]

#[path = "chaos/check.rs"]
mod check;
#[path = "chaos/crew.rs"]
mod crew;
mod support;

use check::Missing;
use crew::Chaos;
use std::process::Command;

/// So many daemons are killed, unless `STOCKADE_CHAOS_KILLS` says otherwise, here or where this was compiled.
const KILLS: u64 = 25;

#[test]
fn daemons_are_killed_at_any_moment_and_nothing_is_lost_and_nothing_is_there_twice() {
    let kills = std::env::var("STOCKADE_CHAOS_KILLS").ok();
    let kills = kills.as_deref().or(option_env!("STOCKADE_CHAOS_KILLS"));
    let kills = kills.map_or(KILLS, |kills| kills.parse().unwrap());
    let mut chaos = Chaos::new();
    chaos.first().kill();
    for kill in 1..kills {
        let asks = chaos.dice.below(2) == 0;
        chaos.round(asks, kill % 4 == 0);
    }
    let mut last = chaos.daemon();
    last.answers();
    chaos.end(last, Missing::Nothing);
}

/// A small file system in memory, until it is dropped.
struct Mounted(String);

impl Mounted {
    fn small(place: String) -> Self {
        use nix::mount::{MsFlags, mount};
        let options = Some("size=6m,mode=0700");
        mount(Some("tmpfs"), place.as_str(), Some("tmpfs"), MsFlags::empty(), options).unwrap();
        Self(place)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Also while a test that failed still has it open.
        nix::mount::umount2(self.0.as_str(), nix::mount::MntFlags::MNT_DETACH).unwrap_or(());
    }
}

#[test]
fn on_a_full_disk_daemons_are_killed_too_and_all_goes_on_when_there_is_room() {
    if !support::is_root() {
        support::skip!("root: only root can mount a small file system");
    }
    let mut chaos = Chaos::new();
    let small = Mounted::small(chaos.scene.directory("state"));
    let daemon = chaos.first();
    let steady = chaos.steady();
    let rest = chaos.scene.at("state/rest");
    std::fs::write(&rest, vec![0; 8 << 20]).unwrap_err();
    chaos.tells("No space left on device");
    daemon.kill();
    for _ in 0..6 {
        chaos.round(false, false);
    }
    // One finds room while it runs, the other has it from the start.
    let mut daemon = chaos.daemon();
    daemon.answers();
    std::fs::remove_file(&rest).unwrap();
    chaos.goes_on();
    daemon.kill();
    let mut daemon = chaos.daemon();
    daemon.answers();
    chaos.goes_on();
    assert_eq!(chaos.steady(), steady);
    chaos.end(daemon, Missing::Some);
    drop(small);
}

/// Sets how many descriptors a process may have (prlimit(1)).
fn allow_descriptors(pid: u32, most: usize) {
    let mut command = Command::new("prlimit");
    command.arg("--pid").arg(pid.to_string()).arg(format!("--nofile={most}:4096"));
    assert!(command.status().unwrap().success());
}

#[test]
fn without_descriptors_launches_are_refused_and_nothing_is_lost() {
    let mut chaos = Chaos::new();
    let daemon = chaos.first();
    let steady = chaos.steady();
    let all = std::fs::read_dir(format!("/proc/{}/fd", daemon.child.id())).unwrap().count();
    allow_descriptors(daemon.child.id(), all + 3);
    chaos.tells("Too many open files");
    allow_descriptors(daemon.child.id(), 4096);
    chaos.goes_on();
    daemon.kill();
    // The next one has too few to take all of them over, which is left to one that has more.
    let few = all * 2 / 3;
    let mut daemon = chaos.daemon_by(&["prlimit", &format!("--nofile={few}:{few}")]);
    daemon.answers();
    chaos.tells("Too many open files");
    assert_eq!(chaos.steady(), steady, "{}", chaos.told());
    daemon.kill();
    let mut daemon = chaos.daemon();
    daemon.answers();
    chaos.settle();
    chaos.goes_on();
    chaos.forget();
    assert_eq!(chaos.steady(), steady, "{}", chaos.told());
    chaos.end(daemon, Missing::Nothing);
}

/// Moves the system's clock (clock_settime(2)).
fn move_clock(seconds: i64) {
    use nix::sys::time::TimeSpec;
    use nix::time::{ClockId, clock_gettime, clock_settime};
    let now = clock_gettime(ClockId::CLOCK_REALTIME).unwrap();
    let then = TimeSpec::new(now.tv_sec() + seconds, now.tv_nsec());
    clock_settime(ClockId::CLOCK_REALTIME, then).unwrap();
}

#[test]
fn the_clock_may_jump_and_nothing_ends_or_is_started_for_it() {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if !line.contains("stockade.job=") || !support::is_root() {
        support::skip!("own-clock: this system's clock isn't the test's to move");
    }
    const YEAR: i64 = 365 * 24 * 3600;
    let mut chaos = Chaos::new();
    let daemon = chaos.first();
    let steady = chaos.steady();
    for jump in [YEAR, -2 * YEAR] {
        move_clock(jump);
        chaos.goes_on();
    }
    move_clock(YEAR);
    daemon.kill();
    move_clock(-YEAR);
    let mut daemon = chaos.daemon();
    daemon.answers();
    chaos.goes_on();
    assert_eq!(chaos.steady(), steady);
    chaos.end(daemon, Missing::Nothing);
}

#[test]
fn a_daemon_has_all_descriptors_that_it_may_have_and_its_services_have_what_is_usual() {
    let chaos = Chaos::new();
    let web = "[services.web]\npolicy = \"base\"\ncommand = [\"bash\", \"-c\", \"ulimit -Sn; ulimit -Hn; sleep 1000\"]\n";
    chaos.scene.file("stockade.toml", web);
    let mut daemon = chaos.daemon_by(&["prlimit", "--nofile=100:4000"]);
    daemon.answers();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.child.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), ["4000", "4000"]);
    let wrote = || {
        let output = chaos.stockade(&["logs", "--state", "state"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    support::desk::eventually("its service says what it may have", || wrote().lines().count() == 2);
    assert_eq!(wrote(), "web | 100\nweb | 4000\n");
    assert!(chaos.stockade(&["down"]).output().unwrap().status.success());
    daemon.child.wait().unwrap();
}
