//! Days in what callers say: "next Tuesday", "in two weeks", "the fourteenth", "Friday week", "over Christmas".
//!
//! What is named is kept as it was meant ([`DayQuery`]); which date it is depends on today and is the calendar's affair.

use super::contains_words;
use super::numbers::{cardinal, count, ordinal, unit};
use crate::conversation::words;
use crate::office::hours::DayQuery;
use jiff::civil::Weekday;

/// Days with a name of their own, longer names first.
const NAMED_DAYS: &[&str] = &[
    "christmas eve",
    "christmas",
    "boxing day",
    "new year's eve",
    "new years eve",
    "new year's day",
    "new years day",
    "new year",
    "thanksgiving",
    "easter",
    "good friday",
    "independence day",
    "fourth of july",
    "labor day",
    "labour day",
    "memorial day",
    "halloween",
    "veterans day",
    "columbus day",
    "president's day",
    "valentine",
    "bank holiday",
];

/// The day a text names.
pub fn day(text: &str) -> Option<DayQuery> {
    let words = words(text);
    let joined = words.join(" ");
    let has = |phrase: &str| contains_words(&joined, phrase);
    if let Some(name) = NAMED_DAYS.iter().find(|name| joined.contains(**name)) {
        return Some(DayQuery::Named((*name).into()));
    }
    if has("day after tomorrow") {
        return Some(DayQuery::DayAfterTomorrow);
    }
    if let Some(day) = date(&words).or_else(|| ahead(&words)).or_else(|| by_weekday(&words, weeks_ahead(has))) {
        return Some(day);
    }
    if let Some(day) = day_of_month(&words) {
        return Some(day);
    }
    let phrases = [
        ("tomorrow", DayQuery::Tomorrow),
        ("today", DayQuery::Today),
        ("tonight", DayQuery::Today),
        ("this evening", DayQuery::Today),
        ("this afternoon", DayQuery::Today),
        ("this morning", DayQuery::Today),
        ("weekend", DayQuery::Weekend),
        ("weekends", DayQuery::Weekend),
        ("next week", DayQuery::NextWeek),
        ("week", DayQuery::Week),
        ("weekdays", DayQuery::Week),
        ("every day", DayQuery::Week),
        ("right now", DayQuery::Now),
        ("now", DayQuery::Now),
    ];
    let found = phrases.into_iter().find(|(phrase, _)| has(phrase)).map(|(_, query)| query);
    found.filter(|query| *query != DayQuery::Now || !has("bye now"))
}

fn weekday(word: &str) -> Option<Weekday> {
    let word = word.trim_end_matches("'s");
    let word = word.strip_suffix('s').unwrap_or(word);
    Some(match word {
        "monday" => Weekday::Monday,
        "tuesday" => Weekday::Tuesday,
        "wednesday" => Weekday::Wednesday,
        "thursday" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        "sunday" => Weekday::Sunday,
        _ => return None,
    })
}

fn month(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    MONTHS.iter().position(|month| *month == word).map(|i| i as i8 + 1)
}

/// "December 24th", "the fourth of July", "24 December", "March three".
fn date(words: &[String]) -> Option<DayQuery> {
    for (i, word) in words.iter().enumerate() {
        let Some(month) = month(word) else { continue };
        let number = |words: &[String]| {
            let spoken = ordinal(words).map(|(day, _)| day);
            let day = spoken.or_else(|| cardinal(words).and_then(|(day, _)| i8::try_from(day).ok()))?;
            (1..=31).contains(&day).then_some(day)
        };
        // A month only with a day beside it; "may one ask" and "may five of us come" have none.
        let spoken = |words: &&[String]| word != "may" || words.first().is_some_and(|word| unit(word).is_none());
        let after = words.get(i + 1..).filter(spoken).and_then(number);
        let before = || {
            let end = if i >= 2 && words[i - 1] == "of" { i - 2 } else { i.checked_sub(1)? };
            let compound = end.checked_sub(1).and_then(|tens| ordinal(&words[tens..=end]));
            let day = compound.filter(|(_, used)| *used == 2).or_else(|| ordinal(&words[end..=end]));
            day.map(|(day, _)| day).or_else(|| number(&words[end..=end]))
        };
        if let Some(day) = after.or_else(before) {
            return Some(DayQuery::Date { month, day });
        }
    }
    None
}

/// "In two weeks", "three days from now", "two weeks from Tuesday", "in two weeks on Tuesday", "Tuesday in two weeks", "a
/// month from today".
fn ahead(words: &[String]) -> Option<DayQuery> {
    for at in 0..words.len() {
        let Some((number, used)) = count(&words[at..]) else { continue };
        let unit = words.get(at + used).map(|word| word.trim_end_matches("'s").trim_end_matches('s'));
        let (days, months) = match unit {
            Some("day") => (number, 0),
            Some("week") => (number * 7, 0),
            Some("fortnight") => (number * 14, 0),
            Some("month") => (0, number),
            Some(_) | None => continue,
        };
        let is = |place: usize, any: &[&str]| words.get(place).is_some_and(|word| any.contains(&word.as_str()));
        let next = at + used + 1;
        let from = is(next, &["from", "on", "after"]);
        let from_now = from && is(next + 1, &["now", "today"]);
        let leads = at > 0 && is(at - 1, &["in", "within"]);
        let behind = words.get(next + 1).and_then(|word| weekday(word)).filter(|_| from);
        let before = || at.checked_sub(2).and_then(|before| weekday(&words[before])).filter(|_| leads);
        let day = behind.or_else(before);
        let weeks = u8::try_from(days / 7).ok()?;
        return match day {
            Some(day) if days % 7 == 0 && months == 0 && leads => Some(DayQuery::InWeek { day, weeks }),
            Some(day) if days % 7 == 0 && months == 0 => Some(DayQuery::WeekdayAfter { day, weeks }),
            None if months > 0 && (leads || from_now) => Some(DayQuery::AheadMonths(u8::try_from(months).ok()?)),
            None if leads || from_now => Some(DayQuery::Ahead { days: u16::try_from(days).ok()? }),
            Some(_) | None => continue,
        };
    }
    None
}

