//! The networks: who reaches whom, and what becomes of what is on its way.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outlive::{Connecting, ControlStream, Transport};
use outlive_fabric::sim::{Network, SimAddress, SimOptions, Stray, Way};
use outlive_fabric::tcp::ConnectOptions;
use outlive_fabric::{ConnectionId, Endpoint, FabricError, Ticket};
use outlive_identity::ConnectError;
use tokio::sync::mpsc::UnboundedSender;

use super::judge::Judge;
use super::link::Watched;
use super::pipe::{Pipe, PipeEnd, pipe, travel};
use super::place::Place;
use crate::machine;

/// How long somebody who cannot get through waits before giving up.
const NO_ANSWER: Duration = Duration::from_millis(40);
/// Without an answer for this long a data connection counts as lost.
const OP_TIMEOUT: Duration = Duration::from_millis(400);

/// Where a server takes control connections.
pub(super) type Door = UnboundedSender<PipeEnd>;

/// Both networks of the world.
pub(super) struct Roads {
    pub(super) network: Network,
    pub(super) judge: Arc<Judge>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    unit: Option<SimAddress>,
    doors: [Option<Door>; 2],
    pipes: Vec<(Place, Place, Pipe)>,
    links: Vec<(Place, ConnectionId)>,
    blocked: BTreeSet<(Place, Place)>,
}

