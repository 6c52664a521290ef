//! Which system calls a program may make: each wall is hit from inside, and hit again with that wall alone taken away.

#![expect(clippy::unwrap_used, reason = "a test ends where something unforeseen happens")]

#[path = "support/attempts.rs"]
mod attempts;
#[path = "support/skip.rs"]
mod skip;

use attempts::{Attempts, stockade};
use skip::skip;
use std::process::Command;

/// Runs the attempts outside, inside, and inside with `allow`; the first column of `expected` names an attempt, the second
/// what must come back inside.
///
/// With the wall away the answer must be another one: success, or an error of the kernel's own that shows that it looked at
/// the call. Where the kernel outside answers as the filter does (it doesn't have the call at all), there is nothing to
/// compare.
fn denied_unless_allowed(allow: &[&str], expected: &[(&str, &str)]) {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let names: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
    let outside = attempts.run(&mut Command::new("./attempts"), &names);
    let inside = attempts.inside(&[], &names);
    let flags: Vec<_> = allow.iter().flat_map(|call| ["--allow-syscall", call]).collect();
    let allowed = attempts.inside(&flags, &names);
    for (at, &(name, answer)) in expected.iter().enumerate() {
        assert_eq!(inside[at], answer, "{name}");
        if outside[at] != answer {
            assert_ne!(allowed[at], answer, "{name} with {allow:?} allowed");
        }
    }
}

/// Runs the attempts inside: these work.
fn works(names: &[&str]) {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    assert_eq!(attempts.inside(&[], names), vec!["ok"; names.len()], "{names:?}");
}

#[test]
fn new_namespaces_are_denied() {
    let expected = [("clone_user", "EPERM"), ("clone_net_and_user", "EPERM")];
    denied_unless_allowed(&["clone:any"], &expected);
    denied_unless_allowed(&["unshare"], &[("unshare_user", "EPERM")]);
    denied_unless_allowed(&["setns"], &[("setns", "EPERM")]);
    denied_unless_allowed(&["clone3"], &[("clone3_user", "ENOSYS")]);
}

#[test]
fn naming_a_call_without_any_keeps_its_rules() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let flags = ["--allow-syscall", "clone", "--allow-syscall", "socket"];
    let answers = attempts.inside(&flags, &["clone_user", "socket_alg", "clone_plain"]);
    assert_eq!(answers, ["EPERM", "EPERM", "ok"]);
}

#[test]
fn mounts_and_files_by_number_are_denied() {
    let expected = [
        ("mount", "EPERM"),
        ("chroot", "EPERM"),
        ("open_tree", "EPERM"),
        ("name_to_handle_at", "EPERM"),
        ("fanotify_init", "EPERM"),
    ];
    denied_unless_allowed(&["@mount"], &expected);
}

#[test]
fn looking_into_other_processes_is_denied() {
    let expected = [("ptrace", "EPERM"), ("process_vm_readv", "EPERM"), ("kcmp", "EPERM")];
    denied_unless_allowed(&["@debug"], &expected);
}

#[test]
fn tools_against_the_kernel_are_denied() {
    denied_unless_allowed(&["bpf"], &[("bpf", "EPERM")]);
    denied_unless_allowed(&["userfaultfd"], &[("userfaultfd", "EPERM")]);
    denied_unless_allowed(&["perf_event_open"], &[("perf_event_open", "EPERM")]);
    denied_unless_allowed(&["clock_settime"], &[("clock_settime", "EPERM")]);
    denied_unless_allowed(&["vmsplice"], &[("vmsplice", "EPERM")]);
}

#[test]
fn calls_with_an_older_way_are_absent() {
    let expected = [("io_uring_setup", "ENOSYS"), ("keyctl", "ENOSYS"), ("add_key", "ENOSYS")];
    denied_unless_allowed(&["io_uring_setup", "keyctl", "add_key"], &expected);
}

