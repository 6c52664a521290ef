//! How fast what a sandbox says gets out.
//!
//! All of its connections share one way out, which each piece of what they say keeps busy for as long as the rate gives it.
//! Who waits stands in line, so that no connection holds up the others for longer than a piece of its own.

use super::relay::ROOM;
use crate::platform::Rate;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};

/// What was left unused in this time may be made up for: timers are late, and a program pauses.
const CREDIT: Duration = Duration::from_millis(100);

/// Pieces in a second, at least: what is sent trickles rather than comes in bursts.
const PIECES: u64 = 10;

/// The way out of one sandbox.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: watch::Sender<Option<Rate>>,
    /// When it is free again.
    free: Mutex<Instant>,
}

impl Throttle {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { rate: watch::Sender::new(rate), free: Mutex::new(Instant::now()) }
    }

    /// From now on it is as wide as this.
    pub(super) fn limit_to(&self, rate: Option<Rate>) {
        self.rate.send_replace(rate);
    }

    pub(super) fn is_limited(&self) -> bool {
        self.rate.borrow().is_some()
    }

    /// How many bytes may be taken at once.
    pub(super) fn piece(&self) -> usize {
        let rate = *self.rate.borrow();
        let piece = rate.and_then(|rate| usize::try_from((rate.0.0 / PIECES).max(1)).ok());
        piece.unwrap_or(ROOM).min(ROOM)
    }

    /// Waits until so many bytes may go. Dropping the future gives its place in the line away.
    pub(super) async fn pass(&self, bytes: usize) {
        let mut rates = self.rate.subscribe();
        if rates.borrow().is_none() {
            return;
        }
        let mut free = self.free.lock().await;
        loop {
            let Some(rate) = *rates.borrow_and_update() else { return };
            if *free <= Instant::now() {
                *free = busy_until(*free, Instant::now(), bytes, rate);
                return;
            }
            tokio::select! {
                () = sleep_until(*free) => {}
                // Nobody waits by a rate that isn't any more. It can't be gone, since this has it.
                changed = rates.changed() => if changed.is_ok() { *free = Instant::now() },
            }
        }
    }
}

/// Until when a piece keeps the way busy that was free since then.
fn busy_until(free: Instant, now: Instant, bytes: usize, rate: Rate) -> Instant {
    let begin = now.checked_sub(CREDIT).map_or(free, |earliest| free.max(earliest));
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(rate.0.0.max(1));
    begin + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn rate(text: &str) -> Option<Rate> {
        Some(text.parse().unwrap())
    }

    /// What passes in this time, of as many as there are who never have enough.
    async fn passed(throttle: &Arc<Throttle>, hungry: usize, time: Duration) -> Vec<usize> {
        let counts: Vec<_> = (0..hungry).map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let tasks: Vec<_> = counts
            .iter()
            .map(|count| {
                let (throttle, count) = (throttle.clone(), count.clone());
                tokio::spawn(async move {
                    loop {
                        let piece = throttle.piece();
                        throttle.pass(piece).await;
                        count.fetch_add(piece, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        tokio::time::sleep(time).await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_held_and_shared() {
        for (text, bytes) in [("1KiB/s", 1 << 10), ("1MiB/s", 1 << 20), ("1GiB/s", 1 << 30)] {
            let throttle = Arc::new(Throttle::new(rate(text)));
            let all = passed(&throttle, 4, Duration::from_secs(10)).await;
            let (sum, most) = (all.iter().sum::<usize>(), 10 * bytes);
            assert!(sum <= most + bytes / 5 + ROOM && sum >= most - bytes / 5, "{text}: {all:?}");
            let fair = all.iter().all(|one| *one >= sum / 5);
            assert!(fair, "{text}: {all:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_is_not_saved_up() {
        let throttle = Arc::new(Throttle::new(rate("1MiB/s")));
        tokio::time::sleep(Duration::from_secs(100)).await;
        let all = passed(&throttle, 1, Duration::from_secs(1)).await;
        assert!(all[0] <= (1 << 20) * 6 / 5, "{all:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_rate_counts_at_once() {
        let throttle = Arc::new(Throttle::new(rate("1KiB/s")));
        throttle.pass(100 << 10).await;
        let begin = Instant::now();
        let wider = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            throttle.limit_to(rate("1MiB/s"));
        };
        tokio::join!(throttle.pass(1), wider);
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
        throttle.limit_to(None);
        throttle.pass(1 << 30).await;
        throttle.pass(1 << 30).await;
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
        assert_eq!(throttle.piece(), ROOM);
    }
}
