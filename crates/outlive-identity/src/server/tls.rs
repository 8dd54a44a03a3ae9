//! What a listener shows and whom it trusts, replaceable while it serves.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

use super::verifier::Witness;
use crate::tls::{ALPN, VERSIONS, provider, roots};
use crate::{Credentials, IdentityError, file};

/// Whom a listener trusts and what it shows. Cheap to clone; clones share what [`reload`](Self::reload) replaces.
#[derive(Clone)]
pub struct ServerTls {
    shared: Arc<Shared>,
}

struct Shared {
    provider: Arc<CryptoProvider>,
    files: Option<Files>,
    trust: RwLock<Trust>,
    seen: Mutex<Seen>,
}

/// What is known of the files.
struct Seen {
    /// What they looked like when they were last read; none when that failed, so that they are read again.
    stamps: Option<Vec<Option<Stamp>>>,
    /// Why they could not be used the last time that they were looked at.
    problem: Option<String>,
}

/// What one handshake needs; counted up by each reload.
#[derive(Clone)]
pub(super) struct Trust {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    resolver: Arc<SingleCertAndKey>,
    /// Whether a list of revoked certificates counts.
    revokes: bool,
    pub(super) edition: u64,
}

/// Where it all comes from.
struct Files {
    authority: PathBuf,
    revoked: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// Tells whether a file was replaced: modification time in nanoseconds, length, inode.
type Stamp = (i64, i64, u64, u64);

impl ServerTls {
    /// Trusts the authorities of `roots_pem` and shows `credentials`; nothing to reload.
    ///
    /// # Errors
    /// [`IdentityError::Unusable`].
    pub fn new(roots_pem: &str, credentials: &Credentials) -> Result<Self, IdentityError> {
        let provider = provider();
        let trust = Trust::new(&provider, "the authority", roots_pem, None, credentials, 0)?;
        Ok(Self::with(provider, None, trust, Vec::new()))
    }

    /// As [`new`](Self::new), from files. `revoked` (lists of revoked certificates, PEM) need not exist. A listener
    /// looks every two seconds whether one of them was replaced.
    ///
    /// # Errors
    /// [`IdentityError::File`], [`IdentityError::Unusable`], [`IdentityError::Exposed`] where others can read the key.
    pub fn from_files(
        authority: PathBuf,
        revoked: PathBuf,
        certificate: PathBuf,
        key: PathBuf,
    ) -> Result<Self, IdentityError> {
        let provider = provider();
        let files = Files {
            authority,
            revoked,
            certificate,
            key,
        };
        let seen = files.stamps();
        let trust = files.load(&provider, 0)?;
        Ok(Self::with(provider, Some(files), trust, seen))
    }

