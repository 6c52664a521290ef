//! The tests of one guest: their names, their order, and what becomes of them when the guest dies.

use crate::boot::End;
use crate::catalogue::{GuestSpec, Machine};
use crate::failure::Result;
use crate::frame::Frame;
use crate::job::{Outcome, TestCase};
use crate::options::Options;
use crate::suites::Test;
use crate::tally::Tally;
use crate::terminal;
use crate::verdict::{self, Verdict};
use std::time::Duration;

/// A guest that died is booted again for the tests that are left, but not for ever.
const BOOTS: usize = 4;
/// A test that takes longer hangs. Generous: it costs time only when something is wrong, and a
/// machine that does other things besides must not make failures.
const TEST_LIMIT: u64 = 120;
/// Guests are slow: emulated instructions, or traced system calls.
const GUEST_TEST_LIMIT: u64 = 420;

/// The share of one guest and one user in a run.
#[derive(Debug)]
pub struct Campaign<'a> {
    /// The guest's name.
    pub name: &'a str,
    /// What it offers.
    pub spec: &'a GuestSpec,
    /// Its tests.
    pub cases: Vec<TestCase>,
    /// Whether they run as an unprivileged user; else as root.
    as_user: bool,
    /// Whether that it boots at all counts as a test.
    boots: bool,
    /// Whether it is the second boot of this guest and user.
    second: bool,
}

/// Boots a guest with some cases and passes its frames on.
pub type BootOnce<'b> = dyn FnMut(Vec<TestCase>, &mut dyn FnMut(Frame)) -> Result<End> + 'b;

impl<'a> Campaign<'a> {
    /// Chooses from all tests what this guest is to run, as root and as a user.
    #[must_use]
    pub fn plan(name: &'a str, spec: &'a GuestSpec, all: &[Test], options: &Options) -> Vec<Self> {
        let shares = [false, true].map(|as_user| Self::plan_as(as_user, name, spec, all, options));
        shares.into_iter().flat_map(Self::boots_of).collect()
    }

    /// Itself, and what of it is for a second boot that runs side by side with the first.
    fn boots_of(mut self) -> Vec<Self> {
        let suites = &self.spec.second_boot;
        let is_second = |case: &TestCase| suites.contains(&case.suite);
        let (others, cases): (Vec<_>, Vec<_>) = self.cases.into_iter().partition(is_second);
        self.cases = cases;
        if others.is_empty() {
            return vec![self];
        }
        let second = Self { cases: others, second: true, ..self };
        // Where a filter leaves nothing for the first, it isn't booted.
        self.boots = self.boots && !self.cases.is_empty();
        vec![self, second]
    }

    fn plan_as(
        as_user: bool,
        name: &'a str,
        spec: &'a GuestSpec,
        all: &[Test],
        options: &Options,
    ) -> Self {
        let limit = if spec.machine == Machine::Host { TEST_LIMIT } else { GUEST_TEST_LIMIT };
        let timeout_s = options.timeout.map_or(limit, |own| own.as_secs());
        let wanted = if as_user { options.as_user } else { options.as_root };
        let chosen = |name: String| options.filter.as_ref().is_none_or(|part| name.contains(part));
        let case = |test: &Test| TestCase {
            suite: test.suite.clone(),
            name: test.name.clone(),
            binary: test.binary.clone(),
            directory: test.directory.clone(),
            as_user,
            timeout_s,
        };
        let cases: Vec<TestCase> = all
            .iter()
            .filter(|_| wanted)
            // Who names a test, or a part of its name, wants it wherever it is.
            .filter(|test| {
                options.filter.is_some() || !spec.leaves_out(&test.suite, &test.name, as_user)
            })
            .map(case)
            .filter(|case| chosen(full_name(name, case)))
            .collect();
        let boots = wanted
            && spec.machine != Machine::Host
            && (!cases.is_empty() || chosen(boot_name(name, as_user)));
        Self { name, spec, cases, as_user, boots, second: false }
    }

    /// What sets this one apart from all others of a run: the guest's name, with the user.
    #[must_use]
    pub fn label(&self) -> String {
        let user = if self.as_user { "-user" } else { "" };
        let second = if self.second { "-second" } else { "" };
        format!("{}{user}{second}", self.name)
    }

    fn boot_name(&self) -> String {
        let boot = boot_name(self.name, self.as_user);
        if self.second { format!("{boot}_second") } else { boot }
    }

    /// Whether its tests run as an unprivileged user.
    #[must_use]
    pub fn is_of_user(&self) -> bool {
        self.as_user
    }

    /// How many results this will give.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty one is not special")]
    pub fn len(&self) -> usize {
        self.cases.len() + usize::from(self.boots)
    }

    /// Whether any of its tests is of this suite.
    #[must_use]
    pub fn has(&self, suite: &str) -> bool {
        self.cases.iter().any(|case| case.suite == suite)
    }

