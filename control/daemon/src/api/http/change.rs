//! A change over HTTP: who sends it, what it says, and its answer. Whether and how it is made is
//! decided where weirctl's changes are.

use hyper::body::{Body, Bytes};
use hyper::header;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Response, StatusCode};
use weir_proto::answer::{Answer, Note};
use weir_proto::outside::cleaned;
use weir_proto::request::{ChangeOptions, Code, Command, Refusal, Request, Response as Outcome};

use super::answer::{document, refused, status};
use super::body::{self, BODY_TIME, BodyKind, Content};
use super::connections::{ConnectionSlot, ConnectionState};
use super::operations::{HttpVerb, Names, Operation, Target};
use super::parameters::Parameters;
use crate::api::gate::{Bearer, Gate, Handler, Principal};
use crate::rt;

/// A request for a change, and where it came in.
pub(super) struct Asked<'a> {
    pub(super) operation: &'static Operation,
    pub(super) names: Names<'a>,
    pub(super) parts: &'a Parts,
    pub(super) slot: &'a ConnectionSlot,
    pub(super) principal: Principal,
}

impl Asked<'_> {
    /// Method and path, for the history and the log.
    fn words(&self) -> String {
        format!("{} {}", self.operation.verb.word(), cleaned(self.parts.uri.path(), 200))
    }
}

/// Makes a change, or says why not.
pub(super) async fn make<B, H>(asked: Asked<'_>, body: B, gate: &Gate<H>) -> Response<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn core::error::Error + Send + Sync>>,
    H: Handler + 'static,
{
    let (verb, what) = (asked.operation.verb, asked.words());
    let has_body = asked.operation.body() != BodyKind::None;
    // Before its body is read: a stranger makes weir hold nothing.
    let admitted = gate.admit_change(&asked.principal, &what);
    let prepared = admitted
        .map_err(|refusal| (status_of_stranger(&asked.principal), refusal))
        .and_then(|()| prepare(&asked, body.size_hint().lower()));
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err((status, refusal)) => {
            asked.slot.enter(ConnectionState::Body, rt::now());
            body::discard(body).await;
            return refused(status, &refusal);
        }
    };
    let request = match request(&asked, prepared, body).await {
        Ok(request) => request,
        Err((status, refusal)) => return refused(status, &refusal),
    };
    let if_version = match &request {
        Request::Command(Command::Change { options, .. }) => options.if_version,
        _ => None,
    };
    match gate.ask(&asked.principal, request).await {
        Outcome::Done(Answer::Changed(changed)) => {
            let is_new = changed.before.is_none() && !changed.dry_run;
            let status = if verb == HttpVerb::Put && is_new && asked.names.are_some() {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            let version = changed.version;
            document(status, Answer::Changed(changed), version).await
        }
        Outcome::Done(answer) => document(StatusCode::OK, answer, gate.version()).await,
        Outcome::Refused(refusal) => {
            let is_late = if_version.is_some_and(|version| version != gate.version());
            refused(status_of(&refusal, has_body, is_late), &in_http_words(refusal))
        }
    }
}

/// The status of a change that control refuses. Its words were all read by then; one without a body
/// is refused for what is in force, as a pool is that a listener uses.
fn status_of(refusal: &Refusal, has_body: bool, is_late: bool) -> StatusCode {
    match refusal.code {
        Code::Invalid if has_body => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Invalid => StatusCode::CONFLICT,
        // With what was changed at run time, or with a change that is not confirmed yet.
        Code::Conflict if !is_late => StatusCode::CONFLICT,
        code => status(code),
    }
}

/// No token where there could be one is 401, no file of a token 403.
fn status_of_stranger(principal: &Principal) -> StatusCode {
    match principal {
        Principal::Http { bearer: Bearer::Missing | Bearer::Wrong, .. } => StatusCode::UNAUTHORIZED,
        Principal::Http { .. } | Principal::Peer { .. } => StatusCode::FORBIDDEN,
    }
}

/// All that a request says before its body.
struct Prepared<'a> {
    parameters: Parameters<'a>,
    options: ChangeOptions,
    /// Of its body.
    kind: BodyKind,
    target: &'static Target,
}

/// Why a request goes no further.
type Stopped = (StatusCode, Refusal);

fn wrong(refusal: Refusal) -> Stopped {
    (StatusCode::BAD_REQUEST, refusal)
}

