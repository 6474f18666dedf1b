//! Requests for credentials, which the library below makes of identity services: where they go, how often, and what is said
//! when they are refused.
//!
//! - It sends a web identity's token to Amazon's STS only; what speaks like Amazon's has a service of its own.
//! - It asks Google for a token before each request where it has the key of a service account, and at one place, whatever
//!   the key says. Here a token is asked for once, by one at a time, and used until shortly before it ends.
//! - It goes on to the next source of credentials where one fails, and tells in the end only that there are none.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, StatusCode, Uri, header};
use opendal::raw::Operation;
use opendal::{Buffer, Error, ErrorKind, HttpBody};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use crate::store::config::{S3, Secrets, Service, ServiceUrl};

/// Where the library asks Google for a token, by a service account's key or a user's.
const GOOGLE: &str = "https://oauth2.googleapis.com/token";

/// A token is not used for so long before it ends, or for the second half of its life where that is shorter.
const MARGIN: Duration = Duration::from_mins(5);

/// Whether a request is for credentials, rather than for what is in the bucket.
pub(super) fn is_for_credentials<T>(request: &Request<T>) -> bool {
    request.extensions().get::<Operation>().is_none()
}

/// What stands between the library and the identity service.
#[derive(Debug)]
pub(super) enum Exchange {
    /// Nothing.
    Plain,
    /// Another place than Amazon's.
    Sts(Uri),
    /// A token that was asked for, and another place than the library's if the key names one.
    Google { place: Option<Uri>, kept: Mutex<Option<Kept>> },
}

/// A token of Google's.
#[derive(Debug)]
pub(super) struct Kept {
    token: SecretString,
    got: Instant,
    lasts: Duration,
}

/// What Google answers.
#[derive(Deserialize)]
struct Answered {
    access_token: SecretString,
    expires_in: u64,
}

/// What is of interest of a key.
#[derive(Deserialize)]
struct ServiceAccount {
    token_uri: Option<String>,
}

impl Exchange {
    /// Says what is wrong with an address.
    pub(super) fn new(service: &Service, secrets: &Secrets) -> Result<Self, String> {
        match service {
            Service::S3(S3 { sts_endpoint: Some(url), .. }) => Ok(Self::Sts(url.uri().clone())),
            Service::Gcs(_) => {
                let key = secrets.service_account_key.as_ref();
                let key = key.and_then(|key| serde_json::from_str::<ServiceAccount>(key.expose_secret()).ok());
                let place = key.and_then(|key| key.token_uri).filter(|url| url != GOOGLE);
                let place = place.map(|url| url.parse::<ServiceUrl>()).transpose();
                let place = place.map_err(|why| format!("`token_uri` of the service account's key: {why}"))?;
                Ok(Self::Google { place: place.map(|url| url.uri().clone()), kept: Mutex::default() })
            }
            Service::S3(_)
            | Service::Azure(_)
            | Service::Swift(_)
            | Service::Oss(_)
            | Service::Cos(_)
            | Service::Obs(_) => Ok(Self::Plain),
        }
    }

    /// Sends the request where it is to go. An answer that is known already comes back instead; else whoever asks has to
    /// say with [`Asking::answered`] what came.
    pub(super) async fn before(&self, request: &mut Request<Buffer>) -> opendal::Result<Before<'_>> {
        match self {
            Self::Sts(place) if is_sts(request.uri()) => redirect(request, place).map(|()| Before::Plain),
            Self::Google { place, kept } if *request.uri() == GOOGLE => {
                let kept = kept.lock().await;
                if let Some(answer) = kept.as_ref().and_then(Kept::answer) {
                    return Ok(Before::Known(answer));
                }
                if let Some(place) = place {
                    redirect(request, place)?;
                }
                Ok(Before::Asking(Asking(kept)))
            }
            Self::Plain | Self::Sts(_) | Self::Google { .. } => Ok(Before::Plain),
        }
    }

    /// The bucket did not believe what it was shown.
    pub(super) async fn forget(&self) {
        if let Self::Google { kept, .. } = self {
            *kept.lock().await = None;
        }
    }
}

