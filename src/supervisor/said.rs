//! What a run has said so far that somebody waits for: that it is ready, and lines.
//!
//! Lines arrive on whatever thread reads them, and are forgotten but for what they match.

use regex::Regex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// What a run has said so far. A copy is of the same run.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    ready: AtomicBool,
    lines: Vec<(Regex, AtomicBool)>,
    /// Somebody looks again when there is something new.
    news: Notify,
}

impl Said {
    /// Of a run of which nobody has heard yet. `lines` are waited for.
    pub(super) fn new<'a>(lines: impl Iterator<Item = &'a Regex>) -> Self {
        let lines = lines.map(|line| (line.clone(), AtomicBool::new(false))).collect();
        Self(Arc::new(Inner { lines, ..Inner::default() }))
    }

    /// Whether it has said that it is ready (`READY=1`, sd_notify(3)).
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    /// Whether a line matched this pattern, which is one of those that are waited for.
    pub fn has_line(&self, pattern: &Regex) -> bool {
        let of = |(known, _): &&(Regex, AtomicBool)| known.as_str() == pattern.as_str();
        self.0.lines.iter().find(of).is_some_and(|(_, seen)| seen.load(Ordering::Acquire))
    }

    pub(super) fn ready(&self) {
        self.0.ready.store(true, Ordering::Release);
        self.0.news.notify_one();
    }

    /// Takes in a line, or a piece of one that is too long.
    pub(super) fn line(&self, line: &[u8]) {
        if self.0.lines.iter().all(|(_, seen)| seen.load(Ordering::Acquire)) {
            return;
        }
        let text = String::from_utf8_lossy(line);
        for (pattern, seen) in &self.0.lines {
            if !seen.load(Ordering::Acquire) && pattern.is_match(&text) {
                seen.store(true, Ordering::Release);
                self.0.news.notify_one();
            }
        }
    }

    /// All that is waited for was said: what the supervisor before this one had heard isn't said again.
    pub(super) fn everything(&self) {
        self.0.ready.store(true, Ordering::Release);
        for (_, seen) in &self.0.lines {
            seen.store(true, Ordering::Release);
        }
        self.0.news.notify_one();
    }

    /// Until something new was said. Dropping the future loses nothing.
    pub(super) async fn news(&self) {
        self.0.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_remembered_by_what_it_matches() {
        let (up, down) = (Regex::new("^up$").unwrap(), Regex::new("down").unwrap());
        let said = Said::new([&up, &down].into_iter());
        said.line(b"not up");
        assert!(!said.has_line(&up) && !said.has_line(&down) && !said.is_ready());
        said.line(b"up");
        said.news().await;
        assert!(said.has_line(&up) && !said.has_line(&down));
        // Nobody waits for this one.
        assert!(!said.has_line(&Regex::new("up").unwrap()));
        said.everything();
        assert!(said.has_line(&down) && said.is_ready());
        said.news().await;
    }
}
