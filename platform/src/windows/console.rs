//! The console of this process.

use super::job::done;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle};
use windows_sys::Win32::System::Console::{CONSOLE_SCREEN_BUFFER_INFO, GetConsoleScreenBufferInfo};

/// Rows and columns of the console at standard output or error; `None` when neither is one.
pub(crate) fn console_size() -> Option<(u16, u16)> {
    size_of_console(&io::stdout()).or_else(|| size_of_console(&io::stderr()))
}

fn size_of_console(stream: &impl AsHandle) -> Option<(u16, u16)> {
    let mut information = CONSOLE_SCREEN_BUFFER_INFO::default();
    let handle = stream.as_handle().as_raw_handle();
    // SAFETY: the handle is open, and the structure is written.
    done(unsafe { GetConsoleScreenBufferInfo(handle, &raw mut information) }).ok()?;
    let window = information.srWindow;
    let length = |from: i16, to: i16| u16::try_from(i32::from(to) - i32::from(from) + 1).ok();
    Some((length(window.Top, window.Bottom)?, length(window.Left, window.Right)?))
}
