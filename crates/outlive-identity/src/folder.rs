//! The folder that holds who is trusted and who one is.

use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::certificate::Certificate;
use crate::{
    Authority, ClientTls, Credentials, DEFAULT_VALIDITY, IdentityError, Name, ServerTls, Source, file,
};

/// Certificates of this folder that expire within this time are made anew at start.
const RENEW_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);
const AUTHORITY: &str = "authority.pem";
const AUTHORITY_KEY: &str = "authority.key.pem";
const REVOKED: &str = "revoked.pem";
/// Held while the folder is filled, so that two processes do not make two authorities.
const LOCK: &str = ".lock";

/// Filling a folder takes milliseconds; whoever holds it longer was stopped in the middle.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Whose certificate and key stand in a trust folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// The control listener, which clients call.
    Server,
    /// The unit's admin listener, which the manager calls.
    Unit,
    /// The manager, where it calls a unit over the network.
    Manager,
    /// The first administrator.
    Administrator,
}

impl Party {
    /// Everybody.
    pub const ALL: [Self; 4] = [Self::Server, Self::Unit, Self::Manager, Self::Administrator];

    /// The name in the certificates that are made here.
    ///
    /// # Panics
    /// Never: the names are sound.
    #[must_use]
    pub fn name(self) -> Name {
        let name = match self {
            Self::Server => "system/server",
            Self::Unit => "system/unit",
            Self::Manager => "system/manager",
            Self::Administrator => "administrator",
        };
        name.parse().expect("these names are sound")
    }

    fn stem(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Unit => "unit",
            Self::Manager => "manager",
            Self::Administrator => "administrator",
        }
    }

    fn is_server(self) -> bool {
        matches!(self, Self::Server | Self::Unit)
    }
}

