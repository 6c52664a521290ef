//! Paths that a wall keeps from a program are told: which, by which wall, and the line that would allow it; and only those.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use serde_json::Value;
use std::fs;
use support::{Outcome, PYTHON, Scene, lacks, skip, untold};

/// Tries each thing, and prints what became of it.
const TRY: &str = "
import os
def attempt(what):
    try: what(); print('done')
    except OSError as error: print(os.strerror(error.errno))
";

/// A place with a file that can be read, one that can't, and one to write to; outside of it one that isn't shown.
struct Place {
    scene: Scene,
    far: Scene,
}

impl Place {
    fn new() -> Self {
        let (scene, far) = (Scene::new(), Scene::new());
        for name in ["data", "out", "empty"] {
            scene.directory(name);
        }
        for name in ["data/file", "data/key", "empty/file"] {
            scene.file(name, "text\n");
        }
        far.file("file", "text\n");
        Self { scene, far }
    }

    fn run(&self, flags: &[&str], code: &str) -> Outcome {
        let flags = [&["--trace-denials", "-v", "--read-optional", "/etc"], flags].concat();
        self.scene.python(&flags, &format!("{TRY}{code}"))
    }
}

/// What was denied of files, how often, and the line that would allow it.
fn paths(run: &Outcome) -> Vec<(String, u64, Option<String>)> {
    let all = run.reported("/denials").as_array().unwrap();
    let own = all.iter().filter(|one| one["wall"] == "view" || one["wall"] == "access_rules");
    let told = |one: &Value| {
        let text = |name: &str| one[name].as_str().map(str::to_owned);
        (text("what").unwrap(), one["times"].as_u64().unwrap(), text("allow"))
    };
    own.map(told).collect()
}

#[test]
fn each_denial_is_told_and_the_line_that_is_told_allows_it() {
    let place = Place::new();
    if let Some(why) = untold(&place.scene) {
        skip!("{why}");
    }
    let (at, far) = (|name: &str| place.scene.at(name), place.far.at("file"));
    let beyond = place.far.path().to_str().unwrap().to_owned();
    let masks = ["--deny", "data/key", "--hide", "empty"];
    let no_mask: [&str; 0] = [];
    for (flags, attempt, what, key, named) in [
        (&no_mask[..], format!("open('{far}')"), format!("reading {far}"), "read", far.clone()),
        (&no_mask, format!("os.stat('{far}')"), format!("reading {far}"), "read", far.clone()),
        (
            &no_mask,
            format!("os.chdir('{beyond}')"),
            format!("reading {beyond}"),
            "read",
            beyond.clone(),
        ),
        (
            &no_mask,
            "open('out/new', 'w')".into(),
            format!("writing {}", at("out/new")),
            "write",
            at("out"),
        ),
        (
            &no_mask,
            "os.mkdir('out/new')".into(),
            format!("writing {}", at("out/new")),
            "write",
            at("out"),
        ),
        (
            &no_mask,
            "os.utime('data/file')".into(),
            format!("writing {}", at("data/file")),
            "write",
            at("data/file"),
        ),
        (
            &no_mask,
            "os.truncate('data/file', 0)".into(),
            format!("writing {}", at("data/file")),
            "write",
            at("data/file"),
        ),
        (
            &no_mask,
            "os.unlink('data/file')".into(),
            format!("writing {}", at("data/file")),
            "write",
            at("data"),
        ),
        (
            &masks,
            "open('data/key')".into(),
            format!("reading {}", at("data/key")),
            "read",
            at("data/key"),
        ),
        (
            &masks,
            "open('empty/file')".into(),
            format!("reading {}", at("empty/file")),
            "read",
            at("empty"),
        ),
    ] {
        let code = format!("attempt(lambda: {attempt})");
        let lower =
            place.scene.file("lower.toml", "extends = \"default\"\n[filesystem]\nread = [\".\"]\n");
        let mut policy = fs::read_to_string(&lower).unwrap();
        for mask in flags.chunks(2) {
            policy += &format!("{} = [\"./{}\"]\n", mask[0].trim_start_matches('-'), mask[1]);
        }
        fs::write(&lower, policy).unwrap();
        let run = place.run(&["-p", &lower], &code);
        assert_ne!(run.text(), "done\n", "{attempt}: {}", run.told());
        let line = format!("[filesystem] {key} = [\"{named}\"]");
        assert_eq!(paths(&run), [(what.clone(), 1, Some(line.clone()))], "{attempt}{}", run.told());
        let told = format!("stockade: view: denied {what} once: ");
        let would = format!("; `{line}` would allow it");
        assert!(run.stderr.contains(&told) && run.stderr.contains(&would), "{}", run.told());
        // Taking the suggestion, it passes, and nothing is denied.
        let text = format!("extends = \"./lower.toml\"\n{}\n", line.replacen("] ", "]\n", 1));
        let mended = place.scene.file("mended.toml", &text);
        let run = place.run(&["-p", &mended], &code);
        assert_eq!(run.text(), "done\n", "{attempt}: {line}{}", run.told());
        assert_eq!(paths(&run), [], "{attempt}: {line}");
        // What it did is undone for the next.
        for made in ["out/new", "data/new"] {
            fs::remove_file(at(made)).or_else(|_| fs::remove_dir(at(made))).unwrap_or(());
        }
        place.scene.file("data/file", "text\n");
    }
}

