//! Lists and objects of any length → one entry at a time.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Visits each entry of a list, or each name in an object, and keeps none of them. `null` has no entries.
pub(super) struct Each<T, F: FnMut(T)>(F, PhantomData<T>);

pub(super) fn each<T, F: FnMut(T)>(look: F) -> Each<T, F> {
    Each(look, PhantomData)
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, an object or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(entry) = list.next_element()? {
            (self.0)(entry);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            (self.0)(name);
        }
        Ok(())
    }
}
