//! A file that is to be applied: read, merged into what is in force, and the base from then on.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_proto::answer::{Difference, DriftRows};
use weir_proto::change;
use weir_proto::conflict::{Conflict, Drift};
use weir_proto::ids::IdSource;
use weir_proto::outside::cleaned;
use weir_proto::request::{ApplyMode, Code, Refusal};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::Spec;

use super::merge::{OnConflict, drift, merge};
use super::{Edit, Load, Subject, build, tell};
use crate::file;
use crate::record::{APPLIED, Base, EDITED, SET_IN_PART};

/// Bytes of the name of an applied file in a summary.
const ORIGIN_MAX: usize = 200;
/// Conflicts, or acts, that are named one by one.
const SHOWN_MAX: usize = 20;
/// Bytes of the text about one of them.
const SHOWN_BYTES_MAX: usize = 400;

/// `config apply FILE`
pub(super) fn edit(
    current: &Snapshot,
    (toml, origin): (&str, &str),
    mode: ApplyMode,
    base: &Base,
) -> Result<Edit, Refusal> {
    // What decides a conflict; `None` if there is no merge.
    let on_conflict = match mode {
        ApplyMode::Merge => Some(OnConflict::Refuse),
        ApplyMode::Ours => Some(OnConflict::Ours),
        ApplyMode::Theirs => Some(OnConflict::Theirs),
        ApplyMode::Replace => None,
        ApplyMode::Partial => return part(current, toml, origin),
        ApplyMode::Edit => return edited(current, toml, origin),
    };
    let file::File { settings, spec: mut file, .. } = read(toml, origin)?;
    let ours = current.spec();
    file.share_with(&ours);
    let merged = |on_conflict| {
        merge(of(base), &file, &ours, on_conflict).map_err(|conflicts| refuse(conflicts, origin))
    };
    let (spec, undone) = match on_conflict {
        Some(on_conflict) => (merged(on_conflict)?, Vec::new()),
        None => {
            let kept = merged(OnConflict::Ours)?;
            (file.clone(), limited(drift(&file, &kept).iter().map(undo_text)))
        }
    };
    check_alone(&file, &spec)?;
    let mut edit = Edit::new(spec, Subject::Whole);
    edit.origin = format!("{APPLIED}{}: ", cleaned(origin, ORIGIN_MAX));
    (edit.settings, edit.undone) = (Some(Box::new(settings)), undone);
    if is_emptied(&file, base, &ours) {
        edit.losses.push("it is empty: it has no listener and no pool".to_owned());
    }
    edit.base = Some(Some(Arc::new(file)));
    Ok(edit)
}

/// `config edit`: the act of an operator, as single commands are. The base stays.
fn edited(current: &Snapshot, toml: &str, origin: &str) -> Result<Edit, Refusal> {
    let mut spec = read(toml, origin)?.spec;
    spec.share_with(&current.spec());
    let mut edit = Edit::new(spec, Subject::Whole);
    edit.origin = EDITED.to_owned();
    Ok(edit)
}

/// `config apply FILE --partial`: so is this.
fn part(current: &Snapshot, toml: &str, origin: &str) -> Result<Edit, Refusal> {
    let spec = file::parse_partial(toml, origin, current.spec())
        .map_err(|diagnostics| wrong(&diagnostics, "weirctl config export shows every key"))?;
    let mut edit = Edit::new(spec, Subject::Whole);
    edit.origin = format!("{SET_IN_PART}{}: ", cleaned(origin, ORIGIN_MAX));
    Ok(edit)
}

/// Reads a file that is to be applied.
///
/// # Errors
/// The errors of the file, formatted as by `weir check`.
pub fn read(toml: &str, origin: &str) -> Result<file::File, Refusal> {
    file::parse(toml, origin).map_err(|diagnostics| {
        wrong(&diagnostics, &format!("weir check {}", cleaned(origin, ORIGIN_MAX)))
    })
}

fn wrong(diagnostics: &[file::Diagnostic], hint: &str) -> Refusal {
    let texts: Vec<String> = diagnostics.iter().map(|it| it.render(false)).collect();
    Refusal::new(Code::Invalid, texts.join("\n"), hint)
}

