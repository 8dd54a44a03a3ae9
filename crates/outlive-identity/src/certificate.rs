//! What a certificate says.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::credentials::certificates;
use crate::{IdentityError, Name, Serial};

/// What a certificate says about its holder. Whether a trusted authority signed it is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its one common name.
    pub name: Name,
    /// Its serial number.
    pub serial: Serial,
    /// When it expires.
    pub expires: SystemTime,
    /// The hosts that it may be a server for.
    pub hosts: Vec<String>,
}

impl Certificate {
    /// Reads the first certificate of `pem`.
    ///
    /// # Errors
    /// [`IdentityError::Unusable`] where it is none, or has not exactly one common name that an identity may have.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let what = "the certificate";
        Self::from_der(&certificates(what, pem)?[0]).map_err(IdentityError::unusable(what))
    }

    /// Reads a certificate; says what is wrong with it.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, String> {
        let (_, parsed) =
            X509Certificate::from_der(der).map_err(|error| format!("it is not X.509: {error}"))?;
        Ok(Self {
            name: common_name(&parsed)?,
            serial: serial(&parsed),
            expires: expires(&parsed),
            hosts: hosts(&parsed),
        })
    }

    /// Milliseconds of the Unix epoch at which it expires.
    #[must_use]
    pub fn expires_unix_ms(&self) -> u64 {
        let since = self.expires.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it is a server certificate for each of these hosts (names or addresses).
    #[must_use]
    pub fn covers(&self, hosts: &[String]) -> bool {
        hosts.iter().all(|host| {
            self.hosts
                .iter()
                .any(|covered| covered.eq_ignore_ascii_case(host))
        })
    }

    /// Whether it expires within `margin` from now.
    #[must_use]
    pub fn expires_within(&self, margin: Duration) -> bool {
        self.expires < SystemTime::now() + margin
    }
}

fn common_name(certificate: &X509Certificate<'_>) -> Result<Name, String> {
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err("its subject has not exactly one common name".to_owned());
    };
    let name = name
        .as_str()
        .map_err(|_| "its common name is not text".to_owned())?;
    name.parse::<Name>()
        .map_err(|error| format!("its common name: {error}"))
}

fn serial(certificate: &X509Certificate<'_>) -> Serial {
    let raw = certificate.raw_serial();
    let zeros = raw.iter().take_while(|byte| **byte == 0).count();
    Serial(raw[zeros..].to_vec())
}

fn expires(certificate: &X509Certificate<'_>) -> SystemTime {
    // Before 1970 is as expired as can be.
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn hosts(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(host).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
