//! Identities and their rights, as an administrator would give them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use outlive::{Context, Session};
use outlive_identity::{Authority, Credentials, DEFAULT_VALIDITY};
use outlive_proto::v1::{
    AccessRight, ChangeAccessRequest, CreateRegionRequest, RegionKind, RevokeIdentityRequest,
};

use crate::support::World;
use crate::wire::Control;

/// Numbers context files, so that each is written once.
static CONTEXTS: AtomicU64 = AtomicU64::new(0);

/// Whoever may sign certificates here.
pub(crate) struct People<'a> {
    world: &'a World,
    authority: Authority,
}

impl<'a> People<'a> {
    /// Of a world whose server was started, with its development authority.
    pub(crate) fn of(world: &'a World) -> Self {
        let read = |name: &str| std::fs::read_to_string(world.trust().join(name)).unwrap();
        let authority = Authority::load(&read("authority.pem"), &read("authority.key.pem")).unwrap();
        Self { world, authority }
    }

    /// A certificate and key for this name.
    pub(crate) fn credentials(&self, name: &str) -> Credentials {
        self.authority
            .issue_client(&name.parse().unwrap(), DEFAULT_VALIDITY)
            .unwrap()
    }

    /// A context file for somebody of this name, with a new certificate.
    pub(crate) fn context(&self, name: &str) -> PathBuf {
        self.context_with(name, &self.credentials(name))
    }

    /// A context file with these credentials.
    pub(crate) fn context_with(&self, name: &str, credentials: &Credentials) -> PathBuf {
        let administrators = Context::load(&self.world.path("context.json")).unwrap();
        let number = CONTEXTS.fetch_add(1, Ordering::Relaxed);
        let path = self
            .world
            .path(&format!("{number}.{}.json", name.replace('/', "_")));
        administrators
            .for_identity(credentials.clone())
            .unwrap()
            .save(&path)
            .unwrap();
        path
    }

    pub(crate) fn session(&self, name: &str) -> Session {
        Session::connect(&Context::load(&self.context(name)).unwrap()).unwrap()
    }

    pub(crate) fn control(&self, name: &str) -> Control {
        Control::with(&self.context(name))
    }

    /// Makes a raw region of a MiB with these owners and readers.
    pub(crate) fn region(&self, name: &str, owners: &[&str], readers: &[&str]) {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut control = Control::of(self.world);
        let request = CreateRegionRequest {
            name: name.to_owned(),
            kind: RegionKind::Raw.into(),
            size: 1 << 20,
            owners: names(owners),
            readers: names(readers),
            ..CreateRegionRequest::default()
        };
        control
            .runtime
            .block_on(control.client.create_region(request))
            .unwrap();
    }

    /// Puts somebody into a region's list, or takes them out.
    pub(crate) fn change(&self, region: &str, identity: &str, right: AccessRight, allow: bool) {
        let mut control = Control::of(self.world);
        let request = ChangeAccessRequest {
            name: region.to_owned(),
            identity: identity.to_owned(),
            right: right.into(),
            allow,
        };
        control
            .runtime
            .block_on(control.client.change_access(request))
            .unwrap();
    }

    /// Revokes somebody; how many data connections that stopped.
    pub(crate) fn revoke(&self, name: &str) -> u32 {
        let mut control = Control::of(self.world);
        let request = RevokeIdentityRequest {
            name: name.to_owned(),
        };
        let revoked = control.runtime.block_on(control.client.revoke_identity(request));
        revoked.unwrap().into_inner().stopped
    }
}
