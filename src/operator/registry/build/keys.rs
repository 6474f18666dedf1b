//! The Secrets that are made once, with random content: keys and internal certificate, and a replicator's password.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::metadata;
use crate::admin::KeySet;
use crate::operator::failure::Failure;
use crate::operator::labels::{self, Component};
use crate::operator::registry::validate::ManagedPlan;

/// `<name>-registry-keys`: what the registry signs with, and the certificate of its internal port.
pub fn keys(plan: &ManagedPlan) -> Result<Secret, Failure> {
    let certificate = certificate(plan)
        .map_err(|error| Failure::invalid(format!("the internal certificate cannot be made: {error}")))?;
    let data = BTreeMap::from([
        ("keys.json".to_owned(), ByteString(serde_json::to_vec(&KeySet::generate())?)),
        ("tls.crt".to_owned(), ByteString(certificate.certificate.into_bytes())),
        ("tls.key".to_owned(), ByteString(certificate.key.into_bytes())),
        ("ca.crt".to_owned(), ByteString(certificate.authority.into_bytes())),
    ]);
    Ok(Secret {
        metadata: metadata(plan, labels::keys_secret(&plan.name), Component::Registry),
        data: Some(data),
        ..Secret::default()
    })
}

/// PEM texts.
struct Pair {
    certificate: String,
    key: String,
    authority: String,
}

/// A key pair for the internal port, signed by an authority whose key is thrown away at once.
fn certificate(plan: &ManagedPlan) -> Result<Pair, rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, format!("{} internal authority", plan.name));
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();

    let name = labels::server_name(&plan.name, &plan.namespace);
    let mut server = CertificateParams::new(vec![name])?;
    server.distinguished_name.push(DnType::CommonName, format!("{} internal", plan.name));
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let issuer = Issuer::from_params(&authority, &authority_key);
    let certificate = server.signed_by(&key, &issuer)?.pem();
    Ok(Pair { certificate, key: key.serialize_pem(), authority: authority_pem })
}

/// `<name>-registry-replicator`: the credentials of the registry's own replicator.
pub fn replicator(plan: &ManagedPlan) -> Result<Secret, Failure> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| Failure::invalid(format!("no random bytes: {error}")))?;
    let username = format!("replicator+{}+{}", plan.namespace, plan.name);
    Ok(Secret {
        metadata: metadata(plan, labels::replicator_child(&plan.name), Component::Replicator),
        type_: Some("kubernetes.io/basic-auth".to_owned()),
        string_data: Some(BTreeMap::from([
            ("username".to_owned(), username),
            ("password".to_owned(), URL_SAFE_NO_PAD.encode(bytes)),
        ])),
        ..Secret::default()
    })
}
