//! Jobs and what runs in them, with real processes: this test's own program plays every part. What a system that only looks like Windows
//! takes and doesn't hold isn't tested for being held, but for being told.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![allow(clippy::exit, reason = "a program's code is what is tested")]
#![allow(clippy::disallowed_methods, reason = "programs of these tests wait for nothing but time")]
#![allow(clippy::zombie_processes, reason = "what is left behind is tested")]

use super::backend::WindowsBackend;
use super::birth::Command;
use super::job::Job;
use super::limits::Setting;
use super::running::Port;
use super::token::Token;
use crate::{
    Availability, Backend, Bytes, Control, Decision, HowEnded, LaunchPlan, Launched, Probe,
    Running, Signal, State, Stdio, StdioSet,
};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::windows::process::CommandExt;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

const PART: &str = "STOCKADE_TEST_PART";

/// What a process of these tests does: whatever the variable says, and nothing when this is run as a test.
#[test]
fn part() {
    let Ok(part) = std::env::var(PART) else { return };
    let mut own = std::process::Command::new(std::env::current_exe().unwrap());
    own.args(ARGUMENTS);
    let (word, rest) = part.split_once(':').unwrap_or((&part, ""));
    match word {
        "exit" => std::process::exit(rest.parse::<u32>().unwrap().cast_signed()),
        "sleep" => std::thread::sleep(Duration::from_secs(60)),
        "tick" => loop {
            println!("<tick>");
            std::io::stdout().flush().unwrap();
            std::thread::sleep(Duration::from_millis(10));
        },
        "environment" => {
            std::env::vars_os().for_each(|(name, value)| println!("<{name:?}={value:?}>"));
        }
        "copy" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).unwrap();
            print!("<{text}>");
            eprint!("<{}>", text.len());
        }
        // A child that isn't waited for, and its child.
        "tree" => {
            let next = if rest == "leaf" { "sleep" } else { "tree:leaf" };
            let child = own.env(PART, next).spawn().unwrap();
            println!("<{}>", child.id());
            std::io::stdout().flush().unwrap();
            std::thread::sleep(Duration::from_secs(if rest == "quick" { 1 } else { 60 }));
        }
        "leave" => {
            const CREATE_BREAKAWAY_FROM_JOB: u32 = 0x0100_0000;
            let left = own.env(PART, "sleep").creation_flags(CREATE_BREAKAWAY_FROM_JOB).spawn();
            println!("<{:?}>", left.err().and_then(|error| error.raw_os_error()));
        }
        "handle" => {
            // A number that was an open handle of the starter's.
            let number: usize = rest.parse().unwrap();
            let mut flags = 0;
            let handle = std::ptr::with_exposed_provenance_mut(number);
            // SAFETY: what is no handle is refused.
            let is_open = unsafe {
                windows_sys::Win32::Foundation::GetHandleInformation(handle, &raw mut flags)
            };
            println!("<{}>", is_open != 0);
        }
        "who" => {
            let own = Token::of(
                // SAFETY: it has no preconditions.
                unsafe { windows_sys::Win32::System::Threading::GetCurrentProcess() },
                windows_sys::Win32::Security::TOKEN_QUERY,
            );
            let own = own.unwrap();
            println!("<{}><{}>", own.is_without_privileges().is_ok(), own.is_low().unwrap());
        }
        other => panic!("no part `{other}`"),
    }
    std::process::exit(0);
}

const ARGUMENTS: [&str; 3] = ["--exact", "windows::tests::part", "--nocapture"];

fn plan(part: &str) -> LaunchPlan {
    let mut command: Vec<OsString> = vec![std::env::current_exe().unwrap().into()];
    command.extend(ARGUMENTS.map(OsString::from));
    let mut plan = LaunchPlan::new("test-0001", command);
    plan.environment = vec![(PART.into(), part.into())];
    plan
}

fn start(plan: &LaunchPlan) -> Launched {
    WindowsBackend::new().launch(plan, StdioSet::piped()).unwrap()
}

/// What a process said between `<` and `>`, which the test's own words don't have.
async fn said(launched: &mut Launched) -> Vec<String> {
    let mut text = String::new();
    launched.stdout.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
    words(&text)
}

fn words(text: &str) -> Vec<String> {
    let parts = text.split('<').skip(1);
    parts.filter_map(|part| Some(part.split_once('>')?.0.to_owned())).collect()
}

/// Waits until so many processes are in a sandbox.
async fn grown(running: &mut Box<dyn Running>, count: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while running.usage().unwrap().pids.current != Some(count) {
        assert!(Instant::now() < deadline, "{:?}", running.usage());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_program_has_its_streams_its_words_and_its_code() {
    let mut launched = start(&plan("copy"));
    let mut stdin = launched.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"hello").await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut stdin).await.unwrap();
    drop(stdin);
    assert_eq!(said(&mut launched).await, ["hello"]);
    let mut text = String::new();
    launched.stderr.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(words(&text), ["5"]);
    assert_eq!(launched.running.wait().await.unwrap().how, HowEnded::Exited(0));
    // All 32 bits.
    let ended = start(&plan("exit:3221225786")).running.wait().await.unwrap();
    assert_eq!(ended.how, HowEnded::Exited(0xc000_013a_u32.cast_signed()));
}

