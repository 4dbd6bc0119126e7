//! Numbers as people read them, or in one unit for a pipe; and text that cannot steer a terminal.

use weir_proto::outside;

use super::Style;

/// A count of bytes: `1.2 MiB`, or `1258291` in a pipe.
pub(crate) fn bytes(count: u64, style: Style) -> String {
    if style.human { scaled_bytes(count as f64) } else { count.to_string() }
}

/// Bytes a second: `1.2 MiB/s`, or `1258291` in a pipe.
pub(crate) fn byte_rate(rate: f64, style: Style) -> String {
    if style.human { format!("{}/s", scaled_bytes(rate)) } else { four_digits(rate) }
}

/// Things a second: `1.2k/s`, or `1234` in a pipe.
pub(crate) fn rate(rate: f64, style: Style) -> String {
    if style.human { format!("{}/s", scaled(rate)) } else { four_digits(rate) }
}

/// A count: `1.2M` for people when it is long, always in full in a pipe.
pub(crate) fn count(count: u64, style: Style) -> String {
    if style.human && count >= 100_000 { scaled(count as f64) } else { count.to_string() }
}

/// A length of time given in seconds: `1.2ms`, `45s`, `2h 3m`; milliseconds in a pipe.
pub(crate) fn seconds(seconds: f64, style: Style) -> String {
    if !style.human {
        return format!("{}ms", four_digits(seconds * 1e3));
    }
    if !seconds.is_finite() || seconds <= 0.0 {
        return "0s".to_owned();
    }
    if seconds < 0.000_999_5 {
        return format!("{:.0}µs", seconds * 1e6);
    }
    if seconds < 0.9995 {
        return format!("{}ms", three_digits(seconds * 1e3));
    }
    if seconds < 59.5 {
        return format!("{}s", three_digits(seconds));
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and above 0; the cast saturates")]
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, minutes) => format!("{minutes}m {}s", whole % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// A share from 0 to 1: `12%`, or `0.1234` in a pipe.
pub(crate) fn share(share: f64, style: Style) -> String {
    if style.human { format!("{:.0}%", share * 100.0) } else { four_digits(share) }
}

/// The text with what steers a terminal spelled out. Text from a backend or a file ends up here.
pub(crate) fn plain(text: &str) -> String {
    outside::spelled(text).into_owned()
}

fn scaled_bytes(count: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (value, unit) = scale(count, 1024.0, &UNITS);
    if unit == "B" { format!("{value:.0} B") } else { format!("{} {unit}", three_digits(value)) }
}

fn scaled(count: f64) -> String {
    let (value, unit) = scale(count, 1000.0, &["", "k", "M", "G", "T"]);
    format!("{}{unit}", three_digits(value))
}

fn scale<'a>(mut value: f64, step: f64, units: &[&'a str]) -> (f64, &'a str) {
    let mut unit = 0;
    // Half a unit below the step already rounds up to it.
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    (value, units[unit])
}

/// Whole from 1000 on, else four digits at most: 7384123, 12.35, 0.2512. JSON has them all.
fn four_digits(value: f64) -> String {
    if !value.is_finite() {
        return "0".to_owned();
    }
    let decimals = match value.abs() {
        size if size < 1.0 => 4,
        size if size < 9.9995 => 3,
        size if size < 99.995 => 2,
        size if size < 999.95 => 1,
        _ => return format!("{value:.0}"),
    };
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Three digits at most, without zeros that say nothing: 1.23, 12.3, 123, 5.
fn three_digits(value: f64) -> String {
    let text = match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => return format!("{value:.0}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUMAN: Style = Style { human: true, colour: false };
    const PIPE: Style = Style { human: false, colour: false };

    #[test]
    fn people_get_units_and_pipes_get_everything() {
        for (value, human) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1_258_291, "1.2 MiB"),
            (1_073_741_823, "1 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(value, HUMAN), human);
            assert_eq!(bytes(value, PIPE), value.to_string());
        }
        for (value, human) in [
            (0.0, "0s"),
            (0.000_045, "45µs"),
            (0.001_23, "1.23ms"),
            (0.5, "500ms"),
            (2.0, "2s"),
            (59.6, "1m 0s"),
            (7384.0, "2h 3m"),
            (90_061.0, "1d 1h"),
            (f64::NAN, "0s"),
        ] {
            assert_eq!(seconds(value, HUMAN), human);
        }
        for (value, piped) in [
            (0.0, "0ms"),
            (0.000_045_27, "0.0453ms"),
            (0.001_234_56, "1.235ms"),
            (0.099_999, "100ms"),
            (2.0, "2000ms"),
            (7_384.123_45, "7384123ms"),
            (f64::NAN, "0ms"),
        ] {
            assert_eq!(seconds(value, PIPE), piped);
        }
        assert_eq!((rate(0.0, HUMAN), rate(12_345.0, HUMAN)), ("0/s".into(), "12.3k/s".into()));
        assert_eq!(rate(12.5, PIPE), "12.5");
        assert_eq!(byte_rate(2048.0, HUMAN), "2 KiB/s");
        assert_eq!(
            (count(99_999, HUMAN), count(1_234_567, HUMAN)),
            ("99999".into(), "1.23M".into())
        );
        assert_eq!(count(1_234_567, PIPE), "1234567");
        assert_eq!((share(0.123, HUMAN), share(0.123, PIPE)), ("12%".into(), "0.123".into()));
    }

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(plain("é\u{1b}[2J\n\u{202e}"), "é\\u{1b}[2J\\n\\u{202e}");
    }
}
