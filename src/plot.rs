//! A simulated hour as a picture: what was asked for and served, how full each node was, what each was called, what was done.
//!
//! One file of SVG without scripts or fonts of its own, to be put into a report.

use std::fmt::Write as _;

use crate::model::NodeVerdict;
use crate::sim::{Move, Outcome, Sample, Scenario};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 30.0;
const PANEL: f64 = 170.0;
const LANE: f64 = 22.0;
const GAP: f64 = 34.0;

/// One colour for each node, told apart by people who see colours differently (Okabe and Ito, 2008).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#000000"];

/// A run to draw, with the name of who steered.
#[derive(Clone, Copy, Debug)]
pub struct Drawn<'a> {
    /// Who steered.
    pub name: &'a str,
    /// What became of it, with its samples.
    pub outcome: &'a Outcome,
}

/// Draws the first of `runs` in full; of the others what they served, beside it.
#[must_use]
pub fn svg(scenario: &Scenario, seed: u64, runs: &[Drawn<'_>]) -> String {
    let Some((main, others)) = runs.split_first() else { return String::new() };
    let mut picture = Picture { text: String::new(), lasts_s: f64::from(scenario.lasts_s), top: 62.0 };
    picture.flow(scenario, main, others);
    picture.utilisation(scenario, main);
    picture.lanes(scenario, main);
    picture.acts(scenario, main);
    let height = picture.top + 20.0;
    let title = escaped(&format!("{} (seed {seed}), steered by {}", scenario.name, main.name));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"16\" font-weight=\"bold\">{title}</text>\n{}</svg>\n",
        picture.text
    )
}

struct Picture {
    text: String,
    lasts_s: f64,
    top: f64,
}

