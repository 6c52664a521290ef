//! The walls, hit from inside; each attempt succeeds where that wall alone is missing.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers in a test file for no tests")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;
use support::{PYTHON, Scene, Started, is_root, python_outside, skip};

/// A probe in Python: what `attempt` gives, or the name of the error.
fn probe(attempt: &str) -> String {
    format!(
        "import ctypes, os, signal, socket, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n\
         def code(result): return 'ok' if result >= 0 else os.strerror(ctypes.get_errno())\n\
         try: print({attempt})\n\
         except OSError as error: print(error.strerror)"
    )
}

// Network.

#[test]
fn a_listener_of_the_host_is_out_of_reach() {
    let (scene, listener) = (Scene::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let attempt =
        probe(&format!("bool(socket.create_connection(('127.0.0.1', {})))", address.port()));
    scene.python(&[], &attempt).expect_text("Connection refused\n");
    scene.python(&["--net", "host"], &attempt).expect_text("True\n");
}

#[test]
fn an_abstract_socket_of_the_host_is_out_of_reach() {
    let name = format!("stockade-walls-{}", std::process::id());
    let _listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let attempt = probe(&format!("socket.socket(socket.AF_UNIX).connect('\\0{name}')"));
    Scene::new().python(&[], &attempt).expect_text("Connection refused\n");
    assert_eq!(python_outside(&attempt), "None\n");
}

#[test]
fn there_is_no_interface_but_a_loopback_that_works() {
    let scene = Scene::new();
    let names = "import socket; print(sorted(name for _, name in socket.if_nameindex()))";
    scene.python(&[], names).expect_text("['lo']\n");
    scene.python(&["--net", "host"], names).expect_text(&python_outside(names));

    let code = "import socket
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
peer, _ = server.accept()
client.sendall(b'through'); print(peer.recv(9))";
    scene.python(&[], code).expect_text("b'through'\n");
}

#[test]
fn no_packet_has_a_way_out() {
    let attempt =
        probe("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))");
    Scene::new().python(&[], &attempt).expect_text("Network is unreachable\n");
}

// Processes.

#[test]
fn processes_of_the_host_are_invisible_and_cant_be_signalled() {
    let scene = Scene::new();
    let pids =
        "import os; print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit()))";
    scene.python(&[], pids).expect_text("[1, 2]\n");
    assert!(python_outside(pids).len() > "[1, 2]\n".len());

    let attempt = probe(&format!("os.kill({}, 0)", std::process::id()));
    scene.python(&[], &attempt).expect_text("No such process\n");
    assert_eq!(python_outside(&attempt), "None\n");
}

#[test]
fn the_first_process_cant_be_looked_into() {
    let scene = Scene::new();
    for attempt in [
        "open('/proc/PID/mem', 'rb')",
        "os.listdir('/proc/PID/fd')",
        "os.readlink('/proc/PID/exe')",
        "os.readlink('/proc/PID/root')",
        "open('/proc/PID/environ').read()",
        "open('/proc/PID/maps').read()",
    ] {
        let refused = scene.python(&[], &probe(&attempt.replace("PID", "1")));
        refused.expect_text("Permission denied\n");
        // The same of a process of its own.
        let own = scene.python(&[], &probe(&format!("bool({})", attempt.replace("PID", "self"))));
        assert_ne!(own.text(), "Permission denied\n", "{attempt}");
    }
}

#[test]
fn the_first_process_cant_be_traced_even_where_tracing_is_allowed() {
    let scene = Scene::new();
    let flags = ["--allow-syscall", "ptrace", "--allow-syscall", "process_vm_readv"];
    // 16 is PTRACE_ATTACH.
    scene
        .python(&flags, &probe("code(libc.ptrace(16, 1, 0, 0))"))
        .expect_text("Operation not permitted\n");
    let child = "code(libc.ptrace(16, os.fork() or signal.pause(), 0, 0))";
    scene.python(&flags, &probe(child)).expect_text("ok\n");

    let read = "(lambda word: code(libc.process_vm_readv(PID, (ctypes.c_uint64 * 2)(ctypes.addressof(word), 8), 1, (ctypes.c_uint64 * 2)(ctypes.addressof(word), 8), 1, 0)))(ctypes.c_uint64())";
    scene
        .python(&flags, &probe(&read.replace("PID", "1")))
        .expect_text("Operation not permitted\n");
    scene.python(&flags, &probe(&read.replace("PID", "os.getpid()"))).expect_text("ok\n");
}

#[test]
fn the_first_process_survives_every_signal_from_inside() {
    // A kernel that holds signals back says so; elsewhere they are sent and do nothing.
    let code = "import os
for number in set(range(1, 65)) - {32, 33}:
    try: os.kill(1, number)
    except PermissionError: pass
print(os.getppid())";
    Scene::new().python(&[], code).expect_text("1\n");
}

#[test]
fn the_host_sees_an_unprivileged_user_whoever_started_it() {
    let scene = Scene::new();
    let started = Started::new(
        scene.command(&["--user", "0", "--group", "0"], &["bash", "-c", "id -u; read"]),
    );
    let status = fs::read_to_string(format!("/proc/{}/status", started.program())).unwrap();
    let field = |name: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(|id| id.parse().unwrap()).collect()
    };
    assert_eq!(started.first_line, "0");
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    if is_root() {
        assert!(field("Uid:").iter().all(|id| *id >= 100_000), "{status}");
        assert!(field("Gid:").iter().all(|id| *id >= 100_000), "{status}");
        assert!(field("Groups:").is_empty(), "{status}");
    } else {
        assert_eq!((field("Uid:"), field("Gid:")), (vec![uid; 4], vec![gid; 4]));
    }
    started.finish(&scene);
}

