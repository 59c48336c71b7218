//! Pattern lists of OpenSSH: `PATTERNS` in `ssh_config(5)`.

/// Returns whether a text matches a comma-separated list of patterns: at least one that is not negated, and none that is
/// (`!pattern`).
pub(super) fn matches_list(text: &str, list: &str) -> bool {
    let mut matched = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if matches(text, negated) => return false,
            Some(_) => {}
            None => matched |= matches(text, pattern),
        }
    }
    matched
}

/// Returns whether a text matches a pattern: `*` stands for any characters, `?` for one. Takes time in proportion to the
/// product of the lengths at most.
fn matches(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (mut at, mut in_pattern) = (0, 0);
    // Behind the last star, and the place in the text from which it is tried again.
    let mut retry = None;
    while at < text.len() {
        match pattern.get(in_pattern) {
            Some(b'*') => {
                in_pattern += 1;
                retry = Some((in_pattern, at));
            }
            Some(&byte) if byte == b'?' || byte == text[at] => {
                at += 1;
                in_pattern += 1;
            }
            _ => {
                let Some((behind_star, from)) = retry else { return false };
                retry = Some((behind_star, from + 1));
                (in_pattern, at) = (behind_star, from + 1);
            }
        }
    }
    pattern[in_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_those_of_openssh() {
        for (text, list, expected) in [
            ("a@x.org", "a@x.org", true),
            ("a@x.org", "A@x.org", false),
            ("a@x.org", "*@x.org", true),
            ("a@x.org", "?@x.org", true),
            ("ab@x.org", "?@x.org", false),
            ("a@x.org", "*", true),
            ("", "*", true),
            ("", "", true),
            ("a", "", false),
            ("a@x.org", "b@x.org,a@*", true),
            ("a@x.org", "*,!a@*", false),
            ("a@x.org", "!a@*,*", false),
            ("a@x.org", "!b@*", false),
            ("a@x.org", "!b@*,*.org", true),
            ("aXbXc", "a*b*c", true),
            ("aXbX", "a*b*c", false),
            ("abab", "*ab", true),
        ] {
            assert_eq!(matches_list(text, list), expected, "{text} against {list}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        assert!(!matches_list(&"a".repeat(2_000), &("*a".repeat(500) + "b")));
    }
}
