//! Ctrl-C and SIGTERM as a flag that loops look at.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::exit::Exit;
use crate::failure::Failure;

/// Set once a signal asked the process to end; a second one ends it at once.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP set the flag.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        let register = || -> io::Result<()> {
            for signal in [SIGINT, SIGTERM, SIGHUP] {
                // Order matters: the shutdown looks at the flag before this signal sets it.
                signal_hook::flag::register_conditional_shutdown(
                    signal,
                    i32::from(Exit::Interrupted.code()),
                    flag.clone(),
                )?;
                signal_hook::flag::register(signal, flag.clone())?;
            }
            Ok(())
        };
        register().map_err(|error| Failure::new(Exit::Failure, format!("cannot catch signals: {error}")))?;
        Ok(Self(flag))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A failure once the flag is set.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.is_set() {
            Err(Failure::new(Exit::Interrupted, "interrupted"))
        } else {
            Ok(())
        }
    }
}
