//! Sizes as docker's flags and the mounts of BuildKit write them.

/// Reads a size in bytes: a number, perhaps with a fraction, and a unit of 1024 (`b k m g t p`, as in `64m`, `64MiB`, `1.5 gb`).
pub fn parse(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_lowercase();
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(1 << shift),
        Err(_) => {
            let size = number.parse::<f64>().ok()? * (1_u64 << shift) as f64;
            (size.is_finite() && size >= 0.0 && size < u64::MAX as f64).then_some(size as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, bytes) in
            [("0", 0), ("64m", 64 << 20), ("1.5k", 1536), ("2GiB", 2 << 30), ("512 MB", 512 << 20), ("7b", 7)]
        {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1.2.3", "99999999999999999999", "99999999p", "1mm", "inf", "nan"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