#[test]
fn setuid_files_can_not_be_left_behind() {
    let calls = ["fchmod:any", "fchmodat:any", "fchmodat2:any", "openat:any", "mknodat:any"];
    let expected = [
        ("fchmod_setuid", "EPERM"),
        ("fchmod_setgid", "EPERM"),
        ("fchmodat_setuid", "EPERM"),
        ("fchmodat2_setuid", "EPERM"),
        ("openat_setuid", "EPERM"),
        ("openat_unnamed_setuid", "EPERM"),
        ("mknodat_setuid", "EPERM"),
        ("mknodat_device", "EPERM"),
    ];
    denied_unless_allowed(&calls, &expected);
    denied_unless_allowed(&["openat2"], &[("openat2_setuid", "ENOSYS")]);
    works(&["fchmod_plain", "openat_plain", "openat_garbage_mode", "mknodat_fifo"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn setuid_files_can_not_be_left_behind_by_the_older_calls() {
    let expected = [
        ("chmod_setuid", "EPERM"),
        ("creat_setuid", "EPERM"),
        ("open_setuid", "EPERM"),
        ("mknod_setuid", "EPERM"),
    ];
    denied_unless_allowed(&["chmod:any", "creat:any", "open:any", "mknod:any"], &expected);
}

#[test]
fn sockets_of_unusual_kinds_are_denied() {
    let expected = [
        ("socket_uevent", "EPERM"),
        ("socket_vsock", "EPERM"),
        ("socket_alg", "EPERM"),
        ("socket_packet", "EPERM"),
        ("socket_high_bits", "EPERM"),
        ("socket_sctp", "EPERM"),
        ("socket_seqpacket", "EPERM"),
        ("socketpair_tipc", "EPERM"),
    ];
    denied_unless_allowed(&["socket:any", "socketpair:any"], &expected);
    works(&["socket_unix", "socket_inet", "socket_route"]);
}

#[test]
fn a_terminal_can_not_be_made_to_type() {
    let expected = [
        ("tiocsti", "EPERM"),
        ("tiocsti_high_bits", "EPERM"),
        ("tioclinux", "EPERM"),
        ("tiocsetd", "EPERM"),
    ];
    denied_unless_allowed(&["ioctl:any"], &expected);
}

#[test]
fn a_program_can_not_weaken_itself_or_take_uncounted_memory() {
    denied_unless_allowed(&["personality:any"], &[("personality_exec", "EPERM")]);
    let expected = [("huge_memfd", "EPERM"), ("huge_mmap", "EPERM")];
    denied_unless_allowed(&["memfd_create:any", "mmap:any"], &expected);
    works(&["personality_ask"]);
}

#[test]
fn unknown_numbers_are_absent() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    for flags in [&[][..], &["--on-violation", "kill"][..]] {
        let answers = attempts.inside(flags, &["unknown_number", "no_number", "clone3_user"]);
        assert_eq!(answers, ["ENOSYS", "ENOSYS", "ENOSYS"], "{flags:?}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn x32_calls_end_the_process() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let names = ["number_of_x32", "number_of_x32_without_its_bit"];
    assert_eq!(attempts.inside(&[], &names), ["SIGSYS", "ENOSYS"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_32_bits_end_the_process() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let names = ["call_of_32_bits"];
    let outside = attempts.run(&mut Command::new("./attempts"), &names);
    if outside != ["ok"] {
        skip!("32-bit-calls: {outside:?} outside of any sandbox");
    }
    assert_eq!(attempts.inside(&[], &names), ["SIGSYS"]);
}

#[test]
fn a_violation_ends_the_process_where_the_policy_says_so() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let answers = attempts
        .inside(&["--on-violation", "kill"], &["unshare_user", "socket_alg", "socket_unix"]);
    assert_eq!(answers, ["SIGSYS", "SIGSYS", "ok"]);
}

#[test]
fn the_report_says_that_a_forbidden_call_ended_the_program() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let report = attempts.directory.path().join("denied.json");
    let mut command = stockade(attempts.directory.path());
    command.arg("--report").arg(&report).args(["--on-violation", "kill", "--"]);
    let output = command.args(["./attempts", "--alone", "unshare_user"]).output().unwrap();
    assert_eq!(output.status.code(), Some(128 + 31), "{output:?}");
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!(report["cause"], "denied");
}

#[test]
fn a_call_can_be_denied_and_deny_wins() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let flags = ["--deny-syscall", "@network", "--allow-syscall", "socket:any"];
    assert_eq!(attempts.inside(&flags, &["socket_unix", "fchmod_plain"]), ["EPERM", "ok"]);
}

#[test]
fn a_rule_says_how_alone_a_call_may_be_made() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let names = ["socket_unix", "socket_inet", "socket_alg"];
    assert_eq!(attempts.inside(&[], &names), ["ok", "ok", "EPERM"]);
    let unix = ["--syscall-rule", "name=socket,arg0=AF_UNIX"];
    assert_eq!(attempts.inside(&unix, &names), ["ok", "EPERM", "EPERM"]);
    // It opens nothing that the base list closes for its arguments.
    let all = ["--syscall-rule", "name=socket,arg0_not=AF_INET"];
    assert_eq!(attempts.inside(&all, &names), ["ok", "EPERM", "EPERM"]);
    let terminal = ["--allow-syscall", "ioctl:any"];
    let typing = ["tiocsti", "tiocsti_high_bits", "tioclinux"];
    assert!(!attempts.inside(&terminal, &typing).contains(&"EPERM".to_owned()));
    let terminal = [&terminal[..], &["--syscall-rule", "name=ioctl,arg1_not=TIOCSTI"]].concat();
    assert_eq!(attempts.inside(&terminal, &typing)[..2], ["EPERM", "EPERM"]);
    assert_ne!(attempts.inside(&terminal, &typing)[2], "EPERM");
}

#[test]
fn a_rule_gives_the_answer_that_it_names() {
    let Some(attempts) = Attempts::compiled() else {
        skip!("compiler: `gcc` isn't installed");
    };
    let names = ["socket_alg", "socket_high_bits", "socket_inet", "unshare_user"];
    let with = |rule: &str| attempts.inside(&["--syscall-rule", rule], &names);
    assert_eq!(
        with("name=socket,arg0=AF_ALG,action=errno EACCES"),
        ["EACCES", "EACCES", "ok", "EPERM"]
    );
    assert_eq!(with("name=socket,arg0=AF_INET,action=deny"), ["EPERM", "EPERM", "EPERM", "EPERM"]);
    assert_eq!(with("name=socket,arg0=AF_INET,action=kill"), ["EPERM", "EPERM", "SIGSYS", "EPERM"]);
    assert_eq!(with("name=@namespaces,action=errno ENOSYS"), ["EPERM", "EPERM", "ok", "ENOSYS"]);
    let allowed = with("name=socket,arg0=AF_ALG,action=allow");
    assert!(allowed[0] != "EPERM" && allowed[1] != "EPERM" && allowed[3] == "EPERM", "{allowed:?}");
    let logged = with("name=unshare,action=log");
    assert_eq!((&logged[0][..], &logged[2][..]), ("EPERM", "ok"));
    assert_ne!(logged[3], "EPERM");
}

#[test]
fn a_list_without_what_starts_programs_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = stockade(directory.path());
    let output = command.args(["--deny-syscall", "execve", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("no program can be started without `execve`"), "{told}");
}

/// Runs a shell command inside and gives what it printed.
fn inside(script: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let output = stockade(directory.path()).args(["--", "sh", "-c", script]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{script}`: {:?}\n{error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn installed(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn shells_work() {
    assert_eq!(
        inside("sleep 0 & wait; mkfifo f; echo a > f & cat f; echo $(echo b) | tr b c"),
        "a\nc\n"
    );
}

#[test]
fn compiling_and_threads_work() {
    if !installed("gcc") {
        skip!("compiler: `gcc` isn't installed");
    }
    let source = "#include <pthread.h>\nstatic void *f(void *x) { return x; }\n\
                  int main(void) { pthread_t t; void *r; return pthread_create(&t, 0, f, 0) || pthread_join(t, &r); }\n";
    inside(&format!("printf '%s' '{source}' > a.c && gcc -O2 -pthread a.c -o a && ./a"));
}

#[test]
fn python_works() {
    if !installed("/usr/bin/python3") {
        skip!("python: `/usr/bin/python3` isn't installed");
    }
    let script = "import asyncio, concurrent.futures, subprocess, threading\n\
        threading.Thread(target=print).start()\n\
        subprocess.run(['true'], check=True)\n\
        async def main():\n    await (await asyncio.create_subprocess_exec('true')).wait()\n\
        asyncio.run(main())\n\
        with concurrent.futures.ProcessPoolExecutor(2) as pool: print(sum(pool.map(abs, [-1, -2])))\n";
    assert_eq!(inside(&format!("/usr/bin/python3 -c \"{script}\"")), "\n3\n");
}
