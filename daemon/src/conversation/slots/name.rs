//! The caller's name, and the name a message is for.

use super::spelling::spelled;

/// What a caller's own name follows.
const LEADS: &[&str] = &[
    "my name is ",
    "my name's ",
    "the name is ",
    "i am called ",
    "speaking is ",
    "this is ",
    "i'm ",
    "i am ",
    "it's ",
];
/// Leads that other things follow as well: only a word in capitals is a name behind them.
const LOOSE: &[&str] = &["this is ", "i'm ", "i am ", "it's "];
/// Words that no name begins with, though a recogniser may write them in capitals.
const NOT_NAMES: &[&str] = &[
    "a",
    "an",
    "the",
    "not",
    "about",
    "for",
    "in",
    "on",
    "it",
    "that",
    "my",
    "very",
    "so",
    "really",
    "urgent",
    "important",
    "wrong",
    "correct",
    "right",
    "what",
    "how",
    "calling",
    "number",
    "i",
    "no",
    "yes",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "english",
    "american",
];
/// Letters a spelled name must have: "U S" is none.
const SPELLED_MIN: usize = 3;

/// "My name is Anna Smith." A name that is spelled behind it replaces the last one: "Anna Smith, S M Y T H".
pub fn name(text: &str) -> Option<String> {
    let plain = text.replace('’', "'");
    let small = plain.to_ascii_lowercase();
    let (lead, start) = LEADS.iter().find_map(|lead| find_word(&small, lead).map(|at| (*lead, at + lead.len())))?;
    let rest = plain.get(start..)?;
    if LOOSE.contains(&lead) && !rest.starts_with(char::is_uppercase) {
        return None;
    }
    let spoken = words_of_name(rest);
    let spelled = spelled(rest, SPELLED_MIN).map(|word| capitalised(&word));
    match (spoken.as_slice(), spelled) {
        ([], spelled) => spelled.filter(|_| !LOOSE.contains(&lead)),
        ([first, ..], None) => (!NOT_NAMES.contains(&first.to_lowercase().as_str())).then(|| spoken.join(" ")),
        ([.., last], Some(spelled)) => {
            // Only what was said is spelled; the initials of something else are not a name.
            let same = last.chars().next().map(|c| c.to_ascii_lowercase())
                == spelled.chars().next().map(|c| c.to_ascii_lowercase());
            let before = &spoken[..spoken.len() - usize::from(same)];
            Some(before.iter().cloned().chain([spelled]).collect::<Vec<_>>().join(" "))
        }
    }
}

/// Where `lead` begins as a word of its own.
fn find_word(small: &str, lead: &str) -> Option<usize> {
    small.match_indices(lead).map(|(at, _)| at).find(|at| !small[..*at].ends_with(char::is_alphanumeric))
}

/// Up to three words that can be a name, from the beginning.
fn words_of_name(rest: &str) -> Vec<String> {
    let end = rest.find([',', '.', '?', '!', ';']).unwrap_or(rest.len());
    let is_name = |word: &&str| {
        let small = word.to_lowercase();
        // A single letter begins something that is spelled.
        word.chars().count() > 1
            && !matches!(
                small.as_str(),
                "and" | "from" | "calling" | "speaking" | "i'm" | "my" | "spelled" | "here" | "that's"
            )
            && word.chars().all(|c| c.is_alphabetic() || "-'".contains(c))
            && !(word.contains('-') && word.split('-').all(|part| part.chars().count() == 1))
    };
    rest[..end].split_whitespace().take_while(is_name).take(3).map(capitalised).collect()
}

/// For whom a message is: "a message for Mister Brown" is `Mr Brown`.
pub(super) fn message_for(text: &str) -> Option<String> {
    const CUES: &[&str] =
        &["message for ", "word for ", "note for ", "a message to ", "message with ", "tell ", "let ", "ask "];
    const TITLES: &[(&str, &str)] = &[
        ("mister", "Mr"),
        ("mr", "Mr"),
        ("misses", "Mrs"),
        ("missus", "Mrs"),
        ("mrs", "Mrs"),
        ("miss", "Ms"),
        ("ms", "Ms"),
        ("doctor", "Dr"),
        ("dr", "Dr"),
        ("professor", "Prof"),
    ];
    let plain = text.replace("Mr.", "Mr").replace("Mrs.", "Mrs").replace("Ms.", "Ms").replace("Dr.", "Dr");
    let small = plain.to_ascii_lowercase();
    let after = |cue: &&str| find_word(&small, cue).map(|at| at + cue.len());
    CUES.iter().filter_map(after).find_map(|start| {
        let rest = plain.get(start..)?;
        let first = rest.split_whitespace().next()?;
        let title = TITLES.iter().find(|(said, _)| first.eq_ignore_ascii_case(said));
        let named = title.map_or(rest, |_| rest[first.len()..].trim_start());
        let capitals = named.split_whitespace().take_while(|word| word.starts_with(char::is_uppercase)).count();
        let mut name = words_of_name(named);
        // Without a title, a transcript's capitals tell a name from "the doctor"; behind the name they tell its end.
        name.truncate(capitals.max(usize::from(title.is_some())));
        name.first().filter(|first| !NOT_NAMES.contains(&first.to_lowercase().as_str()))?;
        let title = title.map(|(_, written)| (*written).to_owned());
        Some(title.into_iter().chain(name).collect::<Vec<_>>().join(" "))
    })
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        for (text, expected) in [
            ("My name is anna smith, and I have a question.", Some("Anna Smith")),
            ("This is Peter from Boston.", Some("Peter")),
            ("Hi, I'm Peter Miller.", Some("Peter Miller")),
            ("my name's O'Neill", Some("O'Neill")),
            ("My name is Anna Smith, S M Y T H.", Some("Anna Smyth")),
            ("My name is Anna Smith, S as in Sam, M, Y, T, H", Some("Anna Smyth")),
            ("My name is Meyer, spelled M-E-Y-E-R", Some("Meyer")),
            ("My name is B R A U N", Some("Braun")),
            ("This is really urgent.", None),
            ("This is Really urgent.", None),
            ("this is great", None),
            ("I'm calling about a bill", None),
            ("I am angry", None),
            ("My name is", None),
        ] {
            assert_eq!(name(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_message_is_for_somebody() {
        for (text, expected) in [
            ("Please take a message for Mister Brown. Tell him that the delivery is late.", Some("Mr Brown")),
            ("I have a message for Dr. Lopez about my tooth", Some("Dr Lopez")),
            ("Tell Susan I called", Some("Susan")),
            ("Please tell him I called.", None),
            ("a message for the doctor", None),
            ("Can I leave a message?", None),
        ] {
            assert_eq!(message_for(text).as_deref(), expected, "{text}");
        }
    }
}
