//! Plots as SVG: bars and lines, with axes, ticks and titles. Colours come from the page.

use std::fmt::Write;

use super::number::short;

/// The size of a plot in its own units, and the frame around its axes.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 306.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 42.0;
const BOTTOM: f64 = 48.0;
const INNER_WIDTH: f64 = WIDTH - LEFT - RIGHT;
const INNER_HEIGHT: f64 = HEIGHT - TOP - BOTTOM;
/// About the width of a character on a phone, where letters are larger.
const CHARACTER: f64 = 9.0;

/// A place on an axis, from 0 to 1, and its text.
pub(super) type Tick = (f64, String);

/// What bars and lines have in common.
pub(super) struct Plot {
    /// For those who cannot see it.
    pub(super) label: String,
    pub(super) x_title: String,
    pub(super) y_title: String,
    pub(super) x_ticks: Vec<Tick>,
    pub(super) y_ticks: Vec<Tick>,
    /// A vertical line.
    pub(super) mark: Option<Tick>,
}

/// A bar's height, from 0 to 1, and what a pointer on it shows.
pub(super) struct Bar {
    pub(super) height: f64,
    pub(super) tip: String,
}

/// A line through points: x and y, from 0 to 1, and what a pointer on it shows.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64, String)>,
}

/// Bars of equal width, side by side.
pub(super) fn bars(plot: &Plot, bars: &[Bar]) -> String {
    let width = 1.0 / bars.len().max(1) as f64;
    let mut inner = String::new();
    for (at, Bar { height, tip }) in bars.iter().enumerate() {
        let (left, right) = (x(at as f64 * width) + 0.7, x((at + 1) as f64 * width) - 0.7);
        let (top, bottom) = (y(*height), y(0.0));
        // What is not nothing can be seen.
        let top = if *height > 0.0 { top.min(bottom - 1.5) } else { top };
        let bar = right - left;
        let _ = write!(
            inner,
            "<g><title>{}</title><rect class=\"hit\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{bar:.1}\" \
             height=\"{INNER_HEIGHT}\"/><rect class=\"bar\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{bar:.1}\" \
             height=\"{:.1}\"/></g>",
            escaped(tip),
            bottom - top
        );
    }
    framed(plot, &inner)
}

/// Lines, told apart by colour and by dashes.
pub(super) fn lines(plot: &Plot, lines: &[Line]) -> String {
    let (mut inner, mut left) = (String::new(), LEFT);
    for (number, Line { name, points }) in lines.iter().enumerate() {
        let path: Vec<String> = points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let _ = write!(inner, "<polyline class=\"line s{number}\" points=\"{}\"/>", path.join(" "));
        for (across, up, tip) in points {
            let (x, y, tip) = (x(*across), y(*up), escaped(tip));
            let class = if points.len() > 20 { "hit" } else { "dot" };
            let _ = write!(
                inner,
                "<circle class=\"{class} s{number}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{tip}</title></circle>"
            );
        }
        let _ = write!(
            inner,
            "<line class=\"line s{number}\" x1=\"{left:.1}\" y1=\"10\" x2=\"{:.1}\" y2=\"10\"/><text x=\"{:.1}\" \
             y=\"14.5\">{}</text>",
            left + 24.0,
            left + 29.0,
            escaped(name)
        );
        left += 42.0 + CHARACTER * name.chars().count() as f64;
    }
    framed(plot, &inner)
}

/// Round numbers from 0 on that mark an axis up to `most`, and the number at its end.
pub(super) fn count_ticks(most: f64) -> (Vec<Tick>, f64) {
    let step = [1.0, 2.0, 5.0].into_iter().flat_map(|digit| (-4..16).map(move |e| digit * 10_f64.powi(e)));
    let step = step.filter(|step| most / step <= 5.0).fold(f64::INFINITY, f64::min);
    if !step.is_finite() || most <= 0.0 {
        return (vec![(0.0, "0".to_owned())], 1.0);
    }
    let end = (most / step).ceil() * step;
    let ticks = (0..=(end / step).round() as u32).map(|n| (f64::from(n) * step / end, short(f64::from(n) * step)));
    (ticks.collect(), end)
}

/// Ticks that are far enough apart for their texts: every n-th of them.
pub(super) fn thinned(ticks: Vec<Tick>) -> Vec<Tick> {
    let every = |step: usize| ticks.iter().step_by(step).cloned().collect::<Vec<_>>();
    (1..ticks.len()).map(every).find(|ticks| fits(ticks)).unwrap_or_else(|| every(ticks.len().max(1)))
}

/// Whether the texts have room side by side.
pub(super) fn fits(ticks: &[Tick]) -> bool {
    let longest = ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
    ticks.len() as f64 * CHARACTER * (longest as f64 + 1.2) <= INNER_WIDTH + LEFT
}

/// Powers of ten that mark a logarithmic axis around these numbers, and the function from a number to its place.
pub(super) fn log_ticks(numbers: impl Iterator<Item = f64> + Clone) -> (Vec<Tick>, impl Fn(f64) -> f64) {
    let (low, high) = numbers.fold((1.0_f64, 1.0_f64), |(low, high), number| (low.min(number), high.max(number)));
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil().max(1.0) as i32);
    let place = move |number: f64| (number.log10() - f64::from(first)) / f64::from(last - first);
    ((first..=last).map(|e| (place(10_f64.powi(e)), short(10_f64.powi(e)))).collect(), place)
}

fn x(share: f64) -> f64 {
    LEFT + share * INNER_WIDTH
}

fn y(share: f64) -> f64 {
    TOP + (1.0 - share) * INNER_HEIGHT
}

/// The axes around a plot's inner part.
fn framed(plot: &Plot, inner: &str) -> String {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let label = escaped(&plot.label);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">");
    for (at, text) in &plot.y_ticks {
        let (y, text) = (y(*at), escaped(text));
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/><text class=\"end\" \
             x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            LEFT - 6.0,
            y + 4.5
        );
    }
    out += inner;
    let _ = write!(out, "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/>");
    for (at, text) in &plot.x_ticks {
        let (x, text) = (x(*at), escaped(text));
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{bottom}\" x2=\"{x:.1}\" y2=\"{:.1}\"/><text class=\"middle\" \
             x=\"{x:.1}\" y=\"{:.1}\">{text}</text>",
            bottom + 4.0,
            bottom + 18.0
        );
    }
    if let Some((at, text)) = plot.mark.as_ref().filter(|(at, _)| (0.0..=1.0).contains(at)) {
        let (x, is_right) = (x(*at), *at > 0.5);
        let _ = write!(
            out,
            "<line class=\"mark\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom}\"/><text class=\"mark{}\" \
             x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            TOP - 12.0,
            if is_right { " end" } else { "" },
            x + if is_right { -5.0 } else { 5.0 },
            TOP - 4.0,
            escaped(text)
        );
    }
    let (middle_x, middle_y) = (LEFT + INNER_WIDTH / 2.0, TOP + INNER_HEIGHT / 2.0);
    let (x_title, y_title) = (escaped(&plot.x_title), escaped(&plot.y_title));
    let _ = write!(
        out,
        "<text class=\"title\" x=\"{middle_x}\" y=\"{}\">{x_title}</text><text class=\"title\" x=\"12\" \
         y=\"{middle_y}\" transform=\"rotate(-90 12 {middle_y})\">{y_title}</text></svg>",
        HEIGHT - 8.0
    );
    out
}

/// Text as it is written in HTML and in its attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
