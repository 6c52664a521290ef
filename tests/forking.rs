//! Services whose program leaves its work to another process: `type = "forking"`, `pid_file` and `MAINPID`.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use std::path::Path;
use std::time::Duration;
use stockade::supervisor::{Journal, Outcome, Stack, State, Status, Supervisor};
use support::service::wait;
use support::{PYTHON, Scene};

/// Words for Python: how a program becomes a daemon, twice forked as daemon(7) has it, and says so.
const WORDS: &str = "
import os, signal, socket, sys, time
def write(path, text):
    with open(path + '.new', 'w') as file: file.write(str(text))
    os.rename(path + '.new', path)
def say(text):
    to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    to.connect(os.environ['NOTIFY_SOCKET'])
    to.send(text.encode())
def daemon(work):
    if os.fork(): return
    os.setsid()
    if os.fork(): os._exit(0)
    work()
    os._exit(0)
def wait_for(path):
    while not os.path.exists(path): time.sleep(0.02)
def serve():
    # What Python hears between a fork and here is lost.
    open('/tmp/serves', 'w').close()
    while True: time.sleep(0.02)
signal.signal(signal.SIGTERM, lambda *_: os._exit(9))
";

/// It is ready when it serves.
const SERVES: &str = "readiness_probe = { file = \"/tmp/serves\", period = \"20ms\", timeout = \"20s\", failure_threshold = 10000 }";

/// The only service of a stack, with this Python program and these lines.
fn stack(scene: &Scene, program: &str, lines: &str) -> Stack {
    let program = format!("{WORDS}{program}");
    let path = scene.file(
        "stockade.toml",
        &format!(
            "[services.it]\npolicy = \"default\"\ncommand = [\"{PYTHON}\", \"-c\", '''{program}''']\nrestart.policy = \"no\"\n{lines}\n"
        ),
    );
    Stack::load(Path::new(&path), scene.path()).unwrap()
}

fn start(scene: &Scene, program: &str, lines: &str) -> Supervisor {
    Supervisor::start(&stack(scene, program, lines)).0
}

#[tokio::test(flavor = "current_thread")]
async fn a_daemon_that_its_file_names_is_the_service_and_its_end_is_the_services() {
    let scene = Scene::new();
    // Written late, as many do; a helper beside it goes with it.
    let program = "
def work():
    wait_for('/tmp/gone')
    if not os.fork(): time.sleep(1000)
    write('/tmp/it.pid', f' {os.getpid()}\\n')
    serve()
daemon(work)
open('/tmp/gone', 'w').close()";
    let lines = "type = \"forking\"\npid_file = \"/tmp/it.pid\"\nstart_timeout = \"unlimited\"";
    let team = start(&scene, program, lines);
    let status =
        wait(&team, |status| status.state != State::Starting && status.generation.0 > 0).await;
    assert_eq!((status.state, status.why.as_str()), (State::Running, "it is ready"));
    // A stop reaches it, and how it ends is how the service ends.
    let status = team.service("it").unwrap().stop().await.unwrap();
    assert_eq!(status.last, Some(Outcome::Exited(9)));
}

#[tokio::test(flavor = "current_thread")]
async fn the_only_process_that_is_left_is_taken_where_nothing_names_one() {
    let scene = Scene::new();
    let team = start(&scene, "daemon(serve)", &format!("type = \"forking\"\n{SERVES}"));
    wait(&team, |status| status.ready).await;
    let status = team.service("it").unwrap().stop().await.unwrap();
    assert_eq!(status.last, Some(Outcome::Exited(9)));
    // One that ends by itself ends the service, with its own status.
    let work = "
def work():
    wait_for('/tmp/go')
    os._exit(7)
daemon(work)";
    let lines = "type = \"forking\"\nreload.command = [\"/bin/touch\", \"/tmp/go\"]";
    let team = start(&scene, work, lines);
    wait(&team, |status| status.ready).await;
    team.service("it").unwrap().reload().await.unwrap();
    let status = wait(&team, |status| status.state == State::Failed).await;
    assert_eq!(status.last, Some(Outcome::Exited(7)));
}

