// SPDX-License-Identifier: GPL-2.0
//! Payloads, times and durations as text.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// Whether a terminal shows it as one character and does nothing else.
fn is_printable(c: char) -> bool {
    // Those that change the direction of the text, or break the line, would hide what is there.
    !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Text from elsewhere in one line, and harmless to a terminal.
pub fn one_line(text: &str) -> String {
    let harmless = |c| if is_printable(c) { c } else { '\u{fffd}' };
    text.chars().map(harmless).collect()
}

/// A payload in one line: as text where it is printable UTF-8, with `\n`, `\t` and `\\` for a line
/// feed, a tab and a backslash; nothing if it is not.
pub fn printable(payload: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(payload).ok()?;
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            '\\' => line.push_str("\\\\"),
            c if is_printable(c) => line.push(c),
            _ => return None,
        }
    }
    Some(line)
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// `2026-11-29T21:43:18.123456Z`, as RFC 3339 has it.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (days, second) = (seconds / 86400, seconds % 86400);
    // Days since the first of March of the year 0, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let of_era_year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_era_year + of_era_year / 4 - of_era_year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = of_era_year + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

/// `21:43:18.123456`: the time of the day, in UTC.
pub fn time_of_day(time: SystemTime) -> String {
    timestamp(time)[11..26].to_owned()
}

/// A duration as it is typed: a number, with a fraction if need be, and `ms`, `s`, `m` or `h`. A
/// bare number counts seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration is a number with ms, s, m or h behind it, such as 1.5s".to_owned();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    if number.is_empty()
        || !number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return Err(wrong());
    }
    let seconds: f64 = number.parse().map_err(|_| wrong())?;
    // No clock goes further.
    match Duration::try_from_secs_f64(seconds * unit) {
        Ok(duration) if duration <= Duration::from_secs(100 * 365 * 86400) => Ok(duration),
        _ => Err("a duration is at most a hundred years".to_owned()),
    }
}

/// As [`duration`], and not 0.
pub fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be more than 0".to_owned()),
        duration => Ok(duration),
    }
}

/// `1 message`, `2 messages`.
pub fn count(number: u64, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text is shown as text, in one line; what a terminal would act on, and what is no UTF-8, is
    /// not.
    #[test]
    fn only_what_is_printable_is_text() {
        assert_eq!(printable("21 °C".as_bytes()).as_deref(), Some("21 °C"));
        assert_eq!(printable(b"a\tb\\\n").as_deref(), Some("a\\tb\\\\\\n"));
        assert_eq!(printable(b""), Some(String::new()));
        for binary in [
            &b"\x1b[2J"[..],
            b"\0",
            b"\xff",
            b"\x7f",
            "\u{202e}".as_bytes(),
            b"\r",
        ] {
            assert_eq!(printable(binary), None);
        }
        assert_eq!(hex(b"\0\x1f\xff"), "001fff");
        assert_eq!(one_line("a\nb"), "a\u{fffd}b");
    }

    #[test]
    fn times_are_of_the_calendar() {
        let is = |seconds, text: &str| {
            let time = UNIX_EPOCH + Duration::new(seconds, 5000);
            assert_eq!(timestamp(time), text);
        };
        is(0, "1970-01-01T00:00:00.000005Z");
        is(951_782_400, "2000-02-29T00:00:00.000005Z");
        is(1_709_251_199, "2024-02-29T23:59:59.000005Z");
        is(1_735_689_600, "2025-01-01T00:00:00.000005Z");
        is(4_107_542_400, "2100-03-01T00:00:00.000005Z");
        assert_eq!(time_of_day(UNIX_EPOCH), "00:00:00.000000");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in [
            "",
            "s",
            "-1",
            "1d",
            "1 s",
            "1.2.3",
            ".",
            "inf",
            "nan",
            "1e3",
            "99999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(some_duration("0s").is_err());
    }
}
