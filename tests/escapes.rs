//! Two sandboxes against each other, and one against what the kernel shows of itself. Each attempt succeeds where there are
//! no walls.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers in a test file for no tests")]

mod support;

use std::process::{Command, Stdio};
use support::{PYTHON, Scene, Started, cgroup_of, is_root, lacks, python_outside, skip};

/// Leaves something in every place that programs of a host share, and waits.
const LEAVES: &str = "
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
key = int(sys.argv[1])
libc.shmget(key, 4096, 0o1600)
libc.msgget(key, 0o1600)
libc.semget(key, 1, 0o1600)
libc.mq_open(b'/escape%d' % key, os.O_CREAT | os.O_RDWR, 0o600, None)
open('/dev/shm/escape%d' % key, 'w').close()
open('/tmp/escape%d' % key, 'w').close()
listener = socket.socket(socket.AF_UNIX)
listener.bind('\\0escape%d' % key)
listener.listen()
print(os.getpid(), flush=True)
sys.stdin.read()
libc.shmctl(libc.shmget(key, 0, 0), 0, None)
libc.msgctl(libc.msgget(key, 0), 0, None)
libc.semctl(libc.semget(key, 0, 0), 0, 0)
libc.mq_unlink(b'/escape%d' % key)
os.unlink('/dev/shm/escape%d' % key)
os.unlink('/tmp/escape%d' % key)";

/// Says what it finds of that.
const FINDS: &str = "
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
key, victim = int(sys.argv[1]), int(sys.argv[2])
def connects():
    try: socket.socket(socket.AF_UNIX).connect('\\0escape%d' % key)
    except OSError: return False
    return True
def seen():
    for entry in filter(str.isdigit, os.listdir('/proc')):
        try:
            if b'LEAVES%d' % key in open('/proc/%s/cmdline' % entry, 'rb').read() and int(entry) != os.getpid(): return True
        except OSError: pass
    return False
found = dict(
    shared_memory=libc.shmget(key, 0, 0) >= 0,
    messages=libc.msgget(key, 0) >= 0,
    semaphores=libc.semget(key, 0, 0) >= 0,
    queue=libc.mq_open(b'/escape%d' % key, os.O_RDWR) >= 0,
    shared_file=os.path.exists('/dev/shm/escape%d' % key),
    temporary=os.path.exists('/tmp/escape%d' % key),
    socket=connects(),
    process=seen(),
    signal=libc.kill(victim, 0) == 0,
    memory=libc.syscall(310, victim, 0, 0, 0, 0, 0) >= 0,
)
print(*(name for name, is_found in found.items() if is_found))";

/// A key that no other test has.
fn key() -> String {
    (0x0100_0000 + std::process::id()).to_string()
}

/// The program that leaves things, known by a word in its command line.
fn leaves(key: &str) -> Vec<String> {
    let code = format!("{LEAVES} # LEAVES{key}");
    [PYTHON, "-c", &code, key].map(str::to_owned).to_vec()
}

#[test]
fn two_sandboxes_share_nothing_and_do_not_see_each_other() {
    let (scene, other, key) = (Scene::new(), Scene::new(), key());
    let run = Started::new(scene.command(&[], &leaves(&key)));
    // The number that the host has for it: inside it would mean somebody else.
    let victim = run.program().to_string();
    let found = other.run(&[], &[PYTHON, "-c", FINDS, &key, &victim]).expect_code(0);
    assert_eq!(found.text(), "\n", "{}", found.told());
    run.finish(&scene).expect_code(0);
    // From the host's side neither has left anything.
    assert_eq!(outside(&key, "1").replace("signal", "").replace("memory", "").trim(), "");
}

