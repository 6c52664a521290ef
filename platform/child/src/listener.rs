//! The filter's listener: where the starter hears of denied system calls (seccomp_unotify(2)).
//!
//! The program's process gets it when it installs its filter, and can't pass it on any more: the filter may forbid
//! sendmsg(2). So that process shares the table of descriptors with the first one, which has no filter and hands it over
//! once the program was executed. Exec gives the program a table of its own, without the listener. A denied call that
//! comes before the starter listens waits.

use crate::sys::{self, Result};
use crate::{Message, Script};
use core::sync::atomic::{AtomicI32, Ordering};

/// What the program's process leaves for the first one: a descriptor, an errno below zero, or nothing.
#[derive(Debug)]
pub(crate) struct Slot(AtomicI32);

const NOTHING: i32 = i32::MIN;

impl Slot {
    pub(crate) const fn new() -> Self {
        Self(AtomicI32::new(NOTHING))
    }

    /// The listener, if there is one; else something negative.
    pub(crate) fn listener(&self) -> i32 {
        self.0.load(Ordering::Acquire)
    }
}

/// Installs the filter that tells, or the plain one.
///
/// Only one filter of a process may have a listener, so in a sandbox inside of another one the kernel refuses it. Whatever
/// the reason, the plain filter denies the same, and its own failure is the one that counts.
pub(crate) fn install(
    script: &Script<'_>,
    plain: u32,
    told: Option<u32>,
    slot: &Slot,
) -> Result<()> {
    let filter = |number: u32| script.filters.get(number as usize).ok_or(libc::EINVAL);
    if let Some(told) = told {
        match sys::install_filter_with_listener(filter(told)?) {
            // Without a first process that stays nobody else can; the filter then allows it.
            Ok(listener) if !script.init => {
                return sys::send_descriptor(script.control, Message::Listener, listener);
            }
            Ok(listener) => {
                slot.0.store(listener, Ordering::Release);
                return Ok(());
            }
            Err(errno) if !script.init => sys::send(script.control, Message::Untold(errno)),
            Err(errno) => slot.0.store(errno.wrapping_neg(), Ordering::Release),
        }
    }
    sys::install_filter(filter(plain)?)
}

/// Hands over what the program's process left.
pub(crate) fn hand_over(control: i32, slot: &Slot) -> Result<()> {
    match slot.0.load(Ordering::Acquire) {
        NOTHING => Ok(()),
        errno @ ..0 => {
            sys::send(control, Message::Untold(errno.wrapping_neg()));
            Ok(())
        }
        listener => sys::send_descriptor(control, Message::Listener, listener),
    }
}
