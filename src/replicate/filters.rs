//! What an edge covers: globs over repositories and tags.
//!
//! `*` stands for any characters within a path component, `**` for any across components, `?` for one character
//! within a component. A name must match as a whole. No globs cover everything.

use regex::Regex;

use super::ReplicateError;
use crate::{
    admin::Filters,
    oci::{RepositoryName, Tag},
};

/// Filters, ready to be asked.
#[derive(Debug, Clone)]
pub struct Coverage {
    repositories: Globs,
    tags: Globs,
}

#[derive(Debug, Clone)]
struct Globs {
    texts: Vec<String>,
    /// Empty: everything.
    patterns: Vec<Regex>,
}

impl Globs {
    fn compile(texts: &[String]) -> Result<Self, ReplicateError> {
        let patterns = texts.iter().map(|text| compile(text)).collect::<Result<_, _>>()?;
        Ok(Self { texts: texts.to_vec(), patterns })
    }

    fn cover(&self, name: &str) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.is_match(name))
    }
}

fn compile(glob: &str) -> Result<Regex, ReplicateError> {
    let bad = |why: &str| ReplicateError::Glob { glob: glob.to_owned(), why: why.to_owned() };
    if glob.is_empty() {
        return Err(bad("it is empty"));
    }
    let mut pattern = String::from("^(?:");
    let mut rest = glob.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.peek() == Some(&'*') => {
                while rest.next_if_eq(&'*').is_some() {}
                pattern.push_str(".*");
            }
            '*' => pattern.push_str("[^/]*"),
            '?' => pattern.push_str("[^/]"),
            c => pattern.push_str(&regex::escape(&c.to_string())),
        }
    }
    pattern.push_str(")$");
    Regex::new(&pattern).map_err(|error| bad(&error.to_string()))
}

impl Coverage {
    /// Reads the globs.
    pub fn compile(filters: &Filters) -> Result<Self, ReplicateError> {
        let Filters { repositories, tags } = filters;
        Ok(Self { repositories: Globs::compile(repositories)?, tags: Globs::compile(tags)? })
    }

    /// Whether a repository is covered.
    pub fn repository(&self, name: &RepositoryName) -> bool {
        self.repositories.cover(name.as_str())
    }

    /// Whether a tag of a covered repository is covered.
    pub fn tag(&self, tag: &Tag) -> bool {
        self.tags.cover(tag.as_str())
    }

    /// Whether covered repositories are covered whole, untagged manifests included.
    pub fn is_whole(&self) -> bool {
        self.tags.patterns.is_empty()
    }

    /// The covered repositories, where the filters name them all without any wildcard: for registries that do not
    /// list theirs.
    pub fn named_repositories(&self) -> Option<Vec<RepositoryName>> {
        if self.repositories.texts.is_empty() {
            return None;
        }
        self.repositories.texts.iter().map(|text| text.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(glob: &str, name: &str, expected: bool) {
        let filters = Filters { repositories: vec![glob.to_owned()], tags: Vec::new() };
        let coverage = Coverage::compile(&filters).unwrap();
        assert_eq!(coverage.repository(&name.parse().unwrap()), expected, "{glob} {name}");
    }

    #[test]
    fn a_star_stays_within_its_component_and_two_stars_do_not() {
        check("team/*", "team/app", true);
        check("team/*", "team/app/web", false);
        check("team/**", "team/app/web", true);
        check("team/**", "team", false);
        check("team**", "team", true);
        check("*", "team", true);
        check("*", "team/app", false);
        check("**", "team/app", true);
        check("team/ap?", "team/app", true);
        check("team?app", "team/app", false);
        check("team/app", "team/app", true);
        check("team/app", "team/app2", false);
        check("a.b", "a-b", false);
    }

    #[test]
    fn no_globs_cover_everything_and_an_empty_one_is_refused() {
        let coverage = Coverage::compile(&Filters::default()).unwrap();
        assert!(coverage.repository(&"a/b".parse().unwrap()) && coverage.tag(&"v1".parse().unwrap()));
        assert!(coverage.is_whole() && coverage.named_repositories().is_none());
        let empty = Filters { repositories: vec![String::new()], tags: Vec::new() };
        assert!(Coverage::compile(&empty).is_err());
    }

    #[test]
    fn repositories_named_in_full_are_known_without_a_catalog() {
        let named = |globs: &[&str]| {
            let repositories = globs.iter().map(|&glob| glob.to_owned()).collect();
            Coverage::compile(&Filters { repositories, tags: Vec::new() }).unwrap().named_repositories()
        };
        assert_eq!(named(&["a/b", "c"]).unwrap().len(), 2);
        assert!(named(&["a/b", "c/*"]).is_none());
    }

    /// Every name of up to six characters of a small alphabet. Two globs of three tokens each that overlap do so in a
    /// name of at most six: each of its characters is the end of one of their tokens.
    fn names() -> Vec<String> {
        let mut names = vec![String::new()];
        let mut longest = names.clone();
        for _ in 0..6 {
            longest = longest.iter().flat_map(|name| ["a", "b", "/"].map(|next| format!("{name}{next}"))).collect();
            names.extend(longest.iter().cloned());
        }
        names
    }

    proptest! {
        #[test]
        fn two_globs_overlap_if_and_only_if_some_name_is_covered_by_both(
            a in "(a|b|/|[?]|[*]|[*][*]){1,3}",
            b in "(a|b|/|[?]|[*]|[*][*]){1,3}",
        ) {
            let covers = |glob: &str| Globs::compile(&[glob.to_owned()]).unwrap();
            let (one, other) = (covers(&a), covers(&b));
            let expected = names().iter().any(|name| one.cover(name) && other.cover(name));
            prop_assert_eq!(crate::admin::globs::overlap(&a, &b), expected, "{} {}", a, b);
        }

        #[test]
        fn any_text_is_a_glob_that_covers_itself_unless_it_has_wildcards(name in "[a-z0-9]{1,5}(/[a-z0-9._-]{1,5}){0,3}") {
            if let Ok(name) = name.parse::<RepositoryName>() {
                check(name.as_str(), name.as_str(), true);
            }
        }
    }
}
