//! Names become addresses outside, by the host's own means.

use crate::platform::BoxFuture;
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use tokio::sync::{Semaphore, oneshot};

/// Looks names up.
pub(super) trait Resolve: Send + Sync + Debug {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// Names that are looked up at once; others wait.
const AT_ONCE: usize = 16;

/// The system's resolver, as the host is set up: its files, its servers.
///
/// It can't be interrupted, so each call has a thread of its own, of which nobody needs to see the end: a pool would make the
/// end of a sandbox wait for a name server that doesn't answer.
#[derive(Debug)]
pub(super) struct System {
    room: Arc<Semaphore>,
}

impl Default for System {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Resolve for System {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let (room, name) = (self.room.clone(), name.to_owned());
        Box::pin(async move {
            let permit = room.acquire_owned().await.map_err(io::Error::other)?;
            let (tell, told) = oneshot::channel();
            let look = move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                let found = found.map(|found| found.map(|address| address.ip()).collect());
                drop(permit);
                // Whoever asked may have gone.
                drop(tell.send(found));
            };
            thread::Builder::new().name("resolver".into()).spawn(look)?;
            told.await.map_err(io::Error::other)?
        })
    }
}