/// Which week is meant: 1 is the next.
fn weeks_ahead(has: impl Fn(&str) -> bool) -> Option<u8> {
    if has("week after next") { Some(2) } else { has("next week").then_some(1) }
}

/// "On Sundays", "next Tuesday", "Tuesday next week", "Tuesday the week after next", "Friday week". Whoever moves something
/// "from Monday to Wednesday" wants Wednesday.
fn by_weekday(words: &[String], weeks_ahead: Option<u8>) -> Option<DayQuery> {
    const MOVES: &[&str] = &["move", "moved", "change", "reschedule", "switch", "shift"];
    let mut days = words.iter().enumerate().filter_map(|(at, word)| Some((at, weekday(word)?)));
    let (first, moves) = (days.next()?, words.iter().any(|word| MOVES.contains(&word.as_str())));
    let target = days.next_back().filter(|(at, _)| moves && words[at - 1] == "to");
    let (at, day) = target.unwrap_or(first);
    if let Some(weeks) = weeks_ahead {
        return Some(DayQuery::InWeek { day, weeks });
    }
    if words.get(at + 1).is_some_and(|word| word == "week") {
        return Some(DayQuery::WeekdayAfter { day, weeks: 1 });
    }
    Some(DayQuery::Weekday { day, next: at > 0 && words[at - 1] == "next" })
}

/// "The fourteenth", "on the first of next month". "The first floor" is none.
fn day_of_month(words: &[String]) -> Option<DayQuery> {
    const BEHIND: &[&str] = &[
        "at",
        "in",
        "of",
        "after",
        "before",
        "around",
        "between",
        "from",
        "would",
        "is",
        "if",
        "please",
        "or",
        "and",
        "works",
        "work",
        "morning",
        "afternoon",
        "evening",
        "then",
        "maybe",
        "too",
        "instead",
    ];
    for at in 1..words.len() {
        let Some((day, used)) = ordinal(&words[at..]).filter(|_| words[at - 1] == "the") else { continue };
        let behind = words.get(at + used);
        let leads = at >= 2 && matches!(words[at - 2].as_str(), "on" | "for" | "until" | "by" | "from");
        // "Is this the first?" asks something else; "the fourteenth" is only ever a day.
        if behind.is_some_and(|word| !BEHIND.contains(&word.as_str())) || (day <= 3 && !leads) {
            continue;
        }
        let next_month = words[at + used..].join(" ").starts_with("of next month");
        return Some(DayQuery::DayOfMonth { day, next_month });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn days_are_found_in_what_people_say() {
        for (text, expected) in [
            ("and on Sundays?", "sunday"),
            ("next Tuesday at three", "next tuesday"),
            ("Friday's hours", "friday"),
            ("tomorrow", "tomorrow"),
            ("the day after tomorrow", "day after tomorrow"),
            ("Are you open now?", "now"),
            ("this weekend", "weekend"),
            ("next week", "next week"),
            ("Tuesday next week", "tuesday in 1 week"),
            ("on Tuesday, the week after next", "tuesday in 2 weeks"),
            ("next week on Tuesday", "tuesday in 1 week"),
            ("Friday week", "friday and 1 week"),
            ("two weeks from Monday", "monday and 2 weeks"),
            ("a week on Monday", "monday and 1 week"),
            ("in two weeks on Tuesday", "tuesday in 2 weeks"),
            ("in two weeks", "in 14 days"),
            ("on Friday in two weeks", "friday in 2 weeks"),
            ("move it from Monday to Wednesday", "wednesday"),
            ("are you there from Monday to Wednesday", "monday"),
            ("in a fortnight", "in 14 days"),
            ("in a couple of days", "in 2 days"),
            ("three days from now", "in 3 days"),
            ("in a month", "in 1 month"),
            ("two months from today", "in 2 months"),
            ("the fourteenth after lunch", "14th"),
            ("on the first, please", "1st"),
            ("the twenty first would be good", "21st"),
            ("on the 3rd of next month", "3rd next month"),
            ("on the twenty-fourth of December", "12-24"),
            ("December 24th", "12-24"),
            ("December twenty fourth", "12-24"),
            ("July fourth", "07-04"),
            ("24 December", "12-24"),
            ("the first of May", "05-01"),
            ("the thirty first of March", "03-31"),
            ("over Christmas", "christmas"),
            ("on Christmas Eve", "christmas eve"),
            ("on New Year's Eve", "new year's eve"),
            ("on New Year's Day", "new year's day"),
        ] {
            assert_eq!(day(text).map(|day| day.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_words_are_no_days() {
        for text in [
            "May I ask something?",
            "May one ask something?",
            "What are your hours?",
            "on the first floor",
            "the second time I call",
            "Is this the first?",
            "I waited two weeks",
            "a month is long",
            "the third",
        ] {
            assert_eq!(day(text).filter(|day| *day != DayQuery::Week), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "((in|the|a|first|twenty|may|of|next|week|friday|from|99|on|days) ?){0,9}|\\PC{0,40}") {
            let _ = day(&text);
        }
    }
}
