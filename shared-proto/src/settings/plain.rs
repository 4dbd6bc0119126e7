//! Objects with everything at its default.

use crate::spec::{BackendSpec, ListenerSpec, PoolSpec};

/// An object in which each setting has its default; those that have none stand for nothing.
pub trait Plain: Sized {
    fn plain() -> Self;
}

impl Plain for ListenerSpec {
    fn plain() -> ListenerSpec {
        ListenerSpec::new("web".parse().expect("it is a name"), Vec::new())
    }
}

impl Plain for PoolSpec {
    fn plain() -> PoolSpec {
        PoolSpec::default()
    }
}

impl Plain for BackendSpec {
    fn plain() -> BackendSpec {
        BackendSpec::new(core::net::SocketAddr::from(([0, 0, 0, 0], 0)).into())
    }
}
