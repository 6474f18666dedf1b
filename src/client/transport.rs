//! One request to its answer: who we are, redirects, repetition, and no waiting for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION},
};
use jiff::Timestamp;
use reqwest::{Response, Url};

use super::{
    Client, ClientError, Scope,
    error::{is_transient, shown, words},
    retry,
};

/// No answer, or no progress of a body, for this long is a failure.
const PATIENCE: Duration = Duration::from_mins(1);
/// The same, once a body is sent or an upload is to be closed: the registry may have to put a large blob together before it answers.
const LONG_PATIENCE: Duration = Duration::from_mins(5);
/// How often progress is looked at.
const TICK: Duration = Duration::from_secs(5);
/// How many redirects are followed.
const REDIRECTS: usize = 5;
/// The most bytes of an answer that is read as a whole.
pub(super) const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// What is sent.
pub(super) enum Body {
    /// Nothing.
    Empty,
    /// These bytes; can be sent again.
    Bytes(Bytes),
    /// So many bytes of a stream; can be sent once.
    Stream(StreamBody),
}

/// A body that is made while it is sent.
pub(super) struct StreamBody {
    body: reqwest::Body,
    length: u64,
    progress: Arc<AtomicU64>,
}

impl StreamBody {
    /// Of `length` bytes.
    pub(super) fn new<S>(length: u64, stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, ClientError>> + Send + 'static,
    {
        let progress = Arc::new(AtomicU64::new(0));
        let seen = progress.clone();
        let watched = stream.inspect(move |_| {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        Self { body: reqwest::Body::wrap_stream(watched), length, progress }
    }
}

/// A request in the making.
pub(super) struct Request {
    method: Method,
    url: Url,
    scope: Scope,
    headers: HeaderMap,
    body: Body,
    basic: bool,
    patience: Duration,
}

impl Request {
    pub(super) fn new(method: Method, url: Url, scope: Scope) -> Self {
        Self { method, url, scope, headers: HeaderMap::new(), body: Body::Empty, basic: false, patience: PATIENCE }
    }

    /// With this header.
    pub(super) fn header(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// With this body.
    pub(super) fn body(mut self, body: Body) -> Self {
        if matches!(body, Body::Stream(_)) {
            self.patience = LONG_PATIENCE;
        }
        self.body = body;
        self
    }

    /// The registry puts something large together before it answers, whatever is sent along.
    pub(super) fn long(mut self) -> Self {
        self.patience = LONG_PATIENCE;
        self
    }

    /// How long it is waited for an answer, or for progress.
    #[cfg(test)]
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// With Basic credentials at once, whatever the registry would ask for.
    pub(super) fn basic(mut self) -> Self {
        self.basic = true;
        self
    }
}

/// One attempt's ending.
enum Attempt {
    Answer(Response),
    /// A 401, and whether another attempt may do better.
    Refused(Response, bool),
}

impl Client {
    /// Sends until there is an answer that another attempt would not mend. Statuses are the caller's to judge.
    pub(super) async fn send(&self, mut request: Request) -> Result<Response, ClientError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let repeatable = !matches!(request.body, Body::Stream(_));
            let ended = self.send_authorized(&mut request).await;
            let asked = match &ended {
                Ok(answer) if is_transient(answer.status()) => retry::retry_after(answer.headers(), Timestamp::now()),
                Err(error) if error.is_transient() => None,
                Ok(_) | Err(_) => return ended,
            };
            let pause = self.inner.retry.pause(attempt, asked, retry::random()).filter(|_| repeatable);
            let Some(pause) = pause else { return ended };
            tracing::debug!(method = %request.method, url = shown(&request.url), attempt, ?pause, "asking again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends, and proves who we are where that is asked for.
    async fn send_authorized(&self, request: &mut Request) -> Result<Response, ClientError> {
        for _ in 0..2 {
            // A stream can be sent once; the request before it has settled who we are.
            let repeatable = !matches!(request.body, Body::Stream(_));
            match self.attempt(request).await? {
                Attempt::Answer(answer) => return Ok(answer),
                Attempt::Refused(_, true) if repeatable => {}
                Attempt::Refused(answer, _) => return Err(unauthorized(request, answer).await),
            }
        }
        match self.attempt(request).await? {
            Attempt::Answer(answer) => Ok(answer),
            Attempt::Refused(answer, _) => Err(unauthorized(request, answer).await),
        }
    }

    async fn attempt(&self, request: &mut Request) -> Result<Attempt, ClientError> {
        let used = if request.basic && self.inner.endpoint.is_origin_of(&request.url) {
            self.inner.auth.basic()?
        } else {
            self.inner.auth.header(&request.url, &request.scope).await?
        };
        let answer = self.follow(request, used.clone()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || !self.inner.endpoint.is_origin_of(answer.url()) {
            return Ok(Attempt::Answer(answer));
        }
        let again = self.inner.auth.challenged(answer.headers(), &request.scope, used.as_ref()).await?;
        Ok(Attempt::Refused(answer, again))
    }

    /// Sends, and follows the redirects of what is only read; elsewhere the credentials are not sent along.
    async fn follow(&self, request: &mut Request, used: Option<HeaderValue>) -> Result<Response, ClientError> {
        let mut url = request.url.clone();
        let mut used = used;
        for _ in 0..=REDIRECTS {
            let answer = self.once(request, url.clone(), used.as_ref()).await?;
            let readable = matches!(request.method, Method::GET | Method::HEAD);
            let Some(location) = redirect(&answer).filter(|_| readable) else { return Ok(answer) };
            url = self.inner.endpoint.join(&url, &location)?;
            used = used.filter(|_| self.inner.endpoint.is_origin_of(&url));
        }
        Err(ClientError::Protocol { url: shown(&request.url), why: format!("more than {REDIRECTS} redirects") })
    }

    async fn once(&self, request: &mut Request, url: Url, used: Option<&HeaderValue>) -> Result<Response, ClientError> {
        let mut builder = self.inner.http.request(request.method.clone(), url.clone()).headers(request.headers.clone());
        if let Some(value) = used {
            builder = builder.header(AUTHORIZATION, value);
        }
        let mut progress = None;
        match std::mem::replace(&mut request.body, Body::Empty) {
            Body::Empty if matches!(request.method, Method::POST | Method::PUT | Method::PATCH) => {
                builder = builder.header(CONTENT_LENGTH, 0);
            }
            Body::Empty => {}
            Body::Bytes(bytes) => {
                builder = builder.body(bytes.clone());
                request.body = Body::Bytes(bytes);
            }
            Body::Stream(StreamBody { body, length, progress: counter }) => {
                builder = builder.header(CONTENT_LENGTH, length).body(body);
                progress = Some(counter);
            }
        }
        let stalled =
            || ClientError::Stalled { method: request.method.clone(), url: shown(&url), waited: request.patience };
        let sent = watch(builder.send(), progress, request.patience).await.ok_or_else(stalled)?;
        sent.map_err(|source| ClientError::Transport {
            method: request.method.clone(),
            url: shown(&url),
            source: source.without_url(),
        })
    }

    /// The error for an answer with a status that the caller did not expect.
    pub(super) async fn unexpected(&self, method: &Method, answer: Response) -> ClientError {
        let (status, url) = (answer.status(), shown(answer.url()));
        let retry_after = retry::retry_after(answer.headers(), Timestamp::now());
        let body = read_body(answer, ERROR_LIMIT).await.unwrap_or_default();
        let (code, message) = words(&body);
        ClientError::Status { method: method.clone(), url, status, code, message, retry_after }
    }

    /// The whole body of an answer that is not large.
    pub(super) async fn body(&self, answer: Response) -> Result<Bytes, ClientError> {
        read_body(answer, BODY_LIMIT).await
    }
}

/// The most that is read of an error's body.
const ERROR_LIMIT: usize = 64 * 1024;

async fn unauthorized(request: &Request, answer: Response) -> ClientError {
    let url = shown(answer.url());
    let (_, message) = words(&read_body(answer, ERROR_LIMIT).await.unwrap_or_default());
    ClientError::Unauthorized { method: request.method.clone(), url, message }
}

fn redirect(answer: &Response) -> Option<String> {
    let moved = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    moved.then(|| location.to_owned())
}

/// Waits for `future` as long as the body's counter moves; `None` after `patience` without any.
async fn watch<F: Future>(future: F, progress: Option<Arc<AtomicU64>>, patience: Duration) -> Option<F::Output> {
    tokio::pin!(future);
    let (mut seen, mut idle) = (0, Duration::ZERO);
    loop {
        match tokio::time::timeout(TICK, &mut future).await {
            Ok(output) => return Some(output),
            Err(_) => idle += TICK,
        }
        let now = progress.as_ref().map_or(0, |counter| counter.load(Ordering::Relaxed));
        if now != seen {
            (seen, idle) = (now, Duration::ZERO);
        }
        if idle >= patience {
            return None;
        }
    }
}

async fn read_body(mut answer: Response, limit: usize) -> Result<Bytes, ClientError> {
    let mut body = Vec::new();
    while let Some(chunk) = next_chunk(&mut answer).await? {
        if body.len() + chunk.len() > limit {
            let why = format!("the answer has more than {limit} bytes");
            return Err(ClientError::Protocol { url: shown(answer.url()), why });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

/// The next bytes of an answer's body.
pub(super) async fn next_chunk(answer: &mut Response) -> Result<Option<Bytes>, ClientError> {
    let url = shown(answer.url());
    let stalled = |_| ClientError::Stalled { method: Method::GET, url: url.clone(), waited: PATIENCE };
    let read = tokio::time::timeout(PATIENCE, answer.chunk()).await.map_err(stalled)?;
    read.map_err(|source| ClientError::Transport { method: Method::GET, url, source: source.without_url() })
}