#[test]
fn without_the_flag_nobody_looks() {
    let place = Place::new();
    let far = place.far.at("file");
    let run = place.scene.python(&[], &format!("{TRY}attempt(lambda: open('{far}'))"));
    assert_eq!(run.text(), "No such file or directory\n");
    assert_eq!(paths(&run), [], "{}", run.told());
}

#[test]
fn what_is_allowed_or_nowhere_is_no_denial() {
    let place = Place::new();
    if let Some(why) = untold(&place.scene) {
        skip!("{why}");
    }
    let code = "
attempt(lambda: open('data/file').read())
attempt(lambda: os.listdir('.'))
attempt(lambda: open('out/new', 'w'))
attempt(lambda: os.rename('out/new', 'out/newer'))
attempt(lambda: open('/tmp/own', 'w'))
attempt(lambda: open('/tmp/own'))
attempt(lambda: open('/dev/null', 'w'))
attempt(lambda: open('/proc/self/status'))
attempt(lambda: os.symlink('../data/file', 'out/link'))
attempt(lambda: open('out/link'))
attempt(lambda: os.stat('data/none'))
attempt(lambda: open('/none/at/all'))
attempt(lambda: os.unlink('data/none'))
attempt(lambda: os.mkdir('data'))
attempt(lambda: os.rmdir('/tmp/none'))
attempt(lambda: os.access('data/file', os.R_OK))";
    let run = place.run(&["--write", "out"], code);
    let told = run.text().replace("done\n", "");
    let expected = "No such file or directory\nNo such file or directory\n\
                    Read-only file system\nFile exists\nNo such file or directory\n";
    assert_eq!(told, expected, "{}", run.told());
    assert_eq!(paths(&run), [], "{}", run.told());
}

#[test]
fn where_a_link_leads_is_told() {
    let place = Place::new();
    if let Some(why) = untold(&place.scene) {
        skip!("{why}");
    }
    let far = place.far.at("file");
    std::os::unix::fs::symlink(&far, place.scene.at("data/link")).unwrap();
    let code = "attempt(lambda: open('data/link')); attempt(lambda: os.lstat('data/link'))";
    let run = place.run(&[], code);
    assert_eq!(run.text(), "No such file or directory\ndone\n");
    let line = format!("[filesystem] read = [\"{far}\"]");
    assert_eq!(paths(&run), [(format!("reading {far}"), 1, Some(line))], "{}", run.told());
    assert_eq!(place.run(&["--read", &far], code).text(), "done\ndone\n");
}

#[test]
fn relative_paths_start_where_the_call_says() {
    let place = Place::new();
    if let Some(why) = untold(&place.scene) {
        skip!("{why}");
    }
    let code = "
directory = os.open('data', os.O_DIRECTORY)
attempt(lambda: os.open('file', os.O_WRONLY, dir_fd=directory))
os.chdir('out')
for _ in range(3): attempt(lambda: open('../data/./file', 'a'))";
    let run = place.run(&[], code);
    let what = format!("writing {}", place.scene.at("data/file"));
    let all = paths(&run);
    assert!(all.len() == 1 && all[0].0 == what && all[0].1 == 4, "{}", run.told());
}

