//! A file's bytes → its text, or the encoding that it has instead of UTF-8. Pure.
//!
//! Editors and shells of Windows sometimes write UTF-16 unasked. Read as UTF-8, such a file is full of NUL bytes, which
//! an editor does not show.

/// How many bytes are read to guess the encoding.
const SAMPLE: usize = 128;

/// The encoding of a file that is not UTF-8, with what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoText {
    /// Two bytes for each character.
    #[error("is UTF-16; save it as UTF-8")]
    Utf16,
    /// Four bytes for each character.
    #[error("is UTF-32; save it as UTF-8")]
    Utf32,
    /// A Windows code page, or no text at all.
    #[error("is not UTF-8; save it as UTF-8")]
    Other,
}

/// The text, without a byte order mark.
pub fn text(bytes: Vec<u8>) -> Result<String, NoText> {
    if let Some(wide) = wide(&bytes) {
        return Err(wide);
    }
    let text = String::from_utf8(bytes).map_err(|_| NoText::Other)?;
    Ok(unmarked(text))
}

/// The text, with U+FFFD for bytes that are not UTF-8. UTF-16 and UTF-32 are still errors.
pub fn text_with_marks(bytes: Vec<u8>) -> Result<String, NoText> {
    if let Some(wide) = wide(&bytes) {
        return Err(wide);
    }
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(unmarked(text))
}

fn unmarked(text: String) -> String {
    match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    }
}

fn wide(bytes: &[u8]) -> Option<NoText> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some(NoText::Utf32),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Some(NoText::Utf16),
        _ => {}
    }
    // Without a byte order mark: in UTF-16 of a western language, every first or every second byte is 0.
    let sample = bytes.get(..SAMPLE.min(bytes.len())).unwrap_or(bytes);
    let (pairs, _) = sample.as_chunks::<2>();
    let mostly = |count: usize| pairs.len() > 1 && count * 4 >= pairs.len() * 3;
    let low = pairs.iter().filter(|[a, b]| *a != 0 && *b == 0).count();
    let high = pairs.iter().filter(|[a, b]| *a == 0 && *b != 0).count();
    (mostly(low) || mostly(high)).then_some(NoText::Utf16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{NoText, text, text_with_marks};

    fn utf16(text: &str, mark: bool, little: bool) -> Vec<u8> {
        mark.then_some('\u{feff}')
            .into_iter()
            .chain(text.chars())
            .collect::<String>()
            .encode_utf16()
            .flat_map(|unit| {
                if little {
                    unit.to_le_bytes()
                } else {
                    unit.to_be_bytes()
                }
            })
            .collect()
    }

    #[test]
    fn what_is_no_utf_8_is_told() {
        let file = "web: python3 server.py --grüße\r\n";
        for (mark, little) in [(true, true), (true, false), (false, true), (false, false)] {
            let bytes = utf16(file, mark, little);
            assert_eq!(text(bytes.clone()), Err(NoText::Utf16), "{mark} {little}");
            assert_eq!(text_with_marks(bytes), Err(NoText::Utf16));
        }
        assert_eq!(text(b"\xff\xfe\0\0w\0\0\0".to_vec()), Err(NoText::Utf32));
        assert_eq!(text(b"web: gr\xfc\xdfe".to_vec()), Err(NoText::Other));
        assert_eq!(
            text_with_marks(b"web: gr\xfc\xdfe".to_vec()),
            Ok("web: gr\u{fffd}\u{fffd}e".to_owned())
        );
        assert_eq!(
            text(b"\xef\xbb\xbfweb: x".to_vec()),
            Ok("web: x".to_owned())
        );
        assert_eq!(text(b"a\0b".to_vec()), Ok("a\0b".to_owned()));
        assert_eq!(text(vec![]), Ok(String::new()));
    }

    proptest! {
        #[test]
        fn utf_8_is_itself(file in "[^\0\u{feff}]{0,200}") {
            prop_assert_eq!(text(file.clone().into_bytes()), Ok(file.clone()));
            prop_assert_eq!(text_with_marks(file.clone().into_bytes()), Ok(file));
        }

        #[test]
        fn utf_16_is_told_with_and_without_its_mark(file in "[ -~\n]{2,200}", mark: bool, little: bool) {
            prop_assert_eq!(text(utf16(&file, mark, little)), Err(NoText::Utf16));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let shown = text_with_marks(bytes.clone());
            if let Ok(text) = text(bytes) {
                prop_assert_eq!(shown, Ok(text));
            }
        }
    }
}
