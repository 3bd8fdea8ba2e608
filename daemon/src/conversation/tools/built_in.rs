//! What the box does for callers itself, by the same rules as tools of other programs: it is told what it needs, read back,
//! and done after a yes.

use jiff::Zoned;
use jiff::civil::{Date, Time};
use serde_json::{Map, Value, json};

use super::fill::Given;
use super::{Argument, Kind, Tool};
use crate::config::ToolScope;
use crate::conversation::answer::{grouped, read_back};
use crate::conversation::context::Context;
use crate::conversation::phrases;
use crate::conversation::slots::TimeOfDay;
use crate::mcp::Offered;
use crate::office::hours::DayQuery;

/// The server whose tools these are. No name of a configuration has such a letter.
const SERVER: &str = "(the box)";
/// Somebody calls the caller back.
const CALL_BACK: &str = "call_back";
/// How turn rows cite it.
pub const SOURCE: &str = "office.call_back";

/// What callers say who want to be called back.
const SAYS: &str = "call me back; can somebody call me back; please have someone call me; give me a call back; \
                    could someone call me tomorrow; ask them to call me; I would like a call back";

/// The promise that somebody calls back: at a number, perhaps on a day, at a time.
pub fn call_back() -> Offered {
    let schema = json!({
        "properties": {
            "phone": { "type": "string" },
            "date": { "type": "string", "format": "date" },
            "time": { "type": "string", "format": "time" },
        },
        "required": ["phone"],
    });
    Offered {
        server: SERVER.into(),
        name: CALL_BACK.into(),
        scope: ToolScope::Write,
        says: SAYS.into(),
        does: "have somebody call you back".into(),
        arguments: Map::new(),
        schema: schema.as_object().cloned().unwrap_or_default(),
    }
}

impl Tool {
    /// Whether the box does it itself.
    pub(super) fn is_built_in(&self) -> bool {
        self.server == SERVER
    }
}

/// Whether whoever is called back may be asked for by a server of this name.
pub fn is_built_in(server: &str) -> bool {
    server == SERVER
}

/// A call back as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct CallBack {
    /// Where to.
    pub number: String,
    /// When, as far as that was said.
    pub day: Option<DayQuery>,
    /// At which hour.
    pub time: Option<TimeOfDay>,
    /// Both in words.
    pub said: Option<String>,
}

impl CallBack {
    /// What [`call_back`] is used with.
    pub fn of(arguments: &Map<String, Value>) -> CallBack {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str);
        let date = text("date").and_then(|date| date.parse::<Date>().ok());
        let time = text("time").and_then(|time| time.parse::<Time>().ok()).map(TimeOfDay::At);
        let said = [date.map(read_back::date), time.map(read_back::time_of_day)].into_iter().flatten();
        CallBack {
            number: text("phone").unwrap_or_default().to_owned(),
            day: date.map(|date| DayQuery::Date { month: date.month(), day: date.day() }),
            time,
            said: said.reduce(|day, time| format!("{day} {time}")),
        }
    }
}

/// What the caller is told of a promise that is kept. `is_exact`: they have said at which hour.
pub fn promised(owner: Option<&str>, reference: &str, due: &Zoned, is_exact: bool) -> Vec<String> {
    let time = if is_exact { TimeOfDay::At(due.time()) } else { TimeOfDay::Until(due.time()) };
    let (date, time) = (read_back::date(due.date()), read_back::time_of_day(time));
    let who = owner.unwrap_or("Somebody");
    vec![
        format!("{who} will call you back on {date}, {time}."),
        format!("Your reference is {}.", read_back::code(reference)),
        phrases::ANYTHING_ELSE.to_owned(),
    ]
}

/// What need not be said: where the caller calls from. It is read back like anything else.
pub(super) fn known(tool: &Tool, argument: &Argument, context: &Context) -> Option<Given> {
    let number = context.caller.number.as_ref().filter(|_| tool.is_built_in() && argument.kind == Kind::Phone)?;
    let said = grouped(number.strip_prefix("+1").unwrap_or(number.trim_start_matches('+')));
    Some(Given { argument: argument.name.clone(), value: Value::String(number.clone()), said })
}
