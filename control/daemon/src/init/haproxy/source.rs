//! `source`, of a proxy or of a server: the address that HAProxy connects from.

use std::net::IpAddr;
use std::rc::Rc;

use weir_proto::spec::SourceSpec;

use super::proxy::{Given, Lost, ProxySection, ServerLine};
use super::unsupported::SERVER_WORDS;
use crate::init::note::{At, Notes, note, quoted, warning};

/// The address of a `source` line, as written; `words` are those behind `source`.
pub(super) fn of_line(at: &At, words: &[&str], lost: &mut Lost) -> Given<Rc<str>> {
    let (address, mut words) = words.split_first()?;
    while let [word, rest @ ..] = words {
        let known = SERVER_WORDS.iter().find(|known| known.fits(word));
        let remark = known.and_then(|known| known.remark("source"));
        remark.into_iter().for_each(|remark| lost.always(at, remark));
        words = rest.get(known.map_or(0, |known| known.values)..).unwrap_or_default();
    }
    Some((at.clone(), Rc::from(*address)))
}

/// The address that all servers of a backend are connected to from; none if they differ.
pub(super) fn of(backend: &ProxySection, notes: &mut Notes) -> Option<SourceSpec> {
    let given = |server: &ServerLine| -> Option<(At, String)> {
        let own = server.options.source.clone().map(|text| (server.at.clone(), text));
        let of_proxy = backend.settings.source.as_ref();
        own.or_else(|| of_proxy.map(|(at, text)| (at.clone(), text.to_string())))
    };
    let all: Vec<Option<(At, String)>> = backend.servers.iter().map(given).collect();
    let (at, text) = all.iter().flatten().next()?;
    if all.iter().any(|it| it.as_ref().map(|(_, other)| other) != Some(text)) {
        let remark = warning(format!("`source {text}`"));
        let why = "servers of this backend have others, and a pool of weir has one list for all: \
                   it is left out";
        notes.add(at, remark.because(why).instead("set source of the pool, or make two pools"));
        return None;
    }
    let address = read(at, text, notes)?;
    Some(SourceSpec::Addresses(vec![address]))
}

/// `ADDRESS`, `ADDRESS:PORT` or `ADDRESS:PORT-PORT`. `None` if the kernel chooses.
fn read(at: &At, text: &str, notes: &mut Notes) -> Option<IpAddr> {
    let plain = text.trim_start_matches("ipv4@").trim_start_matches("ipv6@");
    let ip = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let (address, ports) = match (ip(plain), plain.rsplit_once(':')) {
        (Some(address), _) => (Some(address), "0"),
        (None, Some((host, ports))) => (ip(host), ports),
        (None, None) => (None, "0"),
    };
    if !matches!(ports, "0" | "") {
        let remark = note(quoted(&format!("source {text}")));
        notes.add(at, remark.because("weir leaves the port to the kernel"));
    }
    if plain.starts_with('*') || address.is_some_and(|address| address.is_unspecified()) {
        return None;
    }
    if address.is_none() {
        let remark = warning(quoted(&format!("source {text}")));
        notes.add(at, remark.because("weir takes addresses").instead("write the address"));
    }
    address
}
