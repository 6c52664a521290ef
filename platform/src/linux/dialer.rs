//! Connections that begin inside: the sandbox's first process makes the sockets, the starter connects them.

use super::spawn;
use crate::{BoxFuture, Dialer, PlatformError};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::io;
use std::net::Ipv4Addr;
use stockade_child::Message;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;

/// Where sockets of one sandbox's network can be asked for.
///
/// A channel of its own, beside the control socket: that one is read by whoever waits for the sandbox, and published ports
/// must work while nobody does.
#[derive(Debug)]
pub(crate) struct Sockets(Mutex<Channel>);

#[derive(Debug)]
struct Channel {
    socket: AsyncFd<OwnedFd>,
    /// Whether a socket was asked for and hasn't come: one that comes late is as good for whoever asks next.
    asked: bool,
}

impl Sockets {
    /// Takes over the starter's end.
    ///
    /// # Errors
    /// When it can't be registered with the running tokio runtime.
    pub(crate) fn new(socket: OwnedFd) -> Result<Self, PlatformError> {
        // SAFETY: the descriptor is owned by the `AsyncFd` alone and stays open until that is dropped.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        let failed =
            |error| PlatformError::system("failed to watch the sandbox", io::Error::from(error));
        Ok(Self(Mutex::new(Channel { socket: socket.map_err(failed)?, asked: false })))
    }

    async fn socket(&self) -> io::Result<OwnedFd> {
        let mut channel = self.0.lock().await;
        if !channel.asked {
            spawn::send(channel.socket.get_ref().as_fd(), Message::Socket)?;
            channel.asked = true;
        }
        loop {
            let mut ready = channel.socket.readable().await?;
            match spawn::receive(ready.get_inner().as_fd(), RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
                Ok((Some(Message::Socket), Some(socket))) => {
                    drop(ready);
                    channel.asked = false;
                    return Ok(socket);
                }
                Ok((Some(Message::Failed { errno, .. }), _)) => {
                    drop(ready);
                    channel.asked = false;
                    return Err(io::Error::from_raw_os_error(errno));
                }
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }
}

impl Dialer for Sockets {
    fn dial(&self, port: u16) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            let socket = TcpSocket::from_std_stream(self.socket().await?.into());
            socket.connect((Ipv4Addr::LOCALHOST, port).into()).await
        })
    }
}
