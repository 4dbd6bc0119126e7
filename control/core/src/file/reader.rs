//! From the parsed text to settings and a spec, going on after every fault so that all are found.

mod pool;
mod roles;
mod session_log;

use core::mem;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use weir_proto::complaint::Complaint;
use weir_proto::settings::{self, Plain};
use weir_proto::spec::{ListenerSpec, Name, Spec};

use super::diagnostic::Problem;
use super::reference::PROCESS;
use super::{HashKey, SHARDS_MAX, Settings, Shards};
use crate::record::Retention;

/// Collects what is read, and what is wrong on the way.
#[derive(Default)]
pub(super) struct Reader {
    problems: Vec<Problem>,
    /// An object that is in here already keeps the keys that the text does not name.
    spec: Spec,
    /// The text is a part of a configuration: `""` takes away what stands in its place.
    is_part: bool,
}

/// A table and the place to point at when something is missing in it.
#[derive(Clone, Copy)]
struct Section<'a> {
    table: &'a DeTable<'a>,
    key: &'a Spanned<std::borrow::Cow<'a, str>>,
}

impl Reader {
    /// A reader of what is to be changed in `spec`.
    pub(super) fn over(spec: Spec) -> Reader {
        Reader { spec, is_part: true, ..Reader::default() }
    }

    /// The whole file.
    pub(super) fn file(&mut self, root: &DeTable<'_>) -> Settings {
        self.no_others(root, &["weir", "listener", "pool"]);
        let settings = self.settings_of_file(root);
        self.objects(root);
        settings
    }

    /// Some keys of some objects, and of at least one.
    pub(super) fn part(&mut self, root: &DeTable<'_>) {
        if let Some((key, _)) = root.get_key_value("weir") {
            let message = "[weir] is read when weir starts, from its own file";
            self.add(key.span(), message, "leave it out of a partial file");
        }
        self.no_others(root, &["weir", "listener", "pool"]);
        let objects = |key| root.get(key).and_then(|it| it.get_ref().as_table());
        if ["listener", "pool"].into_iter().filter_map(objects).all(DeTable::is_empty) {
            let message = "this names no listener and no pool: there is nothing to set";
            self.add(0..0, message, "[pool.NAME] and the keys that are to be set");
        }
        self.objects(root);
    }

    fn objects(&mut self, root: &DeTable<'_>) {
        let mut spec = mem::take(&mut self.spec);
        self.remove(root, "listener", &mut spec.listener);
        self.remove(root, "pool", &mut spec.pool);
        self.spec = spec;
        for (name, section) in self.named(root, "listener") {
            let before = self.spec.listener.remove(&name);
            if let Some(listener) = self.listener(section, before) {
                self.spec.listener.insert(name, listener);
            }
        }
        for (name, section) in self.named(root, "pool") {
            let before = self.spec.pool.remove(&name).unwrap_or_default();
            let pool = self.pool(section, (*before).clone());
            self.spec.pool.insert(name, pool.into());
        }
    }

