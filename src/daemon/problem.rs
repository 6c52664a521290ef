//! What is told of a request that isn't met, as RFC 9457 has it.

use crate::error::Error;
use hyper::StatusCode;
use serde_json::{Value, json};

/// Why a request isn't met, for people and machines.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    detail: String,
    hint: Option<String>,
    /// What would be allowed there, for a method that isn't.
    pub(super) allow: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), hint: None, allow: None }
    }

    /// Something is wrong with the request itself.
    pub(super) fn request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// What the daemon couldn't do.
    pub(super) fn of(error: &Error) -> Self {
        let status =
            if error.is_policy() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::CONFLICT };
        let detail = match error.messages(false).as_slice() {
            [_] | [] => error.chain(),
            several => several.join("\n"),
        };
        Self { hint: error.hint(), ..Self::new(status, detail) }
    }

    pub(super) fn body(&self) -> Value {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(hint) = &self.hint {
            body["hint"] = hint.as_str().into();
        }
        body
    }
}
