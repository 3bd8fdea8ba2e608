//! Feature codes: what phones dial to get something of the box instead of somebody.

use crate::config::{Config, Features};

/// Something of the box that a phone may dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feature {
    /// Takes a call that rings elsewhere.
    PickUp {
        /// Whose call; any, those of its own groups first, if nobody is named.
        extension: Option<String>,
    },
    /// Listens to a call of somebody else's, and talks in it.
    Supervise {
        /// The call that this extension is in; if nobody is named the one that somebody has with the box, or the latest.
        extension: Option<String>,
    },
    /// Takes the latest caller with whom the attendant talks.
    TakeOver,
    /// A place to park a call: to leave it there when it is transferred, to take it back when it is dialled.
    Park {
        /// 1 to 9.
        place: u8,
    },
    /// Its own phones ring no more, or again.
    DoNotDisturb {
        /// Whether from now on they are silent.
        is_on: bool,
    },
    /// Its calls go elsewhere, or to its phones again.
    Forward {
        /// What is dialled instead.
        to: Option<String>,
    },
    /// What it says comes out of the box's own sound card.
    Page,
    /// It plays the office's messages.
    Mailbox,
}

/// What `dialled` means as a code; numbers of people were looked for before.
pub(super) fn dialled(config: &Config, dialled: &str) -> Option<Feature> {
    let Features { pick_up_code, park_code, .. } = &config.features;
    let features = &config.features;
    let simple = [
        (&features.do_not_disturb_on_code, Feature::DoNotDisturb { is_on: true }),
        (&features.do_not_disturb_off_code, Feature::DoNotDisturb { is_on: false }),
        (&features.forward_off_code, Feature::Forward { to: None }),
        (pick_up_code, Feature::PickUp { extension: None }),
        (&features.supervise_code, Feature::Supervise { extension: None }),
        (&features.take_over_code, Feature::TakeOver),
        (&features.paging_code, Feature::Page),
        (&features.mailbox_code, Feature::Mailbox),
    ];
    if let Some((_, feature)) = simple.into_iter().find(|(code, _)| is_code(code) && *code == dialled) {
        return Some(feature);
    }
    let after =
        |code: &str| is_code(code).then(|| dialled.strip_prefix(code)).flatten().filter(|rest| !rest.is_empty());
    if let Some(to) = after(&features.forward_on_code) {
        return Some(Feature::Forward { to: Some(to.to_owned()) });
    }
    if let Some(place) = after(park_code).and_then(|rest| rest.parse().ok()).filter(|place| (1..=9).contains(place)) {
        return Some(Feature::Park { place });
    }
    let extension =
        |code: &str| after(code).filter(|number| config.has_extension(number)).map(|number| Some(number.to_owned()));
    if let Some(extension) = extension(&features.supervise_code) {
        return Some(Feature::Supervise { extension });
    }
    extension(pick_up_code).map(|extension| Feature::PickUp { extension })
}

/// An empty code is none: the feature is off.
fn is_code(code: &str) -> bool {
    !code.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Extension;
    use crate::dial_plan::{Decision, Denial, from_phone};

    fn config() -> Config {
        let extension = |number: &str| Extension { number: number.into(), ..Extension::default() };
        Config { extensions: vec![extension("101"), extension("102")], ..Config::default() }
    }

    #[test]
    fn codes_are_understood() {
        let mut config = config();
        config.features.paging_code = "*80".into();
        for (dialled, expected) in [
            ("*8", Feature::PickUp { extension: None }),
            ("*8102", Feature::PickUp { extension: Some("102".into()) }),
            ("*51", Feature::Park { place: 1 }),
            ("*59", Feature::Park { place: 9 }),
            ("*78", Feature::DoNotDisturb { is_on: true }),
            ("*79", Feature::DoNotDisturb { is_on: false }),
            ("*72102", Feature::Forward { to: Some("102".into()) }),
            ("*7212125550199", Feature::Forward { to: Some("12125550199".into()) }),
            ("*73", Feature::Forward { to: None }),
            ("*97", Feature::Supervise { extension: None }),
            ("*97102", Feature::Supervise { extension: Some("102".into()) }),
            ("*96", Feature::TakeOver),
            ("*80", Feature::Page),
            ("*98", Feature::Mailbox),
        ] {
            assert_eq!(from_phone(&config, dialled, true), Decision::Feature(expected), "{dialled}");
        }
        for wrong in ["*8999", "*50", "*5", "*510", "*72", "*6", "*97999"] {
            assert_eq!(from_phone(&config, wrong, true), Decision::Denied(Denial::NoSuchNumber), "{wrong}");
        }
    }

    #[test]
    fn a_feature_without_a_code_is_off() {
        let mut config = config();
        config.features = Features { pick_up_code: String::new(), park_code: String::new(), ..Features::default() };
        for dialled in ["", "*8", "*80", "*51", "1", "102*"] {
            assert!(!matches!(from_phone(&config, dialled, true), Decision::Feature(_)), "{dialled}");
        }
    }
}