    /// The names of its tests.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let boot = self.boots.then(|| self.boot_name());
        boot.into_iter().chain(self.cases.iter().map(|case| full_name(self.name, case)))
    }

    /// Runs every case, with as many boots as that takes: the test that took a guest down has
    /// failed, and those behind it get another one.
    ///
    /// # Errors
    ///
    /// When a guest can't be started at all; then nothing has been counted.
    pub fn run(&self, tally: &Tally, boot_once: &mut BootOnce<'_>) -> Result<()> {
        let mut next = 0;
        for boot in 0..BOOTS {
            let mut progress =
                Progress { campaign: self, tally, first: next, next, running: None, up: boot > 0 };
            let rest = self.cases.get(next..).unwrap_or_default().to_vec();
            let end = boot_once(rest, &mut |frame| progress.see(frame));
            let (done, up) = (progress.next, progress.up);
            let reason = match end {
                Ok(End::Done(_)) => "the guest ended before this test".to_owned(),
                Ok(End::Died(reason) | End::NeverUp(reason)) => reason,
                Err(failure) if boot == 0 => return Err(failure),
                Err(failure) => failure.chain(),
            };
            next = done;
            if !up {
                self.lose_all(tally, &reason);
                return Ok(());
            }
            let Some(case) = self.cases.get(next) else { return Ok(()) };
            // The one that was running, or the first that never began.
            self.lose(tally, case, &reason);
            next += 1;
            if next == self.cases.len() {
                return Ok(());
            }
        }
        for case in self.cases.get(next..).unwrap_or_default() {
            self.lose(tally, case, &format!("the guest died {BOOTS} times"));
        }
        Ok(())
    }

    /// Counts one ended test.
    pub fn finish(&self, tally: &Tally, case: &TestCase, outcome: &Outcome) {
        let verdict = verdict::judge(outcome, self.spec, case.as_user);
        let took = Duration::try_from_secs_f64(outcome.seconds).unwrap_or_default();
        let name = full_name(self.name, case);
        tally.add(&name, verdict, took, &outcome.output);
        for note in &outcome.notes {
            terminal::note(format!("note: {name} {note}"));
        }
    }

    /// The guest can't be had: every test of it has failed.
    pub fn lose_all(&self, tally: &Tally, reason: &str) {
        if self.boots {
            let verdict = Verdict::Failed(reason.to_owned());
            tally.add(&self.boot_name(), verdict, Duration::ZERO, "");
        }
        for case in &self.cases {
            self.lose(tally, case, "the guest never came up");
        }
    }

    fn lose(&self, tally: &Tally, case: &TestCase, reason: &str) {
        let verdict = Verdict::Failed(reason.to_owned());
        tally.add(&full_name(self.name, case), verdict, Duration::ZERO, "");
    }
}

/// What one boot has done so far.
struct Progress<'c, 'a> {
    campaign: &'c Campaign<'a>,
    tally: &'c Tally,
    /// The case that this boot calls number 0.
    first: usize,
    /// The case that hasn't been counted yet.
    next: usize,
    running: Option<usize>,
    /// Whether the guest has been up: counted as a test of its own, once.
    up: bool,
}

impl Progress<'_, '_> {
    fn see(&mut self, frame: Frame) {
        match frame {
            Frame::Hello { kernel, uptime_s } => self.hello(&kernel, uptime_s),
            Frame::Note(text) => terminal::note(format!("note: {}: {text}", self.campaign.label())),
            Frame::Started { index } => self.running = Some(self.first + index),
            Frame::Finished { index, outcome } => {
                let place = self.first + index;
                // Out of order would mean a lost frame, and then nothing is sure any more.
                if let Some(case) = self.campaign.cases.get(place).filter(|_| place == self.next) {
                    self.campaign.finish(self.tally, case, &outcome);
                    self.next += 1;
                }
                self.running = None;
            }
            Frame::Output(_) | Frame::Bye { .. } => {}
        }
    }

    fn hello(&mut self, kernel: &str, uptime_s: f64) {
        let label = self.campaign.label();
        terminal::note(format!("{label}: Linux {kernel}, up after {uptime_s:.1} s"));
        if self.up {
            return;
        }
        self.up = true;
        let promised = &self.campaign.spec.version;
        let verdict = if is_version(kernel, promised) {
            Verdict::Passed
        } else {
            Verdict::Failed(format!("kernels.toml promises Linux {promised}, this is {kernel}"))
        };
        self.tally.add(&self.campaign.boot_name(), verdict, Duration::ZERO, "");
    }
}

