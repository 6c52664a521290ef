use super::machine::{Call, accepts, answer, run};
use super::*;
use crate::{ArgumentTest, Compare, Errno, SyscallRule};
use libc::{SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_USER_NOTIF, seccomp_data};
use proptest::prelude::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const EPERM: u32 = errno(libc::EPERM);
const ENOSYS: u32 = errno(libc::ENOSYS);

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// What every list must have, and `more`.
fn allow(more: &[&str]) -> Syscalls {
    Syscalls { allow: names(&[&LAUNCH, more].concat()), ..Syscalls::default() }
}

fn call(number: u32) -> Call {
    Call { number, arch: X86_64, arguments: [0; 6] }
}

fn ask(syscalls: &Syscalls, call: &Call) -> u32 {
    run(&program_for(Arch::X86_64, syscalls), call)
}

fn program_for(arch: Arch, syscalls: &Syscalls) -> Program {
    compile_for(arch, syscalls).unwrap().program
}

fn number(name: &str) -> u32 {
    names::lookup(name).unwrap().number(Arch::X86_64).unwrap()
}

fn rule(name: &str, tests: &[(u8, Compare)]) -> SyscallRule {
    let tests = tests
        .iter()
        .map(|&(index, compare)| ArgumentTest { index, compare, wide: false })
        .collect();
    SyscallRule { name: name.to_owned(), tests, answer: SyscallAnswer::Violation }
}

#[test]
fn what_is_not_listed_is_not_permitted() {
    let syscalls = allow(&["read"]);
    assert_eq!(ask(&syscalls, &call(number("read"))), SECCOMP_RET_ALLOW);
    assert_eq!(ask(&syscalls, &call(number("mount"))), EPERM);
}

#[test]
fn a_violation_can_end_the_process() {
    let syscalls = Syscalls { on_violation: OnViolation::Kill, ..allow(&["read"]) };
    assert_eq!(ask(&syscalls, &call(number("read"))), SECCOMP_RET_ALLOW);
    assert_eq!(ask(&syscalls, &call(number("mount"))), SECCOMP_RET_KILL_PROCESS);
}

#[test]
fn absent_and_unknown_numbers_answer_no_such_call_even_where_a_violation_kills() {
    let on_violation = OnViolation::Kill;
    let syscalls =
        Syscalls { absent: names(&["clone3", "read"]), on_violation, ..allow(&["read"]) };
    for number in [number("clone3"), number("read"), 350, 512, 547, 2000, u32::MAX] {
        assert_eq!(ask(&syscalls, &call(number)), ENOSYS, "{number}");
    }
}

#[test]
fn other_processor_modes_end_the_process() {
    let syscalls = allow(&["read"]);
    let x32 = call(number("read") | 0x4000_0000);
    assert_eq!(ask(&syscalls, &x32), SECCOMP_RET_KILL_PROCESS);
    assert_eq!(ask(&syscalls, &call(u32::MAX - 1)), SECCOMP_RET_KILL_PROCESS);
    for arch in [I386, AARCH64, 0] {
        let foreign = Call { arch, ..call(number("read")) };
        assert_eq!(ask(&syscalls, &foreign), SECCOMP_RET_KILL_PROCESS);
    }
}

#[test]
fn arm_has_numbers_of_its_own_and_no_x32() {
    let program = program_for(Arch::Aarch64, &allow(&["openat", "open", "read"]));
    let ask = |number| run(&program, &Call { arch: AARCH64, ..call(number) });
    assert_eq!((ask(56), ask(63)), (SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW));
    assert_eq!(ask(40), EPERM, "mount");
    assert_eq!((ask(0x4000_003f), ask(u32::MAX)), (ENOSYS, ENOSYS));
}

