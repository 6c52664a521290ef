//! What stack files mean, and what is told of wrong ones.

use super::files::File;
use super::*;
use crate::platform::Bytes;
use crate::policy::problem::{Problem, Problems};
use crate::policy::source::Source;
use std::path::Path;
use std::time::Duration;

fn variable(name: &str) -> Option<String> {
    (name == "PORT").then(|| "8080".to_owned())
}

fn stack(files: &[File]) -> Result<Stack, String> {
    let stack = read::of_files(files, &variable, Path::new("/srv"), Problems::default());
    stack.map_err(|error| {
        let lines: Vec<String> = error.problems().iter().map(Problem::headline).collect();
        lines.join("\n")
    })
}

fn file(name: &str, text: &str, parent: Option<usize>) -> File {
    let source = Source {
        name: name.into(),
        text: text.to_owned().into(),
        directory: "/srv".into(),
        shipped: false,
        identity: Path::new("/srv").join(name),
    };
    File { source, parent }
}

fn load(text: &str) -> Result<Stack, String> {
    stack(&[file("stockade.toml", text, None)])
}

#[test]
fn services_say_what_runs_and_how() {
    let stack = load(
        "name = \"shop\"
x-team = 1
[services.web]
command = \"server --port 80\"
depends_on = { db = \"ready\", setup = \"completed\" }
policy = \"worker\"
limits = { memory = \"64MiB\" }
[services.web.restart]
policy = \"always\"
max_attempts = 3
[services.web.stop]
signal = \"SIGINT\"
grace_period = \"5s\"
[services.db]
command = [\"db\", \"a b\"]
success_exit_status = [3, \"USR1\"]
[services.setup]
command = [\"true\"]
type = \"oneshot\"",
    )
    .unwrap();
    let web = &stack.services["web"];
    assert_eq!(web.command, ["server", "--port", "80"]);
    assert_eq!(web.policy.limits.memory, Some(crate::platform::Bytes::mib(64)));
    assert_eq!(web.policy.limits.pids, Some(64));
    assert_eq!((web.stop_signal, web.rules.grace), (Signal::Interrupt, Duration::from_secs(5)));
    assert_eq!(web.rules.restart.run.attempts, 3);
    assert_eq!(stack.services["db"].rules.restart.statuses.success.len(), 2);
    assert_eq!(stack.order(), ["db", "setup", "web"]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let wrong = load(
        "nmae = 1
[services.web]
comand = [\"x\"]
policy = \"wroker\"
[services.api]
command = \"a | b\"
depends_on = [\"wbe\"]
restart = { polcy = \"no\", delay = \"5 minutes\" }
limits = { memory = \"64\" }
[services.\"a b\"]
[services.job]
depends_on = [\"job\"]
stop = { signal = \"SIGFOO\" }",
    )
    .unwrap_err();
    insta::assert_snapshot!(wrong, @"
    stockade.toml:1:1: `nmae` is not a key of a stack (did you mean `name`?)
    stockade.toml:2:11: services.web: it has no `command`, and doesn't `attach` to a process
    stockade.toml:3:1: services.web: `comand` is not a key of a service (did you mean `command`?)
    stockade.toml:4:10: services.web.policy: `wroker` is not a shipped policy (did you mean `worker`?)
    stockade.toml:6:11: services.api.command: no shell reads this (write a list, each word in quotes)
    stockade.toml:7:15: services.api.depends_on: there is no service `wbe` (did you mean `web`?)
    stockade.toml:8:13: services.api: `restart.polcy` is not a key of a service (did you mean `policy`?)
    stockade.toml:8:35: services.api.restart.delay: `5 minutes` is not a duration (write `5m`)
    stockade.toml:10:11: services: `a b` is no name for a service (at most 48 letters, digits, `-` and `_`)
    stockade.toml:11:11: services.job: it has no `command`, and doesn't `attach` to a process
    stockade.toml:13:19: services.job.stop.signal: `SIGFOO` is no signal (there are HUP, INT, QUIT, TERM, KILL, USR1, USR2, WINCH, STOP, CONT)
    stockade.toml:9:21: limits.memory: `64` is not a size (write `512MiB`)
    ");
}

#[test]
fn services_that_wait_for_each_other_are_shown() {
    let wrong = load(
        "[services.a]
command = [\"a\"]
depends_on = [\"b\"]
[services.b]
command = [\"b\"]
depends_on = [\"c\"]
[services.c]
command = [\"c\"]
depends_on = [\"b\"]",
    )
    .unwrap_err();
    insta::assert_snapshot!(wrong, @"stockade.toml:4:11: services.b.depends_on: services wait for each other: b -> c -> b");
}

#[test]
fn defaults_count_for_each_service_that_does_not_say_otherwise() {
    let stack = load(
        "[defaults]
policy = \"worker\"
user = 7
labels = { team = \"a\" }
restart = { delay = \"1s\", policy = \"always\" }
limits = { memory = \"600MiB\", pids = 9 }
[services.web]
command = [\"web\"]
restart.delay = \"2s\"
limits.pids = 10
x-note = 1
stop.x-note = 2
[services.db]
command = [\"db\"]
policy = \"service\"
working_dir = \"/srv/db\"",
    )
    .unwrap();
    let (web, db) = (&stack.services["web"], &stack.services["db"]);
    assert_eq!(web.policy.name, "worker");
    assert_eq!(
        (web.policy.limits.memory, web.policy.limits.pids),
        (Some(Bytes::mib(600)), Some(10))
    );
    assert_eq!(web.policy.identity.user, Some(7));
    assert_eq!(web.labels["team"], "a");
    assert_eq!(web.rules.restart.delay, Duration::from_secs(2));
    assert_eq!(web.rules.restart.policy, crate::supervisor::RestartPolicy::Always);
    assert_eq!((db.policy.name.as_str(), db.policy.limits.pids), ("service", Some(9)));
    assert_eq!(db.policy.filesystem.workdir.as_deref(), Some(Path::new("/srv/db")));
}

#[test]
fn variables_are_put_into_texts_and_what_is_wrong_keeps_its_place() {
    let loaded = load(
        "[services.web]
command = [\"web\", \"${PORT}\", \"$$x ${NO:-n}\"]
network.publish = []
environment.set = { AT = \":${PORT}\" }",
    )
    .unwrap();
    assert_eq!(loaded.services["web"].command, ["web", "8080", "$x n"]);
    assert_eq!(loaded.services["web"].policy.environment.set["AT"], ":8080");
    let wrong = load(
        "[services.web]
command = [\"web\",
  \"${NO}\"]
restart.delay = \"${PORT} minutes\"",
    );
    insta::assert_snapshot!(wrong.unwrap_err(), @"
    stockade.toml:3:3: services.web.command: the variable `NO` isn't set (write `${NO:-}` where it needn't be)
    stockade.toml:4:17: services.web.restart.delay: `8080 minutes` is not a duration (write `8080m`)
    ");
}

#[test]
fn wrong_defaults_are_told_once_and_wrong_values_of_the_new_keys_too() {
    let wrong = load(
        "[defaults]
restart.delay = \"soon\"
limits.memory = \"much\"
[services.web]
command = [\"web\"]
labels = { \"a b\" = \"x\" }
working_dir = \"/a\"
filesystem.workdir = \"/b\"
user = \"root\"
[services.db]
command = [\"db\"]
env_file = [\"no.env\", { pth = \"x\" }]
[services.log]
command = [\"log\"]
env_file = [\"/no/such.env\"]",
    );
    insta::assert_snapshot!(wrong.unwrap_err(), @"
    stockade.toml:2:17: defaults.restart.delay: `soon` is not a duration (write `30s`)
    stockade.toml:6:12: services.web.labels: `a b` is no name for a label (at most 128 letters, digits, `-`, `_`, `.` and `/`)
    stockade.toml:7:1: services.web.working_dir: it is said twice, here and as `workdir`
    stockade.toml:12:25: services.db.env_file: `pth` is neither `path` nor `required`
    stockade.toml:15:13: env_file: `/no/such.env`: failed to read: No such file or directory (os error 2)
    stockade.toml:3:17: limits.memory: `much` is not a size (write `512MiB`)
    stockade.toml:9:8: identity.user: `root` is not a whole number from 0 to 4294967294
    ");
    let wrong = load("include = [\"x\"]\n[defaults]\ncomand = 1").unwrap_err();
    insta::assert_snapshot!(wrong, @"stockade.toml:3:1: defaults: `comand` is not a key of a service (did you mean `command`?)");
}

#[test]
fn included_files_bring_services_and_stand_under_the_defaults_of_those_that_include_them() {
    let main = "[defaults]\nlimits = { pids = 9, memory = \"600MiB\" }\n[services.web]\ncommand = [\"web\"]\ndepends_on = [\"db\"]";
    let more = "name = \"more\"\n[defaults]\nlimits.pids = 8\n[services.db]\ncommand = [\"db\"]";
    let both = [file("main.toml", main, None), file("more.toml", more, Some(0))];
    let whole = stack(&both).unwrap();
    let limits = |name: &str| {
        let limits = &whole.services[name].policy.limits;
        (limits.pids, limits.memory)
    };
    assert_eq!(limits("web"), (Some(9), Some(Bytes::mib(600))));
    assert_eq!(limits("db"), (Some(8), Some(Bytes::mib(600))));
    assert_eq!(whole.order(), ["db", "web"]);
    let twice = [
        file("main.toml", main, None),
        file("more.toml", "[services.web]\ncommand = [\"x\"]\nstop.signal = \"X\"", Some(0)),
    ];
    insta::assert_snapshot!(stack(&twice).unwrap_err(), @"
    main.toml:5:15: services.web.depends_on: there is no service `db`
    more.toml:1:11: services.web: it stands in `main.toml` too
    ");
}

#[test]
fn files_are_included_once_and_must_be_nobody_elses() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write(
        "main.toml",
        "include = [\"a.toml\", \"none.toml\"]\n[services.main]\ncommand = [\"x\"]\nenv_file = [\"x.env\"]\nenvironment.set = { B = \"own\" }",
    );
    write(
        "a.toml",
        "include = [\"main.toml\"]\n[services.a]\ncommand = [\"a\"]\nenv_file = [\"x.env\", { path = \"no.env\", required = false }]",
    );
    write("x.env", "A=1\nB=2");
    let load = || Stack::load(Path::new("main.toml"), directory.path());
    let told = |error: crate::policy::PolicyError| {
        let lines: Vec<String> = error.problems().iter().map(Problem::headline).collect();
        lines.join("\n")
    };
    insta::assert_snapshot!(told(load().unwrap_err()), @"
    main.toml:1:22: include: `none.toml`: failed to read: No such file or directory (os error 2)
    a.toml:1:12: include: `main.toml` includes itself, by way of this
    ");
    write("none.toml", "");
    write(
        "a.toml",
        "[services.a]\ncommand = [\"a\"]\nenv_file = [\"x.env\", { path = \"no.env\", required = false }]",
    );
    let stack = load().unwrap();
    let set = |name: &str| stack.services[name].policy.environment.set.clone();
    assert_eq!((set("a")["A"].as_str(), set("a")["B"].as_str()), ("1", "2"));
    assert_eq!(set("main")["B"], "own");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(directory.path().join("a.toml"), open).unwrap();
    insta::assert_snapshot!(told(load().unwrap_err()), @"main.toml:1:12: include: `a.toml`: everybody can write it, and with it what is started (chown, chmod go-w)");
}

#[test]
fn probes_and_needs_say_what_is_looked_at_and_how_often() {
    let stack = load(
        "[services.db]
command = \"db\"
startup_probe = { unix_socket = \"/run/db\", failure_threshold = 30, period = \"1s\" }
[services.web]
command = \"web\"
depends_on = { db = { condition = \"healthy\", required = false, restart = true } }
[services.web.readiness_probe]
http_get = { port = 80, path = \"/ready?x=1\", scheme = \"HTTPS\", headers = { Host = \"web\" }, status = [204] }
success_threshold = 2
initial_delay = \"3s\"
[services.web.liveness_probe]
grpc = { port = 81, service = \"shop\" }",
    )
    .unwrap();
    let (web, db) = (&stack.services["web"], &stack.services["db"]);
    let need = web.depends_on["db"];
    assert_eq!((need.condition, need.required, need.restart), (Condition::Healthy, false, true));
    assert_eq!((db.rules.started, web.rules.started), (Started::Ready, Started::Executed));
    assert_eq!((db.rules.probed, web.rules.probed), (false, true));
    let startup = db.probes.startup.as_ref().unwrap();
    assert_eq!(startup.check.told(), "unix_socket /run/db");
    assert_eq!((startup.probe.failure_threshold, startup.probe.period.as_secs()), (30, 1));
    let told: Vec<String> = web.probes.all().map(|(_, probe)| probe.check.told()).collect();
    assert_eq!(told, ["http_get /ready?x=1 with TLS at port 80", "grpc \"shop\" at port 81"]);
    let readiness = &web.probes.readiness.as_ref().unwrap().probe;
    assert_eq!((readiness.success_threshold, readiness.timeout.as_secs()), (2, 1));
}

#[test]
fn everything_that_is_wrong_with_probes_is_told_at_once() {
    let wrong = load(
        "[services.web]
command = \"web\"
depends_on = { job = \"healthy\", log = { conditon = \"ready\" } }
startup_probe = { http_get = { path = \"live\", port = 70000, headers = { \"a b\" = \"x\" }, status = [1] }, perod = 1 }
readiness_probe = { tcp_socket = 80, grpc = { prt = 1 }, period = \"0s\" }
liveness_probe = { success_threshold = 2, failure_threshold = 0 }
[services.job]
command = \"job\"
type = \"oneshot\"
liveness_probe = \"/x\"
[services.log]
command = \"log\"
type = \"oneshot\"
liveness_probe = { file = \"x\" }
readiness_probe = { file = \"/x\" }
startup_probe = {}",
    );
    insta::assert_snapshot!(wrong.unwrap_err(), @"
    stockade.toml:3:41: services.web.depends_on: `conditon` is not a key of a dependency (did you mean `condition`?)
    stockade.toml:4:39: services.web.startup_probe: `live` is no path of a request (write `/live`)
    stockade.toml:4:54: services.web.startup_probe: `70000` is not a whole number from 1 to 65535
    stockade.toml:4:73: services.web.startup_probe: `a b` is no header
    stockade.toml:4:98: services.web.startup_probe: `1` is not a whole number from 100 to 599
    stockade.toml:4:104: services.web.startup_probe: `perod` is not a key of a probe (did you mean `period`?)
    stockade.toml:5:21: services.web.readiness_probe: it has two checks (write one of them)
    stockade.toml:5:45: services.web.readiness_probe: `grpc` has no `port`
    stockade.toml:5:47: services.web.readiness_probe: `prt` is not a key of `grpc` (did you mean `port`?)
    stockade.toml:5:67: services.web.readiness_probe: no time is too little
    stockade.toml:6:40: services.web.liveness_probe: one success is enough for all but readiness (write `1`)
    stockade.toml:6:63: services.web.liveness_probe: `0` is not a whole number from 1 to 1000000
    stockade.toml:10:18: services.job.liveness_probe: expected a table such as { http_get = { port = 80 } }, found a string
    stockade.toml:11:11: services.log: a job is done when it ends: a probe would tell nothing of it
    stockade.toml:14:27: services.log.liveness_probe: `x` is not an absolute path
    stockade.toml:16:17: services.log.startup_probe: it has no check (write one of `exec`, `http_get`, `tcp_socket`, `grpc`, `unix_socket`, `file`, `log_line`, `notify`)
    ");
}
