//! `--data-tls`: whether data connections are encrypted.

use clap::ValueEnum;
use outlive_unit::TlsPolicy;

/// When data connections are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataTls {
    /// Always: others are refused
    Require,
    /// As the client likes: everywhere but on its own host
    Allow,
    /// Never
    Off,
}

impl From<DataTls> for TlsPolicy {
    fn from(when: DataTls) -> Self {
        match when {
            DataTls::Require => Self::Require,
            DataTls::Allow => Self::Allow,
            DataTls::Off => Self::Off,
        }
    }
}
