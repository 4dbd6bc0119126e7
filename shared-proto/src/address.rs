//! Where a backend is: an address of IP with its port, or the path of a Unix socket.

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest path of a Unix socket, in bytes (unix(7): `sun_path` has 108, one of them the NUL at
/// its end).
pub const UNIX_PATH_MAX: usize = 107;

/// Stands before a path, in files and in answers.
const UNIX: &str = "unix:";

/// Where a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    Ip(SocketAddr),
    /// As in `unix:/run/app.sock`.
    Unix(UnixPath),
}

/// The absolute path of a Unix socket, of at most [`UNIX_PATH_MAX`] bytes and without a NUL.
///
/// It is copied like an address of IP: shards copy addresses with each connect, and share nothing
/// that counts its users. So each path that was ever written is kept as long as the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixPath(&'static str);

/// Every path that was written. Only those who read addresses look here, never a shard.
static PATHS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

impl UnixPath {
    fn kept(path: &str) -> UnixPath {
        let mut paths = PATHS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = paths.get(path) {
            return UnixPath(known);
        }
        let new = String::from(path).leak();
        paths.insert(new);
        UnixPath(new)
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl Address {
    /// The address and port, if it is one of IP.
    #[must_use]
    pub fn ip(self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(address),
            Address::Unix(_) => None,
        }
    }

    #[must_use]
    pub fn port(self) -> Option<u16> {
        self.ip().map(|address| address.port())
    }

    /// Another port. A Unix socket has none, and stays what it is.
    pub fn set_port(&mut self, port: u16) {
        if let Address::Ip(address) = self {
            address.set_port(port);
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "{UNIX}{}", path.0),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// # Errors
    /// A sentence that says what is wrong with the text.
    fn from_str(text: &str) -> Result<Address, String> {
        let Some(path) = text.strip_prefix(UNIX) else {
            if text.contains(',') {
                return Err(format!("{text:?} is a list: give one address"));
            }
            let address = text.parse().map(Address::Ip);
            return address.map_err(|_| {
                format!("{text:?} is not an address: write IP:PORT, [IPv6]:PORT or unix:/PATH")
            });
        };
        if !path.starts_with('/') {
            return Err(format!("the path of {text:?} does not begin with /"));
        }
        if path.contains('\0') {
            return Err(format!("the path of {text:?} has a NUL in it"));
        }
        if path.len() > UNIX_PATH_MAX {
            let length = path.len();
            return Err(format!(
                "the path of a Unix socket has at most {UNIX_PATH_MAX} bytes (unix(7)), \
                 and {path} has {length}"
            ));
        }
        Ok(Address::Unix(UnixPath::kept(path)))
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_is_written() {
        for text in ["10.0.0.1:80", "[::1]:80", "unix:/run/app.sock", "unix:/run/ä b"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            let json = serde_json::to_string(&address).unwrap();
            assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), address);
        }
    }

    #[test]
    fn it_is_no_larger_than_one_of_ip_and_a_path_is_kept_once() {
        assert_eq!(size_of::<Address>(), size_of::<SocketAddr>());
        let [one, other] = ["unix:/run/kept.sock"; 2].map(|it| it.parse::<Address>().unwrap());
        let (Address::Unix(one), Address::Unix(other)) = (one, other) else { panic!("of Unix") };
        assert_eq!(one.as_str().as_ptr(), other.as_str().as_ptr());
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        let longest = format!("unix:/{}", "x".repeat(UNIX_PATH_MAX - 1));
        assert!(longest.parse::<Address>().is_ok());
        for (text, said) in [
            ("10.0.0.1", "is not an address: write IP:PORT"),
            ("10.0.0.1:1,10.0.0.2:1", "one address"),
            ("/run/app.sock", "unix:/PATH"),
            ("unix:run/app.sock", "does not begin with /"),
            ("unix:@app", "does not begin with /"),
            ("unix:/a\0b", "NUL"),
            (&format!("{longest}x"), "at most 107 bytes"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
