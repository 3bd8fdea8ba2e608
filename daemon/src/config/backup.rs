//! `[backup]`: sealed copies of the box.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ConfigMistake;
use crate::backup::Recipients;

/// `[backup]`: everything that the box writes down, sealed, where another box can find it. Off until a place is named.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// Folders on another machine or a stick: `["/mnt/nas/offhook"]`. They must be there; the box makes a folder of its own in
    /// each. `"cloud"` is the cloud that the box is claimed by: it keeps what it cannot read.
    pub places: Vec<PathBuf>,
    /// Who can open the backups: age recipients (`age1…`). `offhook backup key` makes a key and prints its recipient; the key
    /// itself belongs somewhere else.
    pub recipients: Vec<String>,
    /// From one whole copy to the next, in hours; in between only what has changed. 1 to 168.
    pub base_hours: u32,
    /// Whole copies that are kept. 1 to 60.
    pub bases_kept: u32,
}

impl Default for Backup {
    fn default() -> Backup {
        Backup { places: Vec::new(), recipients: Vec::new(), base_hours: 24, bases_kept: 7 }
    }
}

/// The place that is no folder.
pub const CLOUD: &str = "cloud";

/// Whether this place is the cloud.
pub fn is_cloud(place: &Path) -> bool {
    place == Path::new(CLOUD)
}

impl Backup {
    /// Whether one of the places is the cloud.
    pub fn to_cloud(&self) -> bool {
        self.places.iter().any(|place| is_cloud(place))
    }
}

/// Every mistake, each with its key. `with_cloud` is whether the box syncs with one.
pub(super) fn check(backup: &Backup, with_cloud: bool, mistakes: &mut Vec<ConfigMistake>) {
    let mut mistake = |key: &str, value: String, expected: &str| {
        mistakes.push(ConfigMistake::new(&format!("backup.{key}"), value, expected.to_owned()));
    };
    if !(1..=168).contains(&backup.base_hours) {
        mistake("base_hours", backup.base_hours.to_string(), "a whole number from 1 to 168");
    }
    if !(1..=60).contains(&backup.bases_kept) {
        mistake("bases_kept", backup.bases_kept.to_string(), "a whole number from 1 to 60");
    }
    for (index, recipient) in backup.recipients.iter().enumerate() {
        if Recipients::parse(std::slice::from_ref(recipient)).is_err() {
            mistake(&format!("recipients[{index}]"), recipient.clone(), "an age recipient such as age1…");
        }
    }
    if !backup.places.is_empty() && backup.recipients.is_empty() {
        mistake(
            "recipients",
            "nothing".to_owned(),
            "who can open them when this box is lost: `offhook backup key` makes a key",
        );
    }
    for (index, place) in backup.places.iter().enumerate() {
        let key = format!("places[{index}]");
        match is_cloud(place) {
            true if with_cloud => {}
            true => {
                mistake(&key, CLOUD.to_owned(), "cloud.enabled = true with it: the box is known by its certificate")
            }
            false if place.is_absolute() => {}
            false => mistake(&key, place.display().to_string(), "\"cloud\", or a path that begins with /"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistakes_of;
    use crate::backup::BackupKey;

    #[test]
    fn mistakes_name_their_key() {
        let recipient = BackupKey::generate().recipient();
        let good = format!("[backup]\nplaces = ['/mnt/nas']\nrecipients = ['{recipient}']");
        assert_eq!(mistakes_of(&good), Vec::<String>::new());
        let cloud = format!("[cloud]\nenabled = true\n[backup]\nplaces = ['cloud']\nrecipients = ['{recipient}']");
        assert_eq!(mistakes_of(&cloud), Vec::<String>::new());
        for (text, key) in [
            ("places = ['/mnt/nas']", "backup.recipients"),
            (&format!("places = ['cloud']\nrecipients = ['{recipient}']"), "backup.places[0]"),
            (&format!("places = ['/mnt', 'nas']\nrecipients = ['{recipient}']"), "backup.places[1]"),
            ("recipients = ['age1x']", "backup.recipients[0]"),
            ("base_hours = 0", "backup.base_hours"),
            ("bases_kept = 61", "backup.bases_kept"),
        ] {
            let mistakes = mistakes_of(&format!("[backup]\n{text}"));
            assert!(matches!(&mistakes[..], [mistake] if mistake.starts_with(key)), "{text}: {mistakes:?}");
        }
    }
}
