//! Things that a person does to `weir init`, by mistake or not, and what must come out.

use super::*;

#[path = "tests/sources.rs"]
mod sources;

/// No files, and one variable.
pub(super) struct Nothing;

impl Surroundings for Nothing {
    fn include(&self, pattern: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        match pattern {
            "self" => Ok(vec![("self".to_owned(), b"include self;".to_vec())]),
            "missing" => Err("No such file or directory".to_owned()),
            "binary" => Ok(vec![("binary".to_owned(), vec![0])]),
            "part" => Ok(vec![("part".to_owned(), b"\nserver 10.0.0.1:80 foo;".to_vec())]),
            _ => Ok(Vec::new()),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "IP").then(|| "10.9.9.9".to_owned())
    }
}

fn converted(text: &str) -> Conversion {
    convert("f", text.as_bytes(), Wanted::default(), &Nothing)
}

fn as_tcp(text: &str) -> Conversion {
    let wanted = Wanted { http_as_tcp: true, ..Wanted::default() };
    convert("f", text.as_bytes(), wanted, &Nothing)
}

/// The notes that begin with a line and a level, such as `3: warning`.
fn notes(conversion: &Conversion) -> Vec<String> {
    let shown = |note: &Note| note.to_string().trim_start_matches("f:").to_owned();
    conversion.notes.iter().map(shown).collect()
}

#[track_caller]
fn expect_note(text: &str, begins: &str) {
    let notes = notes(&converted(text));
    assert!(notes.iter().any(|note| note.starts_with(begins)), "{text}\n{begins}\n{notes:#?}");
}

#[track_caller]
fn expect_toml(conversion: &Conversion, lines: &[&str]) {
    let toml = conversion.toml.as_deref().unwrap_or_default();
    for line in lines {
        assert!(toml.contains(line), "{line}\n{toml}\n{:#?}", notes(conversion));
    }
}

/// A listen with these lines, after those of its defaults.
fn listen(defaults: &str, lines: &str) -> String {
    let timeouts = "timeout connect 5s\ntimeout client 1m\ntimeout server 1m";
    let more = if defaults.is_empty() { String::new() } else { format!("{defaults}\n") };
    let lines = if lines.is_empty() { String::new() } else { format!("{lines}\n") };
    format!(
        "defaults\n{timeouts}\n{more}listen a\nbind 127.0.0.1:80\n{lines}\
         server x 10.0.0.1:80 check\nserver y 10.0.0.2:80 check\n"
    )
}

/// A stream with one server and these lines in its upstream and in it.
fn stream(upstream: &str, server: &str) -> String {
    format!(
        "stream {{\nupstream u {{ {upstream}\nserver 10.0.0.1:80;\nserver 10.0.0.2:80; }}\n\
         server {{ listen 127.0.0.1:80; proxy_pass u; {server} }}\n}}\n"
    )
}

#[test]
fn a_file_that_is_wrong_has_errors_and_no_configuration() {
    for (text, error) in [
        ("", "1: error: the file is empty"),
        (" \r\n\t\n", "1: error: the file is empty"),
        ("a\nb\0", "2: error: this is not a text file"),
        ("hello", "1: error: it is not known whose file this is"),
        ("global\nfrontend\n", "2: error: a section without a name"),
        ("listen a\n bind 'x\n", "2: error: this line cannot be read"),
        ("stream {\n", "1: error: this cannot be read: this block is not closed"),
        ("stream { include self; }", "1: error: include `self`"),
        ("stream {\ninclude binary; }", "1: error: include `binary`"),
    ] {
        let made = converted(text);
        if text.contains("binary") {
            assert_eq!(made.notes[0].file, "binary");
        } else if text.contains("self") {
            assert!(made.notes[0].what.starts_with("include"), "{:?}", made.notes);
        } else {
            assert!(notes(&made)[0].starts_with(error), "{text:?}: {:?}", made.notes);
        }
        assert_eq!((made.exit_code(), made.toml), (1, None), "{text:?}");
    }
}