impl Roads {
    pub(super) fn new(seed: u64, judge: Arc<Judge>) -> Arc<Self> {
        let options = SimOptions {
            seed,
            latency: Duration::from_micros(5)..=Duration::from_micros(60),
            stray: Some(Stray {
                one_in: 200,
                latency: Duration::from_micros(500)..=Duration::from_millis(20),
            }),
            step: Duration::from_nanos(700),
            piece_bytes: 512,
            op_timeout: OP_TIMEOUT,
            ..SimOptions::default()
        };
        Arc::new(Self {
            network: Network::following(options, machine::now),
            judge,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_unit(&self, address: Option<SimAddress>) {
        machine::uninterrupted(|| self.state().unit = address);
    }

    /// Opens or closes the door of the unit or of the manager.
    pub(super) fn set_door(&self, of: Place, door: Option<Door>) {
        machine::uninterrupted(|| {
            let before = std::mem::replace(&mut self.state().doors[door_of(of)], door);
            drop(before);
        });
    }

    /// Breaks every connection of somebody who is gone.
    pub(super) fn cut(&self, place: Place) {
        machine::uninterrupted(|| {
            let (pipes, links) = {
                let mut state = self.state();
                let of_place = |(from, to, _): &(Place, Place, Pipe)| *from == place || *to == place;
                let pipes: Vec<_> = state.pipes.extract_if(.., |entry| of_place(entry)).collect();
                let links: Vec<_> = state.links.extract_if(.., |(from, _)| *from == place).collect();
                (pipes, links)
            };
            for (_, _, pipe) in pipes {
                pipe.cut();
            }
            for (_, link) in links {
                self.network.abandon(link);
            }
        });
    }

    /// Breaks the data connections of somebody, in the middle of what they carry.
    pub(super) fn lose_links(&self, place: Place, after_bytes: u64) {
        machine::uninterrupted(|| {
            let links: Vec<_> = self
                .state()
                .links
                .iter()
                .filter(|(from, _)| *from == place)
                .copied()
                .collect();
            for (_, link) in links {
                self.network.lose_after(link, after_bytes);
            }
        });
    }

    /// Breaks the control connections between two.
    pub(super) fn cut_calls(&self, from: Place, to: Place) {
        machine::uninterrupted(|| {
            let pipes: Vec<_> = {
                let mut state = self.state();
                let between = |entry: &mut (Place, Place, Pipe)| entry.0 == from && entry.1 == to;
                state.pipes.extract_if(.., between).collect()
            };
            pipes.into_iter().for_each(|(_, _, pipe)| pipe.cut());
        });
    }

    /// From now on nothing travels from one to the other, silently, or all that was held up does.
    pub(super) fn block(&self, from: Place, to: Place, blocked: bool) {
        machine::uninterrupted(|| {
            let mut state = self.state();
            if blocked {
                state.blocked.insert((from, to));
            } else {
                state.blocked.remove(&(from, to));
            }
            for (caller, server, pipe) in &state.pipes {
                if (*caller, *server) == (from, to) {
                    pipe.hold(0, blocked);
                } else if (*server, *caller) == (from, to) {
                    pipe.hold(1, blocked);
                }
            }
            for (place, link) in &state.links {
                let ways = [
                    ((*place, Place::Unit), Way::ToTarget),
                    ((Place::Unit, *place), Way::ToInitiator),
                ];
                if !ways.iter().any(|(pair, _)| *pair == (from, to)) {
                    continue;
                }
                if !blocked {
                    self.network.heal(*link);
                }
                for (pair, way) in ways {
                    if state.blocked.contains(&pair) {
                        self.network.hold(*link, way);
                    }
                }
            }
        });
    }

    /// Ends every partition.
    pub(super) fn heal(&self) {
        let blocked: Vec<_> = machine::uninterrupted(|| self.state().blocked.iter().copied().collect());
        for (from, to) in blocked {
            self.block(from, to, false);
        }
    }

    fn passes(&self, a: Place, b: Place) -> bool {
        let state = self.state();
        !state.blocked.contains(&(a, b)) && !state.blocked.contains(&(b, a))
    }

    /// A data connection to the unit.
    pub(super) fn data(&self, from: Place, ticket: &Ticket) -> Result<Box<dyn Endpoint>, FabricError> {
        let unreachable = |kind: io::ErrorKind| FabricError::Connect {
            address: "unit".into(),
            source: kind.into(),
        };
        if ticket.terms.rights.allows_write() {
            let (region, generation) = (ticket.terms.region, ticket.terms.generation);
            machine::uninterrupted(|| self.judge.granted(region, generation, from));
        }
        let unit = machine::uninterrupted(|| {
            let passes = self.passes(from, Place::Unit);
            passes.then(|| self.state().unit)
        });
        let Some(unit) = unit else {
            std::thread::sleep(NO_ANSWER);
            return Err(unreachable(io::ErrorKind::TimedOut));
        };
        let address = unit.ok_or_else(|| unreachable(io::ErrorKind::ConnectionRefused))?;
        let endpoint = machine::uninterrupted(|| {
            let endpoint = self.network.connect(address, ticket)?;
            self.state().links.push((from, endpoint.connection()));
            Ok(endpoint)
        })?;
        // It may have been cut off meanwhile.
        machine::uninterrupted(|| {
            let state = self.state();
            for (pair, way) in [
                ((from, Place::Unit), Way::ToTarget),
                ((Place::Unit, from), Way::ToInitiator),
            ] {
                if state.blocked.contains(&pair) {
                    self.network.hold(endpoint.connection(), way);
                }
            }
        });
        Ok(Box::new(Watched::new(endpoint)))
    }

    /// A control connection to the manager or to the unit's admin service.
    pub(super) async fn call(self: Arc<Self>, from: Place, to: Place) -> Result<PipeEnd, io::Error> {
        tokio::time::sleep(machine::uninterrupted(travel)).await;
        if !machine::uninterrupted(|| self.passes(from, to)) {
            tokio::time::sleep(NO_ANSWER).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        machine::uninterrupted(|| {
            let mut state = self.state();
            let door = state.doors[door_of(to)].clone();
            let door = door.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, far) = pipe();
            state.pipes.push((from, to, near.pipe()));
            drop(state);
            door.send(far)
                .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(near)
        })
    }
}

fn door_of(place: Place) -> usize {
    usize::from(place == Place::Manager)
}

/// How one process reaches everybody.
pub(super) struct Road {
    pub(super) from: Place,
    pub(super) roads: Arc<Roads>,
}

impl Transport for Road {
    fn control(&self, _: Duration) -> Connecting {
        let (roads, from) = (Arc::clone(&self.roads), self.from);
        Box::pin(async move {
            let stream = roads.call(from, Place::Manager).await;
            let stream = stream.map_err(|error| ConnectError::Unreachable(error.to_string()))?;
            Ok(Box::new(stream) as Box<dyn ControlStream>)
        })
    }

    fn data(&self, _: &str, ticket: &Ticket, _: &ConnectOptions) -> Result<Box<dyn Endpoint>, FabricError> {
        self.roads.data(self.from, ticket)
    }
}
