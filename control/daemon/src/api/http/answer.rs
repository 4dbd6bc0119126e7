//! Responses: documents of JSON, problems (RFC 9457) and plain text.

use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use weir_proto::answer::Answer;
use weir_proto::json::{self, Layout, RefusalBody};
use weir_proto::request::{Code, Refusal};

use crate::rt::{self, Bulky};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// An error as HTTP says it. `error` is as in weirctl's JSON; its keys stand beside it, too.
#[derive(Serialize)]
struct Problem<'a> {
    error: RefusalBody<'a>,
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    refusal: RefusalBody<'a>,
}

/// An answer of control as JSON, with the version of the configuration as its ETag. Of a long one
/// another thread makes the text.
pub(super) async fn document(status: StatusCode, answer: Answer, version: u64) -> Response<Bytes> {
    let is_long = answer.is_long();
    let body = rt::blocking_if(is_long, move || json::answer(&answer, Layout::Line) + "\n").await;
    json_of_version(status, body, version)
}

/// A document of JSON of this version of the configuration.
pub(super) fn json_of_version(status: StatusCode, body: String, version: u64) -> Response<Bytes> {
    let mut response = text(status, JSON, Bytes::from_owner(Bulky::new(body)));
    let tag = HeaderValue::from_str(&format!("\"{version}\"")).expect("digits and quotes");
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// The OpenAPI document.
pub(super) fn json_text(body: impl Into<Bytes>) -> Response<Bytes> {
    text(StatusCode::OK, JSON, body)
}

/// The status of a refusal by control.
pub(super) fn status(code: Code) -> StatusCode {
    match code {
        Code::Invalid => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        // Of versions: only If-Match asks for one.
        Code::Conflict => StatusCode::PRECONDITION_FAILED,
        Code::Exists | Code::NeedsYes | Code::NeedsForce => StatusCode::CONFLICT,
        Code::Denied => StatusCode::FORBIDDEN,
        Code::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Upgrading => StatusCode::SERVICE_UNAVAILABLE,
    }
}

pub(super) fn refused(status: StatusCode, refusal: &Refusal) -> Response<Bytes> {
    let title = status.canonical_reason().unwrap_or("Refused");
    let detail = &refusal.message;
    let error: RefusalBody<'_> = refusal.into();
    let (r#type, status_code) = ("about:blank", status.as_u16());
    let problem = Problem { error, r#type, title, status: status_code, detail, refusal: error };
    let mut answer = text(status, PROBLEM, json::document(&problem, Layout::Line) + "\n");
    let headers = answer.headers_mut();
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // What follows on the connection is the body that was not wanted.
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {} // The others need no header.
    }
    answer
}

pub(super) fn plain(status: StatusCode, body: String) -> Response<Bytes> {
    text(status, "text/plain; charset=utf-8", body)
}

pub(super) fn text(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
