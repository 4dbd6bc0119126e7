//! `weir check`: a file from the disk, and what is wrong with it.

use std::path::Path;

use weir_proto::answer::SCHEMA;
use weir_proto::json;
use weir_proto::outside::spelled;
use weir_proto::snapshot::Fault;
use weir_proto::spec::Spec;

use crate::api::settings_audit;
use crate::sources;
use crate::streams;
use weir_control_core::file::{self, Diagnostic, File, Settings, advice};

/// Reads and checks the file at `path`.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read(path: &Path) -> Result<File, Vec<Diagnostic>> {
    let origin = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => file::parse(&text, &origin),
        Err(fault) => Err(vec![Diagnostic::unreadable(&origin, &fault)]),
    }
}

/// `weir check`: prints what is wrong with the file at `path` and gives the exit code. `more` finds
/// faults beyond those of [`weir_proto::snapshot::Snapshot::build`].
pub(crate) fn check_command(path: &Path, json: bool, more: impl Fn(&Spec) -> Vec<Fault>) -> u8 {
    let (wrong, warnings) = match read(path) {
        Ok(file) => {
            let mut faults = more(&file.spec);
            faults.extend(settings_audit::faults(&file.settings));
            let is_empty = file.spec == Spec::default() && file.settings == Settings::default();
            if is_empty {
                let hint = "was it cut short? [weir] with a setting is a file without listeners";
                faults.push(Fault::new("", "it is empty: nothing would be accepted", hint));
            }
            faults.extend(advice::faults(&file.settings, &file.spec));
            let mut warnings = settings_audit::warnings(&file.settings);
            warnings.extend(settings_audit::unknown_entries(&file.settings));
            if !is_empty {
                warnings.extend(advice::warnings(&file.spec));
                warnings.extend(sources::warnings(&file.spec));
            }
            (file.diagnose(&faults), warnings)
        }
        Err(diagnostics) => (diagnostics, Vec::new()),
    };
    let mut answer = String::new();
    let name = path.display().to_string();
    let name = spelled(&name);
    if json {
        answer = json::escaped(json_report(&wrong, &warnings).to_string()) + "\n";
    } else {
        for warning in &warnings {
            streams::err(&format!("warning: {}", spelled(warning)));
        }
        if wrong.is_empty() {
            answer = format!("{name}: ok\n");
        } else {
            let colour = is_coloured();
            for diagnostic in &wrong {
                streams::err(&format!("{}\n", diagnostic.render(colour)));
            }
            let plural = if wrong.len() == 1 { "" } else { "s" };
            streams::err(&format!("{name}: {} error{plural}", wrong.len()));
        }
    }
    // An answer that could not be given is none.
    let is_told = streams::out(&answer).is_ok();
    u8::from(!wrong.is_empty() || !is_told)
}

fn json_report(wrong: &[Diagnostic], warnings: &[String]) -> serde_json::Value {
    let ok = wrong.is_empty();
    serde_json::json!({ "schema": SCHEMA, "ok": ok, "errors": wrong, "warnings": warnings })
}

/// Whether stderr wants colour: a terminal, unless NO_COLOR or TERM=dumb; or CLICOLOR_FORCE.
fn is_coloured() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !set("NO_COLOR") && (set("CLICOLOR_FORCE") || (streams::err_is_terminal() && !dumb))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_an_error_without_a_place() {
        let wrong = read(Path::new("/nonexistent/weir.toml")).unwrap_err();
        assert_eq!((wrong.len(), wrong[0].line), (1, 0));
        let text = wrong[0].render(false);
        let expected = "error: cannot read /nonexistent/weir.toml: No such file";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn a_report_has_its_keys() {
        let text = "[pool.web]\nbackend = { b2 = { address = \"10.0.0.12:443\" } }\n";
        let file = file::parse(text, "weir.toml").unwrap();
        let at = "pool.web.backend.b2.address";
        let wrong = file.diagnose(&[Fault::new(at, "no", "yes")]);
        let expected = serde_json::json!({
            "schema": "weir/v1",
            "ok": false,
            "errors": [{
                "file": "weir.toml",
                "line": 2,
                "column": 30,
                "message": "pool.web.backend.b2.address: no",
                "hint": "yes",
            }],
            "warnings": ["look out"],
        });
        assert_eq!(json_report(&wrong, &["look out".to_owned()]), expected);
        assert_eq!(json_report(&[], &[])["ok"], true);
    }
}
