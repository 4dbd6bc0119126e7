//! A list of networks, which may be long: a clone shares it.

use core::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Network;

/// The most networks in one list.
pub const NETWORKS_MAX: usize = 200_000;

/// Networks in the order in which they were written. A clone takes no time, and neither does
/// comparing one with its clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkList(Arc<[Network]>);

impl Deref for NetworkList {
    type Target = [Network];

    fn deref(&self) -> &[Network] {
        &self.0
    }
}

impl FromIterator<Network> for NetworkList {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> NetworkList {
        NetworkList(networks.into_iter().collect())
    }
}

impl From<Vec<Network>> for NetworkList {
    fn from(networks: Vec<Network>) -> NetworkList {
        NetworkList(networks.into())
    }
}

impl Serialize for NetworkList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NetworkList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NetworkList, D::Error> {
        Vec::deserialize(deserializer).map(NetworkList::from)
    }
}
