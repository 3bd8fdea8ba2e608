//! What the tests of all header files share.

use std::fmt::{Debug, Display};

use super::super::error::ParseError;
use super::super::scan::Scan;

pub(super) type Read<T> = fn(&mut Scan<'_>) -> Result<T, ParseError>;

fn try_parse<T>(value: &str, read: Read<T>) -> Result<T, ParseError> {
    let mut scan = Scan::new("test", value.as_bytes(), 0);
    let parsed = read(&mut scan)?;
    scan.finish()?;
    Ok(parsed)
}

#[track_caller]
pub(super) fn parse<T>(value: &str, read: Read<T>) -> T {
    try_parse(value, read).unwrap()
}

/// `value` reads, prints as `printed`, and that reads as the same again.
#[track_caller]
pub(super) fn check_parses<T: Display + Debug + PartialEq>(value: &str, read: Read<T>, printed: &str) {
    let parsed = parse(value, read);
    assert_eq!(parsed.to_string(), printed);
    assert_eq!(parse(printed, read), parsed);
}

/// `value` is refused, and the error points at this byte.
#[track_caller]
pub(super) fn check_refused<T: Debug>(value: &str, read: Read<T>, offset: usize) {
    assert_eq!(try_parse(value, read).unwrap_err().offset, offset, "{value}");
}
