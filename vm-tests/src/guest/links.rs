//! The loopback interface: a guest has no other, and nothing else brings it up.

use crate::failure::{Attempt, Result};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

const RTM_NEWLINK: u16 = 16;
const REQUEST_WITH_ACKNOWLEDGEMENT: u16 = 0x1 | 0x4;
const LOOPBACK: u32 = 1;
const IFF_UP: u32 = 1;
/// Where the error number stands in the kernel's answer: behind the 16 bytes of its header.
const ERROR_AT: usize = 16;

/// One netlink message by hand: no ioctl (that would be unsafe code), and no `ip` that a small
/// machine may not have.
pub(super) fn loopback_up() -> Result<()> {
    let attempt = || "failed to bring the loopback interface up";
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .attempt(attempt)?;
    send(&socket, &message(), SendFlags::empty()).attempt(attempt)?;
    let mut answer = [0_u8; 256];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty()).attempt(attempt)?;
    let error = answer
        .get(ERROR_AT..ERROR_AT + 4)
        .filter(|_| length >= ERROR_AT + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i32::from_ne_bytes);
    if error == 0 {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(-error)).attempt(attempt)
    }
}

fn message() -> Vec<u8> {
    let mut message = Vec::with_capacity(32);
    // nlmsghdr: length, type, flags, sequence number, port.
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_WITH_ACKNOWLEDGEMENT.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    // ifinfomsg: family, padding and type; index; flags; which of the flags to change.
    message.extend(0_u32.to_ne_bytes());
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_as_long_as_its_header_says() {
        assert_eq!(message().len(), 32);
    }
}