    fn with(
        provider: Arc<CryptoProvider>,
        files: Option<Files>,
        trust: Trust,
        seen: Vec<Option<Stamp>>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                provider,
                files,
                trust: RwLock::new(trust),
                seen: Mutex::new(Seen {
                    stamps: Some(seen),
                    problem: None,
                }),
            }),
        }
    }

    /// Reads the files anew, for handshakes from now on. Connections whose certificate does not count any more are
    /// ended by their listener within a second. What was in force stays in force where they cannot be used, and a
    /// listener tries again every two seconds.
    ///
    /// # Errors
    /// As for [`from_files`](Self::from_files); [`IdentityError::Unusable`] also where a list of revoked certificates
    /// is in force and its file is gone: that would lift every revocation.
    pub fn reload(&self) -> Result<(), IdentityError> {
        let Some(files) = &self.shared.files else {
            return Ok(());
        };
        // One at a time: a slower one would put back what a later one replaced.
        let mut seen = self.seen();
        seen.stamps = None;
        let stamps = files.stamps();
        let before = self.trust();
        let trust = files.load(&self.shared.provider, before.edition + 1)?;
        if before.revokes && !trust.revokes {
            return Err(IdentityError::unusable(&files.revoked.display().to_string())(
                "it is gone, which would lift every revocation: put a list there, or restart if that is meant",
            ));
        }
        *self.shared.trust.write().unwrap_or_else(PoisonError::into_inner) = trust;
        *seen = Seen {
            stamps: Some(stamps),
            problem: None,
        };
        tracing::info!("certificates were read anew");
        Ok(())
    }

    /// Reloads if a file was replaced since all of them were last read and could be used.
    pub(super) fn reload_if_replaced(&self) {
        let Some(files) = &self.shared.files else {
            return;
        };
        if self.seen().stamps.as_ref() == Some(&files.stamps()) {
            return;
        }
        let Err(error) = self.reload() else {
            return;
        };
        let problem = error.to_string();
        let mut seen = self.seen();
        // Once for each problem, not each time that it is still there.
        if seen.problem.as_ref() != Some(&problem) {
            tracing::error!(%error, "certificates were replaced by something unusable: the ones before stay in force");
            seen.problem = Some(problem);
        }
    }

    pub(super) fn trust(&self) -> Trust {
        let trust = self.shared.trust.read();
        trust.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For one handshake, whose client certificate `witness` sees.
    pub(super) fn config(&self, trust: &Trust, witness: Arc<Witness>) -> Result<ServerConfig, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.shared.provider));
        let mut config = builder
            .with_protocol_versions(VERSIONS)?
            .with_client_cert_verifier(witness)
            .with_cert_resolver(Arc::clone(&trust.resolver) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the look at the client's certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl Trust {
    fn new(
        provider: &Arc<CryptoProvider>,
        what: &str,
        roots_pem: &str,
        revoked_pem: Option<(&str, &str)>,
        credentials: &Credentials,
        edition: u64,
    ) -> Result<Self, IdentityError> {
        let certified = credentials.certified(provider)?;
        Ok(Self {
            verifier: verifier(provider, roots(what, roots_pem)?, what, revoked_pem)?,
            resolver: resolver(certified),
            revokes: revoked_pem.is_some(),
            edition,
        })
    }
}

fn resolver(certified: CertifiedKey) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(certified))
}

fn verifier(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    what: &str,
    revoked_pem: Option<(&str, &str)>,
) -> Result<Arc<dyn ClientCertVerifier>, IdentityError> {
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    if let Some((path, pem)) = revoked_pem {
        let lists =
            CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let lists = lists.map_err(IdentityError::unusable(path))?;
        if lists.is_empty() {
            // Taken as nothing, a file that is being written would lift every revocation.
            return Err(IdentityError::unusable(path)(
                "there is no list of revoked certificates in it",
            ));
        }
        // An authority without a list revokes nothing: a list of one must not lock out those of another.
        builder = builder.with_crls(lists).allow_unknown_revocation_status();
        let built = builder.build().map_err(IdentityError::unusable(path))?;
        return Ok(built);
    }
    builder.build().map_err(IdentityError::unusable(what))
}

impl Files {
    fn all(&self) -> [&Path; 4] {
        [&self.authority, &self.revoked, &self.certificate, &self.key]
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let stamp = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
        };
        self.all().map(stamp).to_vec()
    }

    fn load(&self, provider: &Arc<CryptoProvider>, edition: u64) -> Result<Trust, IdentityError> {
        let credentials = Credentials {
            certificate_pem: file::read(&self.certificate)?,
            key_pem: file::read_private(&self.key)?,
        };
        let roots_pem = file::read(&self.authority)?;
        let lists = match file::read(&self.revoked) {
            Ok(lists) => Some(lists),
            Err(IdentityError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let path = self.revoked.display().to_string();
        let revoked = lists.as_deref().map(|pem| (path.as_str(), pem));
        let what = self.authority.display().to_string();
        Trust::new(provider, &what, &roots_pem, revoked, &credentials, edition)
    }
}
