//! Every line of every shipped policy, as a program inside meets it.
//!
//! The files are read here by this test's own means. A key that isn't exercised below fails [`exercise`], so that no line can
//! be added without somebody saying what it does. The list of system calls, which all share, is in `calls.rs`.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{getgid, getuid};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stockade::platform::fake::FakeBackend;
use stockade::platform::{Bytes, Signal};
use stockade::{Policy, Sandbox};
use support::{PYTHON, Scene, Started, cgroup_of, lacks, skip};

/// A shipped policy with what it extends: its lines, as they are written.
struct Written {
    name: &'static str,
    lines: BTreeMap<String, toml::Value>,
}

/// Paths that no policy shows.
const HIDDEN: [&str; 5] = ["/etc/shadow", "/etc/hostname", "/root", "/home", "/var"];

impl Written {
    fn read(name: &'static str) -> Self {
        let mut lines = BTreeMap::new();
        let files = if name == "base" { vec![name] } else { vec!["base", name] };
        for file in files {
            let path = format!("{}/policies/{file}.toml", env!("CARGO_MANIFEST_DIR"));
            let table: toml::Table = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
            for (section, value) in table {
                match value {
                    toml::Value::Table(table) => {
                        for (key, value) in table {
                            add(&mut lines, format!("{section}.{key}"), value);
                        }
                    }
                    value => add(&mut lines, section, value),
                }
            }
        }
        Self { name, lines }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.lines.get(key).map(|value| value.as_str().unwrap())
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.lines.get(key).map(|value| value.as_integer().unwrap().try_into().unwrap())
    }

    fn bytes(&self, key: &str) -> Option<u64> {
        self.text(key).map(|text| text.parse::<Bytes>().unwrap().0)
    }

    fn duration(&self, key: &str) -> Option<Duration> {
        self.text(key).map(|text| {
            let digits = text.trim_end_matches(char::is_alphabetic);
            let number: u64 = digits.parse().unwrap();
            Duration::from_millis(match &text[digits.len()..] {
                "ms" => number,
                "s" => number * 1000,
                "m" => number * 60_000,
                "h" => number * 3_600_000,
                unit => panic!("{unit}"),
            })
        })
    }

    fn list(&self, key: &str) -> Vec<&str> {
        let list = self.lines.get(key).and_then(toml::Value::as_array);
        list.into_iter().flatten().map(|value| value.as_str().unwrap()).collect()
    }

    /// Every path that it shows, but for the directory in which it starts.
    fn shown(&self) -> Vec<&str> {
        let keys = ["filesystem.read", "filesystem.read_optional", "filesystem.write"];
        keys.iter().flat_map(|key| self.list(key)).filter(|path| *path != ".").collect()
    }

    /// Flags for a start on this host, whatever limits it can't hold.
    fn start(&self) -> Vec<String> {
        let limits = self.lines.keys().filter(|key| key.starts_with("limits."));
        let lacking = limits.filter(|key| lacks(key).is_some_and(|why| why != "null"));
        let accepted = lacking.flat_map(|key| ["--degrade".to_owned(), key.clone()]);
        ["--policy".to_owned(), self.name.to_owned()].into_iter().chain(accepted).collect()
    }
}

/// Lists add up, as in policies; of the rest the later layer has the word.
fn add(lines: &mut BTreeMap<String, toml::Value>, key: String, value: toml::Value) {
    match (lines.get_mut(&key), value) {
        (Some(toml::Value::Array(known)), toml::Value::Array(more)) => known.extend(more),
        (_, value) => drop(lines.insert(key, value)),
    }
}

/// What one run under a policy found inside.
struct Found {
    scene: Scene,
    inside: Value,
    /// The caller's variables that it might have passed on.
    passed: BTreeMap<&'static str, &'static str>,
}

