//! Several users inside: who they are outside, that no two sandboxes share one, and what it takes to become one of them.
//!
//! As root the host's numbers are Stockade's own or those of a range; as a user they are those of /etc/subuid. Root tries
//! both, with files of its own in the place of those two.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers in a test file for no tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Outcome, PYTHON, Scene, Started, is_root, lacks, listed, skip};

/// Numbers that no test machine has given to anybody.
const RANGE: u32 = 1_900_000_000;

/// A whole system's users, and a program that is the first of them and may become each.
const SYSTEM: [&str; 10] = [
    "--ids",
    "65536",
    "--user",
    "0",
    "--group",
    "0",
    "--keep-capability",
    "CAP_SETUID",
    "--keep-capability",
    "CAP_SETGID",
];

/// Ends the test where there can't be several users inside.
macro_rules! needs_ids {
    () => {
        if let Some(why) = lacks("identity.ids") {
            skip!("sub-ids: {why}");
        }
    };
}

/// Tries to become others, and says how it went.
const BECOMES: &str = "
import os, sys
def attempt(name, *arguments):
    try: getattr(os, name)(*arguments); return 'ok'
    except OSError as error: return error.strerror
print('groups', *os.getgroups())
print('setgroups', attempt('setgroups', [33, 50]))
print('setgid', attempt('setgid', 33))
print('setuid', attempt('setuid', 33))
print('is', *os.getresuid(), *os.getresgid(), *os.getgroups())
print('back', attempt('setuid', int(sys.argv[1])), attempt('setgid', int(sys.argv[1])))
print('other', attempt('setuid', 34))";

/// What [`BECOMES`] says, by its first words.
fn becomes(scene: &Scene, flags: &[&str], first: &str) -> BTreeMap<String, String> {
    said(&scene.run(flags, &[PYTHON, "-c", BECOMES, first]))
}

fn said(run: &Outcome) -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once(' ').map(|(name, how)| (name.into(), how.into()));
    run.text().lines().filter_map(pair).collect()
}

/// Lines of the map of a living process, as the host sees it: first inside, first outside, how many.
fn map(pid: u32, file: &str) -> Vec<[u32; 3]> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = |line: &str| {
        let numbers: Vec<u32> = line.split_whitespace().map(|it| it.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    };
    text.lines().map(line).collect()
}

/// A program that says a line and waits for its input to end.
const WAITS: [&str; 3] = ["sh", "-c", "echo here; read _ || :"];

/// Host ids of a living sandbox which are nobody else's: all but the caller's own.
fn taken(run: &Started) -> Vec<[u32; 2]> {
    let own = nix::unistd::geteuid().as_raw();
    let lines = map(run.program(), "uid_map").into_iter();
    let others = lines.filter(|[_, outside, count]| (*outside, *count) != (own, 1));
    others.map(|[_, outside, count]| [outside, outside + count]).collect()
}

#[track_caller]
fn are_disjoint(mut ranges: Vec<[u32; 2]>) {
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        assert!(pair[0][1] <= pair[1][0], "{pair:?} of {ranges:?}");
    }
}

/// `stockade` of a scene, as user 1000 with these sub ids and supplementary groups. For root.
fn as_user(scene: &Scene, sub_ids: &str, flags: &[&str], program: &[&str]) -> Command {
    fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let table = scene.file("sub-ids", sub_ids);
    let inner = scene.command(flags, program);
    let line = "mount --bind \"$0\" /etc/subuid && mount --bind \"$0\" /etc/subgid && \
                exec setpriv --reuid 1000 --regid 1000 --groups 1000,4 \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", line, &table]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.current_dir(scene.path()).env("XDG_RUNTIME_DIR", scene.at("run"));
    command.stdin(std::process::Stdio::null());
    if !fs::exists(scene.at("run")).unwrap() {
        let place = scene.directory("run");
        std::os::unix::fs::chown(place, Some(1000), Some(1000)).unwrap();
    }
    command
}

