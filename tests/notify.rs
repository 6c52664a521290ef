//! What services say of themselves, and what is passed to them: sd_notify(3), sd_listen_fds(3) and stored descriptors, by real
//! processes under `stockade up`.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod support;

use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use support::{PYTHON, Scene, Started, guarded, skip};

/// Words for Python: how a program talks to its supervisor.
const WORDS: &str = "
import array, os, signal, socket, sys, time
def connect():
    it = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    it.connect(os.environ['NOTIFY_SOCKET'])
    return it
talk = connect() if 'NOTIFY_SOCKET' in os.environ else None
def say(text, files=[]):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', files))] if files else []
    talk.sendmsg([text.encode()], rights)
def told(*words): print(*words, flush=True)
def passed():
    assert os.environ.get('LISTEN_PID', str(os.getpid())) == str(os.getpid()), os.environ['LISTEN_PID']
    names = os.environ.get('LISTEN_FDNAMES', '').split(':')
    return {name: 3 + at for at, name in enumerate(names)} if 'LISTEN_FDS' in os.environ else {}
def opened():
    return sorted(int(fd) for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd))
";

/// A service of this name that is a Python program, under the policy that starts on any host.
fn service(name: &str, rest: &str, code: &str) -> String {
    let code = format!("{WORDS}{code}");
    format!(
        "[services.{name}]\npolicy = \"default\"\ncommand = [\"{PYTHON}\", \"-c\", '''{code}''']\n{rest}\n"
    )
}

fn up(scene: &Scene) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command.current_dir(scene.path()).arg("up").stdin(Stdio::null());
    command
}

