//! What a program says of itself, in the words of sd_notify(3). Pure: from bytes to meaning.
//!
//! The bytes are a stranger's. Whatever they are, what comes out is bounded, and what can't be understood means nothing.

use std::time::Duration;

/// The longest status that is kept, in characters.
const LONGEST_STATUS: usize = 256;

/// The longest name of a stored descriptor, as systemd has it (sd_pid_notify_with_fds(3)).
const LONGEST_NAME: usize = 255;

/// The longest time that anything can be put off for.
const LONGEST_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notice {
    /// It has started, or reloaded.
    pub(super) ready: bool,
    /// It reloads.
    pub(super) reloading: bool,
    /// When it began to, on the monotonic clock.
    pub(super) monotonic: Option<Duration>,
    /// It ends.
    pub(super) stopping: bool,
    /// How it is, for people: one line, without control characters.
    pub(super) status: Option<String>,
    /// What went wrong, as errno(3) has it.
    pub(super) errno: Option<i32>,
    /// Its main process, as it counts.
    pub(super) main_pid: Option<u32>,
    /// It lives.
    pub(super) alive: bool,
    /// It knows that it doesn't.
    pub(super) dead: bool,
    /// From now on it says so within this time; zero is never.
    pub(super) watchdog: Option<Duration>,
    /// It needs so much more time for what it does.
    pub(super) extend: Option<Duration>,
    /// What is to become of descriptors.
    pub(super) store: Option<Store>,
}

/// What is to become of descriptors that are kept for the next run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Store {
    /// Those that came along are kept under this name.
    Keep {
        name: String,
        /// Whether they are given up when their other end is gone.
        watched: bool,
    },
    /// Those with this name aren't kept any more.
    Remove { name: String },
}

impl Notice {
    /// Reads a message: `NAME=value` on each line. Of a name that comes twice the last counts.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut notice = Self::default();
        let (mut keep, mut remove, mut name, mut watched) = (false, false, None, true);
        for line in text.split(|byte| *byte == b'\n') {
            let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
            let (key, value) = line.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            match key {
                b"READY" => notice.ready |= value == b"1",
                b"RELOADING" => notice.reloading |= value == b"1",
                b"STOPPING" => notice.stopping |= value == b"1",
                b"MONOTONIC_USEC" => notice.monotonic = micros(value),
                b"STATUS" => notice.status = Some(line_of(value)),
                b"ERRNO" => notice.errno = number(value),
                b"MAINPID" => notice.main_pid = number(value).filter(|pid| *pid > 0),
                b"WATCHDOG" => {
                    notice.alive |= value == b"1";
                    notice.dead |= value == b"trigger";
                }
                b"WATCHDOG_USEC" => notice.watchdog = micros(value),
                b"EXTEND_TIMEOUT_USEC" => notice.extend = micros(value),
                b"FDSTORE" => keep |= value == b"1",
                b"FDSTOREREMOVE" => remove |= value == b"1",
                b"FDNAME" => name = name_of(value),
                b"FDPOLL" => watched = value != b"0",
                _ => {}
            }
        }
        notice.store = match (keep, remove, name) {
            // A removal names what goes.
            (_, true, Some(name)) => Some(Store::Remove { name }),
            (true, false, name) => {
                Some(Store::Keep { name: name.unwrap_or_else(|| "stored".into()), watched })
            }
            _ => None,
        };
        notice
    }
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    // What Rust's numbers may begin with beyond digits isn't the protocol's.
    let is_plain = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_plain)?.parse().ok()
}

fn micros(value: &[u8]) -> Option<Duration> {
    number(value).map(Duration::from_micros).map(|time| time.min(LONGEST_TIME))
}

/// One line for people.
fn line_of(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let shown = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    shown.take(LONGEST_STATUS).collect()
}

