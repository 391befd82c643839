//! Lines in an SVG: enough for a report that needs nothing but a browser, on paper or on a screen, light or dark.

use std::fmt::Write;

/// A line of a chart.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// What it is called beside its end.
    pub name: String,
    /// Its points, in order of x.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, PartialEq, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What goes to the right, with its unit.
    pub x: String,
    /// What goes up, with its unit.
    pub y: String,
    /// The lines.
    pub series: Vec<Series>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
/// Told apart by those who see colours otherwise, too (Okabe and Ito 2008).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"];

impl Chart {
    /// Whether there is anything to see.
    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.is_empty())
    }

    /// The chart as an `svg` element.
    pub fn svg(&self) -> String {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let highest = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(0.0, f64::max);
        let (x_step, x_to) = scale(highest(|point| point.0));
        let (y_step, y_to) = scale(highest(|point| point.1));
        let place = |x: f64, y: f64| {
            (LEFT + x / x_to * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / y_to * (HEIGHT - TOP - BOTTOM))
        };
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\"><text x=\"{LEFT}\" y=\"18\" class=\"title\">{0}</text>",
            escape(&self.title)
        );
        // Writing to a String does not fail.
        let mut put = |text: std::fmt::Arguments<'_>| _ = out.write_fmt(text);
        for step in 0..=(y_to / y_step).round() as usize {
            let ((left, y), (right, _)) = (place(0.0, step as f64 * y_step), place(x_to, 0.0));
            put(format_args!(
                "<line x1=\"{left:.1}\" y1=\"{y:.1}\" x2=\"{right:.1}\" y2=\"{y:.1}\" class=\"grid\"/>"
            ));
            put(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                y + 4.0,
                number(step as f64 * y_step)
            ));
        }
        for step in 0..=(x_to / x_step).round() as usize {
            let (x, y) = place(step as f64 * x_step, 0.0);
            put(format_args!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                y + 16.0,
                number(step as f64 * x_step)
            ));
        }
        let (middle, bottom) = place(x_to / 2.0, 0.0);
        put(format_args!(
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 36.0,
            escape(&self.x)
        ));
        put(format_args!(
            "<text x=\"{}\" y=\"18\" text-anchor=\"end\">{}</text>",
            WIDTH - 4.0,
            escape(&self.y)
        ));
        for ((series, colour), row) in self.series.iter().zip(COLOURS.iter().cycle()).zip(0..) {
            let points: Vec<String> = series
                .points
                .iter()
                .map(|(x, y)| place(*x, *y))
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            put(format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                points.join(" ")
            ));
            for (x, y) in &series.points {
                let (cx, cy) = place(*x, *y);
                put(format_args!(
                    "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{colour}\"><title>{}: {} at {}</title></circle>",
                    escape(&series.name),
                    number(*y),
                    number(*x)
                ));
            }
            let y = TOP + 10.0 + f64::from(row) * 17.0;
            put(format_args!(
                "<rect x=\"{}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>",
                WIDTH - RIGHT + 12.0,
                y - 9.0
            ));
            put(format_args!(
                "<text x=\"{}\" y=\"{y}\">{}</text>",
                WIDTH - RIGHT + 27.0,
                escape(&series.name)
            ));
        }
        out + "</svg>"
    }
}

/// A round distance between marks, four to eight of them, and the end of the axis.
fn scale(highest: f64) -> (f64, f64) {
    let highest = if highest > 0.0 { highest } else { 1.0 };
    let power = 10f64.powf((highest / 5.0).log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| highest / step <= 6.0);
    let step = step.unwrap_or(highest);
    (step, (highest / step).ceil() * step)
}

fn number(value: f64) -> String {
    let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Text as HTML and SVG take it.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_axis_has_a_few_round_marks_and_reaches_the_highest_value(highest in 1e-6f64..1e12) {
            let (step, to) = scale(highest);
            let marks = to / step;
            prop_assert!(to >= highest * 0.999_999 && (1.0..=7.0).contains(&marks.round()), "{} {}", step, to);
            prop_assert!((marks - marks.round()).abs() < 1e-6);
            prop_assert!(to <= highest * 2.0, "{} for {}", to, highest);
        }
    }

    #[test]
    fn a_chart_draws_every_point_within_its_frame_and_lets_no_name_break_out() {
        let series =
            Series { name: "<b>\"x\"".to_owned(), points: vec![(0.0, 0.0), (50.0, 3.0), (100.0, 9.5)] };
        let chart = Chart {
            title: "t & u".to_owned(),
            x: "calls".to_owned(),
            y: "ms".to_owned(),
            series: vec![series],
        };
        let svg = chart.svg();
        assert_eq!((svg.matches("<circle").count(), svg.matches("<polyline").count()), (3, 1));
        assert!(!svg.contains("<b>") && svg.contains("t &amp; u"));
        let line = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        for point in line.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{point}");
        }
        assert!(!chart.is_empty() && Chart { series: Vec::new(), ..chart }.is_empty());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 0.25, 20.0, 1.5, 100.0, 20_000.0].map(number),
            ["0", "0.25", "20", "1.5", "100", "20000"]
        );
    }
}
