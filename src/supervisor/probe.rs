//! How often and how patiently a program is looked at: the words, their meaning and their defaults are those of Kubernetes'
//! probes. Pure.

use std::time::Duration;

/// How often and how patiently a program is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// From when it is looked at, counted from its launch, or for readiness and liveness from when it had started.
    pub initial_delay: Duration,
    /// From the beginning of one look to that of the next.
    pub period: Duration,
    /// How long a look may take; one that takes longer has failed.
    pub timeout: Duration,
    /// So many in a row that succeed are success.
    pub success_threshold: u32,
    /// So many in a row that fail are failure.
    pub failure_threshold: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}

impl Probe {
    /// A look every `period`; the rest as usual.
    pub fn every(period: Duration) -> Self {
        Self { period, ..Self::default() }
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// Whether it has started. Until then it isn't looked at for anything else; a failure ends it.
    Startup,
    /// Whether it can be used. A failure takes it out of service and nothing more.
    Readiness,
    /// Whether it lives. A failure ends it.
    Liveness,
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        })
    }
}

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    successes: u32,
    failures: u32,
    verdict: Option<bool>,
}

impl Tally {
    /// What it came to so far.
    pub(super) fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// Counts one look; the verdict where this changes it.
    pub(super) fn count(&mut self, probe: &Probe, success: bool) -> Option<bool> {
        let (run, threshold) = if success {
            self.failures = 0;
            (&mut self.successes, probe.success_threshold)
        } else {
            self.successes = 0;
            (&mut self.failures, probe.failure_threshold)
        };
        *run = run.saturating_add(1);
        let is_new = *run >= threshold.max(1) && self.verdict != Some(success);
        is_new.then(|| *self.verdict.insert(success))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look for each letter, `s` for success, and what each changes.
    fn verdicts(probe: &Probe, looks: &str) -> String {
        let mut tally = Tally::default();
        let verdict = |look| match tally.count(probe, look == 's') {
            Some(true) => 'S',
            Some(false) => 'F',
            None => '.',
        };
        looks.chars().map(verdict).collect()
    }

    #[test]
    fn only_so_many_in_a_row_change_the_verdict() {
        let usual = Probe::default();
        assert_eq!(verdicts(&usual, "sssffsfffff"), "S.......F..");
        assert_eq!(verdicts(&usual, "fffffs"), "..F..S");
        let patient = Probe { success_threshold: 2, failure_threshold: 1, ..usual };
        assert_eq!(verdicts(&patient, "sfssf"), ".F.SF");
        // None at all would be a verdict before anybody has looked.
        let none = Probe { success_threshold: 0, failure_threshold: 0, ..patient };
        assert_eq!(verdicts(&none, "sf"), "SF");
    }
}
