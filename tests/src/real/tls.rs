//! Servers with certificates, and clients that believe one certificate only.

use std::net::SocketAddr;
use std::process::Command;

use super::Server;
use crate::net::{free, own_ip};
use crate::weir::{Dir, Ran};

/// Makes a key and a certificate for `name` in a directory; gives their paths.
///
/// # Panics
/// If there is no openssl.
pub fn certify(dir: &Dir, name: &str) -> [String; 2] {
    let [key, certificate] = [dir.entry("key.pem"), dir.entry("certificate.pem")];
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", &format!("/CN={name}")])
        .args(["-addext", &format!("subjectAltName=DNS:{name}")])
        .args(["-keyout", &key, "-out", &certificate]);
    let _ = Ran::of(&mut make).expect_code(0);
    [key, certificate]
}

/// nginx that answers with its name, and has a certificate for it.
pub struct TlsService {
    pub server: Server,
    certificate: String,
}

impl TlsService {
    /// Starts it.
    ///
    /// # Panics
    /// If it does not come up, or there is no openssl.
    #[must_use]
    pub fn start(name: &str) -> TlsService {
        let (dir, address) = (Dir::new(), free(own_ip()));
        let [key, certificate] = certify(&dir, name);
        let http = format!(
            "server {{ listen {address} ssl; ssl_certificate {certificate}; \
             ssl_certificate_key {key}; return 200 \"{name}\\n\"; }}"
        );
        TlsService { server: Server::nginx_http(dir, address, &http), certificate }
    }

    /// Asks `through` for a page of `name`, and believes only the certificate of this service.
    #[must_use]
    pub fn page(&self, name: &str, through: SocketAddr) -> Ran {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "--cacert", &self.certificate])
            .args(["--resolve", &format!("{name}:{}:{}", through.port(), through.ip())])
            .arg(format!("https://{name}:{}/", through.port()));
        Ran::of(&mut curl)
    }
}