#[test]
fn nothing_for_weir_is_another_exit_code_than_a_file_that_is_wrong() {
    for text in [
        "global\n daemon\n",
        "frontend a\n mode http\n bind :80\n",
        "listen a\n bind :80\n",
        "events {}\nhttp { server { listen 80; location / { return 200; } } }",
        "stream { server { listen 53 udp; proxy_pass 10.0.0.1:53; } }",
    ] {
        let made = converted(text);
        assert_eq!((made.exit_code(), &made.toml), (3, &None), "{text} {:?}", made.notes);
        assert!(made.summary("f").starts_with("f: nothing in it could be carried over"));
    }
}

#[test]
fn the_kind_is_known_from_the_content_or_from_the_name() {
    for (name, text, peer) in [
        ("x", "listen a\n bind :80", Some(Peer::Haproxy)),
        ("x", "events {\n}\n", Some(Peer::Nginx)),
        ("x", "events {} stream { }", Some(Peer::Nginx)),
        ("x", "frontend a\nuse_backend c if { src 1.2.3.4 }\n", Some(Peer::Haproxy)),
        ("x", "frontend a\ntcp-request content reject unless { src ::1 }\n", Some(Peer::Haproxy)),
        ("x", "frontend a\nx { }\n", None),
        ("x.cfg", "frontend a\nuse_backend c if { src 1.2.3.4 }\n", Some(Peer::Haproxy)),
        ("nginx", "x", Some(Peer::Nginx)),
        ("x", "x", None),
    ] {
        let found = recognise(name, text.as_bytes());
        let expected = peer.or((!text.eq("x")).then_some(Peer::Nginx));
        assert_eq!(found, expected, "{name} {text}");
    }
    let wanted = Wanted { peer: Some(Peer::Haproxy), ..Wanted::default() };
    let made = convert("nginx.conf", listen("", "").as_bytes(), wanted, &Nothing);
    assert_eq!(made.exit_code(), 0);
}

#[test]
fn windows_lines_tabs_and_a_byte_order_mark_change_nothing() {
    let plain = listen("", "balance leastconn");
    let odd = "\u{feff}".to_owned() + &plain.replace('\n', "\r\n").replace("bind ", "\tbind\t");
    assert_eq!(converted(&odd).toml, converted(&plain).toml);
    let plain = stream("least_conn;", "");
    let odd = "\u{feff}".to_owned() + &plain.replace('\n', "\r\n").replace("listen ", "\tlisten\t");
    assert_eq!(converted(&odd).toml, converted(&plain).toml);
}

#[test]
fn timeouts_of_haproxy_are_the_shorter_or_the_tunnel() {
    for (lines, expected) in [
        ("", "timeout = { connect = \"5s\", idle = \"1m\", half-close = \"1m\" }"),
        ("timeout server 30s", "idle = \"30s\", half-close = \"30s\""),
        ("timeout tunnel 1h", "idle = \"1h\", half-close = \"1h\""),
        ("timeout client-fin 20s\ntimeout server-fin 10s", "idle = \"1m\", half-close = \"10s\""),
        ("timeout tunnel 30d", "idle = \"168h\""),
        ("timeout tunnel 0", "idle = \"1m\""),
        ("timeout connect 20s", "retry = { attempts = 2, within = \"1m\" }"),
        ("option redispatch\nretries 1", "retry = { attempts = 1, within = \"10s\" }"),
        ("retries 0", "retry = { attempts = 0 }"),
        (
            "clitcpka-idle 30\nclitcpka-cnt 3",
            "keepalive = { idle = \"30s\", interval = \"10s\", count = 3 }",
        ),
        ("maxconn 500", "max-sessions = 500"),
        ("rate-limit sessions 300", "rate = \"300/s\""),
        (
            "stick-table type ip size 1m expire 9s store conn_cur\n\
             tcp-request connection track-sc0 src\n\
             tcp-request connection reject if { src_conn_cur gt 50 }",
            "per-source = { sessions = 50",
        ),
        ("disabled", "state = \"drain\""),
    ] {
        expect_toml(&converted(&listen("", lines)), &[expected]);
        if !lines.starts_with("disabled") {
            expect_toml(&converted(&listen(lines, "")), &[expected]);
        }
    }
    let none = converted("listen a\nbind :80\nserver x 10.0.0.1:80\n");
    expect_toml(&none, &["idle = \"168h\""]);
}

