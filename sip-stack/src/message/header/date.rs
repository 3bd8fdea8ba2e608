//! Date, always in GMT and always in the one format of RFC 1123 (RFC 3261 §20.17).

use std::fmt;

use super::super::error::{ParseError, Reason};
use super::super::scan::Scan;

/// A second in GMT. The day of the week is computed; a wrong one in the message is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// 1 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

impl Date {
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Result<Self, ParseError> {
        let start = scan.clone();
        let weekday = scan.token("a weekday")?;
        if !WEEKDAYS.iter().any(|known| known.eq_ignore_ascii_case(weekday)) {
            return Err(start.expected("a weekday"));
        }
        scan.expect(b',', "a comma")?;
        scan.skip_lws();
        // Each is at most its bound, so nothing is cut off.
        let day = scan.number(31)? as u8;
        scan.skip_lws();
        let month = scan_month(scan)?;
        scan.skip_lws();
        let year = scan.number(9_999)? as u16;
        scan.skip_lws();
        let hour = scan.number(23)? as u8;
        scan.expect(b':', "a colon")?;
        let minute = scan.number(59)? as u8;
        scan.expect(b':', "a colon")?;
        let second = scan.number(60)? as u8;
        scan.skip_lws();
        let zone = scan.clone();
        if scan.token("GMT")? != "GMT" {
            return Err(zone.expected("GMT"));
        }
        let date = Self { year, month, day, hour, minute, second };
        if day == 0 || year == 0 { Err(start.error(Reason::OutOfRange)) } else { Ok(date) }
    }

    /// Sakamoto's method; 0 is Sunday.
    fn weekday(self) -> usize {
        const SHIFT: [usize; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = usize::from(self.year) - usize::from(self.month < 3 && self.year > 0);
        let shift = SHIFT[usize::from(self.month.clamp(1, 12) - 1)];
        (year + year / 4 - year / 100 + year / 400 + shift + usize::from(self.day)) % 7
    }
}

fn scan_month(scan: &mut Scan<'_>) -> Result<u8, ParseError> {
    let start = scan.clone();
    let name = scan.token("a month")?;
    let index = MONTHS.iter().position(|known| known.eq_ignore_ascii_case(name));
    // At most 12.
    index.map(|index| index as u8 + 1).ok_or_else(|| start.expected("a month"))
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        let (weekday, month) = (WEEKDAYS[self.weekday()], MONTHS[usize::from(month.clamp(&1, &12) - 1)]);
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_parses, check_refused};
    use super::*;

    #[test]
    fn the_one_format_there_is() {
        check_parses("Sat, 13 Nov 2010 23:29:00 GMT", Date::scan, "Sat, 13 Nov 2010 23:29:00 GMT");
        check_parses("Thu, 29 Feb 2024 00:00:00 GMT", Date::scan, "Thu, 29 Feb 2024 00:00:00 GMT");
        check_parses("Sat, 15 Oct 2005 04:44:56 GMT", Date::scan, "Sat, 15 Oct 2005 04:44:56 GMT");
    }

    #[test]
    fn no_other_zone_and_no_impossible_hour() {
        check_refused("Fri, 01 Jan 2010 16:00:00 EST", Date::scan, 26);
        check_refused("Fri, 01 Jan 2010 24:00:00 GMT", Date::scan, 17);
        check_refused("Fri, 00 Jan 2010 16:00:00 GMT", Date::scan, 0);
        check_refused("2010-01-01T16:00:00Z", Date::scan, 0);
    }
}
