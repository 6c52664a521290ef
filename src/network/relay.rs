//! Bytes from one connection to another.

use super::throttle::Throttle;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long nothing may pass in either direction. A connection that is open for ever and silent is one that was forgotten.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// What is held of each direction.
pub(super) const ROOM: usize = 16 << 10;

/// How many connections have more to carry out of the sandbox, perhaps of a program that has said it and is gone.
#[derive(Debug, Default)]
pub(super) struct Pending(watch::Sender<usize>);

impl Pending {
    /// One more, until what this gives is dropped.
    pub(super) fn begin(&self) -> impl Drop + Send + '_ {
        struct Begun<'a>(&'a Pending);
        impl Drop for Begun<'_> {
            fn drop(&mut self) {
                self.0.0.send_modify(|count| *count -= 1);
            }
        }
        self.0.send_modify(|count| *count += 1);
        Begun(self)
    }

    /// Waits until there is none.
    pub(super) async fn none(&self) {
        // It fails only when the sender is gone, which this is.
        drop(self.0.subscribe().wait_for(|count| *count == 0).await);
    }
}

/// When something passed last.
#[derive(Debug)]
pub(super) struct Pulse {
    start: Instant,
    last: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0) }
    }

    fn beat(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Waits until nothing has passed for too long.
    pub(super) async fn stopped(&self) {
        loop {
            let last = self.last.load(Ordering::Relaxed);
            sleep_until(self.start + Duration::from_millis(last) + IDLE).await;
            if self.last.load(Ordering::Relaxed) == last {
                return;
            }
        }
    }
}

/// Copies to the end of `from`, where there is a throttle at its pace.
pub(super) async fn copy(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    pulse: &Pulse,
    throttle: Option<&Throttle>,
) -> io::Result<()> {
    let mut buffer = vec![0; ROOM];
    loop {
        let piece = throttle.map_or(ROOM, Throttle::piece);
        let count = from.read(buffer.get_mut(..piece).unwrap_or_default()).await?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        pulse.beat();
        if let Some(throttle) = throttle {
            throttle.pass(bytes.len()).await;
        }
        to.write_all(bytes).await?;
        pulse.beat();
    }
}

/// Joins two connections until both directions are at their end, one fails, or nothing passes. `early` is what was said
/// inside already.
pub(super) async fn join(
    inside: &mut TcpStream,
    outside: &mut TcpStream,
    early: &[u8],
    (pending, throttle): (&Pending, &Throttle),
) {
    let pulse = Pulse::new();
    let (from_inside, to_inside) = &mut inside.split();
    let (from_outside, to_outside) = &mut outside.split();
    let out = async {
        let _more = pending.begin();
        copy(early.chain(from_inside), to_outside, &pulse, Some(throttle)).await?;
        to_outside.shutdown().await
    };
    let back = async {
        copy(from_outside, to_inside, &pulse, None).await?;
        to_inside.shutdown().await
    };
    tokio::select! {
        // Who broke it off knows that; the other side sees its end.
        _ = async { tokio::try_join!(out, back) } => {}
        () = pulse.stopped() => {}
    }
}