// What the program can become.

#[test]
fn a_program_becomes_another_user_and_never_itself_again() {
    needs_ids!();
    let scene = Scene::new();
    let went = becomes(&scene, &SYSTEM, "0");
    for step in ["setgroups", "setgid", "setuid"] {
        assert_eq!(went[step], "ok", "{went:?}");
    }
    assert_eq!(went["is"], "33 33 33 33 33 33 33 50");
    assert_eq!(went["back"], "Operation not permitted Operation not permitted");
    assert_eq!(went["other"], "Operation not permitted");
    // What user 0 loses with its number, another keeps: that is the way back.
    let ordinary = [&SYSTEM[..2], &SYSTEM[6..], &["--user", "1000", "--group", "1000"]].concat();
    let went = becomes(&scene, &ordinary, "1000");
    assert_eq!((went["setuid"].as_str(), went["back"].as_str()), ("ok", "ok ok"), "{went:?}");
}

#[test]
fn without_the_capabilities_there_are_users_and_none_can_be_become() {
    needs_ids!();
    let scene = Scene::new();
    let went = becomes(&scene, &SYSTEM[..6], "0");
    for step in ["setgroups", "setgid", "setuid"] {
        assert_eq!(went[step], "Operation not permitted", "{went:?}");
    }
    // Each alone gives its own half.
    let went = becomes(&scene, &SYSTEM[..8], "0");
    assert_eq!(
        (went["setgid"].as_str(), went["setuid"].as_str()),
        ("Operation not permitted", "ok")
    );
}

#[test]
fn without_ids_there_is_nobody_to_become() {
    let scene = Scene::new();
    let went = becomes(&scene, &SYSTEM[2..], "0");
    assert_eq!(
        (went["setgid"].as_str(), went["setuid"].as_str()),
        ("Invalid argument", "Invalid argument")
    );
}

#[test]
fn every_user_inside_is_another_one_outside() {
    needs_ids!();
    let scene = Scene::new();
    let run = Started::new(scene.command(&SYSTEM, &WAITS));
    let (users, groups) = (map(run.program(), "uid_map"), map(run.program(), "gid_map"));
    let own = nix::unistd::geteuid().as_raw();
    if own == 0 {
        let [[inside, outside, count]] = users[..] else { panic!("{users:?}") };
        assert_eq!((inside, count, outside % 65_536), (0, 65_536, 0));
        assert!((0x7100_0000..0x7f00_0000).contains(&outside), "{users:?}");
        assert_eq!(groups, users);
    } else {
        let [first, [inside, outside, count]] = users[..] else { panic!("{users:?}") };
        assert_eq!((first, inside, count), ([0, own, 1], 1, 65_535));
        assert!(outside >= 100_000, "{users:?}");
        assert_eq!(groups.len(), 2);
    }
    let run = run.finish(&scene).expect_code(0);
    assert_eq!(run.reported("/enforcement/identity.ids/state"), "enforced");
    let how = run.reported("/enforcement/identity.ids/how").as_str().unwrap();
    assert!(how.contains(&users.last().unwrap()[1].to_string()), "{how}");
    assert_eq!(run.reported("/enforcement/identity.groups/state"), "enforced");
    // Without the key there is one.
    let run = Started::new(scene.command(&[], &WAITS));
    assert_eq!(map(run.program(), "uid_map")[0][2], 1);
    let run = run.finish(&scene).expect_code(0);
    assert!(run.report["enforcement"].get("identity.ids").is_none(), "{}", run.told());
}

// Nobody else's.

