//! Real servers as services of a daemon: ready when they say so, reloaded and started anew under load, stopped as each wants it.

use crate::nginx::{SETTINGS, page, page_over};
use crate::support::daemon::{Answering, answering, daemon_in, stockade};
use crate::support::{Scene, guarded};
use crate::{fetched, free_port, needs_programs, postgres, redis, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, ChildStderr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

/// A daemon whose services see the fetched system, and write in `work` of its scene.
struct Daemon {
    scene: Scene,
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Daemon {
    fn start(scene: Scene, services: &str) -> Self {
        let root = fetched("root");
        let defaults = format!(
            "[defaults]\npolicy = \"service\"\nworking_dir = \"work\"\n\
             filesystem = {{ root = \"{}\", write = [\"work\"] }}\n\
             network.mode = \"filtered\"\n",
            root.display()
        );
        scene.file("stockade.toml", &(defaults + services));
        let Answering { child, stderr, .. } = answering(daemon_in(&scene));
        Self { scene, child, stderr }
    }

    /// What a command says that succeeds.
    #[track_caller]
    fn said(&self, arguments: &[&str]) -> String {
        let output = stockade(&self.scene, arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        if output.status.code() != Some(0) {
            let logs = stockade(&self.scene, &["logs", "--state", "state"]).output().unwrap();
            panic!("{arguments:?}: {told}\n{}", String::from_utf8_lossy(&logs.stdout));
        }
        String::from_utf8(output.stdout).unwrap()
    }

    fn service(&self, name: &str) -> Value {
        serde_json::from_str(&self.said(&["inspect", name])).unwrap()
    }

    /// Ends it with these services, each of which comes to rest by itself when it is asked.
    fn end(mut self, services: &[&str]) {
        for name in services {
            self.said(&["stop", name]);
            let service = self.service(name);
            assert_eq!(
                (&service["state"], &service["last"]["exit_code"]),
                (&"inactive".into(), &0.into()),
                "{service}"
            );
        }
        self.said(&["down"]);
        let (child, mut told) = (&mut self.child, String::new());
        let status = guarded(child.id(), || child.wait().unwrap());
        self.stderr.read_to_string(&mut told).unwrap();
        assert!(status.success(), "{told}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Where a test fails: it stops its services, and goes.
        if let Ok(None) = self.child.try_wait() {
            let pid = Pid::from_raw(self.child.id().try_into().unwrap());
            kill(pid, Signal::SIGTERM).unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// What clients met who asked for a page without pause.
#[derive(Debug, Default)]
struct Load {
    answered: AtomicU32,
    /// Nobody took the connection.
    refused: AtomicU32,
    /// It was taken, and not answered.
    lost: AtomicU32,
}

/// Has clients ask for a page without pause while something is done.
fn under_load(port: u16, path: &str, work: impl FnOnce()) -> [u32; 3] {
    let (over, load) = (AtomicBool::new(false), Load::default());
    let client = || {
        while !over.load(Ordering::Relaxed) {
            let count = match TcpStream::connect(("127.0.0.1", port)) {
                Err(_) => &load.refused,
                Ok(stream) => match page_over(stream, path) {
                    Some(_) => &load.answered,
                    None => &load.lost,
                },
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    /// Also where what is done panics: the clients are waited for.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(client);
        }
        let _over = Over(&over);
        work();
    });
    [load.answered, load.refused, load.lost].map(AtomicU32::into_inner)
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.directory("work");
    scene
}

#[test]
fn nginx_takes_new_settings_under_load_and_loses_no_request() {
    needs_programs!();
    let scene = scene();
    for name in ["first", "second"] {
        scene.directory(&format!("work/{name}"));
        scene.file(&format!("work/{name}/name"), name);
    }
    scene.file("work/nginx.conf", SETTINGS);
    let port = free_port();
    let daemon = Daemon::start(
        scene,
        &format!(
            "[services.web]\n\
             command = [\"nginx\", \"-p\", \".\", \"-c\", \"nginx.conf\"]\n\
             network.publish = [\"{port}:8080\"]\n\
             readiness_probe = {{ http_get = {{ port = 8080, path = \"/name\" }}, period = \"500ms\", timeout = \"10s\" }}\n\
             stop.signal = \"SIGQUIT\"\n"
        ),
    );
    daemon.said(&["wait", "web"]);
    let before = daemon.service("web")["pid"].clone();
    let [answered, refused, lost] = under_load(port, "/name", || {
        for name in ["second", "first", "second", "first"] {
            let settings = SETTINGS.replace("root first", &format!("root {name}"));
            daemon.scene.file("work/nginx.conf", &settings);
            daemon.said(&["reload", "web"]);
            until("the other page", || page(port, "/name").filter(|text| text == name));
        }
    });
    assert!(answered > 20);
    assert_eq!((refused, lost), (0, 0), "of {answered}");
    assert_eq!(daemon.service("web")["pid"], before);
    daemon.end(&["web"]);
}

#[test]
fn redis_and_postgresql_say_when_they_are_ready_and_are_stopped_as_they_want_it() {
    needs_programs!();
    let [redis, sql] = [free_port(), free_port()];
    let programs = postgres::PROGRAMS;
    let user = postgres::USER;
    let daemon = Daemon::start(
        scene(),
        &format!(
            "[services.cache]\n\
             type = \"notify\"\n\
             command = [\"redis-server\", \"--supervised\", \"systemd\", \"--bind\", \"127.0.0.1\", \"--save\", \"\"]\n\
             network.publish = [\"{redis}:6379\"]\n\
             [services.cluster]\n\
             type = \"oneshot\"\n\
             command = [\"{programs}/initdb\", \"-D\", \"data\", \"-U\", \"postgres\", \"-A\", \"trust\", \"--no-locale\", \"-E\", \"UTF8\"]\n\
             {user}\
             [services.db]\n\
             type = \"notify\"\n\
             depends_on = {{ cluster = \"completed\" }}\n\
             command = [\"{programs}/postgres\", \"-D\", \"data\", \"-k\", \"/tmp\", \"-h\", \"127.0.0.1\"]\n\
             network.publish = [\"{sql}:5432\"]\n\
             stop.signal = \"SIGINT\"\n\
             start_timeout = \"5m\"\n\
             {user}"
        ),
    );
    daemon.said(&["wait", "--timeout", "150s", "cache", "cluster", "db"]);
    // Ready means that it answers, at the first try.
    assert_eq!(redis::answer(redis, "PING").as_deref(), Some("+PONG"));
    assert!(daemon.service("cache")["why"].as_str().unwrap().contains("Ready to accept"));
    assert_eq!(postgres::sql(sql, "SELECT 6 * 7").as_deref(), Some("42\n"));
    // A restart is over when the next one is ready.
    daemon.said(&["restart", "db"]);
    assert_eq!(postgres::sql(sql, "SELECT 6 * 7").as_deref(), Some("42\n"));
    daemon.said(&["stop", "db"]);
    let logs = daemon.said(&["logs", "--state", "state", "db"]);
    assert_eq!(logs.matches("database system is shut down").count(), 2, "{logs}");
    assert!(!logs.contains("not properly shut down"), "{logs}");
    daemon.end(&["cache"]);
}

const APPLICATION: &str = "
def application(environ, start):
    start('200 OK', [('Content-Type', 'text/plain')])
    return [b'gunicorn']
";

const SERVER: &str = "
const server = require('node:http').createServer((request, answer) => answer.end('node'));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
server.listen({ fd: 3 });
";

#[test]
fn gunicorn_and_node_start_when_somebody_comes_and_anew_with_nobody_refused() {
    needs_programs!();
    let scene = scene();
    scene.file("work/app.py", APPLICATION);
    scene.file("work/server.js", SERVER);
    let [python, node] = [free_port(), free_port()];
    let daemon = Daemon::start(
        scene,
        &format!(
            "[services.app]\n\
             type = \"notify\"\n\
             command = [\"gunicorn\", \"--workers\", \"2\", \"app:application\"]\n\
             sockets = [{{ listen = \"127.0.0.1:{python}\" }}]\n\
             start = \"on-demand\"\n\
             [services.site]\n\
             command = [\"node\", \"server.js\"]\n\
             sockets = [{{ listen = \"127.0.0.1:{node}\" }}]\n\
             start = \"on-demand\"\n"
        ),
    );
    for (name, port, text) in [("app", python, "gunicorn"), ("site", node, "node")] {
        let service = daemon.service(name);
        assert_eq!(service["pid"], Value::Null, "{service}");
        // The one who wakes it is answered too.
        assert_eq!(
            page(port, "/").as_deref(),
            Some(text),
            "{}",
            daemon.said(&["logs", "--state", "state"])
        );
        let [answered, refused, _lost] = under_load(port, "/", || {
            for _ in 0..2 {
                daemon.said(&["restart", name]);
            }
        });
        // The socket stays. Whom a server that ends has taken and sends away is its own affair: Node.js closes those that haven't
        // asked yet.
        assert!(refused == 0 && answered > 20, "{refused} refused, {answered} answered");
        assert_eq!(daemon.service(name)["restarts"]["asked"], 2);
    }
    daemon.end(&["app", "site"]);
}
