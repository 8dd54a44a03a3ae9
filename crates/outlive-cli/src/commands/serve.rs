//! `outlive serve`: unit and manager in one process.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use outlive::Context;
use outlive_media::MediaSpec;
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::server::{Server, ServerOptions, new_token};
use crate::service;

/// Run a persistent memory unit and its manager
///
/// Prints one line when it is ready and writes the context file that other commands and the library find by
/// default. SIGTERM and Ctrl-C end it cleanly. After kill -9 and a restart nothing committed is missing, and
/// clients reconnect by themselves. Metrics for Prometheus are at http://CONTROL/metrics.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where the bytes are: file:PATH,size=1GiB (made on first use, reopened later) or memory:size=1GiB;
    /// default: file:$HOME/.outlive/unit.media,size=1GiB
    #[arg(long, value_name = "MEDIUM")]
    media: Option<MediaSpec>,
    /// Address for control; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7780")]
    control: SocketAddr,
    /// Address for data; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7781")]
    data: SocketAddr,
    /// Address at which clients reach --data, if they cannot use that one
    #[arg(long, value_name = "HOST:PORT")]
    advertise_data: Option<String>,
    /// Allow addresses other than loopback: nothing on the network is encrypted yet, and the credentials are one token
    #[arg(long)]
    insecure: bool,
}

impl Serve {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        self.check_addresses()?;
        let context_path = invocation.context_path()?;
        check_writable(&context_path)?;
        let media = self.media()?;
        let token = token_for(&context_path, self.control)?;
        let mut server = Server::start(ServerOptions {
            media: media.clone(),
            control: self.control,
            data: self.data,
            advertise_data: self.advertise_data.clone(),
            token: token.clone(),
        })?;
        let control = reachable(server.control());
        Context::new(control.to_string(), token)
            .save(&context_path)
            .map_err(|error| match error {
                outlive::Error::Context { path, problem } => unwritable(&path, problem),
                error => error.into(),
            })?;
        let value = json!({
            "event": "ready",
            "control": control.to_string(),
            "data": server.data().to_string(),
            "metrics": format!("http://{control}/metrics"),
            "context": context_path,
            "media": media.to_string(),
            "incarnation": server.incarnation(),
        });
        invocation.output.result(&value, || {
            format!(
                "ready: control {control}, data {}, medium {media}, incarnation {}, context {}",
                server.data(),
                server.incarnation(),
                context_path.display()
            )
        })?;
        service::ready(&format!("serving control {control}, data {}", server.data()));
        let ended = server.await_signal();
        service::stopping();
        server.stop()?;
        ended
    }

    fn check_addresses(&self) -> Result<(), Failure> {
        let open = [self.control, self.data]
            .into_iter()
            .find(|address| !address.ip().is_loopback());
        if let Some(address) = open
            && !self.insecure
        {
            let message = format!(
                "{address} is not a loopback address, and nothing is encrypted yet: add --insecure if the network is yours alone"
            );
            return Err(Failure::usage(message));
        }
        if self.data.ip().is_unspecified() && self.advertise_data.is_none() {
            let message = format!(
                "clients cannot connect to {}: name their way to it with --advertise-data HOST:PORT",
                self.data
            );
            return Err(Failure::usage(message));
        }
        Ok(())
    }

    fn media(&self) -> Result<MediaSpec, Failure> {
        let media = match &self.media {
            Some(media) => media.clone(),
            None => default_media()?,
        };
        if let MediaSpec::File { path, size: Some(_) } = &media
            && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder)
                .map_err(|error| Failure::file("make the folder", folder, &error))?;
        }
        Ok(media)
    }
}

fn default_media() -> Result<MediaSpec, Failure> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home
        .ok_or_else(|| Failure::usage("HOME is not set: name the medium with --media file:PATH,size=1GiB"))?;
    Ok(MediaSpec::File {
        path: PathBuf::from(home).join(".outlive/unit.media"),
        size: Some(1 << 30),
    })
}

/// Finds out before anything is made or started whether the context file can be written at the end.
fn check_writable(context: &Path) -> Result<(), Failure> {
    if context.is_dir() {
        return Err(unwritable(context, "it is a folder"));
    }
    let folder = match context.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The file is replaced in one step by one that is written beside it, so its folder counts, not its own mode.
    std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::Builder::new().prefix(".context.").tempfile_in(folder))
        .map(drop)
        .map_err(|error| unwritable(context, error))
}

fn unwritable(context: &Path, why: impl std::fmt::Display) -> Failure {
    let message = format!(
        "cannot write the context file {}: {why}; name another place with --context",
        context.display()
    );
    Failure::new(Exit::Failure, message)
}

/// The token that clients of this control address know already, so that a restart finds them again; else a new one.
fn token_for(context: &Path, control: SocketAddr) -> Result<String, Failure> {
    match Context::load(context) {
        Ok(context) if context.control == reachable(control).to_string() && !context.token.is_empty() => {
            Ok(context.token)
        }
        _ => new_token(),
    }
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
