//! Progress on standard error, only where a person sees it.

use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Less than this is there before a bar could be read.
const WORTH_A_BAR_BYTES: u64 = 8 << 20;

/// A bar over `total` bytes, or a counter where the total is not known.
pub(crate) fn bytes(what: &'static str, total: Option<u64>) -> ProgressBar {
    let small = total.is_some_and(|total| total < WORTH_A_BAR_BYTES);
    if small || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
        None => "{msg} {spinner} {bytes} {bytes_per_sec}",
    };
    bar.set_style(
        ProgressStyle::with_template(template)
            .expect("the template is well-formed")
            .progress_chars("=> "),
    );
    bar.set_message(what);
    bar
}

/// A spinner for work whose length nobody knows.
pub(crate) fn spinner(what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Moves the bar as bytes are read.
pub(crate) struct Counted<R> {
    pub(crate) inner: R,
    pub(crate) bar: ProgressBar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.bar.inc(count as u64);
        Ok(count)
    }
}
