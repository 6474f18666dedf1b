//! A table of requests and what must come of them, and what runs it: rows in order, over one registry.
//!
//! In paths, headers and expectations `{name}` stands for what an earlier row saved, or for the digest of a content;
//! `{{` and `}}` for braces.

use std::collections::HashMap;

use regatta::oci::{Algorithm, Digest};
use reqwest::Method;
use serde_json::Value;

use crate::protocol_support::World;

/// One request, and what is expected of its answer.
pub struct Row {
    section: &'static str,
    what: &'static str,
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Sent,
    needs_login: bool,
    status: u16,
    expects: Vec<Expect>,
    saves: Vec<(&'static str, &'static str)>,
}

enum Sent {
    Nothing,
    /// A content, as a whole.
    Content(&'static str),
    /// A part of one.
    Part(&'static str, std::ops::Range<usize>),
    /// One whose length is not announced.
    Chunked(&'static str),
}

enum Expect {
    Header(&'static str, &'static str),
    NoHeader(&'static str),
    Is(&'static str),
    IsContent(&'static str),
    Code(&'static str),
    Json(&'static str, fn() -> Value),
    Has(&'static str),
}

/// A row of a section of the distribution specification, or of what is named.
pub fn row(section: &'static str, what: &'static str, method: Method, path: &'static str, status: u16) -> Row {
    let (headers, expects, saves) = (Vec::new(), Vec::new(), Vec::new());
    Row { section, what, method, path, headers, body: Sent::Nothing, needs_login: false, status, expects, saves }
}

impl Row {
    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
    pub fn sends(mut self, content: &'static str) -> Self {
        self.body = Sent::Content(content);
        self
    }
    pub fn sends_part(mut self, content: &'static str, part: std::ops::Range<usize>) -> Self {
        self.body = Sent::Part(content, part);
        self
    }
    pub fn sends_chunked(mut self, content: &'static str) -> Self {
        self.body = Sent::Chunked(content);
        self
    }
    /// Not for anonymous callers, though it only reads.
    pub fn for_members(mut self) -> Self {
        self.needs_login = true;
        self
    }
    fn expects(mut self, expect: Expect) -> Self {
        self.expects.push(expect);
        self
    }
    pub fn header(self, name: &'static str, value: &'static str) -> Self {
        self.expects(Expect::Header(name, value))
    }
    pub fn no_header(self, name: &'static str) -> Self {
        self.expects(Expect::NoHeader(name))
    }
    pub fn is(self, body: &'static str) -> Self {
        self.expects(Expect::Is(body))
    }
    pub fn body_is(self, content: &'static str) -> Self {
        self.expects(Expect::IsContent(content))
    }
    pub fn has(self, text: &'static str) -> Self {
        self.expects(Expect::Has(text))
    }
    /// An error of this code, with the request's id.
    pub fn code(self, code: &'static str) -> Self {
        self.expects(Expect::Code(code))
    }
    pub fn json(self, pointer: &'static str, value: fn() -> Value) -> Self {
        self.expects(Expect::Json(pointer, value))
    }
    pub fn saves(mut self, name: &'static str, header: &'static str) -> Self {
        self.saves.push((name, header));
        self
    }
}

/// How rows are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Credentials with every request.
    Basic,
    /// First without, then with the token that the challenge asks for.
    Token,
    /// Reads without, in a public project.
    Anonymous,
}

/// A registry, and what rows know of each other.
pub struct Run<'a> {
    world: &'a World,
    login: Login,
    known: HashMap<String, String>,
    contents: HashMap<&'static str, Vec<u8>>,
    tokens: HashMap<String, String>,
}

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl<'a> Run<'a> {
    pub fn new(world: &'a World, login: Login) -> Self {
        let project = if login == Login::Anonymous { ("open", "public") } else { ("team", "private") };
        let known = [("project", project.0), ("cache", project.1)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Self { world, login, known: known.into(), contents: HashMap::new(), tokens: HashMap::new() }
    }

    /// A content; its digests are `{name}` and `{name512}`.
    pub fn content(&mut self, name: &'static str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        let digest = |algorithm| Digest::of(algorithm, &bytes).to_string();
        let before = self.known.insert(name.to_owned(), digest(Algorithm::Sha256));
        assert_eq!(before, None, "{name} is taken");
        self.known.insert(format!("{name}512"), digest(Algorithm::Sha512));
        self.known.insert(format!("{name}-length"), bytes.len().to_string());
        self.contents.insert(name, bytes);
    }

    fn expand(&self, text: &str) -> String {
        let (mut expanded, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            expanded += before;
            if let Some(after) = after.strip_prefix('{') {
                expanded.push('{');
                rest = after;
                continue;
            }
            let (name, after) = after.split_once('}').unwrap();
            expanded += self.known.get(name).unwrap_or_else(|| panic!("nothing is known of {name}"));
            rest = after;
        }
        (expanded + rest).replace("}}", "}")
    }

    /// Sends a row and holds the answer against it.
    pub async fn check(&mut self, row: &Row) {
        let answer = self.send(row).await;
        let Answer { status, headers, body } = &answer;
        let text = String::from_utf8_lossy(body);
        let shown: String = text.chars().take(400).collect();
        let what = format!(
            "{:?}, {}: {}\n{} {}\n{headers:#?}\n{shown}",
            self.login,
            row.section,
            row.what,
            row.method,
            self.expand(row.path)
        );
        assert_eq!(*status, row.status, "{what}");
        assert_eq!(headers["docker-distribution-api-version"], "registry/2.0", "{what}");
        for expect in &row.expects {
            match expect {
                Expect::Header(name, value) => {
                    let found = headers.get(*name).map(|value| value.to_str().unwrap().to_owned());
                    assert_eq!(found, Some(self.expand(value)), "{name} of {what}");
                }
                Expect::NoHeader(name) => assert!(!headers.contains_key(*name), "{name} of {what}"),
                Expect::Is(expected) => assert_eq!(text, self.expand(expected), "{what}"),
                Expect::IsContent(content) => assert_eq!(body, &self.contents[content], "{what}"),
                Expect::Has(expected) => assert!(text.contains(&self.expand(expected)), "{expected}: {what}"),
                Expect::Code(code) => {
                    let error: Value = serde_json::from_slice(body).unwrap();
                    assert_eq!(error["errors"][0]["code"], *code, "{what}");
                    let id = headers["x-request-id"].to_str().unwrap();
                    assert_eq!(error["errors"][0]["detail"]["requestId"], id, "{what}");
                }
                Expect::Json(pointer, value) => {
                    let found: Value = serde_json::from_slice(body).unwrap();
                    assert_eq!(found.pointer(pointer), Some(&value()), "{pointer} of {what}");
                }
            }
        }
        for (name, header) in &row.saves {
            let value = headers.get(*header).unwrap_or_else(|| panic!("{header} of {what}"));
            self.known.insert((*name).to_owned(), value.to_str().unwrap().to_owned());
        }
    }

    async fn send(&mut self, row: &Row) -> Answer {
        let reads = matches!(row.method, Method::GET | Method::HEAD) && !row.needs_login;
        let path = self.expand(row.path);
        match self.login {
            Login::Basic => self.send_as(row, &path, Some("root"), None).await,
            Login::Anonymous => self.send_as(row, &path, (!reads).then_some("root"), None).await,
            Login::Token => {
                let answer = self.send_as(row, &path, None, None).await;
                let challenge = answer.headers.get("www-authenticate").filter(|_| answer.status == 401);
                let Some(challenge) = challenge else { return answer };
                let challenge = challenge.to_str().unwrap().to_owned();
                assert!(!challenge.contains("error="), "no token was sent: {challenge}");
                if !self.tokens.contains_key(&challenge) {
                    let token = self.world.token("root", &challenge).await;
                    self.tokens.insert(challenge.clone(), token);
                }
                self.send_as(row, &path, None, Some(&self.tokens[&challenge])).await
            }
        }
    }

    async fn send_as(&self, row: &Row, path: &str, who: Option<&str>, token: Option<&str>) -> Answer {
        let mut request = self.world.request(who.unwrap_or_default(), row.method.clone(), path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        for (name, value) in &row.headers {
            request = request.header(*name, self.expand(value));
        }
        let request = match &row.body {
            Sent::Nothing => request,
            Sent::Content(name) => request.body(self.contents[name].clone()),
            Sent::Part(name, part) => request.body(self.contents[name][part.clone()].to_vec()),
            Sent::Chunked(name) => {
                let pieces: Vec<_> =
                    self.contents[name].chunks(4).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
                request.body(reqwest::Body::wrap_stream(futures::stream::iter(pieces)))
            }
        };
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, body: answer.bytes().await.unwrap().to_vec() }
    }
}
