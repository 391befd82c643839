//! Plots as SVG: a curve, stacked bars, shares. Strings alone; no scripts, no fonts from elsewhere.

use std::fmt::Write;

use super::figures::number;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
/// For up to seven parts, distinguishable on white.
const COLORS: [&str; 7] = ["#2563a8", "#d97706", "#1f8a5b", "#b3446c", "#6b7280", "#7c5cc4", "#0e8ea0"];

/// Text inside of XML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn open(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{0}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#333\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n",
        escape(title)
    )
}

/// Appends; a string always takes it.
fn put(svg: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = svg.write_fmt(what);
}

/// The next number above `most` that is round: 1, 2 or 5 with zeroes.
fn round_up(most: f64) -> f64 {
    let power = 10f64.powf(most.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.iter().map(|step| step * power).find(|round| *round >= most).unwrap_or(10.0 * power)
}

/// Lines across at quarters of `top`, with their values.
fn grid(svg: &mut String, top: f64, unit: &str, bottom: f64, height: f64) {
    for quarter in 0..=4 {
        let value = top * f64::from(quarter) / 4.0;
        let y = bottom - height * f64::from(quarter) / 4.0;
        put(svg, format_args!("<path stroke=\"#ddd\" d=\"M{LEFT} {y:.1}H{:.1}\"/>", WIDTH - RIGHT));
        put(
            svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                LEFT - 8.0,
                y + 4.0,
                number(value)
            ),
        );
    }
    put(svg, format_args!("<text x=\"8\" y=\"16\" fill=\"#666\">{}</text>\n", escape(unit)));
}

/// A curve through `points`, the area below it tinted; `x_unit` stands below the last value of x.
pub fn curve(title: &str, points: &[(f64, f64)], x_unit: &str, y_unit: &str) -> String {
    let (height, bottom) = (200.0, 230.0);
    let x_most = points.iter().map(|(x, _)| *x).fold(0.0, f64::max).max(1e-9);
    let top = round_up(points.iter().map(|(_, y)| *y).fold(0.0, f64::max));
    let place = |(x, y): &(f64, f64)| (LEFT + x / x_most * (WIDTH - LEFT - RIGHT), bottom - y / top * height);
    let path: String = points.iter().map(place).map(|(x, y)| format!("L{x:.1} {y:.1}")).collect();
    let path = path.replacen('L', "M", 1);
    let mut svg = open(title, 270.0);
    grid(&mut svg, top, y_unit, bottom, height);
    put(
        &mut svg,
        format_args!("<path fill=\"{0}\" fill-opacity=\"0.12\" d=\"{path}V{bottom}H{LEFT}Z\"/>", COLORS[0]),
    );
    put(
        &mut svg,
        format_args!("<path fill=\"none\" stroke=\"{}\" stroke-width=\"2\" d=\"{path}\"/>\n", COLORS[0]),
    );
    for quarter in 0..=4 {
        let value = x_most * f64::from(quarter) / 4.0;
        let x = place(&(value, 0.0)).0;
        put(
            &mut svg,
            format_args!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                bottom + 18.0,
                number(value)
            ),
        );
    }
    put(
        &mut svg,
        format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">{}</text>\n</svg>\n",
            WIDTH - RIGHT,
            bottom + 34.0,
            escape(x_unit)
        ),
    );
    svg
}

/// A bar for each name, its parts one above the other, in the order of `parts`.
pub fn stacks(title: &str, parts: &[&str], bars: &[(&str, Vec<f64>)], unit: &str) -> String {
    let (height, bottom) = (200.0, 230.0);
    let top = round_up(bars.iter().map(|(_, values)| values.iter().sum()).fold(0.0, f64::max));
    let mut svg = open(title, 290.0);
    grid(&mut svg, top, unit, bottom, height);
    let step = (WIDTH - LEFT - RIGHT) / bars.len().max(1) as f64;
    for (at, (name, values)) in bars.iter().enumerate() {
        let (x, wide) = (LEFT + step * (at as f64 + 0.25), step * 0.5);
        let mut y = bottom;
        for (part, value) in values.iter().enumerate() {
            let tall = value / top * height;
            y -= tall;
            let color = COLORS[part % COLORS.len()];
            put(
                &mut svg,
                format_args!(
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\" fill=\"{color}\"><title>{}: {}</title></rect>",
                    escape(parts[part]),
                    number(*value)
                ),
            );
        }
        let all = number(values.iter().sum());
        put(
            &mut svg,
            format_args!(
                "<text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"middle\">{all}</text>",
                x + wide / 2.0,
                y - 6.0
            ),
        );
        put(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                x + wide / 2.0,
                bottom + 18.0,
                escape(name)
            ),
        );
    }
    legend(&mut svg, parts, bottom + 42.0);
    svg + "</svg>\n"
}

/// Parts side by side.
fn legend(svg: &mut String, parts: &[&str], y: f64) {
    let step = (WIDTH - LEFT - RIGHT) / parts.len().max(1) as f64;
    for (at, part) in parts.iter().enumerate() {
        let x = LEFT + step * at as f64;
        put(
            svg,
            format_args!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{}\"/>",
                y - 9.0,
                COLORS[at % COLORS.len()]
            ),
        );
        put(svg, format_args!("<text x=\"{:.1}\" y=\"{y:.1}\">{}</text>\n", x + 16.0, escape(part)));
    }
}

/// A row for each part, as long as its share of the whole.
pub fn shares(title: &str, rows: &[(&str, f64)], unit: &str) -> String {
    let whole: f64 = rows.iter().map(|(_, value)| value).sum::<f64>().max(1e-9);
    let most = rows.iter().map(|(_, value)| *value).fold(0.0, f64::max).max(1e-9);
    let (start, room) = (190.0, WIDTH - 190.0 - 180.0);
    let mut svg = open(title, 24.0 + 30.0 * rows.len() as f64);
    for (at, (name, value)) in rows.iter().enumerate() {
        let y = 14.0 + 30.0 * at as f64;
        put(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                start - 10.0,
                y + 14.0,
                escape(name)
            ),
        );
        put(
            &mut svg,
            format_args!(
                "<rect x=\"{start}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"20\" fill=\"{}\"/>",
                value / most * room,
                COLORS[at % COLORS.len()]
            ),
        );
        let text = format!("{} {} ({:.0} %)", number(*value), unit, value / whole * 100.0);
        put(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                start + value / most * room + 8.0,
                y + 14.0,
                escape(&text)
            ),
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_on_round_numbers() {
        for (most, top) in [(0.9, 1.0), (1.0, 1.0), (3.0, 5.0), (1234.0, 2000.0), (0.011, 0.02)] {
            assert!((round_up(most) - top).abs() < top / 1e6, "{most}: {}", round_up(most));
        }
    }

    #[test]
    fn a_curve_starts_at_the_left_bottom_and_its_highest_point_is_at_the_right_height() {
        let svg = curve("x < y", &[(0.0, 0.0), (10.0, 50.0), (20.0, 50.0)], "days", "TB");
        assert!(svg.contains("d=\"M76.0 230.0L386.0 30.0L696.0 30.0\""), "{svg}");
        assert!(svg.contains("aria-label=\"x &lt; y\""));
    }

    #[test]
    fn stacked_parts_stand_on_each_other() {
        let svg = stacks("t", &["a", "b"], &[("one", vec![1.0, 1.0])], "cores");
        assert!(svg.contains("y=\"130.0\"") && svg.contains("y=\"30.0\""), "{svg}");
    }
}
