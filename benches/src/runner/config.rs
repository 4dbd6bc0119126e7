//! The configuration that each proxy gets: per service one listener and one pool of backends.
//! The fairness sheet (fairness.rs, benches/README.md) explains every setting.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Sessions that a proxy must be able to hold; each takes two descriptors of 20,000.
pub const SESSIONS_MAX: usize = 9_000;

/// How a pool picks; each peer's own word for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    #[default]
    RoundRobin,
    LeastConn,
    TwoChoices,
    Maglev,
}

impl Balance {
    fn weir(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConn => "least-conn",
            Self::TwoChoices => "two-choices",
            Self::Maglev => "maglev",
        }
    }

    fn haproxy(self) -> &'static str {
        match self {
            Self::RoundRobin => "balance roundrobin",
            Self::LeastConn => "balance leastconn",
            Self::TwoChoices => "balance random(2)",
            Self::Maglev => "balance source\n  hash-type consistent",
        }
    }

    fn nginx(self) -> &'static str {
        match self {
            Self::RoundRobin => "",
            Self::LeastConn => "    least_conn;\n",
            Self::TwoChoices => "    random two least_conn;\n",
            Self::Maglev => "    hash $remote_addr consistent;\n",
        }
    }

    fn envoy(self) -> &'static str {
        match self {
            Self::RoundRobin => "ROUND_ROBIN",
            // Envoy's LEAST_REQUEST is the better of two by default.
            Self::LeastConn | Self::TwoChoices => "LEAST_REQUEST",
            Self::Maglev => "MAGLEV",
        }
    }
}

/// Buffers and pipes of the peers that can set them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Buffers {
    /// What each peer takes by itself.
    #[default]
    Default,
    /// HAProxy: pipes of 1 MiB (`tune.pipesize`); nginx: buffers of 256 KiB.
    Large,
}

/// What a scenario asks of a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// Threads (weir, HAProxy, Envoy) or worker processes (nginx).
    pub shards: u16,
    pub balance: Balance,
    pub buffers: Buffers,
    /// Sessions on all shards together.
    pub sessions_max: usize,
    /// weir: one session in a hundred is in a log.
    pub logs_sessions: bool,
}

/// One thing that the backend side offers, and where the proxy is to listen for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub name: &'static str,
    pub listen: SocketAddr,
    pub backends: Vec<SocketAddr>,
}

/// weir.toml; control socket and state in `folder`; metrics on `admin`.
#[must_use]
pub fn weir(routes: &[Route], setup: Setup, folder: &Path, admin: SocketAddr) -> String {
    let (folder, shards, most) = (folder.display(), setup.shards, setup.sessions_max);
    let mut text = format!(
        "[weir]\nshards = {shards}\ncontrol = \"{folder}/control.sock\"\n\
         state = \"{folder}/state\"\nadmin = \"{admin}\"\n"
    );
    if setup.logs_sessions {
        let log = format!("{folder}/sessions.log");
        let _ = writeln!(text, "session-log = {{ to = \"{log}\", sample = \"1%\" }}");
    }
    for Route { name, listen, backends } in routes {
        let _ = write!(
            text,
            "\n[listener.{name}]\nbind = \"{listen}\"\npool = \"{name}\"\n\
             max-sessions = {most}\n\
             \n[pool.{name}]\nstrategy = \"{}\"\nhealth = {{ kind = \"none\" }}\n\
             timeout = {{ connect = \"5s\", idle = \"1h\", half-close = \"1h\" }}\n\
             \n[pool.{name}.backend]\n",
            setup.balance.weir()
        );
        for (at, backend) in backends.iter().enumerate() {
            let _ = writeln!(text, "b{at} = {{ address = \"{backend}\" }}");
        }
    }
    text
}

/// haproxy.cfg.
#[must_use]
pub fn haproxy(routes: &[Route], setup: Setup) -> String {
    let (shards, most) = (setup.shards, setup.sessions_max);
    let mut text = format!("global\n  nbthread {shards}\n  maxconn {most}\n  maxpipes 500\n");
    if setup.buffers == Buffers::Large {
        text.push_str("  tune.pipesize 1048576\n");
    }
    let _ = write!(
        text,
        "\ndefaults\n  mode tcp\n  maxconn {most}\n  option splice-auto\n  \
         timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
    );
    // One listening socket a thread (SO_REUSEPORT), as its manual advises for many threads.
    let by_thread = if shards > 1 { " shards by-thread" } else { "" };
    for Route { name, listen, backends } in routes {
        let balance = setup.balance.haproxy();
        let _ = write!(text, "\nlisten {name}\n  bind {listen}{by_thread}\n  {balance}\n");
        for (at, backend) in backends.iter().enumerate() {
            let _ = writeln!(text, "  server b{at} {backend} maxconn {most}");
        }
    }
    text
}

