//! Messages as servers make them, and as no server should.

use simple_dns::ResourceRecord;
use simple_dns::rdata::{A, AAAA, CNAME, SRV};

use super::*;

fn query(name: &str, kind: QueryKind) -> Query {
    Query { id: 0x1234, name: name.to_owned(), kind, has_edns: true }
}

fn record(name: &str, ttl: u32, data: RData<'static>) -> ResourceRecord<'static> {
    ResourceRecord::new(Name::new(name).unwrap().into_owned(), CLASS::IN, ttl, data)
}

fn a(name: &str, ttl: u32, address: [u8; 4]) -> ResourceRecord<'static> {
    record(name, ttl, RData::A(A { address: u32::from_be_bytes(address) }))
}

fn alias(name: &str, ttl: u32, target: &str) -> ResourceRecord<'static> {
    record(name, ttl, RData::CNAME(CNAME(Name::new(target).unwrap().into_owned())))
}

/// The server's answer, with these records.
fn reply(query: &Query, records: Vec<ResourceRecord<'static>>) -> Vec<u8> {
    reply_with(query, |packet| packet.answers = records)
}

fn reply_with(query: &Query, with: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
    let asked = query.bytes().unwrap();
    let mut packet = Packet::parse(&asked).unwrap().into_reply();
    packet.set_flags(PacketFlag::RESPONSE);
    with(&mut packet);
    packet.build_bytes_vec_compressed().unwrap()
}

fn addresses(list: &[&str], ttl_s: u32) -> HeardMessage {
    let addresses = list.iter().map(|it| it.parse().unwrap()).collect();
    HeardMessage::Answer(Ok(Records::Addresses { addresses, ttl_s }))
}