#[test]
fn no_privilege_is_left_and_none_can_be_gained() {
    let line = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t'";
    let none =
        ["Inh", "Prm", "Eff", "Bnd", "Amb"].map(|set| format!("Cap{set}:{:016x}\n", 0)).concat();
    let walls = format!("{none}NoNewPrivs:1\nSeccomp:2\n");
    Scene::new().bash(&["--user", "0"], line).expect_text(&walls);
    let outside = Command::new("bash").args(["-c", line]).output().unwrap().stdout;
    assert_ne!(String::from_utf8_lossy(&outside), walls);
}

// Files.

#[test]
fn a_file_that_the_policy_doesnt_name_doesnt_exist() {
    let (scene, other) = (Scene::new(), Scene::new());
    let secret = other.file("secret", "hunter2");
    let attempt = probe(&format!("open('{secret}').read()"));
    scene.python(&[], &attempt).expect_text("No such file or directory\n");
    scene.python(&["--read", &secret], &attempt).expect_text("hunter2\n");
    scene.python(&["--read", &other.at("")], &attempt).expect_text("hunter2\n");
}

#[test]
fn files_of_the_system_that_hold_secrets_dont_exist() {
    let code = "import os; print([path for path in
        ('/etc/shadow', '/root', '/home', '/var', '/sys', '/run', '/boot', '/dev/mem', '/dev/kmsg', '/dev/sda', '/dev/vda')
        if os.path.lexists(path)])";
    Scene::new().python(&[], code).expect_text("[]\n");
    assert_ne!(python_outside(code), "[]\n");
}

