//! Hosts on one machine: network namespaces of the test's own, joined by a bridge.
//!
//! Needs root and `ip` from iproute2, which it installs where it is missing. Everything is removed on drop.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The prefix of all addresses in a lab. Namespaces are closed: no packet leaves them.
const NETWORK: &str = "10.77.0";

/// Numbers the labs of this process, so that tests side by side do not meet.
static LABS: AtomicU32 = AtomicU32::new(0);

/// A bridge and the hosts on it.
pub(crate) struct Lab {
    names: Vec<String>,
}

/// One host: a namespace with one interface.
#[derive(Clone)]
pub(crate) struct Host {
    namespace: String,
    number: usize,
}

impl Lab {
    /// Makes a bridge with `hosts` hosts, or says why that cannot be had here.
    pub(crate) fn new(hosts: usize) -> Result<(Self, Vec<Host>), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        install_ip()?;
        let own = format!(
            "ol{}n{}",
            std::process::id(),
            LABS.fetch_add(1, Ordering::Relaxed)
        );
        let bridge = format!("{own}br");
        let mut lab = Self { names: Vec::new() };
        lab.add(&bridge)?;
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &bridge, "link", "set", "br0", "up"])?;
        let mut made = Vec::new();
        for number in 1..=hosts {
            let host = Host {
                namespace: format!("{own}h{number}"),
                number,
            };
            lab.add(&host.namespace)?;
            let port = format!("p{number}");
            let inside = &host.namespace;
            ip(&[
                "-n", &bridge, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", inside,
            ])?;
            ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"])?;
            ip(&[
                "-n",
                inside,
                "addr",
                "add",
                &format!("{}/24", host.address()),
                "dev",
                "eth0",
            ])?;
            ip(&["-n", inside, "link", "set", "lo", "up"])?;
            ip(&["-n", inside, "link", "set", "eth0", "up"])?;
            made.push(host);
        }
        Ok((lab, made))
    }

    /// Drops every packet between `host` and the others, without telling anyone, or ends that.
    pub(crate) fn set_silent(&self, host: &Host, silent: bool) {
        let port = format!("p{}", host.number);
        let state = if silent { "down" } else { "up" };
        ip(&["-n", &self.names[0], "link", "set", &port, state]).expect("the bridge's port can be switched");
    }

    fn add(&mut self, name: &str) -> Result<(), String> {
        ip(&["netns", "add", name])?;
        self.names.push(name.to_owned());
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in self.names.iter().rev() {
            if let Err(why) = ip(&["netns", "del", name]) {
                eprintln!("a network namespace was left behind: {why}");
            }
        }
    }
}

impl Host {
    /// Its address, the same for all services on it.
    pub(crate) fn address(&self) -> String {
        format!("{NETWORK}.{}", self.number)
    }

    /// A command that runs on this host. `ip netns exec` becomes the program, so the child's id is the program's.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace, program])
            .stdin(Stdio::null());
        command
    }

    /// Runs `work` on this host, on a thread of its own.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.namespace);
        std::thread::scope(|scope| {
            let running = scope.spawn(move || {
                let namespace = File::open(path).expect("the namespace exists");
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter a namespace");
                work()
            });
            running.join().expect("the work on the host does not panic")
        })
    }
}

fn install_ip() -> Result<(), String> {
    let there = Command::new("ip")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if there.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    for arguments in [
        &["update", "-qq"][..],
        &["install", "-y", "-qq", "--no-install-recommends", "iproute2"],
    ] {
        let done = Command::new("apt-get")
            .args(arguments)
            .stdout(Stdio::null())
            .status();
        if !done.is_ok_and(|status| status.success()) {
            return Err("`ip` is missing and iproute2 could not be installed".to_owned());
        }
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", arguments.join(" "), why.trim()))
}
