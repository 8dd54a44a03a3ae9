//! The processes under test, each on its host, and what is done to them.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::error::ChaosError;
use crate::fault::{Kind, Planned, Targets};
use crate::lab::{Host, Lab, Link};
use crate::process::{Process, Program};

/// The pair's name, which is its region's.
const PAIR: &str = "cache";
/// The region of the checkpoint workload.
pub(crate) const LEDGER: &str = "ledger";
const PAIR_SIZE: &str = "64MiB";
const LEDGER_SIZE: &str = "16MiB";
const MEDIUM_BYTES: u64 = 128 << 20;
/// Room beside the medium: for certificates and audit logs.
const BESIDE_BYTES: u64 = 16 << 20;
/// Hosts on which clients run.
pub(crate) const CLIENT_HOSTS: usize = 2;
/// Everything is there again after this time without faults, or something is stuck.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);
/// How often processes are looked at.
const TEND_EVERY: Duration = Duration::from_millis(10);

/// What is started.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) members: usize,
    /// Unit and manager are two processes.
    pub(crate) separate_manager: bool,
    pub(crate) network: bool,
    pub(crate) disk: bool,
    pub(crate) seed: u64,
}

/// Everything that runs. All of it is gone when this is dropped.
pub(crate) struct System {
    // Dropped in this order: processes before the disk and the network that they use.
    unit: Process,
    manager: Option<Process>,
    members: Vec<Process>,
    disk: Option<Disk>,
    lab: Option<Lab>,
    shape: Shape,
    medium: PathBuf,
    context: PathBuf,
    addresses: Vec<String>,
    /// Faults of the network that are there now.
    links: Vec<Planned>,
    /// Faults that are there now, with the members that they hit.
    hit: Vec<(Planned, usize)>,
    busy: Arc<AtomicBool>,
}

/// Where everybody listens.
struct Places {
    lab: Option<Lab>,
    hosts: Vec<Option<Host>>,
}

impl Places {
    fn new(shape: &Shape) -> Result<Self, ChaosError> {
        let hosts = 1 + usize::from(shape.separate_manager) + shape.members + CLIENT_HOSTS;
        if !shape.network {
            return Ok(Self {
                lab: None,
                hosts: vec![None; hosts],
            });
        }
        let lab = Lab::new(hosts, shape.seed)?;
        let hosts = lab.hosts().iter().cloned().map(Some).collect();
        Ok(Self {
            lab: Some(lab),
            hosts,
        })
    }

    /// An address on this host; without a network, one that is free now.
    fn address(&self, host: usize, port: u16) -> Result<String, ChaosError> {
        match &self.hosts[host] {
            Some(host) => Ok(format!("{}:{port}", host.address())),
            None => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                Ok(listener.local_addr()?.to_string())
            }
        }
    }
}

