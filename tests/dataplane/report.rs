//! Medians of rounds in which all ways take turns.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::Result;

use super::path::Path;

pub(super) struct Report {
    title: String,
    /// The way that the others are compared with.
    base: &'static str,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    bits: Vec<f64>,
    packets: Vec<f64>,
}

impl Report {
    pub(super) fn new(title: &str, base: &'static str) -> Self {
        Self { title: title.to_owned(), base, rows: Vec::new() }
    }

    pub(super) fn measure(&mut self, ways: &[(String, Path)], rounds: usize) -> Result<()> {
        self.rows =
            ways.iter().map(|(name, _)| Row { name: name.clone(), bits: Vec::new(), packets: Vec::new() }).collect();
        for round in 0..rounds {
            for (row, (_, path)) in self.rows.iter_mut().zip(ways) {
                row.bits.push(path.throughput()?);
                row.packets.push(path.packets()?);
            }
            println!("round {} of {rounds}", round + 1);
        }
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut text = format!(
            "## {}\n\n| way | TCP Gbit/s | to {base} | small packets k/s | to {base} |\n|---|---|---|---|---|\n",
            self.title,
            base = self.base
        );
        let base = self.rows.iter().find(|row| row.name == self.base);
        let ratio = |value: f64, of: fn(&Row) -> &Vec<f64>| base.map_or(0.0, |base| value / median(of(base)));
        for row in &self.rows {
            let (bits, packets) = (median(&row.bits), median(&row.packets));
            let _ = writeln!(
                text,
                "| {} | {:.2} | {:.2} | {:.0} | {:.2} |",
                row.name,
                bits / 1e9,
                ratio(bits, |row| &row.bits),
                packets / 1e3,
                ratio(packets, |row| &row.packets)
            );
        }
        text
    }

    /// Shows it, and writes it to `bench` in the directory of what is built.
    pub(super) fn write(&self, name: &str) -> Result<()> {
        let text = self.markdown();
        println!("{text}");
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../bench");
        fs::create_dir_all(&target)?;
        Ok(fs::write(target.join(format!("{name}.md")), text)?)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
