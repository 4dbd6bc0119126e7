//! "Why this backend?": the picker that shards have, asked for one client by what control knows.

mod slow_start;

use std::net::SocketAddr;

use weir_core::base::clock::Now;
use weir_core::base::prng::Prng;
use weir_core::client_hello::is_server_name;
use weir_core::pick::{Candidate, Groups, Tried, client_key, identity};
use weir_core::priority::WHOLE;
use weir_proto::answer::{BackendState, ExplainedCandidate, Explanation, SessionDetail};
use weir_proto::listed::listed;
use weir_proto::network::Refused;
use weir_proto::request::{Code, Refusal};
use weir_proto::session::SessionState;
use weir_proto::snapshot::{Backend, PerSource, Pool, Route};
use weir_proto::spec::Strategy;

use crate::control::Control;
use crate::health::AgentStanding;
use crate::planner;

/// A client by its address; the port does not count.
///
/// # Errors
/// The text is neither an address nor one with a port.
pub fn client(text: &str) -> Result<std::net::IpAddr, Refusal> {
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    text.parse().or_else(|_| with_port()).map_err(|_| {
        let message = format!("{text:?} is no address");
        Refusal::new(Code::Invalid, message, "--client 203.0.113.7")
    })
}

/// The backend that a new session of this client would get in that pool, and what there is against
/// the others.
///
/// # Errors
/// There is no such pool, or no such client.
pub fn of_client(
    control: &Control,
    (pool, from): (&str, &str),
    (seed, now): ((u64, u64), Now),
) -> Result<Explanation, Refusal> {
    let snapshot = &control.snapshot;
    let address = client(from)?;
    let pool = snapshot.pool(pool).ok_or_else(|| planner::no_pool(snapshot, pool))?;
    let panic = control.is_in_panic(pool);
    let shares = control.health.groups_of(pool.id);
    let mut candidates: Vec<(u8, Candidate)> =
        pool.backends.iter().map(|it| (it.priority, candidate(control, it, panic))).collect();
    let has_share = |priority: u8| {
        shares.len() < 2 || shares.iter().any(|(it, _, share)| *it == priority && *share > 0)
    };
    let key = client_key(seed, address);
    let growing =
        slow_start::passed_over(control, (pool, panic), has_share, &mut candidates, (key, now));
    let eligible = |index: usize| {
        has_share(candidates[index].0) && candidates[index].1.is_eligible(index, Tried::NONE)
    };
    let mut prng = Prng::new(key);
    let mut picker = Groups::new(pool.strategy, &candidates, &mut prng);
    picker.set_shares(&shares.iter().map(|(_, _, share)| *share).collect::<Vec<_>>());
    let places = picker.hash_slots(key);
    let picked = picker.pick(key, &mut prng, Tried::NONE);
    let count = (0..candidates.len()).filter(|index| eligible(*index)).count();
    // Turns and lots are each shard's own: only where they leave no choice is the answer certain.
    let is_split = shares.iter().any(|(_, _, share)| (1..WHOLE).contains(share));
    let is_certain = match pool.strategy {
        Strategy::Maglev => true,
        Strategy::LeastConn => !is_split,
        _ => count == 1,
    };
    let picked = picked.filter(|_| is_certain);
    let row = |(index, backend): (usize, &Backend)| ExplainedCandidate {
        name: format!("{}/{}", pool.name, backend.name),
        state: BackendState::of(backend.admin, control.health.is_up(backend.id)),
        weight: backend.configured.weight,
        sessions: control.aggregate.backend(backend.id).sessions,
        eligible: eligible(index),
        why_not: why_not(
            control,
            (pool, backend),
            (&candidates[index].1, has_share(backend.priority)),
            (picked, index),
        )
        .map(|why_not| growing[index].clone().unwrap_or(why_not)),
        slot: places.iter().find(|(_, at)| *at == index).map(|(place, _)| u64::from(*place)),
    };
    Ok(Explanation {
        pool: pool.name.to_string(),
        strategy: pool.strategy,
        version: snapshot.version.0,
        client: Some(from.to_owned()),
        chosen: picked.map(|index| format!("{}/{}", pool.name, pool.backends[index].name)),
        because: because(control, pool, count, panic),
        session: None,
        listener: None,
        route: None,
        candidates: pool.backends.iter().enumerate().map(row).collect(),
    })
}