    /// Takes out of `objects` those in whose place below `key` a part of a configuration has `""`.
    fn remove<T>(&mut self, table: &DeTable<'_>, key: &str, objects: &mut BTreeMap<Name, T>) {
        let below = table.get(key).and_then(|it| it.get_ref().as_table());
        for (name, value) in below.into_iter().flat_map(DeTable::iter) {
            if !self.takes_away(value) || objects.remove(&**name.get_ref()).is_some() {
                continue;
            }
            let hint = match nearest(name.get_ref(), objects.keys().map(Name::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("leave it out: there is no such {key} to take away"),
            };
            self.add(name.span(), format!("there is no {key} {:?}", name.get_ref()), hint);
        }
    }

    /// True if this stands for nothing, in the place of a key, a table or an object.
    fn takes_away(&self, value: &Spanned<DeValue<'_>>) -> bool {
        self.is_part && value.get_ref().as_str() == Some("")
    }

    /// The settings of the process, and nothing else.
    pub(super) fn settings_of_file(&mut self, root: &DeTable<'_>) -> Settings {
        self.section(root, "weir").map(|weir| self.settings(weir)).unwrap_or_default()
    }

    /// Gives what was read, and what is wrong with it.
    pub(super) fn end(self) -> (Spec, Vec<Problem>) {
        (self.spec, self.problems)
    }

    fn settings(&mut self, weir: Section<'_>) -> Settings {
        self.no_others(weir.table, &PROCESS.each_ref().map(|setting| setting.key));
        let default = Settings::default();
        let control: Option<PathBuf> = self.take(weir, "control", "a path");
        if control.as_ref().is_some_and(|path| path.as_os_str().len() > SOCKET_PATH_MAX) {
            let message = format!("a socket's path has at most {SOCKET_PATH_MAX} bytes");
            self.add(span_of(weir.table, "control"), message, "put it in /run");
        }
        let roles = self.section(weir.table, "control-roles");
        let history = self.section(weir.table, "history");
        let session_log = self.section(weir.table, "session-log");
        Settings {
            control_roles: roles.map(|roles| self.control_roles(roles)),
            shards: self.shards(weir).unwrap_or(default.shards),
            control: control.unwrap_or(default.control),
            admin: self.take(weir, "admin", "an address, like \"127.0.0.1:9650\""),
            admin_hosts: self.host_names(weir, "admin-hosts"),
            buffers: self.take(weir, "buffers", "a size in quotes, like \"256MiB\""),
            hash_key: self.hash_key(weir).unwrap_or_default(),
            state: self.take(weir, "state", "a path").unwrap_or(default.state),
            history: history.map_or(default.history, |history| self.retention(history)),
            admin_token_file: self.take(weir, "admin-token-file", "a path"),
            session_log: session_log.and_then(|log| self.session_log(log)),
            checks: self.checks(weir),
        }
    }

    /// `checks = "500/s"`
    fn checks(&mut self, weir: Section<'_>) -> Option<u32> {
        let value = weir.table.get("checks")?;
        let rate = value.get_ref().as_str().and_then(|text| text.strip_suffix("/s"));
        let rate = rate.and_then(|rate| rate.trim().parse().ok());
        let rate = rate.filter(|rate| (1..=CHECKS_MAX).contains(rate));
        if rate.is_none() {
            let hint = format!("1 to {CHECKS_MAX} a second, as in \"500/s\"");
            self.add(value.span(), "this is not a rate of checks", hint);
        }
        rate
    }

    fn hash_key(&mut self, section: Section<'_>) -> Option<HashKey> {
        let value = section.table.get("hash-key")?;
        let key = value.get_ref().as_str().and_then(|text| text.parse().ok());
        if key.is_none() {
            let hint = "32 hexadecimal digits in quotes: openssl rand -hex 16";
            self.add(value.span(), "this is not a key of 128 bits", hint);
        }
        key
    }

    fn host_names(&mut self, section: Section<'_>, key: &str) -> Vec<String> {
        let hint = "host names without a port, like [\"weir.example.net\"]";
        let names: Vec<String> = self.take(section, key, hint).unwrap_or_default();
        let legal = |name: &String| {
            let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            (1..=253).contains(&name.len()) && name.bytes().all(byte)
        };
        if let Some(wrong) = names.iter().find(|name| !legal(name)) {
            let message = format!("{wrong:?} is not a host name");
            self.add(span_of(section.table, key), message, hint);
        }
        names.iter().map(|name| name.to_ascii_lowercase()).collect()
    }

    fn shards(&mut self, weir: Section<'_>) -> Option<Shards> {
        let value = weir.table.get("shards")?;
        if value.get_ref().as_str() == Some("auto") {
            return Some(Shards::Auto);
        }
        let count = value.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
        if let Some(count @ 1..=SHARDS_MAX) = count {
            return Some(Shards::Count(count));
        }
        let hint = format!("\"auto\" for one per core, or a number from 1 to {SHARDS_MAX}");
        self.add(value.span(), "this is not a number of shards", hint);
        None
    }

    fn retention(&mut self, history: Section<'_>) -> Retention {
        self.no_others(history.table, &["keep", "days"]);
        let default = Retention::default();
        let keep = self.count(history, "keep", Retention::VERSIONS_MAX);
        let days = self.count(history, "days", Retention::DAYS_MAX.into());
        let days = days.and_then(|days| u32::try_from(days).ok());
        Retention { versions: keep.unwrap_or(default.versions), days: days.unwrap_or(default.days) }
    }

    /// A number from 1 to `most`.
    fn count(&mut self, section: Section<'_>, key: &str, most: u64) -> Option<u64> {
        let value = section.table.get(key)?;
        let count = value.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
        let count = count.filter(|count| (1..=most).contains(count));
        if count.is_none() {
            self.add(
                value.span(),
                format!("this is out of range for {key}"),
                format!("1 to {most}"),
            );
        }
        count
    }

    fn listener(
        &mut self,
        listener: Section<'_>,
        before: Option<ListenerSpec>,
    ) -> Option<ListenerSpec> {
        if let Some(mut spec) = before {
            self.settings_of(settings::LISTENER, listener, &[], &mut spec);
            return Some(spec);
        }
        self.need(listener, "bind", "bind = \"0.0.0.0:443\"");
        self.need(listener, "pool", "pool = \"NAME\", the pool that its sessions go to");
        let mut spec = ListenerSpec::plain();
        let read = self.settings_of(settings::LISTENER, listener, &[], &mut spec);
        ["bind", "pool"].iter().all(|key| read.contains(key)).then_some(spec)
    }

    /// The tables in the table `key`, by their names; those with a bad name are left out.
    fn named<'a>(&mut self, table: &'a DeTable<'a>, key: &str) -> Vec<(Name, Section<'a>)> {
        let Some(section) = self.section(table, key) else { return Vec::new() };
        let mut sections = Vec::new();
        for (key, value) in section.table {
            if self.takes_away(value) {
                continue;
            }
            let name = key.get_ref().parse::<Name>().map_err(|fault| {
                self.add(key.span(), fault, "");
            });
            let section = self.as_section(key, value);
            sections.extend(name.ok().zip(section));
        }
        sections
    }

