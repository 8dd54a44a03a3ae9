//! What commands with a control listener share: their addresses, their trust folder, and the first administrator's
//! context file.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use outlive::Context;
use outlive_identity::{Folder, Party};

use crate::audit_log::AuditLog;
use crate::failure::Failure;
use crate::files;
use crate::server::hosts;
use crate::server::manager::ControlOptions;

/// How the file is called in what is said about it.
const CONTEXT: &str = "the context file";

/// Where control and metrics are served.
#[derive(Debug, Args)]
pub(crate) struct ControlArguments {
    /// Address for control; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7780")]
    control: SocketAddr,
    /// Address at which clients reach --control, if they cannot use that one
    #[arg(long, value_name = "HOST:PORT")]
    advertise_control: Option<String>,
    /// Serve metrics for Prometheus at http://ADDR/metrics, unencrypted and to everybody who can reach it
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// Allow --metrics on an address that other machines reach: it names every region, pair and member
    #[arg(long, requires = "metrics")]
    metrics_public: bool,
    /// Where to write the audit log, or `off`; default: audit.jsonl in the trust folder
    #[arg(long, value_name = "FILE")]
    audit_log: Option<AuditLog>,
}

impl ControlArguments {
    /// Whether clients can make something of the addresses, and nobody else of the metrics.
    pub(super) fn check(&self) -> Result<(), Failure> {
        check_reachable(
            self.control,
            self.advertise_control.as_deref(),
            "--advertise-control",
        )?;
        if let Some(address) = self.metrics
            && !address.ip().is_loopback()
            && !self.metrics_public
        {
            let message = format!(
                "metrics at {address} would tell everybody who reaches it of every region: use a loopback address, or add --metrics-public"
            );
            return Err(Failure::usage(message));
        }
        Ok(())
    }

    /// What clients are told.
    pub(super) fn advertised(&self, bound: SocketAddr) -> String {
        let advertised = self.advertise_control.clone();
        advertised.unwrap_or_else(|| reachable(bound).to_string())
    }

    fn audit_log_in(&self, trust: &Folder) -> AuditLog {
        let default = || AuditLog::File(trust.path().join("audit.jsonl"));
        self.audit_log.clone().unwrap_or_else(default)
    }

    /// What the certificate has to cover.
    fn hosts(&self) -> Vec<String> {
        hosts::of([self.control], self.advertise_control.as_deref())
    }
}

/// Clients cannot connect to a wildcard, or without a port.
pub(super) fn check_reachable(
    address: SocketAddr,
    advertised: Option<&str>,
    option: &str,
) -> Result<(), Failure> {
    if address.ip().is_unspecified() && advertised.is_none() {
        let message =
            format!("clients cannot connect to {address}: name their way to it with {option} HOST:PORT");
        return Err(Failure::usage(message));
    }
    let has_port = |advertised: &str| {
        let port = advertised.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        matches!(port, Some(Ok(_)))
    };
    match advertised {
        Some(advertised) if !has_port(advertised) => Err(Failure::usage(format!(
            "{option} {advertised} has no port: write HOST:PORT"
        ))),
        _ => Ok(()),
    }
}

/// The trust folder of a control listener, and who is told of its first administrator.
pub(super) struct Trusted {
    pub(super) folder: Folder,
    parties: Vec<Party>,
    hosts: Vec<String>,
    context: PathBuf,
}

impl Trusted {
    /// Makes in the folder what is missing for the listener, the first administrator and `others`.
    pub(super) fn prepare(
        path: &Path,
        control: &ControlArguments,
        others: &[Party],
        context: PathBuf,
    ) -> Result<Self, Failure> {
        let parties = [&[Party::Server, Party::Administrator], others].concat();
        let hosts = control.hosts();
        Ok(Self {
            folder: Folder::prepare(path, &parties, &hosts)?,
            parties,
            hosts,
            context,
        })
    }

    /// What the listener is started with.
    pub(super) fn options(&self, control: &ControlArguments) -> Result<ControlOptions, Failure> {
        Ok(ControlOptions {
            control: control.control,
            tls: self.folder.server_tls(Party::Server)?,
            administrators: vec![self.folder.certificate(Party::Administrator)?.name],
            authority: self.folder.authority()?.map(Arc::new),
            metrics: control.metrics,
            audit: control.audit_log_in(&self.folder).open()?,
        })
    }

    /// Writes the first administrator's context file, on this machine. Where the administrator's key is not here, whoever
    /// has it has a context file, too.
    pub(super) fn write_context(&self, control: &str) -> Result<Option<&Path>, Failure> {
        if !self.folder.has_key(Party::Administrator) {
            return Ok(None);
        }
        let administrator = self.folder.credentials(Party::Administrator)?;
        let context = Context::new(control, self.folder.roots_pem()?, administrator);
        context.save(&self.context).map_err(|error| match error {
            outlive::Error::Context { path, problem } => {
                files::unwritable(CONTEXT, &path, problem, "--context")
            }
            error => error.into(),
        })?;
        Ok(Some(&self.context))
    }

    /// Makes certificates anew that expire while the server runs, which its listener notices by itself.
    pub(super) fn renew(&self, control: &str) {
        let renewed = Folder::prepare(self.folder.path(), &self.parties, &self.hosts).map_err(Failure::from);
        let renewed = renewed.and_then(|_| self.write_context(control).map(drop));
        if let Err(failure) = renewed {
            tracing::error!(reason = failure.message, "certificates cannot be looked after");
        }
    }
}

/// Finds out before anything is made or started whether the context file can be written at the end.
pub(super) fn check_writable(context: &Path) -> Result<(), Failure> {
    files::check_writable(CONTEXT, context, "--context")
}

/// An address that clients on this machine can connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}
