//! A file's bytes → its text, or what else it is. Pure.
//!
//! Editors and shells of Windows write UTF-16 where nobody asked for it. Read as UTF-8, such a file is full of holes, and
//! whoever looks at it in an editor sees nothing of them.

/// Bytes that are looked at to tell what they are.
const SAMPLE: usize = 128;

/// What a file is that is no UTF-8, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoText {
    /// Two bytes a character.
    #[error("is UTF-16; save it as UTF-8")]
    Utf16,
    /// Four bytes a character.
    #[error("is UTF-32; save it as UTF-8")]
    Utf32,
    /// A code page, or no text at all.
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

/// The text, with a mark for each character that is none; a file of another width is still an error.
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
    // Without a mark: of every two bytes of text in a western language, one is nought, and always the same one.
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
