//! Services outlive their supervisor, by real processes: a supervisor is a process of its own here, which is killed.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use stockade::supervisor::{Journal, Stack, State, Status, Supervisor};
use support::{Scene, processes_with, signal};

/// A stack file and a state directory.
struct Desk {
    scene: Scene,
}

const SERVICE: &str = "policy = \"default\"\n";

impl Desk {
    fn new(stack: &str) -> Self {
        let scene = Scene::new();
        scene.file("stockade.toml", stack);
        Self { scene }
    }

    fn state(&self) -> PathBuf {
        self.scene.path().join("state")
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
    fn other(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "a_supervisor_until_it_is_killed"])
            .env("STOCKADE_TEST_DESK", self.scene.path())
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

/// What the other process does.
#[test]
#[ignore = "it is a process of the other tests, and never ends by itself"]
fn a_supervisor_until_it_is_killed() {
    let Some(desk) = std::env::var_os("STOCKADE_TEST_DESK").map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stack = Stack::load(&desk.join("stockade.toml"), Path::new("/")).unwrap();
        let journal = Journal::open(&desk.join("state")).await.unwrap();
        let (_supervisor, mut lines) = Supervisor::resume(&stack, journal, None);
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
    let restart = "restart = { policy = \"no\" }";
    let desk = Desk::new(&format!(
        "[services.web]\ncommand = [\"bash\", \"-c\", {line:?}]\n{SERVICE}{restart}\n"
    ));
    desk.kill_when(desk.other(), || !processes_with(&marker).is_empty());
    let before = processes_with(&marker);
    let supervisor = desk.supervisor().await;
    let status = reaches(&supervisor, "web", |status| status.ready).await;
    assert_eq!(status.generation.0, 1);
    assert_eq!(processes_with(&marker), before);
    for pid in &before {
        signal(*pid, Signal::SIGTERM);
    }
    let status = reaches(&supervisor, "web", rests).await;
    assert_eq!((status.state, status.why.as_str()), (State::Failed, "exited with 7"));
    assert_eq!(processes_with(&marker), Vec::<u32>::new());
}
