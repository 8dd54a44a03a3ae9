//! `outlive switchover`: a planned hand-over without a lost request.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::quantity::parse_time;
use crate::views;

/// Ask a pair's primary to hand over to its backup
#[derive(Debug, Args)]
pub(crate) struct Switchover {
    /// The pair's name
    pair: String,
    /// How long the hand-over may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    timeout: Duration,
}

impl Switchover {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let done = invocation.session()?.switchover(&self.pair, self.timeout)?;
        let value = json!({
            "pair": self.pair,
            "old_primary": done.old_primary,
            "new_primary": done.new_primary,
            "took_us": views::micros(done.took),
        });
        invocation.output.result(&value, || {
            let took = views::duration_text(views::micros(done.took));
            format!(
                "{} handed over to {} in {took}",
                done.old_primary, done.new_primary
            )
        })
    }
}
