//! The service manager that started this process, where it wants to know how it is: by the protocol of sd_notify(3). Where there is
//! none, nothing is said to nobody.

use std::io;
use std::time::Duration;

/// What a service manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It answers, and services are being started; also when it has applied the stack file again.
    Ready,
    /// It applies the stack file again.
    Reloading,
    /// It ends.
    Stopping,
    /// It lives.
    Alive,
}

/// Tells it.
///
/// # Errors
/// When there is a service manager and it can't be told.
#[cfg(unix)]
pub fn tell_service_manager(news: News) -> io::Result<()> {
    use sd_notify::NotifyState;
    match news {
        News::Ready => sd_notify::notify(&[NotifyState::Ready]),
        News::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        News::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        News::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    }
}

/// How often it wants to hear that this process lives, if it does: twice in the time after which it would act.
#[cfg(unix)]
pub fn service_manager_pulse() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|time| (time / 2).max(Duration::from_millis(1)))
}

/// Tells it: there is none that would hear this.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn tell_service_manager(_: News) -> io::Result<()> {
    Ok(())
}

/// How often it wants to hear that this process lives: there is none.
#[cfg(not(unix))]
pub fn service_manager_pulse() -> Option<Duration> {
    None
}
