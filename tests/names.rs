//! The filtered network and names: asked of a real name server, in an internet of two network namespaces.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use support::{Outcome, PYTHON, Scene, is_root, lacks, skip};

/// Public addresses, so that nothing about them is special but what the rules say: the internet's, and this side's own.
const THERE: &str = "93.184.216.34";

/// Joins two network namespaces, starts what answers in the other one, and runs its arguments in this one.
const JOIN: &str = r#"
set -e
mount --bind "$SCENE/resolv.conf" /etc/resolv.conf
mkfifo "$SCENE/ready"
unshare --net "$PYTHON" -c 'import os, subprocess, sys
sys.stdin.readline()
for line in "link set lo up", "address add 93.184.216.34/24 dev there", "link set there up":
    subprocess.run(["ip", *line.split()], check=True)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])' "$INTERNET" "$THERE" "$SCENE/log" < "$SCENE/ready" > "$SCENE/said" &
there=$!
trap 'kill "$there"' EXIT
exec 9> "$SCENE/ready"
while [ "$(readlink "/proc/$there/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
ip link set lo up
ip link add here type veth peer name there netns "$there"
ip address add 93.184.216.1/24 dev here
ip link set here up
echo >&9
until grep -q ready "$SCENE/said"; do sleep 0.1; kill -0 "$there"; done
"$@"
"#;

const CLIENT: &str = "
import os, sys, urllib.error, urllib.request
for name in sys.argv[1:]:
    try: print(name, urllib.request.urlopen(f'http://{name}/').read().decode())
    except urllib.error.HTTPError as error: print(name, error.code)";

/// What a client inside gets from each name, and the questions that the name server heard.
fn ask(allow: &[&str], names: &[&str]) -> (Outcome, String) {
    let scene = Scene::new();
    scene.file("resolv.conf", &format!("nameserver {THERE}\noptions timeout:5 attempts:2\n"));
    let flags: Vec<&str> = allow.iter().flat_map(|rule| ["--allow", rule]).collect();
    let flags = [&["--net", "filtered"], &flags[..]].concat();
    let inner = scene.command(&flags, &[&[PYTHON, "-c", CLIENT], names].concat());
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "bash", "-c", JOIN, "bash"]);
    command.arg(inner.get_program()).args(inner.get_args());
    let internet = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/internet.py");
    command.env("SCENE", scene.path()).env("INTERNET", internet).env("THERE", THERE);
    command.env("PYTHON", PYTHON).current_dir(scene.path()).stdin(Stdio::null());
    let outcome = scene.finish(command);
    let log = fs::read_to_string(scene.at("log")).unwrap_or_default();
    (outcome, log)
}

macro_rules! need_an_internet {
    () => {
        if let Some(why) = lacks("network.mode") {
            skip!("network-namespace: {why}");
        }
        if !is_root() {
            skip!("root: only root may say who answers for names");
        }
    };
}

#[test]
fn a_name_that_is_allowed_is_reached_and_no_other_is_even_asked_for() {
    need_an_internet!();
    let names = [
        "www.example.test",
        "alias.example.test",
        "sub.wild.test",
        "wild.test",
        "none.example.test",
        "secret.exfiltrated.test",
        THERE,
    ];
    let allow = ["*.example.test", "*.wild.test"];
    let (run, log) = ask(&allow, &names);
    let expected = format!(
        "www.example.test internet\nalias.example.test internet\nsub.wild.test internet\nwild.test 403\n\
         none.example.test 502\nsecret.exfiltrated.test 403\n{THERE} 403\n"
    );
    assert_eq!(run.text(), expected, "{}", run.told());
    assert!(log.contains("www.example.test") && log.contains("none.example.test"), "{log}");
    assert!(!log.contains("exfiltrated") && !log.contains("\nwild.test"), "{log}");
    // With rules for them, they are reached.
    let (run, log) = ask(&["*.exfiltrated.test", THERE], &["secret.exfiltrated.test", THERE]);
    let expected = format!("secret.exfiltrated.test internet\n{THERE} internet\n");
    assert_eq!(run.text(), expected, "{}", run.told());
    assert!(log.contains("secret.exfiltrated.test"), "{log}");
}

#[test]
fn a_name_that_changes_its_mind_leads_to_no_private_place() {
    need_an_internet!();
    let turns = ["turns.example.test"; 4];
    let others =
        ["both.example.test", "own.example.test", "mapped.example.test", "loop.example.test"];
    let (run, log) = ask(&["*.example.test"], &[&turns[..], &others].concat());
    let expected = "turns.example.test internet\nturns.example.test 403\nturns.example.test 403\n\
        turns.example.test 403\nboth.example.test internet\nown.example.test 403\nmapped.example.test 403\n\
        loop.example.test 403\n";
    assert_eq!(run.text(), expected, "{}", run.told());
    assert!(log.matches("turns.example.test 1\n").count() >= 4, "{log}");
    let denials = run.reported("/denials").as_array().unwrap();
    let turns = denials.iter().find(|denial| denial["what"] == "turns.example.test:80").unwrap();
    assert_eq!(
        (&turns["times"], &turns["why"]),
        (&3.into(), &"it leads to 10.0.0.1, a private address".into())
    );
}
