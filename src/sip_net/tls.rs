//! TLS 1.2 and 1.3 by rustls on aws-lc: our certificate, whom we trust, and how both are read again while we run.
//!
//! A connection keeps what it was made with; the next one gets what is in force then. What can't be used never comes into force.
//! Leaves out SNI (we have one name), revocation lists, ALPN.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio_rustls::rustls;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::config::{ClientCertificates, TlsPlan};
use crate::limits::TLS_LOOK_INTERVAL;

/// Why the files can't be used.
#[derive(Debug)]
pub enum TlsError {
    /// A file can't be read, or holds nothing of what it should.
    File(PathBuf, String),
    /// What they hold does not go together.
    Rules(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::File(path, why) => write!(f, "{}: {why}", path.display()),
            TlsError::Rules(why) => write!(f, "certificate, key and CA files: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

impl From<Error> for TlsError {
    fn from(why: Error) -> TlsError {
        TlsError::Rules(why.to_string())
    }
}

/// What is in force, and where it came from. Shared by all connections.
pub struct Tls {
    plan: TlsPlan,
    in_force: RwLock<Loaded>,
    seen: Mutex<Vec<Stamp>>,
}

/// What a handshake needs.
#[derive(Clone)]
struct Loaded {
    server: Arc<ServerConfig>,
    /// There if we know whom to trust.
    client: Option<Arc<ClientConfig>>,
}

/// What changes when a file is written or replaced: inode, size, time of change. `None` if it is not there.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Tls {
    /// Reads the files.
    pub fn open(plan: &TlsPlan) -> Result<Arc<Tls>, TlsError> {
        let seen = Mutex::new(stamps(plan));
        let in_force = RwLock::new(load(plan)?);
        Ok(Arc::new(Tls { plan: plan.clone(), in_force, seen }))
    }

    /// For one connection that was accepted.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.loaded().server.into()
    }

    /// For one connection of ours; `None` if we would not know whom to trust.
    pub(super) fn connector(&self) -> Option<TlsConnector> {
        self.loaded().client.map(Into::into)
    }

    fn loaded(&self) -> Loaded {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again if one has changed since the last time. Whether it did.
    pub fn look(&self) -> bool {
        let now = stamps(&self.plan);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return false;
        }
        *seen = now;
        drop(seen);
        self.reload();
        true
    }

    /// Reads the files again. If they can't be used, what was in force stays so, and the log says why.
    pub fn reload(&self) {
        match load(&self.plan) {
            Ok(loaded) => {
                *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                tracing::info!(certificate = %self.plan.certificate.display(), "TLS files read again: in force for new connections");
            }
            Err(why) => {
                tracing::error!(%why, "the changed TLS files can't be used: the former ones stay in force")
            }
        }
    }

    /// Looks after the files until nobody can ask any more; at once when asked. Blocks: for a thread of its own.
    pub fn watch(&self, asked: &Receiver<()>) {
        loop {
            match asked.recv_timeout(TLS_LOOK_INTERVAL) {
                Ok(()) => {
                    *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamps(&self.plan);
                    self.reload();
                }
                Err(RecvTimeoutError::Timeout) => _ = self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

fn stamps(plan: &TlsPlan) -> Vec<Stamp> {
    let files = [Some(&plan.certificate), Some(&plan.key), Some(&plan.client_ca), plan.server_ca.as_ref()];
    let stamp = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.ino(), data.len(), data.ctime(), data.ctime_nsec()))
    };
    files.into_iter().map(|path| path.and_then(stamp)).collect()
}

fn load(plan: &TlsPlan) -> Result<Loaded, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = certificates(&plan.certificate)?;
    let key = private_key(&plan.key)?;
    Ok(Loaded {
        server: server(plan, &provider, chain.clone(), key.clone_key())?,
        client: match &plan.server_ca {
            None => None,
            Some(ca) => Some(client(plan, &provider, roots(ca)?, chain, key)?),
        },
    })
}

fn server(
    plan: &TlsPlan,
    provider: &Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let asked = || {
        let roots = roots(&plan.client_ca)?;
        Ok::<_, TlsError>(WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)))
    };
    let rules = |why: rustls::server::VerifierBuilderError| TlsError::Rules(why.to_string());
    let clients = match plan.client_certificates {
        ClientCertificates::None => WebPkiClientVerifier::no_client_auth(),
        ClientCertificates::Optional => asked()?.allow_unauthenticated().build().map_err(rules)?,
        ClientCertificates::Required => asked()?.build().map_err(rules)?,
    };
    let config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

fn client(
    plan: &TlsPlan,
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let names = plan.server_names.iter().filter(|name| *name != "*").map(|name| {
        ServerName::try_from(name.clone())
            .map_err(|_| TlsError::Rules(format!("{name:?} is no name (tls.server_names)")))
    });
    let verifier = Names {
        chain: WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map_err(|why| TlsError::Rules(why.to_string()))?,
        names: names.collect::<Result<_, _>>()?,
        any: plan.server_names.iter().any(|name| name == "*"),
    };
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::File(path.to_owned(), why);
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|why| wrong(why.to_string()))?.collect();
    let found = found.map_err(|why| wrong(why.to_string()))?;
    if found.is_empty() { Err(wrong("holds no PEM certificate".to_owned())) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    // A group may be meant to read it; everybody is not.
    if std::fs::metadata(path).is_ok_and(|data| data.mode() & 0o007 != 0) {
        tracing::warn!(key = %path.display(), "everybody on this machine can read the TLS key: chmod o-rwx");
    }
    PrivateKeyDer::from_pem_file(path).map_err(|why| TlsError::File(path.to_owned(), why.to_string()))
}

fn roots(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    certificates(path)?.into_iter().try_for_each(|certificate| roots.add(certificate))?;
    Ok(Arc::new(roots))
}

/// Verifies whom we connect to: always that a CA of ours has signed, and then the address, or one of the names that an operator
/// has given, for few border controllers have certificates for their addresses.
#[derive(Debug)]
struct Names {
    chain: Arc<WebPkiServerVerifier>,
    names: Vec<ServerName<'static>>,
    any: bool,
}

impl ServerCertVerifier for Names {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        address: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut outcome = self.chain.verify_server_cert(leaf, above, address, ocsp, now);
        for name in &self.names {
            if outcome.is_err() {
                outcome = self.chain.verify_server_cert(leaf, above, name, ocsp, now);
            }
        }
        match outcome {
            // The name is looked at last: everything else was good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