/// Reads everything but the body, which has at least `length` bytes.
fn prepare<'a>(asked: &Asked<'a>, length: u64) -> Result<Prepared<'a>, Stopped> {
    let Asked { operation, parts, .. } = asked;
    let kind = operation.body();
    let (Target::Change { parameters, .. } | Target::Act { parameters, .. }) = &operation.target
    else {
        let message = format!("{} changes nothing", operation.path);
        return Err(wrong(Refusal::new(Code::Invalid, message, "see /openapi.json")));
    };
    let (path, query) = (parts.uri.path(), parts.uri.query());
    let parameters = Parameters::read(path, query, parameters).map_err(wrong)?;
    let options = ChangeOptions {
        dry_run: parameters.flag("dry-run"),
        yes: parameters.flag("yes"),
        if_version: if_match(&parts.headers).map_err(wrong)?,
        note: Note { message: None, command: Some(asked.words()) },
        confirm: parameters.confirm().map_err(wrong)?,
    };
    if length > kind.most() as u64 {
        let body::Refused { status, refusal } = body::too_long(kind.most());
        return Err((status, refusal));
    }
    Ok(Prepared { parameters, options, kind, target: &operation.target })
}

/// Reads the body, and makes a request of all.
async fn request<B>(asked: &Asked<'_>, prepared: Prepared<'_>, body: B) -> Result<Request, Stopped>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn core::error::Error + Send + Sync>>,
{
    let Prepared { parameters, options, kind, target } = prepared;
    let content = if body.is_end_stream() {
        Content::Empty
    } else {
        let content_type = asked.parts.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|it| it.to_str().ok());
        asked.slot.enter(ConnectionState::Body, rt::now());
        let read = body::read(body, kind.most(), content_type, BODY_TIME).await;
        asked.slot.enter(ConnectionState::Idle, rt::now());
        read.map_err(|body::Refused { status, refusal }| (status, refusal))?
    };
    let request = match target {
        Target::Change { make, .. } => make(&asked.names, &parameters, content)
            .map(|change| Command::Change { change, options }.into()),
        Target::Act { make, .. } => {
            content.nothing().and_then(|()| make(&asked.names, &parameters))
        }
        Target::PlainPage(_) | Target::Query { .. } | Target::Stream { .. } => {
            unreachable!("it was not prepared")
        }
    };
    request.map_err(|refusal| (StatusCode::UNPROCESSABLE_ENTITY, refusal))
}

/// The version in `If-Match: "12"`; `None` for `*` and where it is not there.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut said = headers.get_all(header::IF_MATCH).iter();
    let value = match (said.next(), said.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().unwrap_or_default().trim(),
        (Some(_), Some(_)) => "",
    };
    if value == "*" {
        return Ok(None);
    }
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let is_number =
        |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number that is too large is a version that is never in force.
    let version = quoted.filter(is_number).map(|text| text.parse().unwrap_or(u64::MAX));
    version.map(Some).ok_or_else(|| {
        let message = "If-Match does not say one version";
        Refusal::new(Code::Invalid, message, "If-Match: \"12\", as in the ETag of an answer")
    })
}

/// The hint of a refusal that names an option of weirctl names the parameter here.
fn in_http_words(mut refusal: Refusal) -> Refusal {
    let hint = match refusal.code {
        Code::NeedsYes => "add ?yes=true to do it, or ?dry-run=true to see all of it",
        Code::NeedsForce => "add ?force=true to do it, or ?dry-run=true to see all of it",
        Code::Conflict if !refusal.conflicts.is_empty() => {
            "add ?ours=true to keep what is in force, or ?theirs=true to take the request's"
        }
        // A body has no name that weir check could open.
        Code::Invalid if refusal.hint.starts_with("weir check") => {
            "see docs/reference.md; ?dry-run=true checks a configuration"
        }
        _ => return refusal,
    };
    refusal.hint = hint.to_owned();
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn if_match_is_one_version_in_quotes() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_MATCH, HeaderValue::from_static(value));
            }
            if_match(&headers).map_err(|refusal| refusal.code)
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(None));
        assert_eq!(read(&["\"12\""]), Ok(Some(12)));
        assert_eq!(read(&[" \"0\" "]), Ok(Some(0)));
        assert_eq!(read(&["\"18446744073709551616\""]), Ok(Some(u64::MAX)));
        for other in ["12", "W/\"12\"", "\"x\"", "\"\"", "\"1\", \"2\"", "\"+1\"", ""] {
            assert_eq!(read(&[other]), Err(Code::Invalid), "{other}");
        }
        assert_eq!(read(&["\"1\"", "\"2\""]), Err(Code::Invalid));
    }
}
