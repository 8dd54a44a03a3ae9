//! Where the manager is, whom to trust there, and how to prove who asks.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use outlive_identity::{ClientTls, Credentials, Source};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Error, Result};

/// The form of the file that this version reads and writes.
const VERSION: u32 = 2;
/// Names the file explicitly.
const VARIABLE: &str = "OUTLIVE_CONTEXT";
/// What PEM text begins with, and no path.
const PEM: &str = "-----BEGIN";
/// No private key is shorter in base64.
const SHORTEST_KEY: usize = 60;
/// Longest file read: a context holds two certificates and a key.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How to reach one unit's manager: its address, the authority that vouches for it, and a certificate with its key
/// that say who asks. `outlive serve` and `outlive access issue` write one into a file that only its user can read.
#[derive(Clone)]
pub struct Context {
    control: String,
    server_name: Option<String>,
    authority: Source,
    certificate: Source,
    key: Source,
    /// The file that it was loaded from, which is read again at each connect.
    origin: Option<PathBuf>,
}

/// The file. Each of the last three is PEM text or a path, relative to the file's folder.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    control: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    authority: String,
    certificate: String,
    key: String,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Context {
    /// A context for the manager at `control` (`host:port`), which an authority of `authority_pem` vouches for.
    pub fn new(
        control: impl Into<String>,
        authority_pem: impl Into<String>,
        credentials: Credentials,
    ) -> Self {
        let inline = |text: String| Source::Inline(Zeroizing::new(text));
        Self {
            control: control.into(),
            server_name: None,
            authority: inline(authority_pem.into()),
            certificate: inline(credentials.certificate_pem),
            key: Source::Inline(credentials.key_pem),
            origin: None,
        }
    }

    /// The host that the server's certificate must name, where it is not the one of `control`.
    #[must_use]
    pub fn with_server_name(mut self, name: Option<String>) -> Self {
        self.server_name = name;
        self
    }

    /// The same manager, asked by somebody else: a context that needs no other file, to be handed over.
    ///
    /// # Errors
    /// [`Error::NoAccess`] when the authority's file cannot be read.
    pub fn for_identity(&self, credentials: Credentials) -> Result<Self> {
        let authority = self.authority.public().map_err(|error| Error::NoAccess {
            reason: error.to_string(),
            missing: None,
        })?;
        let context = Self::new(self.control.clone(), authority, credentials);
        Ok(context.with_server_name(self.server_name.clone()))
    }

    /// `host:port` of the manager's control listener.
    pub fn control(&self) -> &str {
        &self.control
    }

    /// The host that the server's certificate must name, where it is not the one of [`control`](Self::control).
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Loads the file named by `explicit`, else by `OUTLIVE_CONTEXT`, else the default one
    /// ([`Context::default_path`]).
    ///
    /// # Errors
    /// [`Error::Context`] when there is no such file or it cannot be understood.
    pub fn discover(explicit: Option<&Path>) -> Result<Self> {
        match explicit {
            Some(path) => Self::load(path),
            None => Self::load(&Self::default_path()?),
        }
    }

    /// Where the context file is by default: `$OUTLIVE_CONTEXT`, else
    /// `$XDG_RUNTIME_DIR/outlive/context.json`, else `$HOME/.outlive/context.json`.
    ///
    /// # Errors
    /// [`Error::Context`] when none of the three variables is set.
    pub fn default_path() -> Result<PathBuf> {
        default_path_in(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    /// Loads a context file. Sessions read it, and the files that it names, again at each connect, so that new
    /// certificates count without a restart.
    ///
    /// # Errors
    /// [`Error::Context`] when the file cannot be read or understood, or holds a key that others can read.
    pub fn load(path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::Context {
            path: path.to_owned(),
            problem,
        };
        let (text, mode) = read(path).map_err(|error| bad(error.to_string()))?;
        let Version { version } = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        match version {
            VERSION => {}
            1 => {
                return Err(bad(
                    "it is from before there were certificates (version 1)".to_owned()
                ));
            }
            version => return Err(bad(format!("version {version} is not known, only {VERSION}"))),
        }
        let written: Written = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        let key = Zeroizing::new(written.key);
        if is_bare_key(&key) {
            // As a path it would stand in the error that says that there is no such file.
            return Err(bad(
                "its key is neither PEM text (-----BEGIN …) nor a path".to_owned()
            ));
        }
        let key = source(path, key.to_string());
        if matches!(key, Source::Inline(_)) && mode & 0o077 != 0 {
            let problem = format!(
                "it holds a key and others can read it (mode {mode:04o}): run `chmod 600 {}`, and get a new one if somebody may have read it",
                path.display()
            );
            return Err(bad(problem));
        }
        Ok(Self {
            control: written.control,
            server_name: written.server_name,
            authority: source(path, written.authority),
            certificate: source(path, written.certificate),
            key,
            origin: Some(path.to_owned()),
        })
    }

    /// Saves it so that only the present user can read it, replacing what was there in one step.
    /// Makes the folder where it is missing.
    ///
    /// # Errors
    /// [`Error::Context`] when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.write(path).map_err(|error| Error::Context {
            path: path.to_owned(),
            problem: error.to_string(),
        })
    }

    /// What a connection to the manager is made with.
    pub fn client_tls(&self) -> ClientTls {
        let tls = match self.origin.clone() {
            None => ClientTls::new(self.authority.clone(), self.certificate.clone(), self.key.clone()),
            Some(origin) => {
                let first = self.clone();
                ClientTls::loading(move || {
                    // A file that is gone, or is about another manager now, changes nothing for this session.
                    let now = Self::load(&origin).ok();
                    let now = now.filter(|now| now.control == first.control);
                    let now = now.as_ref().unwrap_or(&first);
                    let credentials = Credentials {
                        certificate_pem: now.certificate.public()?,
                        key_pem: now.key.private()?,
                    };
                    Ok((now.authority.public()?, credentials))
                })
            }
        };
        tls.server_name(self.server_name.clone())
    }

    /// More than the file takes: each character may need an escape.
    fn written_bytes(&self) -> usize {
        let sources = [&self.authority, &self.certificate, &self.key];
        let texts: usize = sources.iter().map(|source| text_of(source).len()).sum();
        let server_name = self.server_name.as_ref().map_or(0, String::len);
        1024 + 2 * (texts + self.control.len() + server_name)
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut name = path.file_name().map(OsString::from).unwrap_or_default();
        name.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(name);
        // A leftover, or what somebody put there to have the key written into it.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.write_new(&temporary)
            .and_then(|()| fs::rename(&temporary, path))
            .inspect_err(|_| {
                // A part of a key is not to lie about where the disk is full, nor to keep it full.
                let _ = fs::remove_file(&temporary);
            })
    }

    fn write_new(&self, path: &Path) -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        // Whatever the process's mask took away.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        let written = Written {
            version: VERSION,
            control: self.control.clone(),
            server_name: self.server_name.clone(),
            authority: text_of(&self.authority).to_string(),
            certificate: text_of(&self.certificate).to_string(),
            key: text_of(&self.key).to_string(),
        };
        // Room for all of it at once: a text that grew would leave copies of the key behind.
        let mut text = Zeroizing::new(Vec::with_capacity(self.written_bytes()));
        let encoded = serde_json::to_writer_pretty(&mut *text, &written);
        drop(Zeroizing::new(written.key));
        encoded?;
        file.write_all(&text)?;
        file.sync_all()
    }
}

