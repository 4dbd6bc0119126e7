//! The HTTP door on the admin address: metrics, health and the API, by hyper on rt.
//!
//! Each state of a connection has a deadline; one that misses it is closed.

mod answer;
mod assets;
mod body;
mod change;
mod connections;
mod events;
mod hosts;
mod live;
mod openapi;
mod operations;
mod parameters;
mod pieces;
mod route;
mod sessions;
mod streaming;
mod target;
#[cfg(test)]
mod tests;
mod verb;

use std::cell::OnceCell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use weir_control_core::events::Events;
use weir_proto::request::{Code, Refusal, Response as Outcome};

use super::gate::{Gate, Handler, Principal};
use super::hyper_io::HyperIo;
use super::metrics;
use super::token::TokenFile;
use crate::rt::{self, Bulky, Stream, TcpServer};
use answer::{plain, refused, status, text};
use change::Asked;
use connections::{ConnectionSlot, ConnectionState, Connections};
use hosts::Hosts;
use live::LiveFrames;
use operations::{HttpVerb, Operation, PlainPage, Streamed, Target};
use parameters::Parameters;
use pieces::{Outgoing, Pieces};
use route::Miss;
use streaming::{EventFrames, EventStream};

/// The longest body of a request that means nothing, in bytes: it is not read.
const BODY_MAX: u64 = body::SETTINGS_MAX as u64;
/// The longest head of a request, in bytes.
const HEAD_MAX: usize = 16 << 10;

/// The things that every connection of the door needs.
struct Site<H> {
    gate: Rc<Gate<H>>,
    hosts: Hosts,
    token: TokenFile,
    frames: Rc<EventFrames>,
    live: Rc<LiveFrames>,
    connections: Rc<Connections>,
    /// The OpenAPI document, once somebody has asked for it.
    document: OnceCell<Bytes>,
}

/// One connection.
struct Guest {
    slot: Rc<ConnectionSlot>,
    from: IpAddr,
}

/// Serves those that connect to `server`, by its address or one of `names`. Never ends.
pub(crate) async fn serve<H: Handler + 'static>(
    server: Rc<TcpServer>,
    names: Vec<String>,
    token: TokenFile,
    gate: Rc<Gate<H>>,
) {
    let bound = server.local_addr().ok().map(|address| address.ip());
    let hosts = Hosts::new(bound, names);
    let live = Rc::<LiveFrames>::default();
    rt::spawn("live", live::make(live.clone(), gate.clone()));
    let (frames, document) = (Rc::default(), OnceCell::new());
    let connections = Rc::new(Connections::default());
    let site = Site { gate, hosts, token, frames, live, connections, document };
    let site = Rc::new(site);
    loop {
        let (stream, peer) = server.accept().await;
        let slot = Rc::new(site.connections.admit(peer.ip(), rt::now()));
        let (site, guest) = (site.clone(), Guest { slot, from: peer.ip().to_canonical() });
        rt::spawn("request", async move { connection(stream, guest, site).await });
    }
}

