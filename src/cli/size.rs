//! Sizes as people read them.

/// Returns `count` bytes in a unit that keeps the number small: `4.21MB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let mut number = count as f64;
    let mut unit = 0;
    while number >= 1000.0 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count}B") } else { format!("{number:.2}{}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 999, 1000, 4_210_000, 5_000_000_000_000_000].map(bytes);
        assert_eq!(sizes, ["0B", "999B", "1.00kB", "4.21MB", "5000.00TB"]);
    }
}