/// Runs the program that looks at everything.
fn found(policy: &Written) -> Found {
    let scene = Scene::new();
    scene.file("own", "a file of the caller's");
    scene.directory("work");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut paths = policy.shown();
    paths.extend(HIDDEN);
    let work = scene.at("work");
    paths.push(&work);
    let small = policy.bytes("filesystem.tmp").filter(|size| *size <= 64 << 20);
    let asked = json!({
        "paths": paths,
        "port": listener.local_addr().unwrap().port(),
        "fill": small,
        "file_size": policy.bytes("limits.file_size"),
        "open_files": policy.number("limits.open_files"),
        // More take minutes in user-mode Linux; `hold` reads what the kernel was told there.
        "threads": policy
            .number("limits.pids")
            .filter(|most| *most <= 512 || is_roomy() || lacks("limits.pids").is_some())
            .map(|most| most + 5),
    });
    let probe = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/inside.py");
    let code = fs::read_to_string(probe).unwrap();
    let flags = policy.start();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut command = scene.command(&flags, &[PYTHON, "-c", &code, &asked.to_string()]);
    let kept = policy.list("environment.keep").into_iter();
    // Names that the policy's text has are as good as static for a test.
    let passed: BTreeMap<&'static str, &'static str> =
        kept.map(|name| (&*name.to_owned().leak(), "passed on")).collect();
    command.envs(&passed).env("AWS_SECRET_ACCESS_KEY", "secret").env("LD_BIND_NOW", "1");
    let outcome = scene.finish(command);
    let inside = serde_json::from_str(outcome.text()).unwrap();
    Found { scene, inside, passed }
}

/// What the host has at a path, in the words of the program inside.
fn outside(path: &str) -> Value {
    if fs::symlink_metadata(path).is_err() {
        return Value::Null;
    }
    if !Path::new(path).is_dir() {
        return json!(fs::metadata(path).unwrap().len());
    }
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    json!(names)
}

/// One line of a policy, as it was met.
fn exercise(policy: &Written, key: &str, found: &Found) {
    let Found { scene, inside, passed } = found;
    let at = |place: &str| &inside[place];
    let changed = |path: &str| inside["changes"][path].as_str().unwrap_or("changed").to_owned();
    match key {
        "description" | "extends" => {}
        "filesystem.read" | "filesystem.read_optional" => {
            for path in policy.list(key).into_iter().filter(|path| *path != ".") {
                assert_eq!(inside["paths"][path], outside(path), "{path}");
                if !inside["paths"][path].is_null() {
                    assert!(["EROFS", "EACCES"].contains(&&*changed(path)), "{path}");
                }
            }
            for path in HIDDEN {
                assert!(inside["paths"][path].is_null(), "{path}: {}", inside["paths"][path]);
            }
            if policy.list("filesystem.read").contains(&".") {
                // It belongs to the caller, so that nothing but the wall keeps it from changing.
                assert_eq!(changed(&scene.at("work")), "EROFS");
            }
        }
        "filesystem.write" => {
            assert_eq!(policy.list(key), ["."]);
            assert_eq!(changed(&scene.at("work")), "changed");
            let made = fs::metadata(scene.at("work/made-inside")).unwrap();
            assert_eq!((made.uid(), made.gid()), (getuid().as_raw(), getgid().as_raw()));
        }
        "filesystem.tmp" => {
            let size = policy.bytes(key).unwrap();
            assert_eq!(at("tmp"), size);
            if let Some(filled) = at("filled").as_u64() {
                // What the tree of a file takes, and a directory for where it was started.
                assert!((size - (1 << 20)..=size).contains(&filled), "{filled} of {size}");
            }
        }
        "filesystem.proc" => {
            let private = policy.text(key) == Some("private");
            assert_eq!(at("cpuinfo"), private);
            assert_eq!(at("processes"), &json!([1, 2]));
        }
        "network.mode" => {
            let host = policy.text(key) == Some("host");
            assert_eq!(at("reaches"), &if host { Value::Null } else { json!("ECONNREFUSED") });
            assert_eq!(at("interfaces") == &json!(["lo"]), !host || alone());
        }
        "identity.hostname" => assert_eq!(at("hostname"), policy.text(key).unwrap()),
        "capabilities.keep" => {
            assert!(policy.list(key).is_empty());
            let none = "0000000000000000";
            assert_eq!(at("capabilities"), &json!(vec![none; 5]));
        }
        "syscalls.base" => assert_eq!(policy.text(key), Some("default")),
        "syscalls.on_violation" => {
            assert_eq!(policy.text(key), Some("error"));
            assert_eq!(at("unshare"), "Operation not permitted");
        }
        "environment.keep" | "environment.set" => {
            let set = policy.lines["environment.set"].as_table().unwrap();
            let set = set.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
            let mut all: BTreeMap<&str, &str> = passed.iter().map(|(k, v)| (*k, *v)).collect();
            all.extend(set);
            let mut environment = at("environment").clone();
            // Python's own.
            environment.as_object_mut().unwrap().remove("LC_CTYPE");
            assert_eq!(environment, json!(all));
        }
        "process.init" => {
            assert_eq!(policy.lines[key].as_bool(), Some(true));
            assert_eq!(at("ids"), &json!([2, 1]));
            assert_eq!(at("orphan"), 1);
        }
        "limits.core_size" => {
            assert_eq!(policy.bytes(key), Some(0));
            assert_eq!((at("core"), at("crash")), (&json!([0, 0]), &json!(false)));
        }
        "limits.open_files" => {
            // Nobody but root gets more than was given to the caller.
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            assert_eq!(at("open_files"), policy.number(key).unwrap().min(hard));
        }
        "limits.file_size" => assert_eq!(at("file_size"), &json!([1, "EFBIG"])),
        "limits.pids" => {
            // Where a host counts processes of a user instead, others of that user count too.
            let most = policy.number(key).unwrap();
            if let Some(threads) = at("threads").as_u64() {
                assert!(threads <= most, "{threads} of {most}");
                assert!(lacks(key).is_some() || threads == most, "{threads} of {most}");
            }
        }
        // The others below, each by its name.
        "limits.memory" | "limits.memory_high" | "limits.swap" | "limits.cpu"
        | "limits.cpu_weight" | "limits.wall_time" | "limits.grace" | "degrade.allow" => {}
        key => panic!("nothing exercises `{key}` of {}", policy.name),
    }
}

