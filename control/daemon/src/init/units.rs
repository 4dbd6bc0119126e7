//! Times and addresses as the peers write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_proto::spec::Span;

/// The longest time that weir takes: 7 days.
pub(super) const SPAN_MAX_MS: u64 = 7 * 86_400_000;

/// A time that weir takes, and whether another one had to be taken.
pub(super) fn bounded(millis: u64) -> (Span, bool) {
    let fits = millis.clamp(1, SPAN_MAX_MS);
    (Span::from_millis(fits), fits != millis)
}

/// A time of HAProxy in milliseconds: one number and one unit, milliseconds if there is none.
/// Microseconds are rounded up, as HAProxy does.
pub(super) fn haproxy_millis(text: &str) -> Option<u64> {
    haproxy_time(text, 1)
}

/// The same where a number alone counts seconds.
pub(super) fn haproxy_seconds(text: &str) -> Option<u64> {
    haproxy_time(text, 1000)
}

fn haproxy_time(text: &str, plain: u64) -> Option<u64> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let count: u64 = digits.parse().ok()?;
    let scale = match unit {
        "" => plain,
        "us" => return Some(count.div_ceil(1000)),
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(scale)
}

/// A time of nginx in milliseconds: numbers with units that get smaller; one without is seconds.
pub(super) fn nginx_millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let split = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(split);
        let count: u64 = digits.parse().ok()?;
        let (scale, length) = match tail.as_bytes() {
            [b'm', b's', ..] => (1, 2),
            [] => (1000, 0),
            [b's', ..] => (1000, 1),
            [b'm', ..] => (60_000, 1),
            [b'h', ..] => (3_600_000, 1),
            [b'd', ..] => (86_400_000, 1),
            [b'w', ..] => (7 * 86_400_000, 1),
            [b'M', ..] => (30 * 86_400_000, 1),
            [b'y', ..] => (365 * 86_400_000, 1),
            _ => return None,
        };
        if scale >= last {
            return None;
        }
        last = scale;
        total = total.checked_add(count.checked_mul(scale)?)?;
        rest = tail[length..].trim_start_matches(' ');
    }
    (!text.is_empty()).then_some(total)
}

/// A host that is written as an address: with or without brackets; `localhost` is one.
pub(super) fn host(text: &str) -> Option<IpAddr> {
    if text.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    match bare {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// The most ports of one range.
const PORTS_MAX: u32 = 4096;

/// `PORT` or `FIRST-LAST`; none of them is 0.
pub(super) fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let fits = first > 0 && first <= last && u32::from(last - first) < PORTS_MAX;
    fits.then_some((first, last))
}

/// An address at each port, to be listened on; with `::` every IPv4 address, too, unless it is
/// `v6only`.
pub(super) fn sockets(ip: IpAddr, (first, last): (u16, u16), v6only: bool) -> Vec<SocketAddr> {
    let is_both = ip.is_ipv6() && ip.is_unspecified() && !v6only;
    let v4 = is_both.then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let at_port = |port| v4.into_iter().chain([ip]).map(move |ip| SocketAddr::new(ip, port));
    (first..=last).flat_map(at_port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_haproxy_have_one_unit_and_are_milliseconds_without() {
        for (text, millis) in [
            ("5000", Some(5000)),
            ("5s", Some(5000)),
            ("1m", Some(60_000)),
            ("2h", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("1500us", Some(2)),
            ("0", Some(0)),
            ("", None),
            ("s", None),
            ("5 s", None),
            ("5w", None),
            ("1h30m", None),
            ("99999999999999999999", None),
            ("9999999999999999d", None),
        ] {
            assert_eq!(haproxy_millis(text), millis, "{text}");
        }
        assert_eq!(haproxy_seconds("30"), Some(30_000));
    }

    #[test]
    fn times_of_nginx_add_up_and_are_seconds_without_unit() {
        for (text, millis) in [
            ("30", Some(30_000)),
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("1h 30m", Some(5_400_000)),
            ("1h30", Some(3_630_000)),
            ("250ms", Some(250)),
            ("1w", Some(7 * 86_400_000)),
            ("30m1h", None),
            ("", None),
            ("m", None),
            ("1x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(nginx_millis(text), millis, "{text}");
        }
    }

    #[test]
    fn hosts_are_addresses_or_names() {
        assert_eq!(host("localhost"), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(host("[::1]"), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(host("::1"), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(host("[10.0.0.1]"), None);
        assert_eq!(host("db1"), None);
    }
}
