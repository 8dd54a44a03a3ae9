//! The library against a real unit and manager over TCP on loopback, one behaviour per file.

mod a_backup_can_be_ahead;
mod a_backup_follows;
mod a_deleted_region_is_gone_for_its_readers;
mod a_fenced_primary_changes_nothing;
mod a_full_journal_refuses;
mod a_lost_unit_comes_back;
mod a_manager_can_be_away;
mod a_stopped_primary_is_fenced;
mod access_is_stored_with_the_region;
mod appended_sets_follow;
mod clear_hides_the_sets;
mod commits_are_futures;
mod corruption_is_found;
mod earlier_sets_are_kept;
mod everybody_can_die;
mod failure_is_noticed;
mod many_threads_append;
mod raw_regions_are_plain_memory;
mod readers_do_not_disturb;
mod receipts_tell_the_truth;
mod regions_are_managed;
mod regions_grow;
mod save_replaces_what_was_there;
mod support;
mod takeover_reads_only_what_was_unread;
mod what_is_kept_is_bounded;
