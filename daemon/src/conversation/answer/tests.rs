use super::*;
use crate::conversation::intent::Classifier;
use crate::dial_plan::Target;
use crate::office::sample;

fn hit(score: f32) -> Hit {
    Hit {
        id: "passage-7".into(),
        title: "Parking".into(),
        text: "## Parking\nYes, there is parking. We have six spaces. A third sentence nobody needs.".into(),
        score,
    }
}

/// Answers `text` on Tuesday, 24 November 2026, at ten in New York.
fn ask_in(context: &Context, text: &str, hits: &[Hit]) -> Reply {
    let office = sample::office().unwrap();
    let understood = Classifier::keywords_only(office.departments.clone()).understand(text, None, context);
    let now = "2026-11-24T10:00:00[America/New_York]".parse().unwrap();
    reply(&understood, context, &office, hits, &now)
}

fn ask(text: &str) -> Reply {
    ask_in(&Context::default(), text, &[])
}

#[test]
fn hours_come_from_the_calendar() {
    for (text, expected) in [
        ("Are you open on Friday?", "On Friday we are open from 9:00 AM to 3:00 PM."),
        ("Are you open on Sunday?", "On Sunday we are closed."),
        ("What are your hours on Thanksgiving?", "On Thursday, Thanksgiving, we are closed."),
        ("Are you open at Christmas?", "On Friday, December 25, Christmas, we are closed."),
        (
            "Are you open on December 24th?",
            "On Thursday, December 24, Christmas Eve, we are open from 9:00 AM to noon.",
        ),
        ("Are you open now?", "We are open now, until 12:30 PM."),
        (
            "What are your hours on the weekend?",
            "On Saturday we are open from 10:00 AM to 1:00 PM. On Sunday we are closed.",
        ),
        (
            "What time do you open tomorrow?",
            "Tomorrow we are open from 9:00 AM to 12:30 PM and from 1:30 PM to 5:30 PM.",
        ),
        (
            "What are your opening hours?",
            "We are open now, until 12:30 PM. We are open Monday to Wednesday from 9:00 AM to 5:30 PM, on Thursday from \
             9:00 AM to 7:00 PM, on Friday from 9:00 AM to 3:00 PM, and on Saturday from 10:00 AM to 1:00 PM. We take a \
             break from 12:30 PM to 1:30 PM. We are closed on Sunday.",
        ),
    ] {
        let reply = ask(text);
        assert_eq!(reply.sentences.join(" "), expected, "{text}");
        assert_eq!(reply.sources, ["office.hours"]);
    }
}

/// Rung for while the office is open, if it has said who; those of a department before the operator.
#[test]
fn a_person_is_rung_when_the_office_is_open() {
    let person = |name: &str, department: &str, reach: &str| crate::office::Person {
        name: name.into(),
        department: Some(department.into()),
        reach: Some(reach.parse().unwrap()),
        ..Default::default()
    };
    let office = Office {
        operator: Some(Target::Group("front".into())),
        departments: vec!["billing".into()],
        people: vec![person("Anna Weber", "billing", "extension:102")],
        ..sample::office().unwrap()
    };
    let ask = |text: &str, at: &str| {
        let understood = Classifier::keywords_only(office.asked_for()).understand(text, None, &Context::default());
        reply(&understood, &Context::default(), &office, &[], &at.parse().unwrap())
    };
    let (open, closed) = ("2026-11-24T10:00:00[America/New_York]", "2026-11-24T22:00:00[America/New_York]");
    for (text, reach) in [
        ("Can I talk to a person?", "group:front"),
        ("Put me through to billing, please.", "extension:102"),
        ("I want to speak to Anna Weber.", "extension:102"),
    ] {
        let reply = ask(text, open);
        assert_eq!((reply.action, reply.connect_to.unwrap().to_string().as_str()), (Action::Connect, reach), "{text}");
        let reply = ask(text, closed);
        assert_eq!((reply.action, reply.connect_to), (Action::Person, None), "{text}");
    }
}

#[test]
fn a_day_the_calendar_does_not_know_is_admitted() {
    let reply = ask("Are you open at Easter?");
    assert!(reply.sources.is_empty() && !reply.is_productive());
    assert_eq!(reply.sentences.last().unwrap(), phrases::OFFER_MESSAGE);
}

#[test]
fn a_passage_is_cited_and_kept_short() {
    let reply = ask_in(&Context::default(), "Do you have parking?", &[hit(0.2), hit(0.8)]);
    assert_eq!(reply.sentences, ["Yes, there is parking.", "We have six spaces."]);
    assert_eq!(reply.sources, ["passage-7"]);
}

#[test]
fn nothing_found_is_admitted_and_never_invented() {
    for hits in [&[][..], &[hit(0.1)]] {
        let reply = ask_in(&Context::default(), "Do you sell bicycles?", hits);
        assert_eq!(reply.sentences, [phrases::NOT_KNOWN, phrases::OFFER_MESSAGE]);
        assert!(reply.sources.is_empty());
    }
}

