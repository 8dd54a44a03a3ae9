//! Where the audit log goes.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use outlive_audit::{Audit, AuditOptions};

use crate::failure::Failure;

/// A file, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuditLog {
    Off,
    File(PathBuf),
}

impl AuditLog {
    /// Opens it.
    pub(crate) fn open(&self) -> Result<Audit, Failure> {
        let Self::File(path) = self else {
            return Ok(Audit::off());
        };
        Audit::open(path, AuditOptions::default()).map_err(|error| {
            Failure::file("write the audit log", path, &error)
                .and("name another place with --audit-log FILE, or turn it off with --audit-log off")
        })
    }
}

impl FromStr for AuditLog {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "off" {
            Self::Off
        } else {
            Self::File(PathBuf::from(text))
        })
    }
}
