//! Who is served, and which backends sessions go to by what their clients say.

use super::*;

/// A listen that believes headers, with these lines.
fn believing(lines: &str) -> Conversion {
    converted(&listen("", lines).replace("127.0.0.1:80", "127.0.0.1:80 accept-proxy"))
}

/// The lines of the listeners that say who is served.
fn access(made: &Conversion) -> Vec<String> {
    let toml = made.toml.clone().unwrap_or_default();
    let keys = ["allow = ", "deny = ", "proxy-protocol = {"];
    let lines = toml.lines().filter(|line| keys.iter().any(|key| line.starts_with(key)));
    lines.map(|line| line.replace("proxy-protocol = { from", "from").replace(" }", "")).collect()
}

/// The routes, as weir.toml has them.
fn routes(made: &Conversion) -> Vec<String> {
    let toml = made.toml.clone().unwrap_or_default();
    let lines = toml.lines().filter(|line| line.starts_with("  { "));
    lines.map(|line| line.trim_matches([' ', '{', '}', ',']).to_owned()).collect()
}

#[track_caller]
fn expect_told(made: &Conversion, begins: &str) {
    let notes = notes(made);
    assert!(notes.iter().any(|note| note.starts_with(begins)), "{begins}\n{notes:#?}");
}

#[track_caller]
fn expect_loss(made: &Conversion, is_lossy: bool) {
    let has_warnings = made.notes.iter().any(|note| note.level == Level::Warning);
    assert_eq!(has_warnings, is_lossy, "{:#?}", notes(made));
}

const ALL: &str = "[\"0.0.0.0/0\", \"::/0\"]";

/// Rules on connections see the balancer, and those behind the header the client that it tells of.
#[test]
fn haproxy_judges_the_connection_before_its_header() {
    let from_all = format!("from = {ALL}");
    let deny_all = format!("deny = {ALL}");
    for (lines, expected) in [
        ("tcp-request connection reject unless { src 10.0.0.0/8 }", vec!["from = \"10.0.0.0/8\""]),
        ("tcp-request connection reject if !{ src 10.0.0.0/8 }", vec!["from = \"10.0.0.0/8\""]),
        ("tcp-request connection reject if { src 128.0.0.0/1 ::/0 }", vec!["from = \"0.0.0.0/1\""]),
        (
            "tcp-request connection reject if { src 10.64.0.0/10 10.128.0.0/9 }\n\
             tcp-request connection reject unless { src 10.0.0.0/8 }",
            vec!["from = \"10.0.0.0/10\""],
        ),
        (
            "tcp-request connection accept if { src 192.0.2.7 }\n\
             tcp-request connection reject unless { src 10.0.0.0/8 }",
            vec!["from = [\"192.0.2.7/32\", \"10.0.0.0/8\"]"],
        ),
        ("tcp-request connection reject", vec![&from_all[..], &deny_all]),
        (
            "tcp-request session reject unless { src 10.0.0.0/8 }",
            vec!["allow = \"10.0.0.0/8\"", &from_all],
        ),
        (
            "tcp-request content reject if { src 10.0.0.0/8 }",
            vec!["deny = \"10.0.0.0/8\"", &from_all],
        ),
        (
            "tcp-request connection reject unless { src 10.0.0.0/8 }\n\
             tcp-request session reject if { src 192.0.2.0/24 }",
            vec!["deny = \"192.0.2.0/24\"", "from = \"10.0.0.0/8\""],
        ),
    ] {
        let made = believing(lines);
        let mut lists = access(&made);
        lists.sort();
        let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        expected.sort();
        assert_eq!(lists, expected, "{lines}");
        let believes = lists.contains(&from_all) && !lists.contains(&deny_all);
        expect_loss(&made, believes);
        let told = notes(&made).iter().any(|it| it.contains("of every client is believed"));
        assert_eq!(told, believes, "{lines}");
    }
    let made = converted(&listen(
        "",
        "bind 127.0.0.1:81 accept-proxy\n\
         tcp-request connection reject unless { src 10.0.0.0/8 }\n\
         tcp-request session reject if { src 10.9.0.0/16 }",
    ));
    let lists = ["allow = \"10.0.0.0/8\"", "deny = \"10.9.0.0/16\""];
    assert_eq!(access(&made), [&lists[..], &[lists[1], "from = \"10.0.0.0/8\""]].concat());
}

