//! The filtered network: a sandbox with nothing but its own loopback interface, where a proxy of Stockade's listens.
//!
//! The listening socket is made inside and served outside, so that a program which ignores the proxy finds a network without
//! any way out: not the proxy is the wall, but the missing network. What the proxy connects to is decided here:
//!
//! * [`rules`], [`special`]: whom the policy allows. Pure.
//! * [`http`], [`socks`]: what a client asks for. Pure.
//! * [`destination`]: from a request to a connection, or the reason why not; [`resolver`] looks names up, outside.
//! * [`proxy`], [`published`], [`relay`]: who is heard, and what passes.
//! * [`throttle`]: how fast it passes.
//! * [`ledger`]: what was refused, and what is open.
//! * [`passage`]: all of it, of one sandbox.

mod destination;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod http;
mod ledger;
mod passage;
mod proxy;
mod published;
mod relay;
mod resolver;
mod rules;
mod socks;
mod special;
mod throttle;

pub use ledger::Connections;
pub(crate) use passage::{Passage, Published};

use crate::platform::Environment;
use std::ffi::OsString;

/// Where the proxy listens inside. It must be known before the launch, since the environment names it; it is the port that
/// is assigned to SOCKS, and the network is new, so nobody else can have it.
pub(crate) const PROXY_PORT: u16 = 1080;

/// The environment with what tells programs of the proxy. The policy's own values have the last word; the caller's lead to
/// proxies that can't be reached from inside.
pub(crate) fn with_proxies(
    mut environment: Vec<(OsString, OsString)>,
    policy: &Environment,
) -> Vec<(OsString, OsString)> {
    let http = format!("http://127.0.0.1:{PROXY_PORT}");
    // With the `h` names are resolved by the proxy: inside nobody could.
    let socks = format!("socks5h://127.0.0.1:{PROXY_PORT}");
    // What a program has listening for itself is inside.
    let own = "localhost,127.0.0.1,::1".to_owned();
    for (name, value) in
        [("HTTP_PROXY", &http), ("HTTPS_PROXY", &http), ("ALL_PROXY", &socks), ("NO_PROXY", &own)]
    {
        for name in [name.to_owned(), name.to_ascii_lowercase()] {
            if !policy.set.contains_key(&name) {
                environment.retain(|(known, _)| *known != *name);
                environment.push((name.into(), value.into()));
            }
        }
    }
    environment.sort();
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_of_the_proxy_unless_the_policy_says_otherwise() {
        let mut policy = Environment::default();
        policy.set.insert("NO_PROXY".into(), "*".into());
        policy.keep.push("HTTP_PROXY".into());
        let caller = [("HTTP_PROXY".into(), "http://proxy.corp:3128".into())];
        let environment = with_proxies(policy.resolve(caller), &policy);
        let value = |name: &str| {
            let found: Vec<_> = environment.iter().filter(|(known, _)| known == name).collect();
            assert_eq!(found.len(), 1, "{name}");
            found[0].1.to_str().unwrap().to_owned()
        };
        assert_eq!(value("HTTP_PROXY"), "http://127.0.0.1:1080");
        assert_eq!(value("https_proxy"), "http://127.0.0.1:1080");
        assert_eq!(value("ALL_PROXY"), "socks5h://127.0.0.1:1080");
        assert_eq!((value("NO_PROXY").as_str(), value("no_proxy").len()), ("*", 23));
    }
}
