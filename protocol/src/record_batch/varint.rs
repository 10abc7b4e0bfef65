//! Zigzag variable-length integers, as records use them.

/// Appends a number.
pub(crate) fn write_varlong(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Returns how many bytes a number takes.
pub(crate) fn varlong_size(value: i64) -> usize {
    let zigzag = (value << 1 ^ value >> 63).cast_unsigned();
    (70 - (zigzag | 1).leading_zeros() as usize) / 7
}

/// Takes a number of at most 64 bits from the front; `None` if it is cut short or too long. Needless zero groups are
/// taken, as Kafka's `ByteUtils` takes them.
#[inline]
pub(crate) fn read_varlong(bytes: &mut &[u8]) -> Option<i64> {
    match **bytes {
        // Most numbers of a record.
        [byte, ref rest @ ..] if byte < 0x80 => {
            *bytes = rest;
            Some(i64::from(byte >> 1) ^ -i64::from(byte & 1))
        }
        _ => read_long_varlong(bytes),
    }
}

fn read_long_varlong(bytes: &mut &[u8]) -> Option<i64> {
    let mut zigzag: u64 = 0;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        let seven = u64::from(byte & 0x7f);
        if index == 9 && seven > 1 {
            return None;
        }
        zigzag |= seven << (7 * index);
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
        }
    }
    None
}

/// Takes a number of at most 32 bits, in at most five bytes, from the front; `None` if it is cut short or too long.
#[inline]
pub(crate) fn read_varint(bytes: &mut &[u8]) -> Option<i32> {
    let before = bytes.len();
    let value = i32::try_from(read_varlong(bytes)?).ok()?;
    (before - bytes.len() <= 5).then_some(value)
}
