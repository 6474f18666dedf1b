//! Whether two globs may cover one name: what tells two policies apart that would write to the same repositories.
//!
//! Exact, not a guess: the two globs are walked through together, as the product of the two automata that they are. `*`
//! stands for any characters within a path component, two or more for any across components, `?` for one character
//! within a component; everything else for itself. [`crate::admin::Filters`] says so too, and the replicator reads them
//! like that.

/// What a glob consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// This character.
    One(char),
    /// One character that is no `/`.
    AnyOne,
    /// Any number of characters that are no `/`.
    Within,
    /// Any number of characters.
    Across,
}

fn tokens(glob: &str) -> Vec<Token> {
    let mut tokens = vec![];
    let mut rest = glob.chars().peekable();
    while let Some(character) = rest.next() {
        tokens.push(match character {
            '*' if rest.peek() == Some(&'*') => {
                while rest.next_if_eq(&'*').is_some() {}
                Token::Across
            }
            '*' => Token::Within,
            '?' => Token::AnyOne,
            other => Token::One(other),
        });
    }
    tokens
}

impl Token {
    /// Whether it may stand for nothing at all, and for more than one character.
    fn repeats(self) -> bool {
        match self {
            Self::Within | Self::Across => true,
            Self::One(_) | Self::AnyOne => false,
        }
    }

    /// Whether some character can be read by both.
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::One(one), Self::One(another)) => one == another,
            (Self::One(one), Self::AnyOne | Self::Within) | (Self::AnyOne | Self::Within, Self::One(one)) => one != '/',
            (Self::Across, _) | (_, Self::Across) | (Self::AnyOne | Self::Within, Self::AnyOne | Self::Within) => true,
        }
    }
}

/// Whether there is a name that both globs cover.
pub fn overlap(a: &str, b: &str) -> bool {
    let (a, b) = (tokens(a), tokens(b));
    let width = b.len() + 1;
    let mut seen = vec![false; (a.len() + 1) * width];
    let mut open = vec![(0, 0)];
    while let Some((i, j)) = open.pop() {
        if std::mem::replace(&mut seen[i * width + j], true) {
            continue;
        }
        match (a.get(i), b.get(j)) {
            (None, None) => return true,
            (one, other) => open.extend(next(one.copied(), other.copied()).map(|(on_a, on_b)| (i + on_a, j + on_b))),
        }
    }
    false
}

/// How far one may go on in each of the two globs from where they are.
fn next(a: Option<Token>, b: Option<Token>) -> impl Iterator<Item = (usize, usize)> {
    let repeats = |token: Option<Token>| token.is_some_and(Token::repeats);
    let meet = matches!((a, b), (Some(a), Some(b)) if a.meets(b));
    [
        // What may stand for nothing is passed over.
        (repeats(a), (1, 0)),
        (repeats(b), (0, 1)),
        // A character that both read; what repeats stays where it is.
        (meet, (usize::from(!repeats(a)), usize::from(!repeats(b)))),
    ]
    .into_iter()
    .filter_map(|(may, step)| may.then_some(step))
}

/// Whether there is a name that one of each covers. No globs cover everything.
pub fn any_overlap(some: &[String], others: &[String]) -> bool {
    some.is_empty() || others.is_empty() || some.iter().any(|a| others.iter().any(|b| overlap(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, expected: bool) {
        assert_eq!(overlap(a, b), expected, "{a} {b}");
        assert_eq!(overlap(b, a), expected, "{b} {a}");
    }

    #[test]
    fn two_globs_overlap_where_one_name_is_covered_by_both() {
        check("shop/app", "shop/app", true);
        check("shop/app", "shop/web", false);
        check("shop/*", "shop/app", true);
        check("shop/*", "shop/app/web", false);
        check("shop/**", "shop/app/web", true);
        check("shop/**", "team/**", false);
        check("shop/**", "**/web", true);
        check("shop/*", "*/web", true);
        check("shop/*", "*/*/web", false);
        check("shop/a*", "shop/*b", true);
        check("shop/a?", "shop/a", false);
        check("shop/a?", "shop/??", true);
        check("a?b", "a/b", false);
        check("a**b", "a/b", true);
        check("*a*b*a*", "b*b*b", true);
        check("*", "", true);
        check("?", "", false);
        check("**", "*/*", true);
    }

    #[test]
    fn no_globs_overlap_with_any() {
        let one = ["shop/**".to_owned()];
        assert!(any_overlap(&[], &one) && any_overlap(&one, &[]) && any_overlap(&[], &[]));
        assert!(!any_overlap(&one, &["team/**".to_owned(), "sho/p".to_owned()]));
        assert!(any_overlap(&one, &["team/**".to_owned(), "shop/p".to_owned()]));
    }
}
