//! Settings as answers show them: under their names in JSON, in base units.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::{Form, Setting, Value};
use crate::network::NetworkList;
use crate::spec::{RouteSpec, SourceSpec};

/// Settings in the order in which they are shown. On the socket they are a list; in JSON an object,
/// with those below a table in an object of their own.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ShownSettings(pub Vec<ShownSetting>);

/// One setting, or another fact about a listener, a pool or a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShownSetting {
    /// As in [`Setting::json`]: `health.interval_s`.
    pub name: Cow<'static, str>,
    /// `None`: not set.
    pub value: Option<ShownValue>,
}

/// The value of a setting in base units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ShownValue {
    Seconds(f64),
    Bytes(u64),
    /// A count, or a share in hundredths.
    Number(u64),
    Text(String),
    List(Vec<String>),
    Flag(bool),
    Networks(NetworkList),
    Routes(Vec<ShownRoute>),
}

/// A route of a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShownRoute {
    pub sni: Vec<String>,
    pub alpn: Vec<String>,
    pub from: NetworkList,
    pub pool: String,
}

impl From<&RouteSpec> for ShownRoute {
    fn from(route: &RouteSpec) -> ShownRoute {
        let RouteSpec { sni, alpn, from, pool } = route.clone();
        ShownRoute { sni, alpn, from, pool: pool.to_string() }
    }
}

impl ShownSettings {
    /// Every setting of `of` with the value that counts, in the order of its table.
    #[must_use]
    pub fn of<S>(table: &[Setting<S>], of: &S) -> ShownSettings {
        let shown = table.iter().map(|setting| ShownSetting {
            name: setting.json.into(),
            value: setting.effective(of).map(|value| ShownValue::of(value, setting.form)),
        });
        ShownSettings(shown.collect())
    }

    /// The value under this name, if it is there and set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ShownValue> {
        self.0.iter().find(|setting| setting.name == name)?.value.as_ref()
    }

    /// How many networks are in its lists, which may be long.
    #[must_use]
    pub fn networks(&self) -> usize {
        let lists = self.0.iter().map(|setting| match &setting.value {
            Some(ShownValue::Networks(list)) => list.len(),
            _ => 0,
        });
        lists.sum()
    }

    /// Sets the value under this name, which is added if it is not there.
    pub fn put(&mut self, name: &str, value: ShownValue) {
        match self.0.iter_mut().find(|setting| setting.name == name) {
            Some(setting) => setting.value = Some(value),
            None => self.0.push(ShownSetting { name: name.to_owned().into(), value: Some(value) }),
        }
    }

    /// Runs of settings that stand below the same table, with its name; `None`: below none.
    pub fn tables(&self) -> impl Iterator<Item = (Option<&str>, &[ShownSetting])> {
        let runs = self.0.chunk_by(|a, b| a.table().is_some() && a.table() == b.table());
        runs.map(|run| (run[0].table(), run))
    }
}

impl ShownSetting {
    /// The table below which it stands.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        self.name.split_once('.').map(|(table, _)| table)
    }

    /// The name below its table.
    #[must_use]
    pub fn key(&self) -> &str {
        self.name.split_once('.').map_or(&self.name, |(_, key)| key)
    }
}

impl ShownValue {
    fn of(value: Value, form: Form) -> ShownValue {
        match value {
            // Spans are checked to be at most a week, which a float holds exactly in milliseconds.
            Value::Span(span) => ShownValue::Seconds(
                u32::try_from(span.millis).map_or(f64::INFINITY, f64::from) / 1000.0,
            ),
            Value::Count(count) => ShownValue::Number(count.into()),
            Value::Rate(rate) => ShownValue::Number(rate.events().into()),
            Value::Share(share) => ShownValue::Number(share.hundredths().into()),
            Value::Size(size) => ShownValue::Bytes(size.bytes().into()),
            Value::Flag(flag) => ShownValue::Flag(flag),
            Value::Text(text) => ShownValue::Text(text),
            Value::Addresses(addresses) if form == (Form::Address { many: true }) => {
                ShownValue::List(addresses.iter().map(ToString::to_string).collect())
            }
            Value::Addresses(_) | Value::Target(_) | Value::NoBackend(_) => {
                ShownValue::Text(value.to_string())
            }
            Value::Source(SourceSpec::Addresses(all)) => {
                ShownValue::List(all.iter().map(ToString::to_string).collect())
            }
            Value::Networks(networks) => ShownValue::Networks(networks),
            Value::Steps(steps) => {
                ShownValue::List(steps.iter().map(ToString::to_string).collect())
            }
            Value::Routes(routes) => {
                ShownValue::Routes(routes.iter().map(ShownRoute::from).collect())
            }
        }
    }
}