#[test]
fn living_sandboxes_share_no_id() {
    needs_ids!();
    let scenes: Vec<Scene> = (0..6).map(|_| Scene::new()).collect();
    let flags = |number: usize| match number {
        0..3 => vec!["--ids", "65536", "--user", "0", "--group", "0"],
        3..5 => vec!["--ids", "4096", "--user", "0", "--group", "0"],
        _ => vec![],
    };
    let start =
        |(number, scene): (usize, &Scene)| Started::new(scene.command(&flags(number), &WAITS));
    let runs: Vec<Started> = scenes.iter().enumerate().map(start).collect();
    are_disjoint(runs.iter().flat_map(taken).collect());
    for (run, scene) in runs.into_iter().zip(&scenes) {
        run.finish(scene).expect_code(0);
    }
}

#[test]
fn a_block_is_free_again_when_its_sandbox_ends_and_never_before() {
    if !is_root() {
        skip!("root: the range of this test isn't the user's");
    }
    let scene = Scene::new();
    // Room for one.
    let range = format!("{RANGE}-{}", RANGE + 9);
    let flags = ["--ids", "10", "--user", "0", "--group", "0", "--id-range", &range];
    let (first, other) = (Started::new(scene.command(&flags, &WAITS)), Scene::new());
    assert_eq!(map(first.program(), "uid_map"), [[0, RANGE, 10]]);
    let told = format!("living sandboxes have all of `identity.range` {range}");
    other.run(&flags, &["true"]).expect_refusal(&[&told, "hint: wait until one ends"]);
    // One id out of it is no less taken.
    let single = format!("{}-{}", RANGE + 5, RANGE + 5);
    other.run(&["--id-range", &single], &["true"]).expect_refusal(&["living sandboxes have all"]);
    // Also when the starter can't say goodbye.
    first.signal(nix::sys::signal::Signal::SIGKILL);
    let ended = first.finish(&scene);
    assert_eq!(ended.status.code(), None);
    let run = other.run(&["--id-range", &single], &["true"]).expect_code(0);
    let how = run.reported("/enforcement/identity.user/how").as_str().unwrap();
    assert!(how.contains(&format!("as host user {} ", RANGE + 5)), "{how}");
}

#[test]
fn two_hundred_in_a_row_get_the_one_block_there_is() {
    if !is_root() {
        skip!("root: the range of this test isn't the user's");
    }
    let scene = Scene::new();
    let range = format!("{}-{}", RANGE + 500, RANGE + 509);
    let flags = ["--ids", "10", "--user", "0", "--group", "0", "--id-range", &range];
    for _ in 0..200 {
        scene.run(&flags, &["true"]).expect_code(0);
    }
}