#[test]
fn strategies_of_both_peers_have_one_of_weir() {
    for (line, word, is_noted) in [
        ("", "round-robin", false),
        ("balance static-rr", "round-robin", false),
        ("balance leastconn", "least-conn", false),
        ("balance random", "two-choices", false),
        ("balance random(1)", "random", false),
        ("balance random(5)", "two-choices", true),
        ("balance source", "maglev", true),
        ("balance hash src", "maglev", true),
        ("balance first", "round-robin", true),
        ("balance rdp-cookie", "round-robin", true),
    ] {
        let made = converted(&listen("", line));
        expect_toml(&made, &[&format!("strategy = \"{word}\"")]);
        assert_eq!(made.notes.len(), usize::from(is_noted), "{line}: {:?}", made.notes);
    }
    for (line, word) in [
        ("", "round-robin"),
        ("least_conn;", "least-conn"),
        ("random;", "random"),
        ("random two least_conn;", "two-choices"),
        ("random two least_time=connect;", "two-choices"),
        ("least_time first_byte;", "least-conn"),
        ("hash $remote_addr consistent;", "maglev"),
        ("hash ${remote_addr}${remote_port};", "random"),
        ("hash $ssl_preread_server_name;", "round-robin"),
    ] {
        expect_toml(&converted(&stream(line, "")), &[&format!("strategy = \"{word}\"")]);
    }
}

#[test]
fn checks_of_haproxy_have_one_of_weir() {
    for (lines, expected) in [
        ("", "kind = \"tcp\", interval = \"2s\", timeout = \"2s\", rise = 2, fall = 3, panic ="),
        ("timeout connect 500ms", "timeout = \"500ms\", rise"),
        (
            "default-server inter 1s rise 1 fall 9 slowstart 1m",
            "timeout = \"1s\", rise = 1, fall = 9, panic = \"0%\", slow-start = \"1m\"",
        ),
        (
            "default-server fastinter 1s downinter 9s",
            "interval = \"2s\", fast-interval = \"1s\", down-interval = \"9s\"",
        ),
        ("option httpchk", "kind = \"http\""),
        ("option httpchk /up", "path = \"/up\""),
        ("option httpchk GET /up HTTP/1.0", "path = \"/up\""),
        ("option httpchk\nhttp-check send meth GET uri /a ver HTTP/1.1", "path = \"/a\""),
        ("option httpchk\nhttp-check expect status 204", "expect = \"204\""),
        ("option httpchk\nhttp-check expect comment x status 204", "expect = \"204\""),
        ("option httpchk\ntimeout check 3s", "timeout = \"5s\", rise"),
        ("option httpchk\nhttp-check expect status 200-299,401", "expect = \"200-299,401\""),
        ("option httpchk\nhttp-check expect rstatus ^2[0-9][0-9]$", "expect = \"200-299\""),
        ("option httpchk\nhttp-check expect string up", "method = \"OPTIONS\", panic"),
        (
            "option httpchk HEAD / HTTP/1.1\\r\\nHost:\\ a.b",
            "\"HEAD\", path = \"/\", host = \"a.b\"",
        ),
        ("option httpchk\nhttp-check send hdr Host a.b", "host = \"a.b\""),
        ("option httpchk\nhttp-check connect port 81", "port = 81, method = \"OPTIONS\""),
        ("option httpchk\ndefault-server port 81", "kind = \"http\""),
        (
            "default-server port 81",
            "kind = \"tcp\", interval = \"2s\", timeout = \"2s\", rise = 2, fall = 3, port = 81",
        ),
        ("option httpchk\nhttp-check connect port 81 ssl", "fall = 3, panic"),
        (
            "option tcp-check\ntcp-check connect port 81\ntcp-check connect port 82",
            "fall = 3, panic",
        ),
        ("default-server check-ssl", "kind = \"tls\""),
    ] {
        expect_toml(&converted(&listen("", lines)), &[expected]);
    }
    let unchecked = listen("", "").replace(" check", "");
    expect_toml(&converted(&unchecked), &["kind = \"none\""]);
}

