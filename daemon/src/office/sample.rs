//! The sample office the product starts with: a fictional dental practice, so that the first call has answers.

use super::{Office, OfficeConfig};

/// The `[office]` part of the configuration, as TOML.
pub const OFFICE_TOML: &str = include_str!("../../office/office.toml");

/// The knowledge files: name and Markdown.
pub const KNOWLEDGE: &[(&str, &str)] = &[
    ("appointments.md", include_str!("../../office/knowledge/appointments.md")),
    ("emergencies.md", include_str!("../../office/knowledge/emergencies.md")),
    ("finding-us.md", include_str!("../../office/knowledge/finding-us.md")),
    ("insurance.md", include_str!("../../office/knowledge/insurance.md")),
    ("prices.md", include_str!("../../office/knowledge/prices.md")),
    ("treatments.md", include_str!("../../office/knowledge/treatments.md")),
];

/// The name that a knowledge file of the sample is kept under, so that no file of an office has the same.
pub fn document_name(file: &str) -> String {
    format!("sample:{file}")
}

#[derive(serde::Deserialize)]
struct File {
    office: OfficeConfig,
}

/// The sample as configuration.
pub fn config() -> OfficeConfig {
    #[expect(clippy::expect_used, reason = "embedded at build time; a test parses it")]
    toml::from_str::<File>(OFFICE_TOML).expect("the embedded sample office is valid").office
}

impl Default for OfficeConfig {
    fn default() -> Self {
        config()
    }
}

/// The sample, checked. `None` when the machine has no time zone data for it.
pub fn office() -> Option<Office> {
    Office::try_from(&config()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_valid_and_its_knowledge_speakable() {
        assert!(Office::try_from(&config()).is_ok());
        for (name, text) in KNOWLEDGE {
            assert!(text.starts_with("# "), "{name} has a title");
            let longest = crate::conversation::sentences::split(text).into_iter().max_by_key(String::len).unwrap();
            assert!(longest.len() < 220, "{name}: too long to say: {longest}");
        }
    }
}
