//! What of the network can be reached: the words for hosts, for what a filtered network lets out, and for what it lets in.

mod host;
mod publish;
mod rule;

pub use host::Host;
pub use publish::Publish;
pub use rule::{AllowRule, Ports, Target};

use serde::Serialize;
use std::fmt;

/// What of the network can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Network {
    /// A loopback interface of its own, nothing else.
    #[default]
    None,
    /// The host's network.
    Host,
    /// A loopback interface of its own, and through proxies what is allowed.
    Filtered,
}

impl Network {
    /// Whether it is another network than the host's.
    pub fn is_own(self) -> bool {
        self != Self::Host
    }
}

/// Why a text is no host, rule or published port. Its text is the end of a sentence about what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseNetworkError(String);

impl ParseNetworkError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for ParseNetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseNetworkError {}

/// A port, which is never 0.
fn port(text: &str) -> Result<u16, ParseNetworkError> {
    // `parse` would take a sign.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ => Err(ParseNetworkError::new("has no port from 1 to 65535")),
    }
}
