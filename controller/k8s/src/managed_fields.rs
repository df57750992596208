//! Answers of the API server → the same answers without oversized `managedFields`.
//!
//! Anybody who may update an object may fill its `metadata.managedFields` with a megabyte and more, which takes more
//! than ten times as much memory once it is parsed, for each object of a list. They are therefore replaced by `null`
//! before the answer is parsed, as if nobody had ever owned a field.

use bytes::Bytes;

/// Most bytes of one object's `managedFields` that are passed on. A Deployment with everything that an App can ask for
/// has a third of this.
const MOST: usize = 32 * 1024;
/// Most bytes of a key that are kept. The keys of interest are shorter.
const KEY: usize = 16;

/// Filters JSON that arrives in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Filter {
    within: Vec<Frame>,
    text: Text,
    key: Vec<u8>,
    skipped: Option<Skipped>,
}

/// An object or array that is open.
#[derive(Clone, Copy, Debug)]
struct Frame {
    is_object: bool,
    /// Whether the next string is a key.
    wants_key: bool,
    of: Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Metadata,
    ManagedFields,
    Other,
}

/// Where in a string the reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    #[default]
    Outside,
    Inside,
    Escaped,
}

impl Text {
    /// After one more byte.
    const fn then(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Outside, b'"') => Self::Inside,
            (Self::Inside, b'"') | (Self::Outside, _) => Self::Outside,
            (Self::Inside, b'\\') => Self::Escaped,
            (Self::Inside | Self::Escaped, _) => Self::Inside,
        }
    }
}

/// `managedFields` that are being read.
#[derive(Debug, Default)]
struct Skipped {
    /// Their first [`MOST`] bytes.
    kept: Vec<u8>,
    too_large: bool,
    depth: usize,
    text: Text,
}

impl Filter {
    /// Reads the next piece. Returns what is passed on.
    pub(super) fn pass(&mut self, piece: &Bytes) -> Bytes {
        let mut out = Vec::with_capacity(piece.len());
        for byte in piece {
            if let Some(skipped) = &mut self.skipped {
                if skipped.ends_with(*byte) {
                    out.extend(skipped.told());
                    self.skipped = None;
                }
            } else if matches!(byte, b'[' | b'{') && self.are_managed_fields() {
                let mut skipped = Skipped::default();
                skipped.ends_with(*byte);
                self.skipped = Some(skipped);
            } else {
                out.push(*byte);
                self.read(*byte);
            }
        }
        out.into()
    }

    /// Whether the value that begins here is the `managedFields` of a `metadata`.
    fn are_managed_fields(&self) -> bool {
        let mut innermost = self.within.iter().rev().map(|frame| frame.of);
        self.text == Text::Outside
            && innermost.next() == Some(Key::ManagedFields)
            && innermost.next() == Some(Key::Metadata)
    }

    fn read(&mut self, byte: u8) {
        let before = self.text;
        self.text = before.then(byte);
        let Some(frame) = self.within.last_mut() else {
            self.open(byte);
            return;
        };
        match (before, self.text) {
            (Text::Outside, Text::Inside) => self.key.clear(),
            (Text::Inside, Text::Outside) if frame.wants_key => {
                frame.wants_key = false;
                frame.of = match self.key.as_slice() {
                    b"metadata" => Key::Metadata,
                    b"managedFields" => Key::ManagedFields,
                    _ => Key::Other,
                };
            }
            (Text::Outside, _) => match byte {
                b'}' | b']' => drop(self.within.pop()),
                b',' => {
                    frame.wants_key = frame.is_object;
                    frame.of = Key::Other;
                }
                _ => self.open(byte),
            },
            _ if frame.wants_key && self.key.len() < KEY => self.key.push(byte),
            _ => {}
        }
    }

    fn open(&mut self, byte: u8) {
        if matches!(byte, b'{' | b'[') {
            self.within.push(Frame {
                is_object: byte == b'{',
                wants_key: byte == b'{',
                of: Key::Other,
            });
        }
    }
}

impl Skipped {
    /// Reads one more byte. Returns whether it is the last.
    fn ends_with(&mut self, byte: u8) -> bool {
        if self.kept.len() < MOST {
            self.kept.push(byte);
        } else {
            self.too_large = true;
        }
        let before = self.text;
        self.text = before.then(byte);
        if before == Text::Outside {
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.depth == 0
    }

    /// What is passed on: the bytes, or `null` if there are too many.
    fn told(&mut self) -> Vec<u8> {
        if self.too_large {
            b"null".to_vec()
        } else {
            std::mem::take(&mut self.kept)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, MOST};
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn passed(text: &str, piece: usize) -> String {
        let mut filter = Filter::default();
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            out.extend(filter.pass(&Bytes::copy_from_slice(piece)));
        }
        String::from_utf8(out).unwrap()
    }

    fn fields(bytes: usize) -> Value {
        json!([{"manager": "m \" ] } \\", "fieldsV1": {"f:data": {"f:x": "y".repeat(bytes)}}}])
    }

    #[test]
    fn what_is_too_large_is_cut_out_and_all_else_passes() {
        let long = fields(MOST);
        let short = fields(100);
        let object = |fields: &Value| json!({"metadata": {"name": "a", "managedFields": fields, "uid": "u"}, "data": {"x": "{[\\\""}});
        let list =
            json!({"items": [object(&short), object(&long), object(&short)], "metadata": {}});
        let wanted = json!({"items": [object(&short), object(&Value::Null), object(&short)], "metadata": {}});
        for piece in [1, 2, 7, 4096, 1 << 20] {
            let read: Value = serde_json::from_str(&passed(&list.to_string(), piece)).unwrap();
            assert_eq!(read, wanted, "{piece}");
        }
        // A watch sends one object after another.
        let watch = format!("{}\n{}\n", object(&long), object(&short));
        let wanted = format!("{}\n{}\n", object(&Value::Null), object(&short));
        assert_eq!(passed(&watch, 100), wanted);
    }

    #[test]
    fn only_those_of_a_metadata_are_meant() {
        let long = fields(MOST);
        for other in [
            json!({"data": {"managedFields": long}}),
            json!({"managedFields": long}),
            json!({"metadata": [{"managedFields": long}]}),
            json!({"metadata": "x", "data": {"managedFields": long}}),
            json!({"x": "metadata", "y": {"managedFields": long}}),
            json!([long]),
            json!({"metadata": {"annotations": {"a": long.to_string()}, "managedFields": null}}),
        ] {
            let text = other.to_string();
            assert_eq!(passed(&text, 1000), text);
        }
    }

    proptest! {
        #[test]
        fn other_json_passes_as_it_is(
            text in "([\\[{]|[}\\]]|,|:|\"metadata\":|\"managedFields\":|\"[a-z\\\\\"]{0,4}|null|[ -~]){0,60}", piece in 1_usize..9,
        ) {
            // `managedFields` that do not end before the text does are not passed on.
            let passed = passed(&text, piece);
            prop_assert!(text.starts_with(&passed), "{passed}");
        }
    }
}
