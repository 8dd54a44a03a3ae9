//! Where a client's certificate, key and authority come from, read at each connect.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::sign::SingleCertAndKey;
use zeroize::Zeroizing;

use super::server::NamedServer;
use crate::tls::{ALPN, VERSIONS, provider, roots};
use crate::{Credentials, IdentityError, Name, file};

/// A PEM text, or the file that it is read from at each connect.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// The text itself.
    Inline(Zeroizing<String>),
    /// A file.
    File(PathBuf),
}

impl Source {
    /// The text, which everybody may see.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn public(&self) -> Result<String, IdentityError> {
        match self {
            Self::Inline(text) => Ok(text.to_string()),
            Self::File(path) => file::read(path),
        }
    }

    /// The text, which is a key.
    ///
    /// # Errors
    /// [`IdentityError::File`]; [`IdentityError::Exposed`] where others can read the file.
    pub fn private(&self) -> Result<Zeroizing<String>, IdentityError> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::File(path) => file::read_private(path),
        }
    }
}

impl fmt::Debug for Source {
    /// Never the text: it may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Authority, certificate and key as they are now.
type Load = Arc<dyn Fn() -> Result<(String, Credentials), IdentityError> + Send + Sync>;

/// Whom a client trusts and what it shows. Cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    load: Load,
    server_name: Option<String>,
    expect: Option<Name>,
    /// What was usable last: kept while files are being replaced.
    last: Arc<Mutex<Option<Arc<ClientConfig>>>>,
}

impl ClientTls {
    /// Reads the three at each connect, so that replaced files count from then on.
    #[must_use]
    pub fn new(authority: Source, certificate: Source, key: Source) -> Self {
        Self::loading(move || {
            let credentials = Credentials {
                certificate_pem: certificate.public()?,
                key_pem: key.private()?,
            };
            Ok((authority.public()?, credentials))
        })
    }

    /// Asks `load` for the authorities (PEM) and the credentials at each connect.
    #[must_use]
    pub fn loading(
        load: impl Fn() -> Result<(String, Credentials), IdentityError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            load: Arc::new(load),
            server_name: None,
            expect: None,
            last: Arc::default(),
        }
    }

    /// The host that the server's certificate must name, where it is not the one of the address.
    #[must_use]
    pub fn server_name(mut self, name: Option<String>) -> Self {
        self.server_name = name;
        self
    }

    /// The identity that the server must have, beside the host.
    #[must_use]
    pub fn expecting(mut self, name: Name) -> Self {
        self.expect = Some(name);
        self
    }

    /// The name to check for a server at `host`.
    pub(super) fn name_for<'a>(&'a self, host: &'a str) -> &'a str {
        self.server_name.as_deref().unwrap_or(host)
    }

    /// For one connection. What cannot be used, while files are being replaced, leaves what was used last in force.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, IdentityError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.build() {
            Ok(config) => {
                let config = Arc::new(config);
                *last = Some(Arc::clone(&config));
                Ok(config)
            }
            Err(error) => match &*last {
                Some(config) => {
                    tracing::warn!(%error, "credentials cannot be read: those before stay in use");
                    Ok(Arc::clone(config))
                }
                None => Err(error),
            },
        }
    }

    fn build(&self) -> Result<ClientConfig, IdentityError> {
        let (authority, credentials) = (self.load)()?;
        let provider = provider();
        let certified = credentials.certified(&provider)?;
        let what = "the authority";
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots(what, &authority)?, provider.clone())
                .build()
                .map_err(IdentityError::unusable(what))?;
        let verifier = NamedServer::new(verifier, self.expect.clone());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(VERSIONS)
            .map_err(IdentityError::unusable("TLS 1.3"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}