fn read(path: &Path) -> std::io::Result<(Zeroizing<Vec<u8>>, u32)> {
    let file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    // Room for all of it at once: what grew would leave copies of the key behind.
    let room = usize::try_from(metadata.len().min(MAX_FILE_BYTES)).unwrap_or(0);
    let mut text = Zeroizing::new(Vec::with_capacity(room + 1));
    file.take(MAX_FILE_BYTES).read_to_end(&mut text)?;
    Ok((text, metadata.permissions().mode() & 0o7777))
}

/// Whether it is what stands between the first and the last line of a PEM text.
fn is_bare_key(text: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\r\n ".contains(&byte);
    !text.contains(PEM) && text.len() >= SHORTEST_KEY && text.bytes().all(is_base64)
}

/// PEM text, or a path relative to the context file.
fn source(context: &Path, text: String) -> Source {
    if text.contains(PEM) {
        Source::Inline(Zeroizing::new(text))
    } else {
        Source::File(context.with_file_name(text))
    }
}

fn text_of(source: &Source) -> Zeroizing<String> {
    match source {
        Source::Inline(text) => text.clone(),
        Source::File(path) => Zeroizing::new(path.display().to_string()),
    }
}

fn default_path_in(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    if let Some(path) = variable(VARIABLE) {
        return Ok(path.into());
    }
    if let Some(folder) = variable("XDG_RUNTIME_DIR") {
        return Ok(PathBuf::from(folder).join("outlive/context.json"));
    }
    if let Some(folder) = variable("HOME") {
        return Ok(PathBuf::from(folder).join(".outlive/context.json"));
    }
    Err(Error::Context {
        path: PathBuf::from("context.json"),
        problem: format!("none of {VARIABLE}, XDG_RUNTIME_DIR and HOME is set"),
    })
}

