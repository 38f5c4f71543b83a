//! Curves drawn in characters, for a terminal.

use ratatui_core::{buffer::Buffer, layout::Rect, symbols::Marker, widgets::Widget};
use ratatui_widgets::{
    block::Block,
    chart::{Axis, Chart, Dataset, GraphType},
};

use super::count;

/// Characters of a picture.
const SIZE: Rect = Rect { x: 0, y: 0, width: 96, height: 18 };
/// What curves are drawn with, so that they can be told apart without colour.
const MARKERS: [(Marker, &str); 3] = [(Marker::Braille, "⠒"), (Marker::Dot, "•"), (Marker::Block, "█")];
/// Points that are drawn of a curve: each is the mean of its share of the values.
const POINTS: usize = 40;

/// A picture of up to three curves: each has a name, and values at 1, 2, 3, ... on the axis that `along` names.
pub fn curves(title: &str, along: &str, curves: &[(&str, Vec<f64>)]) -> String {
    let smooth: Vec<Vec<(f64, f64)>> = curves.iter().map(|(_, values)| thinned(values)).collect();
    let longest = curves.iter().map(|(_, values)| values.len()).max().unwrap_or(0) as f64;
    let highest = smooth.iter().flatten().map(|(_, y)| *y).fold(0.0, f64::max);
    let datasets = smooth
        .iter()
        .zip(MARKERS)
        .map(|(points, (marker, _))| Dataset::default().marker(marker).graph_type(GraphType::Line).data(points));
    let at = |share: f64| format!("{:.2}", share * highest);
    let (first, last) = ("1".to_owned(), format!("{} {along}", count(longest as u64)));
    let chart = Chart::new(datasets.collect())
        .block(Block::new())
        .x_axis(Axis::default().bounds([1.0, longest.max(2.0)]).labels([first, last]))
        .y_axis(Axis::default().bounds([0.0, highest.max(f64::MIN_POSITIVE)]).labels([at(0.0), at(0.5), at(1.0)]))
        .legend_position(None);
    let mut buffer = Buffer::empty(SIZE);
    chart.render(SIZE, &mut buffer);
    let row = |y| (0..SIZE.width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    let names: Vec<String> =
        curves.iter().zip(MARKERS).map(|((name, _), (_, mark))| format!("{mark}{mark}{mark} {name}")).collect();
    let rows: Vec<String> = (0..SIZE.height).map(row).collect();
    format!("{title}   {}\n{}\n", names.join("   "), rows.join("\n"))
}

/// At most [`POINTS`] points of a curve, without values that are not finite.
fn thinned(values: &[f64]) -> Vec<(f64, f64)> {
    let each = values.len().div_ceil(POINTS).max(1);
    let mean = |(i, share): (usize, &[f64])| {
        let finite: Vec<f64> = share.iter().copied().filter(|value| value.is_finite()).collect();
        let middle = (i * each) as f64 + (share.len() as f64 + 1.0) / 2.0;
        (!finite.is_empty()).then(|| (middle, finite.iter().sum::<f64>() / finite.len() as f64))
    };
    values.chunks(each).enumerate().filter_map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_curve_falls() {
        let falling = (0..100).map(|step| 2.0 - 0.02 * f64::from(step)).collect();
        let picture = curves("loss", "updates", &[("SFT", falling), ("WMSS", vec![1.0, f64::NAN, 0.5])]);
        let rows: Vec<&str> = picture.lines().collect();
        assert!(rows[0].contains("SFT") && rows[0].contains("WMSS"), "{picture}");
        let first_mark = |row: &str| row.chars().position(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
        let columns: Vec<usize> = rows[1..].iter().filter_map(|row| first_mark(row)).collect();
        assert!(columns.len() > 8 && columns.is_sorted(), "{picture}");
        assert!(picture.contains("100 updates"), "{picture}");
    }
}
