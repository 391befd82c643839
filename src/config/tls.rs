//! How TLS is spoken: whose certificate we show, and whose we ask for.

use std::path::PathBuf;

use super::listen::Listen;
use super::plan::Check;
use crate::sip::Transport;

/// The files and rules of TLS. The files are read, and read again when they change, by `sip_net`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsPlan {
    /// Our certificate and what leads from it to its root, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Whether clients have to show one, too.
    pub client_certificates: ClientCertificates,
    /// Who signs those of clients, PEM.
    pub client_ca: PathBuf,
    /// Who signs those of clients that we connect to, PEM; `None`: we connect to nobody.
    pub server_ca: Option<PathBuf>,
    /// Names of which one such certificate has to bear, if not the address connected to; `*` is any.
    pub server_names: Vec<String>,
}

/// What is asked of clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientCertificates {
    /// None.
    None,
    /// One that is good, or none.
    Optional,
    /// One that is good.
    Required,
}

impl Check<'_> {
    /// The rules of TLS, if anything listens for it.
    pub(super) fn tls(&mut self, listen: &[Listen]) -> Option<TlsPlan> {
        let client_certificates = self.one_of(
            "tls.client_certificates",
            &[
                ("none", ClientCertificates::None),
                ("optional", ClientCertificates::Optional),
                ("required", ClientCertificates::Required),
            ],
        );
        if !listen.iter().any(|point| point.transport == Transport::Tls) {
            return None;
        }
        for key in ["tls.certificate", "tls.key"] {
            self.named(key, "but sip.listen has a tls: listener");
        }
        if client_certificates != ClientCertificates::None {
            self.named("tls.client_ca", "but tls.client_certificates asks for certificates");
        }
        let path = |key| Some(PathBuf::from(self.text(key))).filter(|path| !path.as_os_str().is_empty());
        Some(TlsPlan {
            certificate: path("tls.certificate").unwrap_or_default(),
            key: path("tls.key").unwrap_or_default(),
            client_certificates,
            client_ca: path("tls.client_ca").unwrap_or_default(),
            server_ca: path("tls.server_ca").or_else(|| path("tls.client_ca")),
            server_names: self.list("tls.server_names").to_vec(),
        })
    }

    fn named(&mut self, key: &str, but: &str) {
        if self.text(key).is_empty() {
            self.problem(key, format_args!("is empty, {but}: name a PEM file"));
        }
    }
}
