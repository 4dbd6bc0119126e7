//! /openapi.json: the paths of [`super::operations`], the tables of settings and the types of
//! answers as an OpenAPI document (ADR 0035).

mod settings;
pub(super) mod shape;

use serde_json::{Map, Value, json};
use weir_proto::answer::{Changed, EventKind};
use weir_proto::settings::{BACKEND, LISTENER, POOL};

use super::body::BodyKind;
use super::operations::{HttpVerb, OPERATIONS, Operation, PlainPage, Streamed, Target};
use super::parameters::{Parameter, ParameterForm};
use super::streaming::EVENT_STREAM;

/// The document.
pub(super) fn document() -> String {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.verb.word().to_lowercase()] = described(operation);
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "weir",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What weirctl can do, over HTTP. Reading needs no token. A change needs \
                the bearer token of [weir] admin-token-file. Each answer's ETag is the version of \
                the configuration; a change with If-Match is refused (412) when another version is \
                in force.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": {
                "Problem": problem(),
                "Changed": shape::of::<Changed>(),
                "Listener": settings::body(LISTENER, true),
                "ListenerPatch": settings::body(LISTENER, false),
                "Pool": settings::body(POOL, true),
                "PoolPatch": settings::body(POOL, false),
                "Backend": settings::body(BACKEND, true),
                "BackendPatch": settings::body(BACKEND, false),
                "Configuration": settings::configuration(true),
                "ConfigurationPatch": settings::configuration(false),
            },
        },
    });
    document.to_string() + "\n"
}

fn described(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": id(operation),
        "summary": operation.summary,
    });
    let mut parameters: Vec<Value> = names(operation.path).map(in_path).collect();
    match &operation.target {
        Target::PlainPage(page) => {
            let kind = match page {
                PlainPage::OpenApi => "application/json",
                PlainPage::Part => "*/*",
                PlainPage::Index | PlainPage::Metrics | PlainPage::Healthz | PlainPage::Readyz => {
                    "text/plain"
                }
            };
            let other = content("text/plain", &json!({}));
            described["responses"] = json!({"200": content(kind, &json!({})), "default": other});
        }
        Target::Query { parameters: query, answer, .. } => {
            parameters.extend(query.iter().map(in_query));
            let done = with_etag(content("application/json", &answer()));
            described["responses"] = json!({"200": done, "default": refused()});
        }
        Target::Stream { parameters: query, answer, of } => {
            parameters.extend(query.iter().map(in_query));
            if *of == Streamed::Events {
                parameters.push(last_event_id());
            }
            let mut done = with_etag(content("application/json", &answer()));
            done["content"][EVENT_STREAM] = json!({"schema": {"type": "string"}});
            described["responses"] = json!({"200": done, "default": refused()});
        }
        Target::Act { parameters: query, answer, .. } => {
            parameters.extend(query.iter().map(in_query));
            described["security"] = json!([{ "token": [] }]);
            let done = with_etag(content("application/json", &answer()));
            described["responses"] = json!({"200": done, "default": refused()});
        }
        Target::Change { parameters: query, body, .. } => {
            parameters.extend(query.iter().map(in_query));
            parameters.push(json!({
                "name": "If-Match",
                "in": "header",
                "description": "The version that must be in force, in quotes, or *.",
                "schema": { "type": "string", "pattern": "^(\"[0-9]+\"|[*])$" },
                "example": "*",
            }));
            described["security"] = json!([{ "token": [] }]);
            let done = with_etag(content("application/json", &reference("Changed")));
            described["responses"] = json!({"200": done, "default": refused()});
            if operation.verb == HttpVerb::Put && *body != BodyKind::Config {
                described["responses"]["201"] = described["responses"]["200"].clone();
            }
            if let Some(body) = request_body(*body, operation.verb) {
                described["requestBody"] = body;
            }
        }
    }
    described["parameters"] = parameters.into();
    described
}

/// Browsers send it when they connect again.
fn last_event_id() -> Value {
    json!({
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The id of the last event that was seen, of a stream.",
        "schema": { "type": "string", "pattern": super::events::ID },
    })
}

