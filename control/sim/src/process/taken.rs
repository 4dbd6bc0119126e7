//! A file without force takes no pool's backends away. This goes by names and addresses,
//! and knows nothing of how the planner counts.

use weir_proto::request::ChangeRequest;
use weir_proto::spec::{CopyOnWrite, PoolSpec, Spec};

use super::StepResult;

/// Compares what an applied file has made with what was in force.
///
/// # Errors
/// A pool has lost all of its backends, or there is no listener any more, without force.
pub(super) fn check_taken(request: &ChangeRequest, ours: &Spec, next: &Spec) -> StepResult {
    let ChangeRequest::Apply { force: false, .. } = request else { return Ok(()) };
    if next.listener.is_empty() && !ours.listener.is_empty() {
        return Err("a file that nobody forced has taken every listener away".to_owned());
    }
    // What DNS has found is in no spec: it may serve on, here or in another pool.
    let is_known = |pool: &&CopyOnWrite<PoolSpec>| pool.discover.source().is_none();
    for (name, pool) in ours.pool.iter().filter(|(_, pool)| is_known(pool)) {
        let has_none = next.pool.get(name).is_none_or(|pool| pool.backend.is_empty());
        let mut elsewhere = next.pool.values().flat_map(|pool| pool.backend.values());
        let is_moved =
            elsewhere.any(|it| pool.backend.values().any(|own| own.address == it.address));
        if has_none && !pool.backend.is_empty() && !is_moved {
            return Err(format!("a file that nobody forced has taken pool {name}'s backends away"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_control_core::file;
    use weir_proto::request::ApplyMode;

    #[test]
    fn what_is_taken_away_without_force_is_found() {
        let spec = |toml: &str| file::parse(toml, "x").unwrap().spec;
        let apply = |force| {
            let (toml, origin) = (String::new(), "x".to_owned());
            ChangeRequest::Apply { toml, origin, mode: ApplyMode::Replace, force }
        };
        let listener = "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"web\"\n";
        let pool =
            |name: &str| format!("[pool.{name}.backend]\nb1 = {{ address = \"10.0.0.1:1\" }}\n");
        let whole = spec(&format!("{listener}{}", pool("web")));
        let taken = |next: &str| check_taken(&apply(false), &whole, &spec(next));
        assert!(taken("").unwrap_err().contains("every listener"));
        let emptied = format!("{listener}[pool.web]\n");
        assert!(taken(&emptied).unwrap_err().contains("pool web"));
        assert_eq!(check_taken(&apply(true), &whole, &spec(&emptied)), Ok(()));
        let moved = format!("{emptied}{}", pool("other"));
        assert_eq!(taken(&moved), Ok(()), "it has another pool");
    }
}