/// The difference that a file would make to what runs now. Where it conflicts with what is in
/// force that stays, and the answer has the conflict.
///
/// # Errors
/// The refusal that `config apply` of it would get, if that is not about conflicts.
pub fn difference(
    current: &Snapshot,
    mut ids: IdSource,
    (toml, origin): (&str, &str),
    base: &Base,
    load: &Load,
) -> Result<Difference, Refusal> {
    let mut file = read(toml, origin)?.spec;
    let ours = current.spec();
    file.share_with(&ours);
    let merged = |on_conflict| merge(of(base), &file, &ours, on_conflict);
    let (merged, conflicts) = match merged(OnConflict::Refuse) {
        Ok(merged) => (merged, Vec::new()),
        Err(conflicts) => {
            let kept = merged(OnConflict::Ours);
            (kept.map_err(|conflicts| refuse(conflicts, origin))?, conflicts)
        }
    };
    check_alone(&file, &merged)?;
    let next = build(&merged, current, &mut ids)?;
    let (changes, impact) = tell((current, &next), &[], load);
    Ok(Difference {
        version: current.version.0,
        summary: change::summary(&change::diff(current, &next)),
        current: file::export(&ours),
        proposed: file::export(&merged),
        conflicts,
        changes,
        impact,
    })
}

/// Where what is in force differs from the file as it was last applied.
#[must_use]
pub fn drift_rows(current: &Snapshot, base: &Base) -> DriftRows {
    let rows = base.as_deref().map(|base| drift(base, &current.spec()));
    DriftRows {
        version: current.version.0,
        file_applied: rows.is_some(),
        drift: rows.unwrap_or_default(),
    }
}

/// The base as one side of a merge: without one everything counts as added by both sides.
fn of(base: &Base) -> &Spec {
    static NOTHING: Spec = Spec { listener: BTreeMap::new(), pool: BTreeMap::new() };
    base.as_deref().unwrap_or(&NOTHING)
}

/// Refuses a file that is no configuration by itself, whatever it would be merged to.
fn check_alone(file: &Spec, merged: &Spec) -> Result<(), Refusal> {
    if file == merged {
        return Ok(());
    }
    build(file, &Snapshot::empty(), &mut IdSource::default()).map(drop)
}

/// True for an empty file that has not been empty before, as one is that was cut short.
fn is_emptied(file: &Spec, base: &Base, ours: &Spec) -> bool {
    let nothing = Spec::default();
    *file == nothing && base.as_deref() != Some(file) && *ours != nothing
}

/// The file and operators have changed the same.
fn refuse(conflicts: Vec<Conflict>, origin: &str) -> Refusal {
    let origin = cleaned(origin, ORIGIN_MAX);
    let lines = limited(conflicts.iter().map(ToString::to_string));
    let message = format!(
        "{origin} and what was changed at run time do not agree:\n  {}",
        lines.join("\n  ")
    );
    let hint = format!(
        "weirctl config apply {origin} --ours keeps what is in force, --theirs takes the file's"
    );
    Refusal { conflicts, ..Refusal::new(Code::Conflict, message, hint) }
}

/// The file takes away so much that it may be broken.
pub(super) fn needs_force(losses: &[String], origin: &str) -> Refusal {
    let origin = cleaned(origin, ORIGIN_MAX);
    let message = format!("{origin} takes away too much: {}", losses.join("; "));
    let hint = format!(
        "if it is meant: weirctl config apply {origin} --force; to see all of it: --dry-run"
    );
    Refusal::new(Code::NeedsForce, message, hint)
}

fn undo_text(row: &Drift) -> String {
    let Drift { object, key, file, in_force } = row;
    let [file, in_force] = [file, in_force].map(|value| value.as_deref().unwrap_or("absent"));
    let key = if key.is_empty() { String::new() } else { format!(" {key}") };
    format!("it undoes what was changed at run time: {object}{key}: {in_force} → {file}")
}

/// The first texts, and how many more there are.
fn limited(mut texts: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let first = texts.by_ref().take(SHOWN_MAX).map(|text| cleaned(&text, SHOWN_BYTES_MAX));
    let mut shown: Vec<String> = first.collect();
    if texts.len() > 0 {
        shown.push(format!("and {} more", texts.len()));
    }
    shown
}

