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
        let title = escape(&self.title);
        let frame = Frame::of(self);
        let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">");
        out += &format!("<text x=\"{LEFT}\" y=\"18\" class=\"title\">{title}</text>");
        out += &text((WIDTH - 4.0, 18.0), "end", &self.y);
        let (middle, bottom) = frame.place(frame.x.1 / 2.0, 0.0);
        out += &text((middle, bottom + 36.0), "middle", &self.x);
        out += &frame.marks();
        for ((series, colour), row) in self.series.iter().zip(COLOURS.iter().cycle()).zip(0..) {
            out += &series.line(&frame, colour);
            let y = TOP + 10.0 + f64::from(row) * 17.0;
            let (x, top) = (WIDTH - RIGHT + 12.0, y - 9.0);
            out += &format!("<rect x=\"{x}\" y=\"{top}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>");
            out += &text((x + 15.0, y), "start", &series.name);
        }
        out + "</svg>"
    }
}

impl Series {
    /// Its line and its points.
    fn line(&self, frame: &Frame, colour: &str) -> String {
        let places = self.points.iter().map(|(x, y)| (frame.place(*x, *y), (x, y)));
        let line: Vec<String> = places.clone().map(|((x, y), _)| format!("{x:.1},{y:.1}")).collect();
        let mut out = format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for ((cx, cy), (x, y)) in places {
            let title = format!("{}: {} at {}", escape(&self.name), number(*y), number(*x));
            // Writing to a String does not fail.
            let _ = write!(
                out,
                "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{colour}\"><title>{title}</title></circle>"
            );
        }
        out
    }
}

/// The axes: of each the distance between two marks, and its end.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn of(chart: &Chart) -> Frame {
        let all = || chart.series.iter().flat_map(|series| &series.points);
        let highest = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(0.0, f64::max);
        Frame { x: scale(highest(|point| point.0)), y: scale(highest(|point| point.1)) }
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let (wide, high) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        (LEFT + x / self.x.1 * wide, HEIGHT - BOTTOM - y / self.y.1 * high)
    }

    fn marks(&self) -> String {
        let each = |(step, to): (f64, f64)| (0..=(to / step).round() as usize).map(move |n| n as f64 * step);
        let mut out = String::new();
        for value in each(self.y) {
            let ((left, y), (right, _)) = (self.place(0.0, value), self.place(self.x.1, 0.0));
            out += &format!(
                "<line x1=\"{left:.1}\" y1=\"{y:.1}\" x2=\"{right:.1}\" y2=\"{y:.1}\" class=\"grid\"/>"
            );
            out += &text((left - 6.0, y + 4.0), "end", &number(value));
        }
        for value in each(self.x) {
            let (x, y) = self.place(value, 0.0);
            out += &text((x, y + 16.0), "middle", &number(value));
        }
        out
    }
}

fn text((x, y): (f64, f64), anchor: &str, says: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(says))
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
