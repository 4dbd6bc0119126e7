//! `WEIR_LOG`: parts like `LEVEL` or `TARGET=LEVEL`, joined by commas. A word that is neither would
//! be taken for a target, and the log would be silent.

use std::str::FromStr;

use tracing_subscriber::filter::LevelFilter;
use weir_proto::outside::cleaned;

use super::AUDIT;

/// Crates that write lines.
const TARGETS: &[&str] = &["weir", "glommio", "hyper"];
/// Those of weir that are behind `weir_`.
const PARTS: &[&str] = &["control_core", "core", "engine", "proto"];

/// Returns the directives of the filter. The level is `info` unless `text` gives one, and audit
/// lines are shown whatever it says.
///
/// # Errors
/// A sentence for the operator: `text` has a part that means nothing.
pub(super) fn directives(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if let Some(unknown) = parts.iter().find(|part| !is_known(part)) {
        return Err(format!(
            "WEIR_LOG: {:?} means nothing; write off, error, warn, info, debug or trace, or \
             TARGET=LEVEL with a target of {}, or weir_ and one of {}",
            cleaned(unknown, 100),
            TARGETS.join(", "),
            PARTS.join(", ")
        ));
    }
    let directives = ["info"].into_iter().chain(parts).chain([AUDIT]);
    Ok(directives.collect::<Vec<_>>().join(",") + "=info")
}

fn is_known(part: &str) -> bool {
    let is_level = |text: &str| LevelFilter::from_str(text).is_ok() && !text.is_empty();
    match part.split_once('=') {
        None => is_level(part),
        Some((target, level)) => {
            let name = target.split("::").next().unwrap_or_default();
            let part = name.split_once('_').filter(|(weir, _)| *weir == "weir");
            let is_part = part.is_some_and(|(_, part)| PARTS.contains(&part));
            (is_part || TARGETS.contains(&name))
                && target.split("::").all(|step| !step.is_empty())
                && is_level(level)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::filter::EnvFilter;

    #[test]
    fn the_level_is_info_unless_a_level_is_given_and_audit_is_always_shown() {
        for (text, filter) in [
            ("", "weir::audit=info,info"),
            ("warn", "weir::audit=info,warn"),
            ("off", "weir::audit=info,off"),
            ("ERROR,weir_engine=debug", "weir::audit=info,weir_engine=debug,error"),
            ("weir_engine::ring=trace", "weir_engine::ring=trace,weir::audit=info,info"),
            // It cannot be turned off.
            ("off,weir::audit=off", "weir::audit=info,off"),
        ] {
            let directives = directives(text).unwrap();
            let shown = EnvFilter::try_new(&directives).unwrap().to_string();
            let parts = |text: &str| {
                let mut parts: Vec<String> = text.split(',').map(str::to_owned).collect();
                parts.sort();
                parts
            };
            assert_eq!(parts(&shown), parts(filter), "{text}");
        }
    }

    #[test]
    fn a_word_that_means_nothing_is_refused() {
        for text in
            ["wran", "warning", "wier=debug", "weir=wran", "=info", "info;warn", "weir::=info"]
        {
            let refused = directives(text).unwrap_err();
            assert!(refused.contains(&format!("{text:?} means nothing")), "{refused}");
        }
        assert!(directives("debug,wran").unwrap_err().contains("\"wran\""));
    }
}