#[test]
fn nginx_judges_the_connection_without_networks_to_believe() {
    let of = |lines: &str| {
        let text = stream("", lines).replace("80; proxy", "80 proxy_protocol; proxy");
        converted(&text)
    };
    let from_all = format!("from = {ALL}");
    for (lines, expected) in [
        ("allow 10.0.0.0/8; deny all;", vec!["from = \"10.0.0.0/8\""]),
        ("deny 128.0.0.0/1; deny ::/0;", vec!["from = \"0.0.0.0/1\""]),
        ("deny 10.128.0.0/9; allow 10.0.0.0/8; deny all;", vec!["from = \"10.0.0.0/9\""]),
        ("deny all;", vec![&format!("deny = {ALL}")[..], &from_all]),
        ("", vec![&from_all]),
        (
            "set_real_ip_from 10.0.0.0/8; allow 192.0.2.0/24; deny all;",
            vec!["allow = \"192.0.2.0/24\"", "from = \"10.0.0.0/8\""],
        ),
        ("set_real_ip_from unix:; allow 10.0.0.0/8; deny all;", vec!["from = \"10.0.0.0/8\""]),
    ] {
        let made = of(lines);
        let mut lists = access(&made);
        lists.sort();
        assert_eq!(lists, expected, "{lines}");
    }
    expect_told(&of(""), "5: warning: `proxy_protocol` of listen: the PROXY header of every");
    let refusing = "5: warning: `proxy_protocol` of listen: weir refuses";
    expect_told(&of("allow 10.0.0.0/8; deny all;"), refusing);
    expect_told(&of("set_real_ip_from 10.0.0.0/8;"), refusing);
    let named = of("set_real_ip_from balancer; allow 10.0.0.0/8; deny all;");
    assert_eq!(named.counts[0], 0, "{:?}", named.toml);
    expect_told(&named, "5: warning: `proxy_protocol` of listen: it is left out: it is not known");
}

#[test]
fn the_first_rule_that_fits_decides() {
    for (lines, expected) in [
        ("allow 10.0.0.0/9; deny 10.0.0.0/8; allow all;", vec!["deny = \"10.128.0.0/9\""]),
        ("deny 10.9.0.0/16; allow 10.0.0.0/8; deny all;", {
            vec!["allow = \"10.0.0.0/8\"", "deny = \"10.9.0.0/16\""]
        }),
        ("allow 10.0.0.0/8; deny 10.9.0.0/16; deny all;", vec!["allow = \"10.0.0.0/8\""]),
        ("allow 10.0.0.0/8;", vec![]),
    ] {
        let made = converted(&stream("", lines));
        assert_eq!(access(&made), expected, "{lines}");
        expect_loss(&made, false);
    }
    let accept = "tcp-request connection accept if { src 192.0.2.0/24 }\n";
    let reject = "tcp-request connection reject unless { src 10.0.0.0/8 }";
    let made = converted(&listen("", &format!("{accept}{reject}")));
    assert_eq!(access(&made), ["allow = [\"192.0.2.0/24\", \"10.0.0.0/8\"]"]);
    assert!(made.notes.is_empty(), "{:?}", made.notes);
    let made = converted(&listen("", &format!("{}{reject}", accept.replace("src", "hour"))));
    assert_eq!(access(&made), ["allow = \"10.0.0.0/8\""]);
    expect_told(&made, "8: warning: `tcp-request connection reject unless");
}

#[test]
fn rules_of_defaults_and_of_backends_count() {
    let reject = "tcp-request connection reject if { src 10.0.0.0/8 }";
    let text = listen(reject, "").replace("defaults\n", "defaults d\n");
    assert_eq!(access(&converted(&text)), ["deny = \"10.0.0.0/8\""]);
    let backend = "backend b\ntcp-request content reject if { src 10.0.0.0/8 }\n\
                   server s 10.0.0.3:80 check\n";
    let text = listen("", "").replace("listen a", &format!("{backend}frontend a"));
    let text = text.replace("server x", "default_backend b\n#").replace("server y", "#");
    assert_eq!(access(&converted(&text)), ["deny = \"10.0.0.0/8\""]);
    let beside = listen("", "use_backend b if { src 192.0.2.1 }") + backend;
    assert_eq!(access(&converted(&beside)), Vec::<String>::new());
    expect_note(&beside, "11: warning: `tcp-request content` of a backend behind a `use_backend`");
}

