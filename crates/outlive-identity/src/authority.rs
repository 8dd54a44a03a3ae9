//! Signs certificates.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::certificate::Certificate;
use crate::{Credentials, IdentityError, Name, Serial};

/// How long a certificate is valid unless something else is asked for: a year.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long an authority made here is valid: ten years, longer than anything it signs.
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Certificates begin to be valid so long ago, because clocks differ.
const CLOCK_MARGIN: Duration = Duration::from_secs(3600);
/// Where a certificate ends in PEM.
const END: &str = "-----END CERTIFICATE-----";
/// Longest signing request looked at: a key, a name and a signature need a tenth of it.
const MAX_REQUEST_BYTES: usize = 16 << 10;

/// An authority's certificate and private key.
pub struct Authority {
    certificate_pem: String,
    expires: SystemTime,
    key: Zeroizing<KeyPair>,
}

/// A certificate that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its serial number.
    pub serial: Serial,
    /// When it expires.
    pub expires: SystemTime,
}

/// What a certificate may be used for. Never both.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Client,
    Server,
}

impl Authority {
    /// A new authority with a key of its own.
    ///
    /// # Errors
    /// [`IdentityError::Randomness`].
    pub fn generate() -> Result<Self, IdentityError> {
        let key = Zeroizing::new(KeyPair::generate().map_err(|_| IdentityError::Randomness)?);
        let serial = random_serial()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // Told apart from others that were made so, also where names are compared first.
        let tag: String = serial.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Outlive development authority {tag}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from(serial));
        let expires = SystemTime::now() + AUTHORITY_VALIDITY;
        set_validity(&mut params, expires);
        let certificate = params
            .self_signed(&*key)
            .map_err(IdentityError::unusable("the new authority"))?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            expires,
            key,
        })
    }

    /// An authority from its certificate and key. Where `certificate_pem` holds several certificates, the one of
    /// this key signs.
    ///
    /// # Errors
    /// [`IdentityError::Unusable`].
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        let what = "the authority's key";
        let key = KeyPair::from_pem(key_pem).map_err(|_| {
            IdentityError::unusable(what)(
                "it is not a PKCS#8 private key (convert it with `openssl pkcs8 -topk8 -nocrypt`)",
            )
        })?;
        let key = Zeroizing::new(key);
        let (certificate_pem, expires) = certificate_of(&key, certificate_pem)?;
        Ok(Self {
            certificate_pem,
            expires,
            key,
        })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key, to be kept where only its owner can read it.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// A certificate for a server that is reached at `hosts` (names or addresses), with a new key.
    ///
    /// # Errors
    /// [`IdentityError::Unusable`] for a host that is neither a name nor an address.
    pub fn issue_server(
        &self,
        name: &Name,
        hosts: &[String],
        validity: Duration,
    ) -> Result<Credentials, IdentityError> {
        let names = hosts.iter().map(|host| alternative_name(host));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        self.issue(name, Use::Server, names, validity)
    }

    /// A certificate for somebody who calls servers, with a new key. For identities whose key is made elsewhere
    /// see [`sign_request`](Self::sign_request).
    ///
    /// # Errors
    /// [`IdentityError::Unusable`], [`IdentityError::Randomness`].
    pub fn issue_client(&self, name: &Name, validity: Duration) -> Result<Credentials, IdentityError> {
        self.issue(name, Use::Client, Vec::new(), validity)
    }

    /// Signs a certificate for `name` and the key of a signing request (PKCS#10, DER). All else that the request
    /// says is ignored; that its maker has the key is checked.
    ///
    /// # Errors
    /// [`IdentityError::Request`]; [`IdentityError::Reserved`] for names of Outlive's own processes.
    pub fn sign_request(
        &self,
        request: &[u8],
        name: &Name,
        validity: Duration,
    ) -> Result<Issued, IdentityError> {
        if name.is_system() {
            return Err(IdentityError::Reserved(name.to_string()));
        }
        if request.len() > MAX_REQUEST_BYTES {
            let problem = format!("{} bytes are more than {MAX_REQUEST_BYTES}", request.len());
            return Err(IdentityError::Request(problem));
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(|error| IdentityError::Request(error.to_string()))?;
        self.sign(name, Use::Client, Vec::new(), validity, &request.public_key)
    }

    fn issue(
        &self,
        name: &Name,
        usage: Use,
        hosts: Vec<SanType>,
        validity: Duration,
    ) -> Result<Credentials, IdentityError> {
        let key = Zeroizing::new(KeyPair::generate().map_err(|_| IdentityError::Randomness)?);
        let issued = self.sign(name, usage, hosts, validity, &*key)?;
        Ok(Credentials {
            certificate_pem: issued.certificate_pem,
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    fn sign(
        &self,
        name: &Name,
        usage: Use,
        hosts: Vec<SanType>,
        validity: Duration,
        key: &impl PublicKeyData,
    ) -> Result<Issued, IdentityError> {
        let what = format!("a certificate for {name}");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        params.subject_alt_names = hosts;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match usage {
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from(random_serial()?));
        // Nothing outlives the authority that vouches for it.
        let expires = SystemTime::now()
            .checked_add(validity)
            .map_or(self.expires, |expires| expires.min(self.expires));
        set_validity(&mut params, expires);
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, &*self.key)
            .map_err(IdentityError::unusable("the authority"))?;
        let signed = params
            .signed_by(key, &issuer)
            .map_err(IdentityError::unusable(&what))?;
        let certificate = Certificate::from_der(signed.der()).map_err(IdentityError::unusable(&what))?;
        Ok(Issued {
            certificate_pem: signed.pem(),
            serial: certificate.serial,
            expires: certificate.expires,
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// The certificate of this key among several, and when it expires.
fn certificate_of(key: &KeyPair, pem: &str) -> Result<(String, SystemTime), IdentityError> {
    let what = "the authority's certificate";
    for block in pem.split_inclusive(END) {
        let Ok(der) = CertificateDer::from_pem_slice(block.as_bytes()) else {
            continue;
        };
        let (_, parsed) = X509Certificate::from_der(&der).map_err(IdentityError::unusable(what))?;
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            continue;
        }
        if !parsed.is_ca() {
            return Err(IdentityError::unusable(what)(
                "it is not an authority's (CA is not set)",
            ));
        }
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let expires = UNIX_EPOCH + Duration::from_secs(seconds);
        return Ok((format!("{}\n", block.trim()), expires));
    }
    Err(IdentityError::unusable(what)(
        "none of them belongs to the authority's key",
    ))
}

fn alternative_name(host: &str) -> Result<SanType, IdentityError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let name = host
        .try_into()
        .map_err(IdentityError::unusable(&format!("host {host:?}")))?;
    Ok(SanType::DnsName(name))
}

/// 16 random bytes that are a positive number without leading zeros.
fn random_serial() -> Result<Vec<u8>, IdentityError> {
    let mut bytes = [0; 16];
    crate::tls::fill_random(&mut bytes)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(bytes.to_vec())
}

fn set_validity(params: &mut CertificateParams, expires: SystemTime) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since_epoch(SystemTime::now() - CLOCK_MARGIN);
    params.not_after = epoch + since_epoch(expires);
}