    /// The table `key`, if it is there.
    fn section<'a>(&mut self, table: &'a DeTable<'a>, key: &str) -> Option<Section<'a>> {
        let (key, value) = table.get_key_value(key)?;
        self.as_section(key, value)
    }

    fn as_section<'a>(
        &mut self,
        key: &'a Spanned<std::borrow::Cow<'a, str>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<Section<'a>> {
        if let Some(table) = value.get_ref().as_table() {
            return Some(Section { table, key });
        }
        let message =
            format!("{} must be a table, not {}", key.get_ref(), value.get_ref().type_str());
        self.add(value.span(), message, format!("{} = {{ … }}", key.get_ref()));
        None
    }

    /// Complains about every key that is not one of `known`.
    fn no_others(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for key in table.keys() {
            if known.contains(&&**key.get_ref()) {
                continue;
            }
            let hint = match nearest(key.get_ref(), known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are: {}", known.join(", ")),
            };
            self.add(key.span(), format!("unknown key `{}`", key.get_ref()), hint);
        }
    }

    /// Complains, with an example, if `key` is not there.
    fn need(&mut self, section: Section<'_>, key: &str, example: &str) {
        if !section.table.contains_key(key) {
            let message = format!("{} has no {key}", section.key.get_ref());
            self.add(section.key.span(), message, example);
        }
    }

    /// The value of `key`, if it is there and is what it should be.
    fn take<T: DeserializeOwned>(
        &mut self,
        section: Section<'_>,
        key: &str,
        hint: &str,
    ) -> Option<T> {
        section.table.get(key).and_then(|value| self.value(value, hint))
    }

    fn value<T: DeserializeOwned>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        hint: &str,
    ) -> Option<T> {
        let read = T::deserialize(ValueDeserializer::from(value.clone()));
        read.map_err(|fault| {
            // serde's words for a wrong type name Rust's types; what is written is enough.
            let message = fault.message();
            let message = match message.split_once(", expected") {
                Some((found, _)) if message.starts_with("invalid") => found,
                _ => message,
            };
            self.add(value.span(), message, hint);
        })
        .ok()
    }

    /// One of a few words.
    fn one_of(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        noun: &str,
        words: &[&str],
    ) -> Option<String> {
        let text = value.get_ref().as_str().unwrap_or_default();
        if words.contains(&text) {
            return Some(text.to_owned());
        }
        let list = format!("use one of {}", words.join(", "));
        let hint = match nearest(text, words.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"? {list}"),
            None => list,
        };
        self.add(value.span(), format!("this is not {noun}"), hint);
        None
    }

    fn add(&mut self, span: Range<usize>, message: impl Display, hint: impl Display) {
        let complaint = Complaint::new(message.to_string(), hint.to_string());
        self.problems.push(Problem { span, complaint });
    }
}

/// The most health checks a second that can be asked for.
const CHECKS_MAX: u32 = 1_000_000;

/// The longest path of a Unix socket, in bytes.
const SOCKET_PATH_MAX: usize = 107;

fn span_of(table: &DeTable<'_>, key: &str) -> Range<usize> {
    table.get(key).map_or(0..0, Spanned::span)
}

/// The word that was probably meant.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None; // longer than any key; a comparison costs the product of both lengths
    }
    let distance = |other: &&str| strsim::damerau_levenshtein(word, other);
    let near = known.into_iter().min_by_key(distance)?;
    (distance(&near) <= 2.min(near.len() / 2).max(1)).then_some(near)
}
