//! The tables `[pool.NAME]` and what is in them, by the table of settings.

use toml::Spanned;
use toml::de::DeValue;
use weir_proto::settings::{self, Form, Setting, Value};
use weir_proto::spec::{Admin, BackendSpec, Percent, PoolSpec, Span};

use super::{ADDRESS_HINT, Reader, Section};

impl Reader {
    pub(super) fn pool(&mut self, pool: Section<'_>) -> PoolSpec {
        let mut spec = PoolSpec::default();
        self.settings_of(settings::POOL, pool, &["backend"], &mut spec);
        for (name, section) in self.named(pool.table, "backend") {
            if let Some(backend) = self.backend(section) {
                spec.backend.insert(name, backend);
            }
        }
        spec
    }

    /// Reads every setting of `table` that is there into `spec`; `others` are keys beside them.
    pub(super) fn settings_of<S>(
        &mut self,
        table: &'static [Setting<S>],
        section: Section<'_>,
        others: &[&'static str],
        spec: &mut S,
    ) {
        let mut known: Vec<&str> = Vec::new();
        for setting in table {
            let (above, name) = setting.split();
            let key = above.unwrap_or(name);
            if !known.contains(&key) {
                known.push(key);
            }
        }
        let tables = known.clone();
        known.extend(others);
        self.no_others(section.table, &known);
        for above in tables {
            let names: Vec<&str> = settings::names_below(table, above).collect();
            if names.is_empty() {
                let setting = settings::find(table, above).expect("it is a row of the table");
                self.setting(setting, section, above, spec);
            } else if let Some(below) = self.section(section.table, above) {
                self.no_others(below.table, &names);
                let rows = table.iter().filter(|setting| setting.split().0 == Some(above));
                for setting in rows {
                    self.setting(setting, below, setting.split().1, spec);
                }
            }
        }
    }

    fn setting<S>(
        &mut self,
        setting: &'static Setting<S>,
        section: Section<'_>,
        key: &str,
        spec: &mut S,
    ) {
        if let Some(value) = section.table.get(key)
            && let Some(read) = self.form(setting.form, value)
        {
            (setting.set)(spec, Some(read.clone()));
            if (setting.get)(spec).as_ref() != Some(&read) {
                // It does not even fit into the field.
                let (what, hint) = setting.form.fault(&read).unwrap_or_default();
                self.add(value.span(), what, hint);
            }
        }
    }

    /// A value of this form, or a complaint.
    fn form(&mut self, form: Form, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        let hint = form.hint();
        match form {
            Form::Span { .. } => self.value::<Span>(value, &hint).map(Value::Span),
            Form::Count { .. } => self.value::<u32>(value, &hint).map(Value::Count),
            Form::Share => self.value::<Percent>(value, &hint).map(Value::Share),
            Form::Text { .. } => self.value::<String>(value, &hint).map(Value::Text),
            Form::Word { noun, words } => self.one_of(value, noun, words).map(Value::Text),
            Form::Address { many } => {
                let addresses = match value.get_ref() {
                    DeValue::Array(items) if many => {
                        items.iter().map(|item| self.value(item, ADDRESS_HINT)).collect::<Vec<_>>()
                    }
                    _ => vec![self.value(value, ADDRESS_HINT)],
                };
                addresses.into_iter().collect::<Option<Vec<_>>>().map(Value::Addresses)
            }
        }
    }

    fn backend(&mut self, backend: Section<'_>) -> Option<BackendSpec> {
        let address = self
            .need(backend, "address", "address = \"10.0.0.11:443\"")
            .and_then(|value| self.form(Form::Address { many: false }, value));
        let Some(Value::Addresses(addresses)) = address else {
            self.no_others(backend.table, &["address", "weight", "state"]);
            return None;
        };
        let mut spec = BackendSpec { address: addresses[0], weight: 1, state: Admin::Ready };
        self.settings_of(settings::BACKEND, backend, &[], &mut spec);
        Some(spec)
    }
}