/// What is found without any wall.
fn outside(key: &str, victim: &str) -> String {
    let mut command = Command::new(PYTHON);
    let output = command.args(["-c", FINDS, key, victim]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn without_walls_all_of_it_is_shared() {
    let scene = Scene::new();
    let key = (1 + key().parse::<u32>().unwrap()).to_string();
    let mut command = Command::new(PYTHON);
    command.args(&leaves(&key)[1..]).stdin(Stdio::piped());
    let run = Started::new(command);
    let found = outside(&key, &run.first_line);
    run.finish(&scene);
    let all = "shared_memory messages semaphores queue shared_file temporary socket process signal memory";
    assert_eq!(found, all);
}

/// Opens each file as said, and names those that open. Nothing is written to any.
const OPENS: &str = "
import os, sys
for word in sys.argv[1:]:
    mode, path = word.split(':')
    try: os.close(os.open(path, os.O_WRONLY if mode == 'w' else os.O_RDONLY))
    except OSError: continue
    print(word)";

/// What whoever opens it can use against the whole machine.
const HANDLES: [&str; 12] = [
    "w:/proc/sysrq-trigger",
    "w:/proc/sys/kernel/core_pattern",
    "w:/proc/sys/kernel/modprobe",
    "w:/proc/sys/vm/drop_caches",
    "w:/proc/sys/kernel/hostname",
    "w:/proc/1/oom_score_adj",
    "r:/proc/1/mem",
    "r:/proc/1/environ",
    "r:/proc/kcore",
    "r:/proc/kmsg",
    "r:/dev/kmsg",
    "r:/dev/mem",
];

#[test]
fn no_handle_on_the_kernel_can_be_opened() {
    let scene = Scene::new();
    let program: Vec<&str> = [PYTHON, "-c", OPENS].into_iter().chain(HANDLES).collect();
    for flags in [&[][..], &["--user", "0", "--group", "0"]] {
        let opened = scene.run(flags, &program).expect_code(0);
        assert_eq!(opened.text(), "", "{flags:?}{}", opened.told());
    }
    if !is_root() {
        skip!("root: others can't open them outside either");
    }
    let opened = Command::new(PYTHON).args(&program[1..]).output().unwrap();
    let opened = String::from_utf8(opened.stdout).unwrap();
    // Some kernels lack one or the other of the rest.
    for handle in ["w:/proc/sys/kernel/core_pattern", "w:/proc/sys/vm/drop_caches"] {
        assert!(opened.contains(handle), "{opened}");
    }
}

#[test]
fn no_program_of_the_host_can_be_overwritten_through_its_process() {
    let scene = Scene::new();
    // The first process is Stockade's own program; the second is one of the system's.
    let code = "
import os
for path in '/proc/1/exe', '/proc/self/exe', '/proc/self/root/proc/1/exe', '/proc/self/task/1/exe':
    for flags in os.O_WRONLY, os.O_RDWR | os.O_TRUNC:
        try: os.open(path, flags); print('opened', path)
        except OSError: pass
try: print(os.readlink('/proc/1/exe'))
except OSError: pass";
    scene.python(&[], code).expect_text("");
    // Where the program is its own to write, only its being run is in the way.
    let own = "
import os, shutil, subprocess
shutil.copy('/usr/bin/sleep', 'own')
child = subprocess.Popen(['./own', '1000'])
try: os.open('/proc/%d/exe' % child.pid, os.O_WRONLY)
except OSError as error: print(error.strerror)
child.kill(); child.wait()
os.close(os.open('own', os.O_WRONLY))
print('opened')";
    let run = scene.python(&["--write", "."], own).expect_code(0);
    assert_eq!(run.text(), "Text file busy\nopened\n", "{}", run.told());
}

#[test]
fn no_group_of_the_host_can_be_moved_to() {
    if let Some(why) = lacks("limits.pids") {
        skip!("pids: {why}");
    }
    let scene = Scene::new();
    let own = cgroup_of(std::process::id()).unwrap();
    let own = own.to_str().unwrap();
    let code = format!(
        "import os
found = [place for place, _, names in os.walk('/sys') if 'cgroup.procs' in names]
try: open('{own}/cgroup.procs', 'w').write('0')
except OSError as error: print(bool(found), error.strerror)
else: print(bool(found), 'moved')"
    );
    scene.python(&[], &code).expect_text("False No such file or directory\n");
    // A policy that lets it be written gives that away; root's, whose owner would have to be mapped, can't be.
    let shown = scene.python(&["--write", own], &code);
    if is_root() {
        shown.expect_refusal(&["failed to map the owner of files in `/sys/fs/cgroup"]);
    } else {
        shown.expect_text("True moved\n");
    }
}

#[test]
fn directories_that_the_caller_has_open_lead_nowhere() {
    let scene = Scene::new();
    // As the caller's working directory, and as a descriptor that isn't closed at exec.
    let line = "exec 7< / 8< /root/.. 9< /etc; exec \"$@\"";
    let look = "import os
for name in '/proc/self/cwd', *('/proc/self/fd/%d' % fd for fd in range(3, 64)):
    for way in '/etc/shadow', '/shadow', '/../../../../../../etc/shadow':
        try: os.stat(name + way); print(name + way)
        except OSError: pass
print('done')";
    let inner = scene.command(&[], &[PYTHON, "-c", look]);
    let mut command = Command::new("bash");
    command.args(["-c", line, "bash"]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir("/").stdin(Stdio::null());
    let run = scene.finish(command).expect_code(0);
    assert_eq!(run.text(), "done\n", "{}", run.told());
    let outside = python_outside(look);
    assert!(outside.contains("/etc/shadow"), "{outside}");
}
