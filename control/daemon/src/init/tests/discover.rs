//! Servers with names: their pool asks DNS.

use super::*;

fn has_no_discover(conversion: &Conversion) {
    let toml = conversion.toml.as_deref().unwrap_or_default();
    assert!(!toml.contains("discover"), "{toml}");
}

#[test]
fn a_name_of_haproxy_is_discovered_beside_the_addresses() {
    for (line, wanted) in [
        ("server z db.internal:80", "discover = { dns = \"db.internal:80\" }"),
        ("server z db.internal check resolvers dns", "discover = { dns = \"db.internal:80\" }"),
        (
            "server-template z 1-10 db.internal:5432 check resolvers dns init-addr none",
            "discover = { dns = \"db.internal:5432\" }",
        ),
        (
            "server-template z 10 _db._tcp.internal resolvers dns",
            "discover = { srv = \"_db._tcp.internal\" }",
        ),
    ] {
        let made = converted(&listen("", line));
        expect_toml(&made, &[wanted, "x = { address = \"10.0.0.1:80\" }"]);
    }
    expect_note(
        &listen("", "server z db.internal:80 weight 5"),
        "7: warning: the weight or limit of the server at `db.internal:80`",
    );
}

#[test]
fn a_pool_has_one_name_and_it_is_no_backup() {
    let two = "server z a.internal:80\nserver y2 b.internal:80";
    for lines in [two, "server z a.internal:80 backup", "server z a.internal:80 disabled"] {
        let text = listen("", lines);
        has_no_discover(&converted(&text));
        expect_note(&text, "7: warning: the server at `a.internal:80` is left out");
    }
}

#[test]
fn a_name_of_nginx_is_discovered() {
    let stream = |server: &str| {
        format!(
            "stream {{\nupstream u {{ {server} }}\n\
             server {{ listen 127.0.0.1:80; proxy_pass u; }}\n}}\n"
        )
    };
    for (server, wanted) in [
        ("server db.internal:80;", "discover = { dns = \"db.internal:80\" }"),
        ("server db.internal:80 resolve;", "discover = { dns = \"db.internal:80\" }"),
        (
            "server db.internal service=http resolve;",
            "discover = { srv = \"_http._tcp.db.internal\" }",
        ),
        (
            "server db.internal service=_a._tcp resolve;",
            "discover = { srv = \"_a._tcp.db.internal\" }",
        ),
    ] {
        expect_toml(&converted(&stream(server)), &[wanted]);
    }
    has_no_discover(&converted(&stream("server db.internal:80; server b.internal:80;")));
}
