//! `outlive serve`: unit and manager in one process.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use outlive::Context;
use outlive_identity::{Folder, Party};
use outlive_media::MediaSpec;
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::server::{self, Server, ServerOptions, ServerTrust};
use crate::service;

/// Whose certificates a server needs.
const PARTIES: &[Party] = &[Party::Server, Party::Administrator];

/// Run a persistent memory unit and its manager
///
/// Prints one line when it is ready. The first start makes a development authority in the trust folder, the server's
/// certificate and a first administrator, and writes the context file with which other commands and the library find
/// the server and prove who asks. SIGTERM and Ctrl-C end it cleanly; SIGHUP reads the certificates anew. After kill -9
/// and a restart nothing committed is missing, and clients reconnect by themselves.
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
    /// Address at which clients reach --control, if they cannot use that one
    #[arg(long, value_name = "HOST:PORT")]
    advertise_control: Option<String>,
    /// Address at which clients reach --data, if they cannot use that one
    #[arg(long, value_name = "HOST:PORT")]
    advertise_data: Option<String>,
    /// Folder of authority, certificates and keys; default: beside the medium's file (PATH.trust), else beside the
    /// context file
    #[arg(long, value_name = "DIR")]
    trust: Option<PathBuf>,
    /// Serve metrics for Prometheus at http://ADDR/metrics, unencrypted and to everybody who can reach it
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// Allow --metrics on an address that other machines reach: it names every region, pair and party
    #[arg(long, requires = "metrics")]
    metrics_public: bool,
}

impl Serve {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        self.check_addresses()?;
        server::process::prepare();
        let context_path = invocation.context_path()?;
        check_writable(&context_path)?;
        let media = self.media()?;
        let trust_path = self.trust_path(&media, &context_path);
        let options = ServerOptions {
            media: media.clone(),
            control: self.control,
            data: self.data,
            advertise_data: self.advertise_data.clone(),
            metrics: self.metrics,
        };
        let mut trust = None;
        let mut server = Server::start(options, || {
            let prepared = trust.insert(Folder::prepare(&trust_path, PARTIES, &self.hosts())?);
            Ok(ServerTrust {
                tls: prepared.server_tls(Party::Server)?,
                administrators: vec![prepared.certificate(Party::Administrator)?.name],
            })
        })?;
        let trust = trust.expect("a server that started has asked for it");
        let control = self.advertised(server.control());
        // Where the administrator's key is not here, whoever has it has a context file, too.
        let context = trust.has_key(Party::Administrator).then_some(&context_path);
        if let Some(path) = context {
            write_context(&trust, &control, path)?;
        }
        let metrics = server
            .metrics()
            .map(|address| format!("http://{address}/metrics"));
        let value = json!({
            "event": "ready",
            "control": control,
            "data": server.data().to_string(),
            "metrics": metrics,
            "context": context,
            "trust": trust.path(),
            "media": media.to_string(),
            "incarnation": server.incarnation(),
        });
        invocation.output.result(&value, || {
            let mut line = format!(
                "ready: control {control}, data {}, medium {media}, incarnation {}, trust {}",
                server.data(),
                server.incarnation(),
                trust.path().display()
            );
            for (what, said) in [
                ("context", context.map(|path| path.display().to_string())),
                ("metrics", metrics.clone()),
            ] {
                if let Some(said) = said {
                    line.push_str(&format!(", {what} {said}"));
                }
            }
            line
        })?;
        service::ready(&format!("serving control {control}, data {}", server.data()));
        let ended = server.await_signal(|| self.renew(&trust, &control, context));
        service::stopping();
        server.stop()?;
        ended
    }

    fn check_addresses(&self) -> Result<(), Failure> {
        let advertised = [
            (self.control, &self.advertise_control, "--advertise-control"),
            (self.data, &self.advertise_data, "--advertise-data"),
        ];
        for (address, advertised, option) in advertised {
            if address.ip().is_unspecified() && advertised.is_none() {
                let message = format!(
                    "clients cannot connect to {address}: name their way to it with {option} HOST:PORT"
                );
                return Err(Failure::usage(message));
            }
        }
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
    fn advertised(&self, bound: SocketAddr) -> String {
        let advertised = self.advertise_control.clone();
        advertised.unwrap_or_else(|| reachable(bound).to_string())
    }

    fn hosts(&self) -> Vec<String> {
        let advertised = [&self.advertise_control, &self.advertise_data];
        let advertised = advertised.into_iter().flatten().map(String::as_str);
        server::hosts::of([self.control, self.data], advertised)
    }

    fn trust_path(&self, media: &MediaSpec, context: &Path) -> PathBuf {
        if let Some(path) = &self.trust {
            return path.clone();
        }
        let beside = match media {
            MediaSpec::File { path, .. } => path,
            _ => context,
        };
        let mut name = beside.file_name().unwrap_or_default().to_owned();
        name.push(".trust");
        beside.with_file_name(name)
    }

    /// Makes certificates anew that expire while the server runs, which its listener notices by itself.
    fn renew(&self, trust: &Folder, control: &str, context: Option<&PathBuf>) {
        let renewed = Folder::prepare(trust.path(), PARTIES, &self.hosts()).map_err(Failure::from);
        let renewed = renewed.and_then(|trust| match context {
            Some(path) => write_context(&trust, control, path),
            None => Ok(()),
        });
        if let Err(failure) = renewed {
            tracing::error!(reason = failure.message, "certificates cannot be looked after");
        }
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

/// For the first administrator, on this machine.
fn write_context(trust: &Folder, control: &str, path: &Path) -> Result<(), Failure> {
    let administrator = trust.credentials(Party::Administrator)?;
    let context = Context::new(control, trust.roots_pem()?, administrator);
    context.save(path).map_err(|error| match error {
        outlive::Error::Context { path, problem } => unwritable(&path, problem),
        error => error.into(),
    })
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
