//! Look-ups against servers that are a function.

use super::*;

const CONF: &str = "nameserver 10.9.0.1\nnameserver 10.9.0.2\nsearch a.internal\n";

fn host(name: &str) -> DnsSource {
    DnsSource::Host { name: name.to_owned(), port: 443 }
}

fn files(hosts: &str) -> SystemFiles {
    SystemFiles { resolv_conf: CONF.to_owned(), hosts: hosts.to_owned() }
}

/// Makes the look-up; gives the outcome and the questions, as `server's last byte, name, kind`.
fn look_up(
    source: DnsSource,
    hosts: &str,
    answer: impl Fn(&str, QueryKind, u8) -> Result<Records, Fault>,
) -> (LookupOutcome, Vec<String>) {
    let lookup = Lookup { pool: PoolId(1), number: 1, source, resolver: None };
    let mut resolution = Resolution::new(&lookup, files(hosts));
    let mut asked = Vec::new();
    for _ in 0..1000 {
        match resolution.step(7) {
            LookupStep::Done(outcome) => return (outcome, asked),
            LookupStep::Ask { server, query, .. } => {
                let IpAddr::V4(ip) = server.ip() else { panic!("{server}") };
                let last = ip.octets()[3];
                asked.push(format!("{last} {} {:?}", query.name, query.kind));
                resolution.hear(answer(&query.name, query.kind, last));
            }
        }
    }
    panic!("it goes on for ever: {asked:?}")
}

fn addresses(list: &[&str], ttl_s: u32) -> Result<Records, Fault> {
    let addresses = list.iter().map(|it| it.parse().unwrap()).collect();
    Ok(Records::Addresses { addresses, ttl_s })
}

fn shown(outcome: &LookupOutcome) -> Vec<String> {
    let found = outcome.as_ref().unwrap();
    let one = |it: &FoundAddress| format!("{} {} {}", it.address, it.priority, it.weight);
    found.addresses.iter().map(one).collect()
}

#[test]
fn a_host_has_the_addresses_of_both_families() {
    let (outcome, asked) = look_up(host("web.x"), "", |_, kind, _| match kind {
        QueryKind::A => addresses(&["10.0.0.1", "0.0.0.0"], 60),
        _ => addresses(&["fd00::1", "ff02::1"], 30),
    });
    assert_eq!(shown(&outcome), ["10.0.0.1:443 0 1", "[fd00::1]:443 0 1"]);
    let found = outcome.unwrap();
    assert_eq!((found.ttl_s, found.is_whole), (30, [true; 2]));
    assert_eq!(asked, ["1 web.x A", "1 web.x Aaaa"]);
}

#[test]
fn hosts_comes_first_and_no_server_is_asked() {
    let (outcome, asked) = look_up(host("web.x"), "10.0.0.9 web.x", |_, _, _| Err(Fault::NoDomain));
    assert_eq!(shown(&outcome), ["10.0.0.9:443 0 1"]);
    assert!(asked.is_empty());
}

#[test]
fn the_search_list_is_tried_until_a_name_exists() {
    let only = |wanted: &'static str| {
        move |name: &str, kind, _| match kind {
            QueryKind::A if name == wanted => addresses(&["10.0.0.1"], 60),
            _ if name == wanted => Err(Fault::NoData),
            _ => Err(Fault::NoDomain),
        }
    };
    let (outcome, asked) = look_up(host("web"), "", only("web"));
    assert_eq!(shown(&outcome), ["10.0.0.1:443 0 1"]);
    let all = ["1 web.a.internal A", "1 web.a.internal Aaaa", "1 web A", "1 web Aaaa"];
    assert_eq!(asked, all);
    let (outcome, asked) = look_up(host("web."), "", only("web.a.internal"));
    assert_eq!((outcome, asked.len()), (Err(Fault::NoDomain), 2), "a last dot: it alone");
}

#[test]
fn a_name_that_is_not_answered_is_not_taken_for_one_that_does_not_exist() {
    let (outcome, asked) = look_up(host("web"), "", |name, kind, _| {
        if name == "web" && kind == QueryKind::A {
            return addresses(&["10.6.6.6"], 60);
        }
        Err(Fault::Timeout)
    });
    assert_eq!(outcome, Err(Fault::Timeout));
    let twice = ["1 web.a.internal A", "2 web.a.internal A"].repeat(2);
    assert_eq!(asked, twice, "each server twice, and no other name");
}

