//! Times of the document: RFC 3339, UTC, whole seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The end of the last year that jiff knows whole, in seconds since 1970.
const MAX_SECONDS: u64 = 253_370_764_799;

/// Returns the time without its fraction of a second; `None` before 1970 and after 9998.
pub(crate) fn whole(time: SystemTime) -> Option<SystemTime> {
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    (seconds <= MAX_SECONDS).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Returns the text of a time; `None` before 1970 and after 9998.
pub(crate) fn text(time: SystemTime) -> Option<String> {
    let seconds = whole(time)?.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let time = jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
    Some(time.to_string())
}

/// Returns the text of a time for people, who may meet any time.
pub(crate) fn shown(time: SystemTime) -> String {
    text(time).unwrap_or_else(|| "a time outside the years 1970 to 9998".to_owned())
}

/// Parses a time; `None` when its own text would be another.
pub(crate) fn parse(given: &str) -> Option<SystemTime> {
    let time = SystemTime::from(given.parse::<jiff::Timestamp>().ok()?);
    text(time).filter(|canonical| canonical == given).map(|_| time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_000_000, "2026-11-18T11:06:40Z"),
            (MAX_SECONDS, "9998-12-31T23:59:59Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(text(time + Duration::from_millis(999)).as_deref(), Some(written));
            assert_eq!(parse(written), Some(time));
        }
    }

    #[test]
    fn other_forms_and_other_years_are_refused() {
        for given in [
            "",
            "2026-11-18",
            "2026-11-18T11:06:40",
            "2026-11-18T11:06:40.5Z",
            "2026-11-18T11:06:40+00:00",
            "2026-11-18t11:06:40z",
            "2026-11-18 11:06:40Z",
            "1969-12-31T23:59:59Z",
            "+010000-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(given), None, "{given}");
        }
        assert_eq!(text(UNIX_EPOCH - Duration::from_secs(1)), None);
        assert_eq!(text(UNIX_EPOCH + Duration::from_secs(MAX_SECONDS + 1)), None);
    }
}
