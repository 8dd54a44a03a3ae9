//! One run of the command: what its arguments ask of every command alike.

use std::path::PathBuf;
use std::time::Duration;

use outlive::threads::check_room;
use outlive::{Context, Session, SessionOptions};

use crate::arguments::Shared;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// A session's control thread, what blocks beside it, and a primary's own.
const SESSION_THREADS: usize = 3;

/// What every command gets.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) output: Output,
    pub(crate) retry_for: Duration,
    context: Option<PathBuf>,
}

impl Invocation {
    pub(crate) fn new(shared: &Shared) -> Self {
        Self {
            output: Output::new(shared.json),
            retry_for: shared.retry_for,
            context: shared.context.clone(),
        }
    }

    /// The context file.
    pub(crate) fn context(&self) -> Result<Context, Failure> {
        Ok(Context::discover(self.context.as_deref())?)
    }

    /// Connects to the manager that the context file names.
    pub(crate) fn session(&self) -> Result<Session, Failure> {
        let options = SessionOptions {
            retry_for: self.retry_for,
        };
        let context = self.context()?;
        check_room(SESSION_THREADS)
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot start threads: {error}")))?;
        Ok(Session::connect_with(&context, options)?)
    }

    /// Where the context file is, or is to be.
    pub(crate) fn context_path(&self) -> Result<PathBuf, Failure> {
        match &self.context {
            Some(path) => Ok(path.clone()),
            None => Ok(Context::default_path()?),
        }
    }
}
