//! The HTTP door on the admin address: metrics, health and the read-only API, by hyper on rt.
//!
//! Each state of a connection has a deadline; one that misses it is closed.

mod connections;
mod pieces;
mod route;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use weir_proto::answer::Answer;
use weir_proto::json::{self, Layout};
use weir_proto::request::{Code, Refusal};

use super::gate::{Gate, Handler, Principal};
use super::hyper_io::HyperIo;
use super::metrics;
use crate::rt::{self, Stream, TcpServer};
use connections::{ConnectionSlot, ConnectionState, Connections};
use pieces::Pieces;
use route::{Hosts, Route};

/// The longest body of a request, in bytes. Nothing reads a body yet.
const BODY_MAX: u64 = 64 << 10;
/// The longest head of a request, in bytes.
const HEAD_MAX: usize = 16 << 10;
/// Serves those that connect to `server`, by its address or one of `names`. Never ends.
pub(crate) async fn serve<H: Handler + 'static>(
    server: TcpServer,
    names: Vec<String>,
    gate: Rc<Gate<H>>,
) {
    let bound = server.local_addr().ok().map(|address| address.ip());
    let hosts = Rc::new(Hosts::new(bound, names));
    let connections = Rc::new(Connections::default());
    loop {
        let (stream, peer) = server.accept().await;
        let slot = connections.admit(peer.ip(), rt::now());
        let (gate, hosts) = (gate.clone(), hosts.clone());
        rt::spawn("request", async move { connection(stream, slot, gate, hosts).await });
    }
}

async fn connection<H: Handler + 'static>(
    stream: Stream,
    slot: ConnectionSlot,
    gate: Rc<Gate<H>>,
    hosts: Rc<Hosts>,
) {
    let slot = Rc::new(slot);
    let heard = {
        let slot = slot.clone();
        move || slot.heard(rt::now())
    };
    let service = service_fn(|request: Request<Incoming>| {
        slot.enter(ConnectionState::Idle, rt::now());
        let (gate, hosts) = (&gate, &hosts);
        async move { Ok::<_, Infallible>(respond(&request, gate, hosts).await.map(Pieces::new)) }
    });
    let conversation = hyper::server::conn::http1::Builder::new()
        .half_close(false)
        .max_buf_size(HEAD_MAX)
        .serve_connection(HyperIo::new(stream, heard), service);
    // A peer that breaks off or talks nonsense has had its answer; there is nobody to tell.
    let conversation = async { drop(conversation.await) };
    let over = futures_lite::future::or(overdue(&slot), slot.evicted());
    futures_lite::future::or(conversation, over).await;
}

/// Ends when the connection has missed a deadline.
async fn overdue(slot: &ConnectionSlot) {
    loop {
        let left = slot.left(rt::now());
        if left.is_zero() {
            return;
        }
        // The state may change to one with a nearer deadline meanwhile: look at least so often.
        rt::sleep(left.min(Duration::from_secs(1))).await;
    }
}

async fn respond<B: Body, H: Handler + 'static>(
    request: &Request<B>,
    gate: &Gate<H>,
    hosts: &Hosts,
) -> Response<Bytes> {
    let mut answer = match check(request, hosts) {
        Ok(()) => dispatch(request, gate).await,
        Err((status, refusal)) => refused(status, &refusal),
    };
    let headers = answer.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Whether a request may be looked at: who it is meant for, its size, its method.
fn check<B: Body>(request: &Request<B>, hosts: &Hosts) -> Result<(), (StatusCode, Refusal)> {
    let no = |status, message: &str, hint: &str| {
        Err((status, Refusal::new(Code::Denied, message, hint)))
    };
    // A page of another site that resolves its own name to our address says that name here.
    let target = request.uri().authority().map(|authority| authority.as_str());
    if !host_is_ours(request.version(), request.headers(), target, hosts) {
        let hint = "use localhost or the address itself as the host, or name it in admin-hosts";
        return no(
            StatusCode::MISDIRECTED_REQUEST,
            "this is not the host that was asked for",
            hint,
        );
    }
    if request.body().size_hint().lower() > BODY_MAX {
        let message = format!("the body is longer than {BODY_MAX} bytes");
        return no(StatusCode::PAYLOAD_TOO_LARGE, &message, "send less");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let hint = "change things with weirctl";
        return no(StatusCode::METHOD_NOT_ALLOWED, "HTTP is read-only: GET and HEAD", hint);
    }
    Ok(())
}

fn host_is_ours(
    version: Version,
    headers: &HeaderMap,
    target: Option<&str>,
    hosts: &Hosts,
) -> bool {
    let mut said = headers.get_all(header::HOST).iter();
    let host = match (said.next(), said.next()) {
        // HTTP/1.0 has no Host, and no browser speaks it.
        (None, _) if version == Version::HTTP_10 => None,
        (Some(host), None) => match host.to_str() {
            Ok(host) => Some(host),
            Err(_) => return false,
        },
        _ => return false,
    };
    [host, target].into_iter().flatten().all(|host| hosts.has(host))
}

async fn dispatch<B, H: Handler + 'static>(
    request: &Request<B>,
    gate: &Gate<H>,
) -> Response<Bytes> {
    let uri = request.uri();
    match route::find(uri.path(), uri.query()) {
        Ok(Route::Metrics) => {
            let page = Bytes::from_owner(MetricsPage(gate.metrics().await));
            text(StatusCode::OK, metrics::CONTENT_TYPE, page)
        }
        Ok(Route::Healthz) => plain(StatusCode::OK, "ok\n".to_owned()),
        Ok(Route::Readyz) => match gate.ready() {
            Ok(()) => plain(StatusCode::OK, "ready\n".to_owned()),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        Ok(Route::Index) => plain(StatusCode::OK, route::INDEX.to_owned()),
        Ok(Route::Api(query)) => match gate.ask(&Principal::Http, query.into()).await {
            weir_proto::request::Response::Done(answer) => {
                text(StatusCode::OK, JSON, document(answer).await)
            }
            weir_proto::request::Response::Refused(refusal) => {
                refused(status(refusal.code), &refusal)
            }
        },
        Err(refusal) => refused(status(refusal.code), &refusal),
    }
}

const JSON: &str = "application/json";

/// A page that all who asked at the same time share.
struct MetricsPage(Arc<String>);

impl AsRef<[u8]> for MetricsPage {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The answer as JSON; of a long one another thread makes it.
async fn document(answer: Answer) -> String {
    let is_long = answer.is_long();
    rt::blocking_if(is_long, move || json::answer(&answer, Layout::Line) + "\n").await
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Invalid => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Exists | Code::Conflict | Code::NeedsYes | Code::NeedsForce => StatusCode::CONFLICT,
        Code::Denied => StatusCode::FORBIDDEN,
        Code::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn refused(status: StatusCode, refusal: &Refusal) -> Response<Bytes> {
    let mut answer = text(status, JSON, json::refusal(refusal) + "\n");
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        // What follows on the connection is the body that was not wanted.
        StatusCode::PAYLOAD_TOO_LARGE => {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {} // The others need no header.
    }
    answer
}

fn plain(status: StatusCode, body: String) -> Response<Bytes> {
    text(status, "text/plain; charset=utf-8", body)
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