#[test]
fn a_rule_forbids_when_all_its_tests_hold() {
    let mut syscalls = allow(&["socket", "ioctl"]);
    syscalls.rules = vec![
        rule("socket", &[(0, Compare::Equal(16)), (2, Compare::NotEqual(0))]),
        rule("ioctl", &[(1, Compare::Equal(0x5412))]),
        rule("mount", &[(0, Compare::Equal(1))]),
    ];
    let ask = |name, arguments| ask(&syscalls, &Call { arguments, ..call(number(name)) });
    assert_eq!(ask("socket", [16, 3, 12, 0, 0, 0]), EPERM);
    assert_eq!(ask("socket", [16, 3, 0, 0, 0, 0]), SECCOMP_RET_ALLOW);
    assert_eq!(ask("socket", [2, 3, 12, 0, 0, 0]), SECCOMP_RET_ALLOW);
    assert_eq!(
        ask("ioctl", [0, 0xffff_ffff_0000_5412, 0, 0, 0, 0]),
        EPERM,
        "high bits don't hide it"
    );
    assert_eq!(ask("mount", [0; 6]), EPERM, "such a rule never allows");
}

#[test]
fn a_rule_without_tests_always_holds() {
    let mut syscalls = allow(&["socket"]);
    syscalls.rules = vec![rule("socket", &[]), rule("socket", &[(0, Compare::Equal(16))])];
    assert_eq!(ask(&syscalls, &call(number("socket"))), EPERM);
}

#[test]
fn rules_of_calls_that_are_not_allowed_cost_nothing() {
    let mut syscalls = allow(&[]);
    let len = |syscalls: &Syscalls| program_for(Arch::X86_64, syscalls).len();
    let without = len(&syscalls);
    syscalls.rules = vec![rule("socket", &[(0, Compare::Equal(1))])];
    assert_eq!(len(&syscalls), without);
}

#[test]
fn more_rules_than_the_kernel_takes_are_refused() {
    let mut syscalls = allow(&["socket"]);
    syscalls.rules = vec![rule("socket", &[(0, Compare::Equal(1))]); 2000];
    let told = compile_for(Arch::X86_64, &syscalls).unwrap_err().to_string();
    assert!(
        told.starts_with("the system call rules need ") && told.ends_with("takes 4096"),
        "{told}"
    );
}

#[test]
fn mistakes_are_told() {
    let mut narrow = allow(&["socket"]);
    narrow.rules = vec![rule("socket", &[(0, Compare::Equal(1 << 40))])];
    let mut seventh = allow(&["socket"]);
    seventh.rules = vec![rule("socket", &[(6, Compare::Equal(0))])];
    let mut denied = allow(&[]);
    denied.allow.retain(|name| name != "execve");
    let told = |syscalls| compile_for(Arch::X86_64, &syscalls).unwrap_err().to_string();
    assert_eq!(told(allow(&["opne"])), "`opne` is not the name of a system call");
    assert_eq!(
        told(narrow),
        "wrong rule for the system call `socket`: 0x10000000000 is wider than the 32 bits looked at"
    );
    assert!(told(seventh).starts_with("wrong rule for the system call `socket`: argument 6: "));
    assert_eq!(
        told(denied),
        "the system call `execve` isn't allowed, and no program can be started without it"
    );
}

