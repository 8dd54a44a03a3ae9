//! `outlive serve`: unit and manager in one process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use outlive_media::MediaSpec;
use serde_json::json;

use super::control::{ControlArguments, Trusted, check_reachable, check_writable};
use crate::data_tls::DataTls;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::server::scrub::ScrubArguments;
use crate::server::{Server, ServerOptions, process};
use crate::service;

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
    #[command(flatten)]
    control: ControlArguments,
    /// Address for data; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7781")]
    data: SocketAddr,
    /// Address at which clients reach --data, if they cannot use that one
    #[arg(long, value_name = "HOST:PORT")]
    advertise_data: Option<String>,
    /// Encrypt data connections; default: require, or off where --data and --advertise-data are loopback addresses
    #[arg(long, value_name = "WHEN")]
    data_tls: Option<DataTls>,
    /// Folder of authority, certificates and keys; default: beside the medium's file (PATH.trust), else beside the
    /// context file
    #[arg(long, value_name = "DIR")]
    trust: Option<PathBuf>,
    #[command(flatten)]
    scrub: ScrubArguments,
}

impl Serve {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        self.control.check()?;
        check_reachable(self.data, self.advertise_data.as_deref(), "--advertise-data")?;
        process::prepare();
        let context_path = invocation.context_path()?;
        check_writable(&context_path)?;
        let media = self.media()?;
        let trust = self.trust_path(&media, &context_path);
        let options = ServerOptions {
            media: media.clone(),
            data: self.data,
            advertise_data: self.advertise_data.clone(),
            data_tls: self.data_tls.map(Into::into),
            scrub: self.scrub.clone(),
        };
        let mut trusted = None;
        let mut server = Server::start(options, || {
            let prepared = Trusted::prepare(&trust, &self.control, &[], context_path)?;
            trusted.insert(prepared).options(&self.control)
        })?;
        let trusted = trusted.expect("a server that started has asked for it");
        let control = self.control.advertised(server.control());
        let context = trusted.write_context(&control)?;
        let metrics = server
            .metrics()
            .map(|address| format!("http://{address}/metrics"));
        let value = json!({
            "event": "ready",
            "control": control,
            "data": server.data().to_string(),
            "metrics": metrics,
            "context": context,
            "trust": trusted.folder.path(),
            "media": media.to_string(),
            "incarnation": server.incarnation(),
        });
        invocation.output.result(&value, || {
            let mut line = format!(
                "ready: control {control}, data {}, medium {media}, incarnation {}, trust {}",
                server.data(),
                server.incarnation(),
                trusted.folder.path().display()
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
        let ended = server.await_end(|| trusted.renew(&control));
        service::stopping();
        server.stop()?;
        ended
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
