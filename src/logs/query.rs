//! Which records somebody wants to see, and from when on.

use super::record::{Level, Record, Stream};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use regex::Regex;

/// Which records are wanted: those that fit everything that is said here.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Query {
    /// Services, or single instances of them; all where it names none.
    pub services: Vec<String>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Not after this.
    pub until: Option<Timestamp>,
    /// Of this stream.
    pub stream: Option<Stream>,
    /// As grave as this; what says nothing of that isn't wanted then.
    pub level: Option<Level>,
    /// With this in its text.
    pub pattern: Option<Regex>,
}

impl Query {
    /// Whether a service's instance is asked for.
    pub fn wants_instance(&self, service: &str, instance: &str) -> bool {
        self.services.is_empty()
            || self.services.iter().any(|name| name == service || name == instance)
    }

    /// Whether a record is.
    pub fn wants(&self, record: &Record) -> bool {
        let Self { since, until, stream, level, pattern, .. } = self;
        since.is_none_or(|since| record.time >= since)
            && until.is_none_or(|until| record.time <= until)
            && stream.is_none_or(|stream| record.stream == stream)
            && level.is_none_or(|least| record.level.is_some_and(|level| level <= least))
            && pattern.as_ref().is_none_or(|pattern| pattern.is_match(&record.text))
    }
}

/// A moment as people write it: `2026-11-26T05:00:00Z`, `2026-11-26 05:00`, `05:00`, `today`, `yesterday`, `now`, `10m ago`.
///
/// # Errors
/// What isn't understood, with what would be.
pub fn moment(text: &str, now: &ZonedDateTime) -> Result<Timestamp, String> {
    let text = text.trim();
    let wrong = || {
        let text = text.escape_debug();
        format!(
            "`{text}` is no time (write `10m ago`, `today`, `05:30`, `2026-11-26 05:30` or `2026-11-26T05:30:00Z`)"
        )
    };
    let start =
        |day: ZonedDateTime| day.start_of_day().map(|day| day.timestamp()).map_err(|_| wrong());
    match text {
        "now" => return Ok(now.timestamp()),
        "today" => return start(now.clone()),
        "yesterday" => return start(now.yesterday().map_err(|_| wrong())?),
        _ => {}
    }
    if let Some(time) = text.strip_suffix("ago") {
        let duration = crate::platform::parse_duration(time.trim()).map_err(|_| wrong())?;
        let duration = SignedDuration::try_from(duration).map_err(|_| wrong())?;
        return now.timestamp().checked_sub(duration).map_err(|_| wrong());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let in_zone = |time: DateTime| now.time_zone().to_timestamp(time).map_err(|_| wrong());
    // What names no day is of today.
    if !text.contains('-') {
        let time: jiff::civil::Time = text.parse().map_err(|_| wrong())?;
        return in_zone(now.date().to_datetime(time));
    }
    text.parse().map_err(|_| wrong()).and_then(in_zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_understood_as_people_write_them() {
        let now: ZonedDateTime = "2026-11-26T05:00:00+00:00[UTC]".parse().unwrap();
        for (text, expected) in [
            ("now", "2026-11-26T05:00:00Z"),
            ("10m ago", "2026-11-26T04:50:00Z"),
            ("1h30m ago", "2026-11-26T03:30:00Z"),
            ("today", "2026-11-26T00:00:00Z"),
            ("yesterday", "2026-11-25T00:00:00Z"),
            ("04:05", "2026-11-26T04:05:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20 04:05", "2026-11-20T04:05:00Z"),
            ("2026-11-20T04:05:06.5", "2026-11-20T04:05:06.5Z"),
            ("2026-11-20T04:05:06+02:00", "2026-11-20T02:05:06Z"),
        ] {
            assert_eq!(moment(text, &now).unwrap().to_string(), expected, "{text}");
        }
        for wrong in ["", "soon", "10 ago", "m ago", "25:00", "2026-13-01", "9999999999d ago"] {
            let told = moment(wrong, &now).unwrap_err();
            assert!(told.contains("is no time (write `10m ago`"), "{told}");
        }
    }

    #[test]
    fn days_begin_where_the_user_lives() {
        let now: ZonedDateTime = "2026-11-26T05:00:00+02:00[+02:00]".parse().unwrap();
        assert_eq!(moment("today", &now).unwrap().to_string(), "2026-11-25T22:00:00Z");
    }
}