/// Whether this machine has no interface but the loopback one.
fn alone() -> bool {
    fs::read_dir("/sys/class/net").unwrap().count() == 1
}

/// The policy's limits as the kernel has them, and what becomes of a program that takes more.
fn hold(policy: &Written) {
    let cgroups = ["memory", "memory_high", "swap", "cpu", "cpu_weight", "pids"];
    for limit in cgroups.map(|limit| format!("limits.{limit}")) {
        if let (true, Some(why)) = (policy.lines.contains_key(&limit), lacks(&limit)) {
            skip!("memory: {limit}: {why}");
        }
    }
    let scene = Scene::new();
    let flags = ["--policy", policy.name];
    let started = Started::new(scene.command(&flags, &["sh", "-c", "echo up; read line"]));
    if let Some(group) = cgroup_of(started.program()) {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        let expect = |name: &str, value: Option<u64>| {
            let (found, value) = (read(name), value.map(|value| value.to_string()));
            // Without the limit there may be no file: its controller is used by nobody then.
            if value.is_some() || found.is_some() {
                let value = value.unwrap_or("max".to_owned());
                assert_eq!(found.as_deref().map(str::trim), Some(&*value), "{name}");
            }
        };
        expect("memory.max", policy.bytes("limits.memory"));
        expect("memory.high", policy.bytes("limits.memory_high"));
        expect("memory.swap.max", policy.bytes("limits.swap"));
        // One more for the sandbox's own first process.
        expect("pids.max", policy.number("limits.pids").map(|most| most + 1));
        if let Some(cores) = policy.number("limits.cpu") {
            assert_eq!(read("cpu.max").unwrap().trim(), format!("{} 100000", cores * 100_000));
        }
        if let Some(weight) = policy.number("limits.cpu_weight") {
            assert_eq!(read("cpu.weight").unwrap().trim(), weight.to_string());
        }
    }
    drop(started.finish(&scene));
}

/// Whether gibibytes are had in seconds here: a page at a time they take minutes where memory is emulated.
fn is_roomy() -> bool {
    Path::new("/sys/kernel/mm/transparent_hugepage").exists()
}

/// What becomes of a program that takes as much memory as it may, and more.
fn fill(policy: &Written) {
    let Some(memory) = policy.bytes("limits.memory") else {
        return;
    };
    if let Some(why) = lacks("limits.memory") {
        skip!("memory: limits.memory: {why}");
    }
    if memory > 1 << 30 && !is_roomy() {
        skip!("huge-pages: {} would be filled a page at a time", Bytes(memory));
    }
    let scene = Scene::new();
    let flags = ["--policy", policy.name];
    // Each page is written to; where there are huge ones, the kernel takes two MiB for the first of them.
    let hog = "
import mmap, sys
size = int(sys.argv[1]) << 20
held = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
try: held.madvise(mmap.MADV_HUGEPAGE)
except OSError: pass
for at in range(0, size, 2 << 20): held[at:at + (2 << 20):4096] = bytes(512)
print(size >> 20)";
    let take = |mebibytes: u64| scene.run(&flags, &[PYTHON, "-c", hog, &mebibytes.to_string()]);
    let most = memory >> 20;
    // What is above `memory_high` is slowed down until it ends.
    if policy.bytes("limits.memory_high").is_none() {
        let over = take(most + 16).expect_code(137);
        assert_eq!(over.reported("/limit"), "limits.memory", "{}", over.told());
    }
    let fits = most * 3 / 4;
    take(fits).expect_text(&format!("{fits}\n"));
}

