//! Who is on the control socket, and whose place one gets that comes when all are taken.
//!
//! ```text
//! come ──hello──▶ silent ⇄ answered ──▶ gone
//! ```
//! Pure but for the bells: time is an argument.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use weir_core::base::clock::Now;

use super::roles::Role;
use crate::serve::notify::Notify;

/// The most clients at once. The last place is kept for an admin.
pub(crate) const CLIENTS_MAX: usize = 64;
/// One that has said hello keeps its place at least this long after its last answer, unless a
/// higher role comes.
const SILENCE_MIN: Duration = Duration::from_secs(5);

/// Everybody who is connected.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    list: RefCell<Vec<Rc<Client>>>,
}

/// One who is connected.
#[derive(Debug)]
struct Client {
    role: Option<Role>,
    phase: Cell<ClientPhase>,
    cut: Cell<bool>,
    bell: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientPhase {
    /// It has not said hello.
    Come { since: Now },
    /// It has been answered, or greeted, and has not asked since.
    Silent { since: Now },
    /// Its request is being answered.
    Answered,
}

/// A client's place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct ClientSlot {
    clients: Rc<Clients>,
    client: Rc<Client>,
}

impl Clients {
    /// A place for one who comes now. If all are taken it gets that of somebody who makes no use
    /// of it: of one who has not said hello, or asks nothing now; not of a higher role, and of the
    /// same only after [`SILENCE_MIN`]. First the least role, then the longest silence. So those
    /// who connect and say nothing never keep out those who do. `None` if there is no such one.
    pub(crate) fn admit(self: &Rc<Clients>, role: Option<Role>, now: Now) -> Option<ClientSlot> {
        let most = if role == Some(Role::Admin) { CLIENTS_MAX } else { CLIENTS_MAX - 1 };
        if self.list.borrow().len() >= most {
            self.cut_one(role, now)?;
        }
        let phase = Cell::new(ClientPhase::Come { since: now });
        let client = Client { role, phase, cut: Cell::new(false), bell: Notify::default() };
        let client = Rc::new(client);
        self.list.borrow_mut().push(client.clone());
        Some(ClientSlot { clients: self.clone(), client })
    }

    fn cut_one(&self, role: Option<Role>, now: Now) -> Option<()> {
        let mut list = self.list.borrow_mut();
        // What to compare: who has said hello goes last.
        let rank = |client: &Client| match client.phase.get() {
            ClientPhase::Come { since } => Some((false, client.role, since)),
            ClientPhase::Silent { since } => {
                let long = now - since >= SILENCE_MIN;
                (long || client.role < role).then_some((true, client.role, since))
            }
            ClientPhase::Answered => None,
        };
        let may_go = list.iter().enumerate().filter(|(_, client)| client.role <= role);
        let ranked = may_go.filter_map(|(index, client)| Some((rank(client)?, index)));
        let (_, index) = ranked.min()?;
        let client = list.swap_remove(index);
        client.cut.set(true);
        client.bell.ring();
        Some(())
    }
}

impl ClientSlot {
    /// It has said hello, or its answer has left.
    pub(crate) fn is_silent(&self, now: Now) {
        self.client.phase.set(ClientPhase::Silent { since: now });
    }

    /// It has asked: nobody gets its place until the answer has left.
    pub(crate) fn is_answered(&self) {
        self.client.phase.set(ClientPhase::Answered);
    }

    /// Ends when somebody else gets this place.
    pub(crate) fn cut(&self) -> impl Future<Output = ()> + use<> {
        let client = self.client.clone();
        async move { client.bell.until(|| client.cut.get().then_some(())).await }
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        self.clients.list.borrow_mut().retain(|client| !Rc::ptr_eq(client, &self.client));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: Option<Role> = Some(Role::Admin);
    const VIEWER: Option<Role> = Some(Role::Viewer);

    fn at(secs: u64) -> Now {
        Now { nanos: secs * 1_000_000_000 }
    }

    /// As many as may come, all of whom have said hello at second 0.
    fn full(clients: &Rc<Clients>, role: Option<Role>) -> Vec<ClientSlot> {
        let places: Vec<ClientSlot> = (0..CLIENTS_MAX - 1)
            .map(|_| {
                let place = clients.admit(role, at(0)).unwrap();
                place.is_silent(at(0));
                place
            })
            .collect();
        assert!(clients.admit(role, at(1)).is_none() || role == ADMIN);
        places
    }

    fn cut(places: &[ClientSlot]) -> Vec<usize> {
        let cut = |place: &ClientSlot| place.client.cut.get();
        places.iter().enumerate().filter(|(_, place)| cut(place)).map(|(index, _)| index).collect()
    }

    #[test]
    fn the_last_place_is_an_admins() {
        let clients = Rc::new(Clients::default());
        let places = full(&clients, VIEWER);
        let admin = clients.admit(ADMIN, at(1)).unwrap();
        admin.is_silent(at(1));
        assert_eq!(cut(&places), [0; 0], "nobody had to go");
        assert!(clients.admit(VIEWER, at(1)).is_none());
        let second = clients.admit(ADMIN, at(1)).unwrap();
        assert_eq!(cut(&places).len(), 1, "a lesser one that asks nothing has no time to wait");
        drop((places, second));
        assert_eq!(clients.list.borrow().len(), 1);
        drop(admin);
        assert!(clients.list.borrow().is_empty());
    }

    #[test]
    fn one_who_says_nothing_makes_room_before_one_who_did() {
        let clients = Rc::new(Clients::default());
        let places = full(&clients, VIEWER);
        places[9].client.phase.set(ClientPhase::Come { since: at(1) });
        let place = clients.admit(VIEWER, at(2)).unwrap();
        assert_eq!(cut(&places), [9]);
        // The one that has come is now the one that has said nothing.
        let next = clients.admit(VIEWER, at(3)).unwrap();
        assert!(place.client.cut.get() && !next.client.cut.get());
        next.is_silent(at(3));
        assert!(clients.admit(VIEWER, at(4)).is_none());
    }

    #[test]
    fn silence_costs_the_place_after_a_while_and_an_answer_never() {
        let clients = Rc::new(Clients::default());
        let places = full(&clients, VIEWER);
        for place in &places {
            place.is_answered();
        }
        assert!(clients.admit(VIEWER, at(99)).is_none());
        places[3].is_silent(at(90));
        places[4].is_silent(at(91));
        assert!(clients.admit(VIEWER, at(94)).is_none());
        assert!(clients.admit(None, at(99)).is_none(), "a role is not moved by a lesser one");
        assert!(clients.admit(VIEWER, at(95)).is_some());
        assert_eq!(cut(&places), [3]);
    }

    #[test]
    fn a_lesser_role_makes_room_first() {
        let clients = Rc::new(Clients::default());
        let mut places = full(&clients, VIEWER);
        places.push(clients.admit(ADMIN, at(0)).unwrap());
        places[5].client.phase.set(ClientPhase::Come { since: at(8) });
        let last = places.len() - 1;
        let _first = clients.admit(ADMIN, at(9)).unwrap();
        assert_eq!(cut(&places), [5]);
        _first.is_silent(at(9));
        let _second = clients.admit(ADMIN, at(9)).unwrap();
        assert_eq!(cut(&places), [5, last], "the admin that had not said hello");
    }
}
