//! What a word's beginning may turn into. Each rule looks at the rest of the text and says how much of it it took.

use super::numbers::{cardinal, digits, ordinal, written, year};

/// Words and the length in bytes they replace.
type Taken = Option<(String, usize)>;

/// Tries every rule. `before` is what was written so far.
pub(super) fn apply(rest: &str, before: &str) -> Taken {
    let first = rest.chars().next()?;
    if !(first.is_ascii_alphanumeric() || "$€£+(#-".contains(first)) {
        return None;
    }
    let rules: [fn(&str) -> Taken; 14] = [
        link,
        email,
        domain,
        money_before,
        iso_date,
        emergency,
        phone,
        time,
        day_first,
        fraction,
        percent,
        ordinal_number,
        unit,
        range,
    ];
    rules
        .into_iter()
        .find_map(|rule| rule(rest))
        .or_else(|| month_first(rest))
        .or_else(|| abbreviation(rest, before))
        .or_else(|| number(rest))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The token up to a space, without the punctuation that ends a sentence.
fn token(rest: &str) -> &str {
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | ')' | '"' | '>')).unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', '!', '?', ':'])
}

/// A number as written: digits, thousands commas, one decimal point. `1,2` and `5.` stop before the sign.
fn numeral(rest: &str) -> Option<&str> {
    let bytes = rest.as_bytes();
    let run = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = run(0);
    if end == 0 || end > 18 {
        return None;
    }
    while end <= 15 && bytes.get(end) == Some(&b',') && run(end + 1) == 3 {
        end += 4;
    }
    if bytes.get(end) == Some(&b'.') && (1..=6).contains(&run(end + 1)) {
        end += 1 + run(end + 1);
    }
    Some(&rest[..end])
}

/// The rest does not go on with the same word.
fn ends_word(rest: &str) -> bool {
    !rest.starts_with(char::is_alphanumeric)
}

fn symbols(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '.' => out.push_str(" dot "),
            '/' => out.push_str(" slash "),
            '-' => out.push_str(" dash "),
            '_' => out.push_str(" underscore "),
            '@' => out.push_str(" at "),
            ':' => out.push_str(" colon "),
            c if c.is_ascii_digit() => out.push_str(&format!(" {} ", digits(&c.to_string()))),
            c if c.is_alphanumeric() => out.push(c),
            _ => out.push(' '),
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn link(rest: &str) -> Taken {
    let address = token(rest);
    let plain = address.strip_prefix("https://").or(address.strip_prefix("http://"));
    let plain = plain.or(Some(address).filter(|a| a.starts_with("www.") && a.len() > 4))?;
    let (www, plain) = plain.strip_prefix("www.").map_or(("", plain), |p| ("w w w dot ", p));
    Some((format!("{www}{}", symbols(plain.trim_end_matches('/'))), address.len()))
}

fn email(rest: &str) -> Taken {
    let address = token(rest);
    let (local, domain) = address.split_once('@')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    let fits = !local.is_empty() && domain.contains('.') && local.chars().all(plain) && domain.chars().all(plain);
    fits.then(|| (symbols(address), address.len()))
}

fn domain(rest: &str) -> Taken {
    const ENDINGS: [&str; 8] = [".com", ".org", ".net", ".io", ".de", ".eu", ".co.uk", ".gov"];
    let name = token(rest);
    let fits = ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending));
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
    (fits && plain).then(|| (symbols(name), name.len()))
}

