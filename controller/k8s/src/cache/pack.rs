//! Text → compressed bytes, and back. Objects repeat the same words, so they shrink to less than half.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// A text, compressed if that is shorter.
#[derive(Debug, Default)]
pub(super) struct Packed {
    bytes: Box<[u8]>,
    /// Length of the text, if `bytes` is compressed.
    length: Option<usize>,
}

impl Packed {
    /// The text, if it can be read.
    pub(super) fn text(&self) -> Option<Vec<u8>> {
        let Some(length) = self.length else {
            return Some(self.bytes.to_vec());
        };
        let mut text = Vec::with_capacity(length);
        let whole = FlushDecompress::Finish;
        let end = Decompress::new(false).decompress_vec(&self.bytes, &mut text, whole);
        (end.ok()? == Status::StreamEnd && text.len() == length).then_some(text)
    }

    /// How many bytes it takes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Packs one text after another with one compressor, whose buffers are larger than any of the texts.
#[derive(Debug)]
pub(super) struct Packer(Compress);

impl Default for Packer {
    fn default() -> Self {
        Self(Compress::new(Compression::fast(), false))
    }
}

impl Packer {
    /// Compresses the text, or keeps it as it is if that is shorter.
    pub(super) fn pack(&mut self, text: &[u8]) -> Packed {
        self.0.reset();
        let mut bytes = Vec::with_capacity(text.len());
        let end = self.0.compress_vec(text, &mut bytes, FlushCompress::Finish);
        if matches!(end, Ok(Status::StreamEnd)) {
            Packed {
                bytes: bytes.into_boxed_slice(),
                length: Some(text.len()),
            }
        } else {
            Packed {
                bytes: text.into(),
                length: None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Packer;

    #[test]
    fn what_is_packed_is_there_again_one_after_another() {
        let mut packer = Packer::default();
        let long = "the same words again and again, ".repeat(400);
        for text in ["", "x", "{\"a\":\"b\"}", &long, "x", &long] {
            let kept = packer.pack(text.as_bytes());
            assert_eq!(kept.text().as_deref(), Some(text.as_bytes()));
            assert!(kept.bytes() <= text.len(), "{}", kept.bytes());
        }
        assert!(packer.pack(long.as_bytes()).bytes() < long.len() / 20);
    }
}
