//! The one error type of this crate.

use crate::Control;
use std::fmt;
use std::io;

/// Something a backend couldn't do. The message names the object; the cause of the operating system is the `source`.
#[derive(Debug)]
pub struct PlatformError {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<io::Error>,
}

/// What sort of failure it was; callers may branch on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A control can't be enforced on this host.
    Unsupported(Option<Control>),
    /// A launch failed at a step before the program ran.
    Launch(Stage),
    /// The plan itself is wrong, such as a path with a NUL byte.
    Invalid,
    /// The operating system refused something else.
    System,
}

/// Where a launch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Before a process existed.
    Prepare,
    /// While the process and its walls were being made.
    Setup,
    /// The program was not found.
    NotFound,
    /// The program was found and can't be executed.
    NotExecutable,
}

impl PlatformError {
    /// A failure of the operating system at `message`, which says what was being done: ``failed to write `x` ``.
    pub fn system(message: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            kind: ErrorKind::System,
            message: message.into(),
            hint: None,
            source: Some(source.into()),
        }
    }

    /// A launch that failed at a step.
    pub fn launch(stage: Stage, message: impl Into<String>, source: Option<io::Error>) -> Self {
        Self { kind: ErrorKind::Launch(stage), message: message.into(), hint: None, source }
    }

    /// A plan that can't be carried out as it is written.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Invalid, message: message.into(), hint: None, source: None }
    }

    /// A control that this host can't enforce.
    pub fn unsupported(control: Control, reason: impl fmt::Display) -> Self {
        Self {
            kind: ErrorKind::Unsupported(Some(control)),
            message: reason.to_string(),
            hint: None,
            source: None,
        }
    }

    /// A platform without a backend.
    pub fn unsupported_platform(name: &str) -> Self {
        Self {
            kind: ErrorKind::Unsupported(None),
            message: format!("no backend for `{name}`"),
            hint: None,
            source: None,
        }
    }

    /// The same error with a remedy.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The message alone: for a control that can't be enforced, why.
    pub fn reason(&self) -> &str {
        &self.message
    }

    /// What sort of failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The remedy, where one is known.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether a control can't be enforced here.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.kind, ErrorKind::Unsupported(_))
    }
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ErrorKind::Unsupported(Some(control)) = &self.kind {
            write!(f, "{control} can't be enforced here: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for PlatformError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
