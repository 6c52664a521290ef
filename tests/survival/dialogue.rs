//! What a service says, stores and listens on, with one supervisor after the other.

use super::{Desk, NEVER_AGAIN, reaches, rests};
use crate::support::{self, Scene};
use stockade::supervisor::Status;

/// Words for Python: how a program talks to its supervisor, and what it was passed.
const WORDS: &str = "
import array, os, socket, sys, time
talk = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
talk.connect(os.environ['NOTIFY_SOCKET'])
def say(text, files=[]):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', files))] if files else []
    talk.sendmsg([text.encode()], rights)
def passed():
    names = os.environ.get('LISTEN_FDNAMES', '').split(':')
    return {name: 3 + at for at, name in enumerate(names)} if 'LISTEN_FDS' in os.environ else {}
";

/// A service that is a Python program and may write into a directory.
fn talking(place: &str, rest: &str, code: &str) -> String {
    format!(
        "[services.web]\npolicy = \"default\"\ncommand = [\"{}\", \"-c\", '''{WORDS}{code}''']\n\
         type = \"notify\"\nfilesystem = {{ write = [{place:?}] }}\n{rest}\n",
        support::PYTHON
    )
}

#[tokio::test(flavor = "current_thread")]
async fn what_a_service_says_is_heard_by_the_next_supervisor_and_its_watchdog_is_kept() {
    let scene = Scene::new();
    let place = scene.directory("place");
    let code = format!(
        "
say('READY=1\\nSTATUS=begun')
beats = 0
while not os.path.exists('{place}/silent'):
    beats += 1
    say('WATCHDOG=1\\nSTATUS=beat %d' % beats)
    time.sleep(0.2)
time.sleep(1000)"
    );
    let rest =
        format!("watchdog_timeout = \"4s\"\nstop = {{ grace_period = \"50ms\" }}\n{NEVER_AGAIN}");
    let desk = Desk::new(&talking(&place, &rest, &code));
    desk.kill_when(desk.other(""), || desk.runs());
    let supervisor = desk.supervisor().await;
    let beat =
        |status: &Status| status.told.as_deref().is_some_and(|told| told.starts_with("beat"));
    let first = reaches(&supervisor, "web", |status| status.ready && beat(status)).await;
    assert_eq!(first.generation.0, 1);
    // It goes on to be heard.
    reaches(&supervisor, "web", |status| beat(status) && status.told != first.told).await;
    std::fs::write(format!("{place}/silent"), "").unwrap();
    let status = reaches(&supervisor, "web", rests).await;
    assert_eq!(status.generation.0, 1);
    assert_eq!(status.why, "didn't say in time that it lives");
}

#[tokio::test(flavor = "current_thread")]
async fn what_a_service_stored_is_there_at_its_next_run_whoever_supervised_it_before() {
    let scene = Scene::new();
    let place = scene.directory("place");
    let code = format!(
        "
given = passed()
if 'state' in given:
    say('READY=1\\nSTATUS=%s of %s' % (os.pread(given['state'], 9, 0).decode(), sorted(given)))
    time.sleep(1000)
for name in ['gone', 'state', 'more']:
    memory = os.memfd_create(name)
    os.write(memory, name.encode())
    say('FDSTORE=1\\nFDNAME=' + name, [memory])
say('FDSTOREREMOVE=1\\nFDNAME=gone')
say('READY=1')
while not os.path.exists('{place}/crash'): time.sleep(0.02)
sys.exit(1)"
    );
    let desk = Desk::new(&talking(&place, "fdstore_max = 3\nrestart = { delay = \"1ms\" }", &code));
    // By one that is killed, one that executes itself anew, and that once more.
    desk.kill_when(desk.other(""), || desk.runs());
    let again = desk.scene.path().join("again");
    desk.kill_when(desk.other("reexec web"), || again.exists());
    let supervisor = desk.supervisor().await;
    let status = reaches(&supervisor, "web", |status| status.ready).await;
    assert_eq!((status.generation.0, status.told), (1, None));
    std::fs::write(format!("{place}/crash"), "").unwrap();
    let told = |status: &Status| status.ready && status.told.is_some();
    let status = reaches(&supervisor, "web", told).await;
    assert_eq!(status.told.as_deref(), Some("state of ['more', 'state']"));
    assert_eq!(status.generation.0, 2);
    supervisor.kill().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn no_connection_is_refused_while_a_service_is_started_again_by_the_next_supervisor() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let code = "import socket, sys
server = socket.socket(fileno=3)
for _ in range(2):
    client, _ = server.accept()
    client.recv(1)
    client.sendall(b'answer')
    client.close()
sys.exit(1)";
    let stack = format!(
        "[services.web]\npolicy = \"default\"\ncommand = [\"{}\", \"-c\", {code:?}]\n\
         sockets = [{{ listen = \"127.0.0.1:{port}\", name = \"web\" }}]\n\
         restart = {{ delay = \"10ms\", factor = 1.0, start_attempts = 0, max_attempts = 0 }}\n",
        support::PYTHON
    );
    let desk = Desk::new(&stack);
    desk.kill_when(desk.other(""), || desk.runs());
    let supervisor = desk.supervisor().await;
    reaches(&supervisor, "web", |status| status.ready).await;
    let ask = move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"?").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    };
    for _ in 0..12 {
        assert_eq!(tokio::task::spawn_blocking(ask).await.unwrap(), "answer");
    }
    supervisor.kill().await.unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn the_filtered_network_and_a_published_port_lead_inside_again() {
    if let Some(why) = support::lacks("network.mode") {
        support::skip!("network-namespace: {why}");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let code = "import socket
s = socket.create_server(('127.0.0.1', 8000))
while True:
    c, _ = s.accept(); c.sendall(b'hello'); c.close()";
    let stack = format!(
        "[services.web]\npolicy = \"default\"\ncommand = [\"{}\", \"-c\", {code:?}]\n\
         network = {{ mode = \"filtered\", publish = [\"{port}:8000\"] }}\n",
        support::PYTHON
    );
    let desk = Desk::new(&stack);
    let says = move || {
        use std::io::Read;
        let mut said = String::new();
        let stream = std::net::TcpStream::connect(("127.0.0.1", port));
        stream.and_then(|mut stream| stream.read_to_string(&mut said)).is_ok() && said == "hello"
    };
    desk.kill_when(desk.other(""), says);
    assert!(!says(), "nobody is there to let anybody in");
    let supervisor = desk.supervisor().await;
    let status = reaches(&supervisor, "web", |status| status.ready).await;
    assert_eq!(status.generation.0, 1);
    for _ in 0..3 {
        assert!(tokio::task::spawn_blocking(says).await.unwrap());
    }
    supervisor.kill().await.unwrap();
}