/// A sentence too long to say is cut, and what is left of it may say the opposite.
#[test]
fn a_sentence_that_was_cut_off_its_exception_is_not_said() {
    let plans = "Delta Dental, Aetna, Cigna, MetLife, Guardian, Humana, Anthem, Ameritas, Principal, Renaissance, United, Lincoln, Assurant";
    let text =
        format!("We accept {plans}, and every other plan that is written in the list at our door, but not Medicaid.");
    let insurance = |text: String| Hit { id: "passage-3".into(), title: "Insurance".into(), text, score: 0.9 };
    let reply = ask_in(&Context::default(), "Do you take Medicaid?", &[insurance(text.clone())]);
    assert_eq!((reply.sentences[0].as_str(), reply.sources.len()), (phrases::NOT_KNOWN, 0));
    let reply = ask_in(&Context::default(), "Do you take Cigna?", &[insurance(text.replace(", but not Medicaid", ""))]);
    assert!(reply.sentences[0].starts_with("We accept Delta"), "{:?}", reply.sentences);
}

#[test]
fn actions_follow_from_what_is_wanted() {
    for (text, action) in [
        ("Can I talk to a person?", Action::Person),
        ("I want to leave a message.", Action::TakeMessage),
        ("Say that again please.", Action::Repeat),
        ("Goodbye.", Action::HangUp),
        ("Where are you?", Action::Continue),
        ("I am really angry!", Action::Person),
    ] {
        assert_eq!(ask(text).action, action, "{text}");
    }
}

#[test]
fn the_second_miss_offers_a_message() {
    let first = ask("Purple monkeys.");
    assert!(!first.sentences.contains(&phrases::OFFER_MESSAGE.to_string()));
    let context = Context { misses: 1, ..Context::default() };
    let second = ask_in(&context, "Purple monkeys.", &[]);
    assert_eq!(second.sentences.last().unwrap(), phrases::OFFER_MESSAGE);
}

#[test]
fn anything_else_is_asked_after_every_second_answer() {
    let asked = |turns| {
        let context = Context { turns, ..Context::default() };
        ask_in(&context, "Where are you?", &[]).sentences.contains(&phrases::ANYTHING_ELSE.to_string())
    };
    assert_eq!([asked(0), asked(1), asked(2), asked(3)], [false, true, false, true]);
}

#[test]
fn an_overnight_office_says_when_it_really_closes() {
    let mut config = sample::config();
    config.hours.tuesday = vec!["18:00-02:00".into()];
    config.holidays.clear();
    let office = Office::try_from(&config).unwrap();
    let classifier = Classifier::keywords_only(vec![]);
    let understood = classifier.understand("Are you open now?", None, &Context::default());
    let at = |time: &str| reply(&understood, &Context::default(), &office, &[], &time.parse().unwrap()).sentences;
    assert_eq!(at("2026-11-24T23:00:00[America/New_York]"), ["We are open now, until 2:00 AM tomorrow."]);
    assert_eq!(at("2026-11-25T01:00:00[America/New_York]"), ["We are open now, until 2:00 AM."]);
    assert_eq!(at("2026-11-25T03:00:00[America/New_York]"), ["We are closed now and open again today at 9:00 AM."]);
}

#[test]
fn a_passage_answers_even_what_was_not_understood() {
    let reply = ask_in(&Context::default(), "Parking garage something", &[hit(0.9)]);
    assert!(reply.is_productive() && reply.sources == ["passage-7"]);
    let booking = Context { turns: 1, ..Context::default() };
    let reply = ask_in(&booking, "I need to cancel my appointment on Friday.", &[hit(0.9)]);
    assert_eq!(reply.sentences.last().unwrap(), phrases::OFFER_MESSAGE, "one question at a time");
}

#[test]
fn the_week_is_told_briefly_whatever_it_is() {
    let told = |hours: [&[&str]; 7]| {
        let mut config = sample::config();
        let day = |n: usize| hours[n].iter().map(ToString::to_string).collect();
        config.hours = crate::office::HoursConfig {
            monday: day(0),
            tuesday: day(1),
            wednesday: day(2),
            thursday: day(3),
            friday: day(4),
            saturday: day(5),
            sunday: day(6),
        };
        week(&Office::try_from(&config).unwrap()).join(" ")
    };
    let (full, none, split): (&[&str], &[&str], &[&str]) = (&["00:00-24:00"], &[], &["08:00-12:00", "14:00-18:00"]);
    assert_eq!(told([full; 7]), "We are open Monday to Sunday all day.");
    assert!(told([none; 7]).starts_with("We are closed on Monday, on Tuesday,"));
    assert_eq!(
        told([split, none, split, none, none, none, none]),
        "We are open on Monday from 8:00 AM to 6:00 PM and on Wednesday from 8:00 AM to 6:00 PM. We take a break from noon \
         to 2:00 PM. We are closed on Tuesday, on Thursday, on Friday, on Saturday, and on Sunday."
    );
    let other: &[&str] = &["08:00-11:00", "12:00-18:00"];
    assert!(told([split, other, none, none, none, none, none]).contains("There are breaks within some days"));
}

#[test]
fn a_number_is_read_back() {
    let said = |text| ask(text).sentences;
    let number = said("My number is five five five, zero one two three.");
    assert_eq!(number, ["I understood 555-0123.", phrases::OFFER_MESSAGE]);
    assert_eq!(
        crate::conversation::normalise::normalise(&number[0]),
        "I understood five five five, zero one two three."
    );
    assert_eq!(
        said("My e-mail address is anna dot smith at example dot com.")[0],
        "I understood anna.smith@example.com."
    );
    assert_eq!(said("My account number is seven four one, nine nine, two.")[0], "I understood 7 4 1 9 9 2.");
    assert_eq!(said("This is Anna Smith."), ["Thank you, Anna Smith. What can I do for you?"]);
}
