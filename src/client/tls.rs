//! Whose certificates are believed.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

use super::ClientError;

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The public authorities (Mozilla's list, compiled in).
    Public,
    /// The public authorities, and these certificates (PEM).
    Also(Vec<u8>),
    /// These certificates (PEM) only: a pinned one.
    Only(Vec<u8>),
    /// Any certificate whatsoever: `insecure` was asked for.
    Anyone,
}

/// The TLS configuration of a client.
pub(crate) fn client_config(trust: &Trust) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Certificates(error.to_string()))?;
    let builder = match trust {
        Trust::Public => builder.with_root_certificates(public_roots()),
        Trust::Also(pem) => builder.with_root_certificates(with_pem(public_roots(), pem)?),
        Trust::Only(pem) => builder.with_root_certificates(with_pem(RootCertStore::empty(), pem)?),
        Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification { provider })),
    };
    Ok(builder.with_no_client_auth())
}

fn public_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

fn with_pem(mut roots: RootCertStore, pem: &[u8]) -> Result<RootCertStore, ClientError> {
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| ClientError::Certificates(error.to_string()))?;
        roots.add(certificate).map_err(|error| ClientError::Certificates(error.to_string()))?;
        found += 1;
    }
    if found == 0 {
        return Err(ClientError::Certificates("no certificate in the PEM text".to_owned()));
    }
    Ok(roots)
}

/// Believes every certificate, but still checks that the other side has the key of the one that it shows.
#[derive(Debug)]
struct NoVerification {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_certificate_is_no_trust() {
        assert!(client_config(&Trust::Only(Vec::new())).is_err());
        assert!(client_config(&Trust::Also(b"garbage".to_vec())).is_err());
        assert!(client_config(&Trust::Public).is_ok());
        assert!(client_config(&Trust::Anyone).is_ok());
    }
}
