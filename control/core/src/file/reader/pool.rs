//! The tables `[pool.NAME]` and what is in them, by the table of settings.

use serde::de::DeserializeOwned;

use toml::Spanned;
use toml::de::DeValue;
use weir_proto::bind_address::Interface;
use weir_proto::network::Network;
use weir_proto::settings::{self, Form, Plain, Setting, Value};
use weir_proto::spec::{BackendSpec, Name, Percent, PoolSpec, Size, Span};

use super::{Reader, Section};

impl Reader {
    /// A pool that is so `before`; a new one has the defaults.
    pub(super) fn pool(&mut self, pool: Section<'_>, before: PoolSpec) -> PoolSpec {
        let mut spec = before;
        self.settings_of(settings::POOL, pool, &["backend"], &mut spec);
        self.remove(pool.table, "backend", &mut spec.backend);
        for (name, section) in self.named(pool.table, "backend") {
            let before = spec.backend.remove(&name);
            if let Some(backend) = self.backend(section, before) {
                spec.backend.insert(name, backend);
            }
        }
        spec
    }

    /// Reads every setting of `table` that is there into `spec` and returns the keys of those that
    /// could be read; `others` are keys beside them.
    pub(super) fn settings_of<S: Plain>(
        &mut self,
        table: &'static [Setting<S>],
        section: Section<'_>,
        others: &[&'static str],
        spec: &mut S,
    ) -> Vec<&'static str> {
        let top = |setting: &Setting<S>| setting.split().0.unwrap_or(setting.key);
        let mut keys: Vec<&str> = table.iter().map(top).collect();
        keys.dedup(); // the rows of a table stand together
        self.no_others(section.table, &[keys.as_slice(), others].concat());
        let mut read = Vec::new();
        for key in keys {
            let rows = table.iter().filter(|setting| top(setting) == key);
            let (words, keys): (Vec<_>, Vec<_>) = rows.partition(|setting| setting.key == key);
            // Where there are both, a word may stand in place of the table.
            let is_table = section.table.get(key).is_some_and(|it| it.get_ref().is_table());
            let below = words.is_empty() || (is_table && !keys.is_empty());
            if below && section.table.get(key).is_some_and(|it| self.takes_away(it)) {
                keys.iter().for_each(|setting| _ = setting.take_away(spec));
                continue;
            }
            let rows = if below { keys } else { words };
            let place = if below { self.section(section.table, key) } else { Some(section) };
            let Some(place) = place else { continue };
            if below {
                let names: Vec<&str> = rows.iter().map(|setting| setting.split().1).collect();
                self.no_others(place.table, &names);
            }
            let is_read = |setting: &&Setting<S>| self.setting(setting, place, spec);
            read.extend(rows.into_iter().filter(is_read).map(|setting| setting.key));
        }
        read
    }

    /// Reads one setting of `section` into `spec`, if it is there. True if it could be read.
    fn setting<S: Plain>(
        &mut self,
        setting: &Setting<S>,
        section: Section<'_>,
        spec: &mut S,
    ) -> bool {
        let value = section.table.get(setting.split().1);
        if value.is_some_and(|it| self.takes_away(it)) && setting.take_away(spec) {
            return true;
        }
        let Some((value, read)) = value.and_then(|it| Some((it, self.form(setting.form, it)?)))
        else {
            return false;
        };
        (setting.set)(spec, Some(read.clone()));
        let fits = (setting.get)(spec).as_ref() == Some(&read);
        if !fits {
            let wrong = setting.form.fault(&read).unwrap_or_default();
            self.add(value.span(), wrong.what, wrong.hint);
        }
        fits
    }

    /// A value of this form, or a complaint.
    fn form(&mut self, form: Form, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        let hint = form.hint();
        match form {
            Form::Span { .. } => self.value::<Span>(value, &hint).map(Value::Span),
            Form::Count { .. } => self.value::<u32>(value, &hint).map(Value::Count),
            Form::Size { .. } => self.value::<Size>(value, &hint).map(Value::Size),
            Form::Share => self.value::<Percent>(value, &hint).map(Value::Share),
            Form::Flag => self.value::<bool>(value, &hint).map(Value::Flag),
            Form::Text { .. } => self.value::<String>(value, &hint).map(Value::Text),
            Form::Name { .. } => {
                self.value::<Name>(value, &hint).map(|name| Value::Text(name.as_str().to_owned()))
            }
            Form::Interface => {
                let read = self.value::<Interface>(value, &hint);
                read.map(|name| Value::Text(name.as_str().to_owned()))
            }
            Form::Word { noun, words } => self.one_of(value, noun, words).map(Value::Text),
            Form::Address { many: false } => {
                self.value(value, &hint).map(|address| Value::Addresses(vec![address]))
            }
            Form::Address { many: true } => self.list(value, &hint).map(Value::Addresses),
            Form::Target => self.value(value, &hint).map(Value::Target),
            Form::Routes => self.list(value, &hint).map(Value::Routes),
            Form::Networks => {
                self.list::<Network>(value, &hint).map(|list| Value::Networks(list.into()))
            }
            Form::Source => self.value(value, &hint).map(Value::Source),
            Form::Steps => self.list(value, &hint).map(Value::Steps),
            Form::NoBackend => self.value(value, &hint).map(Value::NoBackend),
            Form::Rate => self.value(value, &hint).map(Value::Rate),
        }
    }

    /// One value, or a list of them.
    fn list<T: DeserializeOwned>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        hint: &str,
    ) -> Option<Vec<T>> {
        let values = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| self.value(item, hint)).collect(),
            _ => vec![self.value(value, hint)],
        };
        values.into_iter().collect()
    }

    fn backend(
        &mut self,
        backend: Section<'_>,
        before: Option<BackendSpec>,
    ) -> Option<BackendSpec> {
        if let Some(mut spec) = before {
            self.settings_of(settings::BACKEND, backend, &[], &mut spec);
            return Some(spec);
        }
        self.need(backend, "address", "address = \"10.0.0.11:443\"");
        let mut spec = BackendSpec::plain();
        let read = self.settings_of(settings::BACKEND, backend, &[], &mut spec);
        read.contains(&"address").then_some(spec)
    }
}
