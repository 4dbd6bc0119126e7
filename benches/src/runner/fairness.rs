//! The fairness sheet that every run prints and keeps: who, on what, told what, and what is not
//! fair.

use crate::runner::machine::Machine;
use crate::runner::peer::{Found, Peer};
use crate::runner::{LOAD_CORE, PROXY_CORE};

/// Its lines.
#[must_use]
pub fn lines(machine: &Machine, peers: &[Found], baseline: f64, counted_with: &str) -> Vec<String> {
    let mut lines = vec![
        format!(
            "machine: {} cores, {}, Linux {}, {} GiB",
            machine.cores,
            machine.cpu,
            machine.kernel,
            machine.memory_bytes >> 30
        ),
        format!("weir at {}; {baseline:.2} cores were busy before the run", machine.commit),
    ];
    for found in peers.iter().filter(|found| found.peer != Peer::None) {
        lines.push(format!("{}: {}: {}", found.peer.name(), found.version, told(found.peer)));
    }
    lines.push(format!(
        "every proxy: core {PROXY_CORE} alone; as many threads (nginx, processes) as shards; \
         generator and backends: core {LOAD_CORE}; timeouts connect 5 s, idle 1 h; no checks, \
         no log of connections; loopback, MTU of lo"
    ));
    lines.push(
        "order: one after another within a round, each round begins with another one; ratios are \
         of pairs in a round; all payload is compared byte by byte; a wrong byte or a lost \
         connection ends the run"
            .to_string(),
    );
    lines.push(format!(
        "counted (in passes of their own, which no time is taken of): {counted_with}"
    ));
    lines.push(
        "not fair: loopback has no card and no loss; the proxies that are not measured stay up, \
         idle; generator and backend share one core, so rates are theirs as much as the proxy's"
            .to_string(),
    );
    lines
}

fn told(peer: Peer) -> &'static str {
    match peer {
        Peer::None => "",
        Peer::Weir => "its defaults",
        Peer::Haproxy => {
            "option splice-auto, maxpipes 500, with large buffers tune.pipesize 1 MiB; a \
             listening socket a thread (shards by-thread)"
        }
        Peer::Nginx => {
            "listen reuseport, worker_connections 19900, proxy_buffer_size 16k, with large \
             buffers 256k"
        }
        Peer::Envoy => "concurrency = shards, enable_reuse_port, its defaults else",
    }
}
