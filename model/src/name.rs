// SPDX-License-Identifier: GPL-2.0

//! Names and wildcards.

/// The name of replier bind events.
pub const BIND_EVENT: &str = "$.KBUS.ReplierBindEvent";
/// That some of them had no room.
pub const EVENTS_LOST: &str = "$.KBUS.UnbindEventsLost";
/// That messages were missed.
pub const LOST: &str = "$.KBUS.Lost";

/// Whether a binding's text matches a name, word by word.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let name: Vec<&str> = name.split('.').collect();
    match pattern.split_last() {
        Some((&"*", stem)) => name.len() > stem.len() && name.starts_with(stem),
        Some((&"%", stem)) => name.len() == stem.len() + 1 && name.starts_with(stem),
        _ => pattern == name,
    }
}

/// Whether the name is the bus's own.
pub fn is_bus_own(name: &str) -> bool {
    name == "$.KBUS" || name.starts_with("$.KBUS.")
}

/// The literal words of a binding's text after the `$`.
pub fn words(pattern: &str) -> usize {
    let wild = pattern.ends_with('*') || pattern.ends_with('%');
    pattern.split('.').count() - 1 - usize::from(wild)
}

/// 2 for an exact name, 1 for `%`, 0 for `*`.
pub fn tail(pattern: &str) -> u8 {
    match pattern.chars().last() {
        Some('*') => 0,
        Some('%') => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_further_words() {
        assert!(matches("$.A", "$.A") && !matches("$.A", "$.A.B") && !matches("$.A", "$.B"));
        assert!(matches("$.A.*", "$.A.B") && matches("$.A.*", "$.A.B.C") && !matches("$.A.*", "$.A"));
        assert!(matches("$.A.%", "$.A.B") && !matches("$.A.%", "$.A.B.C") && !matches("$.A.%", "$.A"));
        assert!(matches("$.*", "$.A.B") && matches("$.%", "$.A") && !matches("$.%", "$.A.B"));
        assert_eq!((words("$.A.B"), words("$.A.*"), words("$.%")), (2, 1, 0));
    }
}
