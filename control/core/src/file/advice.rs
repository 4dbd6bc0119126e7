//! Warnings about a file that is legal, and yet hardly what its author wants.

mod idle;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weir_proto::address::Address;
use weir_proto::bind_address::BindAddress;
use weir_proto::listed::listed;
use weir_proto::snapshot::Fault;
use weir_proto::spec::{Admin, HealthKind, ListenerSpec, Name, PoolSpec, Spec};

use super::Settings;

/// Checks more often than this are warned of, in milliseconds.
const INTERVAL_MIN_MS: u64 = 100;

/// The process and a listener want the same socket: only one of them can have it.
pub fn faults(settings: &Settings, spec: &Spec) -> Vec<Fault> {
    let Some(admin) = settings.admin else { return Vec::new() };
    let taken = |bind: BindAddress| bind.overlaps(&admin.into());
    let listeners = spec.listener.iter();
    let taken = listeners.filter(|(_, listener)| listener.binds().any(taken));
    taken
        .map(|(name, _)| {
            let what = format!("the admin address {admin} is taken by listener {name}");
            Fault::new("weir.admin", what, "give one of them another port")
        })
        .collect()
}

/// Everything that is worth a second look, in the order of the file.
pub fn warnings(spec: &Spec) -> Vec<String> {
    let mut warnings = Vec::new();
    if *spec == Spec::default() {
        let what = "no listener and no pool: a weir that has some takes it with --force only";
        warnings.push(what.to_owned());
    } else if spec.listener.is_empty() {
        warnings.push("no listener: nothing is accepted".to_owned());
    }
    for (name, listener) in &spec.listener {
        idle::of_listener(name, listener, &mut warnings);
    }
    let used: BTreeSet<&Name> = spec.listener.values().flat_map(ListenerSpec::pools).collect();
    for (name, pool) in &spec.pool {
        if !used.contains(name) {
            warnings.push(format!("pool.{name}: no listener sends sessions to it"));
        }
        of_backends(name, pool, &mut warnings);
        of_checks(name, pool, &mut warnings);
        of_source(name, pool, &mut warnings);
        idle::of_pool(spec, name, pool, &mut warnings);
    }
    warnings
}

fn of_backends(name: &Name, pool: &PoolSpec, warnings: &mut Vec<String>) {
    if pool.discover.source().is_some() {
        // DNS knows what it will have.
    } else if pool.backend.is_empty() {
        warnings.push(format!("pool.{name}: it has no backend, its clients are turned away"));
    } else if !pool.backend.values().any(|it| it.weight > 0 && it.state == Admin::Ready) {
        warnings.push(format!(
            "pool.{name}: every backend is drained, in maint or of weight 0, its clients are \
             turned away"
        ));
    }
    let mut seen: BTreeMap<Address, &Name> = BTreeMap::new();
    for (backend, it) in &pool.backend {
        let at = format!("pool.{name}.backend.{backend}");
        if it.address.ip().is_some_and(|address| address.ip().is_unspecified()) {
            let address = it.address;
            warnings.push(format!("{at}: {address} is this host: write its loopback address"));
        }
        if let Some(first) = seen.insert(it.address, backend) {
            warnings.push(format!("{at}: the same address as {first}, {}", it.address));
        }
    }
}

fn of_checks(name: &Name, pool: &PoolSpec, warnings: &mut Vec<String>) {
    let health = &pool.health;
    if health.kind == HealthKind::None {
        return;
    }
    let (interval, timeout) = (health.interval, health.timeout);
    if interval.millis < INTERVAL_MIN_MS {
        let rate = 1000 / interval.millis.max(1);
        warnings.push(format!(
            "pool.{name}.health.interval: {interval} is {rate} checks a second of each backend"
        ));
    }
    if timeout.millis > interval.millis {
        warnings.push(format!(
            "pool.{name}.health.timeout: {timeout} is longer than the interval {interval}: a \
             backend that hangs is noticed late, as no check begins before the last has ended"
        ));
    }
}

/// Backends that no address of the list can reach.
fn of_source(name: &Name, pool: &PoolSpec, warnings: &mut Vec<String>) {
    let Some(source) = &pool.source else { return };
    let by_ip = pool.backend.iter().filter_map(|(name, it)| Some((name, it.address.ip()?.ip())));
    let apart =
        by_ip.filter(|(_, ip)| source.fault().is_none() && source.towards(*ip).next().is_none());
    let apart: Vec<(&Name, IpAddr)> = apart.collect();
    let Some((_, first)) = apart.first() else { return };
    let family = if first.to_canonical().is_ipv4() { "IPv4" } else { "IPv6" };
    let names = listed(apart.iter().map(|(name, _)| name), 1, ", ");
    warnings.push(format!(
        "pool.{name}.source: no address of {family} is in it, and {names} is reached by \
         {family}: the kernel chooses where those connections come from"
    ));
}

