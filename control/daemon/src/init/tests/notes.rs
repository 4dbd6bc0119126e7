//! Lines that weir does not take over: each has a note.

use super::*;

#[test]
fn each_line_that_is_lost_has_a_note_with_its_place() {
    for (lines, begins) in [
        ("frobnicate", "7: warning: `frobnicate` is not known to weir"),
        ("option frobnicate", "7: warning: `option frobnicate` is not known to weir"),
        ("stick-table type ip size 1m", "7: warning: `stick-table`"),
        ("stick-table type ip size 1m store gpc0", "7: warning: `stick-table`"),
        ("source 10.0.0.9 interface eth0", "7: warning: `interface` of source"),
        ("timeout queue x", "7: warning: `timeout queue x`"),
        ("timeout client x", "7: warning: `timeout client x`"),
        (
            "use_backend b if { src 10.0.0.0/8 }",
            "7: warning: use_backend b is left out: backend b is not there",
        ),
        (
            "tcp-request connection reject if { src_conn_rate gt 9 }",
            "7: warning: `tcp-request connection`",
        ),
        ("bind :81 accept-proxy", "7: warning: `accept-proxy` of bind"),
        ("bind :81 frob", "7: warning: `frob` of bind is not known"),
        ("bind :81 ssl crt /x.pem", "7: warning: a bind with `ssl` is left out"),
        ("bind /run/x.sock", "7: warning: bind `/run/x.sock`"),
        ("bind 127.0.0.1:80", "5: warning: the address 127.0.0.1:80 is bound twice"),
        ("server z 10.0.0.3:80 frob", "7: warning: `frob` of a server is not known"),
        ("server z 10.0.0.3:80 send-proxy-v2", "7: warning: a server wants a PROXY header, v2"),
        ("server z 10.0.0.3:80 send-proxy-v2-ssl", "7: warning: `send-proxy-v2-ssl*` of a"),
        ("server z 10.0.0.3:80 check-send-proxy", "7: note: `check-send-proxy` of a server"),
        (
            "tcp-request connection expect-proxy layer4 if { src 10.0.0.0/8 }",
            "7: warning: `tcp-request connection`: all clients of a listener of weir send",
        ),
        ("server z 10.0.0.3:80 weight x", "7: warning: `weight` of a server: `x` is no value"),
        ("server z db.internal:80", "7: note: the server at `db.internal:80`: its pool asks DNS"),
        ("server z 10.0.0.3:80 check inter 9s", "8: note: `inter`, `rise` or `fall`"),
        ("default-server rise 1000", "8: note: `inter`, `rise` or `fall` of a server is beyond"),
        ("server z 127.0.0.1:80 check", "7: warning: the server 127.0.0.1:80 is left out"),
        ("server x 10.0.0.3:80 check", "8: note: `x` is called x-2"),
        ("server z \"${NO}:80\" check", "7: warning: the variable `NO` is not set here"),
    ] {
        expect_note(&listen("", lines), begins);
    }
    for (upstream, server, begins) in [
        ("", "allow unix:;", "5: warning: `allow unix:`: it is left out"),
        ("", "frobnicate;", "5: warning: `frobnicate` is not known to weir"),
        ("", "proxy_timeout x;", "5: warning: `proxy_timeout x`"),
        ("", "listen 81 udp;", "5: warning: `listen … udp` is left out"),
        ("", "listen 81 ssl;", "5: warning: `listen … ssl` is left out"),
        ("", "listen unix:/x;", "5: warning: listen `unix:/x` is left out"),
        ("", "set_real_ip_from unix:;", "5: warning: `set_real_ip_from unix:`: it is left out"),
        ("", "proxy_protocol_timeout x;", "5: warning: `proxy_protocol_timeout x`"),
        ("", "listen 81 proxy_protocol;", "5: warning: `proxy_protocol` of listen: the PROXY"),
        ("", "listen 81 proxy_protocol;", "5: note: a server becomes two listeners"),
        ("", "include missing;", "5: warning: include `missing`: No such file"),
        ("frobnicate;", "", "2: warning: `frobnicate` is not known to weir"),
        ("server 10.0.0.3:80 max_conns=x;", "", "2: warning: `max_conns=x`"),
        ("server db:80;", "", "2: note: the server at `db:80`: its pool asks DNS"),
        ("include part;", "", "part:2: warning: `foo` is not known"),
    ] {
        expect_note(&stream(upstream, server), begins);
    }
}
