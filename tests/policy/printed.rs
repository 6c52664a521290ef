//! What `stockade policy` prints of right policies.

use super::Place;
use serde_json::Value;

/// One line of `policy explain`: the value and where it comes from.
fn explained(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(key));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn shipped_policies_are_listed_shown_and_right() {
    let place = Place::new();
    let list = place.stockade(["policy", "list"]);
    insta::assert_snapshot!(list.good(), @"
    base     all walls and the system's programs; no limits, no network, no files of yours
    default  any command: all walls, modest limits, reads the current directory, starts on any host
    worker   untrusted code: no network, 256 MiB, one core, 64 processes, one minute
    build    a build or CI job: compilers, writes the work directory, no network, 4 GiB
    service  a network service: the host's network, reads the current directory, 512 MiB, no time limit
    agent    an AI agent's tool calls: reads the system, writes the work directory, no network, ten minutes
    ");
    let json: Value =
        serde_json::from_str(place.stockade(["policy", "list", "--json"]).good()).unwrap();
    assert_eq!(json[2]["name"], "worker");
    for line in list.stdout.lines() {
        let name = line.split(' ').next().unwrap();
        assert_eq!(place.check(name).good(), format!("{name}: ok\n"));
        // Each says what it protects against, and what not; and is a policy file like any other.
        let shown = place.stockade(["policy", "show", name]);
        for promise in ["# Protects against: ", "# Doesn't protect against: "] {
            assert!(shown.good().contains(promise), "{name}");
        }
        let ended = place.write("mine.toml", shown.good()).check("mine.toml");
        assert_eq!(ended.good(), "mine.toml: ok\n");
    }
}

#[test]
fn lists_of_a_network_are_put_aside_with_its_mode_by_a_later_layer() {
    let place = Place::new();
    let text = "extends = 'worker'\n[network]\nmode = 'filtered'\nallow = ['A.example', '10.0.0.0/8:5432']\npublish = ['81:80']\n";
    place.write("net.toml", text);
    let explain = |flags: &[&str]| {
        let words = [&["policy", "explain", "./net.toml"], flags].concat();
        place.stockade(words)
    };
    let ended = explain(&["--allow", "b.example", "--publish", "127.0.0.1:81:90"]);
    let text = ended.good();
    let expected =
        ["a.example ./net.toml:4", "10.0.0.0/8:5432 ./net.toml:4", "b.example command line"];
    assert_eq!(explained(text, "network.allow"), expected);
    // What is said later of the same port counts.
    assert_eq!(explained(text, "network.publish"), ["127.0.0.1:81:90 command line"]);
    let ended = explain(&["--net", "none"]);
    assert_eq!(explained(ended.good(), "network.allow"), [""; 0]);
    assert_eq!(explained(ended.good(), "network.publish"), [""; 0]);
    let ended = explain(&["--net", "none", "--allow", "b.example"]);
    let told = "command line: --allow: with `network.mode` `none` nothing is allowed";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

#[test]
fn values_are_explained_with_their_origin() {
    let place = Place::new();
    place.write("p.toml", "extends = 'worker'\n[limits]\npids = 8\n[filesystem]\nread = ['./in', '.']\n[environment]\nkeep = ['LANG']\n");
    let ended =
        place.stockade(["policy", "explain", "./p.toml", "--memory", "1GiB", "--cpu", "unlimited"]);
    let text = ended.good();
    let here = place.path().display().to_string();
    assert_eq!(explained(text, "limits.pids"), ["8 ./p.toml:3"]);
    assert_eq!(explained(text, "limits.memory"), ["1GiB command line"]);
    assert_eq!(explained(text, "limits.cpu "), ["unlimited command line"]);
    assert_eq!(explained(text, "limits.swap"), ["0B shipped worker.toml:14"]);
    assert_eq!(explained(text, "clock.monotonic"), ["0s nothing else said"]);
    // What both name is said by the one that extends.
    let read = explained(text, "filesystem.read ");
    assert!(read.contains(&format!("{here}/in ./p.toml:5")), "{read:?}");
    assert!(read.contains(&format!("{here} ./p.toml:5")), "{read:?}");
    assert!(explained(text, "environment.keep").contains(&"LANG ./p.toml:7".into()));
    assert!(!explained(text, "environment.set").iter().any(|line| line.starts_with("LANG")));

    let ended = place.stockade(["policy", "explain", "--json", "p.toml"]);
    let json: Value = serde_json::from_str(ended.good()).unwrap();
    assert_eq!(json["name"], "p");
    assert_eq!(json["digest"].as_str().unwrap().len(), 64);
    let pids = json["values"]
        .as_array()
        .unwrap()
        .iter()
        .find(|value| value["key"] == "limits.pids")
        .unwrap();
    assert_eq!((&pids["value"], &pids["origin"]), (&"8".into(), &"p.toml:3".into()));
}

#[test]
fn overrides_have_the_last_word() {
    let place = Place::new();
    let all = [
        ["--description", "mine"],
        ["--memory", "300MiB"],
        ["--memory-high", "200MiB"],
        ["--memory-stall", "2s"],
        ["--memory-min", "1MiB"],
        ["--memory-low", "2MiB"],
        ["--oom-kill", "process"],
        ["--swap", "1MiB"],
        ["--zswap", "0B"],
        ["--huge-pages", "0B"],
        ["--cpu", "0.5"],
        ["--cpu-weight", "7"],
        ["--cpu-burst", "10ms"],
        ["--cpu-idle", "true"],
        ["--cpus", "0,1"],
        ["--mems", "0"],
        ["--pids", "9"],
        ["--open-files", "99"],
        ["--io", "path=/srv,read=1MiB/s"],
        ["--io-weight", "50"],
        ["--disk", "1GiB"],
        ["--disk-files", "1000"],
        ["--network-send", "1MiB/s"],
        ["--file-size", "1MiB"],
        ["--core-size", "2MiB"],
        ["--stack", "1MiB"],
        ["--locked-memory", "0B"],
        ["--realtime", "0"],
        ["--nice", "5"],
        ["--output", "1MiB"],
        ["--wall-time", "1m"],
        ["--cpu-time", "3s"],
        ["--grace", "0s"],
        ["--root", "/srv/image"],
        ["--overlay", "/srv/changes"],
        ["--copy", "/srv/copied"],
        ["--read", "/opt"],
        ["--read-optional", "/srv"],
        ["--write", "."],
        ["--tmp", "none"],
        ["--tmp-files", "100"],
        ["--proc", "none"],
        ["--sys", "none"],
        ["--workdir", "/usr"],
        ["--umask", "027"],
        ["--net", "filtered"],
        ["--allow", "*.example.org:443"],
        ["--publish", "[::1]:8080:80"],
        ["--tcp-bind", "8080,8000-8010"],
        ["--tcp-connect", "none"],
        ["--user", "0"],
        ["--group", "0"],
        ["--access-rules", "false"],
        ["--ids", "65536"],
        ["--id-range", "200000-265535"],
        ["--hostname", "h"],
        ["--keep-capability", "CHOWN"],
        ["--syscalls", "none"],
        ["--hide", "/usr/share/doc"],
        ["--deny", "/usr/share/man"],
        ["--file", "/etc/motd=hello"],
        ["--device", "/dev/kvm"],
        ["--secret", "key=/srv/key"],
        ["--secret-env", "token=TOKEN"],
        ["--allow-syscall", "read"],
        ["--deny-syscall", "mount"],
        ["--syscall-rule", "name=socket,arg0=AF_UNIX,arg0=AF_INET"],
        ["--on-violation", "kill"],
        ["--clock-monotonic", "-1h"],
        ["--clock-boottime", "+5s"],
        ["--keep-env", "PATH"],
        ["--env", "A=b=c"],
        ["--init", "true"],
        ["--degrade", "limits.cpu"],
    ];
    let mut arguments = vec!["policy", "explain", "worker"];
    arguments.extend(all.iter().flatten());
    let ended = place.stockade(&arguments);
    let text = ended.good();
    let typed: Vec<&str> = text.lines().filter(|line| line.ends_with("command line")).collect();
    assert_eq!(typed.len(), all.len(), "{text}");
    assert_eq!(
        explained(text, "filesystem.write"),
        [format!("{} command line", place.path().display())]
    );
    assert_eq!(
        explained(text, "environment.set").iter().filter(|line| line.starts_with("PATH")).count(),
        0
    );
    assert!(explained(text, "environment.set").contains(&"A=b=c command line".into()));
    // Every key but `extends` has its flag, so that this list can't fall behind.
    let help = place.stockade(["run", "--help"]);
    let help = help.good().split("Policy overrides:").nth(1).unwrap();
    let flags = help.lines().filter(|line| line.trim_start().starts_with("--")).count();
    // One says how much is discarded, and here it is kept.
    assert_eq!(flags, all.len() + 1, "{help}");
}

#[test]
fn a_root_takes_away_the_host_paths_of_what_it_extends_and_none_named_beside_it() {
    let place = Place::new();
    place.write(
        "image.toml",
        "extends = 'worker'\n[filesystem]\nread = ['/srv/data']\nroot = '/srv/image'\n",
    );
    let shown = |arguments: &[&str]| {
        let ended = place.stockade([&["policy", "explain"], arguments].concat());
        let text = ended.good();
        [explained(text, "filesystem.read "), explained(text, "filesystem.read_optional")].concat()
    };
    assert!(shown(&["worker"]).iter().any(|line| line.starts_with("/usr ")));
    assert_eq!(shown(&["worker", "--root", "/srv/image"]), [""; 0]);
    assert_eq!(shown(&["./image.toml"]), ["/srv/data ./image.toml:3"]);
    assert_eq!(
        shown(&["./image.toml", "--read", "/opt"]),
        ["/srv/data ./image.toml:3", "/opt command line"]
    );
    // A root of a later layer is another one again.
    assert_eq!(
        shown(&["./image.toml", "--root", "/srv/other", "--read", "/x"]),
        ["/x command line"]
    );
}

#[test]
fn of_single_values_the_last_flag_counts_and_lists_add_up() {
    let place = Place::new();
    let ended = place.stockade([
        "policy", "explain", "base", "--pids", "5", "--pids", "6", "--read", "a", "--read", "../b",
    ]);
    let text = ended.good();
    assert_eq!(explained(text, "limits.pids"), ["6 command line"]);
    let above = place.path().parent().unwrap().display().to_string();
    let read = explained(text, "filesystem.read ");
    assert!(read.contains(&format!("{above}/b command line").replace("//", "/")), "{read:?}");
    assert!(read.contains(&format!("{}/a command line", place.path().display())), "{read:?}");
}

#[test]
fn wrong_flags_are_told_like_wrong_files_all_at_once() {
    let place = Place::new();
    let flags = [
        ["--memory", "512 megs"],
        ["--cpu", "x"],
        ["--pids", "many"],
        ["--wall-time", "5 min"],
        ["--net", "hots"],
        ["--read", "/a/../b"],
        ["--write", "/"],
        ["--env", "A"],
        ["--env", "=x"],
        ["--keep-env", "A=B"],
        ["--init", "yes"],
        ["--degrade", "memory"],
        ["--deny-syscall", "mout"],
        ["--syscall-rule", "name=socket,arg0=AF_UNXI"],
        ["--syscall-rule", "socket"],
        ["--clock-monotonic", "-x"],
        ["--read", "c"],
        ["--read", "./c"],
    ];
    let mut arguments = vec!["run", "-p", "worker"];
    arguments.extend(flags.iter().flatten());
    arguments.extend(["--", "true"]);
    assert_eq!(
        place.stockade(&arguments).problems(),
        [
            "command line: --memory: `512 megs` is not a size (write `512MiB`)",
            "command line: --cpu: `x` is not a number of cores from 0.01 to 1000 (write `1.5`)",
            "command line: --pids: `many` is not a whole number from 1 to 4194304",
            "command line: --wall-time: `5 min` is not a duration (write `5m`)",
            "command line: --read: `/a/../b` is not in its plain form (write `/b`)",
            "command line: --read: `./c` is named twice",
            "command line: --write: `/` can't be shown as a whole (name what the program needs below it)",
            "command line: --net: `hots` is not one of `none`, `host`, `filtered` (did you mean `host`?)",
            "command line: --deny-syscall: `mout` is not a system call (did you mean `mount`?)",
            "command line: --syscall-rule: arg0: `AF_UNXI` is not the name of a value (did you mean `AF_UNIX`?)",
            "command line: --syscall-rule: `socket` has no `=` (write `name=socket,arg0=AF_UNIX`)",
            "command line: --clock-monotonic: `-x` is not a duration (write `90s` or `-90s`)",
            "command line: --keep-env: `A=B` has a `=`, which no variable's name can have",
            "command line: --env: `A` has no `=` (write `A=VALUE`)",
            "command line: --env: an empty text is not the name of a variable",
            "command line: --init: `yes` is neither `true` nor `false`",
            "command line: --degrade: `memory` is not a control",
        ]
    );
    let ended = place.stockade(["policy", "explain", "worker", "--memory-high", "1GiB"]);
    let expected = "command line: --memory-high: `1GiB` is more than `limits.memory`, which is `256MiB`, so it would never act";
    assert_eq!(ended.problems(), [expected]);
    // Said of less memory alone, it goes down with that.
    let ended = place.stockade(["policy", "explain", "service", "--memory", "64MiB"]);
    let high = ended.stdout.lines().find(|line| line.starts_with("limits.memory_high"));
    let high: Vec<&str> = high.unwrap().split_whitespace().take(4).collect();
    assert_eq!(high, ["limits.memory_high", "56MiB", "command", "line"], "{}", ended.stdout);
    let ended = place.stockade(["policy", "explain", "worker", "--memory", "1MiB", "--nonsense"]);
    assert_eq!(ended.problems(), ["unexpected argument '--nonsense' found"]);
}

#[test]
fn several_policies_are_checked_and_the_wrong_one_decides() {
    let place = Place::new();
    place.write("good.toml", "extends = 'base'").write("bad.toml", "x = 1");
    let ended = place.stockade(["policy", "check", "good.toml", "bad.toml", "worker"]);
    assert_eq!(ended.code, Some(125));
    assert_eq!(ended.stdout, "good.toml: ok\nworker: ok\n");
    assert!(ended.stderr.starts_with("error: bad.toml:1:1: x: unknown key"), "{ended:?}");
}

#[test]
fn a_directory_that_the_sandbox_has_itself_is_left_out_with_a_warning() {
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_stockade"))
        .args(["policy", "check", "default"])
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(ended.stdout, b"default: ok\n");
    let warning = "warning: default: the working directory isn't visible inside: `/` can't be shown as a whole \
                   (name what the program needs below it)\n";
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), warning);
}

