//! Text → compressed bytes, and back.
//!
//! Objects of a kind differ little from each other. So each is compressed against another of its kind, and only what is
//! different takes room: an eighth of what it takes by itself, or less.

use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// A text, compressed if that is shorter.
#[derive(Debug, Default)]
pub(super) struct Packed {
    bytes: Box<[u8]>,
    /// Length of the text, if `bytes` is compressed.
    length: Option<u32>,
    /// The text that it was compressed against.
    like: Option<Arc<Vec<u8>>>,
}

impl Packed {
    /// How many bytes it takes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// A compressor and a decompressor. Their buffers are larger than any of the texts, so all caches share them.
#[derive(Clone, Debug)]
pub struct Codec(Arc<Mutex<(Compress, Decompress)>>);

impl Default for Codec {
    fn default() -> Self {
        let compress = Compress::new(Compression::fast(), false);
        Self(Arc::new(Mutex::new((compress, Decompress::new(false)))))
    }
}

impl Codec {
    fn pack(&self, text: &[u8], like: Option<&Arc<Vec<u8>>>) -> Packed {
        let plain = || Packed {
            bytes: text.into(),
            ..Packed::default()
        };
        let Ok(length) = u32::try_from(text.len()) else {
            return plain();
        };
        let mut codec = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let compress = &mut codec.0;
        compress.reset();
        let like = like.filter(|like| compress.set_dictionary(like).is_ok());
        let mut bytes = Vec::with_capacity(text.len());
        let end = compress.compress_vec(text, &mut bytes, FlushCompress::Finish);
        if !matches!(end, Ok(Status::StreamEnd)) {
            return plain();
        }
        Packed {
            bytes: bytes.as_slice().into(),
            length: Some(length),
            like: like.cloned(),
        }
    }

    /// The text, if it can be read.
    pub(super) fn text(&self, packed: &Packed) -> Option<Vec<u8>> {
        let Some(length) = packed.length else {
            return Some(packed.bytes.to_vec());
        };
        let length = usize::try_from(length).ok()?;
        let mut text = Vec::with_capacity(length);
        let mut codec = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let decompress = &mut codec.1;
        decompress.reset(false);
        if let Some(like) = &packed.like {
            decompress.set_dictionary(like).ok()?;
        }
        let whole = FlushDecompress::Finish;
        let end = decompress.decompress_vec(&packed.bytes, &mut text, whole);
        (end.ok()? == Status::StreamEnd && text.len() == length).then_some(text)
    }
}

/// Packs the texts of one kind, one after another.
///
/// The text that others are compressed against is changed after 1, 8, 64, ... texts, so that an unusual one does not
/// stay in use.
#[derive(Debug, Default)]
pub(super) struct Packer {
    like: Option<Arc<Vec<u8>>>,
    packed: u64,
    next: u64,
}

impl Packer {
    /// Compresses the text, or keeps it as it is if that is shorter.
    pub(super) fn pack(&mut self, codec: &Codec, text: &[u8]) -> Packed {
        let packed = codec.pack(text, self.like.as_ref());
        if self.packed >= self.next {
            self.like = Some(Arc::new(text.to_vec()));
            self.next = self.next.max(1).saturating_mul(8);
        }
        self.packed = self.packed.saturating_add(1);
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::{Codec, Packer};
    use serde_json::json;

    #[test]
    fn what_is_packed_is_there_again_one_after_another() {
        let (codec, mut packer) = (Codec::default(), Packer::default());
        let long = "the same words again and again, ".repeat(400);
        let texts = ["", "x", "{\"a\":\"b\"}", &long, "x", &long, "", "x"];
        let kept = texts.map(|text| packer.pack(&codec, text.as_bytes()));
        for (kept, text) in kept.iter().zip(texts) {
            assert_eq!(codec.text(kept).as_deref(), Some(text.as_bytes()));
            assert!(kept.bytes() <= text.len(), "{}", kept.bytes());
        }
        assert!(packer.pack(&codec, long.as_bytes()).bytes() < long.len() / 20);
    }

    #[test]
    fn of_objects_that_are_alike_only_the_differences_are_kept() {
        let (codec, mut packer) = (Codec::default(), Packer::default());
        let object = |number: u32| {
            let uid = format!("{:08x}-0000-4000-8000-00000000{number:04x}", number * 7_919);
            json!({"metadata": {"name": format!("app-{number}"), "namespace": "team", "uid": uid, "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": (100_000 + number).to_string()},
                "spec": {"source": {"image": {"reference": "registry.example.com/hello:1", "interval": "1m"}},
                    "processes": {"web": {"replicas": 1, "resources": {"cpu": "100m", "memory": "128Mi"}}}},
                "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "observedGeneration": 1,
                    "message": format!("app-{number}-v1 serves 1f2e3d4c5b6a"), "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
            .to_string()
        };
        // The first of them is unusual.
        packer.pack(&codec, "x".repeat(5_000).as_bytes());
        let kept: Vec<_> = (0..100)
            .map(|number| packer.pack(&codec, object(number).as_bytes()))
            .collect();
        for (number, kept) in (0..).zip(&kept) {
            assert_eq!(codec.text(kept).unwrap(), object(number).into_bytes());
        }
        let bytes: usize = kept[10..].iter().map(super::Packed::bytes).sum();
        assert!(bytes / 90 < 100, "{} bytes each", bytes / 90);
    }
}
