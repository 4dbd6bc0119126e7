//! How the value of a setting is written, and between which bounds it lies.

use core::fmt;
use core::net::SocketAddr;

use super::Value;
use crate::bind_address::Interface;
use crate::complaint::Complaint;
use crate::network::NETWORKS_MAX;
use crate::spec::{
    CHECK_STEPS_MAX, CHECK_TEXT_MAX, CheckStep, Name, NoBackend, Percent, RATE_MAX, Rate,
    SOURCES_MAX, Size, SourceSpec, Span,
};

/// The longest duration that a setting has.
pub(super) const WEEK_MS: u64 = 7 * 86_400_000;

/// The form of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A duration of `min_ms` to `max_ms` milliseconds; `step_ms` divides it. `range` says so.
    Span {
        min_ms: u64,
        max_ms: u64,
        step_ms: u64,
        range: &'static str,
    },
    Count {
        min: u32,
        max: u32,
    },
    /// A number of bytes.
    Size {
        min: u32,
        max: u32,
    },
    /// 0 % to 100 %.
    Share,
    /// True or false.
    Flag,
    /// One of these words; `noun` names what they are.
    Word {
        noun: &'static str,
        words: &'static [&'static str],
    },
    /// A text; `example` is one in the quotes of weir.toml.
    Text {
        example: &'static str,
    },
    /// The name of such an object.
    Name {
        of: &'static str,
    },
    /// The name of a network interface.
    Interface,
    /// One address with a port, or several where `many`.
    Address {
        many: bool,
    },
    /// Networks, or addresses alone.
    Networks,
    /// Addresses without a port that connections come from.
    Source,
    /// Where a backend is.
    Target,
    /// Steps of a check.
    Steps,
    /// Routes of a listener, in their order.
    Routes,
    /// The fate of a client for which no backend takes sessions.
    NoBackend,
    /// So often each second.
    Rate,
}