#[tokio::test]
async fn the_environment_is_the_plans_and_nothing_else() {
    let mut launched = start(&plan("environment"));
    let said = said(&mut launched).await;
    let own = format!("{PART:?}={:?}", "environment");
    assert!(said.contains(&own), "{said:?}");
    // The system adds some of its own where they are missing; nothing comes from the starter.
    assert!(!said.iter().any(|it| it.contains("CARGO")), "{said:?}");
}

#[test]
fn a_process_is_born_in_its_job_and_dies_with_the_jobs_last_handle() {
    use std::os::windows::io::AsRawHandle;
    let job = Job::new().unwrap();
    job.tell(&[Setting::KillOnClose]);
    let nothing = || StdioSet {
        stdin: Stdio::Null,
        stdout: Stdio::Null,
        stderr: Stdio::Null,
        ..StdioSet::default()
    };
    let born = Command::of(&plan("sleep")).unwrap().start(&job, None, nothing(), false).unwrap();
    assert!(job.has(born.process.as_raw_handle()).unwrap());
    assert!(job.processes().unwrap().contains(&born.pid));
    assert_eq!(job.accounts().unwrap().active, 1);
    drop(job);
    // SAFETY: the handle is open.
    let ended = unsafe {
        windows_sys::Win32::System::Threading::WaitForSingleObject(
            born.process.as_raw_handle(),
            10_000,
        )
    };
    assert_eq!(ended, 0);
}

#[tokio::test]
async fn a_tree_ends_with_its_program_and_when_it_is_killed() {
    // The program ends after a second, and leaves a child and a grandchild.
    let mut launched = start(&plan("tree:quick"));
    grown(&mut launched.running, 3).await;
    let ended = launched.running.wait().await.unwrap();
    assert_eq!(ended.how, HowEnded::Exited(0));
    assert_eq!(ended.usage.pids.current, Some(0));
    let mut launched = start(&plan("tree"));
    grown(&mut launched.running, 3).await;
    let rows = launched.running.processes().unwrap();
    assert_eq!(rows.len(), 3, "{rows:?}");
    let program = launched.running.pid();
    assert_eq!(rows.iter().filter(|row| row.parent == program).count(), 1, "{rows:?}");
    launched.running.kill().unwrap();
    let ended = launched.running.wait().await.unwrap();
    assert_eq!(ended.how, HowEnded::Killed);
    assert_eq!(launched.running.usage().unwrap().pids.current, Some(0));
    assert_eq!(launched.running.wait().await.unwrap(), ended);
}

#[tokio::test]
async fn a_paused_program_stands_still_until_it_goes_on() {
    const LONG: Duration = Duration::from_secs(10);
    let mut launched = start(&plan("tick"));
    let mut stdout = launched.stdout.take().unwrap();
    let mut buffer = [0; 4096];
    let brief = Duration::from_millis(500);
    timeout(LONG, stdout.read(&mut buffer)).await.unwrap().unwrap();
    launched.running.pause(true).await.unwrap();
    // What it wrote before.
    while timeout(brief, stdout.read(&mut buffer)).await.is_ok_and(|read| read.unwrap() > 0) {}
    assert!(timeout(brief, stdout.read(&mut buffer)).await.is_err());
    launched.running.pause(false).await.unwrap();
    assert!(timeout(LONG, stdout.read(&mut buffer)).await.unwrap().unwrap() > 0);
    launched.running.pause(true).await.unwrap();
    launched.running.kill().unwrap();
    assert_eq!(launched.running.wait().await.unwrap().how, HowEnded::Killed);
}

#[tokio::test]
async fn nobody_leaves_a_job() {
    let mut launched = start(&plan("leave"));
    // Access is denied.
    assert_eq!(said(&mut launched).await, ["Some(5)"]);
}

#[tokio::test]
async fn no_handle_but_three_is_inherited() {
    use std::os::windows::io::AsRawHandle;
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let handle = file.as_raw_handle();
    // SAFETY: the handle is open.
    let marked = unsafe {
        windows_sys::Win32::Foundation::SetHandleInformation(
            handle,
            windows_sys::Win32::Foundation::HANDLE_FLAG_INHERIT,
            windows_sys::Win32::Foundation::HANDLE_FLAG_INHERIT,
        )
    };
    assert_ne!(marked, 0);
    let mut launched = start(&plan(&format!("handle:{}", handle.expose_provenance())));
    assert_eq!(said(&mut launched).await, ["false"]);
}

