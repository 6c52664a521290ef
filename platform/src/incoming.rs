//! Signals that this process gets and passes on to a program.

use crate::Signal;
use std::io;

/// Signals sent to this process, from now on caught instead of acted upon.
#[derive(Debug)]
pub struct IncomingSignals {
    #[cfg(unix)]
    streams: Vec<(Signal, tokio::signal::unix::Signal)>,
    #[cfg(windows)]
    keys: windows::Keys,
}

#[cfg(unix)]
impl IncomingSignals {
    /// Starts to catch what a user or a service manager sends.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn catch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let wanted = [
            (Signal::Hangup, SignalKind::hangup()),
            (Signal::Interrupt, SignalKind::interrupt()),
            (Signal::Quit, SignalKind::quit()),
            (Signal::Terminate, SignalKind::terminate()),
            (Signal::User1, SignalKind::user_defined1()),
            (Signal::User2, SignalKind::user_defined2()),
            (Signal::WindowChange, SignalKind::window_change()),
            (Signal::Stop, SignalKind::from_raw(20)),
            (Signal::Continue, SignalKind::from_raw(18)),
        ];
        let streams = wanted.into_iter().map(|(name, kind)| Ok((name, signal(kind)?)));
        Ok(Self { streams: streams.collect::<io::Result<_>>()? })
    }

    /// The next one; a stop request of the terminal (Ctrl-Z) counts as [`Signal::Stop`]. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            for (name, stream) in &mut self.streams {
                if stream.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

#[cfg(windows)]
mod windows {
    use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, CtrlLogoff, CtrlShutdown};

    /// What the console tells its programs of.
    #[derive(Debug)]
    pub(super) struct Keys {
        pub(super) interrupt: CtrlC,
        pub(super) interrupt_hard: CtrlBreak,
        pub(super) close: CtrlClose,
        pub(super) log_off: CtrlLogoff,
        pub(super) shut_down: CtrlShutdown,
    }
}

#[cfg(windows)]
impl IncomingSignals {
    /// Starts to catch what a user presses, and that the console is closed or the session ends.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn catch() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_logoff, ctrl_shutdown};
        let keys = windows::Keys {
            interrupt: ctrl_c()?,
            interrupt_hard: ctrl_break()?,
            close: ctrl_close()?,
            log_off: ctrl_logoff()?,
            shut_down: ctrl_shutdown()?,
        };
        Ok(Self { keys })
    }

    /// The next one: Ctrl-C is an interrupt, Ctrl-Break asks to end, and so does the end of the session; a console that is closed
    /// hangs up. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        let keys = &mut self.keys;
        tokio::select! {
            _ = keys.interrupt.recv() => Signal::Interrupt,
            _ = keys.interrupt_hard.recv() => Signal::Terminate,
            _ = keys.close.recv() => Signal::Hangup,
            _ = keys.log_off.recv() => Signal::Terminate,
            _ = keys.shut_down.recv() => Signal::Terminate,
        }
    }
}

/// Ends this process at once with a program's exit code, where that is one which [`std::process::ExitCode`] can't hold: codes of
/// Windows have 32 bits. Elsewhere, and for codes from 0 to 255, nothing happens.
pub fn exit_with_large_code(code: i32) {
    #[cfg(windows)]
    if !(0..256).contains(&code) {
        #[expect(
            clippy::exit,
            clippy::disallowed_methods,
            reason = "nothing else passes 32 bits on"
        )]
        std::process::exit(code);
    }
    #[cfg(not(windows))]
    let _fits = code;
}

/// Stops this process as the terminal's Ctrl-Z does, until it is continued.
///
/// # Errors
/// When the system refuses, or has no such thing.
pub fn stop_this_process() -> io::Result<()> {
    #[cfg(unix)]
    {
        Ok(rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)?)
    }
    #[cfg(not(unix))]
    {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Executes another program in the place of this process; returns only if that fails, and why.
pub fn execute_in_place(command: &mut std::process::Command) -> io::Error {
    #[cfg(unix)]
    {
        std::os::unix::process::CommandExt::exec(command)
    }
    #[cfg(not(unix))]
    {
        let _no_such_thing = command;
        let message = "a program can't take the place of a process on this system";
        io::Error::new(io::ErrorKind::Unsupported, message)
    }
}

/// A descriptor that this process was started with, as a file of its own.
///
/// # Errors
/// When there is no such descriptor, or the platform has none.
pub fn inherited_file(number: i32) -> io::Result<std::fs::File> {
    #[cfg(unix)]
    {
        use std::os::fd::BorrowedFd;
        if number < 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: not -1; borrowed for one call, which fails with EBADF when nothing is open there.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 3)?.into())
    }
    #[cfg(not(unix))]
    {
        let message = format!("open file {number} can't be taken over on this system");
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}