/// Whether `6.1.0-50` is a `6.1`; `6.12.1` isn't.
fn is_version(release: &str, promised: &str) -> bool {
    release
        .strip_prefix(promised)
        .is_some_and(|rest| promised.is_empty() || !rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn boot_name(guest: &str, as_user: bool) -> String {
    format!("{guest}::{}boot", user(as_user))
}

fn full_name(guest: &str, case: &TestCase) -> String {
    format!("{guest}::{}{}::{}", user(case.as_user), case.suite, case.name)
}

fn user(as_user: bool) -> &'static str {
    if as_user { "user::" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::job::Ending;
    use crate::tally::Counts;

    fn all() -> Vec<Test> {
        ["a", "b", "c"]
            .map(|name| Test {
                suite: "limits".to_owned(),
                name: name.to_owned(),
                binary: "/t/limits".into(),
                directory: "/w".into(),
            })
            .into()
    }

    fn options(line: &[&str]) -> Options {
        Options::parse(line.iter().map(|&word| word.to_owned())).unwrap()
    }

    fn hello() -> Frame {
        Frame::Hello { kernel: "6.1.176".to_owned(), uptime_s: 1.0 }
    }

    fn passed(index: usize) -> Frame {
        let output = "test result: ok. 1 passed; 0 failed;".to_owned();
        let ending = Ending::Exited(0);
        let outcome = Outcome { ending, seconds: 0.1, output, notes: Vec::new() };
        Frame::Finished { index, outcome }
    }

    /// Runs the three tests as root against a scripted guest: the frames of each boot and its end.
    fn counts(script: Vec<(Vec<Frame>, End)>) -> (Counts, Vec<usize>) {
        let catalogue = Catalogue::read().unwrap();
        let spec = catalogue.guest("uml").unwrap();
        let all = Campaign::plan("uml", spec, &all(), &options(&["--as", "root"]));
        let [campaign, other] = &all[..] else { panic!("{all:?}") };
        assert_eq!(other.len(), 0, "nobody asked for a user");
        let tally = Tally::default();
        let mut script = script.into_iter();
        let mut asked = Vec::new();
        campaign
            .run(&tally, &mut |cases, on_frame| {
                asked.push(cases.len());
                let (frames, end) = script.next().unwrap();
                frames.into_iter().for_each(on_frame);
                Ok(end)
            })
            .unwrap();
        (tally.counts(), asked)
    }

    #[test]
    fn names_say_guest_user_suite_and_test() {
        let catalogue = Catalogue::read().unwrap();
        let spec = catalogue.guest("uml").unwrap();
        let campaigns = Campaign::plan("uml", spec, &all(), &options(&["--filter", "limits::b"]));
        let names: Vec<String> = campaigns.iter().flat_map(Campaign::names).collect();
        let expected = ["uml::boot", "uml::limits::b", "uml::user::boot", "uml::user::limits::b"];
        assert_eq!(names, expected);
    }

    /// Passed, failed and skipped.
    fn numbers(counts: &Counts) -> (usize, usize, usize) {
        (counts.passed, counts.failed.len(), counts.skipped)
    }

    #[test]
    fn suites_of_the_second_boot_are_told_as_others_and_run_apart() {
        let catalogue = Catalogue::read().unwrap();
        let mut spec = catalogue.guest("uml").unwrap().clone();
        spec.second_boot = vec!["other".to_owned()];
        let mut all = all();
        all[1].suite = "other".to_owned();
        let campaigns = Campaign::plan("uml", &spec, &all, &options(&["--as", "root"]));
        let names: Vec<String> = campaigns.iter().flat_map(Campaign::names).collect();
        let expected =
            ["uml::boot", "uml::limits::a", "uml::limits::c", "uml::boot_second", "uml::other::b"];
        assert_eq!(names, expected);
        assert_eq!(campaigns[1].label(), "uml-second");
        let only = options(&["--as", "root", "--filter", "other::b"]);
        let campaigns = Campaign::plan("uml", &spec, &all, &only);
        let names: Vec<String> = campaigns.iter().flat_map(Campaign::names).collect();
        assert_eq!(names, ["uml::boot_second", "uml::other::b"]);
    }

    #[test]
    fn a_guest_that_does_its_job_gives_one_result_for_each_test_and_one_for_its_boot() {
        let frames = vec![hello(), passed(0), passed(1), passed(2)];
        let (counts, asked) = counts(vec![(frames, End::Done(0))]);
        assert_eq!(numbers(&counts), (4, 0, 0));
        assert_eq!(asked, [3]);
    }

    #[test]
    fn the_test_that_takes_the_guest_down_fails_and_the_others_get_another_boot() {
        let first = vec![hello(), passed(0), Frame::Started { index: 1 }];
        let second = vec![hello(), passed(0)];
        let script = vec![(first, End::Died("panic".to_owned())), (second, End::Done(0))];
        let (counts, asked) = counts(script);
        assert_eq!(numbers(&counts), (3, 1, 0));
        assert_eq!(asked, [3, 1]);
    }

    #[test]
    fn a_guest_that_never_comes_up_fails_every_test_of_it() {
        let (counts, _) = counts(vec![(vec![], End::NeverUp("no kernel".to_owned()))]);
        assert_eq!(numbers(&counts), (0, 4, 0));
    }

    #[test]
    fn a_guest_that_is_silent_about_a_test_has_failed_it() {
        let script = vec![(vec![hello(), passed(0), passed(1)], End::Done(0))];
        let (counts, _) = counts(script);
        assert_eq!(numbers(&counts), (3, 1, 0));
    }

    #[test]
    fn a_version_is_a_whole_one() {
        assert!(is_version("6.1.0-50-amd64", "6.1") && is_version("6.1", "6.1"));
        assert!(!is_version("6.12.1", "6.1"));
        assert!(is_version("5.4", ""));
    }
}
