/// Placeholder.
pub struct Reception;
/// Placeholder.
pub enum Verdict {}