impl Picture {
    fn x(&self, at_ms: i64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at_ms as f64 / 1000.0 / self.lasts_s).clamp(0.0, 1.0)
    }

    fn say(&mut self, x: f64, y: f64, anchor: &str, colour: &str, text: &str) {
        let text = escaped(text);
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>"
        );
    }

    fn bar(&mut self, from: f64, until: f64, y: f64, height: f64, colour: &str, words: &str) {
        let (width, words) = ((until - from).max(0.5), escaped(words));
        let _ = writeln!(
            self.text,
            "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"><title>{words}</title></rect>"
        );
    }

    fn line(&mut self, points: &[(f64, f64)], colour: &str, dashes: &str) {
        self.stroke(points, colour, dashes, 1.6);
    }

    fn stroke(&mut self, points: &[(f64, f64)], colour: &str, dashes: &str, width: f64) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-dasharray=\"{dashes}\"/>",
            points.join(" ")
        );
    }

    /// A panel with a title, horizontal lines at quarters up to `most`, and minutes below.
    fn panel(&mut self, title: &str, most: f64, unit: impl Fn(f64) -> String) {
        let (top, bottom) = (self.top, self.top + PANEL);
        self.say(LEFT, top - 8.0, "start", "#000000", title);
        for quarter in 0..=4 {
            let share = f64::from(quarter) / 4.0;
            let y = bottom - PANEL * share;
            self.line(&[(LEFT, y), (WIDTH - RIGHT, y)], "#dddddd", "");
            let label = unit(most * share);
            self.say(LEFT - 6.0, y + 4.0, "end", "#555555", &label);
        }
        self.minutes(bottom + 14.0);
    }

    fn minutes(&mut self, y: f64) {
        let every = [60.0, 300.0, 600.0, 1800.0, 3600.0, 10_800.0];
        let step = every.into_iter().find(|step| self.lasts_s / step <= 12.0).unwrap_or(21_600.0);
        let mut at = 0.0;
        while at <= self.lasts_s {
            let x = self.x((at * 1000.0) as i64);
            self.say(x, y, "middle", "#555555", &format!("{:.0} min", at / 60.0));
            at += step;
        }
    }

    fn curve(&self, samples: &[Sample], most: f64, of: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
        let bottom = self.top + PANEL;
        let y = |value: f64| bottom - PANEL * (value / most).clamp(0.0, 1.0);
        samples.iter().map(|sample| (self.x(sample.at_ms), y(of(sample)))).collect()
    }

    /// What was asked for, and what was served.
    fn flow(&mut self, scenario: &Scenario, main: &Drawn<'_>, others: &[Drawn<'_>]) {
        let all: f64 = scenario.node.iter().map(|node| node.capacity).sum();
        let samples = &main.outcome.samples;
        let most = samples.iter().map(|sample| sample.demand / all).fold(1.0, f64::max);
        let most = (most * 4.0).ceil() / 4.0;
        self.panel("Asked for and served, share of all capacity", most, |value| format!("{:.0} %", value * 100.0));
        let mut legend = vec![("asked for".to_owned(), "#cccccc", "")];
        let asked = self.curve(samples, most, |sample| sample.demand / all);
        // Wide, so that it is seen where all of it is served.
        self.stroke(&asked, "#cccccc", "", 5.0);
        let dashed = others.iter().zip(["#d55e00", "#7f7f7f", "#cc79a7", "#e69f00"]);
        for (other, colour) in dashed {
            let served = self.curve(&other.outcome.samples, most, |sample| sample.served / all);
            self.line(&served, colour, "5 3");
            legend.push((format!("{}: {:.1} % served", other.name, other.outcome.served), colour, "5 3"));
        }
        let served = self.curve(samples, most, |sample| sample.served / all);
        self.line(&served, "#0072b2", "");
        legend.push((format!("{}: {:.1} % served", main.name, main.outcome.served), "#0072b2", ""));
        self.legend(&legend);
    }

    fn legend(&mut self, entries: &[(String, &str, &str)]) {
        let y = self.top + PANEL + 30.0;
        let mut x = LEFT;
        for (name, colour, dashes) in entries {
            self.line(&[(x, y - 4.0), (x + 22.0, y - 4.0)], colour, dashes);
            self.say(x + 28.0, y, "start", "#000000", name);
            x += 46.0 + 6.6 * name.chars().count() as f64;
        }
        self.top += PANEL + GAP + 26.0;
    }

    fn utilisation(&mut self, scenario: &Scenario, main: &Drawn<'_>) {
        let most = 2.0;
        self.panel("What each node was asked for, share of what it can", most, |value| {
            format!("{:.0} %", value * 100.0)
        });
        let full = self.top + PANEL / 2.0;
        self.line(&[(LEFT, full), (WIDTH - RIGHT, full)], "#aa0000", "2 3");
        let mut legend = Vec::new();
        for ((place, node), colour) in scenario.node.iter().enumerate().zip(COLOURS.into_iter().cycle()) {
            let curve = self.curve(&main.outcome.samples, most, |sample| sample.utilisation[place]);
            self.line(&curve, colour, "");
            legend.push((node.name.clone(), colour, ""));
        }
        self.legend(&legend);
    }

    /// A lane for the fleet, one for each node: what it was called, and below it whether it was in the DNS.
    fn lanes(&mut self, scenario: &Scenario, main: &Drawn<'_>) {
        self.say(
            LEFT,
            self.top - 8.0,
            "start",
            "#000000",
            "What each was called; thin below it: in the DNS (green) or out (red); black: dead",
        );
        let samples = &main.outcome.samples;
        let end = self.x((self.lasts_s * 1000.0) as i64);
        self.say(LEFT - 6.0, self.top + 15.0, "end", "#000000", "fleet");
        self.spans(samples, end, 0.0, LANE - 6.0, |sample| {
            let fleet = sample.fleet?;
            Some((fleet_colour(fleet.name()), fleet.name().to_owned()))
        });
        self.top += LANE;
        self.say(LEFT - 6.0, self.top + 15.0, "end", "#000000", "shed");
        self.spans(samples, end, 0.0, LANE - 6.0, |sample| {
            let held = ((1.0 - sample.let_through) * 100.0).round();
            let colour = if held <= 0.0 {
                "#eeeeee"
            } else if held <= 25.0 {
                "#cfe2f3"
            } else {
                "#6fa8dc"
            };
            Some((colour, format!("{held} % less for each")))
        });
        self.top += LANE;
        for (place, node) in scenario.node.iter().enumerate() {
            self.say(LEFT - 6.0, self.top + 12.0, "end", "#000000", &node.name);
            self.spans(samples, end, 0.0, LANE - 10.0, |sample| {
                let verdict = *sample.verdicts.get(place)?;
                Some((node_colour(verdict), verdict.name().to_owned()))
            });
            self.spans(samples, end, LANE - 9.0, 4.0, |sample| {
                let (colour, words) = match (sample.published[place], sample.alive[place]) {
                    (true, true) => ("#4caf50", "in the DNS"),
                    (true, false) => ("#000000", "dead, in the DNS"),
                    (false, true) => ("#d32f2f", "out of the DNS, alive"),
                    (false, false) => ("#8d6e63", "dead, out of the DNS"),
                };
                Some((colour, words.to_owned()))
            });
            self.top += LANE;
        }
        self.minutes(self.top + 12.0);
        self.top += GAP + 10.0;
    }

    /// Bars over the stretches in which `of` says the same.
    fn spans(
        &mut self,
        samples: &[Sample],
        end: f64,
        below: f64,
        height: f64,
        of: impl Fn(&Sample) -> Option<(&'static str, String)>,
    ) {
        let mut open: Option<(f64, (&'static str, String))> = None;
        for sample in samples {
            let now = of(sample);
            if open.as_ref().map(|(_, said)| said) == now.as_ref() {
                continue;
            }
            let at = self.x(sample.at_ms);
            if let Some((from, (colour, words))) = open.take() {
                self.bar(from, at, self.top + below, height, colour, &words);
            }
            open = now.map(|said| (at, said));
        }
        if let Some((from, (colour, words))) = open {
            self.bar(from, end, self.top + below, height, colour, &words);
        }
    }

    /// The first things that were done, in words.
    fn acts(&mut self, scenario: &Scenario, main: &Drawn<'_>) {
        const MOST: usize = 14;
        let done: Vec<_> = main
            .outcome
            .done
            .iter()
            .filter(|done| !matches!(done.what.what, Move::Alert(_)) && !done.what.is_renewal())
            .collect();
        let title = if done.is_empty() { "Nothing was done" } else { "What was done" };
        self.say(LEFT, self.top, "start", "#000000", title);
        self.top += 18.0;
        for one in done.iter().take(MOST) {
            let seconds = one.at_ms / 1000;
            let name = |place: &usize| scenario.node[*place].name.as_str();
            let what = match &one.what.what {
                Move::Withdraw(node) => format!("withdraw {}", name(node)),
                Move::Reinstate(node) => format!("reinstate {}", name(node)),
                Move::Shed { step, .. } => format!("shed, step {step}"),
                Move::Alert(_) => continue,
            };
            let colour = if one.alive { "#d32f2f" } else { "#333333" };
            let why: String = one.what.why.chars().take(95).collect();
            let text = format!("{:02}:{:02} {what} {} {why}", seconds / 60, seconds % 60, one.what.rule);
            self.say(LEFT, self.top, "start", colour, text.trim_end());
            self.top += 16.0;
        }
        if done.len() > MOST {
            let more = format!("… and {} more", done.len() - MOST);
            self.say(LEFT, self.top, "start", "#333333", &more);
            self.top += 16.0;
        }
    }
}

fn fleet_colour(name: &str) -> &'static str {
    match name {
        "normal" => "#d9ead3",
        "overload" => "#f6b26b",
        "isolated" | "blind" => "#cccccc",
        "dark" => "#444444",
        _ => "#ffe599",
    }
}

fn node_colour(verdict: NodeVerdict) -> &'static str {
    match verdict {
        NodeVerdict::Healthy => "#d9ead3",
        NodeVerdict::Suspect => "#fff2cc",
        NodeVerdict::Degraded => "#f9cb9c",
        NodeVerdict::Hung | NodeVerdict::Broken | NodeVerdict::Down | NodeVerdict::Dead => "#e06666",
        NodeVerdict::Partitioned => "#b4a7d6",
        NodeVerdict::Flapping => "#ea9999",
        NodeVerdict::Recovering => "#cfe2f3",
        NodeVerdict::Maintenance => "#d0e0e3",
        NodeVerdict::Unknown => "#cccccc",
    }
}

