//! Listeners that want a header first, and pools whose backends get one.

use weir_proto::spec::ProxyVersion;

use super::*;
use crate::event::{HeaderRead, HelloRead};
use crate::proxy_header::Told;

const READ: Action = Action::ReadHeader { client: CLIENT };

const AWAIT: Action = Action::Watch {
    side: Side::Client,
    leg: CLIENT,
    interest: Interest { readable: true, writable: false },
};

fn told() -> Told {
    let [source, destination] = ["192.0.2.7:40000", "192.0.2.99:443"].map(|it| it.parse().unwrap());
    Told { source, destination }
}

/// A header with these fields.
fn whole(fields: &[u8]) -> HeaderRead<'_> {
    HeaderRead::Whole { told: Some(told()), fields }
}

impl TablePlay {
    /// Balancers in 10.0.0.0/8 have two seconds for a header.
    fn behind_a_balancer() -> TablePlay {
        TablePlay::behind_one_that_has(Some(Span::from_secs(2)))
    }

    fn behind_one_that_has(timeout: Option<Span>) -> TablePlay {
        TablePlay::with_listener(2, 4, |pool, listener| {
            pool.proxy_protocol = Some(ProxyVersion::V2);
            listener.proxy_protocol.from = vec!["10.0.0.0/8".parse().unwrap()].into();
            listener.proxy_protocol.timeout = timeout;
            listener.inspect_timeout = Span::from_secs(7);
        })
    }

    /// A client that is looked at.
    fn inspecting(&mut self) -> SessionId {
        let id = self.table.accept(client(), self.now, &mut self.out).unwrap();
        assert_eq!(self.take(), [READ]);
        id
    }

    fn header_read(&mut self, id: SessionId, read: HeaderRead<'_>) -> Vec<Action> {
        self.table.header_read(id, read, (None, 0), self.now, &mut self.out);
        self.take()
    }

    fn ended(&mut self, during: During, why: Why) -> u64 {
        let full = self.table.collect(std::boxed::Box::new(ShardStats::new(ShardId(0))));
        let of = |reason: CloseReason| (reason.during, reason.why) == (during, why);
        full.pools[0].ends.iter().filter(|(reason, _)| of(*reason)).map(|(_, count)| count).sum()
    }
}

