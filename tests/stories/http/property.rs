//! weir against its own /openapi.json: requests that the document allows, made at random by a seed,
//! and the same with one fault in them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weir_tests::net::Script;
use weir_tests::story::Plan;
use weir_tests::weir::ctl::Page;

use super::{ask, json_of, schema, with_token};

/// Another number makes other requests; so does `WEIR_SEED`.
const SEED: u64 = 14;
const REQUESTS: usize = 400;

/// Makes values of a schema.
struct Maker<'a> {
    document: &'a Value,
    state: u64,
    /// Addresses that may be bound or connected to.
    addresses: Vec<String>,
}

impl Maker<'_> {
    /// A number below `end`: splitmix64.
    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end.max(1) as u64).expect("it is below end")
    }

    fn one_of<'v, T>(&mut self, list: &'v [T]) -> &'v T {
        &list[self.below(list.len())]
    }

    fn value(&mut self, schema: &Value) -> Value {
        if let Some(pointer) = schema["$ref"].as_str() {
            let document = self.document;
            let target = document.pointer(pointer.trim_start_matches('#'));
            return self.value(target.expect("a reference leads somewhere"));
        }
        for word in ["anyOf", "enum"] {
            if let Some(list) = schema[word].as_array() {
                let chosen = self.one_of(list).clone();
                return if word == "enum" { chosen } else { self.value(&chosen) };
            }
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => self.one_of(kinds).clone(),
            kind => kind.clone(),
        };
        match kind.as_str().expect("a type is a word") {
            "object" => self.object(schema),
            "array" => {
                let count = 1 + self.below(2);
                (0..count).map(|_| self.value(&schema["items"])).collect()
            }
            "integer" => {
                let bound = |word: &str, other| schema[word].as_u64().unwrap_or(other);
                let (min, max) = (bound("minimum", 0), bound("maximum", 1000));
                let span = usize::try_from((max - min).min(1000)).expect("it is small");
                let near = min + self.below(span + 1) as u64;
                json!(*self.one_of(&[min, near, max]))
            }
            "boolean" => json!(self.below(2) == 0),
            "string" => json!(self.text(schema)),
            "null" => Value::Null,
            other => panic!("this test does not know the type {other:?}"),
        }
    }

    fn object(&mut self, schema: &Value) -> Value {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let least = schema["minProperties"].as_u64().unwrap_or(0);
        let mut object = Map::new();
        while object.is_empty() {
            for (key, below) in schema["properties"].as_object().into_iter().flatten() {
                if required.contains(&json!(key)) || self.below(4) == 0 {
                    object.insert(key.clone(), self.value(below));
                }
            }
            if schema["additionalProperties"].is_object() {
                let name = *self.one_of(&["web", "b1", "b2", "new"]);
                object.insert(name.to_owned(), self.value(&schema["additionalProperties"]));
            }
            if least == 0 {
                break;
            }
        }
        Value::Object(object)
    }

    fn text(&mut self, schema: &Value) -> String {
        if let Some(pattern) = schema["pattern"].as_str() {
            return self.of_pattern(pattern);
        }
        if schema["examples"].as_array().is_some_and(|all| all.contains(&json!("[::1]:443"))) {
            let addresses = self.addresses.clone();
            return self.one_of(&addresses).clone();
        }
        (*self.one_of(&["x", "/", "two words", "ü\u{1F600}", "\\r\\n", "\u{1b}[2J"])).to_owned()
    }

    /// The patterns of weir's document: digits and a unit, and names.
    fn of_pattern(&mut self, pattern: &str) -> String {
        let number = *self.one_of(&["0", "1", "30", "500", "99999999999999999999"]);
        let units: &[&str] = match pattern {
            "^[0-9]+(ms|s|m|h|d)$" => &["ms", "s", "m", "h", "d"],
            "^[0-9]+(B|KiB|MiB)$" => &["B", "KiB", "MiB"],
            "^[0-9]+%$" => &["%"],
            "^[0-9]+/s$" => &["/s"],
            "^[0-9A-Fa-f.:]+(/[0-9]+)?$" => {
                return (*self.one_of(&["10.0.0.0/8", "::1", "192.0.2.7", "::/0"])).to_owned();
            }
            "^(connect-errors|healthy)=[0-9]+%$" => {
                return (*self.one_of(&["healthy=1%", "connect-errors=100%"])).to_owned();
            }
            "^(on|off)$" => return (*self.one_of(&["on", "off"])).to_owned(),
            "^(age|idle|bytes|rate)$" => {
                return (*self.one_of(&["age", "idle", "bytes", "rate"])).to_owned();
            }
            name if name.starts_with("^[A-Za-z0-9_]") && name.contains('/') => {
                return (*self.one_of(&["web/b1", "web/b2", "web/new", "_/_"])).to_owned();
            }
            "^[0-9]+[.][0-9]+[.][0-9]+$" => {
                return (*self.one_of(&["0.0.0", "1.0.7", "9.9.9", "0.99999999999.1"])).to_owned();
            }
            "^[0-9]+-[0-9]+$" => {
                return (*self.one_of(&["0-0", "1796000000000-7", "1-99999999999"])).to_owned();
            }
            "^(\"[0-9]+\"|[*])$" => return (*self.one_of(&["*", "\"1\"", "\"07\""])).to_owned(),
            "^[!-~]{1,253}$" => {
                return (*self.one_of(&["db.example.com", "*.a", "xn--d-xka.example"])).to_owned();
            }
            hold if hold.starts_with("^(reset|close|hold ") => {
                return (*self.one_of(&["reset", "close", "hold 5s", "hold 250ms"])).to_owned();
            }
            address if address.starts_with("^([0-9.]+(:[0-9]+)?|") => {
                return (*self.one_of(&["192.0.2.1", "::1", "[::1]:80", "192.0.2.1:80"]))
                    .to_owned();
            }
            "^[!-~]{1,1000}$" => {
                return (*self.one_of(&["h2", "http/1.1", "a,b;c=d"])).to_owned();
            }
            "^(send|expect) .+$" => {
                return (*self.one_of(&["send PING\\r\\n", "expect +PONG", "expect a;b"]))
                    .to_owned();
            }
            name if name.starts_with("^[A-Za-z0-9_]") => {
                return (*self.one_of(&["web", "b1", "b2", "new", "_", "9.-"])).to_owned();
            }
            other => panic!("this test does not know the pattern {other}"),
        };
        format!("{number}{}", self.one_of(units))
    }

    /// A fault that the document does not allow.
    fn broken(&mut self, body: &Value) -> Value {
        let mut broken = body.as_object().cloned().unwrap_or_default();
        let keys: Vec<String> = broken.keys().cloned().collect();
        match (self.below(3), keys.is_empty()) {
            (0, _) | (_, true) => broken.insert("no-such-key".to_owned(), json!(1)),
            (1, _) => broken.insert(self.one_of(&keys).clone(), json!([[1.5]])),
            _ => return (*self.one_of(&[json!([]), json!("x"), json!(7), Value::Null])).clone(),
        };
        Value::Object(broken)
    }
}

