//! Durations as people type them: `90` is seconds; `1.5`, `500ms`, `2m`, `1h30m` work.

use std::time::Duration;

/// Longer than anything runs; keeps every sum of durations in range.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Reads a duration.
///
/// # Errors
/// What is wrong with it, as a fragment of a sentence.
pub fn parse(text: &str) -> Result<Duration, String> {
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let span = if number {
        let seconds: f64 = text.parse().map_err(|_| not_a_duration(text))?;
        // A number of seconds with thousands of digits parses to infinity.
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("{text:.20} is too long a time"))?
    } else {
        humantime::parse_duration(text).map_err(|_| not_a_duration(text))?
    };
    if span > LONGEST {
        return Err(format!("{text:.20} is too long a time"));
    }
    Ok(span)
}

fn not_a_duration(text: &str) -> String {
    format!("{text:.40?} is not a duration: write 90 (seconds), 1.5, 500ms, 2m or 1h30m")
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations_are_read_as_people_type_them() {
        for (text, millis) in [
            ("0", 0),
            ("90", 90_000),
            ("1.5", 1_500),
            (".5", 500),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
        ] {
            assert_eq!(parse(text).map(|span| span.as_millis()), Ok(millis), "{text}");
        }
        for text in [
            "",
            "-1",
            "nan",
            "NaN",
            "inf",
            "1e30",
            "1.2.3",
            ".",
            "soon",
            "5 parsecs",
            "999999999999999999999",
            "1e3",
            "+5",
            "400years",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"9".repeat(5000)).unwrap_err().len() < 100);
    }
}
