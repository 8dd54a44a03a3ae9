//! What every provider must do: one list of named cases that runs unchanged on all of them.
//!
//! A provider implements [`Harness`] (how it is served, connected to and, where it can be, interfered with) and is
//! named to [`run`], which prints a table of cases and providers. A case panics with what was expected where the
//! provider does not conform. What a provider has no way to show it says with [`Unable`] and its reason; that counts as
//! failed unless it stands on the list of what the provider is known to be unable to show.
//!
//! The cases promise what the design does and no more. No rule rests on the order in which operations that are in flight together are
//! placed, so no case asks for one.

mod admission;
mod bench;
mod connections;
mod granularity;
mod lines;
mod ordering;
mod persistence;
mod refusals;
mod report;
mod revocation;
mod sessions;
mod sizes;
mod visibility;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use crate::testing::TestTarget;
use crate::{Endpoint, FabricError, Ticket};

pub use report::{Provider, Report, Verdict, run};

/// How the suite reaches a provider.
pub trait Harness: Sized + Send + Sync + 'static {
    /// The provider's endpoint.
    type Endpoint: Endpoint + 'static;

    /// Serves `target` to endpoints with these settings.
    fn serve(target: Arc<TestTarget>, settings: Settings) -> Self;

    /// Connects to it.
    ///
    /// # Errors
    /// The provider's.
    fn connect(&self, ticket: &Ticket) -> Result<Self::Endpoint, FabricError>;

    /// Connects as a hostile initiator does: gives its own proof, whatever the target's is.
    ///
    /// # Errors
    /// The provider's.
    fn connect_blindly(&self, ticket: &Ticket) -> Result<(), FabricError>;

    /// Connects over a line that can be interfered with.
    ///
    /// # Errors
    /// Why the provider has no such line.
    fn connect_on_a_line(&self, ticket: &Ticket) -> Result<(Self::Endpoint, Box<dyn Line>), Unable>;

    /// Takes the target away, as when the unit is shut down.
    fn shut_down(&self);
}

/// How the endpoints of a [`Harness`] are set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Without any sign of progress for this long, an endpoint gives its connection up.
    pub op_timeout: Duration,
    /// Operations that may be in flight.
    pub window_ops: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            op_timeout: Duration::from_secs(10),
            window_ops: 4096,
        }
    }
}

/// What lies between one initiator and the target, for tests to interfere with.
pub trait Line: Send {
    /// From now on nothing travels, in either direction, and neither side is told: as when a host's power is gone, its
    /// process is stopped, or a cable is pulled. What is sent waits.
    fn fall_silent(&self);

    /// As [`fall_silent`](Self::fall_silent), once this many bytes more have travelled to the target: inside an operation, where
    /// the provider can be interrupted there.
    fn fall_silent_after(&self, bytes: u64);

    /// What waited travels on.
    fn heal(&self);

    /// Breaks it: both sides learn that the connection is lost.
    fn cut(&self);

    /// The initiator's host says that nothing more will come, and still takes what does.
    ///
    /// # Errors
    /// Why there is no such thing here.
    fn end_sending(&self) -> Result<(), Unable>;

    /// Bytes that no initiator of ours would send arrive at the target.
    ///
    /// # Errors
    /// Why there is no such thing here.
    fn inject(&self, bytes: &[u8]) -> Result<(), Unable>;
}

/// The provider has no way to show this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unable {
    /// Why.
    pub reason: String,
}

impl Unable {
    /// For this reason.
    pub fn because(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
        }
    }
}

/// One thing that every provider must do.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it is about.
    pub theme: &'static str,
    /// What must hold.
    pub name: &'static str,
    run: fn() -> Result<(), Unable>,
}

impl Case {
    /// Runs it in this thread.
    pub fn check(&self) -> Verdict {
        report::carry_out(self.run)
    }
}

/// What a case ends with where it does not panic.
trait Ending {
    fn verdict(self) -> Result<(), Unable>;
}

impl Ending for () {
    fn verdict(self) -> Result<(), Unable> {
        Ok(())
    }
}

impl Ending for Result<(), Unable> {
    fn verdict(self) -> Result<(), Unable> {
        self
    }
}

macro_rules! list {
    ($($theme:ident { $($name:ident)+ })+) => {
        /// The list, the same for each provider.
        pub fn cases<H: Harness>() -> Vec<Case> {
            vec![$($(Case {
                theme: stringify!($theme),
                name: stringify!($name),
                run: || $theme::$name::<H>().verdict(),
            }),+),+]
        }
    };
}

list! {
    granularity {
        any_offset_and_length
        every_offset_and_length_around_every_border
        neighbours_are_never_disturbed
        parts_are_placed_side_by_side
    }
    sizes {
        the_longest_operations_and_longer_ones
        odd_and_large_sizes
        nothing_at_all_is_an_operation_too
    }
    ordering {
        completions_come_in_the_order_of_posting
        a_write_after_a_completed_one_wins
        more_operations_than_the_window_holds
        a_small_window_holds_everything_in_turn
    }
    visibility {
        a_read_sees_the_writes_before_it
        what_is_placed_is_seen_by_everybody
        written_told_and_read
        a_read_beside_a_write_sees_each_byte_old_or_new
    }
    refusals {
        refusals_touch_nothing_and_the_connection_goes_on
        one_byte_too_far_is_refused
        readers_cannot_write
        a_key_of_another_connection_is_unknown
        refusals_between_operations_change_neither
        what_is_not_the_protocol_ends_its_connection_only
    }
    persistence {
        a_persist_covers_what_was_posted_before_it
        every_connection_has_its_own_persists
        a_medium_that_cannot_persist_refuses_to
        a_failed_medium_refuses_and_says_so
        after_a_failed_flush_nothing_is_acknowledged
    }
    revocation {
        nothing_lands_after_a_confirmed_stop
        a_stop_amid_large_writes_of_several_connections
        a_stop_of_whoever_fell_silent_inside_a_write_is_confirmed
        a_stop_ends_whoever_waits_for_its_window
        an_idle_connection_learns_that_it_was_stopped
        a_stop_is_for_its_connection_only
    }
    connections {
        connections_share_memory_and_nothing_else
        each_of_hundreds_has_its_own_key
        connections_come_and_go
    }
    lines {
        whoever_ends_its_sending_is_served_to_its_end
        a_silent_target_is_given_up
        a_silence_that_ends_in_time_costs_nothing
        after_a_loss_one_reads_compares_and_goes_on
        the_target_learns_of_a_lost_line
    }
    admission {
        a_ticket_is_good_for_one_connection
        a_ticket_that_many_show_lets_one_in
        a_wrong_secret_lets_nobody_in
        other_terms_let_nobody_in
        an_impostor_is_given_nothing
        a_ticket_survives_three_wrong_answers_and_not_four
    }
    sessions {
        the_session_tells_what_may_be_used
        the_target_learns_that_a_connection_closed
        an_endpoint_dropped_amid_work_is_closed
        a_target_that_is_gone_is_an_error
        a_target_that_goes_amid_work_leaves_nothing_open
        another_incarnation_says_so
        an_idle_connection_stays
    }
    waiting {
        a_wait_for_nothing_ends_with_its_timeout
        polling_alone_gets_everything_done
        a_descriptor_says_when_to_look
        an_endpoint_goes_from_thread_to_thread
    }
}