/// The lines without which HAProxy sees no name.
const WAITS: &str = "tcp-request inspect-delay 5s\n\
                     tcp-request content accept if { req.ssl_hello_type 1 }\n";

/// A listen that leads elsewhere by these conditions.
fn by_name(conditions: &[&str]) -> String {
    let lines: Vec<String> = conditions.iter().map(|it| format!("use_backend b if {it}")).collect();
    let text = listen("", &(WAITS.to_owned() + &lines.join("\n")));
    text + "backend b\nserver s 10.0.0.3:80 check\n"
}

#[test]
fn routes_of_haproxy_are_those_that_a_client_takes() {
    for (condition, expected, level) in [
        ("{ req.ssl_sni -i A.example.com }", "sni = \"A.example.com\", pool = \"b\"", ""),
        ("{ req.ssl_sni a.b }", "sni = \"a.b\", pool = \"b\"", "9: note: server names without"),
        ("{ req.ssl_sni A.b }", "sni = \"A.b\", pool = \"b\"", "9: warning: the server name `A.b`"),
        ("{ req.ssl_sni *.lit.com }", "", "9: warning: the server name `*.lit.com` is left out"),
        ("{ req.ssl_sni -i UP.a.com. }", "", "9: warning: the server name `UP.a.com.` is left"),
        ("{ req.ssl_sni -i bücher.de }", "", "9: warning: the server name `bücher.de` is left"),
        ("{ req.ssl_alpn h2,http/1.1 }", "", "9: warning: the protocol `h2,http/1.1` is left"),
        ("{ ssl_fc_sni -i a.b }", "", "9: warning: use_backend b is left out: no bind has `ssl`"),
        ("{ req.ssl_sni -i a.b a.b. }", "sni = \"a.b\", pool = \"b\"", "9: warning: the server"),
    ] {
        let text = by_name(&[condition]);
        let made = converted(&text);
        assert_eq!(routes(&made).join("; "), expected, "{condition}");
        if !level.is_empty() {
            expect_told(&made, level);
        }
        expect_loss(&made, level.contains("warning"));
        // Without bytes of the client HAProxy sees no name.
        let hasty = converted(&text.replace("{ req.ssl_hello_type 1 }", "{ src 10.0.0.1 }"));
        assert_eq!(routes(&hasty), Vec::<String>::new());
    }
}