#[test]
fn conversations_of_haproxy_are_steps_or_a_kind() {
    for (lines, expected) in [
        ("option tcp-check", "kind = \"tcp\""),
        (
            "option tcp-check\ntcp-check send PING\\r\\n\ntcp-check expect string +PONG",
            "send = \"PING\\\\r\\\\n\", expect = \"+PONG\"",
        ),
        (
            "option tcp-check\ntcp-check send-binary 50494e47\ntcp-check expect rstring ^\\+PO",
            "send = \"PING\", expect = \"+PO\"",
        ),
        (
            "option tcp-check\ntcp-check expect string SSH;2.0\ntcp-check send x",
            "steps = [\"expect SSH\\\\x3b2.0\", \"send x\"]",
        ),
        ("option tcp-check\ntcp-check send a\ntcp-check expect rstring a|b", "kind = \"tcp\""),
        ("option tcp-check\ntcp-check send a\ntcp-check expect ! string b", "kind = \"tcp\""),
        ("option redis-check", "kind = \"redis\""),
        ("option ssl-hello-chk", "kind = \"tls\""),
        ("option smtpchk", "kind = \"smtp\""),
        ("option smtpchk EHLO lb.example", "host = \"lb.example\""),
        ("option mysql-check", "kind = \"tcp\""),
        ("option mysql-check user check", "user = \"check\""),
        ("option pgsql-check user check", "kind = \"postgresql\""),
        ("option pgsql-check", "kind = \"postgresql\""),
        ("option ldap-check", "expect = \"\\\\n\\\\x01\\\\x00\""),
        ("option httpchk\nno option httpchk", "kind = \"tcp\""),
    ] {
        expect_toml(&converted(&listen("", lines)), &[expected]);
    }
    // The steps of a proxy take the place of those of its defaults.
    let steps = "option tcp-check\ntcp-check send a\ntcp-check expect string a";
    let own = converted(&listen(steps, "tcp-check send b\ntcp-check expect string b"));
    expect_toml(&own, &["send = \"b\", expect = \"b\""]);
}

#[test]
fn defaults_are_the_last_ones_or_those_that_are_named() {
    let text = "defaults one\nbalance leastconn\ndefaults two from one\nretries 0\n\
                defaults three\nbalance random\n\
                listen a from two\nbind :1\nserver x 10.0.0.1:1\n\
                listen b\nbind :2\nserver x 10.0.0.1:2\n";
    let made = converted(text);
    expect_toml(&made, &["[pool.a]\nstrategy = \"least-conn\"", "attempts = 0"]);
    expect_toml(&made, &["[pool.b]\nstrategy = \"two-choices\""]);
    let unknown = text.replace("from two", "from four");
    expect_note(&unknown, "7: warning: there are no defaults `four`");
}

#[test]
fn lines_with_the_same_note_share_it() {
    let text = listen("", "server z 10.0.0.3:80 minconn 5\nserver w 10.0.0.4:80 minconn 5");
    let notes = notes(&converted(&text));
    let shared = notes.iter().find(|note| note.starts_with("7: note: `minconn` of a server"));
    assert!(shared.is_some_and(|note| note.ends_with("(also line 8)")), "{notes:?}");
}

