//! `outlive access`: who one is, and who else may come.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use outlive::{IdentityView, IssueOptions};
use outlive_identity::Name;
use serde_json::{Value, json};

use crate::confirm;
use crate::failure::Failure;
use crate::files;
use crate::invocation::Invocation;
use crate::output::{count, hex, table, time};
use crate::quantity::parse_validity;

/// Say who one is; list, issue, admit and revoke identities
///
/// An identity is the name in a certificate that the server's authority signed. Administrators create, grow and delete
/// regions and manage access; everybody else may do what the regions' lists say (outlive region grant).
#[derive(Debug, Args)]
pub(crate) struct Access {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show who the manager takes one for
    Whoami,
    /// List the identities that have a role, a certificate of the manager's, or were revoked
    Ls,
    /// Make a key and have the manager sign a certificate for it; writes a context file for the identity
    Issue(Issue),
    /// Give an identity of one's own authority a role, take it, or lift a revocation
    Admit(Admit),
    /// Take everything from an identity: its connections are stopped at once
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Issue {
    /// Who: 1 to 64 letters, digits and . _ - @ + : /
    name: Name,
    /// May create, grow and delete regions, and manage access
    #[arg(long)]
    administrator: bool,
    /// The identity exists: give it one more certificate; those so far count until they expire
    #[arg(long)]
    renew: bool,
    /// For how long the certificate is valid
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = parse_validity)]
    valid: Duration,
    /// Where to write the context file; default: NAME.context.json here, with _ for each /
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Admit {
    /// Who
    name: Name,
    /// May create, grow and delete regions, and manage access; without it the role is taken
    #[arg(long)]
    administrator: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    /// Who
    name: Name,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Access {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        match &self.action {
            Action::Whoami => who_am_i(invocation),
            Action::Ls => list(invocation),
            Action::Issue(issue) => issue.run(invocation),
            Action::Admit(admit) => admit.run(invocation),
            Action::Revoke(revoke) => revoke.run(invocation),
        }
    }
}

fn who_am_i(invocation: &Invocation) -> Result<(), Failure> {
    let identity = invocation.session()?.who_am_i()?;
    invocation.output.result(&value(&identity), || {
        format!("{} ({})", identity.name, role(&identity))
    })
}

fn list(invocation: &Invocation) -> Result<(), Failure> {
    let identities = invocation.session()?.identities()?;
    let values: Vec<Value> = identities.iter().map(value).collect();
    invocation.output.result(&values, || {
        table(
            ["identity", "role", "certificates", "since", "expires"],
            identities.iter().map(|identity| {
                [
                    identity.name.clone(),
                    role(identity).to_owned(),
                    certificates(identity),
                    time(identity.issued_unix_ms),
                    identity.expires_unix_ms.map_or_else(|| "-".to_owned(), time),
                ]
            }),
        )
    })
}

impl Issue {
    fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let path = self.path();
        // Found out before anything is signed.
        if !self.force && path.exists() {
            let message = format!("{} is there already: add --force to replace it", path.display());
            return Err(Failure::usage(message));
        }
        files::check_writable("the context file", &path, "--output")?;
        let options = IssueOptions {
            administrator: self.administrator,
            validity: Some(self.valid),
            renew: self.renew,
        };
        let issued = invocation
            .session()?
            .issue_identity(self.name.as_str(), &options)?;
        let context = invocation.context()?.for_identity(issued.credentials)?;
        context.save(&path)?;
        let mut shown = value(&issued.identity);
        shown["context"] = json!(path);
        invocation.output.result(&shown, || {
            format!(
                "issued {} ({}), valid until {}; context file {}",
                issued.identity.name,
                role(&issued.identity),
                issued
                    .identity
                    .expires_unix_ms
                    .map_or_else(|| "-".to_owned(), time),
                path.display()
            )
        })
    }

    fn path(&self) -> PathBuf {
        let default = || PathBuf::from(format!("{}.context.json", self.name.as_str().replace('/', "_")));
        self.output.as_deref().map_or_else(default, Path::to_owned)
    }
}

impl Admit {
    fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let session = invocation.session()?;
        let identity = session.admit_identity(self.name.as_str(), self.administrator)?;
        invocation.output.result(&value(&identity), || {
            format!("admitted {} ({})", identity.name, role(&identity))
        })
    }
}

impl Revoke {
    fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let session = invocation.session()?;
        let what = format!("revoking {} and stopping all its connections", self.name);
        confirm::destroying(&what, self.yes)?;
        let stopped = session.revoke_identity(self.name.as_str())?;
        let shown = json!({"revoked": self.name.as_str(), "stopped": stopped});
        invocation.output.result(&shown, || {
            format!(
                "revoked {}; {} stopped",
                self.name,
                count(stopped, "data connection")
            )
        })
    }
}

fn value(identity: &IdentityView) -> Value {
    let serials: Vec<String> = identity.serials.iter().map(|serial| hex(serial)).collect();
    json!({
        "name": identity.name,
        "administrator": identity.administrator,
        "revoked": identity.revoked,
        "serials": serials,
        "issued_unix_ms": identity.issued_unix_ms,
        "expires_unix_ms": identity.expires_unix_ms,
    })
}

fn role(identity: &IdentityView) -> &'static str {
    match (identity.revoked, identity.administrator) {
        (true, _) => "revoked",
        (false, true) => "administrator",
        (false, false) => "no role",
    }
}

/// Which of its certificates count.
fn certificates(identity: &IdentityView) -> String {
    if identity.serials.is_empty() {
        "any".to_owned()
    } else {
        identity.serials.len().to_string()
    }
}
