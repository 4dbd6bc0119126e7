//! What can be wrong with a health check.

use super::Faults;
use crate::settings::{self, OF_KINDS, POOL};
use crate::spec::{
    CHECK_STEPS_MAX, CHECK_TEXT_MAX, CheckStep, HealthKind, HealthSpec, PoolSpec, Statuses,
    is_check_host, is_check_path, is_check_user, unescape,
};

pub(super) fn check_health(at: &str, pool: &PoolSpec, faults: &mut Faults) {
    let health = &pool.health;
    let plain = PoolSpec::default();
    for (key, kinds) in OF_KINDS {
        let setting = settings::find(POOL, key);
        let is_set = setting.is_some_and(|it| (it.get)(pool) != (it.get)(&plain));
        if is_set && !kinds.contains(&health.kind) {
            let name = key.strip_prefix("health.").unwrap_or(key);
            let what = format!("{name} means nothing to this kind of check");
            let kinds: Vec<_> = kinds.iter().map(|kind| format!("{:?}", kind.word())).collect();
            let hint = format!("it is for kind = {}", kinds.join(" or "));
            faults.add(format!("{at}.{key}"), what, hint);
        }
    }
    let mut fault = |key: &str, what: &str, hint: &str| {
        faults.add(format!("{at}.health.{key}"), what, hint);
    };
    if health.host.as_deref().is_some_and(|host| !is_check_host(host, health.kind)) {
        let what = "this is not a host name";
        fault("host", what, "letters, digits, dots and hyphens; with http a port is possible");
    }
    if health.user.as_deref().is_some_and(|user| !is_check_user(user)) {
        fault("user", "this is not a user", "1 to 63 letters, digits and signs, without spaces");
    }
    match health.kind {
        HealthKind::Http => {
            if health.path.as_ref().is_some_and(|path| !is_check_path(path)) {
                fault("path", "this is not a path", "a path starts with / and has no spaces");
            }
            if let Some(Err(why)) = health.expect.as_ref().map(|text| text.parse::<Statuses>()) {
                let hint = "status codes, like \"200\" or \"200-299,401\"";
                fault("expect", &format!("this is not a status code: {why}"), hint);
            }
        }
        HealthKind::SendExpect => check_talk(health, &mut fault),
        HealthKind::Mysql if health.user.is_none() => {
            let hint = "user = \"weir\", one without rights and without a password: MySQL bans \
                        hosts that connect and do not log in (max_connect_errors)";
            fault("user", "a check of MySQL needs user", hint);
        }
        HealthKind::Tcp
        | HealthKind::Redis
        | HealthKind::Postgresql
        | HealthKind::Mysql
        | HealthKind::Smtp
        | HealthKind::Tls
        | HealthKind::None => {}
    }
}

/// The texts of a send-expect check.
fn check_talk(health: &HealthSpec, fault: &mut impl FnMut(&str, &str, &str)) {
    let is_expect = |step: &CheckStep| matches!(step, CheckStep::Expect(_));
    let is_either = health.send.is_some() || health.expect.is_some();
    match health.steps.len() {
        0 if health.expect.is_none() => {
            fault("expect", "send-expect needs expect, or steps", "expect = \"+PONG\"");
        }
        0 => {}
        _ if is_either => {
            fault("steps", "send and expect are steps, too", "write them into steps, or leave it");
        }
        count if count > CHECK_STEPS_MAX => {
            let what = format!("{count} steps; at most {CHECK_STEPS_MAX} are possible");
            fault("steps", &what, "leave some out");
        }
        _ if !health.steps.iter().any(is_expect) => {
            fault(
                "steps",
                "nothing is expected",
                "steps = [\"send PING\\r\\n\", \"expect +PONG\"]",
            );
        }
        _ => {}
    }
    for (key, text) in [("send", &health.send), ("expect", &health.expect)] {
        let Some(text) = text else { continue };
        match unescape(text) {
            None => fault(key, "a bad escape", "the escapes are \\r \\n \\t \\\\ \\xNN"),
            Some(bytes) if bytes.len() > CHECK_TEXT_MAX => {
                let what = format!("{} bytes; at most {CHECK_TEXT_MAX} are possible", bytes.len());
                fault(key, &what, "a check is short");
            }
            Some(_) => {}
        }
    }
}
