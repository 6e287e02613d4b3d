//! Values that are stored compressed: an item of the table holds 400 KB.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::CloudError;

/// Values are compressed at this level: 3 is zstd's own default.
const LEVEL: i32 = 3;

/// Bytes of JSON from which a text is stored compressed. The design sends attributes of that size to S3; compressed, the
/// outputs, context and memory of a stage fit into its item, and there is no bucket to look after or to lose.
const LARGE: usize = 100 * 1_024;

/// What a compressed text begins with; no JSON does.
const MARK: &str = "zstd:";

fn unreadable(what: &str, message: impl ToString) -> CloudError {
    CloudError::Unreadable {
        what: what.to_owned(),
        message: message.to_string(),
    }
}

/// A value as JSON, compressed, in base64. `what` names it where it cannot be written.
pub(super) fn pack(what: &str, value: &impl Serialize) -> Result<String, CloudError> {
    // Nothing in memory is so large.
    Ok(pack_within(what, value, usize::MAX)?.unwrap_or_default())
}

/// The same, but none if it needs more than so many bytes before base64. The JSON never stands in memory.
pub(super) fn pack_within(
    what: &str,
    value: &impl Serialize,
    most: usize,
) -> Result<Option<String>, CloudError> {
    let mut room = Room {
        bytes: Vec::new(),
        left: most,
    };
    let written = zstd::Encoder::new(&mut room, LEVEL).and_then(|mut encoder| {
        serde_json::to_writer(&mut encoder, value)?;
        encoder.finish().map(drop)
    });
    match written {
        Ok(()) => Ok(Some(aws_smithy_types::base64::encode(room.bytes))),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(None),
        Err(error) => Err(unreadable(what, error)),
    }
}

/// Bytes, up to a number of them.
struct Room {
    bytes: Vec<u8>,
    left: usize,
}

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::FileTooLarge)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The value that [`pack`] made this of.
pub(super) fn unpack<T: DeserializeOwned>(what: &str, packed: &str) -> Result<T, CloudError> {
    let packed = aws_smithy_types::base64::decode(packed)
        .map_err(|error| unreadable(what, format!("no base64: {error}")))?;
    let json = zstd::decode_all(packed.as_slice()).map_err(|error| unreadable(what, error))?;
    serde_json::from_slice(&json).map_err(|error| unreadable(what, error))
}

/// A value as JSON text, compressed if it is large.
pub(super) fn text(value: &impl Serialize) -> Result<String, CloudError> {
    let what = "value to store";
    let json = serde_json::to_string(value).map_err(|error| unreadable(what, error))?;
    if json.len() < LARGE {
        return Ok(json);
    }
    let packed =
        zstd::encode_all(json.as_bytes(), LEVEL).map_err(|error| unreadable(what, error))?;
    let packed = format!("{MARK}{}", aws_smithy_types::base64::encode(packed));
    // What is compressed already grows by base64.
    Ok(if packed.len() < json.len() {
        packed
    } else {
        json
    })
}

/// The value that [`text`] made this of.
pub(super) fn from_text<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, CloudError> {
    match text.strip_prefix(MARK) {
        Some(packed) => unpack(what, packed),
        None => serde_json::from_str(text).map_err(|error| unreadable(what, error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_large_text_is_compressed_and_a_small_one_is_not() {
        let small = json!({ "outputs": "zstd:" });
        assert_eq!(text(&small).unwrap(), small.to_string());
        let log = "2026-01-01 built module 17\n".repeat(20_000);
        let large = json!({ "log": log, "größe": 1.5 });
        let stored = text(&large).unwrap();
        assert!(
            stored.starts_with(MARK) && stored.len() < LARGE,
            "{}",
            stored.len()
        );
        for value in [small, large] {
            let stored = text(&value).unwrap();
            assert_eq!(from_text::<Value>("a log", &stored).unwrap(), value);
        }
    }

    /// Characters that nothing compresses: xorshift, in an alphabet that fills a byte more than base64 does.
    fn noise(characters: usize) -> String {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        (0..characters)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                char::from(b' ' + u8::try_from(state % 95).unwrap())
            })
            .collect()
    }

    #[test]
    fn what_does_not_fit_is_not_packed() {
        let fits = json!({ "pairs": [1, 2] });
        let packed = pack_within("a report", &fits, 1_000).unwrap().unwrap();
        assert_eq!(unpack::<Value>("a report", &packed).unwrap(), fits);
        assert_eq!(
            pack_within("a report", &noise(50_000), 20_000).unwrap(),
            None
        );
    }

    #[test]
    fn what_compression_would_make_larger_stays_as_it_is() {
        let value = Value::from(noise(LARGE));
        let stored = text(&value).unwrap();
        assert!(stored.len() <= value.to_string().len());
        assert_eq!(from_text::<Value>("noise", &stored).unwrap(), value);
    }

    #[test]
    fn what_is_cut_off_is_an_error_that_names_it() {
        let packed = pack("a plan", &json!([1, 2, 3])).unwrap();
        assert_eq!(
            unpack::<Value>("a plan", &packed).unwrap(),
            json!([1, 2, 3])
        );
        for cut in [&packed[..packed.len() / 2], "no base64!", ""] {
            let error = unpack::<Value>("a plan", cut).unwrap_err();
            assert!(
                error.to_string().starts_with("`a plan` cannot be read"),
                "{error}"
            );
        }
        assert!(from_text::<Value>("a log", "zstd:AAAA").is_err());
    }
}
