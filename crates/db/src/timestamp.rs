//! Points in time as text, the way databases and REST write them.
//!
//! Every row that is shown has two of them, so they are read and written by their fixed places and not by a format.

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};

/// Reads `YYYY-MM-DD HH:MM:SS` with or without a fraction, as SQLite holds it.
pub(crate) fn parse(text: &str) -> Option<NaiveDateTime> {
    let bytes = text.as_bytes();
    let (whole, fraction) = bytes.split_at_checked(19)?;
    let [_, _, _, _, b'-', _, _, b'-', _, _, b' ', _, _, b':', _, _, b':', _, _] = whole else { return None };
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(number(&whole[..4])?).ok()?,
        number(&whole[5..7])?,
        number(&whole[8..10])?,
    )?;
    let nanosecond = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            number(digits)? * 10_u32.pow(9 - u32::try_from(digits.len()).ok()?)
        }
        _ => return None,
    };
    date.and_hms_nano_opt(number(&whole[11..13])?, number(&whole[14..16])?, number(&whole[17..19])?, nanosecond)
}

/// `YYYY-MM-DD HH:MM:SS.ffffff`, the text that upstream writes to SQLite.
pub(crate) fn to_sql(time: NaiveDateTime) -> String {
    let mut text = whole(time, b' ');
    text.push('.');
    push(&mut text, time.nanosecond() / 1_000 % 1_000_000, 6);
    text
}

/// `YYYY-MM-DDTHH:MM:SSZ`, as REST shows it.
pub(crate) fn to_rest(time: NaiveDateTime) -> String {
    let mut text = whole(time, b'T');
    text.push('Z');
    text
}

fn whole(time: NaiveDateTime, between: u8) -> String {
    let mut text = String::with_capacity(26);
    push(&mut text, time.year().unsigned_abs(), 4);
    let rest = [
        (b'-', time.month()),
        (b'-', time.day()),
        (between, time.hour()),
        (b':', time.minute()),
        (b':', time.second()),
    ];
    for (separator, number) in rest {
        text.push(char::from(separator));
        push(&mut text, number, 2);
    }
    text
}

/// Writes a number with leading zeros.
fn push(text: &mut String, number: u32, width: u32) {
    for place in (0..width).rev() {
        let digit = number / 10_u32.pow(place) % 10;
        text.push(char::from_digit(digit, 10).unwrap_or('0'));
    }
}

/// Reads up to nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum: u32, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_time_is_not_read() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T10:11:12",
            "2026-13-22 10:11:12",
            "2026-11-22 10:11:12.",
            "2026-11-22 10:11:1ü",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_texts_are_those_of_the_formats(seconds in 0_i64..250_000_000_000, micros in 0_u32..1_000_000) {
            let time = chrono::DateTime::from_timestamp(seconds, micros * 1000).unwrap().naive_utc();
            prop_assert_eq!(to_sql(time), time.format("%Y-%m-%d %H:%M:%S%.6f").to_string());
            prop_assert_eq!(to_rest(time), time.format("%Y-%m-%dT%H:%M:%SZ").to_string());
            prop_assert_eq!(parse(&to_sql(time)), Some(time));
        }
    }
}