impl fmt::Debug for Context {
    /// Without certificate and key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n";

    fn context() -> Context {
        let credentials = Credentials {
            certificate_pem: "-----BEGIN CERTIFICATE-----\nbob".to_owned(),
            key_pem: KEY.to_owned().into(),
        };
        Context::new(
            "127.0.0.1:7780",
            "-----BEGIN CERTIFICATE-----\nauthority",
            credentials,
        )
    }

    #[test]
    fn a_saved_context_is_private_and_loads_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep/context.json");
        let context = context().with_server_name(Some("unit.example".to_owned()));
        context.save(&path).expect("saved");
        context.save(&path).expect("saved over itself");
        let loaded = Context::load(&path).expect("loaded");
        assert_eq!(loaded.control(), "127.0.0.1:7780");
        assert_eq!(loaded.server_name(), Some("unit.example"));
        assert_eq!(loaded.key, context.key);
        assert_eq!(loaded.certificate, context.certificate);
        assert_eq!(loaded.authority, context.authority);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{context:?} {:?}", context.client_tls()).contains("secret"));
    }

    #[test]
    fn nothing_is_written_into_what_stands_in_the_temporarys_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("context.json");
        let theirs = folder.path().join("theirs");
        fs::write(&theirs, "theirs").expect("written");
        let temporary = folder.path().join(format!("context.json.{}", std::process::id()));
        std::os::unix::fs::symlink(&theirs, &temporary).expect("linked");
        context().save(&path).expect("saved");
        assert_eq!(fs::read_to_string(&theirs).expect("there"), "theirs");
        Context::load(&path).expect("loaded");
        assert!(!temporary.exists());
    }

    #[test]
    fn what_is_no_pem_is_a_path_beside_the_context() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("context.json");
        let text =
            r#"{"version":2,"control":"a:1","authority":"a.pem","certificate":"c.pem","key":"/k.pem"}"#;
        fs::write(&path, text).expect("written");
        let context = Context::load(&path).expect("a context without a key may be read by others");
        assert_eq!(context.authority, Source::File(folder.path().join("a.pem")));
        assert_eq!(context.key, Source::File("/k.pem".into()));
        assert_eq!(context.server_name(), None);
    }

    #[test]
    fn the_explicit_variable_wins_then_the_runtime_folder_then_home() {
        let with = |set: &'static [(&str, &str)]| {
            default_path_in(move |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()))
        };
        let all = [
            ("OUTLIVE_CONTEXT", "/c"),
            ("XDG_RUNTIME_DIR", "/run"),
            ("HOME", "/h"),
        ];
        assert_eq!(with(Box::leak(Box::new(all))).expect("set"), PathBuf::from("/c"));
        assert_eq!(
            with(&[("XDG_RUNTIME_DIR", "/run"), ("HOME", "/h")]).expect("set"),
            PathBuf::from("/run/outlive/context.json")
        );
        assert_eq!(
            with(&[("HOME", "/h")]).expect("set"),
            PathBuf::from("/h/.outlive/context.json")
        );
        assert!(matches!(with(&[]), Err(Error::Context { .. })));
    }

    #[test]
    fn what_is_no_context_is_refused_with_its_path() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("context.json");
        assert!(matches!(Context::load(&path), Err(Error::Context { path: p, .. }) if p == path));
        let secret = "MIGHAgEAMBMGByqGSM49".repeat(4);
        let bare =
            format!(r#"{{"version":2,"control":"a:1","authority":"a","certificate":"c","key":"{secret}"}}"#);
        for (text, said) in [
            (r#"{"version":9,"control":"a:1"}"#, "version 9"),
            (
                r#"{"version":1,"control":"a:1","token":"t"}"#,
                "before there were certificates",
            ),
            (r#"{"version":2,"control":"a:1"}"#, "missing field"),
            (&bare, "neither PEM text"),
        ] {
            fs::write(&path, text).expect("written");
            let error = Context::load(&path).expect_err("no context");
            assert!(error.to_string().contains(said), "{error}");
            assert!(!error.to_string().contains(&secret), "{error}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("context.json");
        context().save(&path).expect("saved");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        let error = Context::load(&path).expect_err("exposed").to_string();
        assert!(
            error.contains("chmod 600") && !error.contains("secret"),
            "{error}"
        );
    }
}
