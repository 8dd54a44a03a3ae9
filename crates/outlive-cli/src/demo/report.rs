//! What the demo shows at its end.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::ledger::Tally;
use super::member::Figures;
use crate::output::size;
use crate::views::{duration_text, micros};

/// One takeover.
#[derive(Clone, Debug)]
pub(crate) struct Takeover {
    pub(crate) figures: Figures,
    /// The longest time in which no client got a reply.
    pub(crate) silence: Duration,
}

/// The run.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) acknowledged: u64,
    pub(crate) tally: Tally,
    pub(crate) takeovers: Vec<Takeover>,
    pub(crate) took: Duration,
    pub(crate) clients: u64,
    pub(crate) seed: u64,
    /// Where everything was kept, if it was.
    pub(crate) folder: Option<std::path::PathBuf>,
}

impl Takeover {
    /// From the kill to the new primary serving.
    fn total_us(&self) -> u64 {
        let figures = &self.figures;
        figures.detect_us + figures.fence_us + figures.read_us + figures.resume_us
    }

    fn json(&self) -> Value {
        let figures = &self.figures;
        json!({
            "detect_us": figures.detect_us,
            "fence_us": figures.fence_us,
            "read_us": figures.read_us,
            "resume_us": figures.resume_us,
            "total_us": self.total_us(),
            "unread_sets": figures.unread_sets,
            "unread_bytes": figures.unread_bytes,
            "generation": figures.generation,
            "silence_us": micros(self.silence),
        })
    }
}

impl Report {
    /// Acknowledged writes that are there.
    pub(crate) fn recovered(&self) -> u64 {
        self.acknowledged.saturating_sub(self.tally.lost)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "acknowledged": self.acknowledged,
            "recovered": self.recovered(),
            "lost": self.tally.lost,
            "duplicated": self.tally.duplicated,
            "takeovers": self.takeovers.iter().map(Takeover::json).collect::<Vec<_>>(),
            "findings": self.tally.findings,
            "seconds": self.took.as_secs_f64(),
            "clients": self.clients,
            "seed": self.seed,
            "folder": self.folder,
        })
    }

    pub(crate) fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header([
            "takeover",
            "detect",
            "fence",
            "read",
            "resume",
            "total",
            "no replies for",
            "unread sets",
            "unread",
        ]);
        for (takeover, number) in self.takeovers.iter().zip(1..) {
            let figures = &takeover.figures;
            table.add_row([
                format!("{number}"),
                duration_text(figures.detect_us),
                duration_text(figures.fence_us),
                duration_text(figures.read_us),
                duration_text(figures.resume_us),
                duration_text(takeover.total_us()),
                duration_text(micros(takeover.silence)),
                figures.unread_sets.to_string(),
                size(figures.unread_bytes),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut lines = vec![
            table.to_string(),
            String::new(),
            format!("acknowledged {:>10}", self.acknowledged),
            format!("recovered    {:>10}", self.recovered()),
            format!("lost         {:>10}", self.tally.lost),
            format!("duplicated   {:>10}", self.tally.duplicated),
        ];
        lines.extend(
            self.tally
                .findings
                .iter()
                .map(|finding| format!("wrong: {finding}")),
        );
        if let Some(folder) = &self.folder {
            lines.push(format!("kept in {}", folder.display()));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lost: u64) -> Report {
        Report {
            acknowledged: 100,
            tally: Tally {
                lost,
                duplicated: 0,
                findings: Vec::new(),
            },
            takeovers: vec![Takeover {
                figures: Figures {
                    detect_us: 1,
                    fence_us: 2,
                    read_us: 3,
                    resume_us: 4,
                    ..Figures::default()
                },
                silence: Duration::from_millis(5),
            }],
            took: Duration::from_secs(1),
            clients: 4,
            seed: 7,
            folder: None,
        }
    }

    #[test]
    fn the_object_has_every_field_that_is_promised() {
        let value = report(3).json();
        assert_eq!(value["acknowledged"], 100);
        assert_eq!(value["recovered"], 97);
        assert_eq!(value["lost"], 3);
        assert_eq!(value["duplicated"], 0);
        let takeover = &value["takeovers"][0];
        for (field, figure) in [
            ("detect_us", 1),
            ("fence_us", 2),
            ("read_us", 3),
            ("resume_us", 4),
            ("total_us", 10),
            ("unread_sets", 0),
            ("unread_bytes", 0),
        ] {
            assert_eq!(takeover[field], figure, "{field}");
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_takeover() {
        let text = report(0).text();
        assert!(text.contains("10 us") && text.contains("5000 us"), "{text}");
        assert!(text.contains("lost                  0"), "{text}");
    }
}
