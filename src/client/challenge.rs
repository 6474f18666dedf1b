//! `WWW-Authenticate` (RFC 9110, section 11.6.1; Docker's token specification).

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// What a registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token of this realm.
    Bearer {
        /// The URL to ask for one.
        realm: String,
        /// The `service` to name there.
        service: Option<String>,
        /// The scope that the refused request would have needed.
        scope: Option<String>,
    },
    /// Name and password.
    Basic,
}

/// Every challenge that we understand, in the order of the headers.
pub(super) fn parse(headers: &HeaderMap) -> Vec<Challenge> {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).flat_map(parse_line).collect()
}

fn parse_line(line: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    for (scheme, parameters) in challenges(line) {
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            found.push(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
        }
    }
    found
}

type Parameters = Vec<(String, String)>;

/// Splits a line into schemes and their parameters: a word without `=` begins the next challenge.
fn challenges(line: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    for item in items(line) {
        let (head, pair) = match item.split_once('=') {
            Some((name, value)) => match name.trim().rsplit_once(char::is_whitespace) {
                Some((scheme, name)) => (Some(scheme.trim()), Some((name, value))),
                None => (None, Some((name.trim(), value))),
            },
            None => (Some(item.trim()), None),
        };
        if let Some(scheme) = head {
            found.push((scheme.to_owned(), Vec::new()));
        }
        if let (Some((_, parameters)), Some((name, value))) = (found.last_mut(), pair) {
            parameters.push((name.to_owned(), unquote(value.trim())));
        }
    }
    found
}

/// The parts between commas that are not within quotes.
fn items(line: &str) -> Vec<String> {
    let (mut found, mut current, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            ',' if !quoted => found.push(std::mem::take(&mut current)),
            _ => {
                quoted ^= c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                current.push(c);
            }
        }
    }
    found.push(current);
    found.retain(|item| !item.trim().is_empty());
    found
}

fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let (mut out, mut escaped) = (String::new(), false);
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[Challenge]) {
        assert_eq!(parse_line(line), expected, "{line}");
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_of_the_field_are_understood() {
        check("Basic realm=\"Registry\"", &[Challenge::Basic]);
        check("basic", &[Challenge::Basic]);
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            &[bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"))],
        );
        check(
            r#"Bearer realm="https://h/t", service=h, Basic realm="h""#,
            &[bearer("https://h/t", Some("h"), None), Challenge::Basic],
        );
        check("Negotiate", &[]);
        check("Bearer service=\"x\"", &[]);
        check("", &[]);
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(line: String) {
            let _ = parse_line(&line);
        }
    }
}
