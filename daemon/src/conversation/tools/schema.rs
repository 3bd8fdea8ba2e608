//! Which of a tool's arguments a caller can give, by its JSON schema.

use serde_json::{Map, Value};

use crate::config::ToolScope;

/// A choice among more values than this cannot be offered aloud, nor is it likely to be said.
const MAX_VALUES: usize = 12;

/// An argument that is filled from what the caller says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// As the schema calls it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Whether the tool cannot be used without it.
    pub required: bool,
}

/// What an argument is, as far as a caller can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A day, given as `2026-11-24`.
    Date,
    /// A time, given as `15:00`.
    Time,
    /// A day and a time, given as `2026-11-24T15:00:00+01:00` (RFC 3339) in the office's time zone.
    Moment,
    /// Digits of a telephone number.
    Phone,
    /// An e-mail address.
    Email,
    /// The caller's name.
    Name,
    /// An order, customer or other number.
    Code {
        /// Whether the tool wants a number and not digits in a text.
        numeric: bool,
    },
    /// One of these values.
    Choice(Vec<String>),
    /// The caller's own words.
    Query,
}

impl Kind {
    /// Whether it may be a number to dial.
    fn is_number(&self) -> bool {
        match self {
            Kind::Phone | Kind::Code { .. } | Kind::Query => true,
            Kind::Date | Kind::Time | Kind::Moment | Kind::Email | Kind::Name | Kind::Choice(_) => false,
        }
    }
}

/// Why a tool cannot be used in a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It needs something that no caller can say.
    #[error("it needs {0:?}, which a caller cannot say; the configuration may give it")]
    Argument(String),
    /// It needs two values that cannot be told from each other.
    #[error("it needs {0:?} beside another value of that kind; the configuration may give one of them")]
    Twice(String),
    /// It would dial a number that a caller has said.
    #[error("it would dial what a caller says as {0:?}; only a fixed value may be dialled")]
    Dials(String),
}

/// The arguments to be filled: those that `fixed` does not give.
pub(super) fn wanted(
    schema: &Map<String, Value>,
    fixed: &Map<String, Value>,
    scope: ToolScope,
) -> Result<Vec<Argument>, Unusable> {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some(name) = required.iter().find(|name| !properties.contains_key(**name) && !fixed.contains_key(**name)) {
        return Err(Unusable::Argument((*name).to_owned()));
    }
    let mut wants: Vec<Argument> = Vec::new();
    // Required ones first: an optional one never takes their place.
    let open = || properties.iter().filter(|(name, _)| !fixed.contains_key(*name));
    for (name, property) in open().filter(|(name, _)| required.contains(&name.as_str())) {
        let kind = kind(name, property).ok_or_else(|| Unusable::Argument(name.clone()))?;
        if scope == ToolScope::Dial && kind.is_number() {
            return Err(Unusable::Dials(name.clone()));
        }
        if wants.iter().any(|known| is_alike(&known.kind, &kind)) {
            return Err(Unusable::Twice(name.clone()));
        }
        wants.push(Argument { name: name.clone(), kind, required: true });
    }
    for (name, property) in open().filter(|(name, _)| !required.contains(&name.as_str())) {
        let Some(kind) = kind(name, property) else { continue };
        let dials = scope == ToolScope::Dial && kind.is_number();
        // What nobody has to say is only taken where it cannot be anything else.
        let is_sure = kind != Kind::Query && !wants.iter().any(|known| is_alike(&known.kind, &kind));
        if !dials && is_sure {
            wants.push(Argument { name: name.clone(), kind, required: false });
        }
    }
    Ok(wants)
}

/// Whether one utterance could not be told to fill the one or the other.
fn is_alike(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::Choice(one), Kind::Choice(other)) => one.iter().any(|value| other.contains(value)),
        (Kind::Phone | Kind::Code { .. }, Kind::Phone | Kind::Code { .. }) => true,
        (Kind::Moment, Kind::Date | Kind::Time) | (Kind::Date | Kind::Time, Kind::Moment) => true,
        (one, other) => one == other,
    }
}

fn kind(name: &str, property: &Value) -> Option<Kind> {
    if let Some(values) = property.get("enum") {
        let values: Option<Vec<String>> =
            values.as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        return values.filter(|values| !values.is_empty() && values.len() <= MAX_VALUES).map(Kind::Choice);
    }
    let words = name_words(name);
    let is_about = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    match type_of(property)? {
        "string" => {}
        "integer" | "number" => return is_about(CODES).then_some(Kind::Code { numeric: true }),
        _ => return None,
    }
    match property.get("format").and_then(Value::as_str) {
        Some("date") => return Some(Kind::Date),
        Some("time") => return Some(Kind::Time),
        Some("date-time") => return Some(Kind::Moment),
        Some("email") => return Some(Kind::Email),
        Some(_) => return None,
        None => {}
    }
    let kinds = [
        (OF_MACHINES, None),
        (&["email", "mail"][..], Some(Kind::Email)),
        (&["phone", "telephone", "mobile", "callback"][..], Some(Kind::Phone)),
        (&["date", "day"][..], Some(Kind::Date)),
        (&["time"][..], Some(Kind::Time)),
        (CODES, Some(Kind::Code { numeric: false })),
        (&["name"][..], Some(Kind::Name)),
        (QUERIES, Some(Kind::Query)),
    ];
    kinds.into_iter().find(|(known, _)| is_about(known)).and_then(|(_, kind)| kind)
}