#[test]
fn a_question_is_asked_with_recursion_and_a_size() {
    let bytes = query("web.internal", QueryKind::A).bytes().unwrap();
    assert_eq!(bytes[..12], [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(&bytes[12..30], b"\x03web\x08internal\x00\x00\x01\x00\x01");
    assert_eq!(bytes[30..], [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0], "OPT with 1232");
    let plain = Query { has_edns: false, ..query("web.internal", QueryKind::Srv) };
    assert_eq!(plain.bytes().unwrap().len(), 30);
    assert_eq!(query(&"x".repeat(64), QueryKind::A).bytes(), None);
}

#[test]
fn addresses_are_taken_along_a_chain_of_aliases_with_the_least_ttl() {
    let asked = query("Web.internal", QueryKind::A);
    let plain = reply(
        &asked,
        vec![a("web.internal", 60, [10, 0, 0, 1]), a("web.INTERNAL", 9, [10, 0, 0, 2])],
    );
    assert_eq!(asked.hear(&plain), addresses(&["10.0.0.1", "10.0.0.2"], 9));
    let chain = vec![
        a("c.internal", 60, [10, 0, 0, 3]),
        alias("web.internal", 30, "b.internal"),
        a("stray.internal", 1, [10, 0, 0, 9]),
        alias("b.internal", 5, "c.internal"),
    ];
    assert_eq!(asked.hear(&reply(&asked, chain)), addresses(&["10.0.0.3"], 5));
    let six = query("web.internal", QueryKind::Aaaa);
    let data = RData::AAAA(AAAA { address: 1 });
    assert_eq!(
        six.hear(&reply(&six, vec![record("web.internal", 7, data)])),
        addresses(&["::1"], 7)
    );
}

#[test]
fn more_than_eight_aliases_and_a_circle_of_them_lead_nowhere() {
    let asked = query("n0", QueryKind::A);
    let chain = |aliases: usize| {
        let mut records: Vec<_> =
            (0..aliases).map(|n| alias(&format!("n{n}"), 60, &format!("n{}", n + 1))).collect();
        records.push(a(&format!("n{aliases}"), 60, [10, 0, 0, 1]));
        asked.hear(&reply(&asked, records))
    };
    assert_eq!(chain(ALIASES_MAX), addresses(&["10.0.0.1"], 60));
    assert_eq!(chain(ALIASES_MAX + 1), HeardMessage::Answer(Err(Fault::TooManyAliases)));
    let circle = vec![alias("n0", 60, "n1"), alias("n1", 60, "n0")];
    assert_eq!(
        asked.hear(&reply(&asked, circle)),
        HeardMessage::Answer(Err(Fault::TooManyAliases))
    );
}

#[test]
fn services_come_with_the_addresses_that_the_server_adds() {
    let asked = query("_web._tcp.internal", QueryKind::Srv);
    let target = |name: &str| Name::new(name).unwrap().into_owned();
    let srv = |priority, weight, port, name: &str| {
        let data = RData::SRV(SRV { priority, weight, port, target: target(name) });
        record("_web._tcp.internal", 60, data)
    };
    let heard = asked.hear(&reply_with(&asked, |packet| {
        packet.answers = vec![srv(1, 2, 443, "A.internal"), srv(0, 0, 80, "b.internal")];
        packet.additional_records = vec![a("a.internal", 30, [10, 0, 0, 1])];
    }));
    let HeardMessage::Answer(Ok(Records::Services { services, beside, ttl_s })) = heard else {
        panic!("{heard:?}")
    };
    let shown: Vec<_> =
        services.iter().map(|it| (it.priority, it.weight, it.port, it.target.as_str())).collect();
    assert_eq!(shown, [(1, 2, 443, "a.internal"), (0, 0, 80, "b.internal")]);
    assert_eq!(beside, [("a.internal".to_owned(), "10.0.0.1".parse().unwrap(), 30)]);
    assert_eq!(ttl_s, 60);
}

#[test]
fn the_answer_to_another_question_is_no_answer() {
    let asked = query("web.internal", QueryKind::A);
    let good = reply(&asked, vec![a("web.internal", 60, [10, 0, 0, 1])]);
    let strangers = [
        query("web.internal", QueryKind::Aaaa),
        query("wab.internal", QueryKind::A),
        Query { id: 1, ..asked.clone() },
    ];
    for other in strangers {
        assert_eq!(other.hear(&good), HeardMessage::Stranger, "{other:?}");
    }
    assert_eq!(asked.hear(&asked.bytes().unwrap()), HeardMessage::Stranger, "its own question");
    for length in 0..12 {
        assert_eq!(asked.hear(&good[..length]), HeardMessage::Stranger);
    }
    let mut without = good;
    without.truncate(12);
    without[4..12].fill(0);
    assert_eq!(asked.hear(&without), HeardMessage::Stranger, "a good answer repeats the question");
    without[3] |= 5;
    assert_eq!(asked.hear(&without), HeardMessage::Answer(Err(Fault::Refused)));
}

#[test]
fn codes_and_damage_are_faults() {
    let asked = query("web.internal", QueryKind::A);
    let coded = |code: RCODE| asked.hear(&reply_with(&asked, |packet| *packet.rcode_mut() = code));
    assert_eq!(coded(RCODE::NameError), HeardMessage::Answer(Err(Fault::NoDomain)));
    assert_eq!(coded(RCODE::Refused), HeardMessage::Answer(Err(Fault::Refused)));
    assert_eq!(coded(RCODE::ServerFailure), HeardMessage::Answer(Err(Fault::ServerFailure)));
    assert_eq!(coded(RCODE::NoError), HeardMessage::Answer(Err(Fault::NoData)));
    assert_eq!(coded(RCODE::FormatError), HeardMessage::NoEdns);
    let plain = Query { has_edns: false, ..asked.clone() };
    let refused = reply_with(&plain, |packet| *packet.rcode_mut() = RCODE::FormatError);
    assert_eq!(plain.hear(&refused), HeardMessage::Answer(Err(Fault::ServerFailure)));
    let good = reply(&asked, vec![a("web.internal", 60, [10, 0, 0, 1])]);
    assert_eq!(asked.hear(&good[..good.len() - 1]), HeardMessage::Answer(Err(Fault::Malformed)));
    let mut greedy = good.clone();
    greedy[6] = 255;
    assert_eq!(asked.hear(&greedy), HeardMessage::Answer(Err(Fault::Malformed)));
    let mut cut = good[..40].to_vec();
    cut[2] |= 2;
    assert_eq!(asked.hear(&cut), HeardMessage::Truncated, "whatever stands in it");
}
