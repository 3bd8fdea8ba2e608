//! The dial plan: whom a number reaches, what a phone may call, and which numbers are no calls. Pure: the configuration and the hour in, a decision
//! out.
//!
//! Left out on purpose: how somebody is reached ([`crate::call`]), and the office's hours themselves
//! ([`crate::office::hours`]).

mod features;
mod target;

pub use features::Feature;
pub use target::Target;

use crate::config::{Config, Outbound, RingGroup, RingStrategy, When};

/// What a call from a phone is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Somebody inside.
    Inside(Target),
    /// Somebody outside: the number in E.164 with +.
    Outside {
        /// As the trunk wants it.
        number: String,
    },
    /// Straight to the trunk, as dialled.
    Emergency {
        /// As dialled.
        number: String,
    },
    /// No call to anybody: the phone wants something of the box.
    Feature(Feature),
    /// Refused.
    Denied(Denial),
}

/// Why a phone may not call a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Nobody has it, and it is none outside either.
    NoSuchNumber,
    /// Outside what may be called.
    NotAllowed,
    /// The office is closed, and phones are locked then.
    NightLock,
    /// Phones have talked outside today for as long as they may.
    DailyLimit,
}

impl Denial {
    /// The stable cause for rows and log.
    pub fn cause(self) -> &'static str {
        match self {
            Denial::NoSuchNumber => "no_such_number",
            Denial::NotAllowed => "number_not_allowed",
            Denial::NightLock => "night_lock",
            Denial::DailyLimit => "daily_limit",
        }
    }
}

/// Phones that ring one after the other; those of one step ring together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingPlan {
    /// Extensions of each step.
    pub steps: Vec<Vec<String>>,
    /// How long each step rings. Seconds.
    pub step_seconds: u32,
    /// Where the call goes then.
    pub unanswered: Target,
}

/// Where a call from outside goes that was made to `called`.
pub fn inbound(config: &Config, called: Option<&str>, is_open: bool) -> Target {
    let fits = |rule: &&crate::config::Inbound| {
        let number_fits = rule.number.is_none() || rule.number.as_deref() == called;
        let time_fits = match rule.when {
            When::Always => true,
            When::Open => is_open,
            When::Closed => !is_open,
        };
        number_fits && time_fits
    };
    config.inbound.iter().find(fits).map(|rule| rule.to.clone()).unwrap_or_default()
}

/// What it means that a phone of the office dials `dialled`.
pub fn from_phone(config: &Config, dialled: &str, is_open: bool) -> Decision {
    let outbound = &config.outbound;
    let dialled = plain(dialled);
    if let Some(number) = emergency(outbound, &dialled) {
        return Decision::Emergency { number: number.to_owned() };
    }
    if let Some(target) = inside(config, &dialled) {
        return Decision::Inside(target);
    }
    if let Some(feature) = features::dialled(config, &dialled) {
        return Decision::Feature(feature);
    }
    let Some(number) = outside(outbound, &dialled) else { return Decision::Denied(Denial::NoSuchNumber) };
    let begins_with_one_of = |prefixes: &[String]| prefixes.iter().any(|prefix| number.starts_with(prefix));
    if begins_with_one_of(&outbound.denied_prefixes) || !begins_with_one_of(&outbound.allowed_prefixes) {
        return Decision::Denied(Denial::NotAllowed);
    }
    if outbound.night_lock_enabled && !is_open {
        return Decision::Denied(Denial::NightLock);
    }
    Decision::Outside { number }
}

/// Who rings, in which order; `None` for the attendant. `shuffle` decides the order of groups that ring at random.
pub fn ring_plan(config: &Config, target: &Target, shuffle: impl FnOnce(&mut Vec<String>)) -> Option<RingPlan> {
    match target {
        // Whoever is to wait for somebody is not rung for: the call has to be answered first.
        Target::Attendant | Target::Queue(_) | Target::Voicemail | Target::Mailbox(_) => None,
        Target::Extension(number) => {
            let extension = config.extensions.iter().find(|extension| extension.number == *number)?;
            Some(RingPlan {
                steps: vec![vec![number.clone()]],
                step_seconds: extension.ring_timeout_seconds.0,
                unanswered: extension.unanswered.clone(),
            })
        }
        Target::Group(name) => {
            let group = config.ring_groups.iter().find(|group| group.name == *name)?;
            Some(RingPlan {
                steps: steps(group, shuffle),
                step_seconds: group.ring_timeout_seconds.0,
                unanswered: group.unanswered.clone(),
            })
        }
    }
}

