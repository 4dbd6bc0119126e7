//! `weir doctor`: whether this host is ready for weir, and how to fix what is not.

mod facts;
mod memory;
mod ports;

use std::fmt::Display;

use serde::Serialize;
use weir_proto::answer::SCHEMA;
use weir_proto::complaint::Complaint;
use weir_proto::json;
use weir_proto::outside::masked;
use weir_proto::spec::Spec;

use crate::limits::{Limits, memlock_hint};
use crate::rt;
use crate::streams;
use facts::{Access, Facts, Folder};
use weir_control_core::file::Settings;

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// How to fix it; empty if there is nothing to fix.
    mend: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    /// weir serves, but not as well as it could.
    Warn,
    /// weir will not start.
    Fail,
}

/// Looks at this host, prints a line for each check and gives the exit code: 1 if one fails.
pub(crate) fn command(settings: &Settings, spec: &Spec, json: bool) -> u8 {
    let checks = findings(&Facts::of_this_host(settings, spec));
    let text = match json {
        true => json::escaped(json_report(&checks).to_string()) + "\n",
        false => masked(&table(&checks)).into_owned(),
    };
    // An answer that could not be given is none.
    let is_told = streams::out(&text).is_ok();
    u8::from(has_failed(&checks) || !is_told)
}

fn has_failed(checks: &[Finding]) -> bool {
    checks.iter().any(|check| check.verdict == Verdict::Fail)
}

fn json_report(checks: &[Finding]) -> serde_json::Value {
    serde_json::json!({ "schema": SCHEMA, "ok": !has_failed(checks), "checks": checks })
}

fn table(checks: &[Finding]) -> String {
    let mut out = String::new();
    for Finding { name, verdict, found, mend } in checks {
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        out.push_str(&format!("{word:<5} {name:<20} {found}\n"));
        if !mend.is_empty() {
            out.push_str(&format!("{:26} mend: {mend}\n", ""));
        }
    }
    out
}

/// What the facts mean.
fn findings(facts: &Facts) -> Vec<Finding> {
    let mut checks = vec![
        kernel(&facts.release),
        uring_disabled(facts.uring_disabled, facts.ring.is_ok()),
        ring(facts),
        memlock(facts),
        nofile(facts.nofile),
        somaxconn(facts.somaxconn),
        migrate(facts.migrate_req),
        ports(facts.ports),
        reserved(facts),
        tw_reuse(facts.tw_reuse),
        sources(&facts.absent_sources),
        memory::pipes(facts.pipe_pages, facts.privileged),
        memory::tcp(facts.tcp_pressure, sessions(facts.nofile)),
        memory::receive(facts.rmem_max),
    ];
    checks.extend(facts.folders.iter().map(folder));
    checks
}

fn ok(name: &'static str, found: impl Display) -> Finding {
    Finding { name, verdict: Verdict::Ok, found: found.to_string(), mend: String::new() }
}

fn warn(name: &'static str, found: impl Display, mend: impl Display) -> Finding {
    let (found, mend) = (found.to_string(), mend.to_string());
    Finding { name, verdict: Verdict::Warn, found, mend }
}

fn fail(name: &'static str, found: impl Display, mend: impl Display) -> Finding {
    Finding { verdict: Verdict::Fail, ..warn(name, found, mend) }
}

fn kernel(release: &str) -> Finding {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
    let version = numbers.next().flatten().zip(numbers.next().flatten());
    match version {
        None => {
            warn("kernel", format!("{release:?} is no version"), "weir needs Linux 6.1 or newer")
        }
        Some(version) if version < (6, 1) => {
            fail("kernel", release, "weir needs Linux 6.1 or newer, 6.12 at best")
        }
        Some(version) if version < (6, 12) => {
            warn("kernel", release, "it works; 6.12 or newer is faster")
        }
        Some(_) => ok("kernel", release),
    }
}

fn uring_disabled(value: Option<u64>, ring_works: bool) -> Finding {
    const NAME: &str = "io_uring_disabled";
    let mend = "sysctl -w kernel.io_uring_disabled=0";
    match value {
        None => ok(NAME, "this kernel has no such switch"),
        Some(0) => ok(NAME, "0"),
        Some(1) if ring_works => ok(NAME, "1: only the privileged and a group; we are among them"),
        Some(1) => {
            let group = "or add weir's group to kernel.io_uring_group";
            fail(NAME, "1: only the privileged and a group", format!("{mend}, {group}"))
        }
        Some(other) => fail(NAME, other, mend),
    }
}

fn ring(facts: &Facts) -> Finding {
    const NAME: &str = "io_uring";
    match &facts.ring {
        Ok(()) if facts.seccomp => ok(NAME, "a ring works, through a seccomp filter"),
        Ok(()) => ok(NAME, "a ring works"),
        Err(Complaint { what, hint }) if facts.seccomp => {
            let seccomp = "a seccomp filter is on: it must allow io_uring_setup, \
                           io_uring_enter and io_uring_register";
            fail(NAME, what, format!("{hint}; {seccomp}"))
        }
        Err(Complaint { what, hint }) => fail(NAME, what, hint),
    }
}

fn memlock(facts: &Facts) -> Finding {
    const NAME: &str = "memlock";
    let shards = facts.shards;
    let limits = facts.nofile.and_then(|limit| Limits::of(limit, shards, None));
    let need = limits.map_or(rt::MEMLOCK_MIN, |limits| limits.locked_bytes());
    match facts.memlock {
        None => ok(NAME, "unlimited"),
        Some(_) if facts.ipc_lock => ok(NAME, "does not hold with CAP_IPC_LOCK"),
        Some(bytes) => {
            let (bytes_kib, need_kib) = (bytes >> 10, need >> 10);
            let noun = if shards == 1 { "shard" } else { "shards" };
            let found = format!("{bytes_kib} KiB; {shards} {noun} need {need_kib} KiB");
            if bytes < need {
                fail(NAME, found, memlock_hint(need))
            } else if bytes < 2 * need {
                let twice = "twice that while a shard, or weir, is started again";
                warn(NAME, format!("{found}, {twice}"), memlock_hint(need))
            } else {
                ok(NAME, found)
            }
        }
    }
}

