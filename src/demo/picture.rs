//! The waveform of a recording as an SVG: one lane per channel, lost stretches marked, a time axis below.

use std::fmt::Write;

use crate::media::SAMPLE_RATE;

/// One channel.
pub struct Lane<'a> {
    /// Who is heard.
    pub label: &'a str,
    /// Linear samples.
    pub samples: &'a [i16],
    /// Lost stretches, first sample and first after.
    pub lost: &'a [(u64, u64)],
}

const WIDTH: usize = 1200;
const LANE: f64 = 150.0;
const LEFT: usize = 20;
const TOP: f64 = 64.0;
const COLORS: [&str; 2] = ["#2563a8", "#1f8a5b"];
/// Full deflection, in linear units: loud talk fills the lane.
const FULL: f64 = 26_000.0;

/// Draws `lanes` under `title`.
pub fn draw(title: &str, lanes: &[Lane<'_>]) -> String {
    let samples = lanes.iter().map(|lane| lane.samples.len()).max().unwrap_or(0).max(1);
    let bottom = TOP + LANE * lanes.len() as f64;
    let (width, height) = (WIDTH + 2 * LEFT, bottom + 50.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#333\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"30\" font-size=\"18\">{}</text>\n",
        escape(title)
    );
    for (number, lane) in lanes.iter().enumerate() {
        let (top, color) = (TOP + LANE * number as f64, COLORS[number % COLORS.len()]);
        draw_lost(&mut svg, lane, samples, top);
        draw_wave(&mut svg, lane, samples, top, color);
        let label = escape(lane.label);
        append(
            &mut svg,
            format_args!("<text x=\"{LEFT}\" y=\"{}\" fill=\"{color}\">{label}</text>\n", top + 8.0),
        );
    }
    draw_axis(&mut svg, samples, bottom);
    svg.push_str("</svg>\n");
    svg
}

/// The middle of a lane, and how far the wave reaches from it.
fn middle(top: f64) -> (f64, f64) {
    (top + LANE / 2.0 + 8.0, LANE / 2.0 - 16.0)
}

fn draw_lost(svg: &mut String, lane: &Lane<'_>, samples: usize, top: f64) {
    let (middle, reach) = middle(top);
    for &(start, end) in lane.lost {
        let x = x_of(start, samples);
        // At least 2 wide, or the loss of one packet in a long call would not be seen.
        let wide = (x_of(end, samples) - x).max(2.0);
        append(
            svg,
            format_args!(
                "<rect x=\"{x:.1}\" y=\"{}\" width=\"{wide:.1}\" height=\"{}\" fill=\"#d33\" fill-opacity=\"0.25\"/>\n",
                middle - reach,
                2.0 * reach
            ),
        );
    }
    if !lane.lost.is_empty() {
        // 8 samples to the millisecond.
        let ms: u64 = lane.lost.iter().map(|(start, end)| (end - start) / 8).sum();
        let (x, y) = (LEFT + WIDTH, top + 8.0);
        append(
            svg,
            format_args!(
                "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\" fill=\"#b22\">lost on the way: {ms} ms</text>\n"
            ),
        );
    }
}

fn draw_wave(svg: &mut String, lane: &Lane<'_>, samples: usize, top: f64, color: &str) {
    let (middle, reach) = middle(top);
    append(svg, format_args!("<path stroke=\"{color}\" fill=\"none\" d=\""));
    for column in 0..WIDTH {
        let from = (column * samples / WIDTH).min(lane.samples.len());
        let to = ((column + 1) * samples / WIDTH).clamp(from, lane.samples.len());
        let (low, high) =
            lane.samples[from..to].iter().fold((0, 0), |(low, high), &s| (s.min(low), s.max(high)));
        let y = |level: i16| middle - f64::from(level) / FULL * reach;
        append(svg, format_args!("M{}.5 {:.1}V{:.1}", LEFT + column, y(high) - 0.3, y(low) + 0.3));
    }
    svg.push_str("\"/>\n");
}

fn draw_axis(svg: &mut String, samples: usize, y: f64) {
    append(svg, format_args!("<path stroke=\"#999\" d=\"M{LEFT} {y}h{WIDTH}\"/>\n"));
    let seconds = samples as u64 / u64::from(SAMPLE_RATE);
    for second in (0..=seconds).step_by((seconds / 12 + 1) as usize) {
        let x = x_of(second * u64::from(SAMPLE_RATE), samples);
        append(
            svg,
            format_args!(
                "<path stroke=\"#999\" d=\"M{x:.1} {y}v6\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{second} s</text>\n",
                y + 22.0
            ),
        );
    }
}

fn x_of(sample: u64, samples: usize) -> f64 {
    LEFT as f64 + sample as f64 / samples as f64 * WIDTH as f64
}

fn append(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("a String takes everything");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use quick_xml::events::Event;

    use super::*;

    #[test]
    fn a_picture_is_well_formed_and_shows_lanes_losses_and_seconds() {
        let loud: Vec<i16> = (0..24_000).map(|n| if n % 100 < 50 { 20_000 } else { -20_000 }).collect();
        let lanes = [
            Lane { label: "Ada <ada@example.com>", samples: &loud, lost: &[(800, 960), (9600, 9920)] },
            Lane { label: "Bob", samples: &loud[..12_000], lost: &[] },
        ];
        let svg = draw("A & B", &lanes);
        let mut reader = quick_xml::Reader::from_str(&svg);
        let events = std::iter::from_fn(|| match reader.read_event().expect("well-formed") {
            Event::Eof => None,
            event => Some(event.into_owned()),
        });
        assert!(events.count() > 20);
        assert!(
            svg.contains("Ada &lt;ada") && svg.contains("lost on the way: 60 ms") && svg.contains(">3 s<")
        );
        assert_eq!(svg.matches("fill-opacity").count(), 2);
    }

    #[test]
    fn no_samples_are_no_panic() {
        assert!(draw("empty", &[Lane { label: "", samples: &[], lost: &[] }]).ends_with("</svg>\n"));
        assert!(draw("none", &[]).contains("0 s"));
    }
}