fn steps(group: &RingGroup, shuffle: impl FnOnce(&mut Vec<String>)) -> Vec<Vec<String>> {
    in_steps(group.members.clone(), group.strategy, shuffle)
}

/// `members` in the order in which they ring; those of one step ring together.
pub fn in_steps(
    mut members: Vec<String>,
    strategy: RingStrategy,
    shuffle: impl FnOnce(&mut Vec<String>),
) -> Vec<Vec<String>> {
    let one_each = |members: Vec<String>| members.into_iter().map(|member| vec![member]).collect();
    match strategy {
        RingStrategy::All => vec![members],
        RingStrategy::InOrder => one_each(members),
        RingStrategy::Random => {
            shuffle(&mut members);
            one_each(members)
        }
    }
}

/// A number in E.164 with its +.
pub fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Without what people put between digits.
fn plain(dialled: &str) -> String {
    dialled.chars().filter(|letter| !matches!(letter, ' ' | '-' | '.' | '(' | ')' | '/')).collect()
}

/// The emergency number that is dialled, if it is one.
pub fn emergency<'a>(outbound: &Outbound, dialled: &'a str) -> Option<&'a str> {
    let after_code = outbound.access_code.as_deref().and_then(|code| dialled.strip_prefix(code));
    let is_one = |number: &&str| outbound.emergency_numbers.iter().any(|emergency| emergency == number);
    // With the access code as well: nobody thinks of dial plans then.
    [Some(dialled), after_code].into_iter().flatten().find(is_one)
}

/// Everything that phones may send to reach an emergency number.
pub fn emergency_users(outbound: &Outbound) -> Vec<String> {
    let code = outbound.access_code.as_deref();
    let numbers = outbound.emergency_numbers.iter();
    numbers
        .flat_map(|number| std::iter::once(number.clone()).chain(code.map(|code| format!("{code}{number}"))))
        .collect()
}

fn inside(config: &Config, dialled: &str) -> Option<Target> {
    if config.has_extension(dialled) {
        return Some(Target::Extension(dialled.to_owned()));
    }
    if dialled == ATTENDANT_NUMBER {
        return Some(Target::Attendant);
    }
    let is_it = |number: &Option<String>| number.as_deref() == Some(dialled);
    if let Some(queue) = config.queues.iter().find(|queue| is_it(&queue.number)) {
        return Some(Target::Queue(queue.name.clone()));
    }
    let group = config.ring_groups.iter().find(|group| is_it(&group.number))?;
    Some(Target::Group(group.name.clone()))
}

/// What phones dial to talk to the box itself.
const ATTENDANT_NUMBER: &str = "0";

