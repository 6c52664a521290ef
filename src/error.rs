//! The one error type of this crate.

use crate::plan::Unsupported;
use crate::platform::{ErrorKind, PlatformError, Stage};
use crate::policy::PolicyError;
use std::fmt;

/// Something Stockade couldn't do. What callers may branch on are the predicates; the message is for people.
#[derive(Debug)]
#[expect(
    clippy::error_impl_error,
    reason = "the crate's one error, named as its users will write it: `stockade::Error`"
)]
pub struct Error(Kind);

#[derive(Debug)]
enum Kind {
    Policy(PolicyError),
    Unsupported(Unsupported),
    Platform(PlatformError),
    Io(String, std::io::Error),
    /// A request that can't be met, and what to do about it.
    Asked(String, String),
    /// The same, told by whoever couldn't, with what to exit with.
    Told(String, String, u8),
}

impl Error {
    /// An input or output that failed; the message says what was being done.
    pub(crate) fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        Self(Kind::Io(message.into(), source))
    }

    /// A request to a sandbox that can't be met; an empty hint is none.
    pub(crate) fn asked(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self(Kind::Asked(message.into(), hint.into()))
    }

    /// The same request, which ends a command with this code.
    pub(crate) fn exiting_with(self, code: u8) -> Self {
        match self.0 {
            Kind::Asked(message, hint) => Self(Kind::Told(message, hint, code)),
            other => Self(other),
        }
    }

    /// Whether a control that the policy asks for can't be enforced on this host.
    pub fn is_unsupported(&self) -> bool {
        match &self.0 {
            Kind::Unsupported(_) => true,
            Kind::Platform(error) => error.is_unsupported(),
            Kind::Policy(_) | Kind::Io(..) | Kind::Asked(..) | Kind::Told(..) => false,
        }
    }

    /// Whether the policy itself is wrong.
    pub fn is_policy(&self) -> bool {
        matches!(self.0, Kind::Policy(_))
    }

    /// What went wrong, one text for each thing: a policy can be wrong in many places. With colours for a terminal.
    pub(crate) fn messages(&self, coloured: bool) -> Vec<String> {
        match &self.0 {
            Kind::Policy(error) => error.messages(coloured),
            Kind::Unsupported(error) => error.to_string().lines().map(str::to_owned).collect(),
            Kind::Platform(_) | Kind::Io(..) | Kind::Asked(..) | Kind::Told(..) => {
                vec![self.to_string()]
            }
        }
    }

    /// The message with its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match &self.0 {
            Kind::Unsupported(error) => error.hint(),
            Kind::Platform(error) => error.hint().map(Into::into),
            Kind::Asked(_, hint) | Kind::Told(_, hint, _) => {
                Some(hint.clone()).filter(|hint| !hint.is_empty())
            }
            Kind::Policy(_) | Kind::Io(..) => None,
        }
    }

    /// What `stockade run` exits with: 127 for a program that isn't there, 126 for one that can't be executed, else 125.
    pub fn exit_status(&self) -> u8 {
        match &self.0 {
            Kind::Platform(error) => match error.kind() {
                ErrorKind::Launch(Stage::NotFound) => 127,
                ErrorKind::Launch(Stage::NotExecutable) => 126,
                _ => 125,
            },
            Kind::Told(_, _, code) => *code,
            _ => 125,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Policy(error) => error.fmt(f),
            Kind::Unsupported(error) => error.fmt(f),
            Kind::Platform(error) => error.fmt(f),
            Kind::Io(message, _) | Kind::Asked(message, _) | Kind::Told(message, ..) => {
                f.write_str(message)
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Platform(error) => error.source(),
            Kind::Io(_, source) => Some(source),
            Kind::Policy(_) | Kind::Unsupported(_) | Kind::Asked(..) | Kind::Told(..) => None,
        }
    }
}

impl From<PolicyError> for Error {
    fn from(error: PolicyError) -> Self {
        Self(Kind::Policy(error))
    }
}

impl From<Unsupported> for Error {
    fn from(error: Unsupported) -> Self {
        Self(Kind::Unsupported(error))
    }
}

impl From<PlatformError> for Error {
    fn from(error: PlatformError) -> Self {
        Self(Kind::Platform(error))
    }
}