#[test]
fn many_at_once_get_each_a_block_and_one_more_gets_none() {
    if !is_root() {
        skip!("root: the range of this test isn't the user's");
    }
    const MOST: u32 = 12;
    let first = RANGE + 1000;
    let range = format!("{first}-{}", first + MOST * 8 - 1);
    let flags = ["--ids", "8", "--user", "0", "--group", "0", "--id-range", &range];
    let scenes: Vec<Scene> = (0..MOST).map(|_| Scene::new()).collect();
    let runs: Vec<Started> = std::thread::scope(|threads| {
        let start =
            |scene| threads.spawn(move || Started::new(Scene::command(scene, &flags, &WAITS)));
        let started: Vec<_> = scenes.iter().map(start).collect();
        started.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut firsts: Vec<u32> = runs.iter().map(|run| map(run.program(), "uid_map")[0][1]).collect();
    firsts.sort_unstable();
    let all: Vec<u32> = (0..MOST).map(|number| first + number * 8).collect();
    assert_eq!(firsts, all);
    Scene::new().run(&flags, &["true"]).expect_refusal(&["living sandboxes have all"]);
    for (run, scene) in runs.into_iter().zip(&scenes) {
        run.finish(scene).expect_code(0);
    }
}

#[test]
fn a_users_sandboxes_divide_its_sub_ids() {
    if !is_root() {
        skip!("root: sub ids are written for this test");
    }
    let (scene, other) = (Scene::new(), Scene::new());
    // Room for two; each has one of its caller's own besides.
    let sub_ids = "1000:300000:20\n";
    let flags = ["--ids", "10", "--user", "3", "--group", "3"];
    // Both in one runtime directory, as one user has it.
    let started = |program: &[&str]| as_user(&scene, sub_ids, &flags, program);
    let first = Started::new(started(&WAITS));
    let second = Started::new(started(&WAITS));
    let maps = [&first, &second].map(|run| map(run.program(), "uid_map"));
    for map in &maps {
        assert_eq!((map.len(), map[1]), (3, [3, 1000, 1]), "{maps:?}");
    }
    let mut firsts = maps.map(|map| map[0][1]);
    firsts.sort_unstable();
    assert_eq!(firsts, [300_000, 300_009]);
    let mut third = started(&["true"]);
    third.env("XDG_RUNTIME_DIR", scene.at("run"));
    other.finish(third).expect_refusal(&[
        "identity.ids can't be enforced here: living sandboxes of the caller have all users of `/etc/subuid`",
        "hint: ask for fewer with `identity.ids`, or: ",
    ]);
    first.finish(&scene);
    second.finish(&scene);
}

// Who may say which.

#[test]
fn a_range_that_belongs_to_somebody_is_refused() {
    if !is_root() {
        skip!("root: only root's sandboxes can have any range");
    }
    let scene = Scene::new();
    let run = |sub_ids: &str, range: &str| {
        let inner = scene.command(&["--id-range", range], &["true"]);
        let table = scene.file("sub-ids", sub_ids);
        let line = "mount --bind \"$0\" /etc/subuid && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", line, &table]);
        command.arg(inner.get_program()).args(inner.get_args()).current_dir(scene.path());
        scene.finish(command)
    };
    let range = format!("{}-{}", RANGE + 2000, RANGE + 2999);
    let theirs = format!("somebody:{}:5\n", RANGE + 2999);
    run(&theirs, &range).expect_refusal(&[
        &format!("`identity.range` {range} has ids of `somebody` in `/etc/subuid`"),
        "hint: name numbers that no account has",
    ]);
    run(&theirs.replace("somebody", "stockade"), &range).expect_code(0);
    run("", &range).expect_code(0);
    run("", "1000-2000").expect_refusal(&["--id-range", "`1000-2000` has numbers of the system's"]);
}

#[test]
fn a_user_without_sub_ids_is_refused_with_the_remedy() {
    if !is_root() {
        skip!("root: sub ids are taken away for this test");
    }
    let scene = Scene::new();
    let run =
        |sub_ids: &str, flags: &[&str]| scene.finish(as_user(&scene, sub_ids, flags, &["true"]));
    run("", &["--ids", "10"]).expect_refusal(&[
        "identity.ids can't be enforced here: `/etc/subuid` has no ids for the caller",
        "--degrade identity.ids",
    ]);
    run("1000:300000:8\n", &["--ids", "10", "--user", "0"]).expect_refusal(&[
        "9 users are needed beside the caller's own, and `/etc/subuid` has 8 in a row",
    ]);
    run("1000:300000:8\n", &["--ids", "5", "--user", "0", "--id-range", "300100-300200"])
        .expect_refusal(&["`/etc/subuid` has 0 in a row within `identity.range` 300100-300200"]);
    run("1000:300000:8\n", &["--id-range", "300000-300007"])
        .expect_refusal(&["`identity.range` has no use here"]);
    // Given up by name: it starts with one, and the report says so.
    let run = run("", &["--ids", "10", "--degrade", "identity.ids"]).expect_code(0);
    let told = &run.reported("/enforcement")["identity.ids"];
    assert_eq!(told["state"], "unavailable", "{}", run.told());
}

