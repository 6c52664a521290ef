//! What a guest tells the host: one JSON object a line, behind a token made for this boot.
//!
//! The line has a channel of its own (a second serial port), but a test running as root can write to
//! any device. Without the token, which only the runner has been told, its output is not a frame.

use crate::job::Outcome;
use serde::{Deserialize, Serialize};

/// One message from the guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// The guest is up and about to start its job.
    Hello {
        /// `uname -r` inside.
        kernel: String,
        /// Seconds since the guest's kernel started.
        uptime_s: f64,
    },
    /// Something that worked only in part; shown, not counted.
    Note(String),
    /// A piece of a shell command's output.
    Output(String),
    /// A test begins: if nothing follows, this is the one that took the guest down.
    Started {
        /// Its place in the job's list.
        index: usize,
    },
    /// A test ended.
    Finished {
        /// Its place in the job's list.
        index: usize,
        /// How it ended.
        outcome: Outcome,
    },
    /// The job is over and the guest goes down.
    Bye {
        /// The shell command's exit code; 0 for tests.
        code: i32,
    },
}

/// Why a line could not be read as a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAFrame {
    /// Some other text: the token isn't there.
    OtherText,
    /// The token is there, the rest is damaged.
    Damaged(String),
}

/// The line that carries `frame`, without its line break.
#[must_use]
pub fn encode(token: &str, frame: &Frame) -> String {
    // A Frame has only string keys and finite numbers, so this can't fail; if it ever does, the host
    // sees a damaged frame instead of a guest that silently stops.
    let body = serde_json::to_string(frame).unwrap_or_else(|error| error.to_string());
    format!("{token} {body}")
}

/// Reads one line from the guest.
///
/// # Errors
///
/// When the line doesn't begin with `token`, or what follows is not a frame.
pub fn decode(token: &str, line: &str) -> Result<Frame, NotAFrame> {
    // A serial line ends in "\r\n", and what a kernel printed before may stand in front.
    let start = line.find(token).ok_or(NotAFrame::OtherText)?;
    let body = line.get(start + token.len()..).ok_or(NotAFrame::OtherText)?.trim();
    serde_json::from_str(body).map_err(|error| NotAFrame::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Ending;

    fn finished() -> Frame {
        let outcome = Outcome {
            ending: Ending::Exited(0),
            seconds: 0.5,
            output: "one\ntwo \u{1f980}\n".to_owned(),
            notes: Vec::new(),
        };
        Frame::Finished { index: 3, outcome }
    }

    #[test]
    fn a_frame_is_one_line_and_comes_back_the_same() {
        let line = encode("t0k3n", &finished());
        assert!(!line.contains('\n'));
        assert_eq!(decode("t0k3n", &line), Ok(finished()));
    }

    #[test]
    fn a_serial_line_with_carriage_return_and_noise_in_front_is_read() {
        let line = format!("[    1.0] random: ready{}\r", encode("t0k3n", &finished()));
        assert_eq!(decode("t0k3n", &line), Ok(finished()));
    }

    #[test]
    fn a_frame_with_another_token_is_other_text() {
        let line = encode("guessed", &finished());
        assert_eq!(decode("t0k3n", &line), Err(NotAFrame::OtherText));
    }

    #[test]
    fn a_cut_frame_is_damaged() {
        let line = encode("t0k3n", &finished());
        let cut = &line[..line.len() - 4];
        assert!(matches!(decode("t0k3n", cut), Err(NotAFrame::Damaged(_))));
    }
}
