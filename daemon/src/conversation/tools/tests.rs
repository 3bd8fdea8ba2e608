use jiff::Zoned;
use serde_json::{Value, json};

use super::*;
use crate::conversation::answer::{Action, Reply};
use crate::conversation::context::{Context, Offer};
use crate::conversation::intent::Classifier;
use crate::conversation::phrases;
use crate::office::sample;

/// An order that is looked up by its number, and a table that is booked.
fn candidates() -> Vec<Candidate> {
    let order = json!({"properties": {"orderNumber": {"type": "string"}}, "required": ["orderNumber"]});
    let book = json!({"properties": {"date": {"type": "string"}, "time": {"type": "string"}, "name": {"type": "string"},
        "email": {"type": "string"}}, "required": ["date", "time", "name"]});
    let weather =
        json!({"properties": {"city": {"type": "string", "enum": ["New York", "Chicago"]}}, "required": ["city"]});
    let haircut = json!({"properties": {"start": {"type": "string", "format": "date-time"}}, "required": ["start"]});
    let tools = [
        ("order", ToolScope::Read, "where is my order; order status", "", order),
        ("book", ToolScope::Write, "book a table; reserve a table", "book a table", book),
        ("weather", ToolScope::Read, "weather", "", weather),
        ("haircut", ToolScope::Write, "haircut; cut my hair", "book a haircut", haircut),
    ];
    let candidate = |(name, scope, says, does, schema): (&str, ToolScope, &str, &str, Value)| {
        let offered = Offered {
            server: "desk".into(),
            name: name.into(),
            scope,
            says: says.into(),
            does: does.into(),
            arguments: json!({"office": 7}).as_object().cloned().unwrap(),
            schema: schema.as_object().cloned().unwrap(),
        };
        let phrases = Phrase::parts(says).map(|text| Phrase { text: text.into(), vector: None }).collect();
        Candidate { tool: Tool::new(&offered).unwrap(), phrases }
    };
    tools.into_iter().map(candidate).collect()
}

/// A caller who hears out whatever is said, in text.
struct Talk {
    context: Context,
    candidates: Vec<Candidate>,
    now: Zoned,
}

impl Talk {
    fn new() -> Talk {
        // A Tuesday.
        let now = "2026-11-24T10:00:00[America/New_York]".parse().unwrap();
        Talk { context: Context::default(), candidates: candidates(), now }
    }

    fn hear(&mut self, text: &str) -> Option<Reply> {
        let office = sample::office().unwrap();
        let understanding = Classifier::keywords_only(office.asked_for()).understand(text, None, &self.context);
        let context = &self.context;
        let asked =
            Asked { text, understanding: &understanding, vector: None, context, office: &office, now: &self.now };
        let reply = reply(&asked, &self.candidates);
        self.context.slots.merge(&understanding.slots);
        let asks = reply.as_ref().filter(|reply| reply.action == Action::Continue).and_then(|reply| reply.tool.clone());
        self.context.offer =
            asks.as_ref().filter(|pending| matches!(pending.stage, Stage::Confirm { .. })).map(|_| Offer::Tool);
        self.context.tool = asks.map(|pending| Box::new(pending.with_heard(true)));
        reply
    }

    /// What is said, or the call that is made.
    fn says(&mut self, text: &str) -> String {
        match self.hear(text) {
            None => "(no tool)".into(),
            Some(reply) if reply.action == Action::UseTool => {
                let call = reply.tool.unwrap().call();
                format!("{} {}", call.source(), Value::Object(call.arguments))
            }
            Some(reply) => reply.sentences.join(" "),
        }
    }
}

/// Each talk: what the caller says, and what follows.
fn check(turns: &[(&str, &str)]) {
    let mut talk = Talk::new();
    for (text, expected) in turns {
        assert_eq!(talk.says(text), *expected, "{text}");
    }
}

const SORRY: &str = "I am sorry, I did not get that.";