#[test]
fn http_is_relayed_if_that_is_asked_for() {
    let text = listen("mode http", "cookie A insert");
    assert_eq!(converted(&text).exit_code(), 3);
    let made = as_tcp(&text);
    assert_eq!(made.exit_code(), 0);
    let notes = notes(&made);
    assert!(notes.iter().any(|it| it.starts_with("6: warning: listen a is in mode http and")));
    assert!(notes.iter().any(|it| it.starts_with("8: warning: `cookie`")), "{notes:?}");
}

#[test]
fn tls_goes_through_where_both_sides_have_it() {
    let text = listen("", "").replace("bind 127.0.0.1:80", "bind 127.0.0.1:80 ssl crt /x.pem");
    assert_eq!(converted(&text).toml.map(|it| it.contains("[listener")), Some(false));
    let both = text.replace(" check", " check ssl verify none");
    expect_toml(&converted(&both), &["[listener.a]", "kind = \"tls\""]);
    expect_note(&both, "6: warning: TLS of the clients goes through");
    let made = converted(&stream("", "proxy_ssl on;").replace("80; proxy", "80 ssl; proxy"));
    expect_toml(&made, &["[listener.u]"]);
}

#[test]
fn names_addresses_and_ports_are_those_of_the_file() {
    let text = "listen a:b\nbind \"${IP}:8080\"\nserver 1 ${IP}:+1\nserver -x 10.0.0.2\n";
    let made = converted(text);
    let expected =
        ["[listener.a-b]", "bind = \"10.9.9.9:8080\"", "1 = { address = \"10.9.9.9:8081\" }"];
    expect_toml(&made, &expected);
    expect_toml(&made, &["x = { address = \"10.0.0.2:8080\" }"]);
    let many = "listen a\nbind 127.0.0.1:1000-1019\nserver x 10.0.0.1:1\n";
    expect_toml(&converted(many), &["[listener.a]", "[listener.a-2]", "more addresses"]);
    let part = "upstream u { server 10.0.0.1:80; }\nserver { listen 81; proxy_pass u; }";
    expect_toml(&converted(part), &["[listener.u]", "[pool.u]"]);
}

#[test]
fn a_file_as_long_as_it_may_be_is_read_in_time() {
    let mut text =
        "defaults\ntimeout connect 1s\ntimeout client 1m\ntimeout server 1m\n".to_owned();
    for number in 0..5000 {
        let port = number + 1;
        text += &format!("listen l{number}\nbind :{port}\nserver a 10.0.0.1:{port} minconn 5\n");
    }
    let made = converted(&text);
    assert_eq!(made.counts, [1024, 4096, 4096]);
    let long = vec![b'x'; FILE_MAX + 1];
    assert_eq!(convert("f", &long, Wanted::default(), &Nothing).exit_code(), 1);
}

/// `proxy-protocol` of a listener that believes everybody.
const EVERYBODY: &str = "proxy-protocol = { from = [\"0.0.0.0/0\", \"::/0\"] }";