/// The number in E.164, if it is one of somebody outside.
fn outside(outbound: &Outbound, dialled: &str) -> Option<String> {
    let dialled = match &outbound.access_code {
        // A number in E.164 needs none: it comes from a directory, not from fingers.
        Some(code) if !dialled.starts_with('+') => dialled.strip_prefix(code.as_str())?,
        Some(_) | None => dialled,
    };
    let digits = if let Some(digits) = dialled.strip_prefix('+') {
        digits.to_owned()
    } else if let Some(digits) = dialled.strip_prefix(outbound.international_prefix.as_str()) {
        digits.to_owned()
    } else {
        let subscriber = dialled.strip_prefix(outbound.national_prefix.as_str()).unwrap_or(dialled);
        format!("{}{subscriber}", outbound.country_code)
    };
    let is_right = (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    // A number of North America has ten digits; what is shorter is a mistake, and would be dialled in vain.
    let is_right = is_right && (!digits.starts_with('1') || digits.len() == 11);
    is_right.then(|| format!("+{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Extension, Inbound};

    fn config() -> Config {
        let extension = |number: &str| Extension { number: number.into(), ..Extension::default() };
        let rule = |number: Option<&str>, when, to| Inbound { number: number.map(str::to_owned), when, to };
        Config {
            extensions: vec![extension("101"), extension("102")],
            ring_groups: vec![RingGroup {
                name: "front".into(),
                number: Some("200".into()),
                members: vec!["101".into(), "102".into()],
                ..RingGroup::default()
            }],
            inbound: vec![
                rule(Some("+12125550142"), When::Open, Target::Group("front".into())),
                rule(Some("+12125550143"), When::Always, Target::Extension("102".into())),
            ],
            ..Config::default()
        }
    }

    #[test]
    fn calls_from_outside_go_by_number_and_hour() {
        let config = config();
        for (called, is_open, expected) in [
            (Some("+12125550142"), true, "group:front"),
            (Some("+12125550142"), false, "attendant"),
            (Some("+12125550143"), false, "extension:102"),
            (Some("+12125559999"), true, "attendant"),
            (None, true, "attendant"),
        ] {
            assert_eq!(inbound(&config, called, is_open).to_string(), expected, "{called:?} {is_open}");
        }
    }

    #[test]
    fn phones_reach_inside_outside_and_help() {
        let mut config = config();
        let decide = |config: &Config, dialled: &str| from_phone(config, dialled, true);
        let outside = |number: &str| Decision::Outside { number: number.into() };
        for (dialled, expected) in [
            ("102", Decision::Inside(Target::Extension("102".into()))),
            ("200", Decision::Inside(Target::Group("front".into()))),
            ("0", Decision::Inside(Target::Attendant)),
            ("911", Decision::Emergency { number: "911".into() }),
            ("(212) 555-0199", outside("+12125550199")),
            ("12125550199", outside("+12125550199")),
            ("+12125550199", outside("+12125550199")),
            ("555-0199", Decision::Denied(Denial::NoSuchNumber)),
            ("103", Decision::Denied(Denial::NoSuchNumber)),
            ("abc", Decision::Denied(Denial::NoSuchNumber)),
            ("011 49 89 1234567", Decision::Denied(Denial::NotAllowed)),
            ("1-900-555-0199", Decision::Denied(Denial::NotAllowed)),
            ("+88161234567", Decision::Denied(Denial::NotAllowed)),
        ] {
            assert_eq!(decide(&config, dialled), expected, "{dialled}");
        }
        config.outbound.access_code = Some("9".into());
        assert_eq!(decide(&config, "9 212 555 0199"), outside("+12125550199"));
        assert_eq!(decide(&config, "2125550199"), Decision::Denied(Denial::NoSuchNumber));
        for dialled in ["911", "9911", "9-911"] {
            assert_eq!(decide(&config, dialled), Decision::Emergency { number: "911".into() }, "{dialled}");
        }
        assert_eq!(emergency_users(&config.outbound), ["911", "9911", "933", "9933", "112", "9112"]);
    }

    #[test]
    fn in_the_night_only_help_and_colleagues_are_reached() {
        let mut config = config();
        config.outbound.night_lock_enabled = true;
        assert_eq!(from_phone(&config, "2125550199", false), Decision::Denied(Denial::NightLock));
        assert!(matches!(from_phone(&config, "911", false), Decision::Emergency { .. }));
        assert!(matches!(from_phone(&config, "101", false), Decision::Inside(_)));
        assert!(matches!(from_phone(&config, "2125550199", true), Decision::Outside { .. }));
    }

    #[test]
    fn a_european_office_dials_its_own_way() {
        let mut config = config();
        config.outbound = Outbound {
            country_code: "49".into(),
            national_prefix: "0".into(),
            international_prefix: "00".into(),
            allowed_prefixes: vec!["+49".into(), "+43".into()],
            ..Outbound::default()
        };
        for (dialled, number) in
            [("089 1234567", "+49891234567"), ("0043 1 234567", "+431234567"), ("+49 30 1234567", "+49301234567")]
        {
            assert_eq!(from_phone(&config, dialled, true), Decision::Outside { number: number.into() }, "{dialled}");
        }
    }

    #[test]
    fn groups_ring_together_or_one_after_the_other() {
        let mut config = config();
        let steps = |config: &Config| {
            ring_plan(config, &Target::Group("front".into()), |members| members.reverse()).unwrap().steps
        };
        assert_eq!(steps(&config), [["101", "102"]]);
        config.ring_groups[0].strategy = RingStrategy::InOrder;
        assert_eq!(steps(&config), [["101"], ["102"]]);
        config.ring_groups[0].strategy = RingStrategy::Random;
        assert_eq!(steps(&config), [["102"], ["101"]]);
        assert_eq!(ring_plan(&config, &Target::Attendant, |_| {}), None);
    }
}