impl System {
    /// Makes hosts, disk and processes, and waits until the pair serves.
    pub(crate) fn start(shape: Shape) -> Result<Self, ChaosError> {
        let places = Places::new(&shape)?;
        let store = shape.folder.join("disk");
        let disk = match shape.disk {
            true => Some(Disk::mount(&store, MEDIUM_BYTES + BESIDE_BYTES).map_err(ChaosError::Disk)?),
            false => {
                std::fs::create_dir_all(&store)?;
                None
            }
        };
        let medium = store.join("unit.media");
        let context = shape.folder.join("context.json");
        let program = |name: &str, host: usize, arguments: &[&str]| Program {
            name: name.to_owned(),
            host: places.hosts[host].clone(),
            path: shape.program.clone(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: vec![("OUTLIVE_CONTEXT".to_owned(), context.display().to_string())],
        };
        let media = format!("file:{},size={MEDIUM_BYTES}", medium.display());
        let trust = store.join("trust").display().to_string();
        let (admin, data) = (places.address(0, 7782)?, places.address(0, 7781)?);
        let store_of = ["--json", "--media", &media, "--data", &data, "--trust", &trust];
        let (unit, manager) = if shape.separate_manager {
            let control = places.address(1, 7780)?;
            let unit = program("unit", 0, &[&["unit", "--admin", &admin][..], &store_of].concat());
            let manager = [
                "manager",
                "--json",
                "--unit",
                &admin,
                "--control",
                &control,
                "--trust",
                &trust,
            ];
            (unit, Some(program("manager", 1, &manager)))
        } else {
            let control = places.address(0, 7780)?;
            let serve = [&["serve", "--control", &control][..], &store_of].concat();
            (program("server", 0, &serve), None)
        };
        let first_member = 1 + usize::from(shape.separate_manager);
        let mut members = Vec::new();
        let mut addresses = Vec::new();
        for number in 0..shape.members {
            let listen = places.address(first_member + number, 6379)?;
            // Takeovers are what we are here for: they must not count as a crash loop.
            let arguments = [
                "kv",
                "--json",
                "--insecure",
                "--pair",
                PAIR,
                "--size",
                PAIR_SIZE,
                "--listen",
                &listen,
                "--crash-loop",
                "1000000",
            ];
            let name = format!("member-{}", number + 1);
            members.push(Process::new(
                program(&name, first_member + number, &arguments),
                &shape.folder,
            ));
            addresses.push(listen);
        }
        let mut system = Self {
            unit: Process::new(unit, &shape.folder),
            manager: manager.map(|manager| Process::new(manager, &shape.folder)),
            members,
            disk,
            lab: places.lab,
            shape,
            medium,
            context,
            addresses,
            links: Vec::new(),
            hit: Vec::new(),
            busy: Arc::default(),
        };
        system.start_all()?;
        Ok(system)
    }

    /// Starts what does not run, servers first, and waits until the pair serves.
    pub(crate) fn start_all(&mut self) -> Result<(), ChaosError> {
        self.unit.start()?;
        self.await_that("the unit", |system| system.unit.told().ready)?;
        if let Some(manager) = &mut self.manager {
            manager.start()?;
        }
        self.await_that("the manager", |system| {
            system.manager.as_ref().is_none_or(|manager| manager.told().ready)
        })?;
        for member in &mut self.members {
            member.start()?;
        }
        self.await_pair()
    }

    /// Waits until everybody is there: one member as primary, all others as its backups.
    pub(crate) fn await_pair(&mut self) -> Result<(), ChaosError> {
        self.await_that("unit, manager, a primary and its backups", |system| {
            let servers = [&system.unit].into_iter().chain(&system.manager);
            if !servers.into_iter().all(|server| server.told().ready) {
                return false;
            }
            let roles: Vec<String> = system.members.iter().map(|member| member.told().role).collect();
            roles.iter().filter(|role| *role == "primary").count() == 1
                && roles.iter().filter(|role| *role == "backup").count() + 1 == roles.len()
        })
    }

    fn await_that(&mut self, what: &'static str, there: impl Fn(&Self) -> bool) -> Result<(), ChaosError> {
        let deadline = Instant::now() + RECOVERS_WITHIN;
        while !there(self) {
            self.tend()?;
            if Instant::now() > deadline {
                let state = self.state();
                return Err(ChaosError::Stuck { what, state });
            }
            std::thread::sleep(TEND_EVERY);
        }
        Ok(())
    }

    /// What everybody last said.
    fn state(&self) -> String {
        let said = self.processes().map(|process| {
            let told = process.told();
            let what = match (process.is_running(), told.ready, told.role.is_empty()) {
                (false, ..) => "not running".to_owned(),
                (true, false, _) => "starting".to_owned(),
                (true, true, true) => "ready".to_owned(),
                (true, true, false) => told.role,
            };
            format!("{} {what}", process.name())
        });
        said.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn targets(&self) -> Targets {
        Targets {
            members: self.members.len(),
            hosts: self.lab.as_ref().map_or(0, |lab| lab.hosts().len()),
            separate_manager: self.manager.is_some(),
            disk: self.disk.is_some(),
        }
    }

    /// Where the members listen.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The hosts of the clients.
    pub(crate) fn client_host(&self, client: usize) -> Option<Host> {
        let hosts = self.lab.as_ref()?.hosts();
        hosts.get(hosts.len() - 1 - client % CLIENT_HOSTS).cloned()
    }

    /// An `outlive` command on a client's host.
    pub(crate) fn client_program(&self, arguments: &[&str]) -> Program {
        Program {
            name: "client".to_owned(),
            host: self.client_host(0),
            path: self.shape.program.clone(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: vec![("OUTLIVE_CONTEXT".to_owned(), self.context.display().to_string())],
        }
    }

    /// Makes the region of the checkpoint workload.
    pub(crate) fn create_ledger(&self) -> Result<(), ChaosError> {
        let create = ["region", "create", LEDGER, "--size", LEDGER_SIZE];
        let output = self.client_program(&create).command().output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(ChaosError::Setup(format!("outlive {}: {said}", create.join(" "))))
    }

    /// Starts again what has ended.
    pub(crate) fn tend(&mut self) -> Result<(), ChaosError> {
        for process in self.processes_mut() {
            process.tend()?;
        }
        Ok(())
    }

    /// Whom a fault of a member hits: mostly whoever is primary, if that is known, since it tells most.
    fn member(&self, planned: &Planned) -> usize {
        let primary = self
            .members
            .iter()
            .position(|member| member.told().role == "primary");
        let named = planned.which % self.members.len();
        if planned.degree > 40 {
            primary.unwrap_or(named)
        } else {
            named
        }
    }

    /// Begins a fault. Returns whom or what it hits.
    pub(crate) fn begin(&mut self, planned: &Planned) -> String {
        let again_at = Instant::now() + Duration::from_millis(planned.for_ms);
        let member = self.member(planned);
        self.hit.push((*planned, member));
        match planned.kind {
            Kind::KillMember => self.members[member].kill(Some(again_at)),
            Kind::StopMember => self.members[member].ask_to_end(again_at),
            Kind::PauseMember => self.members[member].pause(),
            Kind::KillUnit => self.unit.kill(Some(again_at)),
            Kind::StopUnit => self.unit.ask_to_end(again_at),
            Kind::PauseUnit => self.unit.pause(),
            Kind::KillManager | Kind::StopManager | Kind::PauseManager => {
                if let Some(manager) = &mut self.manager {
                    match planned.kind {
                        Kind::KillManager => manager.kill(Some(again_at)),
                        Kind::StopManager => manager.ask_to_end(again_at),
                        _ => manager.pause(),
                    }
                }
            }
            // The workload does it to itself.
            Kind::KillWriter => {}
            Kind::DiskFull => {
                if let Some(Err(error)) = self.disk.as_ref().map(Disk::fill) {
                    eprintln!("the disk could not be filled: {error}");
                }
            }
            Kind::Busy => self.keep_busy(Duration::from_millis(planned.for_ms)),
            _ => {
                self.links.push(*planned);
                self.set_links();
            }
        }
        self.target(planned, member)
    }

    /// Whom or what a fault hits, for people.
    fn target(&self, planned: &Planned, member: usize) -> String {
        let host = |number: usize| {
            let processes: Vec<&str> = self.processes().map(Process::name).collect();
            match processes.get(number) {
                Some(name) => (*name).to_owned(),
                None => format!("clients {}", number - processes.len()),
            }
        };
        match planned.kind {
            Kind::KillMember | Kind::StopMember | Kind::PauseMember => self.members[member].name().to_owned(),
            Kind::Delay | Kind::Loss | Kind::Twice => {
                format!("{}, degree {}", host(planned.which), planned.degree)
            }
            Kind::HalfDeaf if planned.degree.is_multiple_of(2) => {
                format!("nothing from {}", host(planned.which))
            }
            Kind::HalfDeaf => format!("nothing to {}", host(planned.which)),
            Kind::Break => format!("{} and {}", host(planned.which), host(planned.other)),
            Kind::OneWay => format!("nothing from {} to {}", host(planned.which), host(planned.other)),
            Kind::Partition => {
                let hosts = 0..self.targets().hosts;
                let part: Vec<String> = hosts
                    .filter(|at| (planned.other >> at) & 1 == 1)
                    .map(host)
                    .collect();
                format!("{} apart from the rest", part.join(", "))
            }
            _ => String::new(),
        }
    }

    /// Ends it. A process that was killed comes back by itself.
    pub(crate) fn end(&mut self, planned: &Planned) {
        let place = self.hit.iter().position(|(fault, _)| fault == planned);
        let member = place.map_or(0, |place| self.hit.swap_remove(place).1);
        match planned.kind {
            Kind::PauseMember => self.members[member].resume(),
            Kind::PauseUnit => self.unit.resume(),
            Kind::PauseManager => {
                if let Some(manager) = &mut self.manager {
                    manager.resume();
                }
            }
            Kind::DiskFull => {
                if let Some(disk) = &self.disk {
                    disk.free();
                }
            }
            _ => {
                self.links.retain(|there| there != planned);
                self.set_links();
            }
        }
    }

    /// Ends every fault.
    pub(crate) fn heal(&mut self) {
        self.links.clear();
        self.hit.clear();
        self.set_links();
        self.busy.store(false, Ordering::Release);
        if let Some(disk) = &self.disk {
            disk.free();
        }
        for process in self.processes_mut() {
            process.bring_back();
        }
    }

    /// SIGKILL to everybody, and a start from what the medium holds.
    pub(crate) fn restart_everything(&mut self) -> Result<(), ChaosError> {
        for process in self.processes_mut() {
            process.kill(None);
        }
        self.start_all()
    }

    /// Ends everything in order and checks the medium offline. Returns what is wrong.
    pub(crate) fn stop_and_check(&mut self) -> Result<Vec<String>, ChaosError> {
        let mut wrong = Vec::new();
        for process in self.members.iter_mut().rev().chain(&mut self.manager) {
            let status = process.stop();
            if !status.is_some_and(|status| status.success()) {
                wrong.push(format!("{} did not end cleanly: {status:?}", process.name()));
            }
        }
        let status = self.unit.stop();
        if !status.is_some_and(|status| status.success()) {
            wrong.push(format!("{} did not end cleanly: {status:?}", self.unit.name()));
        }
        let output = Command::new(&self.shape.program)
            .args(["fsck", "--json"])
            .arg(&self.medium)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let found = [output.stdout, output.stderr].concat();
            wrong.push(format!("fsck: {}", String::from_utf8_lossy(&found).trim()));
        }
        Ok(wrong)
    }

    pub(crate) fn takeovers(&self) -> u64 {
        self.members.iter().map(|member| member.told().takeovers).sum()
    }

    /// How processes ended by themselves, each with its name.
    pub(crate) fn ended_by_themselves(&self) -> Vec<String> {
        self.processes()
            .flat_map(|process| {
                let name = process.name();
                process
                    .ended_by_itself
                    .iter()
                    .map(move |how| format!("{name}: {how}"))
            })
            .collect()
    }

    /// Panics in their logs.
    pub(crate) fn panics(&self) -> Vec<String> {
        self.processes()
            .flat_map(|process| {
                let name = process.name().to_owned();
                process
                    .panics()
                    .into_iter()
                    .map(move |line| format!("{name}: {line}"))
            })
            .collect()
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        std::iter::once(&self.unit)
            .chain(&self.manager)
            .chain(&self.members)
    }

    fn processes_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        std::iter::once(&mut self.unit)
            .chain(&mut self.manager)
            .chain(&mut self.members)
    }

    fn set_links(&self) {
        if let Some(lab) = &self.lab {
            lab.set_links(|from, to| {
                let of_each = self.links.iter().map(|fault| link(fault, from, to));
                of_each.fold(Link::default(), Link::and)
            });
        }
    }

    /// Twice as many busy threads as there are processors.
    fn keep_busy(&self, time: Duration) {
        self.busy.store(true, Ordering::Release);
        let until = Instant::now() + time;
        let threads = 2 * std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            let busy = self.busy.clone();
            std::thread::spawn(move || {
                while busy.load(Ordering::Acquire) && Instant::now() < until {
                    std::hint::spin_loop();
                }
            });
        }
    }
}