#[test]
fn where_setuid_programs_have_no_power_it_is_told_beforehand() {
    needs_ids!();
    let scene = Scene::new();
    let flags = ["--ids", "5", "--user", "0"];
    let without = |mut command: Command| {
        let mut bound = Command::new("setpriv");
        bound.arg("--no-new-privs").arg(command.get_program()).args(command.get_args());
        bound.current_dir(scene.path()).env("XDG_RUNTIME_DIR", scene.at("run"));
        command = bound;
        scene.finish(command)
    };
    let command = || match is_root() {
        true => as_user(&scene, "1000:300000:8\n", &flags, &["true"]),
        false => scene.command(&flags, &["true"]),
    };
    without(command()).expect_refusal(&["`newuidmap`", "no_new_privs is set"]);
    scene.finish(command()).expect_code(0);
}

// Groups, files, signals.

#[test]
fn a_user_s_groups_stay_outside_when_there_are_ids() {
    if !is_root() {
        skip!("root: groups are given for this test");
    }
    let scene = Scene::new();
    let groups = |flags: &[&str]| {
        let code = "import os; print(*os.getgroups())";
        let run = scene.finish(as_user(&scene, "1000:300000:8\n", flags, &[PYTHON, "-c", code]));
        (run.text().trim().to_owned(), run.reported("/enforcement/identity.groups/state").clone())
    };
    let (inside, state) = groups(&["--ids", "5", "--user", "0", "--group", "0"]);
    assert_eq!((inside.as_str(), state.as_str()), ("", Some("enforced")));
    // Without sub ids the kernel lets nobody drop them.
    let (inside, state) = groups(&[]);
    assert_eq!(state, "degraded");
    assert!(inside.split(' ').any(|group| group == "65534"), "{inside}");
}

#[test]
fn files_of_other_users_belong_to_their_host_ids_or_cant_be_made() {
    needs_ids!();
    let scene = Scene::new();
    let out = scene.directory("out");
    fs::set_permissions(&out, fs::Permissions::from_mode(0o777)).unwrap();
    let code = "
import os
open('out/first', 'w').close()
os.setgid(33); os.setuid(33)
try: open('out/other', 'w').close(); print('made')
except OSError as error: print(error.strerror)";
    let run = scene.python(&[&SYSTEM[..], &["--write", "out"]].concat(), code);
    let owner = |name: &str| fs::metadata(scene.at(name)).map(|it| it.uid());
    assert_eq!(owner("out/first").unwrap(), nix::unistd::geteuid().as_raw());
    if is_root() {
        assert_eq!(run.text(), "Value too large for defined data type\n", "{}", run.told());
        owner("out/other").unwrap_err();
    } else {
        assert_eq!(run.text(), "made\n", "{}", run.told());
        assert!(owner("out/other").unwrap() >= 100_000);
        // Its directory is the caller's, who can take it away.
        fs::remove_file(scene.at("out/other")).unwrap();
    }
}

