//! The configuration that each proxy gets: one thread; per service one listener and one backend.
//! The fairness sheet in benches/README.md explains every setting.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// Sessions that a proxy must be able to hold; each takes two descriptors of 20,000.
pub const SESSIONS_MAX: usize = 9_000;

/// One thing that the backend side offers, and where the proxy is to listen for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub name: &'static str,
    pub listen: SocketAddr,
    pub backend: SocketAddr,
}

/// weir.toml; control socket and state in `folder`.
#[must_use]
pub fn weir(routes: &[Route], folder: &Path) -> String {
    let folder = folder.display();
    let mut text = format!(
        "[weir]\nshards = 1\ncontrol = \"{folder}/control.sock\"\nstate = \"{folder}/state\"\n"
    );
    for Route { name, listen, backend } in routes {
        let _ = write!(
            text,
            "\n[listener.{name}]\nbind = \"{listen}\"\npool = \"{name}\"\n\
             max-sessions = {SESSIONS_MAX}\n\
             \n[pool.{name}]\nstrategy = \"round-robin\"\nhealth = {{ kind = \"none\" }}\n\
             timeout = {{ connect = \"5s\", idle = \"1h\", half-close = \"1h\" }}\n\
             \n[pool.{name}.backend]\nb1 = {{ address = \"{backend}\" }}\n"
        );
    }
    text
}

/// haproxy.cfg.
#[must_use]
pub fn haproxy(routes: &[Route]) -> String {
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn {SESSIONS_MAX}\n  maxpipes 900\n\
         \ndefaults\n  mode tcp\n  maxconn {SESSIONS_MAX}\n  option splice-auto\n  \
         timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
    );
    for Route { name, listen, backend } in routes {
        let _ = write!(
            text,
            "\nlisten {name}\n  bind {listen}\n  server b1 {backend} maxconn {SESSIONS_MAX}\n"
        );
    }
    text
}

/// nginx.conf; `module` is the stream module's file when it is not built in.
#[must_use]
pub fn nginx(routes: &[Route], folder: &Path, module: Option<&Path>) -> String {
    let folder = folder.display();
    let mut text = String::new();
    if let Some(module) = module {
        let _ = writeln!(text, "load_module {};", module.display());
    }
    let _ = write!(
        text,
        "worker_processes 1;\nworker_rlimit_nofile 20000;\npid {folder}/nginx.pid;\n\
         error_log stderr warn;\nevents {{\n  worker_connections 19900;\n}}\n\
         stream {{\n  access_log off;\n  proxy_half_close on;\n  proxy_timeout 1h;\n  \
         proxy_connect_timeout 5s;\n"
    );
    for Route { listen, backend, .. } in routes {
        let _ = write!(
            text,
            "  server {{\n    listen {listen} reuseport backlog=4096;\n    \
             proxy_pass {backend};\n  }}\n"
        );
    }
    text.push_str("}\n");
    text
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

    fn routes() -> Vec<Route> {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        vec![
            Route { name: "echo", listen: at(1), backend: at(2) },
            Route { name: "source", listen: at(3), backend: at(4) },
        ]
    }

    #[test]
    fn every_proxy_hears_of_every_route() {
        let folder = Path::new("/x");
        let all = [
            weir(&routes(), folder),
            haproxy(&routes()),
            nginx(&routes(), folder, Some(Path::new("/m.so"))),
        ];
        for text in all {
            for port in 1..=4 {
                let address = format!("127.0.0.1:{port}");
                assert_eq!(text.matches(&address).count(), 1, "{address} in\n{text}");
            }
        }
    }

    #[test]
    fn braces_are_balanced() {
        let texts = [
            nginx(&routes(), Path::new("/x"), None),
            nginx_backend(routes()[0].listen, Path::new("/x")),
        ];
        for text in texts {
            assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
            assert!(!text.contains("load_module"));
        }
    }
}
