//! The header of a safetensors file, checked against the file before any of it is believed.
//!
//! The `safetensors` crate checks shapes and offsets; it takes a name that stands twice, which is refused here.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;

use safetensors::tensor::Metadata;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::error::{Error, io};
use super::files::open_regular;

/// Bytes of the length that precedes the header.
pub(super) const LENGTH_BYTES: u64 = 8;
/// Largest header that is read: about 250,000 tensors.
const MAX_HEADER_BYTES: u64 = 32 << 20;

/// What a safetensors file holds.
pub(super) struct Header {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    /// Bytes before the first tensor's first byte.
    pub(super) data_start: u64,
}

/// Reads and checks the header of `path`, and the file's length against it.
pub(super) fn read(path: &Path) -> Result<Header, Error> {
    let damaged = |reason: String| Error::Damaged { path: path.into(), reason };
    let mut file = open_regular(path, u64::MAX).map_err(io(path, "read"))?;
    let actual = file.metadata().map_err(io(path, "read"))?.len();
    let cut = |expected: u64| Error::Length { path: path.into(), expected, actual };
    if actual < LENGTH_BYTES {
        return Err(cut(LENGTH_BYTES));
    }
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length).map_err(io(path, "read"))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        let reason = format!("a header of {length} bytes; this is no safetensors file, or a damaged one");
        return Err(damaged(reason));
    }
    let data_start = LENGTH_BYTES + length;
    if actual < data_start {
        return Err(cut(data_start));
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text).map_err(io(path, "read"))?;
    let parsed = serde_json::from_slice::<UniqueMap<IgnoredAny>>(&text).and_then(|_| serde_json::from_slice(&text));
    let metadata: Metadata = parsed.map_err(|error| damaged(format!("damaged header: {error}")))?;
    let expected = data_start.saturating_add(metadata.data_len() as u64);
    if expected != actual {
        return Err(cut(expected));
    }
    Ok(Header { file, metadata, data_start })
}

/// A JSON object in which no name stands twice, in the order of the file.
pub(super) struct UniqueMap<V>(pub(super) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

struct UniqueVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
    type Value = UniqueMap<V>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("`{name}` stands there twice")));
            }
            entries.push((name, map.next_value()?));
        }
        Ok(UniqueMap(entries))
    }
}