/// The backend that a new session of this client at that listener would get. `None`: the only
/// listener. `alpn` are the protocols that it offers, with commas between them.
///
/// # Errors
/// There is no such listener, or no such client, or no client can ask for such a name.
pub fn of_listener(
    control: &Control,
    (listener, from): (Option<&str>, &str),
    (sni, alpn): (Option<&str>, Option<&str>),
    seed: ((u64, u64), Now),
) -> Result<Explanation, Refusal> {
    let snapshot = &control.snapshot;
    let listener = match (listener, snapshot.listeners.as_slice()) {
        (Some(name), _) => {
            snapshot.listener(name).ok_or_else(|| planner::no_listener(snapshot, name))?
        }
        (None, [only]) => only,
        (None, all) => {
            let names = listed(all.iter().map(|listener| &listener.name), SHOWN_MAX, ", ");
            let message = format!("there are {} listeners: name one of {names}", all.len());
            return Err(Refusal::new(Code::Invalid, message, "--listener NAME"));
        }
    };
    let ip = client(from)?;
    if let Some(name) = sni.filter(|name| !is_server_name(name)) {
        let message = format!("{name:?} is no name that a ClientHello has");
        let hint = "1 to 253 letters of ASCII: other scripts are written as xn--…";
        return Err(Refusal::new(Code::Invalid, message, hint));
    }
    let protocols = || alpn.into_iter().flat_map(|all| all.split(',')).map(|it| it.trim());
    let fits = |route: &Route| route.fits(Some(ip), sni, protocols().map(str::as_bytes));
    let place = listener.routes.iter().position(fits);
    let pool = &snapshot.pools[place.map_or(listener.pool, |place| listener.routes[place].pool)];
    let mut why = of_client(control, (pool.name.as_str(), from), seed)?;
    why.listener = Some(listener.name.to_string());
    why.route = place.map(|place| place as u64 + 1);
    if let Some(number) = why.route {
        why.because = format!("route {number} of {} fits; {}", listener.name, why.because);
    } else if !listener.routes.is_empty() {
        why.because = format!("no route of {} fits; {}", listener.name, why.because);
    }
    let name = &listener.name;
    let refused = listener.access.refuses(ip).map(|refused| match refused {
        Refused::Denied(network) => format!("{network} is in its deny"),
        Refused::NotAllowed => "no network of its allow has it".to_owned(),
    });
    if let Some(list) = refused {
        let because = format!("{name} does not serve this client: {list}");
        turn_away(&mut why, because, "the listener does not serve this client");
    } else if !listener.accepting {
        let because = format!("{name} is drained: it accepts no new sessions");
        turn_away(&mut why, because, "the listener accepts no new sessions");
    } else if let Some(limits) = &listener.per_source {
        why.because = format!("{}; {}", why.because, of_source(limits, ip));
    }
    Ok(why)
}

/// The limits of a client's source. How much it has is each shard's own.
fn of_source(limits: &PerSource, client: std::net::IpAddr) -> String {
    let (network, prefix) = match client.to_canonical() {
        std::net::IpAddr::V4(ip) => {
            let network = std::net::Ipv4Addr::from_bits(ip.to_bits() & limits.mask_v4());
            (std::net::IpAddr::from(network), limits.ipv4)
        }
        std::net::IpAddr::V6(ip) => {
            let network = std::net::Ipv6Addr::from_bits(ip.to_bits() & limits.mask_v6());
            (std::net::IpAddr::from(network), limits.ipv6)
        }
    };
    let sessions = limits.sessions.map(|most| format!("{most} sessions at once"));
    let rate = limits.rate.map(|rate| format!("{} new ones a second", rate.events()));
    let parts: Vec<String> = sessions.into_iter().chain(rate).collect();
    format!("its source, {network}/{prefix}, may have {}; more are reset", parts.join(" and "))
}

/// No backend gets the client: it is not let in.
fn turn_away(why: &mut Explanation, because: String, why_not: &str) {
    (why.chosen, why.because) = (None, because);
    for candidate in &mut why.candidates {
        candidate.eligible = false;
        candidate.why_not = Some(why_not.to_owned());
    }
}

/// Listeners that an error names.
const SHOWN_MAX: usize = 8;

/// The backend that a live session has. Its pool is looked at as it is now; the session was given
/// to it earlier.
///
/// # Errors
/// Its pool is gone.
pub fn of_session(
    control: &Control,
    detail: &SessionDetail,
    seed: ((u64, u64), Now),
) -> Result<Explanation, Refusal> {
    let row = &detail.session;
    // One that has reset has no address any more: any will do to look at the candidates.
    let from = row.client.as_deref().unwrap_or("::");
    let now = of_client(control, (&row.pool, from), seed)?;
    let born = row.version;
    let at = if born == now.version { "" } else { &format!(" (it came under version {born})") };
    let because = match &row.backend {
        Some(backend) if now.chosen.as_ref() == Some(backend) => {
            format!("it was given to {backend}{at}, and would be again: {}", now.because)
        }
        Some(backend) => format!(
            "it was given to {backend}{at}, by sessions and health of that moment; now: {}",
            now.because
        ),
        None => match row.state {
            SessionState::Inspecting => "its header or its ClientHello has not come".to_owned(),
            SessionState::Queued => "it waits for a backend with room".to_owned(),
            _ => "it is between two connects".to_owned(),
        },
    };
    Ok(Explanation {
        client: row.client.clone(),
        chosen: row.backend.clone(),
        because,
        session: Some(row.id.clone()),
        listener: Some(row.listener.clone()),
        route: row.route,
        ..now
    })
}

