//! Two plots as SVG, written by hand: cost against size, and rates side by side. Both axes are logarithmic where
//! the numbers span decades.

use std::fmt::Write as _;
use std::time::Duration;

use crate::growth::{self, Point};
use crate::report::{Results, number};
use crate::stats::{Sample, count};
use crate::throughput;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// Colours that stay apart for colour-blind readers.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
/// A dash for each endpoint.
const DASHES: [&str; 3] = ["none", "7 4", "2 3"];

/// What a curve shows of a point.
type Curve = fn(&Point) -> Option<Duration>;

/// A logarithmic scale from whole decade to whole decade.
struct Scale {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Scale {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for value in values.filter(|value| *value > 0.0) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        let low = decade(low.log10().floor());
        let high = decade(high.log10().ceil()).max(low + 1);
        Self { low, high, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        self.from + (value.log10() - low) / (high - low) * (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low..=self.high).map(|exponent| 10f64.powi(exponent))
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the exponent of a number that was measured")]
fn decade(exponent: f64) -> i32 {
    exponent.clamp(-9.0, 12.0) as i32
}

fn open(title: &str) -> String {
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    text(&mut svg, LEFT, 28.0, "start", &format!("<tspan font-size=\"17\" font-weight=\"bold\">{title}</tspan>"));
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\">{content}</text>");
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>");
}

/// The vertical axis with its lines and label.
fn vertical(svg: &mut String, scale: &Scale, unit: &str) {
    for value in scale.decades() {
        let y = scale.at(value);
        line(svg, (LEFT, y), (WIDTH - RIGHT, y), "#ddd");
        text(svg, LEFT - 8.0, y + 4.0, "end", &tick(value));
    }
    let middle = f64::midpoint(TOP, HEIGHT - BOTTOM);
    let _ = writeln!(
        svg,
        "<text x=\"22\" y=\"{middle:.1}\" text-anchor=\"middle\" fill=\"#222\" transform=\"rotate(-90 22 {middle:.1})\">\
         {unit}</text>"
    );
}

fn tick(value: f64) -> String {
    if value >= 1.0 {
        number(value).trim_end_matches(".00").trim_end_matches(".0").to_owned()
    } else {
        format!("{value}")
    }
}

/// Medians of four operations against the ports in a network.
pub(crate) fn growth(results: &Results) -> String {
    let curves: [(&str, Curve); 4] = [
        ("bulk create 100", |point| point.bulk),
        ("list ≤ 1,000", |point| point.list),
        ("create", |point| point.create),
        ("delete", |point| point.delete),
    ];
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    let points = || results.growth.iter().flatten();
    let x = Scale::over(points().map(|point| count(point.ports)), LEFT, WIDTH - RIGHT);
    let values = points().flat_map(|point| curves.map(|(_, value)| value(point))).flatten().map(milliseconds);
    let y = Scale::over(values, HEIGHT - BOTTOM, TOP);
    let mut svg = open("Cost against the size of a network");
    vertical(&mut svg, &y, "median latency, ms");
    for value in x.decades() {
        let at = x.at(value);
        line(&mut svg, (at, TOP), (at, HEIGHT - BOTTOM), "#ddd");
        text(&mut svg, at, HEIGHT - BOTTOM + 20.0, "middle", &tick(value));
    }
    text(&mut svg, x.at(10f64.powf(f64::from(x.low + x.high) / 2.0)), HEIGHT - 14.0, "middle", "ports in the network");
    let mut legend = TOP + 10.0;
    for ((name, points), dash) in results.names.iter().zip(&results.growth).zip(DASHES.iter().cycle()) {
        for ((label, value), colour) in curves.iter().zip(COLOURS) {
            let path: Vec<(f64, f64)> = points
                .iter()
                .filter_map(|point| Some((x.at(count(point.ports)), y.at(milliseconds(value(point)?)))))
                .collect();
            if path.is_empty() {
                continue;
            }
            let joined: Vec<String> = path.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let stroke = format!("stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"");
            let _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" {stroke}/>", joined.join(" "));
            for (x, y) in path {
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
            let start = WIDTH - RIGHT + 20.0;
            let _ = writeln!(
                svg,
                "<line x1=\"{start}\" y1=\"{legend:.1}\" x2=\"{}\" y2=\"{legend:.1}\" {stroke}/>",
                start + 34.0
            );
            text(&mut svg, start + 42.0, legend + 4.0, "start", &format!("{}: {label}", escaped(name)));
            legend += 22.0;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Rates of the operations at the most clients each endpoint was measured with, as bars, and the floor.
pub(crate) fn rates(results: &Results) -> String {
    let operations = [
        throughput::CREATE,
        throughput::BULK,
        growth::LIST,
        throughput::SHOW_PORT,
        throughput::SHOW_NETWORK,
        throughput::DELETE,
    ];
    let rate = |operation: &str, endpoint: usize| {
        let best = results.clients.iter().filter_map(|clients| results.sample(operation, *clients, endpoint));
        best.map(Sample::rate).reduce(f64::max)
    };
    let floor = results.floors.first().and_then(|floor| {
        let rates = floor.samples.iter().map(|(_, sample)| sample.rate());
        rates.reduce(f64::max)
    });
    let endpoints = results.names.len();
    let all = operations.iter().flat_map(|operation| (0..endpoints).map(move |endpoint| rate(operation, endpoint)));
    let y = Scale::over(all.flatten().chain(floor), HEIGHT - BOTTOM, TOP);
    let mut svg = open("Operations a second, best of all numbers of clients");
    vertical(&mut svg, &y, "operations a second");
    let base = HEIGHT - BOTTOM;
    let group = (WIDTH - RIGHT - LEFT) / count(operations.len());
    let bar = group * 0.8 / count(endpoints.max(1) + 1);
    for (place, operation) in operations.iter().enumerate() {
        let start = LEFT + group * (count(place) + 0.1);
        for (endpoint, colour) in (0..endpoints).zip(COLOURS.iter().cycle()) {
            if let Some(rate) = rate(operation, endpoint) {
                draw_bar(&mut svg, (start + bar * count(endpoint), bar), (y.at(rate), base), colour, rate);
            }
        }
        if let (0, Some(floor)) = (place, floor) {
            draw_bar(&mut svg, (start + bar * count(endpoints), bar), (y.at(floor), base), "#999", floor);
        }
        for (row, words) in label_lines(operation).iter().enumerate() {
            text(&mut svg, start + group * 0.4, base + 18.0 + 15.0 * count(row), "middle", words);
        }
    }
    let mut legend = TOP + 10.0;
    let names = results.names.iter().map(|name| escaped(name)).zip(COLOURS.iter().copied().cycle());
    let floor_name = floor.map(|_| ("the same rows by hand".to_owned(), "#999"));
    for (name, colour) in names.chain(floor_name) {
        let start = WIDTH - RIGHT + 20.0;
        let y = legend - 10.0;
        let _ = writeln!(svg, "<rect x=\"{start}\" y=\"{y:.1}\" width=\"14\" height=\"14\" fill=\"{colour}\"/>");
        text(&mut svg, start + 22.0, legend + 2.0, "start", &name);
        legend += 22.0;
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_bar(svg: &mut String, (x, width): (f64, f64), (top, base): (f64, f64), colour: &str, value: f64) {
    let (inner, height) = (width * 0.9, base - top);
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{inner:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
    let label = format!("<tspan font-size=\"10\">{}</tspan>", number(value));
    text(svg, x + inner / 2.0, top - 4.0, "middle", &label);
}

/// A name on at most two lines, cut in the middle.
fn label_lines(name: &str) -> Vec<String> {
    let words: Vec<&str> = name.split(' ').collect();
    let half = words.len().div_ceil(2);
    words.chunks(half.max(1)).map(|words| words.join(" ")).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_span_whole_decades() {
        let scale = Scale::over([3.0, 400.0].into_iter(), 0.0, 300.0);
        assert_eq!((scale.low, scale.high), (0, 3));
        assert!((scale.at(10.0) - 100.0).abs() < 1e-9);
        assert_eq!(scale.decades().map(tick).collect::<Vec<_>>(), ["1", "10", "100", "1,000"]);
    }

    #[test]
    fn labels_have_two_lines() {
        assert_eq!(label_lines("bulk create 100 ports"), ["bulk create", "100 ports"]);
    }
}