/// nginx.conf; `module` is the stream module's file when it is not built in.
#[must_use]
pub fn nginx(routes: &[Route], setup: Setup, folder: &Path, module: Option<&Path>) -> String {
    let (folder, shards) = (folder.display(), setup.shards);
    let buffer = if setup.buffers == Buffers::Large { "256k" } else { "16k" };
    let mut text = String::new();
    if let Some(module) = module {
        let _ = writeln!(text, "load_module {};", module.display());
    }
    let _ = write!(
        text,
        "worker_processes {shards};\nworker_rlimit_nofile 20000;\npid {folder}/nginx.pid;\n\
         error_log stderr warn;\nevents {{\n  worker_connections 19900;\n}}\n\
         stream {{\n  access_log off;\n  proxy_half_close on;\n  proxy_timeout 1h;\n  \
         proxy_connect_timeout 5s;\n  proxy_buffer_size {buffer};\n"
    );
    for Route { name, listen, backends } in routes {
        let _ = write!(text, "  upstream {name} {{\n{}", setup.balance.nginx());
        for backend in backends {
            let _ = writeln!(text, "    server {backend};");
        }
        let _ = write!(
            text,
            "  }}\n  server {{\n    listen {listen} reuseport backlog=4096;\n    \
             proxy_pass {name};\n  }}\n"
        );
    }
    text.push_str("}\n");
    text
}

/// envoy.json: YAML's subset that needs no indentation.
#[must_use]
pub fn envoy(routes: &[Route], setup: Setup) -> String {
    let place = |address: &SocketAddr| {
        serde_json::json!({"socket_address":
            {"address": address.ip().to_string(), "port_value": address.port()}})
    };
    let proxy = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let listener = |route: &Route| {
        serde_json::json!({
            "name": route.name,
            "address": place(&route.listen),
            "enable_reuse_port": true,
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {
                    "@type": proxy,
                    "stat_prefix": route.name,
                    "cluster": route.name,
                    "idle_timeout": "3600s",
                },
            }]}],
        })
    };
    let cluster = |route: &Route| {
        let ends: Vec<_> = route
            .backends
            .iter()
            .map(|backend| serde_json::json!({"endpoint": {"address": place(backend)}}))
            .collect();
        serde_json::json!({
            "name": route.name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "lb_policy": setup.balance.envoy(),
            "circuit_breakers": {"thresholds": [{
                "max_connections": setup.sessions_max,
                "max_pending_requests": setup.sessions_max,
            }]},
            "load_assignment":
                {"cluster_name": route.name, "endpoints": [{"lb_endpoints": ends}]},
        })
    };
    let all = serde_json::json!({"static_resources": {
        "listeners": routes.iter().map(listener).collect::<Vec<_>>(),
        "clusters": routes.iter().map(cluster).collect::<Vec<_>>(),
    }});
    all.to_string()
}

/// nginx.conf of an HTTP backend that answers six bytes, for the wrk runs.
#[must_use]
pub fn nginx_backend(listen: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "worker_processes 1;\nworker_rlimit_nofile 20000;\npid {folder}/nginx.pid;\n\
         error_log stderr warn;\nevents {{\n  worker_connections 19900;\n}}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  \
         client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
         fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  \
         scgi_temp_path {folder}/scgi;\n  \
         server {{\n    listen {listen} backlog=4096;\n    \
         location / {{ return 200 \"hello\\n\"; }}\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn routes() -> Vec<Route> {
        vec![
            Route { name: "echo", listen: at(1001), backends: vec![at(1002), at(1005)] },
            Route { name: "source", listen: at(1003), backends: vec![at(1004)] },
        ]
    }

    fn setup(shards: u16) -> Setup {
        let (balance, buffers) = (Balance::LeastConn, Buffers::Large);
        Setup { shards, balance, buffers, sessions_max: SESSIONS_MAX, ..Setup::default() }
    }

    #[test]
    fn every_proxy_hears_of_every_route() {
        let folder = Path::new("/x");
        let all = [
            weir(&routes(), setup(2), folder, at(1009)),
            haproxy(&routes(), setup(2)),
            nginx(&routes(), setup(2), folder, Some(Path::new("/m.so"))),
            envoy(&routes(), setup(2)),
        ];
        for text in all {
            for port in 1001..=1005 {
                assert_eq!(text.matches(&port.to_string()).count(), 1, "{port} in\n{text}");
            }
        }
    }

    #[test]
    fn large_buffers_are_asked_for() {
        let small = Setup { buffers: Buffers::Default, ..setup(1) };
        assert!(haproxy(&routes(), setup(1)).contains("tune.pipesize 1048576\n"));
        assert!(!haproxy(&routes(), small).contains("pipesize"));
        let text = nginx(&routes(), small, Path::new("/x"), None);
        assert!(text.contains("proxy_buffer_size 16k;"), "{text}");
    }

    #[test]
    fn many_shards_have_a_listening_socket_each() {
        assert!(haproxy(&routes(), setup(2)).contains("1001 shards by-thread\n"));
        assert!(!haproxy(&routes(), setup(1)).contains("by-thread"));
        assert!(nginx(&routes(), setup(3), Path::new("/x"), None).contains("worker_processes 3;"));
    }

    #[test]
    fn braces_are_balanced() {
        let texts = [
            nginx(&routes(), setup(1), Path::new("/x"), None),
            nginx_backend(at(1), Path::new("/x")),
        ];
        for text in texts {
            assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
            assert!(!text.contains("load_module"));
        }
    }
}