#[test]
fn what_is_missing_is_asked_for() {
    check(&[
        ("Where is my order?", "What is the order number?"),
        ("Seven four one two.", r#"mcp:desk/order {"office":7,"orderNumber":"7412"}"#),
    ]);
    check(&[("My order number is 8 8 1 2, where is my order?", r#"mcp:desk/order {"office":7,"orderNumber":"8812"}"#)]);
    check(&[
        ("How is the weather?", "Which one: New York or Chicago?"),
        ("In Chicago, please.", r#"mcp:desk/weather {"city":"Chicago","office":7}"#),
    ]);
}

/// A day and a time that are one argument may come in one sentence or in two, and are told in the office's time.
#[test]
fn a_day_and_a_time_make_a_moment() {
    let used = r#"mcp:desk/haircut {"office":7,"start":"2026-12-01T15:00:00-05:00"}"#;
    let read_back = "I can book a haircut: Tuesday, December 1, at 3:00 PM. Shall I do that?";
    check(&[("I would like a haircut next Tuesday at three.", read_back), ("Yes, please.", used)]);
    check(&[
        ("I would like a haircut.", "For which day, and at what time?"),
        ("Next Tuesday.", "At what time?"),
        ("At three.", read_back),
        ("Yes.", used),
    ]);
    check(&[
        ("I would like a haircut at three.", "For which day?"),
        ("Next Tuesday at four.", &read_back.replace('3', "4")),
    ]);
    let summer = r#"mcp:desk/haircut {"office":7,"start":"2027-07-06T15:00:00-04:00"}"#;
    check(&[
        (
            "A haircut on July 6th at three, please.",
            "I can book a haircut: Tuesday, July 6, at 3:00 PM. Shall I do that?",
        ),
        ("Yes.", summer),
    ]);
}

#[test]
fn twice_at_most_and_then_a_message_is_offered() {
    check(&[
        ("Where is my order?", "What is the order number?"),
        ("Purple monkeys.", "I am sorry, I did not get that. What is the order number?"),
        ("I have no idea.", &format!("{SORRY} {}", phrases::OFFER_MESSAGE)),
        ("Purple monkeys.", "(no tool)"),
    ]);
}

#[test]
fn what_changes_something_is_read_back_and_needs_a_yes() {
    let read_back = "I can book a table: Tuesday, December 1, at 3:00 PM, Anna. Shall I do that?";
    let asked = [("I want to book a table for next Tuesday at three.", "What is your name?"), ("Anna.", read_back)];
    let used = r#"mcp:desk/book {"date":"2026-12-01","name":"Anna","office":7,"time":"15:00"}"#;
    check(&[asked[0], asked[1], ("Yes, please.", used)]);
    check(&[asked[0], asked[1], ("No.", phrases::NEVER_MIND), ("Yes.", "(no tool)")]);
    let later = "I can book a table: Tuesday, December 1, Anna, at 4:00 PM. Shall I do that?";
    check(&[asked[0], asked[1], ("No, at four o'clock.", later), ("Yes.", &used.replace("15:00", "16:00"))]);
    check(&[asked[0], asked[1], ("Purple monkeys.", read_back), ("Purple monkeys.", phrases::NEVER_MIND)]);
    check(&[asked[0], asked[1], ("Never mind.", phrases::NEVER_MIND)]);
    check(&[asked[0], asked[1], ("Are you open on Sunday?", "(no tool)"), ("Yes.", "(no tool)")]);
}

#[test]
fn a_yes_to_what_was_not_heard_out_is_no_yes() {
    let mut talk = Talk::new();
    talk.says("Book a table tomorrow at five, my name is Anna.");
    let told = talk.context.tool.take().unwrap();
    assert!(told.is_heard());
    talk.context.tool = Some(Box::new(told.with_heard(false)));
    let again = talk.hear("Yes.").unwrap();
    assert_eq!((again.action, again.sentences.last().map(String::as_str)), (Action::Continue, Some(phrases::SHALL_I)));
    assert_eq!(talk.hear("Yes.").unwrap().action, Action::UseTool);
}

#[test]
fn another_wish_ends_it() {
    for (text, expected) in [
        ("Can I talk to a real person?", "(no tool)"),
        ("When are you open?", "(no tool)"),
        ("How is the weather in Chicago?", r#"mcp:desk/weather {"city":"Chicago","office":7}"#),
        ("Goodbye.", "(no tool)"),
        ("Forget it.", phrases::NEVER_MIND),
    ] {
        check(&[("Where is my order?", "What is the order number?"), (text, expected)]);
    }
}

#[test]
fn a_tool_that_is_gone_meanwhile_is_not_used() {
    let mut talk = Talk::new();
    talk.says("Where is my order?");
    talk.candidates.clear();
    assert_eq!(talk.says("Seven four one two."), format!("{} {}", phrases::NOT_LOOKED_UP, phrases::OFFER_MESSAGE));
}

#[test]
fn facts_of_the_office_and_other_languages_are_no_business_of_tools() {
    for text in ["When are you open?", "Where are you?", "Wo ist meine Bestellung, bitte?", "Yes.", "Thank you."] {
        check(&[(text, "(no tool)")]);
    }
}
