//! Settings that are typed as `KEY=VALUE`: of a listener, a pool and a backend alike, by their
//! tables.

use weir_proto::request::{Code, Pairs, Refusal};
use weir_proto::settings::{self, Form, Plain, Setting};
use weir_proto::shell;
use weir_proto::spec::{BackendSpec, ListenerSpec, PoolSpec};

use super::names;

/// One kind of object as its settings are typed.
pub(super) struct Kind<S: 'static> {
    /// `pool`, as in the verbs.
    noun: &'static str,
    /// Its name in a hint.
    placeholder: &'static str,
    table: &'static [Setting<S>],
}

pub(super) static LISTENER: Kind<ListenerSpec> =
    Kind { noun: "listener", placeholder: "NAME", table: settings::LISTENER };
pub(super) static POOL: Kind<PoolSpec> =
    Kind { noun: "pool", placeholder: "POOL", table: settings::POOL };
pub(super) static BACKEND: Kind<BackendSpec> =
    Kind { noun: "backend", placeholder: "POOL/BACKEND", table: settings::BACKEND };

impl<S: Plain> Kind<S> {
    /// Sets each pair, in order.
    ///
    /// # Errors
    /// A key that is not in the table, a value that is not of its form or out of range, or two
    /// pairs that contradict each other.
    pub(super) fn set(&self, of: &mut S, pairs: &Pairs) -> Result<(), Refusal> {
        pairs.iter().try_for_each(|(key, text)| self.set_one(of, key, text))?;
        pairs.iter().try_for_each(|(key, text)| self.refuse_undone(of, key, text))
    }

    /// Refuses a pair that one behind it has undone. One that says the default may stand beside a
    /// setting that says more.
    fn refuse_undone(&self, of: &S, key: &str, text: &str) -> Result<(), Refusal> {
        let Some(setting) = settings::find(self.table, key).filter(|_| !text.is_empty()) else {
            return Ok(());
        };
        let said = setting.form.parse(text).ok();
        let default = (setting.get)(&S::plain());
        if (setting.get)(of) == said || (said == default && !setting.required) {
            return Ok(());
        }
        let message = format!("{key}={text} is undone by what is set beside it");
        Err(Refusal::new(Code::Invalid, message, "say one of the two"))
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
                words += &format!(" {}", shell::word(&format!("{}={value}", setting.key)));
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
        if text.is_empty() && setting.take_away(of) {
            return Ok(());
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
            Form::Interface => "eth0",
            Form::Address { many: true } => "0.0.0.0:443, with commas between several",
            Form::Routes => "'sni=*.example.com pool=web; from=10.0.0.0/8 pool=db'",
            Form::Networks => "10.0.0.0/8, with commas between several",
            Form::NoBackend => "'hold 5s'",
            Form::Source => "10.0.0.5, with commas between several",
            Form::Rate => "2000/s",
            Form::Steps => "'send PING\\r\\n; expect +PONG'",
            Form::Address { many: false } | Form::Target => {
                "10.0.0.11:443 (names are not resolved)"
            }
            Form::Span { .. } | Form::Word { .. } | Form::Text { .. } => "2s",
        };
        Refusal::new(Code::Invalid, format!("{key}: {why}"), hint(example))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(all: &[(&str, &str)]) -> Pairs {
        all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// Each key that can be set alone is set back by an empty value.
    fn each_goes_back<S: Plain>(kind: &Kind<S>) -> usize {
        let mut count = 0;
        for setting in kind.table.iter().filter(|setting| !setting.required) {
            let (mut of, key) = (S::plain(), setting.key);
            let text = setting.form.example().to_string();
            if kind.set(&mut of, &pairs(&[(key, &text)])).is_ok() {
                count += 1;
                kind.set(&mut of, &pairs(&[(key, "")])).unwrap();
                assert_eq!((setting.get)(&of), (setting.get)(&S::plain()), "{key}");
            }
        }
        count
    }

    #[test]
    fn an_empty_value_sets_each_key_back_to_its_default() {
        let all = each_goes_back(&LISTENER) + each_goes_back(&POOL) + each_goes_back(&BACKEND);
        assert!(all >= 35, "{all} were set");
    }

    #[test]
    fn what_is_required_has_no_default() {
        let mut of = ListenerSpec::plain();
        assert!(LISTENER.set(&mut of, &pairs(&[("pool", "")])).is_err());
    }

    #[test]
    fn two_that_contradict_each_other_are_refused_and_a_default_beside_more_is_not() {
        let set = |all: &[(&str, &str)]| POOL.set(&mut PoolSpec::plain(), &pairs(all));
        let (off, on, replay) =
            (("redispatch", "off"), ("redispatch", "on"), ("redispatch.replay", "4KiB"));
        for all in [
            &[off, replay][..],
            &[replay, off],
            &[("retry.attempts", "1"), ("retry.attempts", "3")],
        ] {
            let refused = set(all).unwrap_err();
            assert!(refused.message.contains("is undone by"), "{all:?}: {}", refused.message);
        }
        for all in [&[on, replay][..], &[("retry.attempts", "1"), ("retry.attempts", "1")]] {
            set(all).unwrap();
        }
    }
}
