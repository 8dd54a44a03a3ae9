//! `outlive unit`: a unit whose manager is another process.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use outlive_identity::Name;
use outlive_media::MediaSpec;
use serde_json::json;

use super::control::check_reachable;
use crate::audit_log::AuditLog;
use crate::data_tls::DataTls;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::server::scrub::ScrubArguments;
use crate::server::unit::{UnitServer, UnitServerOptions};
use crate::server::{hosts, process};
use crate::service;

/// Run a persistent memory unit without its manager
///
/// Serves nothing until a manager (`outlive manager`) has attached: over mutual TLS, with one of the names in
/// --managers. SIGTERM and Ctrl-C end it cleanly, SIGHUP reads the certificates anew. After kill -9 and a restart nothing
/// committed is missing, and the manager attaches again by itself.
#[derive(Debug, Args)]
pub(crate) struct UnitCommand {
    /// Where the bytes are: file:PATH,size=1GiB (made on first use, reopened later) or memory:size=1GiB
    #[arg(long, value_name = "MEDIUM")]
    media: MediaSpec,
    /// Address for data; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7781")]
    data: SocketAddr,
    /// Address at which clients reach --data, if they cannot use that one
    #[arg(long, value_name = "HOST:PORT")]
    advertise_data: Option<String>,
    /// Encrypt data connections; default: require, or off where --data and --advertise-data are loopback addresses
    #[arg(long, value_name = "WHEN")]
    data_tls: Option<DataTls>,
    /// Address for the manager; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7782")]
    admin: SocketAddr,
    /// Host by which the manager knows --admin, if not by its address or this host's name: stands in the certificate
    #[arg(long, value_name = "HOST")]
    advertise_admin: Option<String>,
    /// Folder with authority.pem, unit.pem and unit.key.pem; an empty one is filled with a development authority
    #[arg(long, value_name = "FOLDER")]
    trust: PathBuf,
    /// Identities that may manage this unit
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        default_value = "system/manager"
    )]
    managers: Vec<Name>,
    /// Where to write the audit log, or `off`; default: audit.unit.jsonl in the trust folder
    #[arg(long, value_name = "FILE")]
    audit_log: Option<AuditLog>,
    #[command(flatten)]
    scrub: ScrubArguments,
}

impl UnitCommand {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        check_reachable(self.data, self.advertise_data.as_deref(), "--advertise-data")?;
        process::prepare();
        let hosts = hosts::of([self.admin], self.advertise_admin.as_deref());
        let default = || AuditLog::File(self.trust.join("audit.unit.jsonl"));
        let audit_log = self.audit_log.clone().unwrap_or_else(default);
        let mut server = UnitServer::start(UnitServerOptions {
            media: self.media.clone(),
            data: self.data,
            advertise_data: self.advertise_data.clone(),
            data_tls: self.data_tls.map(Into::into),
            admin: self.admin,
            hosts,
            trust: self.trust.clone(),
            managers: self.managers.clone(),
            audit_log,
            scrub: self.scrub.clone(),
        })?;
        let managers: Vec<&str> = self.managers.iter().map(Name::as_str).collect();
        let value = json!({
            "event": "ready",
            "admin": server.admin().to_string(),
            "data": server.data().to_string(),
            "media": self.media.to_string(),
            "incarnation": server.incarnation(),
            "managers": managers,
        });
        invocation.output.result(&value, || {
            format!(
                "ready: admin {} for {}, data {}, medium {}, incarnation {}",
                server.admin(),
                managers.join(", "),
                server.data(),
                self.media,
                server.incarnation(),
            )
        })?;
        service::ready(&format!("waiting for a manager at {}", server.admin()));
        let ended = server.await_end();
        service::stopping();
        server.stop()?;
        ended
    }
}
