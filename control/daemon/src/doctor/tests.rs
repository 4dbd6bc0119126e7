//! Hosts good and bad, on paper.

use std::path::Path;

use super::facts::{access, has_ipc_lock, has_seccomp_filter, pair};
use super::*;

fn good() -> Facts {
    Facts {
        release: "6.12.1".into(),
        uring_disabled: Some(0),
        ring: Ok(()),
        seccomp: false,
        shards: 2,
        ipc_lock: false,
        memlock: Some(8 << 20),
        nofile: Some(1 << 20),
        somaxconn: Some(4096),
        migrate_req: Some(1),
        ports: Some((32_768, 60_999)),
        reserved: String::new(),
        tw_reuse: Some(1),
        own_ports: vec![443, 9650],
        privileged: false,
        pipe_pages: Some(65_536),
        tcp_pressure: Some(1 << 24),
        rmem_max: Some(4 << 20),
        absent_sources: Vec::new(),
        folders: vec![Folder { name: "state", path: "/s".into(), access: Access::Creatable }],
    }
}

#[test]
fn a_good_host_is_ok_throughout() {
    let checks = findings(&good());
    assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{}", table(&checks));
    assert!(!has_failed(&checks));
}

#[test]
fn each_thing_that_is_wrong_is_found_alone() {
    type Spoil = fn(&mut Facts);
    let cases: [(&str, Verdict, Spoil); 25] = [
        ("kernel", Verdict::Fail, |f| f.release = "5.15.0-91-generic".into()),
        ("kernel", Verdict::Warn, |f| f.release = "6.1.0-18-amd64".into()),
        ("kernel", Verdict::Warn, |f| f.release = "strange".into()),
        ("io_uring_disabled", Verdict::Fail, |f| f.uring_disabled = Some(2)),
        ("io_uring", Verdict::Fail, |f| f.ring = Err(Complaint::new("EPERM", "allow it"))),
        ("memlock", Verdict::Fail, |f| f.memlock = Some(64 << 10)),
        ("nofile", Verdict::Warn, |f| f.nofile = Some(1024)),
        ("nofile", Verdict::Fail, |f| f.nofile = Some(40)),
        ("somaxconn", Verdict::Warn, |f| f.somaxconn = Some(128)),
        ("somaxconn", Verdict::Warn, |f| f.somaxconn = None),
        ("tcp_migrate_req", Verdict::Warn, |f| f.migrate_req = Some(0)),
        ("tcp_migrate_req", Verdict::Warn, |f| f.migrate_req = None),
        ("ip_local_port_range", Verdict::Warn, |f| f.ports = Some((60_000, 61_000))),
        ("ip_local_port_range", Verdict::Warn, |f| f.ports = Some((9, 1))),
        ("reserved_ports", Verdict::Warn, |f| f.own_ports = vec![443, 40_000]),
        ("reserved_ports", Verdict::Warn, |f| f.ports = Some((1024, 65_535))),
        ("tcp_tw_reuse", Verdict::Warn, |f| f.tw_reuse = Some(2)),
        ("tcp_tw_reuse", Verdict::Warn, |f| f.tw_reuse = None),
        ("sources", Verdict::Warn, |f| f.absent_sources = vec!["10.0.0.5 of pool web".into()]),
        ("pipe_user_pages_soft", Verdict::Warn, |f| f.pipe_pages = Some(16_384)),
        ("pipe_user_pages_soft", Verdict::Warn, |f| f.pipe_pages = None),
        ("tcp_mem", Verdict::Warn, |f| f.tcp_pressure = Some(383_867)),
        ("rmem_max", Verdict::Warn, |f| f.rmem_max = Some(212_992)),
        ("rmem_max", Verdict::Warn, |f| f.rmem_max = None),
        ("state", Verdict::Fail, |f| f.folders[0].access = Access::Denied { nearest: "/".into() }),
    ];
    for (name, verdict, spoil) in cases {
        let mut facts = good();
        spoil(&mut facts);
        let checks = findings(&facts);
        let wrong: Vec<_> = checks.iter().filter(|check| check.verdict != Verdict::Ok).collect();
        assert_eq!(wrong.len(), 1, "{}", table(&checks));
        assert_eq!((wrong[0].name, wrong[0].verdict), (name, verdict));
        assert!(!wrong[0].mend.is_empty(), "{name}");
    }
}

#[test]
fn what_the_kernel_holds_is_said_in_numbers() {
    let pipes = memory::pipes(Some(16_384), false);
    assert!(pipes.found.contains("64 pipes of 256 a shard"), "{pipes:?}");
    assert_eq!(memory::pipes(Some(16_384), true).verdict, Verdict::Ok);
    assert_eq!(memory::pipes(Some(0), false).verdict, Verdict::Ok);
    let tcp = memory::tcp(Some(383_867), 8_000);
    assert_eq!(tcp.found, "presses at 1499 MiB: 11995 readers that read nothing");
    assert_eq!(
        (tcp.verdict, memory::tcp(Some(383_867), 12_000).verdict),
        (Verdict::Ok, Verdict::Warn)
    );
}

