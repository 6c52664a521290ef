//! Counting what a program writes, and saying when that is too much.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// The count of what one sandbox wrote to all its streams together, and the most that is passed on.
#[derive(Debug)]
pub struct Meter {
    most: AtomicU64,
    passed: AtomicU64,
    is_over: AtomicBool,
    over: Notify,
}

impl Meter {
    /// A count that begins at 0 and is over with the first byte beyond `most`.
    pub fn new(most: u64) -> Self {
        Self {
            most: AtomicU64::new(most),
            passed: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            over: Notify::new(),
        }
    }

    /// Counts bytes that were just read; how many of them may be passed on.
    pub fn take(&self, bytes: usize) -> usize {
        let wanted = u64::try_from(bytes).unwrap_or(u64::MAX);
        let most = self.most.load(Ordering::Relaxed);
        let mut granted = 0;
        self.passed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |passed| {
                granted = wanted.min(most.saturating_sub(passed));
                Some(passed + granted)
            })
            .unwrap_or(0);
        if granted < wanted {
            self.is_over.store(true, Ordering::Release);
            self.over.notify_one();
        }
        usize::try_from(granted).unwrap_or(bytes)
    }

    /// Passes on so many in all from here on. It is over at once where more were passed on already; what was over stays so.
    pub fn limit_to(&self, most: u64) {
        self.most.store(most, Ordering::Relaxed);
        if self.passed() > most {
            self.is_over.store(true, Ordering::Release);
            self.over.notify_one();
        }
    }

    /// Bytes that were passed on.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Whether more was written than may be passed on.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Waits until it is over. Dropping the future loses nothing; one waiter is told.
    pub async fn over(&self) {
        while !self.is_over() {
            self.over.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_limit_is_passed_on_and_one_byte_more_is_over() {
        let meter = Meter::new(10);
        assert_eq!((meter.take(7), meter.take(3), meter.is_over()), (7, 3, false));
        assert_eq!((meter.take(0), meter.is_over()), (0, false));
        assert_eq!((meter.take(1), meter.is_over(), meter.passed()), (0, true, 10));
    }

    #[test]
    fn what_exceeds_it_is_cut_where_the_limit_is() {
        let meter = Meter::new(10);
        assert_eq!((meter.take(64), meter.is_over(), meter.passed()), (10, true, 10));
    }

    #[test]
    fn another_limit_counts_from_the_first_byte() {
        let meter = Meter::new(10);
        assert_eq!(meter.take(8), 8);
        meter.limit_to(20);
        assert_eq!((meter.take(12), meter.is_over()), (12, false));
        meter.limit_to(20);
        assert!(!meter.is_over());
        meter.limit_to(19);
        assert_eq!((meter.take(1), meter.is_over(), meter.passed()), (0, true, 20));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_waits_is_told_even_if_it_was_over_before() {
        let meter = Meter::new(0);
        meter.take(1);
        meter.over().await;
    }
}
