//! Where reading begins: `earliest`, `latest`, an offset, or a time.

/// The first record that is read of each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The oldest record that is still there.
    Earliest,
    /// The end: only what comes from now on.
    Latest,
    /// This offset.
    Offset(i64),
    /// The first record at or after this time, in milliseconds since 1970.
    Timestamp(i64),
}

/// Returns the start that a text means.
pub(crate) fn parse(text: &str) -> Result<Start, String> {
    let number = |digits: &str| digits.parse::<i64>().ok().filter(|number| *number >= 0);
    match text {
        "earliest" => return Ok(Start::Earliest),
        "latest" => return Ok(Start::Latest),
        _ => {}
    }
    let parsed = match text.strip_prefix('@') {
        Some(digits) => number(digits).map(Start::Timestamp),
        None => number(text)
            .map(Start::Offset)
            .or_else(|| rfc3339(text).map(Start::Timestamp)),
    };
    parsed.ok_or_else(|| {
        "give earliest, latest, an offset such as 1200, a time such as 2026-01-31T12:00:00Z, or milliseconds since \
         1970 after an @"
            .to_owned()
    })
}

/// Returns milliseconds since 1970 for `YYYY-MM-DDThh:mm:ss[.fraction](Z|±hh:mm)`; digits below a millisecond are
/// cut off.
fn rfc3339(text: &str) -> Option<i64> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let (date_time, rest) = text.split_at(19);
    let bytes = date_time.as_bytes();
    let separators = [bytes[4], bytes[7], bytes[13], bytes[16]];
    if separators != *b"--::" || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (
        digits(&date_time[0..4])?,
        digits(&date_time[5..7])?,
        digits(&date_time[8..10])?,
    );
    let (hour, minute, second) = (
        digits(&date_time[11..13])?,
        digits(&date_time[14..16])?,
        digits(&date_time[17..19])?,
    );
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    // A leap second is the second after it.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (millisecond, zone) = fraction(rest)?;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds - zone_minutes(zone)? * 60) * 1_000 + millisecond)
}

fn fraction(rest: &str) -> Option<(i64, &str)> {
    let Some(rest) = rest.strip_prefix('.') else {
        return Some((0, rest));
    };
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let (fraction, zone) = rest.split_at(end);
    let thousandths: String = fraction.chars().chain("00".chars()).take(3).collect();
    let is_number = !fraction.is_empty();
    is_number.then_some((digits(&thousandths)?, zone))
}

fn zone_minutes(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

fn digits(text: &str) -> Option<i64> {
    let all = text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from civil, by Howard Hinnant: years begin in March, so that the leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_offsets_and_milliseconds_are_starts() {
        assert_eq!(parse("earliest"), Ok(Start::Earliest));
        assert_eq!(parse("latest"), Ok(Start::Latest));
        assert_eq!(parse("17"), Ok(Start::Offset(17)));
        assert_eq!(parse("@17"), Ok(Start::Timestamp(17)));
    }

    #[test]
    fn times_are_milliseconds_since_1970() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56.7Z", 951_827_696_700),
            ("2013-01-01T10:00:00+05:30", 1_357_014_600_000),
            ("2013-01-01 00:00:00.123456-01:00", 1_357_002_000_123),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(Start::Timestamp(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let wrong = [
            "",
            "-1",
            "@-1",
            "@",
            "newest",
            "2013-02-29T00:00:00Z",
            "2013-13-01T00:00:00Z",
            "2013-01-01T24:00:00Z",
            "2013-01-01T00:00:00",
            "2013-01-01T00:00:00.Z",
            "2013-01-01T00:00:00+5:00",
            "2013-01-0éT00:00:00Z",
            "99999999999999999999",
        ];
        for text in wrong {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