#[test]
fn names_of_one_pool_share_routes_and_too_many_are_told() {
    let names: Vec<String> = (0..260).map(|at| format!("{{ req.ssl_sni -i n{at}.com }}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let made = converted(&by_name(&names));
    assert_eq!((routes(&made).len(), made.exit_code()), (5, 0));
    expect_loss(&made, false);
    let both: Vec<String> = (0..258)
        .map(|at| {
            format!("{{ req.ssl_sni -i n{at}.com }} {{ src 10.0.{}.{} }}", at / 200, at % 200)
        })
        .collect();
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    let made = converted(&by_name(&both));
    assert_eq!((routes(&made).len(), made.exit_code()), (256, 0));
    expect_told(&made, "265: warning: the routes of this line are left out");
    let entries: String =
        (0..300).map(|at| format!("n{at}.com {};\n", ["u", "v"][at % 2])).collect();
    let made = converted(&by_map(&format!("default u; {entries}"), "ssl_preread on;"));
    assert_eq!((routes(&made).len(), made.exit_code()), (6, 0), "{:?}", made.notes);
    let addresses: String = (0..300).map(|at| format!("n{at}.com 10.0.0.9:80;\n")).collect();
    let made = converted(&by_map(&format!("default u; {addresses}"), "ssl_preread on;"));
    assert_eq!((routes(&made).len(), made.counts[1]), (5, 3), "{:?}", made.notes);
}

/// A server that asks this map, with these lines.
fn by_map(entries: &str, lines: &str) -> String {
    let map = format!(
        "stream {{ upstream v {{ server 10.0.0.5:80; }}\nmap $ssl_preread_server_name $n {{ {entries} }}"
    );
    stream("", lines).replace("proxy_pass u", "proxy_pass $n").replacen("stream {", &map, 1)
}

#[test]
fn routes_of_nginx_are_those_that_a_client_takes() {
    let one = "sni = \"a.b\", pool = \"v\"";
    let rest = "sni = \"*\", pool = \"u\"";
    for (entries, expected, warns) in [
        ("default u; a.b v;", one, ""),
        ("default u; a.b v; *.x.com v;", one, "2: warning: `*.x.com`: without `hostnames`"),
        ("default u; a.b v; .y.com v;", one, "2: warning: `.y.com`: without `hostnames`"),
        ("default u; a.b v; x.com. v;", one, "2: warning: the server name `x.com.` is left out"),
        ("default u; a.b v; bücher.de v;", one, "2: warning: the server name `bücher.de`"),
        ("default u; a.b v; \"\" u;", one, ""),
        ("default u; \"\" v;", rest, ""),
        ("hostnames; volatile; default u; .a.b v;", "sni = [\"a.b\", \"*.a.b\"], pool = \"v\"", ""),
        ("hostnames; default u; *.a.b v;", "sni = \"*.a.b\", pool = \"v\"", ""),
        ("hostnames; default u; a.b v; x.* v;", one, "2: warning: `x.*`: weir has no patterns"),
        ("hostnames; default u; a.b v; *.*.x v;", one, "2: warning: `*.*.x`: it is no name"),
        ("a.b v; c.d u;", "sni = \"a.b\", pool = \"v\"; sni = \"c.d\", pool = \"u\"", {
            "6: warning: the map of `$n` has no default"
        }),
        ("default u; ~^a v;", "", "2: warning: `~^a`: weir has no patterns"),
    ] {
        let made = converted(&by_map(entries, "ssl_preread on;"));
        assert_eq!(
            (routes(&made).join("; "), made.exit_code()),
            (expected.to_owned(), 0),
            "{entries}"
        );
        expect_loss(&made, !warns.is_empty());
        expect_told(&made, warns);
    }
    let nameless = converted(&by_map("default u; \"\" v;", "ssl_preread on;"));
    expect_toml(&nameless, &["[listener.v]"]);
    // Nobody reads a name: all of them go where those without one go.
    for (lines, entries, pool) in [
        ("", "default u; a.b v;", "[listener.u]"),
        ("ssl_preread off;", "default u; a.b v;", "[listener.u]"),
        ("", "default u; \"\" v;", "[listener.v]"),
    ] {
        let made = converted(&by_map(entries, lines));
        expect_toml(&made, &[pool]);
        assert_eq!(routes(&made), Vec::<String>::new(), "{lines}");
        expect_loss(&made, false);
    }
    let nowhere = converted(&by_map("a.b v;", ""));
    assert_eq!(nowhere.counts[0], 0);
    expect_told(&nowhere, "6: warning: the server with proxy_pass `$n`: it is left out");
}

#[test]
fn longer_lists_than_weir_has_leave_the_listener_out() {
    let lists: String =
        (0..200_001_u32).map(|at| format!("deny {};", std::net::Ipv4Addr::from(at * 2))).collect();
    let made = converted(&stream("", &lists));
    assert_eq!((made.exit_code(), made.counts[0]), (0, 0));
    expect_told(&made, "5: warning: server is left out: its lists have");
}

#[test]
fn connections_of_a_client_have_a_limit_of_its_source() {
    let zone = "limit_conn_zone $binary_remote_addr zone=a:1m;\nlimit_conn a 7;";
    expect_toml(&converted(&stream("", zone)), &["per-source = { sessions = 7", "ipv6 = 128"]);
    let other = "limit_conn_zone $server_addr zone=a:1m;\nlimit_conn a 7;";
    let toml = converted(&stream("", other)).toml.unwrap_or_default();
    assert!(!toml.contains("per-source"), "{toml}");
}
