//! Servers that take badly to checks of the wrong kind: MariaDB, an SMTP server, nginx with TLS.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Server, tls};
use crate::net::{free, own_ip};
use crate::weir::Dir;

/// Where Debian's mariadb-server-core has the tables of a new server.
const TABLES: &str = "/usr/share/mysql";

impl Server {
    /// MariaDB with a user `weir`, who has no password and no rights. Hosts are blocked after three
    /// handshakes that were not finished.
    ///
    /// # Panics
    /// If it is not installed, or does not come up.
    #[must_use]
    pub fn mariadb() -> Server {
        let dir = Dir::new();
        let address = free(own_ip());
        let data = format!("--datadir={}", dir.entry("data"));
        fs::create_dir_all(dir.path.join("data/mysql")).expect("there is room");
        let read = |name: &str| {
            let path = Path::new(TABLES).join(name);
            fs::read_to_string(&path).unwrap_or_else(|it| panic!("{}: {it}", path.display()))
        };
        let user = "\nFLUSH PRIVILEGES;\nCREATE USER weir@'%';\n";
        let tables = [read("mysql_system_tables.sql"), read("mysql_system_tables_data.sql")];
        let sql = dir.write("begin.sql", &["use mysql;\n", &tables.concat(), user].concat());
        let mariadb = || {
            let mut command = Command::new("mariadbd");
            command.args(["--no-defaults", &data, "--skip-name-resolve", "--user=root"]);
            command.args(["--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M"]);
            command
        };
        let mut begin = mariadb();
        begin.arg("--bootstrap").stdin(fs::File::open(&sql).map_or(Stdio::null(), Stdio::from));
        let ended = begin.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(ended.is_ok_and(|ended| ended.success()), "{begin:?}; see ./scripts/test");
        let mut command = mariadb();
        command.args([
            format!("--bind-address={}", address.ip()),
            format!("--port={}", address.port()),
            format!("--socket={}", dir.entry("socket")),
            format!("--pid-file={}", dir.entry("pid")),
        ]);
        // `spawn` connects without a login, perhaps twice.
        command.args(["--max-connect-errors=3", "--log-warnings=2"]);
        Server::spawn(&mut command, vec![address], dir)
    }

    /// aiosmtpd, which writes what it hears.
    ///
    /// # Panics
    /// If it is not installed, or does not come up.
    #[must_use]
    pub fn smtp() -> Server {
        let address = free(own_ip());
        // Debian's own Python has Debian's modules.
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-u", "-m", "aiosmtpd", "-n", "-d", "-d", "-l", &address.to_string()]);
        command.args(["-c", "aiosmtpd.handlers.Sink"]);
        Server::spawn(&mut command, vec![address], Dir::new())
    }

    /// nginx with TLS of these versions before a page, and a log of everything from `info` on.
    ///
    /// # Panics
    /// If it does not come up, or there is no openssl.
    #[must_use]
    pub fn nginx_tls(versions: &str) -> Server {
        let dir = Dir::new();
        let address = free(own_ip());
        let [key, certificate] = tls::certify(&dir, "weir.test");
        let text = format!(
            "error_log stderr info;\nevents {{ worker_connections 64; }}\nstream {{\n\
             server {{ listen {address} ssl; ssl_certificate {certificate};\n\
             ssl_certificate_key {key}; ssl_protocols {versions}; return hello; }}\n}}\n",
        );
        dir.write("nginx.conf", &text);
        Server::nginx_stream(dir, vec![address])
    }
}