/// `get_backends_pool_backend`
fn id(operation: &Operation) -> String {
    let path = operation.path.trim_start_matches("/api/v1").replace(['{', '}'], "");
    let words = path.split(['/', '.']).filter(|word| !word.is_empty());
    let verb = operation.verb.word().to_lowercase();
    core::iter::once(verb.as_str()).chain(words).collect::<Vec<_>>().join("_")
}

/// The names in braces.
pub(super) fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn in_path(name: &str) -> Value {
    let schema = match name {
        "version" | "task" => json!({"type": "integer", "minimum": 1}),
        "session" => json!({"type": "string", "pattern": "^[0-9]+[.][0-9]+[.][0-9]+$"}),
        _ => settings::name(),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

fn in_query(parameter: &Parameter) -> Value {
    let schema = match parameter.form {
        ParameterForm::Flag => json!({"type": "boolean"}),
        ParameterForm::Number { min, max } => {
            json!({"type": "integer", "minimum": min, "maximum": max})
        }
        ParameterForm::Text { pattern } => json!({"type": "string", "pattern": pattern}),
        ParameterForm::Kinds => {
            let words: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.word()).collect();
            json!({"type": "array", "items": {"type": "string", "enum": words}})
        }
        ParameterForm::Guards => {
            let pattern = "^(connect-errors|healthy)=[0-9]+%$";
            json!({"type": "array", "items": {"type": "string", "pattern": pattern}})
        }
    };
    json!({"name": parameter.name, "in": "query", "description": parameter.help, "schema": schema})
}

fn request_body(kind: BodyKind, verb: HttpVerb) -> Option<Value> {
    let patch = if verb == HttpVerb::Patch { "Patch" } else { "" };
    let schema = match kind {
        BodyKind::None => return None,
        BodyKind::Listener => reference(&format!("Listener{patch}")),
        BodyKind::Pool => reference(&format!("Pool{patch}")),
        BodyKind::Backend => reference(&format!("Backend{patch}")),
        BodyKind::Config => reference("Configuration"),
        BodyKind::PartialConfig => reference("ConfigurationPatch"),
        BodyKind::Version => json!({
            "type": "object",
            "required": ["version"],
            "additionalProperties": false,
            "properties": { "version": { "type": "integer", "minimum": 1 } },
        }),
    };
    let mut content = json!({"application/json": {"schema": schema}});
    if matches!(kind, BodyKind::Config | BodyKind::PartialConfig) {
        content["application/toml"] = json!({"schema": {"type": "string"}});
    }
    Some(json!({"required": true, "content": content}))
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn content(kind: &str, schema: &Value) -> Value {
    json!({"description": "", "content": {kind: {"schema": schema}}})
}

fn with_etag(mut response: Value) -> Value {
    response["headers"] = json!({
        "ETag": {
            "description": "The version of the configuration, in quotes.",
            "schema": { "type": "string" },
        }
    });
    response
}

fn refused() -> Value {
    content("application/problem+json", &reference("Problem"))
}

/// An error: RFC 9457, with the keys of weirctl's JSON.
fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "code", "message", "hint", "did_you_mean"],
        "properties": {
            "type": { "const": "about:blank" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "code": { "type": "string" },
            "message": { "type": "string" },
            "hint": { "type": "string", "description": "What to do about it." },
            "did_you_mean": { "type": "array", "items": { "type": "string" } },
            "conflicts": { "type": "array", "items": { "type": "object" } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_described_once() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let methods: usize = paths.values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(methods, OPERATIONS.len());
        let mut ids: Vec<String> = OPERATIONS.iter().map(id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), OPERATIONS.len());
        let drain = &paths["/api/v1/backends/{pool}/{backend}/drain"]["post"];
        assert_eq!(drain["operationId"], "post_backends_pool_backend_drain");
        assert_eq!(drain["security"], json!([{"token": []}]));
        assert!(paths["/api/v1/status"]["get"].get("security").is_none());
    }
}