/// What is to be done with a request for credentials.
pub(super) enum Before<'a> {
    /// It is sent.
    Plain,
    /// It is sent, and what comes is to be told.
    Asking(Asking<'a>),
    /// It need not be sent.
    Known(Response<HttpBody>),
}

/// The turn to ask for a token.
pub(super) struct Asking<'a>(MutexGuard<'a, Option<Kept>>);

impl Asking<'_> {
    /// Keeps the token of an answer, and hands the answer on.
    pub(super) async fn answered(mut self, response: Response<HttpBody>) -> opendal::Result<Response<HttpBody>> {
        if response.status() != StatusCode::OK {
            return Ok(response);
        }
        let (parts, mut body) = response.into_parts();
        let said = body.to_buffer().await?.to_bytes();
        if let Ok(Answered { access_token, expires_in }) = serde_json::from_slice(&said) {
            let lasts = Duration::from_secs(expires_in);
            *self.0 = Some(Kept { token: access_token, got: Instant::now(), lasts });
        }
        Ok(Response::from_parts(parts, whole(said)))
    }
}

impl Kept {
    /// As Google would answer.
    fn answer(&self) -> Option<Response<HttpBody>> {
        let left = self.lasts.checked_sub(self.got.elapsed())?;
        if left <= MARGIN.min(self.lasts / 2) {
            return None;
        }
        let token = self.token.expose_secret();
        let said = json!({"access_token": token, "expires_in": left.as_secs(), "token_type": "Bearer"}).to_string();
        Response::builder().header(header::CONTENT_TYPE, "application/json").body(whole(said.into())).ok()
    }
}

fn whole(said: Bytes) -> HttpBody {
    let size = said.len() as u64;
    HttpBody::new(stream::iter([Ok(Buffer::from(said))]), Some(size))
}

/// Amazon's, of whatever region and partition.
fn is_sts(uri: &Uri) -> bool {
    uri.host().is_some_and(|host| host.starts_with("sts.")) && uri.path() == "/"
}

fn redirect(request: &mut Request<Buffer>, place: &Uri) -> opendal::Result<()> {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let uri = format!("{}{query}", place.to_string().trim_end_matches('?')).parse();
    *request.uri_mut() = uri.map_err(|error| Error::new(ErrorKind::ConfigInvalid, "no URL").set_source(error))?;
    request.headers_mut().remove(header::HOST);
    Ok(())
}

/// Tells of what an identity service refused: the library goes on to other sources, and forgets why. Its own answer may have
/// secrets in it.
pub(super) fn tell(method: &Method, uri: &Uri, answer: &opendal::Result<Response<HttpBody>>) {
    let place = format!("{}{}", uri.authority().map_or("", http::uri::Authority::as_str), uri.path());
    match answer {
        Ok(response) if response.status().is_success() => {}
        Ok(response) => {
            let status = response.status().as_u16();
            tracing::warn!(%method, place, status, "an identity service gave no credentials for the bucket");
        }
        Err(error) => {
            let error = super::text(error);
            tracing::warn!(%method, place, error, "an identity service could not be asked for credentials for the bucket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_until_shortly_before_it_ends() {
        let kept = |lasts: u64, ago: u64| {
            let got = Instant::now().checked_sub(Duration::from_secs(ago)).unwrap();
            Kept { token: "token".into(), got, lasts: Duration::from_secs(lasts) }.answer().is_some()
        };
        assert!(kept(3600, 0) && kept(3600, 3200) && kept(60, 20));
        assert!(!kept(3600, 3301) && !kept(3600, 4000) && !kept(60, 31) && !kept(0, 0));
    }

    #[test]
    fn only_a_services_sts_is_asked_elsewhere() {
        let place: Uri = "http://minio.test:9000/sts".parse().unwrap();
        for (asked, elsewhere) in [
            ("https://sts.amazonaws.com/", true),
            ("https://sts.eu-central-1.amazonaws.com/", true),
            ("http://169.254.170.23/v1/credentials", false),
        ] {
            assert_eq!(is_sts(&asked.parse().unwrap()), elsewhere, "{asked}");
        }
        let mut request = Request::post("https://sts.amazonaws.com/?a=b").body(Buffer::new()).unwrap();
        redirect(&mut request, &place).unwrap();
        assert_eq!(request.uri(), "http://minio.test:9000/sts?a=b");
    }
}
