//! How many lines are kept in a time. Pure: whoever asks says what time it is.

use super::settings::RateLimit;
use std::time::Duration;

/// What may be kept right now, and fills up again with time.
#[derive(Debug)]
struct Bucket {
    most: f64,
    per_second: f64,
    level: f64,
}

impl Bucket {
    fn new(amount: f64, burst: f64, per: Duration) -> Self {
        let seconds = per.as_secs_f64().max(0.001);
        Self { most: burst, per_second: amount / seconds, level: burst }
    }

    fn pass(&mut self, time: Duration) {
        self.level = (self.level + self.per_second * time.as_secs_f64()).min(self.most);
    }
}

/// The limits of one instance: a bucket for lines, and one for bytes.
#[derive(Debug)]
pub(super) struct Limiter {
    lines: Option<Bucket>,
    bytes: Option<Bucket>,
    /// When the buckets were last filled up.
    at: Duration,
}

impl Limiter {
    pub(super) fn new(limit: &RateLimit) -> Self {
        let lines = limit.lines.map(|lines| {
            let burst = limit.burst.unwrap_or(lines).max(1);
            Bucket::new(f64::from(lines), f64::from(burst), limit.per)
        });
        let bytes = limit.bytes.map(|bytes| {
            let bytes = u32::try_from(bytes.0).map_or(f64::from(u32::MAX), f64::from);
            // A line that is longer than the limit is kept after a quiet time, or none ever would be.
            Bucket::new(bytes, bytes, limit.per)
        });
        Self { lines, bytes, at: Duration::ZERO }
    }

    /// Whether a line of this many bytes is kept, at this time of a clock that only goes forward.
    pub(super) fn allows(&mut self, bytes: usize, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let length = u32::try_from(bytes).map_or(f64::from(u32::MAX), f64::from);
        let buckets = [(self.lines.as_mut(), 1.0), (self.bytes.as_mut(), length)];
        let mut buckets: Vec<(&mut Bucket, f64)> =
            buckets.into_iter().filter_map(|(bucket, cost)| Some((bucket?, cost))).collect();
        buckets.iter_mut().for_each(|(bucket, _)| bucket.pass(passed));
        let allows = buckets.iter().all(|(bucket, cost)| bucket.level >= cost.min(bucket.most));
        if allows {
            buckets.iter_mut().for_each(|(bucket, cost)| bucket.level -= *cost);
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Bytes;

    fn kept(limiter: &mut Limiter, bytes: usize, at: u64, times: u32) -> usize {
        (0..times).filter(|_| limiter.allows(bytes, Duration::from_millis(at))).count()
    }

    #[test]
    fn so_many_lines_are_kept_in_a_time_and_more_after_a_quiet_one() {
        let limit = RateLimit { lines: Some(10), burst: Some(25), ..RateLimit::default() };
        let mut limiter = Limiter::new(&limit);
        assert_eq!(kept(&mut limiter, 1, 0, 100), 25);
        assert_eq!(kept(&mut limiter, 1, 1000, 100), 10);
        assert_eq!(kept(&mut limiter, 1, 1500, 100), 5);
        assert_eq!(kept(&mut limiter, 1, 3_600_000, 100), 25);
        // A clock that doesn't move gives nothing.
        assert_eq!(kept(&mut limiter, 1, 3_600_000, 100), 0);
    }

    #[test]
    fn bytes_count_too_and_a_line_longer_than_all_of_them_is_kept_now_and_then() {
        let limit = RateLimit { bytes: Some(Bytes(100)), ..RateLimit::default() };
        let mut limiter = Limiter::new(&limit);
        assert_eq!(kept(&mut limiter, 30, 0, 10), 3);
        let mut limiter = Limiter::new(&limit);
        assert_eq!(kept(&mut limiter, 500, 0, 10), 1);
        assert_eq!(kept(&mut limiter, 500, 4000, 10), 0);
        assert_eq!(kept(&mut limiter, 500, 5000, 10), 1);
    }

    #[test]
    fn without_limits_everything_is_kept() {
        let mut limiter = Limiter::new(&RateLimit::default());
        assert_eq!(kept(&mut limiter, 8192, 0, 1000), 1000);
    }
}
