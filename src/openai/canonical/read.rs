//! Reading the canonical form.
//!
//! Owns finding the members of an object and the items of a list, each without looking into those before it. Does not
//! handle what they mean (see `reusable` and `references`). Never fails: nothing else than `Canonical` writes what is
//! read.

use super::tag;

/// A value of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'f> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, rounded to a float.
    Number(f64),
    /// The text that a string says, in UTF-8.
    Text(&'f [u8]),
    /// A list.
    List(Items<'f>),
    /// An object.
    Object(Members<'f>),
}

/// The items of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Items<'f>(&'f [u8]);

/// The members of an object: their names, in UTF-8, and their values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Members<'f>(&'f [u8]);

impl<'f> Value<'f> {
    pub(super) fn of(mut form: &'f [u8]) -> Self {
        take(&mut form).unwrap_or(Self::Null)
    }

    /// Whether it is not empty: what SDKs take for true.
    pub fn is_truthy(self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => value,
            Self::Number(number) => number != 0.0,
            Self::Text(content) => !content.is_empty(),
            Self::List(Items(content)) | Self::Object(Members(content)) => !content.is_empty(),
        }
    }
}

impl<'f> Iterator for Items<'f> {
    type Item = Value<'f>;

    fn next(&mut self) -> Option<Self::Item> {
        take(&mut self.0)
    }
}

impl<'f> Iterator for Members<'f> {
    type Item = (&'f [u8], Value<'f>);

    fn next(&mut self) -> Option<Self::Item> {
        let Value::Text(name) = take(&mut self.0)? else {
            return None;
        };
        Some((name, take(&mut self.0)?))
    }
}

/// Takes the first value; `None` where there is none.
fn take<'f>(form: &mut &'f [u8]) -> Option<Value<'f>> {
    let (tag, rest) = form.split_first()?;
    *form = rest;
    match *tag {
        tag::NULL => Some(Value::Null),
        tag::FALSE => Some(Value::Bool(false)),
        tag::TRUE => Some(Value::Bool(true)),
        tag::FLOAT => take_bytes(form).map(|bytes| Value::Number(f64::from_le_bytes(bytes))),
        tag::WHOLE => {
            take_bytes(form).map(|bytes| Value::Number(i128::from_le_bytes(bytes) as f64))
        }
        tag => {
            let length = usize::try_from(u64::from_le_bytes(take_bytes(form)?)).ok()?;
            let (content, rest) = form.split_at_checked(length)?;
            *form = rest;
            match tag {
                tag::TEXT => Some(Value::Text(content)),
                tag::LIST => Some(Value::List(Items(content))),
                tag::OBJECT => Some(Value::Object(Members(content))),
                _ => None,
            }
        }
    }
}

fn take_bytes<const N: usize>(form: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = form.split_first_chunk()?;
    *form = rest;
    Some(*bytes)
}
