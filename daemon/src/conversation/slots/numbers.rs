//! Small numbers as people say them: "twenty-five", "the twenty-first", "12", "a couple".

use crate::conversation::normalise::numbers::ONES;

/// The words for 20, 30, … 90.
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
/// The words for 1st to 20th.
const ORDINALS: [&str; 20] = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
];

fn place(list: &[&str], word: &str) -> Option<u32> {
    list.iter().position(|known| *known == word).and_then(|at| u32::try_from(at).ok())
}

/// A word for 0 to 19.
pub(super) fn unit(word: &str) -> Option<u32> {
    place(&ONES, word)
}

/// A word for 20, 30, … 90.
pub(super) fn tens(word: &str) -> Option<u32> {
    place(&TENS, word).map(|at| 10 * (at + 2))
}

/// The number from 0 to 99 that `words` begin with, and how many words it takes.
pub(super) fn cardinal(words: &[String]) -> Option<(u32, usize)> {
    let first = words.first()?;
    if first.len() <= 2 && first.bytes().all(|b| b.is_ascii_digit()) {
        return Some((first.parse().ok()?, 1));
    }
    if let Some((tens_word, unit_word)) = first.split_once('-') {
        let ones = unit(unit_word).filter(|ones| (1..10).contains(ones))?;
        return Some((tens(tens_word)? + ones, 1));
    }
    if let Some(value) = tens(first) {
        let ones = words.get(1).and_then(|word| unit(word)).filter(|ones| (1..10).contains(ones));
        return Some(ones.map_or((value, 1), |ones| (value + ones, 2)));
    }
    unit(first).map(|value| (value, 1))
}

/// As [`cardinal`], and "a" or "an" is one, "a couple of" two.
pub(super) fn count(words: &[String]) -> Option<(u32, usize)> {
    match words.first()?.as_str() {
        "a" if words.get(1).is_some_and(|word| word == "couple") => {
            Some((2, if words.get(2).is_some_and(|word| word == "of") { 3 } else { 2 }))
        }
        "a" | "an" => Some((1, 1)),
        _ => cardinal(words),
    }
}

/// The day of a month, 1 to 31, that `words` begin with as an ordinal ("14th", "twenty first"), and how many words it
/// takes.
pub(super) fn ordinal(words: &[String]) -> Option<(i8, usize)> {
    let first = words.first()?.as_str();
    let (value, used) = if let Some(digits) = ["st", "nd", "rd", "th"].iter().find_map(|end| first.strip_suffix(end))
        && !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
    {
        (digits.parse().ok()?, 1)
    } else if let Some((tens_word, ordinal_word)) = first.split_once('-') {
        (tens(tens_word)? + place(&ORDINALS[..9], ordinal_word)? + 1, 1)
    } else if let Some(tens) = tens(first) {
        (tens + place(&ORDINALS[..9], words.get(1)?)? + 1, 2)
    } else if first == "thirtieth" {
        (30, 1)
    } else {
        (place(&ORDINALS, first)? + 1, 1)
    };
    let day = i8::try_from(value).ok().filter(|day| (1..=31).contains(day))?;
    Some((day, used))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::words;

    #[test]
    fn numbers_are_read_to_their_end() {
        for (text, expected) in [
            ("three", Some((3, 1))),
            ("twenty-five people", Some((25, 1))),
            ("twenty five people", Some((25, 2))),
            ("twenty to four", Some((20, 1))),
            ("12 of them", Some((12, 1))),
            ("123", None),
            ("people", None),
            ("", None),
        ] {
            assert_eq!(cardinal(&words(text)), expected, "{text}");
        }
        assert_eq!(count(&words("a couple of days")), Some((2, 3)));
        assert_eq!(count(&words("a week")), Some((1, 1)));
        for (text, expected) in [
            ("14th", Some((14, 1))),
            ("twenty-first", Some((21, 1))),
            ("thirty first", Some((31, 2))),
            ("fortieth", None),
            ("thirty-second", None),
            ("twenty people", None),
            ("0th", None),
            ("th", None),
        ] {
            assert_eq!(ordinal(&words(text)), expected, "{text}");
        }
    }
}