/// A name goes into a list with colons between.
fn name_of(value: &[u8]) -> Option<String> {
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) && *byte != b':';
    let is_name = (1..=LONGEST_NAME).contains(&value.len()) && value.iter().all(plain);
    String::from_utf8(value.to_vec()).ok().filter(|_| is_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_word_has_its_meaning() {
        let notice = Notice::parse(
            b"READY=1\nSTATUS=up\nMAINPID=7\nWATCHDOG_USEC=20000000\nEXTEND_TIMEOUT_USEC=5\n",
        );
        let expected = Notice {
            ready: true,
            status: Some("up".into()),
            main_pid: Some(7),
            watchdog: Some(Duration::from_secs(20)),
            extend: Some(Duration::from_micros(5)),
            ..Notice::default()
        };
        assert_eq!(notice, expected);
        let notice = Notice::parse(b"RELOADING=1\nMONOTONIC_USEC=1000001");
        assert!(notice.reloading && notice.monotonic == Some(Duration::from_micros(1_000_001)));
        assert!(Notice::parse(b"WATCHDOG=1").alive && Notice::parse(b"WATCHDOG=trigger").dead);
        assert_eq!(Notice::parse(b"ERRNO=2").errno, Some(2));
        assert!(Notice::parse(b"STOPPING=1").stopping);
    }

    #[test]
    fn what_is_not_understood_means_nothing() {
        for text in [
            &b""[..],
            b"READY",
            b"READY=0",
            b"ready=1",
            b" READY=1",
            b"MAINPID=-1",
            b"MAINPID=0",
            b"MAINPID=+5",
            b"WATCHDOG_USEC=99999999999999999999999",
            b"FDNAME=x",
            b"FDSTOREREMOVE=1",
            b"BARRIER=1",
            b"\0\n=\n==\n",
        ] {
            assert_eq!(Notice::parse(text), Notice::default(), "{text:?}");
        }
        assert_eq!(Notice::parse(b"STATUS=a\x1b[31m\xff").status.unwrap(), "a\u{fffd}[31m\u{fffd}");
    }

    #[test]
    fn descriptors_are_kept_and_given_up_by_name() {
        let store = |text: &[u8]| Notice::parse(text).store;
        let keep = |name: &str, watched| Some(Store::Keep { name: name.into(), watched });
        assert_eq!(store(b"FDSTORE=1"), keep("stored", true));
        assert_eq!(store(b"FDNAME=a b\nFDSTORE=1\nFDPOLL=0"), keep("a b", false));
        assert_eq!(store(b"FDSTORE=1\nFDNAME=a:b"), keep("stored", true));
        let gone = Some(Store::Remove { name: "a".into() });
        assert_eq!(store(b"FDSTOREREMOVE=1\nFDNAME=a"), gone);
    }

    proptest! {
        #[test]
        fn whatever_comes_what_is_kept_is_bounded(
            lines in proptest::collection::vec(
                (
                    prop_oneof![
                        Just("STATUS"), Just("FDNAME"), Just("FDSTORE"), Just("WATCHDOG_USEC"),
                        Just("EXTEND_TIMEOUT_USEC"), Just("MAINPID"), Just("READY"), Just("X")
                    ],
                    proptest::collection::vec(any::<u8>(), 0..400),
                ),
                0..20,
            ),
        ) {
            let mut text = Vec::new();
            for (key, value) in &lines {
                text.extend_from_slice(key.as_bytes());
                text.push(b'=');
                text.extend_from_slice(value);
                text.push(b'\n');
            }
            let notice = Notice::parse(&text);
            let status = notice.status.unwrap_or_default();
            prop_assert!(status.chars().count() <= LONGEST_STATUS && !status.contains(char::is_control));
            prop_assert!(notice.extend.unwrap_or_default() <= LONGEST_TIME);
            if let Some(Store::Keep { name, .. } | Store::Remove { name }) = notice.store {
                prop_assert!((1..=LONGEST_NAME).contains(&name.len()) && !name.contains(':'));
            }
        }

        #[test]
        fn whatever_bytes_come_nothing_breaks(text in proptest::collection::vec(any::<u8>(), 0..4096)) {
            Notice::parse(&text);
        }
    }
}
