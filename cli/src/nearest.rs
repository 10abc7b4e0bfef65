//! The nearest known name to a mistyped one, so that an error can ask "did you mean …?".

/// More changes than this and a name is not a typing error of another.
const CHANGES_MAX: usize = 3;

/// Returns the known name with the fewest changed letters, unless too many are.
pub(crate) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (changes(wrong, name), name))
        .filter(|(count, name)| *count <= CHANGES_MAX && *count < name.len())
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance by bytes; names are ASCII.
fn changes(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_the_name() {
        let known = ["port", "data", "durability", "log-level"];
        assert_eq!(nearest("prot", known), Some("port"));
        assert_eq!(nearest("durabilty", known), Some("durability"));
        assert_eq!(nearest("dat", known), Some("data"));
    }

    #[test]
    fn another_word_finds_nothing() {
        assert_eq!(nearest("replicas", ["port", "data"]), None);
        assert_eq!(nearest("x", ["id"]), None);
    }
}