#[test]
fn a_backend_is_picked_when_the_header_is_whole_and_is_told_before_all_else() {
    let mut play = TablePlay::behind_a_balancer();
    let id = play.inspecting();
    assert_eq!(play.header_read(id, HeaderRead::NotYet), [AWAIT]);
    let some = Ready { readable: true, ..Ready::default() };
    play.table.on_ready(id, Side::Client, some, play.now, &mut play.out);
    assert_eq!(play.take(), [READ]);
    let actions = play.header_read(id, whole(&[]));
    assert!(matches!(actions[..], [Action::Connect { .. }]), "{actions:?}");
    assert_eq!(play.table.told(id), Some(told()));
    play.connects(id, 11);
    let done = Completion::Connected(Ok(()));
    play.table.on_completion(id, Side::Backend, done, play.now, &mut play.out);
    let actions = play.take();
    let legs = [CLIENT, Leg(11)];
    let header = Action::SendHeader { legs, version: ProxyVersion::V2 };
    assert!(actions.contains(&header), "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Send { .. })), "{actions:?}");
    play.table.header_sent(id, true, play.now, &mut play.out);
    assert_eq!(play.take(), []);
    assert!(play.table.session(id).unwrap().is_relaying());
}

/// A header's fields are kept for whatever backend takes the session, and no longer than it.
#[test]
fn fields_are_kept_where_a_pool_sends_them() {
    let (authority, unknown) = ([2, 0, 1, b'a'], [4, 0, 1, 0]);
    let both = [authority, unknown].concat();
    let mut play = TablePlay::behind_a_balancer();
    let id = play.inspecting();
    play.header_read(id, whole(&both));
    assert_eq!(play.table.passed_fields(id), authority);
    play.table.opened(id, Err(crate::event::NotOpened::ClientGone), play.now, &mut play.out);
    play.take();
    let next = play.inspecting();
    assert_eq!((next.slot, play.table.passed_fields(next)), (id.slot, &[][..]));
    let large = [&[0xe0, 1, 0][..], &[0; 256], &[0xe1, 1, 0], &[0; 256]].concat();
    play.header_read(next, whole(&large));
    assert_eq!(play.table.passed_fields(next).len(), 259);
    assert_eq!(play.table.counters().totals().proxy_fields_dropped, 1);
    for version in [None, Some(ProxyVersion::V1)] {
        let mut play = TablePlay::with_listener(2, 4, |pool, listener| {
            pool.proxy_protocol = version;
            listener.proxy_protocol.from = vec!["10.0.0.0/8".parse().unwrap()].into();
        });
        let id = play.inspecting();
        play.header_read(id, whole(&both));
        assert!(play.table.passed_fields(id).is_empty(), "{version:?}");
    }
}

/// A hello adds its name and protocol where the header has none.
#[test]
fn a_hello_adds_what_no_header_has_told() {
    for (fields, expected) in [
        (&[][..], &[2, 0, 3, b'd', b'.', b'x', 1, 0, 2, b'h', b'2'][..]),
        (&[2, 0, 1, b'a'][..], &[2, 0, 1, b'a', 1, 0, 2, b'h', b'2'][..]),
    ] {
        let mut play = TablePlay::with_listener(2, 4, |pool, listener| {
            pool.proxy_protocol = Some(ProxyVersion::V2);
            listener.proxy_protocol.from = vec!["10.0.0.0/8".parse().unwrap()].into();
            listener.route = vec!["sni=* pool=web".parse().unwrap()];
        });
        let id = play.inspecting();
        play.header_read(id, whole(fields));
        let hello = ClientHello { server_name: Some("d.x"), alpn: b"\x02h2" };
        let read = HelloRead::Whole(hello);
        play.table.hello_read(id, read, (None, 0), play.now, &mut play.out);
        assert_eq!(play.table.passed_fields(id), expected);
    }
}

#[test]
fn a_listener_that_moves_away_meanwhile_does_not_change_how_its_client_is_picked() {
    let mut play = TablePlay::with_listener(2, 4, |pool, listener| {
        pool.strategy = Strategy::Maglev;
        listener.proxy_protocol.from = vec!["10.0.0.0/8".parse().unwrap()].into();
    });
    let id = play.inspecting();
    play.adopt(|spec| {
        let plain = PoolSpec { strategy: Strategy::RoundRobin, ..PoolSpec::default() };
        spec.pool.insert("plain".parse().unwrap(), plain.into());
        spec.listener.values_mut().for_each(|listener| listener.pool = "plain".parse().unwrap());
    });
    assert!(play.table.wants_key(id) && !play.table.wants_client_key(ListenerSlot::FIRST));
}

#[test]
fn only_those_who_are_trusted_may_send_one() {
    let play = TablePlay::behind_a_balancer();
    let refuses = |ip: &str| play.table.refuses(ListenerSlot::FIRST, Some(ip.parse().unwrap()));
    assert!(refuses("192.0.2.7") && refuses("::1"));
    assert!(!refuses("10.1.2.3") && !refuses("::ffff:10.1.2.3"));
    assert!(!play.table.refuses(ListenerSlot::FIRST, None), "it has gone, and gets no backend");
    let plain = TablePlay::new(1);
    assert!(!plain.table.refuses(ListenerSlot::FIRST, Some("192.0.2.7".parse().unwrap())));
}

#[test]
fn a_client_without_a_right_header_in_time_costs_no_backend_anything() {
    for (read, how, why) in [
        (HeaderRead::Wrong, How::Reset, Why::BadHeader),
        (HeaderRead::Failed, How::Reset, Why::Reset),
        (HeaderRead::Ended, How::Fin, Why::Complete),
    ] {
        let mut play = TablePlay::behind_a_balancer();
        let id = play.inspecting();
        let close = Action::Close { leg: CLIENT, how };
        assert_eq!(play.header_read(id, read), [close, Action::Free], "{read:?}");
        assert_eq!(play.ended(During::Inspecting, why), 1, "{read:?}");
        assert!(play.table.is_empty());
    }
    // Without a time of its own a header has that of a hello.
    for (timeout, ms) in [(Some(Span::from_secs(2)), 2_000), (None, 7_000)] {
        let mut play = TablePlay::behind_one_that_has(timeout);
        let id = play.inspecting();
        play.header_read(id, HeaderRead::NotYet);
        play.now = START.plus_millis(ms - 2 * TICK_MS);
        assert_eq!(play.on_time(), None, "{ms}");
        play.now = START.plus_millis(ms + 2 * TICK_MS);
        assert_eq!(play.on_time(), Some(id), "{ms}");
        let close = Action::Close { leg: CLIENT, how: How::Reset };
        assert_eq!(play.take(), [close, Action::Free]);
        assert_eq!(play.ended(During::Inspecting, Why::InspectTimeout), 1);
    }
}

#[test]
fn an_inspected_session_ends_by_a_sweep_and_its_slot_forgets_the_client() {
    let mut play = TablePlay::behind_a_balancer();
    let id = play.inspecting();
    play.header_read(id, whole(&[]));
    play.table.opened(id, Err(crate::event::NotOpened::ClientGone), play.now, &mut play.out);
    play.take();
    let again = play.inspecting();
    assert_eq!((again.slot, play.table.told_client(again)), (id.slot, None));
    play.table.stop();
    let mut scan = SCANNED_PER_TURN_MAX;
    assert_eq!(play.table.sweep(play.now, &mut scan, &mut play.out), Some(again));
    assert_eq!(play.ended(During::Inspecting, Why::Stopped), 1);
}