fn candidate(control: &Control, backend: &Backend, panic: bool) -> Candidate {
    let sessions = control.aggregate.backend(backend.id).sessions;
    Candidate {
        identity: identity(backend.name.as_str()),
        weight: backend.weight,
        load: u32::try_from(sessions).unwrap_or(u32::MAX),
        usable: backend.admin.is_ready()
            && (control.health.is_up(backend.id) || panic)
            && full(control, backend).is_none(),
    }
}

/// The limit that it is at, with its figures.
fn full(control: &Control, backend: &Backend) -> Option<String> {
    let totals = control.aggregate.backend(backend.id);
    let (sessions, connecting) = (totals.sessions, totals.connecting);
    if let Some(most) = backend.max_sessions.filter(|most| sessions >= u64::from(*most)) {
        let is_own = backend.configured.max_sessions == Some(most);
        let whose = if is_own { "its max-sessions is" } else { "its agent says maxconn:" };
        let gap = if is_own { " " } else { "" };
        return Some(format!("it is full: {sessions} sessions, and {whose}{gap}{most}"));
    }
    if let Some(most) = backend.connecting.filter(|most| connecting >= u64::from(*most)) {
        return Some(format!(
            "{connecting} connects to it are on their way, and its connecting is {most}"
        ));
    }
    // Whether there is a token this moment only shards know.
    let begins = control.aggregate.backend_rate(backend.id).sessions;
    let rate = backend.connect_rate.filter(|rate| begins >= f64::from(rate.events()))?;
    Some(format!("as many connects begin as its connect-rate allows, {rate}"))
}

/// How the strategy comes to its choice among `count` that may have the session.
fn because(control: &Control, pool: &Pool, count: usize, panic: bool) -> String {
    let rule = match (count, pool.strategy) {
        (0, _) => "no backend can take a session",
        (1, _) => "it is the only one that can take a session",
        (_, Strategy::Maglev) => "the first in the order of the client's hash that can take it",
        (_, Strategy::LeastConn) => "the fewest sessions for its weight",
        (_, Strategy::RoundRobin) => "each shard goes round by itself: any of them may be next",
        (_, Strategy::TwoChoices) => "the one with fewer sessions of two that are drawn by lot",
        (_, Strategy::Random) => "it is drawn by lot",
    };
    let panic = if panic { "; the pool is in panic, so health is ignored" } else { "" };
    let groups = if control.is_first_group_enough(pool) {
        String::new()
    } else {
        format!("; {}", control.groups_text(pool))
    };
    let has_rates = pool.backends.iter().any(|it| it.connect_rate.is_some());
    let rates = if has_rates { "; one without a token for a connect is passed over" } else { "" };
    format!("{rule}{panic}{groups}{rates}")
}

fn why_not(
    control: &Control,
    (pool, backend): (&Pool, &Backend),
    (candidate, has_share): (&Candidate, bool),
    (picked, index): (Option<usize>, usize),
) -> Option<String> {
    let state = BackendState::of(backend.admin, control.health.is_up(backend.id));
    if backend.is_discovered && !backend.admin.is_ready() {
        return Some("DNS does not name it any more".to_owned());
    }
    if !backend.configured.admin.is_ready() {
        return Some(format!("an operator has put it into {}", state.word()));
    }
    let agent = control.health.agent(backend.id).filter(|agent| agent.takes_out());
    let agent_says = || agent.and_then(AgentStanding::words).unwrap_or_default();
    if !backend.admin.is_ready() {
        return Some(format!("its agent says {}", agent_says()));
    }
    if !candidate.usable && backend.force.is_some() {
        return Some("an operator has forced it down".to_owned());
    }
    if !candidate.usable && agent.is_some_and(|agent| agent.down.is_some()) {
        return Some(format!("its agent says {}", agent_says()));
    }
    if let Some(full) = full(control, backend) {
        return Some(full);
    }
    if !candidate.usable {
        return Some("its health checks, or connects to it, have failed".to_owned());
    }
    if candidate.weight == 0 && backend.configured.weight > 0 {
        return Some(format!("its agent says {}", agent_says()));
    }
    if candidate.weight == 0 {
        return Some("its weight is 0".to_owned());
    }
    if !has_share {
        let priority = backend.priority;
        return Some(format!(
            "its priority, {priority}, has no turn: {}",
            control.groups_text(pool)
        ));
    }
    if picked.is_none_or(|picked| picked == index) {
        return None;
    }
    Some(match pool.strategy {
        Strategy::Maglev => "it comes later in the order of the client's hash".to_owned(),
        _ => "it has more sessions for its weight, or comes later among equals".to_owned(),
    })
}