#[test]
fn a_job_tells_its_port_what_happens() {
    use windows_sys::Win32::System::SystemServices::{
        JOB_OBJECT_MSG_ACTIVE_PROCESS_ZERO, JOB_OBJECT_MSG_EXIT_PROCESS, JOB_OBJECT_MSG_NEW_PROCESS,
    };
    let (job, port) = (Job::new().unwrap(), Port::new().unwrap());
    port.attach(&job).unwrap();
    let stdio = StdioSet {
        stdin: Stdio::Null,
        stdout: Stdio::Null,
        stderr: Stdio::Null,
        ..StdioSet::default()
    };
    let born = Command::of(&plan("exit:0")).unwrap().start(&job, None, stdio, false).unwrap();
    let next = || port.next(Duration::from_secs(10)).unwrap();
    let told = [next(), next(), next()];
    let expected = [
        JOB_OBJECT_MSG_NEW_PROCESS,
        JOB_OBJECT_MSG_EXIT_PROCESS,
        JOB_OBJECT_MSG_ACTIVE_PROCESS_ZERO,
    ];
    assert_eq!(told, expected.map(Some));
    drop(born);
}

/// Holds on every system: where the job keeps a limit it is called enforced, and where it doesn't, nothing runs.
#[tokio::test]
async fn a_limit_that_the_job_loses_stops_the_launch_unless_it_is_accepted() {
    let backend = WindowsBackend::new();
    let support = backend.support(Probe::Quick);
    type Set = fn(&mut LaunchPlan);
    let limits: [(Control, Set); 3] = [
        (Control::Cpu, |plan| plan.limits.cpu = crate::Cores::from_millis(500)),
        (Control::Memory, |plan| plan.limits.memory = Some(Bytes::gib(1))),
        (Control::Nice, |plan| plan.limits.nice = Some(5)),
    ];
    for (control, set) in limits {
        let mut plan = plan("exit:0");
        set(&mut plan);
        plan.controls.insert(control, Decision::Enforce);
        let launched = backend.launch(&plan, StdioSet::piped());
        if support.of(control) == Availability::Enforced {
            assert_eq!(launched.unwrap().running.enforcement()[0].state, State::Enforced);
            continue;
        }
        let error = launched.unwrap_err();
        assert!(error.is_unsupported() && error.to_string().contains(control.name()), "{error}");
        plan.accepted.insert(control);
        let launched = backend.launch(&plan, StdioSet::piped()).unwrap();
        assert_eq!(launched.running.enforcement()[0].state, State::Unavailable, "{control}");
    }
}

/// Holds on every system: what a token keeps the program finds, and what it doesn't keep isn't called enforced.
#[tokio::test]
async fn a_program_has_no_privileges_and_integrity_only_where_it_may_write() {
    let backend = WindowsBackend::new();
    let support = backend.support(Probe::Quick);
    let mut launched = start(&plan("who"));
    // This test's own user has some, or it would show nothing.
    assert_eq!(said(&mut launched).await, ["false", "false"]);
    let mut plan = plan("who");
    plan.controls.insert(Control::Capabilities, Decision::Enforce);
    let launched = backend.launch(&plan, StdioSet::piped());
    if support.of(Control::Capabilities) != Availability::Enforced {
        launched.unwrap_err();
        return;
    }
    assert_eq!(said(&mut launched.unwrap()).await, ["true", "false"]);
    let Availability::Degraded { how, reason, .. } = support.of(Control::Filesystem) else {
        return;
    };
    plan.controls.insert(Control::Filesystem, Decision::Degrade { how, reason });
    let mut launched = start(&plan);
    assert_eq!(said(&mut launched).await, ["true", "true"]);
    assert_eq!(launched.running.enforcement()[0].state, State::Degraded);
    let place = std::env::temp_dir();
    let (source, target) = (place.clone(), place);
    plan.filesystem.binds =
        vec![crate::Bind { source, target, access: crate::Access::Write, optional: false }];
    let mut launched = start(&plan);
    assert_eq!(said(&mut launched).await, ["true", "false"]);
    assert_eq!(launched.running.enforcement()[0].state, State::Unavailable);
}

#[test]
fn what_keeps_nothing_behind_is_enforced_here() {
    assert_eq!(
        WindowsBackend::new().support(Probe::Quick).of(Control::Lifetime),
        Availability::Enforced
    );
}

#[tokio::test]
async fn what_windows_has_no_like_of_is_said_in_its_own_words() {
    let launched = start(&plan("sleep"));
    let error = launched.running.signal(Signal::User1).unwrap_err();
    assert_eq!(error.to_string(), "a program can't be sent `user 1` on Windows");
    let mut missing = plan("sleep");
    missing.command = vec!["no-such-program".into()];
    let error = WindowsBackend::new().launch(&missing, StdioSet::piped()).unwrap_err();
    assert_eq!(error.to_string(), "`no-such-program` was not found");
}
