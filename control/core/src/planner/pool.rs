//! The verbs of pools.

use weir_proto::request::{Code, Refusal};
use weir_proto::settings::{self, Form, Setting};
use weir_proto::snapshot::{Pool, Snapshot};
use weir_proto::spec::{HealthKind, HealthSpec, PoolSpec};

use super::{Edit, Subject, names};

/// `pool add NAME [--strategy S]`
pub(super) fn add(current: &Snapshot, name: &str, strategy: Option<&str>) -> Result<Edit, Refusal> {
    let key = names::parse(name)?;
    if current.pool(name).is_some() {
        return Err(Refusal::new(
            Code::Exists,
            format!("there is a pool {name:?} already"),
            format!("weirctl pool show {name}"),
        ));
    }
    let mut pool = PoolSpec::default();
    if let Some(strategy) = strategy {
        set_one(&mut pool, "strategy", strategy)?;
    }
    let mut spec = current.spec();
    spec.pool.insert(key, pool);
    let mut edit = Edit::new(spec, Subject::Pool(name.to_owned()));
    edit.undo = Some(format!("weirctl pool remove {name}"));
    Ok(edit)
}

/// `pool remove NAME`
pub(super) fn remove(current: &Snapshot, name: &str) -> Result<Edit, Refusal> {
    let pool = names::pool(current, name)?;
    let users =
        current.listeners.iter().filter(|listener| current.pools[listener.pool].id == pool.id);
    let users: Vec<&str> = users.map(|listener| listener.name.as_str()).collect();
    if let Some(first) = users.first() {
        let noun = if users.len() == 1 { "listener" } else { "listeners" };
        return Err(Refusal::new(
            Code::Invalid,
            format!("pool {name:?} is used by {noun} {}", users.join(", ")),
            format!("weirctl listener remove {first}"),
        ));
    }
    let mut spec = current.spec();
    let removed = spec.pool.remove(name);
    let mut edit = Edit::new(spec, Subject::Pool(name.to_owned()));
    // `add` makes an empty pool with every default; anything else comes back by a rollback.
    let plain = PoolSpec { strategy: pool.strategy, ..PoolSpec::default() };
    if removed == Some(plain) {
        edit.undo = Some(format!("weirctl pool add {name} --strategy {}", pool.strategy));
    }
    Ok(edit)
}

/// `pool set NAME KEY=VALUE…`
pub(super) fn set(
    current: &Snapshot,
    name: &str,
    pairs: &[(String, String)],
) -> Result<Edit, Refusal> {
    names::pool(current, name)?;
    if pairs.is_empty() {
        let hint = format!("weirctl pool set {name} strategy=least-conn");
        return Err(Refusal::new(Code::Invalid, "nothing to set", hint));
    }
    let mut spec = current.spec();
    if let Some(pool) = spec.pool.get_mut(name) {
        let kind_before = pool.health.kind;
        for (key, value) in pairs {
            set_one(pool, key, value)?;
        }
        if pool.health.kind != kind_before {
            drop_stray(&mut pool.health, pairs);
        }
    }
    let before = current.pool(name).map(Pool::spec_without_backends);
    let undo = before.zip(spec.pool.get(name)).map(|(before, after)| undo(name, &before, after));
    let mut edit = Edit::new(spec, Subject::Pool(name.to_owned()));
    edit.undo = undo;
    Ok(edit)
}

/// Sets back the settings that differ, and no others.
fn undo(name: &str, before: &PoolSpec, after: &PoolSpec) -> String {
    let mut command = format!("weirctl pool set {name}");
    for setting in settings::POOL {
        let value = (setting.get)(before);
        if value != (setting.get)(after) {
            let value = value.map_or_else(String::new, |value| value.to_string());
            command += &format!(" {}", shell_word(&format!("{}={value}", setting.key)));
        }
    }
    command
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

fn set_one(pool: &mut PoolSpec, key: &str, text: &str) -> Result<(), Refusal> {
    let Some(setting) = settings::find(settings::POOL, key) else {
        let keys = || settings::POOL.iter().map(|setting| setting.key);
        return Err(Refusal {
            did_you_mean: names::alike(key, keys().map(str::to_owned)),
            ..Refusal::new(
                Code::Invalid,
                format!("{key:?} is not a key of a pool"),
                format!("the keys are: {}", keys().collect::<Vec<_>>().join(", ")),
            )
        });
    };
    // An empty value takes an optional setting away.
    let before = (setting.get)(pool);
    if text.is_empty() {
        (setting.set)(pool, None);
        if (setting.get)(pool).is_none() {
            return Ok(());
        }
        (setting.set)(pool, before);
    }
    let value = setting.form.parse(text).map_err(|why| bad_value(setting, text, &why))?;
    (setting.set)(pool, Some(value.clone()));
    if (setting.get)(pool).as_ref() != Some(&value) {
        let wrong = setting.form.fault(&value).unwrap_or_default();
        return Err(Refusal::new(Code::Invalid, format!("{key}: {}", wrong.what), wrong.hint));
    }
    Ok(())
}

fn bad_value(setting: &Setting<PoolSpec>, text: &str, why: &str) -> Refusal {
    let key = setting.key;
    if let Form::Word { words, .. } = setting.form {
        return Refusal {
            did_you_mean: names::alike(text, words.iter().map(|word| (*word).to_owned())),
            ..Refusal::new(Code::Invalid, why, format!("weirctl pool set POOL {key}={}", words[0]))
        };
    }
    let example = match setting.form {
        Form::Share => format!("50%, or {key}=0% for never"),
        Form::Count { .. } => "2".to_owned(),
        Form::Size { .. } => "256KiB".to_owned(),
        Form::Flag => "true".to_owned(),
        _ => "2s".to_owned(),
    };
    let hint = format!("weirctl pool set POOL {key}={example}");
    Refusal::new(Code::Invalid, format!("{key}: {why}"), hint)
}

/// A new kind of check has no use for the old one's words, unless they were set with it.
fn drop_stray(health: &mut HealthSpec, pairs: &[(String, String)]) {
    let set_now = |key: &str| pairs.iter().any(|(set, _)| set == key);
    let (path, send, expect) = match health.kind {
        HealthKind::Tcp | HealthKind::None => (false, false, false),
        HealthKind::Http => (true, false, false),
        HealthKind::SendExpect => (false, true, false),
    };
    // `expect` means something else to each kind, so it never stays.
    if !path && !set_now("health.path") {
        health.path = None;
    }
    if !send && !set_now("health.send") {
        health.send = None;
    }
    if !expect && !set_now("health.expect") {
        health.expect = None;
    }
}
