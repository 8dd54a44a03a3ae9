//! Where the manager is and how to prove who asks.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The form of the file that this version reads and writes.
const VERSION: u32 = 1;
/// Names the file explicitly.
const VARIABLE: &str = "OUTLIVE_CONTEXT";

/// Addresses and credentials of one unit's manager, as `outlive serve` writes them into a file that
/// only its user can read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Context {
    /// Version of the form; 1.
    pub version: u32,
    /// `host:port` of the manager's control listener.
    pub control: String,
    /// Bearer token.
    pub token: String,
}

impl Context {
    /// A context for the manager at `control`.
    pub fn new(control: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            version: VERSION,
            control: control.into(),
            token: token.into(),
        }
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

    /// Loads a context file.
    ///
    /// # Errors
    /// [`Error::Context`] when the file cannot be read or understood.
    pub fn load(path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::Context {
            path: path.to_owned(),
            problem,
        };
        let text = fs::read(path).map_err(|error| bad(error.to_string()))?;
        let context: Self = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        if context.version != VERSION {
            return Err(bad(format!(
                "version {} is not known, only {VERSION}",
                context.version
            )));
        }
        Ok(context)
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

    fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut name = path.file_name().map(OsString::from).unwrap_or_default();
        name.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        // A leftover of the same name keeps its old mode on open.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
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
    /// Without the token: who knows it may do everything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_context_is_private_and_loads_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep/context.json");
        let context = Context::new("127.0.0.1:7780", "secret");
        context.save(&path).expect("saved");
        context.save(&path).expect("saved over itself");
        assert_eq!(Context::load(&path).expect("loaded"), context);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{context:?}").contains("secret"));
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
        fs::write(&path, r#"{"version":9,"control":"a:1","token":"t"}"#).expect("written");
        let error = Context::load(&path).expect_err("an unknown version");
        assert!(error.to_string().contains("version 9"), "{error}");
    }
}
