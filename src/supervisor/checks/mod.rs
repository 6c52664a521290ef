//! What a program can be looked at with from a stack file. Each reaches into the sandbox that runs just then.

mod grpc;
mod http;

pub use grpc::GrpcCheck;
pub use http::HttpCheck;

use super::health::{HealthCheck, Vitals};
use crate::platform::{BoxFuture, LaunchPlan};
use regex::Regex;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketCheck(pub PathBuf);

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

/// Well from when the program has written a line to either of its streams that matches. A long line counts in pieces.
#[derive(Clone, Debug)]
pub struct LineCheck(pub Regex);

impl PartialEq for LineCheck {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for LineCheck {}

impl HealthCheck for LineCheck {
    fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        let seen = vitals.said.has_line(&self.0);
        let result = seen.then_some(()).ok_or_else(|| format!("no line matches `{}`", self.0));
        Box::pin(async { result })
    }

    fn line(&self) -> Option<&Regex> {
        Some(&self.0)
    }
}

/// Well from when the program has said that it is ready (`READY=1`, sd_notify(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyCheck;

impl HealthCheck for NotifyCheck {
    fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        let said = vitals.said.is_ready();
        let result = said.then_some(()).ok_or_else(|| "it hasn't said `READY=1`".to_owned());
        Box::pin(async { result })
    }

    fn listens(&self) -> bool {
        true
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
