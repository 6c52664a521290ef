//! Published ports: a listener outside, and connections that begin inside.

use super::proxy::{Shared, accept};
use super::relay;
use crate::platform::Dialer;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long it may take to connect inside: nothing is far, but the sandbox may be paused.
const TO_CONNECT: Duration = Duration::from_secs(10);

/// Lets in until it is dropped.
pub(super) async fn listen(
    listener: TcpListener,
    room: Arc<Semaphore>,
    (inside, dialer): (u16, Arc<dyn Dialer>),
    shared: Arc<Shared>,
) {
    accept(listener, room, |client| let_in(client, inside, dialer.clone(), shared.clone())).await;
}

/// Where nobody listens inside, whoever came is let go, as by a host without that port.
async fn let_in(mut client: TcpStream, inside: u16, dialer: Arc<dyn Dialer>, shared: Arc<Shared>) {
    if let Ok(Ok(mut server)) = timeout(TO_CONNECT, dialer.dial(inside)).await {
        shared.ledger.let_in();
        relay::join(&mut server, &mut client, &[], shared.way()).await;
    }
}
