//! Which operation a path and a method name. Pure.

use weir_proto::request::{Code, Refusal};

use super::operations::{HttpVerb, Names, OPERATIONS, Operation, Target};
use super::parameters::{ParameterForm, shown};

/// Why there is no operation.
#[derive(Debug)]
pub(super) enum Miss {
    /// There is no such path.
    Path(Refusal),
    /// There is, with these methods only.
    Method(Vec<HttpVerb>),
}

/// Finds the operation, and what stands for each of its names.
///
/// # Errors
/// There is none.
pub(super) fn find(
    verb: Option<HttpVerb>,
    path: &str,
) -> Result<(&'static Operation, Names<'_>), Miss> {
    let mut others = Vec::new();
    for operation in OPERATIONS {
        let Some(names) = fits(operation.path, path) else { continue };
        if Some(operation.verb) == verb {
            return Ok((operation, names));
        }
        others.push(operation.verb);
    }
    if others.is_empty() {
        let message = format!("there is no {}", shown(path));
        return Err(Miss::Path(Refusal::new(Code::NotFound, message, "GET / lists them")));
    }
    Err(Miss::Method(others))
}

/// The word of `path` for each name in braces of `template`, if it has its form.
fn fits<'a>(template: &str, path: &'a str) -> Option<Names<'a>> {
    let (mut wanted, mut parts) = (template.split('/'), path.split('/'));
    let mut names = Vec::new();
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return Some(Names(names)),
            // Names have no letters that a path must escape. An empty one would mean "all" further
            // on.
            (Some(wanted), Some(part)) if wanted.starts_with('{') && !part.is_empty() => {
                names.push(part);
            }
            (Some(wanted), Some(part)) if wanted == part => {}
            _ => return None,
        }
    }
}

/// The text of `GET /`.
pub(super) fn index() -> String {
    let mut text = "weir\n\n".to_owned();
    for operation in OPERATIONS {
        let line = format!("{:<6} {}{}", operation.verb.word(), operation.path, query(operation));
        text += &format!("{line:<61} {}\n", operation.summary);
    }
    text
}