impl Serialize for ShownSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        for (table, run) in self.tables() {
            match table {
                Some(table) => map.serialize_entry(table, &BelowTable(run))?,
                None => map.serialize_entry(run[0].key(), &ValueInJson(&run[0]))?,
            }
        }
        map.end()
    }
}

struct BelowTable<'a>(&'a [ShownSetting]);

impl Serialize for BelowTable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|setting| (setting.key(), ValueInJson(setting))))
    }
}

struct ValueInJson<'a>(&'a ShownSetting);

impl Serialize for ValueInJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.value {
            None => serializer.serialize_none(),
            Some(ShownValue::Seconds(seconds)) => seconds.serialize(serializer),
            Some(ShownValue::Bytes(number) | ShownValue::Number(number)) => {
                number.serialize(serializer)
            }
            Some(ShownValue::Text(text)) => text.serialize(serializer),
            Some(ShownValue::List(list)) => list.serialize(serializer),
            Some(ShownValue::Networks(list)) => list.serialize(serializer),
            Some(ShownValue::Routes(list)) => list.serialize(serializer),
            Some(ShownValue::Flag(flag)) => flag.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{BACKEND, LISTENER, POOL};
    use crate::spec::{BackendSpec, ListenerSpec, PoolSpec};

    #[test]
    fn settings_are_an_object_in_json_and_a_list_in_a_frame() {
        let backend =
            BackendSpec { weight: 2, ..BackendSpec::new("127.0.0.1:80".parse().unwrap()) };
        let mut shown = ShownSettings::of(BACKEND, &backend);
        shown.put("state", ShownValue::Text("up".to_owned()));
        let json = serde_json::to_string(&shown).unwrap();
        assert_eq!(
            json,
            r#"{"address":"127.0.0.1:80","weight":2,"priority":0,"state":"up","force":null,"#
                .to_owned()
                + r#""max_sessions":null,"connecting_max":null,"connect_rate_per_s":null}"#
        );
        let listener = ListenerSpec::new("web".parse().unwrap(), vec![([127, 0, 0, 1], 81).into()]);
        let json = serde_json::to_string(&ShownSettings::of(LISTENER, &listener)).unwrap();
        let start = r#"{"bind":["127.0.0.1:81"],"pool":"web","freebind":false,"v6only":true,"#;
        let table = r#""keepalive":{"idle_s":60.0,"interval_s":10.0,"count":6},"#;
        let end = [
            r#""proxy_protocol":{"from":null,"timeout_s":3.0},"#,
            r#""inspect_timeout_s":3.0,"route":null}"#,
        ]
        .concat();
        assert!(json.starts_with(start) && json.ends_with(&end), "{json}");
        assert!(json.contains(table), "{json}");
        let shown = ShownSettings::of(POOL, &PoolSpec::default());
        let frame = crate::frame::encode(&shown).unwrap();
        let read = crate::frame::decode::<ShownSettings>(&frame[crate::frame::HEADER..]);
        assert_eq!(read, Ok(shown));
    }

    #[test]
    fn a_setting_that_is_absent_shows_the_value_that_counts() {
        let shown = ShownSettings::of(POOL, &PoolSpec::default());
        assert_eq!(shown.get("timeout.stalled_s"), Some(&ShownValue::Seconds(3600.0)));
        assert_eq!(shown.get("health.path"), None);
    }
}