#[test]
fn what_may_be_read_cant_be_changed() {
    let (scene, other) = (Scene::new(), Scene::new());
    // Everybody may write as far as file modes go, so that only the wall is left.
    let file = other.file("file", "before");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(other.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let directory = other.at("");
    let (read, write) = (["--read", &directory], ["--write", &directory]);
    for attempt in [
        format!("open('{file}', 'a').write('x')"),
        format!("open('{directory}new', 'w').write('x')"),
        format!("os.chmod('{file}', 0o600)"),
        format!("os.utime('{file}')"),
        format!("os.rename('{file}', '{directory}moved')"),
        format!("os.unlink('{directory}moved')"),
    ] {
        scene.python(&read, &probe(&attempt)).expect_text("Read-only file system\n");
        let allowed = scene.python(&write, &probe(&attempt));
        assert!(["1\n", "None\n"].contains(&allowed.text()), "{}", allowed.told());
    }
}

#[test]
fn the_system_and_the_callers_directory_cant_be_changed() {
    let scene = Scene::new();
    for place in ["/", "/usr/", "/usr/bin/", "/etc/", "/dev/", "/proc/", "./"] {
        let run = scene.python(&[], &probe(&format!("open('{place}stockade-was-here', 'w')")));
        let refused =
            ["Read-only file system\n", "Permission denied\n", "No such file or directory\n"];
        assert!(refused.contains(&run.text()), "{place}: {}", run.told());
    }
    scene
        .python(&["--write", "."], &probe("open('./stockade-was-here', 'w').write('x')"))
        .expect_text("1\n");
}

#[test]
fn what_is_written_belongs_to_the_directorys_owner() {
    let scene = Scene::new();
    let out = scene.directory("out");
    if is_root() {
        chown(&out, Some(4321), Some(1234)).unwrap();
    }
    let line = "mkdir out/d && echo text >out/d/file && ln -s file out/d/link && stat -c '%U' out >/dev/null";
    scene.bash(&["--write", &out], line).expect_code(0);
    let owner = fs::metadata(&out).unwrap();
    for made in ["out/d", "out/d/file", "out/d/link"] {
        let found = fs::symlink_metadata(scene.at(made)).unwrap();
        assert_eq!((found.uid(), found.gid()), (owner.uid(), owner.gid()), "{made}");
    }
    assert_eq!(fs::read_to_string(scene.at("out/d/file")).unwrap(), "text\n");
}

#[test]
fn a_file_that_only_another_user_may_read_stays_unreadable() {
    if !is_root() {
        skip!("root: only root can make files of another user");
    }
    let scene = Scene::new();
    let private = scene.file("private", "hunter2");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
    let attempt = probe("open('private').read()");
    scene.python(&["--user", "0"], &attempt).expect_text("Permission denied\n");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o604)).unwrap();
    scene.python(&["--user", "0"], &attempt).expect_text("hunter2\n");
}

#[test]
fn a_link_inside_doesnt_lead_out() {
    let (scene, other) = (Scene::new(), Scene::new());
    let secret = other.file("secret", "hunter2");
    let out = scene.directory("out");
    let line = format!(
        "ln -s {secret} out/link; cat out/link out/../../{}/secret",
        other.path().file_name().unwrap().to_str().unwrap()
    );
    let run = scene.bash(&["--write", &out], &line).expect_code(1);
    assert!(run.stdout.is_empty(), "{}", run.told());
    let again = scene.bash(&["--write", &out, "--read", &secret], "cat out/link").expect_code(0);
    assert_eq!(again.stdout, b"hunter2");
}

#[test]
fn a_path_that_a_link_replaces_before_the_launch_is_what_the_link_names() {
    let scene = Scene::new();
    scene.directory("real");
    scene.file("real/file", "through a link\n");
    std::os::unix::fs::symlink("real", scene.at("link")).unwrap();
    let other = Scene::new();
    let mut command =
        scene.command(&["--read", &scene.at("link")], &["cat", &scene.at("link/file")]);
    command.current_dir(other.path());
    scene.finish(command).expect_text("through a link\n");
}

#[test]
fn the_tmp_inside_is_private_and_bounded() {
    let scene = Scene::new();
    let name = format!("/tmp/stockade-walls-{}", std::process::id());
    scene.bash(&[], &format!("echo x >{name}; cat {name}")).expect_text("x\n");
    assert!(!fs::exists(&name).unwrap());
    let fill = probe("open('/tmp/big', 'wb', 0).write(bytes(1 << 21)) == 1 << 21");
    scene.python(&["--tmp", "1MiB"], &fill).expect_text("False\n");
    scene.python(&["--tmp", "4MiB"], &fill).expect_text("True\n");
}

