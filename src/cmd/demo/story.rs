//! What the demo prints: a line for each step that succeeded, with the time it took, and tables.

use std::io::Write;
use std::time::{Duration, Instant};

use super::super::Stop;

/// A story in progress.
pub(super) struct Story {
    took: Duration,
}

impl Story {
    pub(super) fn new() -> Self {
        Self { took: Duration::ZERO }
    }

    /// Runs a step and notes how long it took, for [`Self::tell`].
    pub(super) async fn step<T>(&mut self, work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
        let began = Instant::now();
        let result = work.await;
        self.took = began.elapsed();
        result
    }

    /// Tells what the last step did.
    pub(super) fn tell(&self, what: &str) {
        self.line(&format!("{:>10}  {what}", duration(self.took)));
    }

    /// A line before the steps.
    pub(super) fn title(&self, text: &str) {
        self.line(text);
        self.line("");
    }

    /// A table under the command that shows it.
    pub(super) fn table(&self, command: &str, table: &str) {
        self.line(&format!("\n$ {command}\n{}", table.trim_end()));
    }

    /// A line as it is. Nobody reading is no reason to fail.
    pub(super) fn line(&self, text: &str) {
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

fn duration(took: Duration) -> String {
    let millis = took.as_secs_f64() * 1000.0;
    match millis {
        ..10.0 => format!("{millis:.1} ms"),
        ..10_000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_as_many_digits_as_matter() {
        assert_eq!(duration(Duration::from_micros(1234)), "1.2 ms");
        assert_eq!(duration(Duration::from_millis(87)), "87 ms");
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3 s");
    }
}
