//! The one place of weirctl that reads a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock, for deadlines.
#[expect(clippy::disallowed_methods, reason = "weirctl's one reader of the monotonic clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock in milliseconds since 1970, for `--since`.
#[expect(clippy::disallowed_methods, reason = "weirctl's one reader of the wall clock")]
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Reads an RFC 3339 time in UTC (`2026-01-31T12:00:00.123Z`) as milliseconds since 1970.
pub(crate) fn parse_utc(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let legal = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !legal {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1000 + millis)
}

/// Days since 1970-01-01 of a date in the Gregorian calendar. The year is counted from March, so
/// that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_times_become_milliseconds() {
        assert_eq!(parse_utc("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_utc("2000-02-29T12:34:56.789Z"), Some(951_827_696_789));
        assert_eq!(parse_utc("2000-03-01T00:00:00.5Z"), Some(951_868_800_500));
        assert_eq!(parse_utc("2026-12-31T23:59:59.999999Z"), Some(1_798_761_599_999));
        for bad in ["", "Z", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+01:00"] {
            assert_eq!(parse_utc(bad), None, "{bad}");
        }
    }
}