#[test]
fn the_schema_knows_every_key_and_its_examples_are_right() {
    let place = Place::new();
    let ended = place.stockade(["policy", "schema"]);
    let schema: Value = serde_json::from_str(ended.good()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let mut keys = 0;
    for (section, form) in schema["properties"].as_object().unwrap() {
        let Some(entries) = form["properties"].as_object() else { continue };
        assert_eq!(form["additionalProperties"], false);
        for (name, form) in entries {
            keys += 1;
            assert!(!form["description"].as_str().unwrap().is_empty());
            // The example alone is a right policy; some are so beside the limit that they refine.
            let example = toml_of(&form["examples"][0]);
            let basis = match name.as_str() {
                "memory" => "",
                "allow" | "publish" if section == "network" => "network.mode = 'filtered'\n",
                "overlay" => "filesystem.copy = ['.']\n",
                "cpu" => "limits.memory = '1GiB'\n",
                _ => "limits.memory = '1GiB'\nlimits.cpu = 1\n",
            };
            let text = format!("{basis}{section}.{name} = {example}\n");
            assert_eq!(
                place.write("p.toml", &text).check("p.toml").good(),
                "p.toml: ok\n",
                "{text}"
            );
        }
    }
    assert_eq!(keys, 74);
}

/// A JSON value as TOML; the two differ in tables.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(name, value)| format!("{name:?} = {}", toml_of(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(entries) => {
            let entries: Vec<String> = entries.iter().map(toml_of).collect();
            format!("[{}]", entries.join(", "))
        }
        value => value.to_string(),
    }
}

