//! The commands, one file each.

pub(crate) mod access;
pub(crate) mod append;
pub(crate) mod clear;
mod control;
pub(crate) mod demo;
pub(crate) mod fsck;
pub(crate) mod kv;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod manager;
pub(crate) mod region;
pub(crate) mod save;
pub(crate) mod scrub;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod switchover;
pub(crate) mod takeover;
pub(crate) mod unit;
pub(crate) mod watch;

use crate::arguments::Command;
use crate::failure::Failure;
use crate::invocation::Invocation;

/// Carries out one command.
pub(crate) fn run(command: &Command, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        Command::Serve(serve) => serve.run(invocation),
        Command::Unit(unit) => unit.run(invocation),
        Command::Manager(manager) => manager.run(invocation),
        Command::Access(access) => access.run(invocation),
        Command::Region(region) => region.run(invocation),
        Command::Save(save) => save.run(invocation),
        Command::Append(append) => append.run(invocation),
        Command::Load(load) => load.run(invocation),
        Command::Log(log) => log.run(invocation),
        Command::Watch(watch) => watch.run(invocation),
        Command::Clear(clear) => clear.run(invocation),
        Command::Takeover(takeover) => takeover.run(invocation),
        Command::Switchover(switchover) => switchover.run(invocation),
        Command::Status(status) => status.run(invocation),
        Command::Fsck(fsck) => fsck.run(invocation),
        Command::Scrub(scrub) => scrub.run(invocation),
        Command::Kv(kv) => kv.run(invocation),
        Command::Demo(demo) => demo.run(invocation),
    }
}