#[test]
fn a_switch_for_the_privileged_is_judged_by_the_ring() {
    assert_eq!(uring_disabled(Some(1), true).verdict, Verdict::Ok);
    assert_eq!(uring_disabled(Some(1), false).verdict, Verdict::Fail);
    assert_eq!(uring_disabled(None, true).verdict, Verdict::Ok);
}

#[test]
fn a_filter_is_named_when_the_ring_fails() {
    let facts = Facts {
        ring: Err(Complaint::new("EPERM", "allow it")),
        seccomp: has_seccomp_filter("Name:\tweir\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
        ..good()
    };
    assert!(ring(&facts).mend.contains("seccomp"));
    assert!(!has_seccomp_filter("Seccomp:\t0\n"));
}

#[test]
fn the_table_and_the_json_say_the_same() {
    let checks = findings(&Facts { somaxconn: Some(128), ..good() });
    let text = table(&checks);
    assert!(text.starts_with("ok    kernel               6.12.1\n"), "{text}");
    assert!(text.contains("\nwarn  somaxconn            128: "), "{text}");
    assert!(text.contains("mend: sysctl -w net.core.somaxconn=4096\n"), "{text}");
    let json = json_report(&checks);
    assert_eq!((&json["schema"], &json["ok"]), (&"weir/v1".into(), &true.into()));
    assert_eq!(json["checks"][5]["verdict"], "warn");
    assert_eq!(json["checks"][5]["name"], "somaxconn");
}

#[test]
fn folders_are_tried_without_touching_them() {
    let here = std::env::temp_dir();
    assert_eq!(access(&here), Access::Writable);
    let inside = here.join(format!("weir-doctor-{}", std::process::id())).join("deep");
    assert_eq!(access(&inside), Access::Creatable);
    assert!(!inside.exists());
    let status = Path::new("/proc/self/status");
    assert_eq!(access(&status.join("x")), Access::Denied { nearest: status.to_owned() });
}

#[test]
fn pairs_of_numbers() {
    assert_eq!(pair("32768\t60999\n"), Some((32_768, 60_999)));
    assert_eq!(pair("32768"), None);
    assert_eq!(pair("a b"), None);
}

#[test]
fn this_host_can_be_looked_at() {
    let checks = findings(&Facts::of_this_host(&Settings::default(), &Spec::default()));
    assert_eq!(checks.len(), 16);
}

#[test]
fn ports_to_reserve_come_as_a_line_to_paste_with_what_is_reserved_already() {
    let facts = Facts {
        ports: Some((1024, 65_535)),
        reserved: "6000-6010,8080".into(),
        own_ports: vec![443, 5432, 6005, 8080, 9650],
        ..good()
    };
    let check = reserved(&facts);
    assert_eq!(check.verdict, Verdict::Warn);
    assert!(check.found.starts_with("5432,9650: "), "{}", check.found);
    let line = "sysctl -w net.ipv4.ip_local_reserved_ports='5432,6000-6010,8080,9650'";
    assert_eq!(check.mend, line);
    let mended = Facts { reserved: "5432,6000-6010,8080,9650".into(), ..facts };
    assert_eq!(reserved(&mended).verdict, Verdict::Ok);
}

#[test]
fn own_ports_are_those_of_listeners_and_of_backends_on_this_host() {
    let text = "[weir]\nadmin = \"127.0.0.1:9650\"\n\
                [listener.web]\nbind = [\"0.0.0.0:443\", \"[::]:443\"]\npool = \"web\"\n\
                [pool.web.backend]\nb1 = { address = \"127.0.0.1:5432\" }\n\
                b2 = { address = \"192.0.2.1:5433\" }\n";
    let file = weir_control_core::file::parse(text, "test").unwrap();
    let own = ports::own(&file.settings, &file.spec, |address| address.ip().is_loopback());
    assert_eq!(own, [443, 5432, 9650]);
}

#[test]
fn memlock_is_judged_by_what_the_shards_need() {
    let judged = |shards, mib: u64, ipc_lock| {
        let facts = Facts { shards, ipc_lock, memlock: Some(mib << 20), ..good() };
        memlock(&facts)
    };
    assert_eq!(judged(2, 8, false).verdict, Verdict::Ok);
    // 0.5 MiB and 1.33 MiB a shard are 6.5 MiB for 4 shards with half a million sessions each.
    assert_eq!(judged(4, 8, false).verdict, Verdict::Warn);
    let seven = judged(7, 8, false);
    assert_eq!(seven.verdict, Verdict::Fail, "{seven:?}");
    assert_eq!(seven.mend, "LimitMEMLOCK=20M in the unit, or ulimit -l 20480");
    assert_eq!(judged(7, 20, false).verdict, Verdict::Ok);
    assert_eq!(judged(7, 8, true).verdict, Verdict::Ok);
    assert!(has_ipc_lock("Name:\tweir\nCapEff:\t0000000000004000\n"));
    assert!(!has_ipc_lock("CapEff:\t0000000000000400\n"));
}