#[cfg(test)]
mod tests {
    use weir_proto::ids::Version;
    use weir_proto::request::{ChangeOptions, ChangeRequest};
    use weir_proto::spec::{BackendSpec, PoolSpec};

    use super::super::{Plan, Sources, decide};
    use super::*;

    const FILE: &str = "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"web\"\n\
                        [pool.web]\nstrategy = \"random\"\n[pool.web.backend]\n\
                        b1 = { address = \"127.0.0.1:2\" }\nb2 = { address = \"127.0.0.1:3\" }\n";

    fn spec(toml: &str) -> Spec {
        read(toml, "x").unwrap().spec
    }

    /// The plan of `file` where `base` was the file and `ours` is in force as version 7.
    fn apply(
        [base, file, ours]: [&str; 3],
        mode: ApplyMode,
        (force, dry_run): (bool, bool),
    ) -> Result<Plan, Refusal> {
        let mut ids = IdSource::default();
        let current = Snapshot::build(&spec(ours), Version(7), &Snapshot::empty(), &mut ids);
        let (toml, origin) = (file.to_owned(), "w.toml".to_owned());
        let change = ChangeRequest::Apply { toml, origin, mode, force };
        let options = ChangeOptions { dry_run, ..ChangeOptions::default() };
        let base = (base != "-").then(|| Arc::new(spec(base)));
        let past = |_: u64| Err(Refusal::new(Code::NotFound, "no such version", ""));
        let sources = Sources { ids: &mut ids, past: &past, base: &base };
        decide(&current.unwrap(), &change, &options, sources)
    }

    #[test]
    fn a_file_that_changes_only_the_base_is_a_version_and_then_nothing() {
        let drained = FILE.replace("127.0.0.1:2\"", "127.0.0.1:2\", state = \"drain\"");
        let merge = |sides| apply(sides, ApplyMode::Merge, (false, false)).unwrap();
        let plan = merge([FILE, &drained, &drained]);
        assert_eq!(plan.summary, "apply w.toml: no change");
        assert_eq!(plan.snapshot.unwrap().spec(), spec(&drained));
        assert_eq!(plan.base, Some(Arc::new(spec(&drained))));
        assert_eq!(plan.undo, "weirctl config rollback 7 --if-version 8");
        for ours in [FILE, &drained] {
            let plan = merge([FILE, FILE, ours]);
            assert_eq!((plan.snapshot, plan.undo.as_str()), (None, ""));
        }
        // An operator makes it ready again, and the file stays as it was.
        assert_eq!(merge([&drained, &drained, FILE]).snapshot, None);
        assert!(merge(["-", FILE, FILE]).snapshot.is_some(), "it is the first file");
    }

    #[test]
    fn the_base_shares_the_pools_that_are_in_force_as_the_file_has_them() {
        let random = "[pool.web]\nstrategy = \"random\"\n";
        let ours = FILE.replace(random, "[pool.db]\n[pool.web]\nstrategy = \"maglev\"\n");
        let file = FILE.replace(random, "[pool.db]\n[pool.new]\n[pool.web]\n");
        let base = file.replace("[pool.new]\n", "");
        let plan = apply([&base, &file, &ours], ApplyMode::Merge, (true, false)).unwrap();
        let (base, next) = (plan.base.unwrap(), plan.snapshot.unwrap().spec());
        let is_shared = |pool: &str| base.pool[pool].is_shared_with(&next.pool[pool]);
        assert_eq!(["db", "new", "web"].map(is_shared), [true, true, false]);
        assert_eq!(*base, spec(&file));
    }

