//! The list of headers: order, spelling and raw values as they came.

use std::fmt::{Display, Write};

use super::header::HeaderName;

/// Header fields in the order of the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<Field>);

/// One header line.
#[derive(Debug, Clone)]
pub struct Field {
    name: HeaderName,
    /// Only where it differs from the name's own spelling.
    spelling: Option<Box<str>>,
    value: Vec<u8>,
    offset: usize,
}

impl Field {
    pub(crate) fn received(spelling: &str, value: &[u8], offset: usize) -> Self {
        let name = HeaderName::new(spelling);
        let spelling = (name.as_str() != spelling).then(|| spelling.into());
        Self { name, spelling, value: value.to_vec(), offset }
    }

    fn own(name: HeaderName, value: &impl Display) -> Self {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(text, "{value}");
        let mut value = text.into_bytes();
        value.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n' | 0)).for_each(|byte| *byte = b' ');
        Self { name, spelling: None, value, offset: 0 }
    }

    /// Which header it is.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The name as it stands on the wire.
    pub fn spelling(&self) -> &str {
        self.spelling.as_deref().unwrap_or(self.name.as_str())
    }

    /// The value without surrounding white space; folds have become spaces. Need not be UTF-8.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Where the value started in the message it was parsed from; 0 in a message of our own.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }
}

/// Where a field once stood does not make it another field.
impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.spelling == other.spelling && self.value == other.value
    }
}

impl Eq for Field {}

impl Headers {
    /// All fields in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Field> {
        self.0.iter()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there no field at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields of that name, in order.
    pub fn all<'a>(&'a self, name: &'a HeaderName) -> impl DoubleEndedIterator<Item = &'a Field> {
        self.0.iter().filter(move |field| field.name == *name)
    }

    /// The first field of that name.
    pub fn first(&self, name: &HeaderName) -> Option<&Field> {
        self.0.iter().find(|field| field.name == *name)
    }

    /// Is there a field of that name?
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.first(name).is_some()
    }

    /// Adds a field at the end. Line ends in the value become spaces, so it cannot grow into another field.
    pub fn push(&mut self, name: HeaderName, value: impl Display) {
        self.0.push(Field::own(name, &value));
    }

    /// Adds a field before all others, as a proxy or client does with Via.
    pub fn push_front(&mut self, name: HeaderName, value: impl Display) {
        self.0.insert(0, Field::own(name, &value));
    }

    /// Adds a field as it came.
    pub fn push_field(&mut self, field: Field) {
        self.0.push(field);
    }

    /// Replaces all fields of that name by this one, in the place of the first, else at the end.
    pub fn set(&mut self, name: HeaderName, value: impl Display) {
        let field = Field::own(name, &value);
        match self.0.iter().position(|old| old.name == field.name) {
            Some(index) => {
                self.remove(&field.name);
                self.0.insert(index, field);
            }
            None => self.0.push(field),
        }
    }

    /// Takes all fields of that name away.
    pub fn remove(&mut self, name: &HeaderName) {
        self.0.retain(|field| field.name != *name);
    }

    /// Takes the first `read_bytes` of the first field of that name away, or all of the field.
    pub(crate) fn cut_first(&mut self, name: &HeaderName, read_bytes: Option<usize>) {
        let Some(index) = self.0.iter().position(|field| field.name == *name) else { return };
        match read_bytes {
            Some(count) => {
                let field = &mut self.0[index];
                field.value.drain(..count.min(field.value.len()));
                field.offset += count;
            }
            None => {
                self.0.remove(index);
            }
        }
    }

    /// Adds text to the end of the first field of that name.
    pub(crate) fn append_to_first(&mut self, name: &HeaderName, text: &str) {
        if let Some(field) = self.0.iter_mut().find(|field| field.name == *name) {
            field.value.extend(text.bytes().filter(|byte| !byte.is_ascii_control()));
        }
    }

    /// Copies all fields of that name from another message, raw.
    pub fn copy_all(&mut self, name: &HeaderName, from: &Headers) {
        self.0.extend(from.all(name).cloned());
    }
}
