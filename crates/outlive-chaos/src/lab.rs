//! Hosts on one machine: network namespaces of one's own, joined by a switch of our own (`wire.rs`).
//!
//! Needs root, `/dev/net/tun`, and `ip` from iproute2, which it installs where it is missing and `apt-get` is there.
//! Namespaces carry the process's id in their names. They are removed on drop; those of a process that was killed, by the next lab.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tappers::{Interface, Tap};

pub use crate::wire::Link;
use crate::wire::{Wire, ethernet_address};

/// The prefix of all addresses in a lab. Namespaces are closed: no packet leaves them.
const NETWORK: &str = "10.77.0";
/// What every namespace's name begins with, before the process's id.
const PREFIX: &str = "olc";
/// Fewer, larger frames: each one costs the switch two system calls.
const MTU: &str = "9000";

/// Numbers the labs of this process, so that those side by side do not meet.
static LABS: AtomicU32 = AtomicU32::new(0);

/// Why there is no lab here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// Namespaces are the superuser's.
    #[error("network namespaces need root: run it as root")]
    NotRoot,
    /// A program is missing.
    #[error("`{program}` is missing and {package} could not be installed: install {package}")]
    Missing {
        /// What was looked for.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The kernel gives no TAP devices.
    #[error("no TAP device can be had; /dev/net/tun must be there (kernel option TUN)")]
    NoTap(#[source] io::Error),
    /// `ip` refused.
    #[error("ip {command}: {why}")]
    Ip {
        /// What it was told.
        command: String,
        /// What it said.
        why: String,
    },
}

/// Hosts and the switch that joins them.
pub struct Lab {
    names: Vec<String>,
    hosts: Vec<Host>,
    wire: Option<Wire>,
}

/// One host: a namespace with one interface.
#[derive(Clone, Debug)]
pub struct Host {
    namespace: String,
    number: usize,
}

impl Lab {
    /// Makes so many hosts (at most 250) that reach one another; `seed` decides which frames suffer once
    /// [links](Self::set_links) are bad.
    ///
    /// # Errors
    /// [`LabError`], where it cannot be had here. Nothing stays behind.
    pub fn new(hosts: usize, seed: u64) -> Result<Self, LabError> {
        if !rustix::process::geteuid().is_root() {
            return Err(LabError::NotRoot);
        }
        install("ip", "-V", "iproute2")?;
        remove_stale();
        let lab_number = LABS.fetch_add(1, Ordering::Relaxed);
        let own = format!("{PREFIX}{}n{lab_number}", std::process::id());
        let mut lab = Self {
            names: Vec::new(),
            hosts: Vec::new(),
            wire: None,
        };
        let mut ports = Vec::new();
        for number in 1..=hosts {
            let namespace = format!("{own}h{number}");
            ip(&["netns", "add", &namespace])?;
            lab.names.push(namespace.clone());
            let host = Host { namespace, number };
            ports.push(host.plug_in()?);
            lab.hosts.push(host);
        }
        lab.wire = Some(Wire::new(ports, seed).map_err(LabError::NoTap)?);
        Ok(lab)
    }

    /// All of them.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Replaces what each link does with frames: `of(from, to)` for each two hosts, by their places in
    /// [`hosts`](Self::hosts), from 0.
    pub fn set_links(&self, of: impl Fn(usize, usize) -> Link) {
        if let Some(wire) = &self.wire {
            wire.set(of);
        }
    }

    /// Drops every packet between `host` and the others, without telling anyone; all others reach one another.
    pub fn set_silent(&self, host: &Host, silent: bool) {
        let number = host.number - 1;
        self.set_links(|from, to| Link {
            cut: silent && (from == number || to == number),
            ..Link::default()
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Devices vanish with their other ends, so that no packet keeps a namespace.
        self.wire = None;
        for name in self.names.iter().rev() {
            if let Err(why) = ip(&["netns", "del", name]) {
                eprintln!("a network namespace was left behind: {why}");
            }
        }
    }
}

impl Host {
    /// Its address, the same for all services on it.
    pub fn address(&self) -> String {
        format!("{NETWORK}.{}", self.number)
    }

    /// A command that runs on this host. `ip netns exec` becomes the program, so the child's id is the program's.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Moves the calling thread onto this host, for good: sockets that it makes from now on are this host's, and so are the
    /// processes that it starts.
    ///
    /// # Errors
    /// Of the system.
    pub fn enter(&self) -> io::Result<()> {
        let namespace = File::open(format!("/run/netns/{}", self.namespace))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// Runs `work` on this host, on a thread of its own.
    ///
    /// # Panics
    /// If `work` does, or the host is gone.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let running = scope.spawn(move || {
                self.enter().expect("root may enter a namespace that exists");
                work()
            });
            running.join().expect("the work on the host does not panic")
        })
    }

    /// Makes its device and returns the other end.
    fn plug_in(&self) -> Result<Tap, LabError> {
        let tap = self
            .run(|| Tap::new_named(Interface::new("eth0")?))
            .map_err(LabError::NoTap)?;
        let inside = self.namespace.as_str();
        let ethernet = ethernet_address(self.number);
        ip(&[
            "-n", inside, "link", "set", "eth0", "address", &ethernet, "mtu", MTU,
        ])?;
        let address = format!("{}/24", self.address());
        ip(&["-n", inside, "addr", "add", &address, "dev", "eth0"])?;
        ip(&["-n", inside, "link", "set", "lo", "up"])?;
        ip(&["-n", inside, "link", "set", "eth0", "up"])?;
        Ok(tap)
    }
}

/// Removes namespaces that a process of ours left when it was killed: by our prefix, and only if that process is gone.
fn remove_stale() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if maker(&name).is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            // Somebody else may have been faster.
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

/// The id of the process that made the namespace, if it was one of ours.
fn maker(name: &str) -> Option<u32> {
    let (id, rest) = name.strip_prefix(PREFIX)?.split_once('n')?;
    let (lab, host) = rest.split_once('h')?;
    lab.parse::<u32>().ok()?;
    host.parse::<u32>().ok()?;
    id.parse().ok()
}

/// Installs `package` where `program` cannot be run.
fn install(program: &'static str, probe: &str, package: &'static str) -> Result<(), LabError> {
    let quiet = |command: &mut Command| {
        let status = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        status.status().is_ok_and(|status| status.success())
    };
    if quiet(Command::new(program).arg(probe)) {
        return Ok(());
    }
    let installed = quiet(Command::new("apt-get").args(["update", "-qq"]))
        && quiet(Command::new("apt-get").args(["install", "-y", "-qq", "--no-install-recommends", package]));
    if installed {
        Ok(())
    } else {
        Err(LabError::Missing { program, package })
    }
}

fn ip(arguments: &[&str]) -> Result<(), LabError> {
    let failed = |why: String| LabError::Ip {
        command: arguments.join(" "),
        why,
    };
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_namespaces_are_known_as_such() {
        assert_eq!(maker("olc123n0h7"), Some(123));
        for foreign in [
            "olc123",
            "olcn0h1",
            "mine",
            "olc12n0",
            "olc1n0hx",
            "xolc1n0h1",
            "olc1nxh1",
        ] {
            assert_eq!(maker(foreign), None, "{foreign}");
        }
    }
}