/// What nobody says on a telephone.
const OF_MACHINES: &[&str] =
    &["file", "path", "url", "uri", "directory", "folder", "token", "password", "uuid", "json"];
const CODES: &[&str] =
    &["number", "code", "id", "account", "order", "reference", "ticket", "invoice", "booking", "member", "customer"];
const QUERIES: &[&str] = &[
    "query",
    "q",
    "search",
    "text",
    "message",
    "question",
    "term",
    "terms",
    "keyword",
    "keywords",
    "topic",
    "subject",
    "item",
    "product",
    "city",
    "location",
    "place",
    "reason",
    "note",
    "description",
];

/// The type, or the only one beside null.
fn type_of(property: &Value) -> Option<&str> {
    match property.get("type")? {
        Value::String(one) => Some(one),
        Value::Array(several) => {
            let mut others = several.iter().filter_map(Value::as_str).filter(|one| *one != "null");
            others.next().filter(|_| others.next().is_none())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// `orderNumber` and `order_number` are about an order and a number.
pub(super) fn name_words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter.is_uppercase() || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(last) = words.last_mut()
        {
            last.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn wants(schema: Value, fixed: Value, scope: ToolScope) -> Result<Vec<(String, Kind, bool)>, Unusable> {
        let found = wanted(&object(schema), &object(fixed), scope)?;
        Ok(found.into_iter().map(|one| (one.name, one.kind, one.required)).collect())
    }

    #[test]
    fn kinds_are_known_by_type_format_and_name() {
        for (name, property, expected) in [
            ("date", json!({"type": "string"}), Some(Kind::Date)),
            ("when", json!({"type": "string", "format": "date"}), Some(Kind::Date)),
            ("startTime", json!({"type": "string"}), Some(Kind::Time)),
            ("customer_email", json!({"type": "string"}), Some(Kind::Email)),
            ("phoneNumber", json!({"type": "string"}), Some(Kind::Phone)),
            ("orderNumber", json!({"type": "string"}), Some(Kind::Code { numeric: false })),
            ("order_id", json!({"type": ["integer", "null"]}), Some(Kind::Code { numeric: true })),
            ("name", json!({"type": "string"}), Some(Kind::Name)),
            ("query", json!({"type": "string"}), Some(Kind::Query)),
            ("city", json!({"enum": ["Bonn", "Kiel"]}), Some(Kind::Choice(vec!["Bonn".into(), "Kiel".into()]))),
            ("fileName", json!({"type": "string"}), None),
            ("name", json!({"type": "object"}), None),
            ("when", json!({"type": "string", "format": "date-time"}), Some(Kind::Moment)),
            ("a", json!({"type": "number"}), None),
            ("query", json!({}), None),
        ] {
            assert_eq!(kind(name, &property), expected, "{name} {property}");
        }
    }

    #[test]
    fn what_a_caller_cannot_say_has_to_be_fixed() {
        let schema =
            json!({"properties": {"path": {"type": "string"}, "head": {"type": "number"}}, "required": ["path"]});
        let read = ToolScope::Read;
        assert_eq!(wants(schema.clone(), json!({}), read), Err(Unusable::Argument("path".into())));
        assert_eq!(wants(schema, json!({"path": "/notice.txt"}), read), Ok(vec![]));
        let nowhere = json!({"properties": {}, "required": ["x"]});
        assert_eq!(wants(nowhere, json!({}), read), Err(Unusable::Argument("x".into())));
    }

    #[test]
    fn two_values_of_a_kind_cannot_be_told_apart() {
        let both = json!({"properties": {"from_date": {"type": "string"}, "to_date": {"type": "string"}},
            "required": ["from_date", "to_date"]});
        assert_eq!(wants(both, json!({}), ToolScope::Read), Err(Unusable::Twice("to_date".into())));
        let one =
            json!({"properties": {"a_date": {"type": "string"}, "date": {"type": "string"}}, "required": ["date"]});
        assert_eq!(wants(one, json!({}), ToolScope::Read), Ok(vec![("date".into(), Kind::Date, true)]));
    }

    #[test]
    fn nothing_that_a_caller_says_is_dialled() {
        let schema = json!({"properties": {"phone": {"type": "string"}}, "required": ["phone"]});
        assert_eq!(wants(schema.clone(), json!({}), ToolScope::Dial), Err(Unusable::Dials("phone".into())));
        assert_eq!(wants(schema, json!({"phone": "101"}), ToolScope::Dial), Ok(vec![]));
    }
}
