//! Whether the box understood and answered rightly.

use daemon::conversation::phrases;

use super::Row;

/// What came of the intent and the slots of one line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Understood {
    /// Whether the intent is one of those it may be.
    pub intent: bool,
    /// Slots that were said.
    pub named: usize,
    /// Those of them that were found with their value.
    pub found: usize,
    /// Slots that nobody said.
    pub invented: usize,
}

/// Judges what was understood: the intent's name and the slots.
pub fn judge_understanding<'a>(
    row: &Row,
    intent: &str,
    slots: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Understood {
    let slots: Vec<_> = slots.into_iter().collect();
    let is_found = |(name, value): &&(String, String)| slots.iter().any(|(n, v)| n == name && v == value);
    let is_invented = |(name, _): &&(&str, &str)| row.slots.iter().all(|(known, _)| known != name);
    Understood {
        intent: row.intents.iter().any(|known| known == intent),
        named: row.slots.len(),
        found: row.slots.iter().filter(is_found).count(),
        invented: slots.iter().filter(is_invented).count(),
    }
}

/// What an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It says what the office says.
    Right,
    /// It says that it does not know, and the office does not say it either.
    RightlyRefused,
    /// It says that it does not know although the office does.
    Refused,
    /// It says something else.
    Wrong,
}

/// Judges an answer by the row's key; `None` if the row has none.
pub fn judge_answer(row: &Row, answer: &str) -> Option<Answered> {
    let key = row.key.as_deref()?;
    let is_refused = [phrases::NOT_KNOWN, phrases::FALLBACK, phrases::NOT_CAUGHT].iter().any(|no| answer.contains(no));
    let answer = answer.to_lowercase();
    let holds = |part: &str| part.split('|').any(|word| answer.contains(&word.trim().to_lowercase()));
    Some(match (key, is_refused) {
        ("!", true) => Answered::RightlyRefused,
        ("!", false) => Answered::Wrong,
        (_, true) => Answered::Refused,
        (key, false) if key.split('&').all(holds) => Answered::Right,
        (_, false) => Answered::Wrong,
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn row(text: &str) -> Row {
        parse(text).remove(0)
    }

    #[test]
    fn intents_and_slots_are_counted_one_by_one() {
        let row = row("On Friday at ten?\tappointment|opening_hours\tday=friday;time=10:00\t");
        let judged =
            judge_understanding(&row, "opening_hours", [("day", "friday"), ("time", "22:00"), ("name", "Ten")]);
        assert_eq!(judged, Understood { intent: true, named: 2, found: 1, invented: 1 });
        assert!(!judge_understanding(&row, "price", []).intent);
    }

    #[test]
    fn answers_are_right_wrong_or_refused() {
        let known = row("How much is it?\tprice\t\t$140|140 dollars & cleaning");
        for (answer, expected) in [
            ("A check-up with cleaning costs $140.", Answered::Right),
            ("A check-up costs $140.", Answered::Wrong),
            (phrases::NOT_KNOWN, Answered::Refused),
        ] {
            assert_eq!(judge_answer(&known, answer), Some(expected), "{answer}");
        }
        let unknown = row("What is the password?\tquestion\t\t!");
        assert_eq!(judge_answer(&unknown, phrases::NOT_KNOWN), Some(Answered::RightlyRefused));
        assert_eq!(judge_answer(&unknown, "It is on the wall."), Some(Answered::Wrong));
        assert_eq!(judge_answer(&row("Yes.\tconfirm\t\t"), "Good."), None);
    }
}