#[test]
fn another_server_is_asked_when_one_fails_and_what_it_said_is_told() {
    let (outcome, _) = look_up(host("web.x."), "", |_, kind, server| match (server, kind) {
        (1, _) => Err(Fault::Refused),
        (_, QueryKind::A) => addresses(&["10.0.0.1"], 60),
        _ => Err(Fault::NoData),
    });
    assert_eq!(shown(&outcome), ["10.0.0.1:443 0 1"]);
    let (outcome, _) = look_up(host("web.x."), "", |_, _, server| {
        Err(if server == 1 { Fault::Timeout } else { Fault::ServerFailure })
    });
    assert_eq!(outcome, Err(Fault::ServerFailure), "it says more than the silence of the other");
}

#[test]
fn a_family_without_an_answer_is_not_whole() {
    for fault in [Fault::Timeout, Fault::ServerFailure] {
        let (outcome, _) = look_up(host("web.x."), "", |_, kind, _| match kind {
            QueryKind::A => addresses(&["10.0.0.1"], 60),
            _ => Err(fault.clone()),
        });
        assert_eq!(outcome.unwrap().is_whole, [true, false]);
    }
}

fn service(priority: u16, weight: u16, port: u16, target: &str) -> Service {
    Service { priority, weight, port, target: target.to_owned() }
}

#[test]
fn services_are_their_targets_with_priority_and_weight() {
    let source = || DnsSource::Service { name: "_web._tcp.x.".to_owned() };
    let services = || {
        let services = vec![
            service(0, 65_535, 443, "one"),
            service(0, 0, 444, "two"),
            service(300, 6_553, 445, "one"),
            service(0, 5, 446, ""),
        ];
        let beside = vec![("one".to_owned(), "10.0.0.1".parse().unwrap(), 20)];
        Ok(Records::Services { services, beside, ttl_s: 60 })
    };
    let (outcome, asked) = look_up(source(), "", |name, kind, _| match (name, kind) {
        (_, QueryKind::Srv) => services(),
        ("two", QueryKind::Aaaa) => addresses(&["fd00::2"], 10),
        _ => Err(Fault::NoData),
    });
    let wanted = ["10.0.0.1:443 0 256", "10.0.0.1:445 255 25", "[fd00::2]:444 0 1"];
    assert_eq!(shown(&outcome), wanted);
    assert_eq!(asked, ["1 _web._tcp.x Srv", "1 two A", "1 two Aaaa"]);
    assert_eq!(outcome.unwrap().ttl_s, 10);
    // A target that is not answered: what is known is used, and nothing is taken away by it.
    let (outcome, _) = look_up(source(), "", |_, kind, _| match kind {
        QueryKind::Srv => services(),
        _ => Err(Fault::Timeout),
    });
    assert_eq!((shown(&outcome).len(), outcome.unwrap().is_whole), (2, [false; 2]));
    let none = |_: &str, _, _: u8| {
        let services = vec![service(0, 0, 0, "")];
        Ok(Records::Services { services, beside: Vec::new(), ttl_s: 60 })
    };
    assert_eq!(look_up(source(), "", none).0, Err(Fault::NoData));
}

#[test]
fn so_many_targets_are_asked_for_and_no_more() {
    let (outcome, asked) = look_up(
        DnsSource::Service { name: "_web._tcp.x.".to_owned() },
        "",
        |_, kind, _| match kind {
            QueryKind::Srv => {
                let services = (0..200).map(|n| service(0, 0, 1, &format!("t{n}"))).collect();
                Ok(Records::Services { services, beside: Vec::new(), ttl_s: 60 })
            }
            QueryKind::A => addresses(&["10.0.0.1"], 60),
            QueryKind::Aaaa => Err(Fault::NoData),
        },
    );
    assert_eq!(asked.len(), 1 + 2 * TARGETS_MAX);
    assert_eq!(outcome.unwrap().is_whole, [false; 2]);
}
