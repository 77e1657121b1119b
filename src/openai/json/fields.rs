//! Reading those members of an object that a type names.
//!
//! Owns keys without a copy, the difference between an object and an array, bounded lists, and what
//! happens to a key that stands twice. Does not handle what the members mean (see the types that
//! implement [`Fields`]). Fails as serde does for any other shape.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// This many items of an array are read: more choices or calls than any answer has.
pub(crate) const MAX_ITEMS: usize = 128;

/// A key or a string, borrowed unless it holds escapes.
#[derive(Deserialize)]
pub(crate) struct Text<'b>(#[serde(borrow)] pub(crate) Cow<'b, str>);

/// The members of an object that a type reads. The values stay as they are written.
pub(crate) trait Fields<'b>: Default {
    /// Whether a key that is read may stand twice; its last value counts then.
    const ALLOWS_DUPLICATES: bool = true;

    /// Where the value of the member with this key goes. A value that is null is kept too.
    fn slot(&mut self, key: &str) -> Option<&mut Option<&'b RawValue>>;

    /// Reads the value of a member that has no slot.
    fn other<A: MapAccess<'b>>(
        &mut self,
        _key: Cow<'b, str>,
        object: &mut A,
    ) -> Result<(), A::Error> {
        object.next_value::<IgnoredAny>().map(drop)
    }
}

/// Reads an object.
pub(crate) fn read_fields<'b, T: Fields<'b>, D: Deserializer<'b>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Members<T>(PhantomData<T>);
    impl<'b, T: Fields<'b>> Visitor<'b> for Members<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'b>>(self, mut object: A) -> Result<T, A::Error> {
            let mut fields = T::default();
            while let Some(Text(key)) = object.next_key()? {
                match fields.slot(&key) {
                    Some(slot) => {
                        let earlier = slot.replace(object.next_value()?);
                        if earlier.is_some() && !T::ALLOWS_DUPLICATES {
                            return Err(A::Error::custom("a key stands twice"));
                        }
                    }
                    None => fields.other(key, &mut object)?,
                }
            }
            Ok(fields)
        }
    }
    deserializer.deserialize_map(Members(PhantomData))
}

/// A JSON object: a derived struct alone could be read from an array as well.
pub(crate) struct Object<T>(pub(crate) T);

impl<'b, T: Deserialize<'b>> Deserialize<'b> for Object<T> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'b, T: Deserialize<'b>> Visitor<'b> for Members<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'b>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// The first [`MAX_ITEMS`] objects of a JSON array; none where there is null instead.
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    /// Whether the array had more of them.
    pub(crate) has_more: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            has_more: false,
        }
    }
}

impl<'b, T: Deserialize<'b>> Deserialize<'b> for List<T> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'b, T: Deserialize<'b>> Visitor<'b> for Items<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array or null")
            }
            fn visit_unit<E>(self) -> Result<List<T>, E> {
                Ok(List::default())
            }
            fn visit_seq<A: SeqAccess<'b>>(self, mut array: A) -> Result<List<T>, A::Error> {
                let mut list = List::default();
                while list.items.len() < MAX_ITEMS
                    && let Some(Object(item)) = array.next_element()?
                {
                    list.items.push(item);
                }
                while array.next_element::<IgnoredAny>()?.is_some() {
                    list.has_more = true;
                }
                Ok(list)
            }
        }
        deserializer.deserialize_any(Items(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Once<'b> {
        a: Option<&'b RawValue>,
        others: Vec<String>,
    }

    impl<'b> Fields<'b> for Once<'b> {
        const ALLOWS_DUPLICATES: bool = false;

        fn slot(&mut self, key: &str) -> Option<&mut Option<&'b RawValue>> {
            (key == "a").then_some(&mut self.a)
        }

        fn other<A: MapAccess<'b>>(
            &mut self,
            key: Cow<'b, str>,
            object: &mut A,
        ) -> Result<(), A::Error> {
            self.others.push(key.into_owned());
            object.next_value::<IgnoredAny>().map(drop)
        }
    }

    fn read(json: &str) -> Option<Once<'_>> {
        read_fields(&mut serde_json::Deserializer::from_str(json)).ok()
    }

    #[test]
    fn a_member_is_kept_as_it_is_written_under_whatever_spelling_of_its_key() {
        let fields = read(r#"{"b":1,"\u0061": 1.50e3 ,"b":[]}"#).unwrap();
        assert_eq!(fields.a.map(RawValue::get), Some("1.50e3"));
        assert_eq!(fields.others, ["b", "b"]);
        let null = read(r#"{"a":null}"#).unwrap();
        assert_eq!(null.a.map(RawValue::get), Some("null"));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_where_the_type_says_so() {
        for json in [r#"{"a":1,"a":1}"#, r#"{"a":null,"\u0061":1}"#] {
            assert!(read(json).is_none(), "{json}");
        }
    }

    #[test]
    fn what_is_no_object_is_not_read() {
        for json in ["[1]", "null", "\"a\"", "", "{\"a\""] {
            assert!(read(json).is_none(), "{json}");
        }
    }

    #[test]
    fn a_list_ends_at_its_bound_and_says_so() {
        #[derive(Deserialize)]
        struct Empty {}
        let list = |count: usize| {
            let json = format!("[{}]", vec!["{}"; count].join(","));
            serde_json::from_str::<List<Empty>>(&json).unwrap()
        };
        assert!(!list(MAX_ITEMS).has_more);
        let longer = list(MAX_ITEMS + 1);
        assert_eq!((longer.items.len(), longer.has_more), (MAX_ITEMS, true));
        assert!(serde_json::from_str::<List<Empty>>("[[]]").is_err());
        let none: List<Empty> = serde_json::from_str("null").unwrap();
        assert!(none.items.is_empty());
    }
}