/// Unit, units, subunit, subunits.
type Currency = [&'static str; 4];
const DOLLAR: Currency = ["dollar", "dollars", "cent", "cents"];
const EURO: Currency = ["euro", "euros", "cent", "cents"];
const POUND: Currency = ["pound", "pounds", "penny", "pence"];
const CURRENCIES: [(&str, Currency); 6] =
    [("$", DOLLAR), ("€", EURO), ("£", POUND), ("USD", DOLLAR), ("EUR", EURO), ("GBP", POUND)];

fn amount(text: &str, [unit, units, sub, subs]: Currency) -> String {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let whole_value = whole.replace(',', "").parse::<u64>().ok();
    let (Some(value), true) = (whole_value, matches!(decimals.len(), 0 | 2)) else {
        return format!("{} {units}", written(text));
    };
    let cents = decimals.parse::<u64>().unwrap_or(0);
    let whole = format!("{} {}", cardinal(value), if value == 1 { unit } else { units });
    let small = format!("{} {}", cardinal(cents), if cents == 1 { sub } else { subs });
    match (value, cents) {
        (_, 0) => whole,
        (0, _) => small,
        (_, _) => format!("{whole} and {small}"),
    }
}

fn money_before(rest: &str) -> Taken {
    let (sign, currency) = CURRENCIES.iter().find(|(sign, _)| rest.starts_with(sign))?;
    let after = rest[sign.len()..].trim_start_matches([' ', '\u{a0}']);
    let number = numeral(after)?;
    let mut length = rest.len() - after.len() + number.len();
    for scale in ["million", "billion", "thousand"] {
        if rest[length..].starts_with(&format!(" {scale}")) {
            length += scale.len() + 1;
            return Some((format!("{} {scale} {}", written(number), currency[1]), length));
        }
    }
    let to = range_sign(&rest[length..])
        .filter(|sign| rest[length + sign..].starts_with(|c| CURRENCIES.iter().any(|(s, _)| s.starts_with(c))));
    let words = amount(number, *currency);
    Some(match to {
        Some(sign) => (format!("{words} to "), length + sign),
        None => (words, length),
    })
}

fn iso_date(rest: &str) -> Taken {
    let text = rest.get(..10).filter(|_| ends_word(&rest[10..]))?;
    let date: jiff::civil::Date =
        text.parse().ok().filter(|_| text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-')?;
    let month = MONTHS.get(usize::try_from(date.month() - 1).ok()?)?;
    let day = ordinal(u64::try_from(date.day()).ok()?);
    Some((format!("{month} {day}, {}", year(u64::try_from(date.year()).ok()?)), 10))
}

fn emergency(rest: &str) -> Taken {
    let number = numeral(rest).filter(|n| ["911", "112", "999", "988"].contains(n))?;
    ends_word(&rest[3..]).then(|| (digits(number), 3))
}

/// Seven to fifteen digits in groups, or ten in a row.
fn phone(rest: &str) -> Taken {
    let allowed = |c: char| c.is_ascii_digit() || " -.()/\u{a0}–".contains(c);
    let plus = rest.starts_with('+');
    let body = &rest[usize::from(plus)..];
    let end = body.find(|c: char| !allowed(c)).unwrap_or(body.len());
    let body = body[..end].trim_end_matches(|c: char| !c.is_ascii_digit());
    let groups: Vec<&str> = body.split(|c: char| !c.is_ascii_digit()).filter(|g| !g.is_empty()).collect();
    let count: usize = groups.iter().map(|g| g.len()).sum();
    let length = usize::from(plus) + body.len();
    if !(7..=15).contains(&count)
        || !ends_word(&rest[length..])
        || rest[length..].starts_with([':', ',']) && rest[length + 1..].starts_with(|c: char| c.is_ascii_digit())
    {
        return None;
    }
    let years =
        groups.len() == 2 && groups.iter().all(|g| g.len() == 4 && (g.starts_with("19") || g.starts_with("20")));
    // Groups of one or two digits are other things: dates, scores, lists of numbers.
    let short = groups.iter().skip(1).any(|g| g.len() < 3) && !plus;
    if years || short || (!plus && groups.first().is_some_and(|g| g.len() < 3) && groups.len() < 4) {
        return None;
    }
    let groups = if let [run] = groups[..] { split_run(run) } else { groups };
    let words = groups.iter().map(|g| digits(g)).collect::<Vec<_>>().join(", ");
    Some((if plus { format!("plus {words}") } else { words }, length))
}

/// Three, three and the rest.
fn split_run(run: &str) -> Vec<&str> {
    if run.len() <= 4 {
        return vec![run];
    }
    let mut groups = vec![&run[..3]];
    groups.extend(split_run(&run[3..]));
    groups
}

/// How long the sign of a range is, with its spaces: `–`, ` - `, `-`.
fn range_sign(rest: &str) -> Option<usize> {
    let after = rest.trim_start_matches(' ');
    let sign = after.chars().next().filter(|c| matches!(c, '-' | '–' | '—'))?;
    let end = after[sign.len_utf8()..].trim_start_matches(' ');
    Some(rest.len() - end.len())
}

/// A time of day: hour, minute, whether a half of the day is written, length.
struct Clock {
    hour: u64,
    minute: u64,
    half: Option<&'static str>,
    length: usize,
}

fn clock(rest: &str) -> Option<Clock> {
    let hours = rest.bytes().take_while(u8::is_ascii_digit).count();
    let hour: u64 = rest.get(..hours).filter(|_| (1..=2).contains(&hours))?.parse().ok()?;
    let minutes =
        rest[hours..].strip_prefix(':').and_then(|r| r.get(..2)).filter(|m| m.bytes().all(|b| b.is_ascii_digit()));
    let length = hours + if minutes.is_some() { 3 } else { 0 };
    let minute = minutes.map_or(Some(0), |m| m.parse().ok())?;
    let (half, suffix) = half_of_day(&rest[length..]);
    let whole = ends_word(&rest[length + suffix..]) && !rest[length + suffix..].starts_with(':');
    let clear = (minutes.is_some() || half.is_some()) && hour <= 24 && minute < 60 && !(half.is_some() && hour > 12);
    (whole && clear).then_some(Clock { hour, minute, half, length: length + suffix })
}

/// "AM", "p.m." and the like, and how long it is with its space.
fn half_of_day(rest: &str) -> (Option<&'static str>, usize) {
    let after = rest.trim_start_matches([' ', '\u{a0}']);
    for (written, half) in [("a.m.", "a m"), ("p.m.", "p m"), ("am", "a m"), ("pm", "p m")] {
        let fits = after.get(..written.len()).is_some_and(|found| found.eq_ignore_ascii_case(written));
        if !fits || !ends_word(&after[written.len()..]) {
            continue;
        }
        // The last point of "p.m." may also end the sentence.
        let end = after[written.len()..].trim_start();
        let ends_sentence = written.ends_with('.') && (end.is_empty() || (end.starts_with(char::is_uppercase)));
        return (Some(half), rest.len() - after.len() + written.len() - usize::from(ends_sentence));
    }
    (None, 0)
}

impl Clock {
    fn words(&self, half: Option<&str>) -> String {
        let hour = match self.hour % 12 {
            0 => 12,
            hour => hour,
        };
        let minute = match self.minute {
            0 => String::new(),
            1..10 => format!(" oh {}", cardinal(self.minute)),
            _ => format!(" {}", cardinal(self.minute)),
        };
        let half = half.map(|half| format!(" {half}")).unwrap_or_default();
        format!("{}{minute}{half}", cardinal(hour))
    }

    /// The half of the day that the 24-hour clock tells.
    fn told(&self) -> Option<&'static str> {
        self.half.or(match self.hour {
            0 | 24 => Some("a m"),
            13..24 => Some("p m"),
            _ => None,
        })
    }
}

fn time(rest: &str) -> Taken {
    let from = clock(rest)?;
    let to = range_sign(&rest[from.length..]).and_then(|sign| Some((sign, clock(&rest[from.length + sign..])?)));
    let Some((sign, to)) = to else { return Some((from.words(from.told()), from.length)) };
    // "9:00–17:30": the end shows that the beginning is in the morning.
    let morning = (to.half.is_none() && to.hour > 12 && from.hour < 12).then_some("a m");
    let noon = (to.half.is_none() && to.hour > 12 && from.hour == 12).then_some("p m");
    let words = format!("{} to {}", from.words(from.told().or(morning).or(noon)), to.words(to.told()));
    Some((words, from.length + sign + to.length))
}

/// A month by its name or its abbreviation with a point, and its length.
fn month(rest: &str) -> Option<(&'static str, usize)> {
    MONTHS.iter().find_map(|name| {
        if rest.starts_with(name) && ends_word(&rest[name.len()..]) {
            return Some((*name, name.len()));
        }
        let short = format!("{}.", &name[..3]);
        rest.starts_with(&short).then_some((*name, 4))
    })
}

/// A day of the month, perhaps with its ending.
fn day_number(rest: &str) -> Option<(u64, usize)> {
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let day: u64 = rest.get(..length).filter(|_| (1..=2).contains(&length))?.parse().ok()?;
    let ending = ["st", "nd", "rd", "th"].iter().find(|e| rest[length..].starts_with(**e)).map_or(0, |e| e.len());
    let end = length + ending;
    ((1..=31).contains(&day) && ends_word(&rest[end..]) && !rest[end..].starts_with(':')).then_some((day, end))
}

fn year_number(rest: &str) -> Option<(u64, usize)> {
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = rest.get(..length).filter(|_| length == 4)?.parse().ok()?;
    ((1100..2100).contains(&number) && ends_word(&rest[4..])).then_some((number, 4))
}

/// "December 24, 2026".
fn month_first(rest: &str) -> Taken {
    let (month, name_length) = month(rest)?;
    let after = rest[name_length..].strip_prefix(' ')?;
    let (day, day_length) = day_number(after)?;
    let length = name_length + 1 + day_length;
    let words = format!("{month} {}", ordinal(day));
    let comma = if rest[length..].starts_with(", ") { 2 } else { 1 };
    match rest.get(length + comma..).filter(|_| rest[length..].starts_with([' ', ','])).and_then(year_number) {
        Some((number, digits)) => Some((format!("{words}, {}", year(number)), length + comma + digits)),
        None => Some((words, length)),
    }
}

/// "24 December 2026".
fn day_first(rest: &str) -> Taken {
    let (day, day_length) = day_number(rest)?;
    let (month, name_length) = month(rest[day_length..].strip_prefix(' ')?)?;
    let length = day_length + 1 + name_length;
    let words = format!("the {} of {month}", ordinal(day));
    match rest[length..].strip_prefix(' ').and_then(year_number) {
        Some((number, digits)) => Some((format!("{words} {}", year(number)), length + 1 + digits)),
        None => Some((words, length)),
    }
}

fn fraction(rest: &str) -> Taken {
    const KNOWN: [(&str, &str); 5] = [
        ("24/7", "twenty-four seven"),
        ("1/2", "one half"),
        ("1/3", "one third"),
        ("1/4", "one quarter"),
        ("3/4", "three quarters"),
    ];
    let (written, words) = KNOWN.iter().find(|(written, _)| rest.starts_with(written))?;
    let after = &rest[written.len()..];
    (ends_word(after) && !after.starts_with('/')).then(|| ((*words).to_string(), written.len()))
}

fn percent(rest: &str) -> Taken {
    let number = numeral(rest)?;
    let after = rest[number.len()..].trim_start_matches([' ', '\u{a0}']);
    let length = rest.len() - after.len() + 1;
    after.starts_with('%').then(|| (format!("{} percent", written(number)), length))
}

fn ordinal_number(rest: &str) -> Taken {
    let number = numeral(rest).filter(|n| n.len() <= 4 && !n.contains(['.', ',']))?;
    let ending = rest.get(number.len()..number.len() + 2)?;
    let fits = ["st", "nd", "rd", "th"].contains(&ending) && ends_word(&rest[number.len() + 2..]);
    fits.then(|| Some((ordinal(number.parse().ok()?), number.len() + 2)))?
}

/// Unit as written, one of it, several of it. Longer ones first.
const UNITS: &[(&str, &str, &str)] = &[
    ("km/h", "kilometer per hour", "kilometers per hour"),
    ("mph", "mile per hour", "miles per hour"),
    ("km", "kilometer", "kilometers"),
    ("cm", "centimeter", "centimeters"),
    ("mm", "millimeter", "millimeters"),
    ("kg", "kilogram", "kilograms"),
    ("mg", "milligram", "milligrams"),
    ("ml", "milliliter", "milliliters"),
    ("min.", "minute", "minutes"),
    ("min", "minute", "minutes"),
    ("hrs", "hour", "hours"),
    ("hr", "hour", "hours"),
    ("ft", "foot", "feet"),
    ("lbs", "pound", "pounds"),
    ("lb", "pound", "pounds"),
    ("°C", "degree Celsius", "degrees Celsius"),
    ("°F", "degree Fahrenheit", "degrees Fahrenheit"),
    ("€", "euro", "euros"),
    ("£", "pound", "pounds"),
    ("EUR", "euro", "euros"),
    ("USD", "dollar", "dollars"),
    ("GBP", "pound", "pounds"),
    ("m", "meter", "meters"),
    ("g", "gram", "grams"),
    ("h", "hour", "hours"),
];

fn unit(rest: &str) -> Taken {
    let minus = rest.starts_with('-');
    let number = numeral(&rest[usize::from(minus)..])?;
    let after_number = &rest[usize::from(minus) + number.len()..];
    let after = after_number.trim_start_matches([' ', '\u{a0}']);
    let (sign, one, several) =
        UNITS.iter().find(|(sign, ..)| after.starts_with(sign) && ends_word(&after[sign.len()..]))?;
    let length = rest.len() - after.len() + sign.len();
    let money = CURRENCIES.iter().find(|(known, _)| known == sign);
    let words = match money {
        Some((_, currency)) => amount(number, *currency),
        None => format!("{} {}", written(number), if number == "1" { one } else { several }),
    };
    Some((if minus { format!("minus {words}") } else { words }, length))
}

fn range(rest: &str) -> Taken {
    let from = numeral(rest)?;
    let sign = range_sign(&rest[from.len()..])?;
    let to = numeral(&rest[from.len() + sign..])?;
    let length = from.len() + sign + to.len();
    // The end is left to the other rules, so that "10-15 min" and "5–10%" keep their units.
    let spaced = rest[from.len()..].starts_with(" -");
    (ends_word(&rest[length..]) && !spaced && from.len() <= 4)
        .then(|| (format!("{} to ", plain(from)), from.len() + sign))
}

fn plain(number: &str) -> String {
    year_number(number).map_or_else(|| written(number), |(value, _)| year(value))
}

fn number(rest: &str) -> Taken {
    if let Some(after) = rest.strip_prefix('#') {
        let number = numeral(after)?;
        return Some((format!("number {}", written(number)), 1 + number.len()));
    }
    if let Some(after) = rest.strip_prefix('-') {
        let number = numeral(after)?;
        return Some((format!("minus {}", written(number)), 1 + number.len()));
    }
    let number = numeral(rest)?;
    ends_word(&rest[number.len()..]).then(|| (plain(number), number.len()))
}

const ABBREVIATIONS: &[(&str, &str)] = &[
    ("Dr.", "Doctor"),
    ("Mrs.", "Missus"),
    ("Mr.", "Mister"),
    ("Ms.", "Miss"),
    ("Prof.", "Professor"),
    ("Ave.", "Avenue"),
    ("Blvd.", "Boulevard"),
    ("Rd.", "Road"),
    ("Sq.", "Square"),
    ("Apt.", "Apartment"),
    ("e.g.", "for example"),
    ("i.e.", "that is"),
    ("etc.", "et cetera."),
    ("approx.", "approximately"),
    ("incl.", "including"),
    ("excl.", "excluding"),
    ("ext.", "extension"),
    ("vs.", "versus"),
    ("dept.", "department"),
    ("tel.", "telephone"),
    ("appt.", "appointment"),
    ("w/o", "without"),
    ("a.m.", "a m"),
    ("p.m.", "p m"),
];

fn abbreviation(rest: &str, before: &str) -> Taken {
    if let Some(after) = rest.strip_prefix("No. ").filter(|after| after.starts_with(|c: char| c.is_ascii_digit())) {
        return Some(("number ".into(), rest.len() - after.len()));
    }
    if rest.starts_with("St.") {
        // "12 Main St." or "St. Mary": a street has a name before it.
        let named = before.trim_end().rsplit(' ').next().is_some_and(|word| word.starts_with(char::is_uppercase));
        return Some((if named && before.ends_with(' ') { "Street" } else { "Saint" }.into(), 3));
    }
    ABBREVIATIONS.iter().find(|(short, _)| rest.starts_with(short)).map(|(short, words)| ((*words).into(), short.len()))
}
