//! Who asked for what, in the audit log.

use super::problem::Problem;
use super::route::{Call, Route};
use super::{Daemon, Peer, Who};
use crate::audit::Subject;
use hyper::StatusCode;
use serde_json::json;
use std::sync::PoisonError;

impl Daemon {
    /// Writes down what somebody asked for, before it is done, and what became of it: where that can't be written down, it isn't
    /// done.
    pub(super) fn record(
        &self,
        peer: &Peer,
        verb: &str,
        service: &str,
        result: &str,
    ) -> Result<(), Problem> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let stack = self.supervisor.stack();
        let policy = stack.services.get(service).map(|service| service.policy.digest());
        let subject = Subject { id: service, policy: policy.as_deref().unwrap_or("") };
        let mut line = json!({ "event": "action", "verb": verb, "result": result });
        match &peer.who {
            Who::User { id, process } => {
                line["user"] = (*id).into();
                line["process"] = (*process).into();
            }
            Who::Token { name, address } => {
                line["token"] = name.as_str().into();
                line["address"] = address.to_string().into();
            }
        }
        let mut log = audit.lock().unwrap_or_else(PoisonError::into_inner);
        log.add(subject, &line).map_err(|error| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.chain())
                .hint("nothing is done that can't be written to the audit log")
        })
    }

    /// Writes down what somebody wanted who may not.
    pub(super) fn refused(&self, peer: &Peer, route: &Route, chosen: Option<&str>) {
        let verb = match route.call {
            Call::Act(verb) => verb.word(),
            Call::Signal => "signal",
            Call::Apply => "apply",
            Call::Shutdown => "shutdown",
            Call::Reexec => "reexec",
            Call::TestAlerts => "test-alerts",
            Call::Silence => "silence",
            Call::Unsilence => "unsilence",
            _ => return,
        };
        // It is refused whether that can be written down or not.
        self.record(peer, verb, chosen.unwrap_or(""), "refused").unwrap_or(());
    }
}
