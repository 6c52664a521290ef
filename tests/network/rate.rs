//! What is sent to the network is slowed down, and what comes from there isn't.

use super::{CLIENT, client, free_port, need_a_network, rule, updated};
use crate::support::{PYTHON, Scene, Started, lacks, listed, skip};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// How long everything may take that isn't slowed down.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that hears so many connections to their ends: how much they said together, and in how much time.
fn hearer(connections: usize) -> (u16, Receiver<(usize, Duration)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    thread::spawn(move || {
        let streams: Vec<_> = listener.incoming().take(connections).map(Result::unwrap).collect();
        let begin = Instant::now();
        let heard = |stream| thread::spawn(move || heard(stream));
        let all: Vec<_> = streams.into_iter().map(heard).collect();
        let sum = all.into_iter().map(|one| one.join().unwrap()).sum();
        tell.send((sum, begin.elapsed())).unwrap();
    });
    (port, told)
}

fn heard(mut stream: TcpStream) -> usize {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap()
}

/// Two connections of one program, each of which says a MiB and a half.
fn in_two(flags: &[&str]) -> Duration {
    let (scene, (port, told)) = (Scene::new(), hearer(2));
    let address = rule("127.0.0.1", port);
    let code = "
import threading
one, two = connect(f'127.0.0.1:{PORT}')[0], socks(1, bytes([127, 0, 0, 1]), PORT)[0]
def say(s):
    s.sendall(bytes(3 << 19))
    s.close()
other = threading.Thread(target=say, args=(two,))
other.start()
say(one)
other.join()";
    let ended = client(&scene, &[&["--allow", &address], flags].concat(), port, code);
    ended.expect_code(0);
    let (sum, time) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(sum, 3 * MIB);
    time
}

/// Three MiB take three seconds with a rate, but for what is made up for at the beginning, and much less without.
fn is_slowed_down(send: fn(&[&str]) -> Duration) {
    let limited = send(&["--network-send", "1MiB/s"]);
    assert!(limited >= Duration::from_millis(2_700), "{limited:?}");
    let free = send(&[]);
    assert!(free < limited / 2, "{free:?}, and {limited:?} with the limit");
}

#[test]
fn all_connections_together_send_as_fast_as_they_may() {
    need_a_network!();
    is_slowed_down(in_two);
}

/// What is said by a published port.
fn published(flags: &[&str]) -> Duration {
    let (scene, port) = (Scene::new(), free_port());
    let code = "
import socket
s = socket.create_server(('127.0.0.1', 8000))
print('up', flush=True)
c, _ = s.accept()
c.recv(1)
c.sendall(bytes(3 << 20))";
    let publish = format!("{port}:8000");
    let flags = [&["--net", "filtered", "--publish", &publish], flags].concat();
    let run = Started::new(scene.command(&flags, &[PYTHON, "-c", code]));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let begin = Instant::now();
    assert_eq!(heard(stream), 3 * MIB - 1);
    let time = begin.elapsed();
    let ended = run.finish(&scene).expect_code(0);
    if flags.contains(&"--network-send") {
        let held = ended.reported("/enforcement/limits.network_send");
        assert_eq!(
            (held["state"].as_str(), held["value"].as_str()),
            (Some("enforced"), Some("1048576"))
        );
    }
    time
}

#[test]
fn a_published_port_sends_as_fast_as_it_may() {
    need_a_network!();
    is_slowed_down(published);
}

#[test]
fn what_comes_in_is_not_slowed_down() {
    need_a_network!();
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.accept().unwrap().0.write_all(&vec![0; 8 * MIB]).unwrap());
    let address = rule("127.0.0.1", port);
    let begin = Instant::now();
    let code = "
s, _ = connect(f'127.0.0.1:{PORT}')
print(len(whole(s)))";
    let flags = ["--allow", &address, "--network-send", "64KiB/s"];
    client(&scene, &flags, port, code).expect_text("8388608\n");
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "that something doesn't happen is nobody's event")]
fn another_rate_counts_for_what_is_under_way() {
    need_a_network!();
    let (scene, (port, told)) = (Scene::new(), hearer(1));
    let address = rule("127.0.0.1", port);
    let code = format!(
        "{CLIENT}
s, _ = connect('127.0.0.1:{port}')
print('up', flush=True)
s.sendall(bytes(16 << 20))"
    );
    let flags = ["--name", "slow", "--net", "filtered", "--allow", &address];
    let flags = [&flags[..], &["--network-send", "64KiB/s"]].concat();
    let run = Started::new(scene.command(&flags, &[PYTHON, "-c", &code]));
    listed("slow");
    // All of it would take four minutes.
    thread::sleep(Duration::from_millis(500));
    assert!(told.try_recv().is_err());
    assert_eq!(updated("slow", &["--network-send", "unlimited"]), "");
    let (sum, _) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(sum, 16 * MIB);
    run.finish(&scene).expect_code(0);
}

#[test]
fn who_has_the_network_of_the_host_sends_past_any_rate() {
    need_a_network!();
    let scene = Scene::new();
    let flags = ["--net", "host", "--network-send", "1MiB/s"];
    scene.bash(&flags, "true").expect_refusal(&[
        "limits.network_send can't be enforced here",
        "set `network.mode` to `filtered`",
        "--degrade limits.network_send",
    ]);
    let accepted = [&flags[..], &["--degrade", "limits.network_send"]].concat();
    let named = [&accepted[..], &["--name", "accepted"]].concat();
    let run = Started::new(scene.command(&named, &["bash", "-c", "echo up; exec sleep 1000"]));
    listed("accepted");
    // That another limit is changed makes nothing of what isn't held.
    updated("accepted", &["--wall-time", "100s"]);
    run.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = run.finish(&scene);
    assert_eq!(ended.reported("/enforcement/limits.network_send/state"), "unavailable");
    assert_eq!(ended.reported("/enforcement/limits.wall_time/value"), "100s");
    // Nor can it be given one later.
    let program = ["bash", "-c", "echo up; exec sleep 1000"];
    let run = Started::new(scene.command(&["--name", "open", "--net", "host"], &program));
    listed("open");
    let refused = super::update("open", &["--network-send", "1MiB/s"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("limits.network_send can't be enforced here"), "{told}");
    run.signal(nix::sys::signal::Signal::SIGTERM);
    run.finish(&scene);
}
