//! The service `it` of a test's supervisor.

#![allow(dead_code, reason = "not every suite has services")]

use std::time::Duration;
use stockade::supervisor::{Status, Supervisor};

/// Waits until it is so.
pub(crate) async fn wait(of: &Supervisor, is: impl Fn(&Status) -> bool) -> Status {
    let it = of.service("it").unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(120), it.wait_for(is));
    match waiting.await {
        Ok(status) => status.unwrap(),
        Err(_) => panic!("{:?}", it.status()),
    }
}