#[test]
fn what_only_the_second_wall_denies_is_its_own() {
    let place = Place::new();
    if let Some(why) = untold(&place.scene) {
        skip!("{why}");
    }
    let without =
        lacks("filesystem.access_rules").filter(|why| !why.contains("the kernel's version"));
    let code = "import stat\nattempt(lambda: os.mknod('out/node', stat.S_IFCHR | 0o600, os.makedev(1, 3)))";
    let calls =
        ["--allow-syscall", "mknodat:any", "--allow-syscall", "mknod:any", "--write", "out"];
    let run = place.run(&calls, code);
    let what = format!("writing {}", place.scene.at("out/node"));
    match run.text() {
        "Permission denied\n" => {
            assert_eq!(paths(&run), [(what, 1, None)], "{}", run.told());
            assert_eq!(run.reported("/denials/0/wall"), "access_rules");
        }
        // Without that wall it is the missing capability that denies it, and nothing is said of a wall.
        "Operation not permitted\n" => {
            assert!(without.is_some() && paths(&run).is_empty(), "{}", run.told())
        }
        _ => panic!("{}", run.told()),
    }
}

#[test]
fn a_flood_of_denied_paths_is_bounded_and_counted_whole() {
    let place = Place::new();
    if let Some(why) = untold(&place.scene) {
        skip!("{why}");
    }
    for number in 0..300 {
        place.far.file(&number.to_string(), "");
    }
    let far = place.far.path().display();
    let code = format!(
        "
for number in range(300):
    for _ in range(10):
        try: os.stat('{far}/' + str(number))
        except OSError: pass
import ctypes
ctypes.CDLL(None).unshare(0x10000000)"
    );
    let run = place.run(&["--wall-time", "50s"], &code).expect_code(0);
    let all = paths(&run);
    assert_eq!(all.iter().map(|(_, times, _)| times).sum::<u64>(), 3000, "{}", run.told());
    assert!(all.len() <= 129, "{} kinds", all.len());
    assert!(all.iter().any(|(what, times, _)| what == "reading other paths" && *times > 1000));
    // It takes nothing of the room for calls.
    let calls = run.reported("/denials").as_array().unwrap();
    assert!(calls.iter().any(|one| one["what"] == "unshare(CLONE_NEWUSER)"), "{}", run.told());
}

#[test]
fn denied_paths_are_events_and_in_the_audit_log() {
    let place = Place::new();
    if let Some(why) = untold(&place.scene) {
        skip!("{why}");
    }
    let (events, log, far) =
        (place.scene.at("events"), place.scene.at("log"), place.far.at("file"));
    let code = format!("attempt(lambda: open('{far}'))");
    place.run(&["--events", &events, "--audit", &log], &code).expect_code(0);
    for file in [&events, &log] {
        let text = fs::read_to_string(file).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let denied: Vec<Value> = lines.filter(|line| line["event"] == "denied").collect();
        assert_eq!(denied.len(), 1, "{text}");
        assert_eq!(denied[0]["wall"], "view");
        assert_eq!(denied[0]["what"], format!("reading {far}"));
        assert_eq!(denied[0]["allow"], format!("[filesystem] read = [\"{far}\"]"));
    }
}

#[test]
fn denied_calls_are_told_as_without_it_and_kill_still_kills() {
    let place = Place::new();
    if let Some(why) = untold(&place.scene) {
        skip!("{why}");
    }
    let flags = ["--deny-syscall", "mkdir", "--deny-syscall", "mkdirat", "--on-violation", "kill"];
    let run = place.run(&flags, "os.mkdir('/tmp/x'); print('alive')").expect_code(159);
    assert_eq!(run.reported("/cause"), "denied");
    let what = run.reported("/denials/0/what").as_str().unwrap();
    assert!(what.starts_with("mkdir"), "{what}");
    assert!(run.stdout.is_empty());
    // A program whose threads and children all name paths at once comes to its end.
    let code = format!(
        "{TRY}
import threading
def work():
    for _ in range(200): os.stat('data/file')
for _ in range(3): os.fork()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()"
    );
    let flags = ["--trace-denials", "--read-optional", "/etc"];
    let run = place.scene.run(&flags, &[PYTHON, "-c", &code]).expect_code(0);
    assert_eq!(paths(&run), [], "{}", run.told());
}
