//! Figures, their goals, and the table of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Goal {
    /// Whether `value` is as it should be. What was not measured is not.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Goal::AtMost(most) => value <= most,
            Goal::AtLeast(least) => value >= least,
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Unique in its part, and the same in every run: two runs are compared by it.
    pub name: String,
    /// NaN: there was nothing to measure.
    pub value: f64,
    /// `ms`, `%`, or nothing for a count.
    pub unit: &'static str,
    /// Out of how many.
    pub of: usize,
    /// What it should be.
    pub goal: Option<Goal>,
}

impl Figure {
    /// A figure without a goal.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str, of: usize) -> Figure {
        Figure { name: name.into(), value, unit, of, goal: None }
    }

    /// How many of how many, in per cent.
    pub fn share(name: impl Into<String>, count: usize, of: usize) -> Figure {
        Figure::new(name, 100.0 * count as f64 / of as f64, "%", of)
    }

    /// What it should be.
    pub fn with(mut self, goal: Goal) -> Figure {
        self.goal = Some(goal);
        self
    }
}

/// What one part of the run gave.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its figures, or why there are none.
    pub figures: Result<Vec<Figure>, String>,
    /// What went wrong, one case a line: for whoever mends it.
    pub cases: Vec<String>,
}

/// Times of one kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// The median and the 95th percentile as figures, with their goals.
    pub fn figures(&self, name: &str, p50: Option<Goal>, p95: Option<Goal>) -> [Figure; 2] {
        [("p50", 0.5, p50), ("p95", 0.95, p95)].map(|(which, share, goal)| Figure {
            name: format!("{name}, {which}"),
            value: rank(&self.0, share),
            unit: "ms",
            of: self.0.len(),
            goal,
        })
    }
}

impl FromIterator<f64> for Spread {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Spread {
        Spread(values.into_iter().collect())
    }
}

/// The value below which that `share` (0 to 1) of them lie, by nearest rank; NaN of nothing.
pub fn rank(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Every figure by the name of its part and its own: what is kept of a run.
pub fn values_of(parts: &[Part]) -> BTreeMap<String, f64> {
    let measured = parts.iter().filter_map(|part| part.figures.as_ref().ok().map(|figures| (part.name, figures)));
    let named = |(part, figures): (&'static str, &Vec<Figure>)| -> Vec<(String, f64)> {
        figures.iter().map(|figure| (format!("{part}: {}", figure.name), figure.value)).collect()
    };
    measured.flat_map(named).filter(|(_, value)| value.is_finite()).collect()
}

/// The table, with what each figure was in an earlier run.
pub fn print(parts: &[Part], before: &BTreeMap<String, f64>) -> String {
    let mut table = String::new();
    for part in parts {
        let _ = writeln!(table, "\n{}", part.name);
        match &part.figures {
            Ok(figures) => figures.iter().for_each(|figure| table.push_str(&line(part.name, figure, before))),
            Err(why) => {
                let _ = writeln!(table, "  SKIPPED: {why}");
            }
        }
        for case in &part.cases {
            let _ = writeln!(table, "    {case}");
        }
    }
    table
}

fn line(part: &str, figure: &Figure, before: &BTreeMap<String, f64>) -> String {
    let value = match figure.value.is_finite() {
        true => format!("{:.1} {}", figure.value, figure.unit),
        false => "-".to_owned(),
    };
    let goal = match figure.goal {
        Some(Goal::AtMost(most)) => format!("<= {most}"),
        Some(Goal::AtLeast(least)) => format!(">= {least}"),
        None => String::new(),
    };
    let verdict = match figure.goal.map(|goal| goal.is_met(figure.value)) {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    let before = before.get(&format!("{part}: {}", figure.name)).map(|value| format!("before {value:.1}"));
    let line = format!(
        "  {:<48} {value:>10}  n={:<4} {goal:<8} {verdict:<6} {}",
        figure.name,
        figure.of,
        before.unwrap_or_default()
    );
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!([0.5, 0.95, 1.0].map(|share| rank(&values, share)), [10.0, 19.0, 20.0]);
        assert_eq!(rank(&[7.0], 0.5), 7.0);
        assert!(rank(&[], 0.5).is_nan());
    }

    #[test]
    fn nothing_measured_misses_every_goal() {
        assert!(Goal::AtMost(3.0).is_met(3.0) && !Goal::AtMost(3.0).is_met(3.1));
        assert!(Goal::AtLeast(3.0).is_met(3.0) && !Goal::AtLeast(3.0).is_met(2.9));
        let nothing = Figure::share("x", 0, 0).value;
        assert!(!Goal::AtMost(3.0).is_met(nothing) && !Goal::AtLeast(3.0).is_met(nothing));
    }

    #[test]
    fn a_table_names_goals_misses_skips_and_the_run_before() {
        let figures = vec![
            Figure::share("right", 9, 10).with(Goal::AtLeast(95.0)),
            Figure::new("gap", 400.0, "ms", 3).with(Goal::AtMost(450.0)),
        ];
        let parts = [
            Part { name: "gaps", figures: Ok(figures), cases: vec!["a case".into()] },
            Part { name: "people", figures: Err("no recordings".into()), cases: Vec::new() },
        ];
        let before = BTreeMap::from([("gaps: gap".to_owned(), 560.0)]);
        let table = print(&parts, &before);
        let found = |words: &[&str]| table.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found(&["right", "90.0 %", "n=10", ">= 95", "MISSED"]), "{table}");
        assert!(found(&["gap", "400.0 ms", "met", "before 560.0"]), "{table}");
        assert!(found(&["SKIPPED: no recordings"]) && found(&["a case"]), "{table}");
        assert_eq!(
            values_of(&parts).into_iter().collect::<Vec<_>>(),
            [("gaps: gap".to_owned(), 400.0), ("gaps: right".to_owned(), 90.0)]
        );
    }
}
