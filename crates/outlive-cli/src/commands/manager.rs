//! `outlive manager`: the manager of a unit that is another process.

use std::path::PathBuf;

use clap::Args;
use outlive_identity::{Folder, Name, Party};
use serde_json::json;

use super::control::{ControlArguments, Trusted, check_writable};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::server::manager::{ManagerServer, RemoteUnit};
use crate::server::{hosts, process};
use crate::service;

/// Run the manager of a unit that runs elsewhere
///
/// Waits for its unit (`outlive unit`), attaches over mutual TLS, and serves. A later manager of the same unit puts this one
/// out of charge; then every call answers that. The first start makes a development authority in the trust folder, and
/// writes the first administrator's context file. When the unit is restarted the manager attaches again by itself; when the
/// manager is restarted, open data connections go on.
#[derive(Debug, Args)]
pub(crate) struct ManagerCommand {
    /// Admin address of the unit
    #[arg(long, value_name = "HOST:PORT")]
    unit: String,
    /// Identity that the unit's certificate must have
    #[arg(long, value_name = "NAME", default_value = "system/unit")]
    unit_name: Name,
    #[command(flatten)]
    control: ControlArguments,
    /// Folder of authority, certificates and keys; an empty one is filled with a development authority
    #[arg(long, value_name = "FOLDER")]
    trust: PathBuf,
}

impl ManagerCommand {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        self.control.check()?;
        if self.unit.rsplit_once(':').is_none() {
            return Err(Failure::usage(format!(
                "--unit {} has no port: HOST:PORT",
                self.unit
            )));
        }
        process::prepare();
        let context = invocation.context_path()?;
        check_writable(&context)?;
        let trusted = Trusted::prepare(&self.trust, &self.control, &[Party::Manager], context)?;
        self.certify_unit(&trusted.folder)?;
        let unit = RemoteUnit {
            address: self.unit.clone(),
            tls: trusted
                .folder
                .client_tls(Party::Manager)
                .expecting(self.unit_name.clone()),
        };
        let mut server = ManagerServer::start(trusted.options(&self.control)?, &unit)?;
        let control = self.control.advertised(server.control());
        let context = trusted.write_context(&control)?;
        let metrics = server
            .metrics()
            .map(|address| format!("http://{address}/metrics"));
        let value = json!({
            "event": "ready",
            "control": control,
            "unit": self.unit,
            "metrics": metrics,
            "context": context,
            "trust": trusted.folder.path(),
        });
        invocation.output.result(&value, || {
            let mut line = format!(
                "ready: control {control}, unit {}, trust {}",
                self.unit,
                trusted.folder.path().display()
            );
            if let Some(context) = context {
                line.push_str(&format!(", context {}", context.display()));
            }
            if let Some(metrics) = &metrics {
                line.push_str(&format!(", metrics {metrics}"));
            }
            line
        })?;
        service::ready(&format!("serving control {control} of the unit at {}", self.unit));
        let ended = server.await_end(|| trusted.renew(&control));
        service::stopping();
        server.stop();
        ended
    }

    /// Where this folder's own authority signs, the unit's certificate comes from here, too: to be copied to its host.
    fn certify_unit(&self, folder: &Folder) -> Result<(), Failure> {
        if folder.authority()?.is_some() && !folder.has_key(Party::Unit) {
            Folder::prepare(
                folder.path(),
                &[Party::Unit],
                &hosts::of([], [self.unit.as_str()]),
            )?;
        }
        Ok(())
    }
}