/// What one fault does to the frames from one host to another.
fn link(fault: &Planned, from: usize, to: usize) -> Link {
    let touches = from == fault.which || to == fault.which;
    let clean = Link::default();
    match fault.kind {
        Kind::Delay if touches => {
            let late = Duration::from_micros(300 * u64::from(fault.degree));
            Link {
                delay: late,
                jitter: late,
                ..clean
            }
        }
        Kind::Loss if touches => Link {
            loss_permille: 2 * fault.degree,
            ..clean
        },
        Kind::Twice if touches => Link {
            twice_permille: 5 * fault.degree,
            ..clean
        },
        kind => Link {
            cut: match kind {
                Kind::Partition => (fault.other >> from) & 1 != (fault.other >> to) & 1,
                Kind::Break => [(from, to), (to, from)].contains(&(fault.which, fault.other)),
                Kind::OneWay => (from, to) == (fault.which, fault.other),
                Kind::HalfDeaf if fault.degree.is_multiple_of(2) => from == fault.which,
                Kind::HalfDeaf => to == fault.which,
                _ => false,
            },
            ..clean
        },
    }
}

/// The folder of a run, and what is left of earlier ones unmounted.
pub(crate) fn prepare(disk: bool) -> Result<tempfile::TempDir, ChaosError> {
    if disk {
        crate::disk::unmount_stale();
    }
    let prefix = format!("{}{}-", crate::disk::FOLDER_PREFIX, std::process::id());
    Ok(tempfile::TempDir::with_prefix(prefix)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: Kind, which: usize, other: usize, degree: u32) -> Planned {
        Planned {
            at_ms: 0,
            for_ms: 1,
            kind,
            which,
            other,
            degree,
        }
    }

    #[test]
    fn faults_of_the_network_hit_whom_they_name() {
        let cut = |fault: &Planned| -> Vec<(usize, usize)> {
            let pairs = (0..4).flat_map(|from| (0..4).map(move |to| (from, to)));
            pairs.filter(|(from, to)| link(fault, *from, *to).cut).collect()
        };
        assert_eq!(cut(&fault(Kind::OneWay, 1, 3, 5)), [(1, 3)]);
        assert_eq!(cut(&fault(Kind::Break, 1, 3, 5)), [(1, 3), (3, 1)]);
        assert_eq!(
            cut(&fault(Kind::HalfDeaf, 2, 0, 2)),
            [(2, 0), (2, 1), (2, 2), (2, 3)]
        );
        let parts = cut(&fault(Kind::Partition, 0, 0b0011, 5));
        assert!(parts.contains(&(0, 2)) && parts.contains(&(3, 1)));
        assert!(!parts.contains(&(0, 1)) && !parts.contains(&(2, 3)));
        assert_eq!(link(&fault(Kind::Loss, 1, 0, 50), 1, 2).loss_permille, 100);
        assert_eq!(link(&fault(Kind::Loss, 1, 0, 50), 0, 2), Link::default());
    }
}