/// A trust folder: `authority.pem` says who is trusted; `server`, `unit`, `manager` and `administrator` have a
/// certificate (`….pem`) and a key (`….key.pem`); `authority.key.pem` is there where certificates are signed, and
/// `revoked.pem` where lists of revoked certificates are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes what is missing for `parties`: in an empty folder a development authority first, with it certificates
    /// that are missing, expire within 30 days or do not cover `hosts`. Where the folder has an authority without
    /// its key (one's own authority), nothing is made.
    ///
    /// # Errors
    /// [`IdentityError::Missing`] names the files of one's own authority that are not there;
    /// [`IdentityError::Exposed`] a key that others can read; [`IdentityError::Foreign`] a key or a folder of somebody
    /// else's; [`IdentityError::Unusable`] what does not fit.
    pub fn prepare(path: &Path, parties: &[Party], hosts: &[String]) -> Result<Self, IdentityError> {
        file::private_folder(path)?;
        let folder = Self {
            path: path.to_owned(),
        };
        let _held = folder.lock()?;
        folder.make_authority()?;
        match folder.authority()? {
            Some(authority) => {
                for party in parties {
                    folder.renew(*party, &authority, hosts)?;
                }
            }
            None => folder.check_complete(parties)?,
        }
        Ok(folder)
    }

    /// A folder that is there; nothing is made.
    ///
    /// # Errors
    /// As for [`prepare`](Self::prepare).
    pub fn open(path: &Path, parties: &[Party]) -> Result<Self, IdentityError> {
        file::check_folder(path)?;
        let folder = Self {
            path: path.to_owned(),
        };
        folder.check_complete(parties)?;
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The trusted authorities, PEM.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn roots_pem(&self) -> Result<String, IdentityError> {
        file::read(&self.at(AUTHORITY))
    }

    /// The authority that signs certificates here, if its key is here.
    ///
    /// # Errors
    /// [`IdentityError::Unusable`], [`IdentityError::Exposed`].
    pub fn authority(&self) -> Result<Option<Authority>, IdentityError> {
        let key = self.at(AUTHORITY_KEY);
        if !key.exists() {
            return Ok(None);
        }
        Authority::load(&self.roots_pem()?, &file::read_private(&key)?).map(Some)
    }

    /// What a party's certificate says.
    ///
    /// # Errors
    /// [`IdentityError::File`], [`IdentityError::Unusable`].
    pub fn certificate(&self, party: Party) -> Result<Certificate, IdentityError> {
        Certificate::from_pem(&file::read(&self.certificate_path(party))?)
    }

    /// A party's certificate and key.
    ///
    /// # Errors
    /// [`IdentityError::File`], [`IdentityError::Exposed`].
    pub fn credentials(&self, party: Party) -> Result<Credentials, IdentityError> {
        Ok(Credentials {
            certificate_pem: file::read(&self.certificate_path(party))?,
            key_pem: file::read_private(&self.key_path(party))?,
        })
    }

    /// Whether the party's key is here, too.
    #[must_use]
    pub fn has_key(&self, party: Party) -> bool {
        self.key_path(party).exists()
    }

    /// Serves as `party`, with this folder's files, which are watched.
    ///
    /// # Errors
    /// As for [`ServerTls::from_files`].
    pub fn server_tls(&self, party: Party) -> Result<ServerTls, IdentityError> {
        ServerTls::from_files(
            self.at(AUTHORITY),
            self.at(REVOKED),
            self.certificate_path(party),
            self.key_path(party),
        )
    }

    /// Calls as `party`, with this folder's files, which are read at each connect.
    #[must_use]
    pub fn client_tls(&self, party: Party) -> ClientTls {
        ClientTls::new(
            Source::File(self.at(AUTHORITY)),
            Source::File(self.certificate_path(party)),
            Source::File(self.key_path(party)),
        )
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn certificate_path(&self, party: Party) -> PathBuf {
        self.at(&format!("{}.pem", party.stem()))
    }

    fn key_path(&self, party: Party) -> PathBuf {
        self.at(&format!("{}.key.pem", party.stem()))
    }

    /// Keeps other processes from filling the folder at the same time, until it is dropped.
    fn lock(&self) -> Result<fs::File, IdentityError> {
        let path = self.at(LOCK);
        let failed = || IdentityError::file("lock", &path);
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed())?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(failed()(error)),
                Err(TryLockError::WouldBlock) if began.elapsed() > LOCK_WAIT => {
                    let held = "another process has held it for too long";
                    return Err(failed()(io::Error::new(io::ErrorKind::WouldBlock, held)));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
        }
    }

    /// In a folder without authority. A key alone is what a first start leaves that was cut off in between: nothing
    /// was signed with it, so it is replaced.
    fn make_authority(&self) -> Result<(), IdentityError> {
        if self.at(AUTHORITY).exists() {
            return Ok(());
        }
        let anybody = Party::ALL
            .iter()
            .any(|party| self.certificate_path(*party).exists());
        if anybody {
            return Err(IdentityError::NoAuthority {
                folder: self.path.clone(),
                missing: AUTHORITY,
            });
        }
        let authority = Authority::generate()?;
        file::write(&self.at(AUTHORITY_KEY), &authority.key_pem(), 0o600)?;
        file::write(&self.at(AUTHORITY), authority.certificate_pem(), 0o644)?;
        tracing::info!(folder = %self.path.display(), "made a development authority");
        Ok(())
    }

    fn renew(&self, party: Party, authority: &Authority, hosts: &[String]) -> Result<(), IdentityError> {
        let why = if !self.certificate_path(party).exists() || !self.has_key(party) {
            "it was missing"
        } else {
            let certificate = self.certificate(party)?;
            self.credentials(party)?.certified(&crate::tls::provider())?;
            if certificate.expires_within(RENEW_WITHIN) {
                "it expires soon"
            } else if party.is_server() && !certificate.covers(hosts) {
                "it did not cover every host"
            } else {
                return Ok(());
            }
        };
        let made = if party.is_server() {
            authority.issue_server(&party.name(), hosts, DEFAULT_VALIDITY)?
        } else {
            authority.issue_client(&party.name(), DEFAULT_VALIDITY)?
        };
        // Cut off anywhere in between, one of the two is missing and the next start makes both again; a new key must
        // never stand beside an old certificate.
        let certificate = self.certificate_path(party);
        if certificate.exists() {
            fs::remove_file(&certificate).map_err(IdentityError::file("remove", &certificate))?;
        }
        file::write(&self.key_path(party), &made.key_pem, 0o600)?;
        file::write(&certificate, &made.certificate_pem, 0o644)?;
        tracing::info!(file = %certificate.display(), why, "made a certificate");
        Ok(())
    }

    fn check_complete(&self, parties: &[Party]) -> Result<(), IdentityError> {
        let mut wanted = vec![self.at(AUTHORITY)];
        for party in parties {
            wanted.push(self.certificate_path(*party));
            // An administrator's key has no business on the server; the certificate names the first one.
            if *party != Party::Administrator {
                wanted.push(self.key_path(*party));
            }
        }
        let names = wanted.iter().filter(|path| !path.exists());
        let missing: Vec<_> = names
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        if !missing.is_empty() {
            return Err(IdentityError::Missing {
                folder: self.path.clone(),
                missing: missing.join(", "),
            });
        }
        for party in parties {
            self.certificate(*party)?;
            if self.has_key(*party) {
                self.credentials(*party)?.certified(&crate::tls::provider())?;
            }
        }
        Ok(())
    }
}