#[test]
fn headers_of_haproxy_are_of_the_pool_and_of_the_listener() {
    for (options, expected) in [
        ("send-proxy", Some("v1")),
        ("send-proxy-v2", Some("v2")),
        ("send-proxy send-proxy-v2", Some("v2")),
        ("send-proxy-v2-ssl", Some("v2")),
        ("send-proxy-v2-ssl-cn", Some("v2")),
        ("send-proxy no-send-proxy", None),
        ("send-proxy-v2 no-send-proxy-v2", None),
        ("send-proxy-v2-ssl no-send-proxy-v2-ssl", None),
        ("send-proxy send-proxy-v2 no-send-proxy-v2", Some("v1")),
    ] {
        let made = converted(&listen(&format!("default-server {options}"), ""));
        let toml = made.toml.clone().unwrap_or_default();
        match expected {
            Some(word) => expect_toml(&made, &[&format!("proxy-protocol = \"{word}\"\n")]),
            None => assert!(!toml.contains("proxy-protocol"), "{options}\n{toml}"),
        }
        let is_lossy = notes(&made).iter().any(|note| note.contains("warning"));
        assert_eq!(is_lossy, options.contains("ssl"), "{options}: {:?}", made.notes);
    }
    for odd in ["", "send-proxy-v2", "no-send-proxy"] {
        let lines = format!("default-server send-proxy\nserver z 10.0.0.3:80 check {odd}");
        let made = converted(&listen("", &lines));
        let is_sent = made.toml.as_ref().is_some_and(|toml| toml.contains("proxy-protocol"));
        let is_told = notes(&made).iter().any(|note| note.contains("none is sent"));
        assert_eq!((is_sent, is_told), (odd.is_empty(), !odd.is_empty()), "{odd}");
    }
    for (options, odd) in
        [("crc32c,unique-id", ""), ("ssl,crc32c", "ssl"), ("authority", "authority")]
    {
        let server = format!("default-server send-proxy-v2 proxy-v2-options {options}");
        let made = converted(&listen(&server, ""));
        let named = |note: &String| note.contains("proxy-v2-options") && note.contains(odd);
        let is_told = notes(&made).iter().any(named);
        assert_eq!(is_told, !odd.is_empty(), "{options}: {:?}", made.notes);
    }
    let all = listen("", "").replace("127.0.0.1:80", "127.0.0.1:80 accept-proxy");
    let made = converted(&all);
    expect_toml(&made, &["[listener.a]\nbind = \"127.0.0.1:80\"\n", EVERYBODY]);
    let part = listen("", "bind 127.0.0.1:81 accept-proxy");
    let made = converted(&part);
    assert_eq!(made.counts, [2, 1, 2]);
    expect_toml(&made, &["[listener.a]\nbind = \"127.0.0.1:80\"\n", EVERYBODY]);
    expect_toml(&made, &["[listener.a-2]\nbind = \"127.0.0.1:81\"\n"]);
    expect_note(&part, "5: note: listen a becomes two listeners");
}

#[test]
fn headers_of_nginx_are_of_the_pool_and_of_the_listener() {
    let made = converted(&stream("", "proxy_protocol on;"));
    expect_toml(&made, &["proxy-protocol = \"v1\"\n"]);
    assert!(made.notes.is_empty(), "{:?}", made.notes);
    let off = converted(&stream("", "proxy_protocol off;"));
    assert!(off.toml.is_some_and(|toml| !toml.contains("proxy-protocol")));
    let other = "} server { listen 81; proxy_pass u; proxy_protocol on;";
    expect_note(&stream("", other), "5: warning: one of two servers before one upstream");
    let wanted = |around: &str, within: &str| {
        let text = stream("", within).replace("80; proxy", "80 proxy_protocol; proxy");
        converted(&text.replace("stream {", &format!("stream {{ {around}")))
    };
    expect_toml(&wanted("", ""), &[EVERYBODY]);
    let ten = "proxy-protocol = { from = \"10.0.0.0/8\" }";
    expect_toml(&wanted("set_real_ip_from 10.0.0.0/8;", ""), &[ten]);
    let around = "set_real_ip_from 192.0.2.1; proxy_protocol_timeout 5s;";
    let own = wanted(around, "set_real_ip_from 10.0.0.0/8; set_real_ip_from ::1;");
    let both = "proxy-protocol = { from = [\"10.0.0.0/8\", \"::1/128\"], timeout = \"5s\" }";
    expect_toml(&own, &[both]);
    assert!(own.notes.iter().any(|note| note.why.starts_with("weir refuses clients")));
}

mod agents;
mod discover;
mod notes;
mod rules;