#[cfg(test)]
mod tests {
    use crate::file::parse;

    const GOOD: &str = "\
[weir]
admin = \"127.0.0.1:9650\"
[listener.web]
bind = \"127.0.0.1:80\"
pool = \"web\"
[pool.web.backend]
b1 = { address = \"10.0.0.11:80\" }
";

    #[test]
    fn a_good_file_has_no_warnings_and_each_slip_has_its_own() {
        let warned = |text: &str| super::warnings(&parse(text, "weir.toml").unwrap().spec);
        assert_eq!(warned(GOOD), [""; 0]);
        let health = "[pool.web.health]\nkind = \"tcp\"\n";
        for (more, warning) in [
            (
                "[pool.web]\nqueue.size = 5".to_owned(),
                "pool.web.queue: no backend has max-sessions, connecting or connect-rate, so that \
                 none is ever full and no session waits",
            ),
            (
                "b2 = { address = \"10.0.0.12:80\", max-sessions = 5, connecting = 5 }".to_owned(),
                "pool.web.backend.b2.connecting: a connect is a session, and max-sessions allows \
                 no more than 5",
            ),
            (
                "[pool.web]\nspill = \"50%\"".to_owned(),
                "pool.web.spill: all backends have one priority, so that there is no other group",
            ),
            (
                "[pool.web]\nfailover = \"stay\"".to_owned(),
                "pool.web.failover: all backends have one priority, so that there is no other group",
            ),
            (
                "[pool.web]\non-down = \"kill\"\nhealth.kind = \"none\"".to_owned(),
                "pool.web.on-down: without checks a backend goes down by force = \"down\" alone",
            ),
            (
                "[listener.web.proxy-protocol]\ntimeout = \"1s\"".to_owned(),
                "listener.web.proxy-protocol.timeout: no header is waited for without \
                 proxy-protocol.from",
            ),
            ("[pool.old]".to_owned(), "pool.old: no listener sends sessions to it"),
            ("[pool.old]".to_owned(), "pool.old: it has no backend"),
            (
                "b2 = { address = \"0.0.0.0:80\" }".to_owned(),
                "pool.web.backend.b2: 0.0.0.0:80 is this host: write its loopback address",
            ),
            (
                "b2 = { address = \"10.0.0.11:80\" }".to_owned(),
                "pool.web.backend.b2: the same address as b1, 10.0.0.11:80",
            ),
            (
                format!("{health}interval = \"1ms\"\ntimeout = \"1ms\""),
                "pool.web.health.interval: 1ms is 1000 checks a second of each backend",
            ),
            (
                "[pool.web]\nsource = \"fd00::5\"".to_owned(),
                "pool.web.source: no address of IPv4 is in it, and b1 is reached by IPv4",
            ),
            (
                format!("{health}interval = \"1s\"\ntimeout = \"2s\""),
                "pool.web.health.timeout: 2s is longer than the interval 1s",
            ),
        ] {
            let warnings = warned(&format!("{GOOD}{more}\n"));
            assert!(warnings.iter().any(|it| it.starts_with(warning)), "{more}: {warnings:?}");
        }
        let idle = GOOD.replace(":80\" }", ":80\", weight = 0 }");
        assert!(warned(&idle)[0].starts_with("pool.web: every backend is drained"), "{idle}");
        let empty = "no listener and no pool: a weir that has some takes it with --force only";
        assert_eq!(warned(""), [empty]);
        let unused =
            ["no listener: nothing is accepted", "pool.web: no listener sends sessions to it"];
        assert_eq!(warned("[pool.web]\n")[..2], unused);
    }

    #[test]
    fn the_admin_address_and_a_listener_cannot_have_the_same_socket() {
        for (bind, taken) in [
            ("127.0.0.1:9650", true),
            ("0.0.0.0:9650", true),
            ("127.0.0.1:9651", false),
            ("127.0.0.2:9650", false),
            ("[::1]:9650", false),
        ] {
            let file = parse(&GOOD.replace("127.0.0.1:80", bind), "weir.toml").unwrap();
            let faults = super::faults(&file.settings, &file.spec);
            assert_eq!(!faults.is_empty(), taken, "{bind}: {faults:?}");
        }
    }
}