#[test]
fn of_the_rules_about_a_call_the_first_that_holds_decides_and_then_the_list() {
    let answered =
        |answer, tests: &[(u8, Compare)]| SyscallRule { answer, ..rule("socket", tests) };
    let access = Errno::new(13).unwrap();
    let mut syscalls = allow(&["socket"]);
    syscalls.absent = names(&["mount"]);
    syscalls.rules = vec![
        answered(SyscallAnswer::Kill, &[(0, Compare::Equal(38))]),
        answered(SyscallAnswer::Error(access), &[(0, Compare::Equal(16)), (2, Compare::Equal(9))]),
        answered(SyscallAnswer::Log, &[(0, Compare::Equal(16))]),
        SyscallRule { answer: SyscallAnswer::Allow, ..rule("mount", &[(3, Compare::Any(1))]) },
        SyscallRule { answer: SyscallAnswer::Allow, ..rule("ptrace", &[(0, Compare::Equal(0))]) },
        answered(SyscallAnswer::Violation, &[(0, Compare::NotEqual(1))]),
    ];
    let ask = |name, arguments| ask(&syscalls, &Call { arguments, ..call(number(name)) });
    assert_eq!(ask("socket", [38, 0, 0, 0, 0, 0]), SECCOMP_RET_KILL_PROCESS);
    assert_eq!(ask("socket", [16, 0, 9, 0, 0, 0]), errno(libc::EACCES));
    assert_eq!(ask("socket", [16, 0, 8, 0, 0, 0]), SECCOMP_RET_LOG);
    assert_eq!(ask("socket", [2, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(ask("socket", [1, 0, 0, 0, 0, 0]), SECCOMP_RET_ALLOW);
    assert_eq!(ask("mount", [0, 0, 0, 1, 0, 0]), SECCOMP_RET_ALLOW);
    assert_eq!(ask("mount", [0; 6]), ENOSYS);
    assert_eq!(ask("ptrace", [0; 6]), SECCOMP_RET_ALLOW);
    assert_eq!(ask("ptrace", [16, 0, 0, 0, 0, 0]), EPERM);
}

#[test]
fn a_rule_can_not_take_away_what_starts_the_program() {
    let mut syscalls = allow(&[]);
    syscalls.rules = vec![rule("execve", &[(0, Compare::Equal(1))])];
    let told = compile_for(Arch::X86_64, &syscalls).unwrap_err().to_string();
    assert!(told.starts_with("the system call `execve` isn't allowed"), "{told}");
    syscalls.rules[0].answer = SyscallAnswer::Log;
    compile_for(Arch::X86_64, &syscalls).unwrap();
}

#[test]
fn a_call_that_may_always_be_made_is_told_from_one_that_has_rules() {
    let mut syscalls = allow(&["sendmsg", "socket"]);
    syscalls.rules = vec![rule("socket", &[(0, Compare::Equal(1))])];
    let compiled = compile_for(Arch::X86_64, &syscalls).unwrap();
    let always = |name| compiled.always(Arch::X86_64, name).unwrap();
    assert_eq!((always("sendmsg"), always("socket"), always("mount")), (true, false, false));
}

#[test]
fn compiling_twice_gives_the_same() {
    let mut syscalls = allow(&["socket", "ioctl", "read", "openat"]);
    syscalls.rules = vec![rule("socket", &[(0, Compare::Equal(16))]), rule("ioctl", &[])];
    let plain = |program: Program| -> Vec<_> {
        program.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect()
    };
    assert_eq!(plain(compile(&syscalls).unwrap()), plain(compile(&syscalls).unwrap()));
}

/// The same policy as two filters of `seccompiler`, the names and the rules; the kernel takes the stricter answer. It knows
/// neither `absent` nor x32, and gives all rules one answer.
fn oracle(arch: Arch, syscalls: &Syscalls) -> [Vec<sock_filter>; 2] {
    let target = match arch {
        Arch::X86_64 => TargetArch::x86_64,
        Arch::Aarch64 => TargetArch::aarch64,
    };
    let denied = || SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = |rules, mismatch, matched| {
        let program: BpfProgram =
            SeccompFilter::new(rules, mismatch, matched, target).unwrap().try_into().unwrap();
        let own = |one: &seccompiler::sock_filter| sock_filter {
            code: one.code,
            jt: one.jt,
            jf: one.jf,
            k: one.k,
        };
        program.iter().map(own).collect()
    };
    let number = |name: &String| entry(name).unwrap().number(arch).map(i64::from);
    let allowed = syscalls.allow.iter().filter_map(number).map(|number| (number, Vec::new()));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in &syscalls.rules {
        let conditions: Vec<_> = rule.tests.iter().map(condition).collect();
        if let Some(number) = number(&rule.name) {
            rules.entry(number).or_default().push(SeccompRule::new(conditions).unwrap());
        }
    }
    [
        filter(allowed.collect(), denied(), SeccompAction::Allow),
        filter(rules, SeccompAction::Allow, denied()),
    ]
}

/// A test in its words.
fn condition(test: &ArgumentTest) -> SeccompCondition {
    let (operator, value) = match test.compare {
        Compare::Equal(value) => (SeccompCmpOp::Eq, value),
        Compare::NotEqual(value) => (SeccompCmpOp::Ne, value),
        Compare::Masked { mask, value } => (SeccompCmpOp::MaskedEq(mask), value),
        Compare::Any(_) => panic!("it has no such comparison"),
    };
    let length = if test.wide { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    SeccompCondition::new(test.index, length, operator, value).unwrap()
}

/// Whether a rule holds, in plain words.
fn holds(rule: &SyscallRule, arguments: &[u64; 6]) -> bool {
    rule.tests.iter().all(|test| {
        let bits = if test.wide { u64::MAX } else { u64::from(u32::MAX) };
        let argument = arguments[usize::from(test.index)] & bits;
        match test.compare {
            Compare::Equal(value) => argument == value,
            Compare::NotEqual(value) => argument != value,
            Compare::Masked { mask, value } => argument & mask == value & mask,
            Compare::Any(mask) => argument & mask != 0,
        }
    })
}

fn any_name() -> impl Strategy<Value = String> {
    let all: Vec<_> = names::syscall_names().map(str::to_owned).collect();
    proptest::sample::select(all)
}

/// Small values, so that tests and arguments meet, and a few with high bits.
fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..8u64,
        Just(u64::from(u32::MAX)),
        (0..4u64).prop_map(|v| v << 31 | 1),
        any::<u64>()
    ]
}

fn any_test() -> impl Strategy<Value = ArgumentTest> {
    (0..6u8, any_value(), any_value(), 0..4, any::<bool>()).prop_map(|(index, a, b, kind, wide)| {
        let cut = |value: u64| if wide { value } else { value & u64::from(u32::MAX) };
        let (a, b) = (cut(a), cut(b));
        let compare = match kind {
            0 => Compare::Equal(a),
            1 => Compare::NotEqual(a),
            2 => Compare::Any(a),
            _ => Compare::Masked { mask: a, value: b },
        };
        ArgumentTest { index, compare, wide }
    })
}

fn any_answer() -> impl Strategy<Value = SyscallAnswer> {
    prop_oneof![
        Just(SyscallAnswer::Violation),
        Just(SyscallAnswer::Allow),
        Just(SyscallAnswer::Log),
        Just(SyscallAnswer::Kill),
        (1..40u16).prop_map(|number| SyscallAnswer::Error(Errno::new(number).unwrap())),
    ]
}

fn any_syscalls() -> impl Strategy<Value = Syscalls> {
    let rules = proptest::collection::vec(
        (any_name(), proptest::collection::vec(any_test(), 0..4), any_answer())
            .prop_map(|(name, tests, answer)| SyscallRule { name, tests, answer }),
        0..12,
    );
    let allow = proptest::collection::vec(any_name(), 0..400);
    let absent = proptest::collection::vec(any_name(), 0..250);
    (allow, absent, rules, any::<bool>()).prop_map(|(mut allow, mut absent, mut rules, kill)| {
        let launch = |name: &String| LAUNCH.contains(&name.as_str());
        allow.extend(names(&LAUNCH));
        absent.retain(|name| !launch(name));
        rules.retain(|rule| !launch(&rule.name));
        // Several rules about one call, and rules about calls that are allowed, more often than chance has it.
        allow.extend(rules.iter().step_by(2).map(|rule: &SyscallRule| rule.name.clone()));
        for at in (1..rules.len()).step_by(2) {
            rules[at].name = rules[at - 1].name.clone();
        }
        let on_violation = if kill { OnViolation::Kill } else { OnViolation::Error };
        Syscalls { allow, absent, rules, on_violation }
    })
}

fn any_arguments() -> impl Strategy<Value = [u64; 6]> {
    proptest::array::uniform6(any_value())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_list_agrees_with_seccompiler_on_every_number(syscalls in any_syscalls(), arm: bool) {
        let (arch, audit) = if arm { (Arch::Aarch64, AARCH64) } else { (Arch::X86_64, X86_64) };
        let syscalls = Syscalls { absent: Vec::new(), rules: Vec::new(), ..syscalls };
        let ours = program_for(arch, &syscalls);
        let [theirs, _] = oracle(arch, &syscalls);
        for number in (0..=600).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0001, u32::MAX]) {
            let call = Call { arch: audit, ..call(number) };
            let allowed = run(&theirs, &call) == SECCOMP_RET_ALLOW;
            prop_assert_eq!(run(&ours, &call) == SECCOMP_RET_ALLOW, allowed, "{}", number);
        }
    }

    #[test]
    fn the_whole_program_agrees_with_seccompiler_on_random_calls(
        syscalls in any_syscalls(),
        arm: bool,
        calls in proptest::collection::vec((any_name(), any_arguments()), 100),
    ) {
        let (arch, audit) = if arm { (Arch::Aarch64, AARCH64) } else { (Arch::X86_64, X86_64) };
        let mut syscalls = Syscalls {
            absent: Vec::new(),
            on_violation: OnViolation::Error,
            ..syscalls
        };
        syscalls.rules.retain(|rule| {
            rule.tests.iter().all(|test| !matches!(test.compare, Compare::Any(_)))
                && !rule.tests.is_empty()
        });
        syscalls.rules.iter_mut().for_each(|rule| rule.answer = SyscallAnswer::Violation);
        let ours = program_for(arch, &syscalls);
        let theirs = oracle(arch, &syscalls);
        let ruled = syscalls.rules.iter().map(|rule| rule.name.clone());
        // Calls that have rules come with the arguments of the others too.
        let calls = calls.iter().flat_map(|(name, arguments)| {
            ruled.clone().chain([name.clone()]).map(move |name| (name, *arguments))
        });
        for (name, arguments) in calls {
            let Some(number) = entry(&name).unwrap().number(arch) else { continue };
            let call = Call { arch: audit, arguments, ..call(number) };
            prop_assert_eq!(run(&ours, &call), answer(&theirs, &call), "{} {:?}", name, arguments);
        }
    }

    #[test]
    fn the_program_does_what_the_policy_says(
        syscalls in any_syscalls(),
        calls in proptest::collection::vec((0..480u32, any_arguments()), 200),
    ) {
        let program = program_for(Arch::X86_64, &syscalls);
        let told = told(&program);
        prop_assert!(accepts(&program) && accepts(&told));
        let foreign = Call { arch: I386, ..call(0) };
        prop_assert_eq!(run(&program, &foreign), SECCOMP_RET_KILL_PROCESS);
        prop_assert_eq!(run(&told, &foreign), SECCOMP_RET_USER_NOTIF);
        let has = |names: &[String], wanted: u32| {
            names.iter().any(|name| entry(name).unwrap().number(Arch::X86_64) == Some(wanted))
        };
        for (number, arguments) in calls {
            let ruled = syscalls.rules.iter().find(|rule| {
                has(std::slice::from_ref(&rule.name), number) && holds(rule, &arguments)
            });
            let expected = if let Some(rule) = ruled {
                answer_of(rule.answer, syscalls.on_violation)
            } else if has(&syscalls.absent, number) || !Arch::X86_64.has(number) {
                ENOSYS
            } else if has(&syscalls.allow, number) {
                SECCOMP_RET_ALLOW
            } else {
                violation(syscalls.on_violation)
            };
            let call = Call { arguments, ..call(number) };
            prop_assert_eq!(run(&program, &call), expected, "{} {:?}", number, arguments);
            // The program that asks lets through the same, and is asked for the same answer.
            let passes = [SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, ENOSYS].contains(&expected);
            let asked = if passes { expected } else { SECCOMP_RET_USER_NOTIF };
            prop_assert_eq!(run(&told, &call), asked, "{} {:?}", number, arguments);
            if !passes {
                let data = seccomp_data {
                    nr: number.cast_signed(),
                    arch: X86_64,
                    instruction_pointer: 0,
                    args: arguments,
                };
                let verdict = match verdict(&program, &data) {
                    Verdict::Fails(number) => errno(number),
                    Verdict::Ends => SECCOMP_RET_KILL_PROCESS,
                    Verdict::Passes => SECCOMP_RET_ALLOW,
                };
                prop_assert_eq!(verdict, expected, "{} {:?}", number, arguments);
            }
        }
    }
}