#[test]
fn every_system_call_is_explained_with_its_answer_and_why() {
    let place = Place::new();
    place.write(
        "p.toml",
        "extends = 'worker'\n[syscalls]\nallow = ['@debug']\ndeny = ['mkdir']\nrules = [\n  { name = 'socket', arg0 = \
         ['AF_UNIX', 'AF_INET'] },\n  { name = '@mount', action = 'errno ENOSYS' },\n]\n",
    );
    let ended = place.stockade(["policy", "explain", "p.toml", "--stage", "syscalls"]);
    let lines: Vec<&str> = ended.good().lines().collect();
    let of = |call: &str| {
        let at = lines.iter().position(|line| line.split(' ').next() == Some(call)).unwrap();
        let below = lines[at + 1..].iter().take_while(|line| line.starts_with(' '));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        std::iter::once(&lines[at])
            .chain(below)
            .map(|line| words(line))
            .collect::<Vec<_>>()
            .join("\n")
    };
    insta::assert_snapshot!(["mkdir", "mount", "ptrace", "clone3", "socket"].map(of).join("\n"), @r#"
    mkdir EPERM `deny`, p.toml:4
    mount EPERM changes what is visible where
    ENOSYS always: `rules`, p.toml:7
    ptrace allow `allow`, p.toml:3
    clone3 ENOSYS its flags stand behind a pointer and can't be tested for new namespaces; C libraries then use `clone`, whose can
    socket allow `rules`, p.toml:6
    EPERM arg0 is not AF_UNIX and arg0 is not AF_INET and arg0 is not AF_INET6 and arg0 is not AF_NETLINK: UNIX, INET, INET6 and NETLINK sockets; the other families are seldom used and seldom looked at, some (VSOCK) lead out of a virtual machine, some (ALG) deep into the kernel
    EPERM arg0 is AF_NETLINK and arg2 is not 0: of NETLINK only ROUTE, with which C libraries list the network interfaces; the others speak to the firewall, audit, and device parts of the kernel
    EPERM arg0 is not AF_UNIX and arg1 & 0xf is SOCK_SEQPACKET: SEQPACKET outside of UNIX sockets is SCTP, which the kernel would load a module for
    EPERM arg2 is 0x84: SCTP by its number
    EPERM arg1 & 0xf is SOCK_DCCP: DCCP, as SCTP: seldom used, often broken, loaded on demand
    allow arg0 is AF_UNIX: `rules`, p.toml:6
    allow arg0 is AF_INET: `rules`, p.toml:6
    EPERM otherwise: `rules`, p.toml:6
    "#);
    let ended = place.stockade(["policy", "explain", "p.toml", "--stage", "syscalls", "--json"]);
    let json: Value = serde_json::from_str(ended.good()).unwrap();
    let one = json.as_array().unwrap().iter().find(|one| one["call"] == "mkdir").unwrap();
    assert_eq!((&one["answer"], &one["why"]), (&"EPERM".into(), &"`deny`, p.toml:4".into()));
    let values = place.stockade(["policy", "explain", "p.toml"]);
    let rules = explained(values.good(), "syscalls.rules");
    let expected = [
        "name=socket,arg0=AF_UNIX,arg0=AF_INET p.toml:6",
        "name=@mount,action=errno ENOSYS p.toml:7",
    ];
    assert_eq!(rules, expected);
}

#[test]
fn the_plan_and_the_operations_of_a_launch_can_be_seen() {
    let place = Place::new();
    let plan =
        place.stockade(["policy", "explain", "default", "--stage", "plan", "--", "echo", "a b"]);
    let text = plan.good();
    assert!(text.contains("command = [\"echo\",\"a b\"]\n"), "{text}");
    assert!(text.contains("limits.memory = 1073741824\n"), "{text}");
    assert!(text.contains("controls.network.mode.decision = \"enforce\"\n"), "{text}");
    let plan = place.stockade(["policy", "explain", "default", "--stage", "plan", "--json"]);
    let json: Value = serde_json::from_str(plan.good()).unwrap();
    assert_eq!(json["command"][0], "true");
    let operations = place.stockade(["policy", "explain", "default", "--stage=operations"]);
    assert!(operations.good().lines().count() > 10);
}