#[test]
fn nothing_can_be_mounted_or_unmounted() {
    let scene = Scene::new();
    let attempts = [
        "libc.mount(b'x', b'/tmp', b'tmpfs', 0, None)",
        "libc.umount2(b'/tmp', 2)",
        // The new root and where the old one goes: a mount that was just made.
        "libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) or libc.chdir(b'/tmp') or libc.syscall(155 if os.uname().machine == 'x86_64' else 41, b'.', b'.')",
        "libc.chroot(b'/')",
    ];
    for attempt in attempts {
        scene
            .python(&["--user", "0"], &probe(&format!("code({attempt})")))
            .expect_text("Operation not permitted\n");
    }
    // With namespaces of its own, and no wall.
    let own: &[&str] =
        if is_root() { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    let all: Vec<String> = attempts.iter().map(|attempt| format!("code({attempt})")).collect();
    let code = probe(&format!("[{}]", all.join(", ")));
    let mut command = Command::new("unshare");
    let line = "mount -t tmpfs none /tmp && cd /tmp && exec \"$0\" \"$@\"";
    command.args(own).args(["sh", "-c", line, PYTHON, "-c", &code]);
    let outside = command.output().unwrap();
    if !outside.status.success() && !is_root() {
        skip!("unprivileged-userns: {}", String::from_utf8_lossy(&outside.stderr));
    }
    assert_eq!(String::from_utf8_lossy(&outside.stdout), "['ok', 'ok', 'ok', 'ok']\n");
}

// Descriptors.

#[test]
fn no_descriptor_of_the_caller_is_inherited() {
    let (scene, other) = (Scene::new(), Scene::new());
    let secret = other.file("secret", "hunter2");
    // One of those listed is the listing's own, and closed by then.
    let list = "import os; fds = sorted(map(int, os.listdir('/proc/self/fd')))
print([fd for fd in fds if os.path.lexists(f'/proc/self/fd/{fd}')])";
    let inner = scene.command(&[], &[PYTHON, "-c", list]);
    let open = format!("exec 5<{secret} 7<{secret} 900<{secret}; exec \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &open, "bash"]).current_dir(scene.path());
    let mut outside = Command::new("bash");
    outside.args(["-c", &open, "bash", PYTHON, "-c", list]);
    command.arg(inner.get_program()).args(inner.get_args());
    scene.finish(command).expect_text("[0, 1, 2]\n");
    let outside = scene.finish(outside);
    // Among others, which this test itself inherited.
    assert!(
        outside.text().contains(" 7,") && outside.text().contains(" 900]"),
        "{}",
        outside.told()
    );
}

// Names.

#[test]
fn the_host_name_is_its_own() {
    let scene = Scene::new();
    let ask = "import socket; print(socket.gethostname())";
    scene.python(&["--hostname", "inside"], ask).expect_text("inside\n");
    assert_ne!(python_outside(ask), "inside\n");
    scene
        .python(&["--user", "0"], &probe("code(libc.sethostname(b'other', 5))"))
        .expect_text("Operation not permitted\n");
}

#[test]
fn shared_memory_of_the_host_is_invisible() {
    let key = 0x5700_0000 | (std::process::id() & 0xff_ffff);
    let make = format!("libc.shmget({key}, 4096, 0o1666)");
    let made = python_outside(&probe(&make));
    assert_ne!(made, "-1\n");
    let find = probe(&format!("code(libc.shmget({key}, 0, 0))"));
    let inside = Scene::new().python(&[], &find);
    let outside = python_outside(&find);
    let remove = format!("libc.shmctl({}, 0, None)", made.trim());
    assert_eq!(python_outside(&probe(&remove)), "0\n");
    inside.expect_text("No such file or directory\n");
    assert_eq!(outside, "ok\n");
}

#[test]
fn the_place_in_the_hosts_cgroups_is_out_of_sight() {
    let line = "grep ^0:: /proc/self/cgroup";
    Scene::new().bash(&[], line).expect_text("0::/\n");
}

#[test]
fn the_clock_since_boot_can_be_its_own() {
    let scene = Scene::new();
    let ask = "import time; print(int(time.clock_gettime(time.CLOCK_BOOTTIME)))";
    let run = scene.python(&["--clock-boottime", "1000000s"], ask);
    if run.status.code() == Some(125) && run.stderr.contains("isolation.clock") {
        skip!("time-namespace: {}", run.stderr.trim());
    }
    let inside: u64 = run.text().trim().parse().unwrap();
    let outside: u64 = python_outside(ask).trim().parse().unwrap();
    assert!(inside.abs_diff(outside + 1_000_000) < 60, "{inside} and {outside}");
}
