//! Settings that are typed as `KEY=VALUE`: of a listener, a pool and a backend alike, by their
//! tables.

use weir_proto::request::{Code, Pairs, Refusal};
use weir_proto::settings::{self, Form, Setting};

use super::names;

/// One kind of object as its settings are typed.
pub(super) struct Kind<S: 'static> {
    /// `pool`, as in the verbs.
    noun: &'static str,
    /// Its name in a hint.
    placeholder: &'static str,
    table: &'static [Setting<S>],
}

pub(super) static LISTENER: Kind<weir_proto::spec::ListenerSpec> =
    Kind { noun: "listener", placeholder: "NAME", table: settings::LISTENER };
pub(super) static POOL: Kind<weir_proto::spec::PoolSpec> =
    Kind { noun: "pool", placeholder: "POOL", table: settings::POOL };
pub(super) static BACKEND: Kind<weir_proto::spec::BackendSpec> =
    Kind { noun: "backend", placeholder: "POOL/BACKEND", table: settings::BACKEND };

impl<S> Kind<S> {
    /// Sets each pair, in order.
    ///
    /// # Errors
    /// A key that is not in the table, or a value that is not of its form or out of range.
    pub(super) fn set(&self, of: &mut S, pairs: &Pairs) -> Result<(), Refusal> {
        pairs.iter().try_for_each(|(key, text)| self.set_one(of, key, text))
    }

    /// Refuses a `set` without pairs; `example` is one that could be meant.
    pub(super) fn refuse_nothing(
        &self,
        name: &str,
        pairs: &Pairs,
        example: &str,
    ) -> Result<(), Refusal> {
        if pairs.is_empty() {
            let hint = format!("weirctl {} set {name} {example}", self.noun);
            return Err(Refusal::new(Code::Invalid, "nothing to set", hint));
        }
        Ok(())
    }

    /// Refuses settings for a whole object that lack one which has no default.
    pub(super) fn refuse_incomplete(&self, name: &str, pairs: &Pairs) -> Result<(), Refusal> {
        let is_there = |key: &str| pairs.iter().any(|(set, value)| set == key && !value.is_empty());
        let mut needed = self.table.iter().filter(|setting| setting.required);
        match needed.find(|setting| !is_there(setting.key)) {
            None => Ok(()),
            Some(setting) => {
                let message = format!("{} of {} {name} is not said", setting.key, self.noun);
                Err(Refusal::new(Code::Invalid, message, setting.form.hint()))
            }
        }
    }

    /// The command that sets back the settings that differ, and no others.
    pub(super) fn undo(&self, name: &str, before: &S, after: &S) -> String {
        format!("weirctl {} set {name}{}", self.noun, self.words(before, after))
    }

    /// ` KEY=VALUE…` for every setting of `wanted` that `from` does not have so.
    pub(super) fn words(&self, wanted: &S, from: &S) -> String {
        let mut words = String::new();
        for setting in self.table {
            let value = (setting.get)(wanted);
            if value != (setting.get)(from) {
                let value = value.map_or_else(String::new, |value| value.to_string());
                words += &format!(" {}", shell_word(&format!("{}={value}", setting.key)));
            }
        }
        words
    }

    fn set_one(&self, of: &mut S, key: &str, text: &str) -> Result<(), Refusal> {
        let Some(setting) = settings::find(self.table, key) else {
            let keys = || self.table.iter().map(|setting| setting.key);
            return Err(Refusal {
                did_you_mean: names::alike(key, keys().map(str::to_owned)),
                ..Refusal::new(
                    Code::Invalid,
                    format!("{key:?} is not a key of a {}", self.noun),
                    format!("the keys are: {}", keys().collect::<Vec<_>>().join(", ")),
                )
            });
        };
        // An empty value takes an optional setting away.
        let before = (setting.get)(of);
        if text.is_empty() {
            (setting.set)(of, None);
            // Or gives it back its default, where it has a word for that, too.
            let left = (setting.get)(of);
            if left.is_none() || left == (setting.fallback)(of) {
                return Ok(());
            }
            (setting.set)(of, before);
        }
        let value = setting.form.parse(text).map_err(|why| self.bad_value(setting, text, &why))?;
        (setting.set)(of, Some(value.clone()));
        if (setting.get)(of).as_ref() != Some(&value) {
            let wrong = setting.form.fault(&value).unwrap_or_default();
            return Err(Refusal::new(Code::Invalid, format!("{key}: {}", wrong.what), wrong.hint));
        }
        Ok(())
    }

    fn bad_value(&self, setting: &Setting<S>, text: &str, why: &str) -> Refusal {
        let key = setting.key;
        let hint =
            |value: &str| format!("weirctl {} set {} {key}={value}", self.noun, self.placeholder);
        if let Form::Word { words, .. } = setting.form {
            return Refusal {
                did_you_mean: names::alike(text, words.iter().map(|word| (*word).to_owned())),
                ..Refusal::new(Code::Invalid, why, hint(words[0]))
            };
        }
        let example = match setting.form {
            Form::Share => &format!("50%, or {key}=0% for never"),
            Form::Count { .. } => "2",
            Form::Size { .. } => "256KiB",
            Form::Flag => "true",
            Form::Name { .. } => "web",
            Form::Address { many: true } => "0.0.0.0:443, with commas between several",
            Form::Routes => "'sni=*.example.com pool=web; from=10.0.0.0/8 pool=db'",
            Form::Networks => "10.0.0.0/8, with commas between several",
            Form::NoBackend => "'hold 5s'",
            Form::Steps => "'send PING\\r\\n; expect +PONG'",
            Form::Address { many: false } => "10.0.0.11:443 (names are not resolved)",
            Form::Span { .. } | Form::Word { .. } | Form::Text { .. } => "2s",
        };
        Refusal::new(Code::Invalid, format!("{key}: {why}"), hint(example))
    }
}

/// The text as one word of a shell.
fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=%,+@".contains(&byte);
    if text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
