//! The real input that comes with the crate: flights that left New York City in January 2013.
//!
//! It is compiled in, so that the bench runs from any folder. Origin and licence: `data/LICENSE.md`.

use std::io::Read;

use flate2::read::GzDecoder;

/// The file as it lies in the repository, gzip.
pub const COMPRESSED: &[u8] = include_bytes!("../data/flights-2013-01.csv.gz");

/// The column that serves as key: the aircraft. `NA` is a key like any other.
pub const KEY_COLUMN: &str = "tailnum";

/// The number of rows, header not counted.
pub const ROW_COUNT: usize = 27_004;

/// The name under which reports mention the input.
pub const NAME: &str = "flights-2013-01.csv.gz (built in)";

/// Returns the file unpacked: CSV with a header line.
///
/// # Panics
/// Never: the bytes are part of the program, and a test holds their checksum.
#[must_use]
pub fn csv() -> Vec<u8> {
    let mut csv = Vec::new();
    GzDecoder::new(COMPRESSED)
        .read_to_end(&mut csv)
        .expect("the file compiled in is whole");
    csv
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write;

    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_file_is_the_one_whose_licence_is_noted() {
        let digest = Sha256::digest(csv());
        let mut hexadecimal = String::new();
        for byte in digest {
            write!(hexadecimal, "{byte:02x}").expect("a string takes everything");
        }
        let note = include_str!("../data/LICENSE.md");
        assert!(note.contains(&hexadecimal), "{hexadecimal} is not noted");
    }

    #[test]
    fn rows_and_keys_are_as_many_as_documented() {
        let csv = csv();
        let mut reader = csv::Reader::from_reader(&csv[..]);
        let headers = reader.headers().expect("a header line").clone();
        let column = headers.iter().position(|name| name == KEY_COLUMN);
        let column = column.expect("the key's column");
        let mut keys: BTreeMap<String, usize> = BTreeMap::new();
        for row in reader.records() {
            *keys
                .entry(row.expect("a row")[column].to_owned())
                .or_default() += 1;
        }
        assert_eq!(keys.values().sum::<usize>(), ROW_COUNT);
        assert_eq!(keys.len(), 3_149);
        assert_eq!(keys["NA"], 155);
    }
}
