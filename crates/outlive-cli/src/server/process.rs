//! What a process that holds keys and serves many asks of the system for itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No core file, which would have the keys in it; as many open files as the system lets it have.
pub(crate) fn prepare() {
    limit(Resource::Core, Some(0));
    let most = getrlimit(Resource::Nofile).maximum;
    limit(Resource::Nofile, most);
}

/// Where the system does not allow it (a service manager may set limits itself), the limit stays what it is.
fn limit(resource: Resource, current: Option<u64>) {
    let maximum = getrlimit(resource).maximum;
    if let Err(error) = setrlimit(resource, Rlimit { current, maximum }) {
        tracing::warn!(?resource, %error, "a limit of this process cannot be set");
    }
}