#[tokio::test(flavor = "current_thread")]
async fn a_stranger_is_never_taken_for_the_main_process() {
    let scene = Scene::new();
    // The first process, none at all, a grandchild of which nobody here would be told, and no number.
    for (named, why) in [
        ("1", "no process is named in `/tmp/it.pid`"),
        ("4000000", "process 4000000 can't be its main one"),
        ("{child}", "can't be its main one"),
        ("me", "no process is named in `/tmp/it.pid`"),
    ] {
        let program = format!(
            "
def work():
    child = os.fork()
    if not child: time.sleep(1000)
    write('/tmp/it.pid', f'{named}')
    serve()
daemon(work)"
        );
        let lines = "type = \"forking\"\npid_file = \"/tmp/it.pid\"\nstart_timeout = \"4s\"\nstop.grace_period = \"0s\"";
        let team = start(&scene, &program, lines);
        let told = |status: &Status| status.error.as_deref().is_some_and(|it| it.contains(why));
        let status = wait(&team, told).await;
        assert_eq!(status.state, State::Starting, "{status:?}");
        let status = wait(&team, |status| status.state == State::Failed).await;
        assert_eq!(status.last, Some(Outcome::StartTimedOut), "{named}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_is_read_inside_and_only_where_it_is_one() {
    let scene = Scene::new();
    // On the host this names a process; inside the link leads nowhere.
    let elsewhere = Scene::new();
    let outside = elsewhere.file("it.pid", &std::process::id().to_string());
    for (make, why) in [
        (format!("os.symlink('{outside}', '/tmp/it.pid')"), "No such file"),
        ("os.mkfifo('/tmp/it.pid')".to_owned(), "it is no regular file"),
    ] {
        let program = format!("{make}\ndaemon(serve)");
        let lines = "type = \"forking\"\npid_file = \"/tmp/it.pid\"\nstart_timeout = \"4s\"\nstop.grace_period = \"0s\"";
        let team = start(&scene, &program, lines);
        let told = |status: &Status| status.error.as_deref().is_some_and(|it| it.contains(why));
        wait(&team, told).await;
        team.kill().await.unwrap();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_program_that_leaves_nothing_has_not_started() {
    let scene = Scene::new();
    for program in ["sys.exit(0)", "daemon(lambda: None)"] {
        let team = start(&scene, program, "type = \"forking\"\npid_file = \"/tmp/it.pid\"");
        let status = wait(&team, |status| status.state == State::Failed).await;
        assert_eq!(status.last, Some(Outcome::NoMainProcess), "{program}");
    }
    // Whoever ends last of those of whom none was known tells how.
    let lines = "type = \"forking\"\npid_file = \"/tmp/it.pid\"";
    let program = "
def work():
    # The program's own process.
    while os.path.exists('/proc/2'): time.sleep(0.02)
    os._exit(7)
daemon(work)";
    let team = start(&scene, program, lines);
    let status = wait(&team, |status| status.state == State::Failed).await;
    assert_eq!(status.last, Some(Outcome::Exited(7)));
    let team = start(&scene, "daemon(serve); sys.exit(3)", "type = \"forking\"");
    let status = wait(&team, |status| status.state == State::Failed).await;
    assert_eq!(status.last, Some(Outcome::Exited(3)));
}

#[tokio::test(flavor = "current_thread")]
async fn a_wrapper_names_who_comes_after_it() {
    let scene = Scene::new();
    let program = "
child = os.fork()
if not child: serve()
signal.signal(signal.SIGTERM, signal.SIG_DFL)
say(f'MAINPID={child}\\nREADY=1')
wait_for('/tmp/go')
sys.exit(4)";
    let lines = "type = \"notify\"\nreload.command = [\"/bin/touch\", \"/tmp/go\"]";
    let lines = &format!("{lines}\n{SERVES}");
    for lives in [false, true] {
        let team = start(&scene, program, lines);
        let status = wait(&team, |status| status.ready).await;
        let (it, init) = (team.service("it").unwrap(), status.pid.unwrap());
        let wrapper = children(init);
        if !lives {
            it.reload().await.unwrap();
            while children(init) == wrapper {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        // It goes on though the wrapper has ended, and with failure; a stop reaches the one that was named, by way of the wrapper
        // or without.
        assert_eq!(it.status().state, State::Running);
        let status = it.stop().await.unwrap();
        assert_eq!(status.last, Some(Outcome::Exited(9)), "{lives}");
    }
    // A stranger comes after nobody.
    let program = "say('MAINPID=4000000\\nREADY=1'); wait_for('/tmp/go'); sys.exit(4)";
    let team =
        start(&scene, program, "type = \"notify\"\nreload.command = [\"/bin/touch\", \"/tmp/go\"]");
    wait(&team, |status| status.ready).await;
    team.service("it").unwrap().reload().await.unwrap();
    let status = wait(&team, |status| status.state == State::Failed).await;
    assert_eq!(status.last, Some(Outcome::Exited(4)));
}

/// The children of a process.
fn children(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn a_next_supervisor_knows_the_main_process() {
    let scene = Scene::new();
    let go = scene.at("go");
    let program = format!(
        "
def work():
    wait_for('{go}')
    write('/tmp/it.pid', os.getpid())
    serve()
daemon(work)"
    );
    let lines = "type = \"forking\"\npid_file = \"/tmp/it.pid\"";
    let first = stack(&scene, &program, lines);
    let state = scene.path().join("state");
    let supervisor = async || {
        let journal = Journal::open(&state).await.unwrap();
        Supervisor::resume(&first, journal, None).0
    };
    let team = supervisor().await;
    // One supervisor sees its program end, the next one finds what that left, and the third one ends it.
    let no_file = |status: &Status| status.error.as_deref().is_some_and(|it| it.contains("it.pid"));
    let status = wait(&team, no_file).await;
    assert_eq!(status.state, State::Starting);
    drop(team);
    let team = supervisor().await;
    let status = wait(&team, no_file).await;
    assert_eq!((status.state, status.generation.0), (State::Starting, 1));
    let pid = status.pid.unwrap();
    scene.file("go", "");
    wait(&team, |status| status.ready).await;
    drop(team);
    let team = supervisor().await;
    let status = wait(&team, |status| status.ready).await;
    assert_eq!((status.pid, status.generation.0), (Some(pid), 1));
    let status = team.service("it").unwrap().stop().await.unwrap();
    assert_eq!(status.last, Some(Outcome::Exited(9)));
}

#[test]
fn a_file_of_a_number_is_for_those_that_leave_their_work_to_others() {
    let scene = Scene::new();
    for (lines, why) in [
        ("pid_file = \"/tmp/it.pid\"", "only a `forking` service leaves its work"),
        ("type = \"forking\"\npid_file = \"it.pid\"", "`it.pid` is not an absolute path"),
    ] {
        let text = format!("[services.it]\ncommand = [\"true\"]\n{lines}\n");
        let path = scene.file("stockade.toml", &text);
        let error = Stack::load(Path::new(&path), scene.path()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
