//! The addresses that the peers connect from.

use super::*;

#[test]
fn the_source_of_haproxy_is_that_of_the_pool() {
    let four = ["source = \"10.0.0.5\""];
    for line in ["source 10.0.0.5", "source ipv4@10.0.0.5", "source 10.0.0.5:0"] {
        expect_toml(&converted(&listen("", line)), &four);
        expect_toml(&converted(&listen(line, "")), &four);
    }
    expect_toml(&converted(&listen("", "source [fd00::5]:0")), &["source = \"fd00::5\""]);
    let of_servers = "default-server source 10.0.0.5";
    expect_toml(&converted(&listen(of_servers, "source 10.0.0.6")), &four);
    for none in ["source 0.0.0.0", "source *"] {
        let made = converted(&listen("", none));
        assert!(!made.toml.unwrap_or_default().contains("source ="), "{none}");
    }
    let port = listen("", "source 10.0.0.5:1024-2000");
    expect_toml(&converted(&port), &four);
    expect_note(&port, "7: note: `source 10.0.0.5:1024-2000`");
    expect_note(&listen("", "source eth0"), "7: warning: `source eth0`");
    let client = listen("", "source 10.0.0.5 usesrc clientip");
    expect_note(&client, "7: warning: `usesrc` of source: weir has no transparent mode yet");
    expect_toml(&converted(&client), &four);
    let differ = listen("", "").replace("10.0.0.2:80 check", "10.0.0.2:80 check source 10.0.0.5");
    expect_note(&differ, "8: warning: `source 10.0.0.5`: servers of this backend have others");
}

#[test]
fn the_bind_of_nginx_is_the_source_of_the_pool() {
    expect_toml(&converted(&stream("", "proxy_bind 10.0.0.5;")), &["source = \"10.0.0.5\""]);
    let off = converted(&stream("", "proxy_bind off;"));
    assert!(!off.toml.unwrap_or_default().contains("source ="));
    let client = stream("", "proxy_bind $remote_addr transparent;");
    let notes = notes(&converted(&client));
    assert!(notes.iter().any(|it| it.contains("no transparent mode yet")), "{notes:#?}");
    let variable = self::notes(&converted(&stream("", "proxy_bind $own;")));
    assert!(variable.iter().any(|it| it.contains("without a port")), "{variable:#?}");
}

#[test]
fn the_interface_of_a_bind_is_that_of_its_listener() {
    let on = |bind: &str| listen("", "").replace("bind 127.0.0.1:80", bind);
    let made = converted(&on("bind 127.0.0.1:80 interface eth0"));
    expect_toml(&made, &["interface = \"eth0\""]);
    let made = converted(&on("bind 127.0.0.1:80 interface eth0\nbind 127.0.0.1:81"));
    let toml = made.toml.clone().unwrap();
    assert!(!toml.contains("interface"), "{toml}");
    let is_told = notes(&made).iter().any(|it| it.contains("`interface` of listen a"));
    assert!(is_told, "{:?}", made.notes);
    let text = "defaults\ntimeout connect 5s\ntimeout client 1m\ntimeout server 1m\n\
                listen a\nbind :80 interface a0\nserver x 10.0.0.1:80\n\
                listen b\nbind :80 interface b0\nserver y 10.0.0.2:80\n";
    let made = converted(text);
    assert_eq!(made.counts[0], 2, "{:?}", made.notes);
}
