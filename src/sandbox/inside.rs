//! What of a running sandbox can be reached from outside: its own network and its file system.

use super::Sandbox;
use crate::platform::{Dialer, LocalStream, View};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A way into a running sandbox, for whoever wants to know how it is. It outlives the sandbox, and then leads nowhere.
#[derive(Clone, Debug, Default)]
pub struct Inside {
    network: Way,
    view: Option<Arc<dyn View>>,
}

#[derive(Clone, Debug, Default)]
enum Way {
    /// Nothing leads there.
    #[default]
    Closed,
    /// Its network is the host's.
    Host,
    Own(Arc<dyn Dialer>),
}

impl Inside {
    pub(super) fn of(sandbox: &Sandbox) -> Self {
        let network = match &sandbox.dialer {
            Some(dialer) => Way::Own(dialer.clone()),
            None if !sandbox.plan.network.is_own() => Way::Host,
            None => Way::Closed,
        };
        Self { network, view: sandbox.running.view() }
    }

    /// Connects to a port of the loopback interface that the program sees.
    ///
    /// # Errors
    /// When nobody listens there, or the sandbox wasn't started with [`SandboxBuilder::dialed`](super::SandboxBuilder::dialed).
    pub async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        match &self.network {
            Way::Host => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await,
            Way::Own(dialer) => dialer.dial(port).await,
            Way::Closed => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "nothing leads into its network from here",
            )),
        }
    }

    /// Whether there is something at an absolute path, as the program sees it.
    ///
    /// # Errors
    /// When that can't be told.
    pub async fn exists(&self, path: impl Into<PathBuf>) -> io::Result<bool> {
        self.view()?.exists(path.into()).await
    }

    /// The content of a regular file, as the program sees it, up to so many bytes.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    pub async fn read(&self, path: impl Into<PathBuf>, most: usize) -> io::Result<Vec<u8>> {
        self.view()?.read(path.into(), most).await
    }

    /// Connects to the stream socket at an absolute path, as the program sees it.
    ///
    /// # Errors
    /// When there is none, or nobody listens there.
    pub async fn connect(&self, path: impl Into<PathBuf>) -> io::Result<LocalStream> {
        self.view()?.connect(path.into()).await
    }

    fn view(&self) -> io::Result<&Arc<dyn View>> {
        let closed = || {
            io::Error::new(io::ErrorKind::Unsupported, "its file system can't be seen from here")
        };
        self.view.as_ref().ok_or_else(closed)
    }
}
