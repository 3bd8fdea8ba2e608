//! Numbers in English words.

/// The words for 0 to 19, in order.
pub(in crate::conversation) const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// A whole number: "one thousand two hundred".
pub(super) fn cardinal(number: u64) -> String {
    let scale = |unit: u64, name: &str| {
        let rest = number % unit;
        let head = format!("{} {name}", cardinal(number / unit));
        if rest == 0 { head } else { format!("{head} {}", cardinal(rest)) }
    };
    match number {
        0..20 => ONES[number as usize].into(),
        20..100 if number.is_multiple_of(10) => TENS[number as usize / 10].into(),
        20..100 => format!("{}-{}", TENS[number as usize / 10], ONES[number as usize % 10]),
        100..1_000 => scale(100, "hundred"),
        1_000..1_000_000 => scale(1_000, "thousand"),
        1_000_000..1_000_000_000 => scale(1_000_000, "million"),
        _ => scale(1_000_000_000, "billion"),
    }
}

/// "twenty-first".
pub(super) fn ordinal(number: u64) -> String {
    let words = cardinal(number);
    let at = words.rfind([' ', '-']).map_or(0, |i| i + 1);
    let (head, last) = words.split_at(at);
    let last = match last {
        "one" => "first".into(),
        "two" => "second".into(),
        "three" => "third".into(),
        "five" => "fifth".into(),
        "eight" => "eighth".into(),
        "nine" => "ninth".into(),
        "twelve" => "twelfth".into(),
        tens if tens.ends_with('y') => format!("{}ieth", &tens[..tens.len() - 1]),
        other => format!("{other}th"),
    };
    format!("{head}{last}")
}

/// A year: "nineteen eighty-four", "two thousand five", "twenty twenty-six".
pub(super) fn year(number: u64) -> String {
    let (century, rest) = (number / 100, number % 100);
    match (number, rest) {
        (2000..2010, _) | (0..1100, _) | (2100.., _) => cardinal(number),
        (_, 0) => format!("{} hundred", cardinal(century)),
        (_, 1..10) => format!("{} oh {}", cardinal(century), cardinal(rest)),
        (_, _) => format!("{} {}", cardinal(century), cardinal(rest)),
    }
}

/// Digit by digit. Other characters are left out.
pub(super) fn digits(text: &str) -> String {
    let digits = text.chars().filter_map(|c| c.to_digit(10));
    digits.map(|d| ONES[d as usize]).collect::<Vec<_>>().join(" ")
}

/// A number as written, with thousands commas and a decimal point: "1,200.5". Long or zero-led ones digit by digit.
pub(super) fn written(text: &str) -> String {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let plain = whole.replace(',', "");
    let spelled = (plain.len() > 1 && plain.starts_with('0'))
        || (plain.len() >= 5 && !whole.contains(',') && decimals.is_empty());
    let value = plain.parse::<u64>().ok().filter(|_| !spelled);
    let head = value.map_or_else(|| digits(&plain), cardinal);
    if decimals.is_empty() { head } else { format!("{head} point {}", digits(decimals)) }
}