impl Form {
    /// The value that `text` stands for on a command line.
    ///
    /// # Errors
    /// It is not of this form; says what it is not.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        match self {
            Form::Span { .. } => text.parse().map(Value::Span),
            Form::Count { .. } => {
                text.parse().map(Value::Count).map_err(|_| format!("{text:?} is not a count"))
            }
            Form::Size { .. } => text.parse().map(Value::Size),
            Form::Share => text.parse::<Percent>().map(Value::Share),
            Form::Flag => text
                .parse()
                .map(Value::Flag)
                .map_err(|_| format!("{text:?} is neither true nor false")),
            Form::Word { noun, words } if !words.contains(&text) => {
                Err(format!("{text:?} is not {noun}: use one of {}", words.join(", ")))
            }
            Form::Name { .. } => text.parse::<Name>().map(|_| Value::Text(text.to_owned())),
            Form::Interface => text.parse::<Interface>().map(|_| Value::Text(text.to_owned())),
            Form::Word { .. } | Form::Text { .. } => Ok(Value::Text(text.to_owned())),
            Form::Address { .. } => {
                let addresses: Result<Vec<_>, _> = text.split(',').map(str::parse).collect();
                addresses
                    .map(Value::Addresses)
                    .map_err(|_| format!("{text:?} is not an address: write IP:PORT"))
            }
            Form::Networks => {
                text.split(',').map(str::parse).collect::<Result<_, _>>().map(Value::Networks)
            }
            Form::Target => text.parse().map(Value::Target),
            Form::Source => text.parse().map(Value::Source),
            Form::Steps => CheckStep::list(text).map(Value::Steps),
            Form::Routes => {
                let routes = text.split(';').filter(|route| !route.trim().is_empty());
                routes.map(str::parse).collect::<Result<_, _>>().map(Value::Routes)
            }
            Form::NoBackend => text.parse().map(Value::NoBackend),
            Form::Rate => text.parse().map(Value::Rate),
        }
    }

    /// Returns what is wrong with a value of this form and what would be right, if anything.
    #[must_use]
    pub fn fault(&self, value: &Value) -> Option<Complaint> {
        match (self, value) {
            (Form::Span { min_ms, max_ms, step_ms, range }, Value::Span(span)) => {
                let fits = (*min_ms..=*max_ms).contains(&span.millis) && span.millis % step_ms == 0;
                (!fits).then(|| Complaint::new(format!("{span} is out of range"), *range))
            }
            (Form::Count { min, max }, Value::Count(count)) => {
                let fits = (*min..=*max).contains(count);
                let range = format!("{min} to {max}");
                (!fits).then(|| Complaint::new(format!("{count} is out of range"), range))
            }
            (Form::Size { min, max }, Value::Size(size)) => {
                let fits = (*min..=*max).contains(&size.bytes());
                let range = sizes(*min, *max);
                (!fits).then(|| Complaint::new(format!("{size} is out of range"), range))
            }
            (Form::NoBackend, Value::NoBackend(NoBackend::Hold(span))) => {
                let fits = (1..=WEEK_MS).contains(&span.millis);
                let what = || format!("a wait of {span} is out of range");
                (!fits).then(|| Complaint::new(what(), "1ms to 7 days"))
            }
            (Form::Address { many: false }, Value::Addresses(several)) => {
                let what = || format!("{} addresses", several.len());
                (several.len() != 1).then(|| Complaint::new(what(), "give one address"))
            }
            (Form::Routes, Value::Routes(routes)) if routes.is_empty() => {
                Some(Complaint::new("an empty list", "leave the key out for no routes"))
            }
            (Form::Source, Value::Source(source)) => source.fault(),
            (Form::Networks, Value::Networks(networks)) => match networks.len() {
                0 => Some(Complaint::new("an empty list", "leave the key out for no list")),
                1..=NETWORKS_MAX => None,
                count => Some(Complaint::new(
                    format!("{count} networks; at most {NETWORKS_MAX} are possible"),
                    "join neighbours, as 10.0.0.0/25 and 10.0.0.128/25 to 10.0.0.0/24",
                )),
            },
            _ => None,
        }
    }

    /// How the value is written in weir.toml, for the hint of an error.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Form::Span { .. } => "a duration in quotes, like \"500ms\" or \"2s\"".to_owned(),
            Form::Count { min, max } => format!("a number from {min} to {max}"),
            Form::Size { .. } => "a size in quotes, like \"256KiB\" or \"4MiB\"".to_owned(),
            Form::Share => "a share in quotes, \"0%\" (never) to \"100%\"".to_owned(),
            Form::Flag => "true or false, without quotes".to_owned(),
            Form::Word { words, .. } => format!("use one of {}", words.join(", ")),
            Form::Text { example } => format!("a text in quotes, like {example}"),
            Form::Name { of } => format!("the name of {of}"),
            Form::Interface => "the name of an interface, like \"eth0\"".to_owned(),
            Form::Address { .. } => {
                "an IP address with a port, like \"10.0.0.11:443\" or \"[::1]:443\"".to_owned()
            }
            Form::Target => {
                "an IP address with a port, like \"10.0.0.11:443\" or \"[::1]:443\", or \
                             a Unix socket, like \"unix:/run/app.sock\""
                    .to_owned()
            }
            Form::Routes => {
                "tables, like [[listener.web.route]] with sni = \"db.example.com\", pool = \"db\""
                    .to_owned()
            }
            Form::NoBackend => {
                "\"reset\", \"close\", or a wait in quotes, like \"hold 5s\"".to_owned()
            }
            Form::Rate => "a rate in quotes, like \"2000/s\"".to_owned(),
            Form::Source => "an IP address of this host without a port, like \"10.0.0.5\", or a \
                             list of them"
                .to_owned(),
            Form::Networks => "a network, like \"10.0.0.0/8\" or \"2001:db8::/32\"".to_owned(),
            Form::Steps => {
                "steps in order, like [\"send PING\\\\r\\\\n\", \"expect +PONG\"]".to_owned()
            }
        }
    }

    /// The type, for the reference.
    #[must_use]
    pub const fn noun(&self) -> &'static str {
        match self {
            Form::Span { .. } => "duration",
            Form::Count { .. } => "number",
            Form::Size { .. } => "size",
            Form::Share => "share",
            Form::Flag => "boolean",
            Form::Word { .. } => "word",
            Form::Text { .. } => "text",
            Form::Name { .. } | Form::Interface => "name",
            Form::Address { many: false } => "address",
            Form::Address { many: true } => "address, or a list of them",
            Form::Target => "address",
            Form::Source => "IP address, or a list of them",
            Form::Networks => "network, or a list of them",
            Form::Steps => "list of steps",
            Form::Routes => "list of tables",
            Form::NoBackend => "word, or word and duration",
            Form::Rate => "rate",
        }
    }

    /// The range, for the reference.
    #[must_use]
    pub fn range(&self) -> String {
        match self {
            Form::Span { range, .. } => (*range).to_owned(),
            Form::Count { min, max } => format!("{min} to {max}"),
            Form::Size { min, max } => sizes(*min, *max),
            Form::Share => "0% to 100%".to_owned(),
            Form::Flag => "true, false".to_owned(),
            Form::Word { words, .. } => words.join(", "),
            Form::Text { .. } => "any text".to_owned(),
            Form::Name { of } => format!("the name of {of}"),
            Form::Interface => "the name of an interface".to_owned(),
            Form::Address { .. } => "IP:PORT, or [IPv6]:PORT".to_owned(),
            Form::Target => "IP:PORT, [IPv6]:PORT, or unix:/PATH".to_owned(),
            Form::Source => format!("IP; {SOURCES_MAX} at most"),
            Form::Networks => "IP, or IP/PREFIX".to_owned(),
            Form::Steps => {
                let texts =
                    format!("\"send TEXT\" or \"expect TEXT\" of up to {CHECK_TEXT_MAX} bytes");
                format!("1 to {CHECK_STEPS_MAX}, {texts}")
            }
            Form::Routes => "sni, alpn, from, pool".to_owned(),
            Form::NoBackend => "reset, or hold and 1ms to 7 days".to_owned(),
            Form::Rate => format!("1/s to {RATE_MAX}/s"),
        }
    }

    /// A value of this form that is in range.
    #[must_use]
    pub fn example(&self) -> Value {
        match self {
            Form::Span { min_ms, step_ms, .. } => {
                Value::Span(Span::from_millis((*min_ms).max(*step_ms) + step_ms))
            }
            Form::Count { max, .. } => Value::Count(*max),
            Form::Size { max, .. } => Value::Size(Size::from_bytes(*max)),
            Form::Share => Value::Share(Percent::new(30)),
            Form::Flag => Value::Flag(true),
            Form::Word { words, .. } => Value::Text(words[words.len() - 1].to_owned()),
            Form::Text { .. } | Form::Name { .. } => Value::Text("text".to_owned()),
            Form::Interface => Value::Text("lo".to_owned()),
            Form::Address { .. } => Value::Addresses(vec![([127, 0, 0, 1], 7).into()]),
            Form::Target => Value::Target(SocketAddr::from(([127, 0, 0, 1], 7)).into()),
            Form::Networks => {
                let networks = ["10.0.0.0/8", "2001:db8::/32"].map(str::parse);
                Value::Networks(networks.into_iter().flatten().collect())
            }
            Form::Source => {
                let addresses = ["10.0.0.5", "2001:db8::5"].map(str::parse);
                Value::Source(SourceSpec::Addresses(addresses.into_iter().flatten().collect()))
            }
            Form::Steps => {
                let steps = ["send PING\\r\\n", "expect +PONG"].map(str::parse);
                Value::Steps(steps.into_iter().flatten().collect())
            }
            Form::Routes => {
                let route = "sni=db.example.com,*.db.example.com pool=db".parse();
                Value::Routes(route.into_iter().collect())
            }
            Form::NoBackend => Value::NoBackend(NoBackend::Hold(Span::from_secs(5))),
            Form::Rate => Value::Rate(Rate::per_second(2000)),
        }
    }
}

fn sizes(min: u32, max: u32) -> String {
    format!("{} to {}", Size::from_bytes(min), Size::from_bytes(max))
}

fn joined(items: &[impl ToString], separator: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Span(span) => span.fmt(f),
            Value::Count(count) => count.fmt(f),
            Value::Size(size) => size.fmt(f),
            Value::Share(share) => share.fmt(f),
            Value::Flag(flag) => flag.fmt(f),
            Value::Text(text) => f.write_str(text),
            Value::Addresses(addresses) => f.write_str(&joined(addresses, ",")),
            Value::Target(address) => address.fmt(f),
            Value::Networks(networks) => f.write_str(&joined(networks, ",")),
            Value::Source(source) => source.fmt(f),
            Value::Steps(steps) => f.write_str(&joined(steps, "; ")),
            Value::Routes(routes) => f.write_str(&joined(routes, "; ")),
            Value::NoBackend(no_backend) => no_backend.fmt(f),
            Value::Rate(rate) => rate.fmt(f),
        }
    }
}