/// Holds an answer against the document.
fn check(document: &Value, operation: &Value, line: &str, page: &Page) {
    let content = if (200..300).contains(&page.status) {
        assert!(page.head.contains("etag: \""), "{line}: {page:?}");
        let status = page.status.to_string();
        &operation["responses"][status.as_str()]["content"]["application/json"]
    } else {
        // Only the host can be in the way of a change that makes sense.
        let is_of_the_host = page.status == 500 && page.body.contains("cannot bind");
        assert!((400..500).contains(&page.status) || is_of_the_host, "{line}: {page:?}");
        let kind = "application/problem+json";
        assert!(page.head.contains(&format!("content-type: {kind}")), "{line}: {page:?}");
        assert!(page.body.contains("\"hint\":\""), "{line}: {page:?}");
        return;
    };
    assert!(content.is_object(), "{line}: {} is not in the document", page.status);
    let wrong = schema::faults(document, &content["schema"], &json_of(page));
    assert!(wrong.is_empty(), "{line}: {wrong:?}");
}

/// One path with one method.
struct Target<'a> {
    path: &'a str,
    method: String,
    operation: &'a Value,
}

fn targets(document: &Value) -> Vec<Target<'_>> {
    let mut targets = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if path.starts_with("/api/") {
                targets.push(Target { path, method: method.to_uppercase(), operation });
            }
        }
    }
    targets
}

