//! What a program can be looked at with from a stack file. Each reaches into the sandbox that runs just then.

mod grpc;
mod http;

pub use grpc::GrpcCheck;
pub use http::HttpCheck;

use super::health::{HealthCheck, Vitals};
use crate::platform::{BoxFuture, LaunchPlan};
use std::ffi::OsString;
use std::path::PathBuf;

/// The answer to what was asked over a connection, which goes with this: nothing of it works on when the look is over.
async fn answered(
    asked: impl Future<Output = Result<(), String>>,
    connection: impl Future<Output = Result<(), hyper::Error>>,
    failed: impl Fn(hyper::Error) -> String,
) -> Result<(), String> {
    tokio::pin!(asked, connection);
    tokio::select! {
        asked = &mut asked => asked,
        closed = &mut connection => match closed {
            Ok(()) => asked.await,
            Err(error) => Err(failed(error)),
        },
    }
}

/// Well as long as somebody takes connections at this port of the program's loopback interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortCheck(pub u16);

impl HealthCheck for PortCheck {
    fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let connected = vitals.inside.dial(self.0).await;
            connected
                .map(drop)
                .map_err(|error| format!("no connection to port {}: {error}", self.0))
        })
    }

    fn dials(&self) -> bool {
        true
    }
}

/// Well as long as somebody takes connections at the stream socket with this path, as the program sees it.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketCheck(pub PathBuf);

#[cfg(unix)]
impl HealthCheck for SocketCheck {
    fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let connected = vitals.inside.connect(&self.0).await;
            let shown = LaunchPlan::readable(&self.0);
            connected.map(drop).map_err(|error| format!("no connection to `{shown}`: {error}"))
        })
    }
}

/// Well as long as this command, run inside of the sandbox, exits with 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCheck(pub Vec<OsString>);

impl HealthCheck for ExecCheck {
    fn check<'a>(&'a self, _: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Err("nothing can be run inside from here".to_owned()) })
    }

    fn command(&self) -> Option<&[OsString]> {
        Some(&self.0)
    }
}

/// Well as long as there is something at this path, as the program sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCheck(pub PathBuf);

impl HealthCheck for FileCheck {
    fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let shown = LaunchPlan::readable(&self.0);
            match vitals.inside.exists(&self.0).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(format!("there is no `{shown}`")),
                Err(error) => Err(format!("failed to look for `{shown}`: {error}")),
            }
        })
    }
}