    #[test]
    fn a_partial_file_sets_what_it_names_and_is_no_base() {
        let ours = FILE.replace("127.0.0.1:2\"", "127.0.0.1:2\", weight = 7");
        let part = |text: &str| apply([FILE, text, &ours], ApplyMode::Partial, (false, false));
        let plan = part(
            "[listener.new]\nbind = \"127.0.0.1:9\"\npool = \"new\"\n\
             [pool.new]\n[pool.web]\nhealth.interval = \"9s\"\n\
             [pool.web.backend]\nb2 = { weight = 3 }\nb3 = { address = \"127.0.0.1:4\" }\n",
        );
        let plan = plan.unwrap();
        let mut wanted = spec(&ours);
        let new = spec("[listener.new]\nbind = \"127.0.0.1:9\"\npool = \"new\"\n[pool.new]\n");
        wanted.listener.extend(new.listener);
        wanted.pool.extend(new.pool);
        let web = wanted.pool.get_mut("web").unwrap();
        web.health.interval = weir_proto::spec::Span::from_millis(9000);
        web.backend.get_mut("b2").unwrap().weight = 3;
        let b3 = web.backend["b2"].clone();
        let b3 = BackendSpec { address: "127.0.0.1:4".parse().unwrap(), weight: 1, ..b3 };
        web.backend.insert("b3".parse().unwrap(), b3);
        assert_eq!(plan.snapshot.unwrap().spec(), wanted);
        assert_eq!(plan.base, Some(Arc::new(spec(FILE))), "the next file is merged as before");
        assert!(plan.summary.starts_with("set by w.toml: "), "{}", plan.summary);
        assert_eq!(plan.undo, "weirctl config rollback 7 --if-version 8");
        assert_eq!(part("[pool.web]\nstrategy = \"random\"\n").unwrap().snapshot, None);
        for (text, part_of_it) in [
            ("", "names no listener and no pool"),
            ("[pool]\n", "names no listener and no pool"),
            ("[weir]\nshards = 2\n[pool.web]\n", "is read when weir starts"),
            ("[pool.web]\nstrategi = \"random\"\n", "unknown key `strategi`"),
            ("[pool.web.backend]\nb9 = { weight = 1 }\n", "b9 has no address"),
            ("[listener.web]\npool = \"nopool\"\n", "there is no pool \"nopool\""),
            ("[pool.web.backend]\nb1 = { weight = 300 }\n", "w.toml:2"),
        ] {
            let refusal = part(text).unwrap_err();
            assert_eq!(refusal.code, Code::Invalid);
            assert!(refusal.message.contains(part_of_it), "{text}: {}", refusal.message);
        }
    }

    #[test]
    fn a_partial_file_takes_away_what_it_leaves_empty() {
        let ours = FILE.replace("127.0.0.1:3\"", "127.0.0.1:3\", weight = 7")
            + "[pool.old]\nhealth = { kind = \"http\", path = \"/up\" }\n";
        let part = |text: &str| apply([FILE, text, &ours], ApplyMode::Partial, (false, false));
        let plan = part(
            "[pool]\nold = \"\"\n[pool.web]\nstrategy = \"\"\nhealth = \"\"\n\
             [pool.web.backend]\nb1 = \"\"\nb2 = { weight = \"\" }\n",
        );
        let mut wanted = spec(&ours);
        wanted.pool.remove("old");
        let web = wanted.pool.get_mut("web").unwrap();
        web.backend.remove("b1");
        web.backend.get_mut("b2").unwrap().weight = 1;
        web.strategy = PoolSpec::default().strategy;
        web.health = PoolSpec::default().health;
        assert_eq!(plan.unwrap().snapshot.unwrap().spec(), wanted);
        for (text, part_of_it) in [
            ("[pool]\noldd = \"\"\n", "there is no pool \"oldd\""),
            ("[pool]\noldd = \"\"\n", "did you mean `old`?"),
            ("[listener]\nweb = { bind = \"\" }\n", "w.toml:2"),
            ("[pool.web.backend]\nb7 = \"\"\n", "there is no backend \"b7\""),
            ("[pool]\nweb = \"\"\n", "there is no pool \"web\""),
        ] {
            let refusal = part(text).unwrap_err();
            assert_eq!(refusal.code, Code::Invalid);
            assert!(refusal.message.contains(part_of_it), "{text}: {}", refusal.message);
        }
        let whole = FILE.replace("b1 = {", "b0 = \"\"\nb1 = {");
        assert!(apply([FILE, &whole, FILE], ApplyMode::Merge, (false, false)).is_err());
    }

    #[test]
    fn an_edited_text_is_in_force_as_it_is_and_no_base() {
        let ours = FILE.replace("127.0.0.1:2\"", "127.0.0.1:2\", weight = 7");
        let text = ours.replace("random", "maglev").replace("b2 =", "b9 =");
        let edit = |text: &str, force| apply([FILE, text, &ours], ApplyMode::Edit, (force, false));
        let plan = edit(&text, false).unwrap();
        assert_eq!(plan.snapshot.unwrap().spec(), spec(&text));
        assert_eq!((plan.base, plan.warnings.len()), (Some(Arc::new(spec(FILE))), 0));
        assert!(plan.summary.starts_with("edit: "), "{}", plan.summary);
        assert_eq!(edit(&ours, false).unwrap().snapshot, None);
        assert_eq!(edit("", false).unwrap_err().code, Code::NeedsForce);
        assert!(edit("", true).unwrap().snapshot.is_some());
    }