/// `[?after=ID]`
fn query(operation: &Operation) -> String {
    let parameters = match &operation.target {
        Target::PlainPage(_) => return String::new(),
        Target::Query { parameters, .. }
        | Target::Stream { parameters, .. }
        | Target::Change { parameters, .. }
        | Target::Act { parameters, .. } => parameters,
    };
    let shown = parameters.iter().map(|parameter| match parameter.form {
        ParameterForm::Flag => format!("{}=true", parameter.name),
        ParameterForm::Number { .. } => format!("{}=N", parameter.name),
        ParameterForm::Text { .. } => format!("{}=TEXT", parameter.name),
        ParameterForm::Kinds => format!("{}=KIND", parameter.name),
        ParameterForm::Guards => format!("{}=WHAT=N%25", parameter.name),
    });
    let shown = shown.collect::<Vec<_>>().join("&");
    if shown.is_empty() { shown } else { format!("[?{shown}]") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::operations::PlainPage;
    use crate::api::http::parameters::Parameters;
    use weir_proto::request::Query;

    /// The question that a path with these parameters asks.
    fn question(path: &str, query: Option<&str>) -> Result<Query, Refusal> {
        let path = format!("/api/v1/{path}");
        match find(Some(HttpVerb::Get), &path) {
            Ok((Operation { target: Target::Query { parameters, make, .. }, .. }, names)) => {
                make(&names, &Parameters::read(&path, query, parameters)?)
            }
            Ok(_) => panic!("{path} asks nothing"),
            Err(miss) => panic!("{path}: {miss:?}"),
        }
    }

    #[test]
    fn paths_become_questions() {
        let text = |text: &str| text.to_owned();
        let cases = [
            ("status", Query::Status),
            ("shards", Query::Shards),
            ("listeners", Query::ListenerList),
            ("listeners/web", Query::ListenerShow { name: text("web") }),
            ("pools", Query::PoolList),
            ("pools/web", Query::PoolShow { name: text("web") }),
            ("backends", Query::BackendList { pool: None }),
            ("backends/web", Query::BackendList { pool: Some(text("web")) }),
            ("backends/web/b1", Query::BackendShow { name: text("web/b1") }),
            ("stats", Query::Stats { subject: None }),
            ("stats/web", Query::Stats { subject: Some(text("web")) }),
            ("stats/web/b1", Query::Stats { subject: Some(text("web/b1")) }),
            ("latency", Query::Latency { pool: None }),
            ("latency/web", Query::Latency { pool: Some(text("web")) }),
            ("config", Query::ConfigExport { version: None }),
            ("config/versions/12", Query::ConfigExport { version: Some(12) }),
            ("config/history", Query::ConfigHistory { before: None, limit: None }),
        ];
        for (path, wanted) in cases {
            assert_eq!(question(path, None), Ok(wanted), "{path}");
        }
        assert_eq!(question("config/versions/x", None).unwrap_err().code, Code::Invalid);
        let pages = [
            ("/", PlainPage::Index),
            ("/dashboard/0/main.js", PlainPage::Part),
            ("/metrics", PlainPage::Metrics),
            ("/healthz", PlainPage::Healthz),
            ("/readyz", PlainPage::Readyz),
            ("/openapi.json", PlainPage::OpenApi),
        ];
        for (path, wanted) in pages {
            let (operation, _) = find(Some(HttpVerb::Get), path).unwrap();
            assert!(
                matches!(operation.target, Target::PlainPage(page) if page == wanted),
                "{path}"
            );
        }
    }

    #[test]
    fn other_paths_are_not_found_and_other_methods_are_named() {
        let paths = ["/metric", "/api/v1", "/api/v1/", "/api/v1/pools/", "/api/v1/pools/a/b", "/x"];
        for path in paths {
            assert!(matches!(find(Some(HttpVerb::Get), path), Err(Miss::Path(_))), "{path}");
        }
        let methods = |path| match find(None, path) {
            Err(Miss::Method(verbs)) => verbs,
            _ => panic!("{path}"),
        };
        assert_eq!(methods("/metrics"), [HttpVerb::Get]);
        assert_eq!(
            methods("/api/v1/backends/web/b1"),
            [HttpVerb::Get, HttpVerb::Put, HttpVerb::Patch, HttpVerb::Delete]
        );
        assert_eq!(methods("/api/v1/backends/web/b1/drain"), [HttpVerb::Post]);
    }

    #[test]
    fn no_two_operations_fit_the_same_request() {
        for (index, one) in OPERATIONS.iter().enumerate() {
            let path = one.path.replace(['{', '}'], "");
            let (found, _) = find(Some(one.verb), &path).unwrap();
            assert!(core::ptr::eq(found, one), "{} {path} is of row {index}", one.verb.word());
        }
    }

    #[test]
    fn the_index_has_every_operation() {
        let text = index();
        assert_eq!(text.lines().count(), OPERATIONS.len() + 2);
        assert!(
            text.contains(
                "GET    /api/v1/events[?after=N&kind=KIND&since=TEXT&last-event-id=TEXT]"
            ),
            "{text}"
        );
        assert!(text.contains("DELETE /api/v1/backends/{pool}/{backend}[?dry-run=true&yes=true"));
    }

    #[test]
    fn a_page_of_history_has_an_end_and_a_size() {
        let history = |query| question("config/history", Some(query));
        let page = |before, limit| Ok(Query::ConfigHistory { before, limit });
        assert_eq!(history("limit=20&before=7"), page(Some(7), Some(20)));
        assert_eq!(history("before=7"), page(Some(7), None));
        assert_eq!(history("limit=0"), page(None, Some(0)), "control knows the range");
        for (query, part) in [
            ("limit=many", "limit=\"many\" is not a whole number"),
            ("before=", "before=\"\" is not a whole number"),
            ("before=-1", "before=\"-1\" is not"),
            ("before=+1", "before=\"+1\" is not"),
            ("limit=18446744073709551616", "is not a whole number"),
            ("limit=1&limit=2", "has one, not two, parameter \"limit\""),
            ("after=1", "has no parameter \"after\""),
        ] {
            let refusal = history(query).unwrap_err();
            assert!(refusal.message.contains(part), "{query}: {}", refusal.message);
            assert_eq!(refusal.code, Code::Invalid);
        }
        assert_eq!(history("before=x").unwrap_err().hint, "/api/v1/config/history?before=1");
    }

    #[test]
    fn a_path_of_any_length_is_quoted_in_short() {
        let long = "after=".to_owned() + &"x".repeat(8_000);
        let Err(Miss::Path(refusal)) = find(Some(HttpVerb::Get), &long) else { panic!("no path") };
        assert!(refusal.message.len() < 250);
    }

    #[test]
    fn a_parameter_that_is_not_known_is_refused_not_ignored() {
        for (path, query) in [
            ("config/history", "befor=2"),
            ("config/history", "before=2&x"),
            ("backends", "pool=web"),
            ("status", "x"),
        ] {
            let refusal = question(path, Some(query)).unwrap_err();
            assert_eq!(refusal.code, Code::Invalid, "{path}?{query}");
            assert!(refusal.message.contains("has no parameter"), "{}", refusal.message);
        }
        assert_eq!(question("status", Some("")), Ok(Query::Status));
    }
}
