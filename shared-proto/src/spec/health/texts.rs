//! Texts of a check that are sent as they are: what they may consist of.

use super::HealthKind;

/// True for a path of HTTP: 1 to 1,024 bytes from `/` on, without spaces.
#[must_use]
pub fn is_check_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 1024 && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// True for the name of a host, 1 to 253 bytes; for `http` with a port, and IPv6 in brackets.
#[must_use]
pub fn is_check_host(host: &str, kind: HealthKind) -> bool {
    let more: &[u8] = if kind == HealthKind::Http { b"-_.:[]" } else { b"-_." };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
    (1..=253).contains(&host.len()) && host.bytes().all(legal)
}

/// True for a user who logs in: 1 to 63 bytes without spaces.
#[must_use]
pub fn is_check_user(user: &str) -> bool {
    (1..=63).contains(&user.len()) && user.bytes().all(|byte| byte.is_ascii_graphic())
}