/// Without the entries of its `[degrade] allow`, a policy is refused for just those that this host can't enforce.
fn degrade(policy: &Written) {
    let entries = policy.list("degrade.allow");
    let missing: Vec<&str> = entries
        .into_iter()
        .filter(|control| !control.starts_with("limits.") || policy.lines.contains_key(*control))
        .filter(|control| lacks(control).is_some())
        .collect();
    let scene = Scene::new();
    for file in ["base", policy.name] {
        let path = format!("{}/policies/{file}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(path).unwrap();
        // It is the last section of each file that has it.
        let text = text.split("\n[degrade]").next().unwrap();
        let text = text.replace("extends = \"base\"", "extends = \"./base.toml\"");
        scene.file(&format!("{file}.toml"), &text);
    }
    let accepted: Vec<String> = policy.start();
    let other = accepted[2..].chunks(2).filter(|pair| !missing.contains(&&*pair[1]));
    let mut flags: Vec<&str> = other.flatten().map(String::as_str).collect();
    let file = scene.at(&format!("{}.toml", policy.name));
    flags.extend(["--policy", &file]);
    let run = scene.run(&flags, &["true"]);
    if missing.is_empty() {
        run.expect_code(0);
        return;
    }
    let said: Vec<String> =
        missing.iter().map(|control| format!("{control} can't be enforced here: ")).collect();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    run.expect_refusal(&said);
    flags.extend(missing.iter().flat_map(|control| ["--degrade", control]));
    scene.run(&flags, &["true"]).expect_code(0);
}

/// The wall time and the grace after it, to the millisecond, by a clock that the test moves.
async fn end_in_time(policy: &Written) {
    let Some(time) = policy.duration("limits.wall_time") else {
        return;
    };
    let backend = Arc::new(FakeBackend::new());
    let builder = Sandbox::builder(Policy::shipped(policy.name).unwrap()).command(["true"]);
    let mut sandbox = builder.backend(backend.clone()).start().unwrap();
    let handle = backend.launched().remove(0);
    let waiting = tokio::spawn(async move { sandbox.wait().await.unwrap() });
    let moment = Duration::from_millis(1);
    tokio::time::sleep(time - moment).await;
    assert_eq!(handle.signals(), []);
    tokio::time::sleep(moment * 2).await;
    assert_eq!(handle.signals(), [Signal::Terminate]);
    tokio::time::sleep(policy.duration("limits.grace").unwrap() - moment * 3).await;
    assert_eq!(handle.signals(), [Signal::Terminate]);
    tokio::time::sleep(moment * 3).await;
    assert_eq!(handle.signals(), [Signal::Terminate, Signal::Kill]);
    let report = waiting.await.unwrap();
    assert_eq!(report.limit.map(|limit| limit.to_string()).as_deref(), Some("limits.wall_time"));
}

/// The grace, by a program that doesn't hear.
fn give_grace(policy: &Written) {
    let grace = policy.duration("limits.grace").unwrap();
    let scene = Scene::new();
    let mut flags = policy.start();
    flags.extend(["--wall-time".to_owned(), "1s".to_owned()]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let run = scene.bash(&flags, "trap '' TERM; sleep 60").expect_code(124);
    let least = (Duration::from_secs(1) + grace).as_secs_f64();
    assert!(run.reported("/wall_time_s").as_f64().unwrap() >= least, "{}", run.told());
}

macro_rules! shipped {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(mod $name {
        use super::*;

        const NAME: &str = stringify!($name);

        #[test]
        fn every_line_is_met_inside() {
            let policy = Written::read(NAME);
            let found = found(&policy);
            for key in policy.lines.keys() {
                exercise(&policy, key, &found);
            }
        }

        #[test]
        fn every_limit_is_the_kernels() {
            hold(&Written::read(NAME));
        }

        #[test]
        fn all_of_its_memory_may_be_used_and_no_more() {
            fill(&Written::read(NAME));
        }

        #[test]
        fn what_it_accepts_by_name_is_refused_without() {
            degrade(&Written::read(NAME));
        }

        #[tokio::test(start_paused = true)]
        async fn it_ends_in_time() {
            end_in_time(&Written::read(NAME)).await;
        }

        #[test]
        fn it_gives_grace() {
            give_grace(&Written::read(NAME));
        }
        })*
    };
}

shipped! { base default worker build service agent }

#[test]
fn no_policy_is_left_out() {
    let entries = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/policies")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".toml")?.to_owned())).collect();
    let mut known = NAMES.to_vec();
    known.sort_unstable();
    names.sort();
    assert_eq!(names, known);
}
