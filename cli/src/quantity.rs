//! Sizes and times as people write them: `16KiB`, `1MB`, `4096`; `500ms`, `30s`, `5m`, `2h`, `7d`.

use std::time::Duration;

const SIZES: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

const TIMES_MS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Returns the number of bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    quantity(text, &SIZES).ok_or_else(|| {
        "not a size: give bytes, or a number with kB, KiB, MB, MiB, GB or GiB".to_owned()
    })
}

/// Returns the time; a number needs its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    quantity(text, &TIMES_MS)
        .map(Duration::from_millis)
        .ok_or_else(|| "not a time: give a number with ms, s, m, h or d, such as 30s".to_owned())
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, factor) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Returns a size in the largest unit that divides it.
pub(crate) fn show_size(bytes: u64) -> String {
    let binary = SIZES.iter().rev().filter(|(name, _)| name.ends_with("iB"));
    for (name, factor) in binary {
        if bytes >= *factor && bytes.is_multiple_of(*factor) {
            return format!("{}{name}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// Returns a time in the largest unit that divides it.
pub(crate) fn show_duration(time: Duration) -> String {
    let ms = time.as_millis();
    let mut units = TIMES_MS.iter().rev();
    let unit = units.find(|(_, factor)| ms > 0 && ms.is_multiple_of(u128::from(*factor)));
    let (name, factor) = unit.unwrap_or(&("ms", 1));
    format!("{}{name}", ms / u128::from(*factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("16KiB"), Ok(16 << 10));
        assert_eq!(size("16 kib"), Ok(16 << 10));
        assert_eq!(size("2MB"), Ok(2_000_000));
        for wrong in ["", "KiB", "-1", "1.5MiB", "1 apple", "99999999999GiB", "é"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert!(duration("30").is_err());
    }

    #[test]
    fn a_size_is_shown_in_its_largest_whole_unit() {
        assert_eq!(show_size(1 << 30), "1GiB");
        assert_eq!(show_size(1536 << 10), "1536KiB");
        assert_eq!(show_size(1_048_588), "1048588B");
    }

    #[test]
    fn a_shown_time_means_itself() {
        for text in ["0ms", "1500ms", "30s", "90m", "1d"] {
            assert_eq!(duration(text).map(show_duration), Ok(text.to_owned()));
        }
    }
}