fn nofile(limit: Option<u64>) -> Finding {
    const NAME: &str = "nofile";
    const MEND: &str = "LimitNOFILE=1048576 in the unit, or ulimit -n 1048576";
    let Some(limit) = limit else { return ok(NAME, "unlimited") };
    let sessions = sessions(Some(limit));
    let found = format!("{limit} descriptors, {sessions} sessions on each shard");
    match sessions {
        0..16 => fail(NAME, found, MEND),
        16..SESSIONS_FEW => warn(NAME, found, MEND),
        _ => ok(NAME, found),
    }
}

/// Sessions of one shard with N descriptors.
fn sessions(nofile: Option<u64>) -> u64 {
    let limits = nofile.and_then(|limit| Limits::of(limit, 1, None));
    limits.map_or(0, |limits| limits.sessions_per_shard.into())
}

fn somaxconn(value: Option<u64>) -> Finding {
    const NAME: &str = "somaxconn";
    const MEND: &str = "sysctl -w net.core.somaxconn=4096";
    match value {
        None => warn(NAME, "cannot be read", MEND),
        Some(count) if count < 4096 => {
            warn(NAME, format!("{count}: a burst of connections overflows the backlog"), MEND)
        }
        Some(count) => ok(NAME, count),
    }
}

fn migrate(value: Option<u64>) -> Finding {
    const NAME: &str = "tcp_migrate_req";
    const MEND: &str = "sysctl -w net.ipv4.tcp_migrate_req=1";
    match value {
        Some(1) => ok(NAME, 1),
        Some(other) => {
            let what = "connections that wait at a shard which stops are reset";
            warn(NAME, format!("{other}: {what}"), MEND)
        }
        None => warn(NAME, "cannot be read", MEND),
    }
}

fn ports(range: Option<(u64, u64)>) -> Finding {
    const NAME: &str = "ip_local_port_range";
    const MEND: &str = "sysctl -w net.ipv4.ip_local_port_range='1024 65535'";
    let Some((low, high)) = range else { return warn(NAME, "cannot be read", MEND) };
    let count = (high + 1).saturating_sub(low);
    let found = format!("{low} to {high}: {count} connections to each backend address");
    if count < 20_000 { warn(NAME, found, MEND) } else { ok(NAME, found) }
}

/// A connect of any program may take a port in the range that is not reserved, also one that a
/// listener or a server of this host wants a moment later.
fn reserved(facts: &Facts) -> Finding {
    const NAME: &str = "reserved_ports";
    let taken = ports::parse(&facts.reserved);
    let Some((low, high)) = facts.ports else { return ok(NAME, "no range to reserve ports in") };
    let free: Vec<u16> = facts
        .own_ports
        .iter()
        .copied()
        .filter(|port| (low..=high).contains(&u64::from(*port)))
        .filter(|port| !taken.iter().any(|range| range.contains(port)))
        .collect();
    if free.is_empty() {
        let found = match facts.own_ports.len() {
            0 => "no listener or local backend is known: weir doctor -c FILE".to_owned(),
            count => format!("{count} of weir's own ports, none that a connect could take"),
        };
        return ok(NAME, found);
    }
    let list = ports::text(free.iter().map(|port| *port..=*port));
    let all = ports::text(taken.into_iter().chain(free.iter().map(|port| *port..=*port)));
    warn(
        NAME,
        format!("{list}: a connect may take them before their listener or server does"),
        format!("sysctl -w net.ipv4.ip_local_reserved_ports='{all}'"),
    )
}

/// Most sessions are ended by their client first: then weir is the first to say FIN to the backend,
/// and that source port rests in TIME_WAIT for a minute.
fn tw_reuse(value: Option<u64>) -> Finding {
    const NAME: &str = "tcp_tw_reuse";
    const MEND: &str = "sysctl -w net.ipv4.tcp_tw_reuse=1";
    match value {
        Some(1) => ok(NAME, 1),
        Some(value) => {
            let only = if value == 2 { " unless it is on loopback" } else { "" };
            let what = format!(
                "{value}: a source port rests for 60 s towards its backend after each session{only}"
            );
            warn(NAME, what, MEND)
        }
        None => warn(NAME, "cannot be read", MEND),
    }
}

fn sources(absent: &[String]) -> Finding {
    const NAME: &str = "sources";
    let mend = "ip address add ADDRESS/32 dev lo, or name others in `source`";
    match absent {
        [] => ok(NAME, "none that a pool names is missing"),
        some => warn(NAME, format!("not on this host: {}", some.join(", ")), mend),
    }
}

fn folder(folder: &Folder) -> Finding {
    let path = folder.path.display();
    match &folder.access {
        Access::Writable => ok(folder.name, format!("{path} is writable")),
        Access::Creatable => ok(folder.name, format!("{path} is not there and can be made")),
        Access::Denied { nearest } => {
            let mend =
                format!("install -d -o \"$(id -un)\" {path} (as root), or name another in [weir]");
            let found = if *nearest == folder.path {
                format!("{path} is not writable")
            } else {
                format!("{path} is not there and {} is not writable", nearest.display())
            };
            fail(folder.name, found, mend)
        }
    }
}

/// Fewer sessions than this surprise people.
const SESSIONS_FEW: u64 = 8000;

#[cfg(test)]
mod tests;
