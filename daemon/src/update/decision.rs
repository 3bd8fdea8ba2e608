//! May this bundle be installed? Pure: the bundle's manifest and the running system in, a verdict out.

use semver::Version;

/// What a bundle's signed manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The kind of machine it is made for.
    pub compatible: String,
    /// Its version, as written.
    pub version: String,
    /// A sentence for people, if there is one.
    pub description: Option<String>,
}

/// The machine a bundle would be installed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The kind of machine RAUC is configured for.
    pub compatible: String,
    /// The running version.
    pub version: String,
}

/// What installing would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// A newer version.
    Newer,
    /// An older or the same version, because that was asked for.
    OlderAsAsked,
}

/// Why a bundle is not installed. Each text says what was expected and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// For another kind of machine.
    #[error("the bundle is made for \"{found}\", this box is \"{expected}\"; get the bundle for \"{expected}\"")]
    OtherMachine {
        /// What this box is.
        expected: String,
        /// What the bundle is for.
        found: String,
    },
    /// Its version cannot be compared.
    #[error("the bundle's version \"{found}\" is not of the form 1.2.3; get a bundle that was released")]
    NoVersion {
        /// As written in it.
        found: String,
    },
    /// Our own version cannot be compared.
    #[error(
        "the running version \"{running}\" is not of the form 1.2.3, so newer cannot be told from older; \
         --allow-older installs the bundle all the same"
    )]
    NoRunningVersion {
        /// As os-release has it.
        running: String,
    },
    /// The running version once more.
    #[error("version {0} is what is running; expected a newer one (--allow-older installs it again)")]
    SameVersion(Version),
    /// A version before the running one.
    #[error(
        "version {found} is older than {running}, which is running; expected a newer one. To go back one update use \
         `offhook update rollback`; --allow-older installs it all the same"
    )]
    OlderVersion {
        /// The bundle's.
        found: Version,
        /// The running one.
        running: Version,
    },
}

/// Decides about one bundle whose signature was verified.
///
/// # Errors
/// [`Refusal`].
pub fn judge(bundle: &Bundle, system: &System, allow_older: bool) -> Result<Acceptance, Refusal> {
    if bundle.compatible != system.compatible {
        return Err(Refusal::OtherMachine { expected: system.compatible.clone(), found: bundle.compatible.clone() });
    }
    compare(&bundle.version, &system.version, allow_older)
}

/// The part of [`judge`] that only needs the versions: what can be said of a bundle before it is downloaded.
///
/// # Errors
/// [`Refusal`].
pub fn compare(version: &str, running: &str, allow_older: bool) -> Result<Acceptance, Refusal> {
    let found = parse(version).ok_or_else(|| Refusal::NoVersion { found: version.to_owned() })?;
    let Some(running) = parse(running) else {
        let refusal = Refusal::NoRunningVersion { running: running.to_owned() };
        return if allow_older { Ok(Acceptance::OlderAsAsked) } else { Err(refusal) };
    };
    // Build metadata says where a build comes from, not which is newer (semver.org §10).
    match found.cmp_precedence(&running) {
        std::cmp::Ordering::Greater => Ok(Acceptance::Newer),
        _ if allow_older => Ok(Acceptance::OlderAsAsked),
        std::cmp::Ordering::Equal => Err(Refusal::SameVersion(running)),
        std::cmp::Ordering::Less => Err(Refusal::OlderVersion { found, running }),
    }
}

/// `1.2.3`, with or without a leading `v`.
fn parse(text: &str) -> Option<Version> {
    Version::parse(text.trim().trim_start_matches('v')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(compatible: &str, version: &str, running: &str, allow_older: bool) -> String {
        let bundle = Bundle { compatible: compatible.into(), version: version.into(), description: None };
        let system = System { compatible: "offhook-arm64".into(), version: running.into() };
        match judge(&bundle, &system, allow_older) {
            Ok(accepted) => format!("{accepted:?}"),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn a_newer_version_for_this_machine_is_accepted_and_nothing_else_by_itself() {
        // bundle for, its version, running, --allow-older, verdict
        for (compatible, version, running, allow_older, expected) in [
            ("offhook-arm64", "0.2.0", "0.1.0", false, "Newer"),
            ("offhook-arm64", "0.10.0", "0.9.9", false, "Newer"),
            ("offhook-arm64", "v0.2.0", "0.1.0", false, "Newer"),
            ("offhook-arm64", "1.0.0", "1.0.0-rc.2", false, "Newer"),
            ("offhook-arm64", "0.1.0", "0.1.0", false, "is what is running"),
            ("offhook-arm64", "0.1.0+build7", "0.1.0+build6", false, "is what is running"),
            ("offhook-arm64", "0.1.0", "0.1.0", true, "OlderAsAsked"),
            ("offhook-arm64", "0.1.0", "0.2.0", false, "0.1.0 is older than 0.2.0"),
            ("offhook-arm64", "0.1.0", "0.2.0", true, "OlderAsAsked"),
            ("offhook-x86", "0.2.0", "0.1.0", false, "made for \"offhook-x86\", this box is \"offhook-arm64\""),
            ("offhook-x86", "0.2.0", "0.1.0", true, "made for \"offhook-x86\""),
            ("offhook-arm64", "latest", "0.1.0", true, "\"latest\" is not of the form 1.2.3"),
            ("offhook-arm64", "0.2.0", "unknown", false, "running version \"unknown\""),
            ("offhook-arm64", "0.2.0", "unknown", true, "OlderAsAsked"),
        ] {
            let found = verdict(compatible, version, running, allow_older);
            assert!(found.contains(expected), "{version} over {running}: {found}");
        }
    }
}
