//! State machines, declared once: the states, which may follow which, and why.
//!
//! [`machine!`](crate::machine) stands beside an enum and lists its transitions; [`enter`] is how
//! such a state is changed. Builds with debug assertions, and the simulator is always one of them,
//! refuse a change that is not in the list and remember the ones that were made. docs/lifecycle.md
//! shows the lists as diagrams, and a test of the simulator (control/sim/tests/transitions.rs)
//! holds that each transition occurs. Release builds compare nothing.

use core::sync::atomic::{AtomicBool, Ordering};

/// The list of a machine.
#[derive(Debug)]
pub struct Machine {
    /// Its name in docs/lifecycle.md.
    pub name: &'static str,
    pub states: &'static [&'static str],
    /// Each pair of states at most once.
    pub transitions: &'static [Transition],
}

/// A permitted change of state.
#[derive(Debug)]
pub struct Transition {
    /// The index of a state, or [`START`].
    pub from: u8,
    /// The index of a state, or [`END`].
    pub to: u8,
    /// Why, as the diagrams say it.
    pub cause: &'static str,
    /// It was made in this process.
    taken: AtomicBool,
}

/// Before the first state.
pub const START: u8 = u8::MAX - 1;
/// After the last state.
pub const END: u8 = u8::MAX;

/// An enum whose variants are the states of a machine, whatever data they carry.
pub trait State {
    /// The list.
    fn machine() -> &'static Machine;

    /// The place of this state in [`Machine::states`].
    fn index(&self) -> u8;
}

/// Changes a state.
///
/// # Panics
/// With debug assertions, if the change is not declared. A state may follow itself.
#[inline]
#[track_caller]
pub fn enter<S: State>(state: &mut S, next: S) {
    if cfg!(debug_assertions) {
        S::machine().note(state.index(), next.index());
    }
    *state = next;
}

/// Records a change that was made in another way than by [`enter`], from the state with the index
/// `from`.
///
/// # Panics
/// As [`enter`].
#[inline]
#[track_caller]
pub fn entered<S: State>(from: u8, state: &S) {
    if cfg!(debug_assertions) {
        S::machine().note(from, state.index());
    }
}

/// Records that a machine is over.
///
/// # Panics
/// With debug assertions, if this state is not declared as one that may be the last.
#[inline]
#[track_caller]
pub fn leave<S: State>(state: &S) {
    if cfg!(debug_assertions) {
        S::machine().note(state.index(), END);
    }
}

impl Machine {
    /// Transitions that were not made in this process, but for those from [`START`].
    pub fn not_taken(&self) -> impl Iterator<Item = &'static Transition> {
        let is_taken = |it: &Transition| it.from == START || it.taken.load(Ordering::Relaxed);
        self.transitions.iter().filter(move |it| !is_taken(it))
    }

    #[track_caller]
    fn note(&self, from: u8, to: u8) {
        let Some(found) = self.transitions.iter().find(|it| (it.from, it.to) == (from, to)) else {
            let name = |index: u8| self.states.get(usize::from(index)).unwrap_or(&"the end");
            assert!(from == to, "{}: {} may not become {}", self.name, name(from), name(to));
            return;
        };
        // Shards share it: it is written once.
        if !found.taken.load(Ordering::Relaxed) {
            found.taken.store(true, Ordering::Relaxed);
        }
    }
}

impl Transition {
    /// One that was not made. [`machine!`](crate::machine) makes it.
    #[must_use]
    pub const fn new(from: u8, to: u8, cause: &'static str) -> Transition {
        Transition { from, to, cause, taken: AtomicBool::new(false) }
    }
}

/// The place of a state in a list.
///
/// # Panics
/// It is not there: the compiler says so.
#[must_use]
pub const fn position(states: &[&str], name: &str) -> u8 {
    if is_same(name, "start") {
        return START;
    }
    if is_same(name, "end") {
        return END;
    }
    let mut index = 0;
    while index < states.len() {
        if is_same(states[index], name) {
            assert!(index < START as usize, "states are few");
            #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
            return index as u8;
        }
        index += 1;
    }
    panic!("a transition names a state that is not in the list");
}

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Declares the machine of an enum: its name, the states, the transitions. `start` and `end` are
/// the outside.
///
/// ```
/// enum Door { Open, Shut { locked: bool } }
/// weir_core::machine! {
///     /// A door.
///     pub static DOOR: Door = "door";
///     states: Open, Shut;
///     start => Open: "it is built";
///     Open => Shut: "the wind";
///     Shut => Open: "somebody wants in";
/// }
/// # use weir_core::base::machine::enter;
/// let mut door = Door::Open;
/// enter(&mut door, Door::Shut { locked: true });
/// ```
#[macro_export]
macro_rules! machine {
    (
        $(#[$doc:meta])*
        $vis:vis static $table:ident: $state:ident = $name:literal;
        states: $($of:ident),+;
        $($from:ident => $to:ident: $cause:literal;)+
    ) => {
        $(#[$doc])*
        $vis static $table: $crate::base::machine::Machine = {
            use $crate::base::machine::{Machine, Transition, position};
            const STATES: &[&str] = &[$(stringify!($of)),+];
            static TRANSITIONS: [Transition; [$($cause),+].len()] = [$(Transition::new(
                position(STATES, stringify!($from)),
                position(STATES, stringify!($to)),
                $cause,
            )),+];
            Machine { name: $name, states: STATES, transitions: &TRANSITIONS }
        };

        impl $crate::base::machine::State for $state {
            fn machine() -> &'static $crate::base::machine::Machine {
                &$table
            }

            #[inline]
            fn index(&self) -> u8 {
                const STATES: &[&str] = &[$(stringify!($of)),+];
                match self {
                    $($state::$of { .. } => {
                        const { $crate::base::machine::position(STATES, stringify!($of)) }
                    })+
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Lamp {
        Off,
        On { watts: u8 },
        Broken,
    }

    machine! {
        static LAMP: Lamp = "lamp";
        states: Off, On, Broken;
        start => Off: "it is bought";
        Off => On: "the switch";
        On => Off: "the switch";
        On => Broken: "it is old";
        Broken => end: "it is thrown away";
    }

    #[test]
    fn changes_are_remembered() {
        let mut lamp = Lamp::Off;
        enter(&mut lamp, Lamp::On { watts: 5 });
        enter(&mut lamp, Lamp::On { watts: 6 });
        let from = lamp.index();
        lamp = Lamp::Broken;
        entered(from, &lamp);
        let left = || LAMP.not_taken().map(|it| (it.from, it.to));
        assert!(left().eq([(1, 0), (2, END)]));
        leave(&lamp);
        assert!(left().eq([(1, 0)]));
        assert_eq!(LAMP.transitions[0].from, START);
    }

    #[test]
    #[should_panic(expected = "lamp: Broken may not become On")]
    fn a_change_that_is_not_declared_is_refused() {
        enter(&mut Lamp::Broken, Lamp::On { watts: 1 });
    }

    #[test]
    #[should_panic(expected = "lamp: Off may not become the end")]
    fn not_every_state_may_be_the_last() {
        leave(&Lamp::Off);
    }
}
