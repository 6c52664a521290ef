//! The one error of this package: what was tried, and the cause.

use std::error::Error;
use std::fmt;

/// What could not be done, with the cause behind it.
#[derive(Debug)]
pub struct Failure {
    attempt: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// A result whose failure names what was tried.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with no cause of its own below it.
    pub fn new(attempt: impl Into<String>) -> Self {
        Self { attempt: attempt.into(), source: None }
    }

    /// The failure and all its causes on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut line = self.attempt.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            next = cause.source();
        }
        line
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.attempt)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

/// Puts what was tried in front of a cause.
pub trait Attempt<T> {
    /// Names what was being tried when this failed.
    fn attempt<S: Into<String>>(self, attempt: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Error + Send + Sync + 'static> Attempt<T> for std::result::Result<T, E> {
    fn attempt<S: Into<String>>(self, attempt: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|cause| Failure { attempt: attempt().into(), source: Some(Box::new(cause)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_names_the_attempt_and_then_every_cause() {
        let inner: Result<()> =
            Err(std::io::Error::other("no such device")).attempt(|| "failed to mount `/tmp`");
        let outer = inner.attempt(|| "failed to prepare the guest").unwrap_err();
        assert_eq!(
            outer.chain(),
            "failed to prepare the guest: failed to mount `/tmp`: no such device"
        );
    }
}
