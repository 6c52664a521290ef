//! A text that is put together without an allocator.

use crate::sys::Result;

/// A NUL-terminated text of up to 127 bytes.
pub(crate) struct Line {
    text: [u8; 128],
    len: usize,
    /// Whether something didn't fit.
    over: bool,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { text: [0; 128], len: 0, over: false }
    }

    /// The path of a descriptor of this process's, as the whole text.
    pub(crate) fn name(&mut self, fd: i32) -> Result<*const u8> {
        self.descriptor(fd);
        self.text()
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            // The last byte stays zero, which ends the text.
            match self.text.iter_mut().take(127).nth(self.len) {
                Some(place) => *place = *byte,
                None => self.over = true,
            }
            self.len = self.len.wrapping_add(1);
        }
    }

    /// Adds the path of a descriptor of this process's.
    pub(crate) fn descriptor(&mut self, fd: i32) {
        self.bytes(b"/proc/self/fd/");
        let fd = fd.cast_unsigned();
        // Descriptors are far below: the kernel's own most is 2^30, and a process's usual most 2^20.
        let mut place = 1_000_000_000_u32;
        while place > 0 {
            // Never a division by nothing, which the compiler doesn't see.
            let upper = fd.checked_div(place).unwrap_or(0);
            if upper > 0 || place == 1 {
                let [digit, ..] = (upper % 10).to_le_bytes();
                self.bytes(&[b'0' | digit]);
            }
            place /= 10;
        }
    }

    /// The text; an error where something of it is missing.
    pub(crate) fn text(&self) -> Result<*const u8> {
        if self.over { Err(libc::ENAMETOOLONG) } else { Ok(self.text.as_ptr()) }
    }
}
