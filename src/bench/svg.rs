//! A picture of bars: one group of bars per entry, one bar per machine, the fastest of each entry as long as the column.

use std::fmt::Write as _;

use super::{
    compare::{Comparison, Line},
    results::figure,
};

const WIDTH: usize = 960;
const NAMES: usize = 380;
const BARS: usize = 420;
const BAR: usize = 14;
const GAP: usize = 8;
const HEADING: usize = 30;
const MARGIN: usize = 16;
const LEGEND: usize = 36;
/// Told apart by people who see fewer colours too (Okabe & Ito 2008), dark enough for white paper.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// Text that stands between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn colour(i: usize) -> &'static str {
    COLOURS[i % COLOURS.len()]
}

impl Comparison {
    /// The same as a picture: bars per entry and machine, the longest of each entry being the fastest.
    pub fn svg(&self) -> String {
        let (lines, legend) = (self.lines(), self.legend());
        let mut body = String::new();
        let mut y = MARGIN;
        for (i, text) in legend.iter().enumerate() {
            let _ = writeln!(body, r#"<rect x="{MARGIN}" y="{y}" width="12" height="12" fill="{}"/>"#, colour(i));
            let (device, rest) = text.split_once("; ").unwrap_or((text, ""));
            for (line, text) in [device, rest].into_iter().enumerate() {
                let y = y + 11 + line * 15;
                let _ = writeln!(body, r#"<text x="{}" y="{y}">{}</text>"#, MARGIN + 20, escaped(text));
            }
            y += LEGEND;
        }
        let mut group = "";
        for line in &lines {
            if line.group != group {
                group = line.group;
                y += HEADING;
                let _ = writeln!(body, r#"<text x="{MARGIN}" y="{}" class="group">{}</text>"#, y - 8, escaped(group));
            }
            y = entry(&mut body, line, y);
        }
        let height = y + MARGIN;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">
<style>text {{ font: 12px sans-serif; fill: #1a1a1a }} .group {{ font-weight: bold; font-size: 14px }}</style>
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
{body}</svg>
"##
        )
    }
}

/// One entry's bars from `top` on; returns where the next may begin.
fn entry(body: &mut String, line: &Line<'_>, top: usize) -> usize {
    let speeds: Vec<Option<f64>> = (0..line.medians.len()).map(|i| line.speed(i)).collect();
    let fastest = speeds.iter().flatten().fold(f64::MIN_POSITIVE, |most, speed| most.max(*speed));
    let height = speeds.len() * BAR;
    let middle = top + height / 2 + 4;
    let _ = writeln!(body, r#"<text x="{NAMES}" y="{middle}" text-anchor="end">{}</text>"#, escaped(line.name));
    for (i, (speed, median)) in speeds.iter().zip(&line.medians).enumerate() {
        let y = top + i * BAR;
        let length = speed.map_or(0.0, |speed| speed / fastest * BARS as f64);
        let said = median.map_or("not measured".into(), |median| format!("{} {}", figure(median), line.unit.name()));
        let x = NAMES + 10;
        let _ = writeln!(
            body,
            r#"<rect x="{x}" y="{y}" width="{length:.1}" height="{}" fill="{}"/>"#,
            BAR - 2,
            colour(i)
        );
        let _ = writeln!(body, r#"<text x="{:.1}" y="{}">{said}</text>"#, x as f64 + length + 6.0, y + 10);
    }
    top + height + GAP
}