/// Runs a stack to its end: what its services wrote, and what was told of them.
fn ran(stack: &str) -> (String, String) {
    let scene = Scene::new();
    scene.file("stockade.toml", stack);
    let child = up(&scene).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = guarded(child.id(), || child.wait_with_output().unwrap());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_service_is_ready_when_it_says_so_and_those_that_need_it_come_then() {
    let slow = "time.sleep(0.3); told('first'); say('READY=1\\nSTATUS=warm'); time.sleep(0.5)";
    let stack = [
        service("slow", "type = \"notify\"", slow),
        service("next", "depends_on = [\"slow\"]", "told('second')"),
    ];
    let (stdout, stderr) = ran(&stack.concat());
    assert_eq!(stdout, "slow | first\nnext | second\n", "{stderr}");
    assert!(stderr.contains("slow: running: it is ready; it says: warm"), "{stderr}");
}

#[test]
fn one_that_never_says_so_is_ended_and_one_that_asks_for_time_gets_it() {
    let rest = "type = \"notify\"\nstart_timeout = \"3s\"\nrestart = { policy = \"no\" }\nstop = { grace_period = \"50ms\" }";
    let patient = "
for _ in range(8):
    say('EXTEND_TIMEOUT_USEC=2500000')
    time.sleep(0.5)
say('READY=1')
told('ready after four seconds')";
    let stack = [service("mute", rest, "time.sleep(60)"), service("patient", rest, patient)];
    let (stdout, stderr) = ran(&stack.concat());
    assert_eq!(stdout, "patient | ready after four seconds\n", "{stderr}");
    assert!(stderr.contains("mute: stopping: its time to start is over"), "{stderr}");
    assert!(stderr.contains("patient: running: it is ready"), "{stderr}");
}

#[test]
fn one_that_stops_saying_that_it_lives_is_started_again() {
    let rest = "type = \"notify\"\nwatchdog_timeout = \"1500ms\"\nstop = { grace_period = \"50ms\" }\n\
                restart = { delay = \"1ms\", max_attempts = 1 }";
    let code = "
assert os.environ['WATCHDOG_USEC'] == '1500000' and os.environ['WATCHDOG_PID'] == str(os.getpid())
say('READY=1')
for _ in range(5):
    time.sleep(0.5)
    say('WATCHDOG=1')
told('silent')
time.sleep(60)";
    let (stdout, stderr) = ran(&service("dog", rest, code));
    assert_eq!(stdout, "dog | silent\n".repeat(2), "{stderr}");
    assert!(stderr.contains("dog: stopping: it didn't say in time that it lives"), "{stderr}");

    let code = "say('READY=1'); say('WATCHDOG=trigger'); time.sleep(60)";
    let (_, stderr) = ran(&service("dog", rest, code));
    assert!(stderr.contains("dog: failed: didn't say in time that it lives"), "{stderr}");
}

#[test]
fn a_flood_of_words_hurts_nobody_but_who_makes_it() {
    let flood = "
for _ in range(20000):
    try: say('STATUS=' + 'x' * 3000)
    except OSError: pass
# Far more than one message may have.
try: say('STATUS=' + 'y' * 100000)
except OSError: pass
say('STATUS=over')
say('READY=1')
";
    let other = "say('READY=1'); told('the other')";
    let stack = [
        service("flood", "type = \"notify\"", flood),
        service("other", "type = \"notify\"", other),
    ];
    let (stdout, stderr) = ran(&stack.concat());
    assert_eq!(stdout, "other | the other\n", "{stderr}");
    assert!(stderr.contains("flood: running: it is ready; it says: over"), "{stderr}");
    assert!(!stderr.contains("yyy"), "{stderr}");
}

#[test]
fn descriptors_are_kept_for_the_next_run_after_the_sockets() {
    let code = "
given = passed()
told(sorted(given.items()), opened()[:3 + len(given)] == list(range(3 + len(given))))
if 'state' not in given:
    memory = os.memfd_create('state')
    os.write(memory, b'kept')
    say('FDSTORE=1\\nFDNAME=state', [memory])
    say('FDSTORE=1\\nFDNAME=never', [os.open('/', os.O_RDONLY)])
    for at in range(9): say('FDSTORE=1\\nFDNAME=more', [os.memfd_create('more')])
    sys.exit(1)
told(os.pread(given['state'], 9, 0))
";
    let rest = "fdstore_max = 3\nsockets = [{ listen = \"127.0.0.1:0\", name = \"web\" }]\nrestart = { delay = \"1ms\" }";
    let (stdout, stderr) = ran(&service("keeper", rest, code));
    let expected = "keeper | [('web', 3)] True\n\
                    keeper | [('more', 6), ('state', 4), ('web', 3)] True\nkeeper | b'kept'\n";
    assert_eq!(stdout, expected, "{stderr}");
}

#[test]
fn whoever_waits_until_all_is_taken_in_is_told() {
    let code = "
there, here = os.pipe()
say('BARRIER=1', [here])
os.close(here)
told(os.read(there, 1))
";
    let rest = "type = \"notify\"\nrestart = { policy = \"no\" }";
    let (stdout, stderr) = ran(&service("barrier", rest, code));
    assert_eq!(stdout, "barrier | b''\n", "{stderr}");
}

#[test]
fn a_reload_is_done_when_the_program_says_so() {
    let code = "
def reload(*_):
    say('RELOADING=1\\nMONOTONIC_USEC=%d' % (time.monotonic_ns() // 1000))
    time.sleep(0.2)
    say('READY=1\\nSTATUS=reloaded')
signal.signal(signal.SIGHUP, reload)
say('READY=1')
os.kill(os.getpid(), signal.SIGHUP)
time.sleep(0.2)
";
    let (_, stderr) = ran(&service("web", "type = \"notify-reload\"", code));
    assert!(stderr.contains("web: reloading: it reloads by itself"), "{stderr}");
    assert!(stderr.contains("web: running: it has reloaded; it says: reloaded"), "{stderr}");
}

/// A port of this host that nobody has now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn ask(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"?").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Answers each connection with a word, and ends after the second.
const SERVER: &str = "
server = socket.socket(fileno=passed()['web'])
told('runs', opened()[:4])
for _ in range(2):
    client, _ = server.accept()
    client.recv(1)
    client.sendall(b'answer')
    client.close()
sys.exit(1)
";

#[test]
fn connections_wait_while_a_service_is_started_again_and_none_is_refused() {
    let (scene, port) = (Scene::new(), free_port());
    let rest = format!(
        "sockets = [{{ listen = \"127.0.0.1:{port}\", name = \"web\" }}, {{ listen = \"{}\", type = \"seqpacket\", mode = \"0666\" }}]\n\
         restart = {{ delay = \"10ms\", max_attempts = 0 }}",
        scene.at("packets")
    );
    scene.file("stockade.toml", &service("web", &rest, SERVER));
    let mut run = Started::new(up(&scene));
    assert_eq!(run.first_line, "web | runs [0, 1, 2, 3]");
    let answers: Vec<String> = (0..12).map(|_| ask(port)).collect();
    assert_eq!(answers, ["answer"; 12]);
    assert!(Path::new(&scene.at("packets")).exists());
    run.signal(Signal::SIGTERM);
    while !run.line().is_empty() {}
    run.finish(&scene).expect_code(0);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!Path::new(&scene.at("packets")).exists());
}

#[test]
fn the_first_connection_starts_what_is_wanted_on_demand() {
    let (scene, port) = (Scene::new(), free_port());
    let rest = format!(
        "start = \"on-demand\"\nsockets = [{{ listen = \"127.0.0.1:{port}\", name = \"web\" }}]\n\
         restart = {{ policy = \"always\", delay = \"1ms\", max_attempts = 0 }}"
    );
    let other = service("other", "", "told('other'); time.sleep(60)");
    scene.file("stockade.toml", &(service("web", &rest, SERVER) + &other));
    let mut run = Started::new(up(&scene));
    assert_eq!(run.first_line, "other | other");
    // It ends after two, and the next one starts it again.
    for _ in 0..2 {
        assert_eq!([ask(port), ask(port)], ["answer", "answer"]);
        assert_eq!(run.line(), "web   | runs [0, 1, 2, 3]");
    }
    run.signal(Signal::SIGTERM);
    let ended = run.finish(&scene).expect_code(0);
    assert!(
        ended.stderr.contains("web: pending: waits for somebody to connect"),
        "{}",
        ended.told()
    );
}

#[test]
fn an_address_that_is_taken_is_told_and_what_is_wrong_with_sockets_is_too() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let rest = format!("sockets = [{{ listen = \"{address}\" }}]\nrestart = {{ policy = \"no\" }}");
    let (_, stderr) = ran(&service("web", &rest, "pass"));
    let told = format!("failed to listen on `{address}`: Address already in use");
    assert!(stderr.contains(&told), "{stderr}");

    for (sockets, told) in [
        ("[{ listen = \"8080\" }]", "`8080` is neither an address with a port"),
        ("[{ listen = \"relative.sock\" }]", "nor an absolute path"),
        ("[{ name = \"web\" }]", "it has no `listen`"),
        ("[{ listen = \"/x\", mode = \"rw\" }]", "`rw` is no mode"),
        ("[{ listen = \"/x\", name = \"a:b\" }]", "`a:b` is no name for a socket"),
        ("[{ listen = \"127.0.0.1:1\", type = \"seqpacket\" }]", "`seqpacket` is for paths"),
        ("[{ listen = \"/x\", port = 1 }]", "`port` is none of `listen`"),
    ] {
        let (_, stderr) = ran(&service("web", &format!("sockets = {sockets}"), "pass"));
        assert!(stderr.contains(told), "{stderr}");
    }
}

#[test]
fn systemd_notify_is_a_client_that_works() {
    if !Path::new("/usr/bin/systemd-notify").exists() {
        skip!("systemd-notify: it isn't installed");
    }
    let line = "systemd-notify --ready --status=\"by systemd\" && echo done; sleep 0.3";
    let stack = format!(
        "[services.web]\npolicy = \"default\"\ntype = \"notify\"\ncommand = [\"bash\", \"-c\", '''{line}''']\n"
    );
    let (stdout, stderr) = ran(&stack);
    assert_eq!(stdout, "web | done\n", "{stderr}");
    assert!(stderr.contains("web: running: it is ready; it says: by systemd"), "{stderr}");
}
