//! Routes of a listener: which pool a session takes, and when.

use weir_proto::spec::RouteSpec;

use super::*;
use crate::client_hello::{self, Looked};
use crate::event::{HelloRead, NotOpened};

const LOOK: Action = Action::ReadHello { client: CLIENT, last: false };
const NO_NAME: (Option<core::net::IpAddr>, u64) = (None, 0);

impl TablePlay {
    /// Routes of the listener, whose own pool is the first; `other` is another pool.
    fn with_routes(routes: &[&str]) -> TablePlay {
        let mut play = TablePlay::new(1);
        play.adopt(|spec| {
            let mut other = PoolSpec { strategy: Strategy::RoundRobin, ..PoolSpec::default() };
            other.timeout.idle = Span::from_secs(7);
            let address = "10.0.0.9:9".parse().unwrap();
            other.backend.insert("o1".parse().unwrap(), BackendSpec::new(address));
            spec.pool.insert("other".parse().unwrap(), other.into());
            for listener in spec.listener.values_mut() {
                listener.route = routes.iter().map(|it| it.parse::<RouteSpec>().unwrap()).collect();
                listener.inspect_timeout = Span::from_secs(2);
            }
        });
        play
    }

    fn pool_of(&self, id: SessionId) -> PoolSlot {
        self.table.session(id).unwrap().route.pool
    }

    /// Sessions that pools count, by slot.
    fn counted(&self) -> Vec<u32> {
        self.table.view().pools().iter().map(|pool| pool.sessions).collect()
    }
}

/// A hello with this name, in one record.
fn with_name(name: &str) -> Vec<u8> {
    let length = |count: usize| u16::try_from(count).unwrap().to_be_bytes();
    let entry = [&[0][..], &length(name.len()), name.as_bytes()].concat();
    let value = [&length(entry.len())[..], &entry].concat();
    let extension = [&[0, 0][..], &length(value.len()), &value].concat();
    let body = [&[3; 34][..], &[0, 0, 2, 0x13, 1, 1, 0], &length(extension.len()), &extension];
    let body = body.concat();
    let message = [&[1, 0][..], &length(body.len()), &body].concat();
    [&[22, 3, 1][..], &length(message.len()), &message].concat()
}

#[test]
fn a_name_takes_its_route_and_everything_of_its_pool() {
    let mut play = TablePlay::with_routes(&["sni=db.example.com pool=other"]);
    let id = play.table.accept(client(), play.now, &mut play.out).unwrap();
    assert_eq!(play.take(), [LOOK]);
    let own = play.pool_of(id);
    play.table.hello_read(
        id,
        HelloRead::NotYet { is_marked: true },
        NO_NAME,
        play.now,
        &mut play.out,
    );
    assert!(matches!(play.take()[..], [Action::Watch { .. }]));
    let some = Ready { readable: true, ..Ready::default() };
    play.table.on_ready(id, Side::Client, some, play.now, &mut play.out);
    assert_eq!(play.take(), [LOOK]);
    let mut bytes = with_name("DB.example.com");
    let Looked::Hello(hello) = client_hello::parse(&mut bytes) else { panic!("no hello") };
    play.table.hello_read(id, HelloRead::Whole(hello), NO_NAME, play.now, &mut play.out);
    let actions = play.take();
    let to = "10.0.0.9:9".parse().unwrap();
    assert!(matches!(actions[..], [Action::Connect { address, .. }] if address == to));
    let other = play.pool_of(id);
    assert_ne!(own, other);
    assert_eq!(play.counted().iter().sum::<u32>(), 1);
    assert_eq!(play.counted()[other.index()], 1);
    assert_eq!(play.table.session(id).unwrap().idle_ms, 7_000);
    let taken = play.table.taken.get(id.slot).unwrap();
    assert_eq!((taken.place, taken.server_name.as_deref()), (Some(0), Some("DB.example.com")));
    play.table.opened(id, Err(NotOpened::ClientGone), play.now, &mut play.out);
    assert_eq!(play.counted().iter().sum::<u32>(), 0);
}

#[test]
fn without_a_hello_in_time_a_session_takes_the_pool_of_its_listener() {
    let mut play = TablePlay::with_routes(&["sni=* pool=other"]);
    let id = play.table.accept(client(), play.now, &mut play.out).unwrap();
    play.take();
    play.table.hello_read(
        id,
        HelloRead::NotYet { is_marked: true },
        NO_NAME,
        play.now,
        &mut play.out,
    );
    play.take();
    play.now = START.plus_millis(2_000 + 2 * TICK_MS);
    assert_eq!(play.on_time(), Some(id));
    assert_eq!(play.take(), [Action::ReadHello { client: CLIENT, last: true }]);
    play.table.hello_read(id, HelloRead::None, NO_NAME, play.now, &mut play.out);
    assert!(matches!(play.take()[..], [Action::Connect { .. }]));
    assert_eq!(play.pool_of(id), play.table.view().listeners()[0].pool);
    let failed = play.table.accept(client(), play.now, &mut play.out).unwrap();
    play.take();
    play.table.hello_read(failed, HelloRead::Failed, NO_NAME, play.now, &mut play.out);
    let close = Action::Close { leg: CLIENT, how: How::Reset };
    assert_eq!(play.take(), [close, Action::Free]);
}

#[test]
fn a_network_alone_needs_no_look() {
    let mut play = TablePlay::with_routes(&["from=192.0.2.0/24 pool=other"]);
    assert!(play.table.is_choosy(ListenerSlot::FIRST));
    let inside = AcceptedClient { address: "192.0.2.7:1".parse().ok(), ..client() };
    let outside = AcceptedClient { address: "198.51.100.7:1".parse().ok(), ..client() };
    let own = play.table.view().listeners()[0].pool;
    for (client, is_own) in [(inside, false), (outside, true)] {
        let id = play.table.accept(client, play.now, &mut play.out).unwrap();
        assert!(matches!(play.take()[..], [Action::Connect { .. }]));
        assert_eq!(play.pool_of(id) == own, is_own);
    }
}

#[test]
fn routes_that_go_meanwhile_leave_the_session_its_pool() {
    let mut play = TablePlay::with_routes(&["sni=* pool=other"]);
    let id = play.table.accept(client(), play.now, &mut play.out).unwrap();
    play.take();
    let own = play.pool_of(id);
    play.adopt(|spec| {
        spec.listener.clear();
        spec.pool.remove("other");
    });
    let mut bytes = with_name("a");
    let Looked::Hello(hello) = client_hello::parse(&mut bytes) else { panic!("no hello") };
    play.table.hello_read(id, HelloRead::Whole(hello), NO_NAME, play.now, &mut play.out);
    play.take();
    assert_eq!(play.pool_of(id), own);
}