    #[test]
    fn a_conflict_is_refused_with_every_key_and_a_way_out() {
        let [three, seven] = [3, 7].map(|weight| {
            let line = format!("127.0.0.1:2\", weight = {weight}");
            FILE.replace("127.0.0.1:2\"", &line)
        });
        let sides = [FILE, &three, &seven];
        for dry_run in [false, true] {
            let refusal = apply(sides, ApplyMode::Merge, (true, dry_run)).unwrap_err();
            assert_eq!(refusal.code, Code::Conflict);
            let text = "backend web/b1 weight: was 1, is 3 in the file and 7 in force";
            assert!(refusal.message.ends_with(text), "{refusal:?}");
            assert_eq!(refusal.conflicts.len(), 1);
            assert!(refusal.hint.contains("weirctl config apply w.toml --ours"), "{refusal:?}");
        }
        for (mode, weight) in
            [(ApplyMode::Ours, 7), (ApplyMode::Theirs, 3), (ApplyMode::Replace, 3)]
        {
            let plan = apply(sides, mode, (false, false)).unwrap();
            let next = plan.snapshot.unwrap();
            assert_eq!(next.pool("web").unwrap().backend("b1").unwrap().weight, weight);
            assert_eq!(plan.base, Some(Arc::new(spec(&three))), "{mode:?}");
            let undone = "it undoes what was changed at run time: backend web/b1 weight: 7 → 3";
            let warnings: &[&str] = if mode == ApplyMode::Replace { &[undone] } else { &[] };
            assert_eq!(plan.warnings, warnings);
        }
        let difference = difference(
            &Snapshot::build(
                &spec(&seven),
                Version(7),
                &Snapshot::empty(),
                &mut IdSource::default(),
            )
            .unwrap(),
            IdSource::default(),
            (&three.replace("random", "maglev"), "w.toml"),
            &Some(Arc::new(spec(FILE))),
            &Load::default(),
        );
        let difference = difference.unwrap();
        assert_eq!(difference.conflicts.len(), 1);
        assert!(difference.proposed.contains("weight = 7"), "{}", difference.proposed);
        assert!(difference.proposed.contains("maglev"), "{}", difference.proposed);
    }

    #[test]
    fn what_takes_away_too_much_needs_force_whatever_the_mode() {
        let none = FILE.lines().filter(|line| !line.starts_with('b') || line.starts_with("bind"));
        let none = none.collect::<Vec<_>>().join("\n");
        for (file, why) in [("", "it is empty"), (&none, "every backend of pool web would be gone")]
        {
            for mode in [ApplyMode::Merge, ApplyMode::Ours, ApplyMode::Theirs, ApplyMode::Replace] {
                let sides = [FILE, file, FILE];
                let refusal = apply(sides, mode, (false, false)).unwrap_err();
                assert_eq!(refusal.code, Code::NeedsForce);
                assert!(refusal.message.contains(why), "{refusal:?}");
                assert!(refusal.hint.contains("w.toml --force"), "{refusal:?}");
                for flags in [(true, false), (false, true)] {
                    let plan = apply(sides, mode, flags).unwrap();
                    assert!(plan.warnings.iter().any(|it| it.contains(why)), "{:?}", plan.warnings);
                }
            }
        }
        // It has been empty before, and everything was added by commands.
        assert_eq!(apply(["", "", FILE], ApplyMode::Merge, (false, false)).unwrap().snapshot, None);
    }

    #[test]
    fn a_file_must_be_whole_by_itself() {
        let base = format!("{FILE}[pool.db]\n");
        let file = "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"db\"\n";
        let refusal = apply([&base, file, &base], ApplyMode::Ours, (true, false)).unwrap_err();
        assert_eq!(refusal.code, Code::Invalid);
        assert!(refusal.message.contains("there is no pool \"db\""), "{refusal:?}");
    }
}