#[test]
fn a_system_of_roots_keeps_the_owners_of_its_files() {
    if !is_root() {
        skip!("root: files of several owners are made");
    }
    if let Some(why) = lacks("filesystem.overlay") {
        skip!("overlay: {why}");
    }
    let scene = Scene::new();
    for name in ["image", "image/proc", "image/dev", "image/tmp", "image/usr", "image/srv"] {
        scene.directory(name);
    }
    for link in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), scene.at(&format!("image/{link}")))
            .unwrap();
    }
    for (name, owner) in [("image/srv/of-33", 33), ("image/srv/of-0", 0)] {
        scene.file(name, "before\n");
        fs::set_permissions(scene.at(name), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(scene.at(name), Some(owner), Some(owner)).unwrap();
    }
    let code = "
import os
print(*(os.stat('/srv/of-%d' % owner).st_uid for owner in (0, 33)))
os.setgid(33); os.setuid(33)
for owner in 0, 33:
    try: open('/srv/of-%d' % owner, 'w').write('after'); print('written')
    except OSError as error: print(error.strerror)
print(os.stat('/srv/of-33').st_uid)";
    let root = ["--root", "image", "--read", "/usr", "--overlay"];
    let run = |flags: &[&str], overlay: &str| {
        scene.python(&[&root[..], &[overlay], flags].concat(), code)
    };
    run(&SYSTEM, "discard").expect_text("0 33\nPermission denied\nwritten\n33\n");
    scene.directory("changes");
    let kept = scene.at("changes/kept");
    run(&SYSTEM, &kept).expect_text("0 33\nPermission denied\nwritten\n33\n");
    // What is kept belongs to whom it belongs in the system, and that has stayed as it was.
    let output = Command::new("find").args([&kept, "-name", "of-33", "-printf", "%U\n"]).output();
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "33\n");
    assert_eq!(fs::read_to_string(scene.at("image/srv/of-33")).unwrap(), "before\n");
    // With one id the owner is the program, and everybody else nobody.
    let one = scene.python(
        &[&root[..], &["discard", "--user", "0", "--group", "0"]].concat(),
        "import os; print(*(os.stat('/srv/of-%d' % owner).st_uid for owner in (0, 33)))",
    );
    one.expect_text("0 65534\n");
}

#[test]
fn a_program_that_became_another_user_is_still_told_to_stop() {
    needs_ids!();
    let scene = Scene::new();
    let code = "
import os, signal
def stop(*_): os.write(1, b'stopped\\n'); os._exit(7)
signal.signal(signal.SIGTERM, stop)
os.setgid(33); os.setuid(33)
print('ready', flush=True)
while True: signal.pause()";
    let mut run = Started::new(
        scene.command(&[&SYSTEM[..], &["--grace", "30s"]].concat(), &[PYTHON, "-c", code]),
    );
    let before = Instant::now();
    run.signal(nix::sys::signal::Signal::SIGTERM);
    let line = run.line();
    let run = run.finish(&scene);
    assert_eq!(line, "stopped", "{}", run.told());
    run.expect_code(7);
    assert!(before.elapsed() < Duration::from_secs(20));
    // And ended where it doesn't listen.
    let deaf = code.replace("stop)", "signal.SIG_IGN)");
    let flags = [&SYSTEM[..], &["--wall-time", "1s", "--grace", "100ms"]].concat();
    scene.python(&flags, &deaf).expect_code(124);
}

#[test]
fn the_init_has_the_one_right_that_this_takes_and_only_then() {
    needs_ids!();
    let scene = Scene::new();
    let rights = |name: &str, flags: &[&str]| {
        let flags = [&["--name", name], flags].concat();
        let run = Started::new(scene.command(&flags, &WAITS));
        // By then it has given the others away; the program may speak before.
        listed(name);
        let first = support::only_child(run.child.id());
        let status = fs::read_to_string(format!("/proc/{first}/status")).unwrap();
        run.finish(&scene).expect_code(0);
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        u64::from_str_radix(effective.unwrap().trim(), 16).unwrap()
    };
    assert_eq!(rights("init-of-many", &SYSTEM), 1 << 5);
    assert_eq!(rights("init-of-one", &[]), 0);
}

#[test]
fn a_forbidden_call_of_another_user_is_denied_told_and_ends_it() {
    needs_ids!();
    let scene = Scene::new();
    let code = "
import ctypes, os
os.setgid(33); os.setuid(33)
print(ctypes.CDLL(None, use_errno=True).unshare(0x10000000), flush=True)";
    let run = scene.python(&SYSTEM, code);
    assert_eq!(run.text(), "-1\n", "{}", run.told());
    assert!(format!("{}", run.reported("/denials")).contains("unshare"), "{}", run.told());
    let kill = [&SYSTEM[..], &["--on-violation", "kill"]].concat();
    let run = scene.python(&kill, code).expect_code(159);
    assert_eq!(run.stdout, b"", "{}", run.told());
}
