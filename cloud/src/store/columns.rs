//! A row's columns as JSON, which a database can look into.
//!
//! ```text
//! {"name": "Anna", "size_bytes": 12, "mos": 4.5, "embedding": {"base64": "AAEC"}}
//! ```
//! A real number has a point or an exponent, an integer has none; those that JSON does not bring back to the bit are
//! `{"real": "inf"}`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_api::v1::{Value, value::Kind};
use serde_json::{Map, Number, Value as Json};

/// Columns that were kept and cannot be read: the database was changed by something else.
#[derive(Debug, thiserror::Error)]
#[error(
    "column {name:?} of a row is neither a number nor text nor base64: the database was changed by another program"
)]
pub struct ColumnsError {
    name: String,
}

/// The columns as JSON.
pub(super) fn to_json(columns: &BTreeMap<String, Value>) -> String {
    let named = columns.iter().filter_map(|(name, value)| Some((name.clone(), json_of(value.kind.as_ref()?))));
    Json::Object(named.collect()).to_string()
}

fn json_of(kind: &Kind) -> Json {
    let tagged = |tag: &str, text: String| Json::Object(Map::from_iter([(tag.to_owned(), Json::String(text))]));
    match kind {
        Kind::Integer(integer) => Json::from(*integer),
        Kind::Real(real) => exact(*real).map_or_else(|| tagged("real", real.to_string()), Json::Number),
        Kind::Text(text) => Json::String(text.clone()),
        Kind::Blob(blob) => tagged("base64", STANDARD.encode(blob)),
    }
}

/// The number, if reading it again gives the same one.
fn exact(real: f64) -> Option<Number> {
    let number = Number::from_f64(real)?;
    let again: f64 = serde_json::from_str(&number.to_string()).ok()?;
    (again.to_bits() == real.to_bits()).then_some(number)
}

/// The columns again.
pub(super) fn from_json(json: &str) -> Result<BTreeMap<String, Value>, ColumnsError> {
    let columns: BTreeMap<String, Json> =
        serde_json::from_str(json).map_err(|_| ColumnsError { name: String::new() })?;
    let read = columns.into_iter().map(|(name, json)| match kind_of(&json) {
        Some(kind) => Ok((name, Value { kind: Some(kind) })),
        None => Err(ColumnsError { name }),
    });
    read.collect()
}

fn kind_of(json: &Json) -> Option<Kind> {
    match json {
        Json::Number(number) => number.as_i64().map(Kind::Integer).or_else(|| number.as_f64().map(Kind::Real)),
        Json::String(text) => Some(Kind::Text(text.clone())),
        Json::Object(tagged) => {
            let real = || tagged.get("real")?.as_str()?.parse().ok().map(Kind::Real);
            let blob = || Some(Kind::Blob(STANDARD.decode(tagged.get("base64")?.as_str()?).ok()?.into()));
            real().or_else(blob)
        }
        Json::Null | Json::Bool(_) | Json::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_column_holds_comes_back_as_it_was() {
        for kind in [
            Kind::Integer(i64::MIN),
            Kind::Integer(i64::MAX),
            Kind::Integer(0),
            Kind::Real(1.0),
            Kind::Real(0.1 + 0.2),
            Kind::Real(1e300),
            Kind::Real(f64::MIN_POSITIVE),
            Kind::Real(f64::NEG_INFINITY),
            Kind::Text(String::new()),
            Kind::Text("Grüezi \u{0} \"x\"".to_owned()),
            Kind::Blob(vec![0, 255, 7].into()),
            Kind::Blob(vec![].into()),
        ] {
            let columns = BTreeMap::from([("column".to_owned(), Value { kind: Some(kind) })]);
            assert_eq!(from_json(&to_json(&columns)).unwrap(), columns, "{}", to_json(&columns));
        }
        let minus_zero = BTreeMap::from([("x".to_owned(), Value { kind: Some(Kind::Real(-0.0)) })]);
        let Some(Kind::Real(real)) = from_json(&to_json(&minus_zero)).unwrap()["x"].kind else { panic!() };
        assert!(real.is_sign_negative());
    }

    #[test]
    fn what_another_program_wrote_is_refused_with_the_column() {
        for json in [r#"{"mood":true}"#, r#"{"mood":[1]}"#, r#"{"mood":{"base64":"?"}}"#, r#"{"mood":{}}"#] {
            assert!(from_json(json).unwrap_err().to_string().contains("mood"), "{json}");
        }
        from_json("[]").unwrap_err();
    }
}
