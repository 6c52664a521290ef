//! From what a test did to what it means: passed, failed, or skipped where it may skip.

use crate::catalogue::GuestSpec;
use crate::job::{Ending, Outcome};

/// How a test's line on the terminal ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It ran and was content.
    Passed,
    /// It wasn't, and why.
    Failed(String),
    /// It couldn't run here, and this guest is allowed to lack what it needs.
    Skipped(String),
}

/// What a test with this outcome means in this guest.
///
/// Success must be proved: the harness must say that it ran one test. A name that matches nothing
/// also exits with 0.
#[must_use]
pub fn judge(outcome: &Outcome, guest: &GuestSpec, as_user: bool) -> Verdict {
    match &outcome.ending {
        Ending::Exited(0) => {}
        Ending::Exited(code) => return Verdict::Failed(format!("exit code {code}")),
        Ending::Signaled(signal) => return Verdict::Failed(format!("ended by signal {signal}")),
        Ending::TimedOut => {
            return Verdict::Failed(format!("its time was over after {:.0} s", outcome.seconds));
        }
        Ending::NotStarted(reason) => return Verdict::Failed(reason.clone()),
    }
    if let Some(reason) = skip_reason(&outcome.output) {
        let feature = reason.split(':').next().unwrap_or(reason).trim();
        if guest.may_skip(feature, as_user) {
            return Verdict::Skipped(reason.to_owned());
        }
        return Verdict::Failed(format!("kernels.toml promises `{feature}` here, but: {reason}"));
    }
    let summary = outcome.output.lines().rev().find(|line| line.starts_with("test result:"));
    match summary {
        Some(line) if line.contains(" 1 passed;") => Verdict::Passed,
        // `#[ignore]`: the author's word that it is to be run by hand.
        Some(line) if line.contains(" 1 ignored;") => Verdict::Skipped("ignored".to_owned()),
        _ => Verdict::Failed("the test binary ran no test".to_owned()),
    }
}

/// The reason of the first `SKIP: <reason>`. It stands at the beginning of a line, or behind the
/// `test name ... ` that the harness has begun.
fn skip_reason(output: &str) -> Option<&str> {
    output.lines().find_map(|line| {
        let own = line.strip_prefix("SKIP: ");
        let behind = || line.strip_prefix("test ")?.split_once(" ... SKIP: ").map(|(_, why)| why);
        own.or_else(behind).map(str::trim)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Machine;

    const PASSED: &str = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n";

    fn guest(lacks: &[&str]) -> GuestSpec {
        GuestSpec {
            machine: Machine::Uml,
            version: String::new(),
            suite: None,
            package: None,
            modules: Vec::new(),
            lacks: lacks.iter().map(|&feature| feature.to_owned()).collect(),
            lacks_as_user: Vec::new(),
            leaves_out: Vec::new(),
            keeps: Vec::new(),
            second_boot: Vec::new(),
        }
    }

    fn verdict(ending: Ending, output: &str, lacks: &[&str]) -> Verdict {
        let output = output.to_owned();
        let outcome = Outcome { ending, seconds: 1.0, output, notes: Vec::new() };
        judge(&outcome, &guest(lacks), false)
    }

    #[test]
    fn success_must_be_proved_by_the_harness() {
        assert_eq!(verdict(Ending::Exited(0), PASSED, &[]), Verdict::Passed);
        let nothing = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored;\n";
        assert!(matches!(verdict(Ending::Exited(0), nothing, &[]), Verdict::Failed(_)));
        assert!(matches!(verdict(Ending::Exited(0), "", &[]), Verdict::Failed(_)));
    }

    #[test]
    fn a_skip_for_what_the_guest_lacks_is_a_skip_with_its_reason() {
        let output = format!("SKIP: psi: no /proc/pressure\n{PASSED}");
        let expected = Verdict::Skipped("psi: no /proc/pressure".to_owned());
        assert_eq!(verdict(Ending::Exited(0), &output, &["psi"]), expected);
    }

    #[test]
    fn a_skip_for_what_the_guest_promises_is_a_failure() {
        let output = format!("SKIP: psi: no /proc/pressure\n{PASSED}");
        let Verdict::Failed(reason) = verdict(Ending::Exited(0), &output, &["landlock"]) else {
            panic!("a forbidden skip must fail");
        };
        assert!(reason.contains("promises `psi`"), "{reason}");
    }

    #[test]
    fn a_skip_behind_the_harness_own_words_is_seen() {
        let output = format!("running 1 test\ntest a::b ... SKIP: psi: none\nok\n{PASSED}");
        let verdict = verdict(Ending::Exited(0), &output, &["*"]);
        assert_eq!(verdict, Verdict::Skipped("psi: none".to_owned()));
    }

    #[test]
    fn a_test_that_says_skip_and_fails_has_failed() {
        let verdict = verdict(Ending::Exited(101), "SKIP: psi: none\n", &["*"]);
        assert_eq!(verdict, Verdict::Failed("exit code 101".to_owned()));
    }

    #[test]
    fn every_other_end_is_a_failure_that_says_how() {
        let failed = |reason: &str| Verdict::Failed(reason.to_owned());
        assert_eq!(verdict(Ending::Signaled(11), PASSED, &[]), failed("ended by signal 11"));
        assert_eq!(verdict(Ending::TimedOut, PASSED, &[]), failed("its time was over after 1 s"));
        let never = Ending::NotStarted("no such file".to_owned());
        assert_eq!(verdict(never, PASSED, &[]), failed("no such file"));
    }
}