/// A request that the document allows.
#[derive(Debug)]
struct Made {
    line: String,
    headers: Vec<(String, String)>,
    body: Option<Value>,
}

/// Text as a URL has it (RFC 3986, 2.1).
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let byte = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

impl Maker<'_> {
    fn request(&mut self, target: &Target<'_>) -> Made {
        let (mut path, mut query, mut headers) = (target.path.to_owned(), Vec::new(), Vec::new());
        for parameter in target.operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().expect("a name");
            let place = parameter["in"].as_str().expect("a place");
            if place != "path" && self.below(3) > 0 {
                continue;
            }
            // Several values stand there several times.
            let values = match self.value(&parameter["schema"]) {
                Value::Array(values) => values,
                one => vec![one],
            };
            let values = values.into_iter().map(|value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            });
            for value in values {
                match place {
                    "path" => path = path.replace(&format!("{{{name}}}"), &value),
                    "query" => query.push(format!("{name}={}", escaped(&value))),
                    _ => headers.push((name.to_owned(), value)),
                }
            }
        }
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let schema = &target.operation["requestBody"]["content"]["application/json"]["schema"];
        let body = schema.is_object().then(|| self.value(schema));
        Made { line: format!("{} {path}{query}", target.method), headers, body }
    }
}

#[test]
fn requests_at_random_are_answered_as_the_document_says() {
    let set = with_token(Plan::new(2, Script::Banner));
    let document = json_of(&set.weir.get("/openapi.json"));
    let seed = std::env::var("WEIR_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(SEED);
    let mut addresses: Vec<String> =
        set.backends.iter().map(|backend| backend.address.to_string()).collect();
    addresses.push(set.weir.web.to_string());
    let mut maker = Maker { document: &document, state: seed, addresses };
    let targets = targets(&document);
    let mut statuses = BTreeMap::<u16, usize>::new();
    for number in 0..REQUESTS {
        let target = maker.one_of(&targets);
        let made = maker.request(target);
        let said = format!("seed {seed}, request {number}: {made:?}");
        let Made { line, headers, body } = &made;
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if let Some(body) = body
            && maker.below(3) == 0
        {
            let version = set.weir.version();
            let broken = maker.broken(body);
            let page = ask(&set, line, &headers, &broken.to_string());
            check(&document, target.operation, &said, &page);
            assert!((400..500).contains(&page.status), "{said} broken as {broken}: {page:?}");
            assert_eq!(set.weir.version(), version, "{said} broken as {broken}");
        }
        let text = body.as_ref().map_or_else(String::new, Value::to_string);
        let page = ask(&set, line, &headers, &text);
        check(&document, target.operation, &said, &page);
        // The document allows it, so it is at most refused for what it would do.
        let may_be = [200, 201, 404, 409, 412, 422, 500];
        // A duration of a question that no clock will see the end of.
        let is_too_long = page.status == 400 && line.contains("99999999999");
        // A question that wants some parameters, and not others beside them.
        let alone = line.contains("guard=") && !line.contains("confirm=");
        let is_unclear = page.status == 400 && (line.starts_with("GET /api/v1/why") || alone);
        assert!(is_too_long || is_unclear || may_be.contains(&page.status), "{said}: {page:?}");
        *statuses.entry(page.status).or_default() += 1;
    }
    // Some of everything, or the requests are too wild to say anything.
    for status in [200, 404, 409, 412, 422] {
        assert!(statuses.contains_key(&status), "seed {seed}: {statuses:?}");
    }
    set.weir.ok(&["status"]);
}
