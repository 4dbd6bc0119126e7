//! A route of a listener: the sessions that go to another pool than the listener's.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Name, one_or_many};
use crate::network::{Network, NetworkList};

/// A session takes the first route of which everything fits that it asks for: one of the names, one
/// of the protocols, one of the networks. What is empty is not asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Server names of a ClientHello; `*.example.com` is every name below `example.com`, and `*`
    /// any name.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "texts")]
    pub sni: Vec<String>,
    /// Application protocols of a ClientHello.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "texts")]
    pub alpn: Vec<String>,
    /// Networks of clients.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty", deserialize_with = "networks")]
    pub from: NetworkList,
    pub pool: Name,
}

fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    one_or_many::list(deserializer, "a text in quotes, or a list of them")
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NetworkList, D::Error> {
    let networks = texts(deserializer)?.into_iter().map(|text| text.parse());
    networks.collect::<Result<_, _>>().map_err(de::Error::custom)
}

impl RouteSpec {
    /// True if it asks for something that only a ClientHello tells.
    #[must_use]
    pub fn reads_hello(&self) -> bool {
        !self.sni.is_empty() || !self.alpn.is_empty()
    }
}

/// As it is typed: `sni=db.example.com,*.db.example.com alpn=postgresql from=10.1.0.0/16 pool=db`.
impl fmt::Display for RouteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, list) in [("sni", &self.sni), ("alpn", &self.alpn)] {
            if !list.is_empty() {
                write!(f, "{key}={} ", list.join(","))?;
            }
        }
        if !self.from.is_empty() {
            let from: Vec<String> = self.from.iter().map(ToString::to_string).collect();
            write!(f, "from={} ", from.join(","))?;
        }
        write!(f, "pool={}", self.pool)
    }
}

impl FromStr for RouteSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<RouteSpec, String> {
        let (mut sni, mut alpn, mut from, mut pool) = (Vec::new(), Vec::new(), Vec::new(), None);
        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let list = || value.split(',').filter(|it| !it.is_empty()).map(str::to_owned);
            match key {
                "sni" => sni.extend(list()),
                "alpn" => alpn.extend(list()),
                "from" => {
                    for network in list() {
                        from.push(network.parse::<Network>()?);
                    }
                }
                "pool" if pool.is_some() => {
                    return Err(format!("the route {text:?} has two pools: {HINT}"));
                }
                "pool" => pool = Some(value.parse::<Name>()?),
                _ => return Err(format!("{word:?} is not part of a route: {HINT}")),
            }
        }
        let pool = pool.ok_or_else(|| format!("the route {text:?} has no pool: {HINT}"))?;
        Ok(RouteSpec { sni, alpn, from: from.into(), pool })
    }
}

const HINT: &str = "write sni=NAME,… alpn=PROTOCOL,… from=NETWORK,… pool=POOL";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_reads_back_as_it_is_typed() {
        for text in [
            "sni=db.example.com,*.db.example.com alpn=postgresql from=10.1.0.0/16 pool=db",
            "from=10.1.0.0/16,2001:db8::/32 pool=inside",
            "pool=all",
        ] {
            assert_eq!(text.parse::<RouteSpec>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "sni=a",
            "sni=a pool=-x",
            "from=10.0.0.0/33 pool=a",
            "sni a pool=b",
            "pool=a pool=b",
        ] {
            assert!(text.parse::<RouteSpec>().is_err(), "{text}");
        }
    }
}
