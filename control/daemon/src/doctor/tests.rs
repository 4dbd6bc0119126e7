//! Hosts good and bad, on paper.

use std::path::Path;

use super::facts::{access, has_seccomp_filter, pair};
use super::*;

fn good() -> Facts {
    Facts {
        release: "6.12.1".into(),
        uring_disabled: Some(0),
        ring: Ok(()),
        seccomp: false,
        memlock: Some(8 << 20),
        nofile: Some(1 << 20),
        somaxconn: Some(4096),
        migrate_req: Some(1),
        ports: Some((32_768, 60_999)),
        folders: vec![Folder { name: "state", path: "/s".into(), access: Access::Creatable }],
    }
}

#[test]
fn a_good_host_is_ok_throughout() {
    let checks = judge(&good());
    assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{}", table(&checks));
    assert!(!has_failed(&checks));
}

#[test]
fn each_thing_that_is_wrong_is_found_alone() {
    type Spoil = fn(&mut Facts);
    let cases: [(&str, Verdict, Spoil); 15] = [
        ("kernel", Verdict::Fail, |f| f.release = "5.15.0-91-generic".into()),
        ("kernel", Verdict::Warn, |f| f.release = "6.1.0-18-amd64".into()),
        ("kernel", Verdict::Warn, |f| f.release = "strange".into()),
        ("io_uring_disabled", Verdict::Fail, |f| f.uring_disabled = Some(2)),
        ("io_uring", Verdict::Fail, |f| f.ring = Err(("EPERM".into(), "allow it".into()))),
        ("memlock", Verdict::Fail, |f| f.memlock = Some(64 << 10)),
        ("nofile", Verdict::Warn, |f| f.nofile = Some(1024)),
        ("nofile", Verdict::Fail, |f| f.nofile = Some(40)),
        ("somaxconn", Verdict::Warn, |f| f.somaxconn = Some(128)),
        ("somaxconn", Verdict::Warn, |f| f.somaxconn = None),
        ("tcp_migrate_req", Verdict::Warn, |f| f.migrate_req = Some(0)),
        ("tcp_migrate_req", Verdict::Warn, |f| f.migrate_req = None),
        ("ip_local_port_range", Verdict::Warn, |f| f.ports = Some((60_000, 61_000))),
        ("ip_local_port_range", Verdict::Warn, |f| f.ports = Some((9, 1))),
        ("state", Verdict::Fail, |f| f.folders[0].access = Access::Denied { nearest: "/".into() }),
    ];
    for (name, verdict, spoil) in cases {
        let mut facts = good();
        spoil(&mut facts);
        let checks = judge(&facts);
        let wrong: Vec<_> = checks.iter().filter(|check| check.verdict != Verdict::Ok).collect();
        assert_eq!(wrong.len(), 1, "{}", table(&checks));
        assert_eq!((wrong[0].name, wrong[0].verdict), (name, verdict));
        assert!(!wrong[0].mend.is_empty(), "{name}");
    }
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
        ring: Err(("EPERM".into(), "allow it".into())),
        seccomp: has_seccomp_filter("Name:\tweir\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
        ..good()
    };
    assert!(ring(&facts).mend.contains("seccomp"));
    assert!(!has_seccomp_filter("Seccomp:\t0\n"));
}

#[test]
fn the_table_and_the_json_say_the_same() {
    let checks = judge(&Facts { somaxconn: Some(128), ..good() });
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
    let checks = judge(&Facts::of_this_host(&Settings::default()));
    assert_eq!(checks.len(), 10);
}