/// Text that XML may hold.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            character if character.is_control() => out.push(' '),
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Run, Steering, run};

    #[test]
    fn a_picture_is_whole_and_names_what_was_done() {
        let text = "name = \"a <b> & c\"\nnodes = 4\ndemand = [[0, 0.5]]\nlasts_s = 900\n[[event]]\nfrom_s = 200\nnodes = [\"n2\"]\nis = \"silent\"\n";
        let scenario = Scenario::read(text).expect("it is one");
        let keep = Run { samples: true, ..Run::default() };
        let of = |steering: Steering| run(&scenario, &steering, 1, keep).expect("it runs").0;
        let (rule, nothing) = (of(Steering::rule(3, true)), of(Steering::Nothing));
        let drawn = [Drawn { name: "witness", outcome: &rule }, Drawn { name: "nothing", outcome: &nothing }];
        let picture = svg(&scenario, 1, &drawn);
        assert!(picture.contains("a &lt;b&gt; &amp; c"), "{picture}");
        assert!(picture.contains("withdraw n2 R6.silent"), "{picture}");
        let mut reader = quick_xml::Reader::from_str(&picture);
        reader.config_mut().check_end_names = true;
        let mut elements = 0;
        loop {
            match reader.read_event().expect("well-formed") {
                quick_xml::events::Event::Eof => break,
                quick_xml::events::Event::Start(_) | quick_xml::events::Event::Empty(_) => elements += 1,
                _ => {}
            }
        }
        assert!(elements > 50, "{elements}");
    }
}