async fn connection<H: Handler + 'static>(stream: Stream, guest: Guest, site: Rc<Site<H>>) {
    let slot = guest.slot.clone();
    let heard = {
        let slot = slot.clone();
        move || slot.heard(rt::now())
    };
    let service = service_fn(|request: Request<Incoming>| {
        slot.enter(ConnectionState::Idle, rt::now());
        let (guest, site) = (&guest, &site);
        async move { Ok::<_, Infallible>(respond(request, guest, site).await.map(Pieces::new)) }
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

async fn respond<H: Handler + 'static>(
    request: Request<Incoming>,
    guest: &Guest,
    site: &Site<H>,
) -> Response<Outgoing> {
    let (parts, body) = request.into_parts();
    let mut answer = match check(&parts, &site.hosts) {
        Ok(()) => dispatch(&parts, body, guest, site).await,
        Err(refusal) => refused(StatusCode::MISDIRECTED_REQUEST, &refusal).map(Outgoing::from),
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
        // A part of the dashboard may be kept.
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// Whether a request is meant for this host.
fn check(parts: &Parts, hosts: &Hosts) -> Result<(), Refusal> {
    // A page of another site that resolves its own name to our address says that name here.
    let target = parts.uri.authority().map(|authority| authority.as_str());
    if host_is_ours(parts.version, &parts.headers, target, hosts) {
        return Ok(());
    }
    let hint = "use localhost or the address itself as the host, or name it in admin-hosts";
    Err(Refusal::new(Code::Denied, "this is not the host that was asked for", hint))
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

async fn dispatch<H: Handler + 'static>(
    parts: &Parts,
    body: Incoming,
    guest: &Guest,
    site: &Site<H>,
) -> Response<Outgoing> {
    let (operation, names) = match route::find(HttpVerb::of(&parts.method), parts.uri.path()) {
        Ok(found) => found,
        Err(Miss::Path(refusal)) => {
            return refused(StatusCode::NOT_FOUND, &refusal).map(Into::into);
        }
        Err(Miss::Method(verbs)) => return other_method(&verbs).map(Into::into),
    };
    // HEAD has no body to stream.
    if let Target::Stream { of, parameters, .. } = &operation.target
        && parts.method == Method::GET
        && streaming::is_wanted(&parts.headers)
    {
        return stream(*of, parameters, parts, (guest, site));
    }
    document(operation, names, (parts, body), guest, site).await.map(Into::into)
}

/// Begins a stream.
fn stream<H: Handler + 'static>(
    of: Streamed,
    parameters: &[parameters::Parameter],
    parts: &Parts,
    (guest, site): (&Guest, &Site<H>),
) -> Response<Outgoing> {
    let slot = guest.slot.clone();
    let read = Parameters::read(parts.uri.path(), parts.uri.query(), parameters);
    let begun = read.and_then(|parameters| match of {
        Streamed::Events => {
            let asked = events::AskedEvents::read(&parameters, &parts.headers)?;
            let stream = site.gate.with_events(|events| {
                EventStream::new(events, asked.from, asked.filter, rt::wall_ms())
            });
            let shared = (site.gate.clone(), site.frames.clone());
            Ok(streaming::begin(&guest.slot, streaming::events(stream, shared, slot)))
        }
        Streamed::Live => {
            let frames = live::frames(site.gate.clone(), site.live.clone(), slot);
            Ok(streaming::begin(&guest.slot, frames))
        }
    });
    begun.unwrap_or_else(|refusal| refused(status(refusal.code), &refusal).map(Into::into))
}

/// An answer that is whole.
async fn document<H: Handler + 'static>(
    operation: &'static Operation,
    names: operations::Names<'_>,
    (parts, body): (&Parts, Incoming),
    guest: &Guest,
    site: &Site<H>,
) -> Response<Bytes> {
    let (headers, from) = (&parts.headers, guest.from);
    if let Target::Change { .. } | Target::Act { .. } = operation.target {
        let principal = Principal::Http { bearer: site.token.judge(headers).await, from };
        let slot = &guest.slot;
        let asked = Asked { operation, names, parts, slot, principal };
        return change::make(asked, body, &site.gate).await;
    }
    if body.size_hint().lower() > BODY_MAX {
        let body::Refused { status, refusal } = body::too_long(body::SETTINGS_MAX);
        return refused(status, &refusal);
    }
    match &operation.target {
        Target::PlainPage(page) => show(*page, &names, headers, site).await,
        Target::Query { .. } | Target::Stream { .. } => {
            ask(operation, &names, parts, (from, site)).await
        }
        Target::Change { .. } | Target::Act { .. } => other_method(&[]), // It was made above.
    }
}

/// Answers a question.
async fn ask<H: Handler + 'static>(
    operation: &Operation,
    names: &operations::Names<'_>,
    parts: &Parts,
    (from, site): (IpAddr, &Site<H>),
) -> Response<Bytes> {
    let read = |known| Parameters::read(parts.uri.path(), parts.uri.query(), known);
    let query = match &operation.target {
        Target::Stream { of: Streamed::Live, parameters, .. } => match read(parameters) {
            Ok(_) => return live::document(&site.gate).await,
            Err(refusal) => Err(refusal),
        },
        Target::Query { parameters, make, .. } => {
            read(parameters).and_then(|parameters| make(names, &parameters))
        }
        Target::Stream { of: Streamed::Events, parameters, .. } => {
            let start = site.gate.with_events(Events::start);
            let asked =
                read(parameters).and_then(|it| events::AskedEvents::read(&it, &parts.headers));
            asked.map(|asked| asked.query(start))
        }
        _ => return other_method(&[]),
    };
    let query = match query {
        Ok(query) => query,
        Err(refusal) => return refused(status(refusal.code), &refusal),
    };
    // Before the answer: who changes what is newer than that gets 412.
    let version = site.gate.version();
    match site.gate.ask(&Principal::reader(from), query.into()).await {
        Outcome::Done(answer) => answer::document(StatusCode::OK, answer, version).await,
        Outcome::Refused(refusal) => refused(status(refusal.code), &refusal),
    }
}

/// `GET /`: the dashboard or the list of paths.
fn index(headers: &HeaderMap) -> Response<Bytes> {
    let mut answer = match assets::wants_page(headers) {
        true => assets::page(),
        false => plain(StatusCode::OK, route::index()),
    };
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    answer
}

async fn show<H: Handler + 'static>(
    page: PlainPage,
    names: &operations::Names<'_>,
    headers: &HeaderMap,
    site: &Site<H>,
) -> Response<Bytes> {
    match page {
        PlainPage::Index => index(headers),
        PlainPage::Part => assets::part(names, headers),
        PlainPage::Metrics => {
            let page =
                Bytes::from_owner(MetricsPage(site.gate.metrics(site.connections.streams()).await));
            text(StatusCode::OK, metrics::CONTENT_TYPE, page)
        }
        PlainPage::Healthz => plain(StatusCode::OK, "ok\n".to_owned()),
        PlainPage::Readyz => match site.gate.ready() {
            Ok(()) => plain(StatusCode::OK, "ready\n".to_owned()),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        PlainPage::OpenApi => {
            if site.document.get().is_none() {
                let made = rt::blocking(openapi::document).await;
                let _ = site.document.set(made.into()); // another request made the same
            }
            answer::json_text(site.document.get().cloned().unwrap_or_default())
        }
    }
}

/// A page that all who asked at the same time share.
struct MetricsPage(Arc<Bulky<String>>);

impl AsRef<[u8]> for MetricsPage {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The path has these methods, and another one was asked for.
fn other_method(verbs: &[HttpVerb]) -> Response<Bytes> {
    let words = verbs.iter().flat_map(|verb| match verb {
        HttpVerb::Get => vec!["GET", "HEAD"],
        other => vec![other.word()],
    });
    let allowed = words.collect::<Vec<_>>().join(", ");
    let message = format!("this path has the methods {allowed} only");
    let refusal = Refusal::new(Code::Denied, message, "see /openapi.json");
    let mut answer = refused(StatusCode::METHOD_NOT_ALLOWED, &refusal);
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        answer.headers_mut().insert(header::ALLOW, allowed);
    }
    answer
}
