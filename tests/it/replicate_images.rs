//! What is put into registries to be replicated, and what is found there.

use std::collections::{BTreeMap, BTreeSet};

use regatta::client::Referrers;
use regatta::oci::{Digest, MediaType, RepositoryName};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::program::eventually;
use crate::replicate_support::{ADMIN_PASSWORD, Registry};

impl Registry {
    async fn send(&self, method: Method, path: &str, media_type: &str, body: Vec<u8>) -> reqwest::Response {
        let url = format!("{}{path}", self.url);
        reqwest::Client::new()
            .request(method, url)
            .basic_auth("admin", Some(ADMIN_PASSWORD))
            .header("Content-Type", media_type)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// Puts a blob.
    pub async fn push_blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.send(Method::POST, &path, "application/octet-stream", bytes.to_vec()).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Puts a manifest.
    pub async fn push_manifest(&self, repository: &str, reference: &str, media_type: &str, manifest: &Value) -> Value {
        let bytes = serde_json::to_vec(manifest).unwrap();
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.send(Method::PUT, &path, media_type, bytes.clone()).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
        json!({ "mediaType": media_type, "digest": Digest::sha256(&bytes), "size": bytes.len() })
    }

    /// Pushes an image of these layers; answers its descriptor.
    pub async fn push_image(&self, repository: &str, reference: &str, layers: &[&[u8]]) -> Value {
        let manifest = self.image(repository, layers).await;
        self.push_manifest(repository, reference, MediaType::OCI_MANIFEST, &manifest).await
    }

    async fn image(&self, repository: &str, layers: &[&[u8]]) -> Value {
        let layers_of: Vec<Digest> = layers.iter().map(|layer| Digest::sha256(layer)).collect();
        let config = serde_json::to_vec(&json!({ "layers": layers_of })).unwrap();
        let config = self.push_blob(repository, "application/vnd.oci.image.config.v1+json", &config).await;
        let mut described = Vec::new();
        for layer in layers {
            described.push(self.push_blob(repository, "application/vnd.oci.image.layer.v1.tar", layer).await);
        }
        json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": described,
        })
    }

    /// Pushes an index of these images, which are pushed by digest.
    pub async fn push_index(&self, repository: &str, tag: &str, images: &[&[&[u8]]]) -> Value {
        let mut children = Vec::new();
        for layers in images {
            let manifest = self.image(repository, layers).await;
            let digest = Digest::sha256(&serde_json::to_vec(&manifest).unwrap());
            children.push(self.push_manifest(repository, digest.as_str(), MediaType::OCI_MANIFEST, &manifest).await);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": children });
        self.push_manifest(repository, tag, MediaType::OCI_INDEX, &index).await
    }

    /// Pushes something that refers to a manifest, by digest.
    pub async fn push_referrer(&self, repository: &str, subject: &Value, content: &[u8]) -> String {
        let config = self.push_blob(repository, MediaType::OCI_EMPTY, b"{}").await;
        let layer = self.push_blob(repository, "application/vnd.example.signature", content).await;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "application/vnd.example.signature",
            "config": config, "layers": [layer], "subject": subject,
        });
        let digest = Digest::sha256(&serde_json::to_vec(&manifest).unwrap());
        self.push_manifest(repository, digest.as_str(), MediaType::OCI_MANIFEST, &manifest).await;
        digest.to_string()
    }

    /// Deletes a tag or a manifest.
    pub async fn delete(&self, repository: &str, reference: &str) {
        let answer =
            self.send(Method::DELETE, &format!("/v2/{repository}/manifests/{reference}"), "text/plain", vec![]).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{}", answer.text().await.unwrap());
    }

    /// Everything that is tagged: `repository:tag` and digest.
    pub async fn tags(&self) -> BTreeMap<String, Digest> {
        let client = self.client();
        let mut found = BTreeMap::new();
        for repository in client.catalog().await.unwrap().unwrap_or_default() {
            for tag in client.tags(&repository).await.unwrap() {
                // One that was deleted since it was listed is not there.
                if let Some(digest) = client.head_manifest(&repository, &tag.clone().into()).await.unwrap() {
                    found.insert(format!("{repository}:{tag}"), digest);
                }
            }
        }
        found
    }

    /// The referrers of a manifest.
    pub async fn referrers(&self, repository: &str, subject: &Value) -> BTreeSet<String> {
        let repository: RepositoryName = repository.parse().unwrap();
        let digest: Digest = subject["digest"].as_str().unwrap().parse().unwrap();
        match self.client().referrers(&repository, &digest).await.unwrap() {
            Referrers::Known(found) => found.iter().map(|found| found.digest.to_string()).collect(),
            Referrers::Unsupported => panic!("a Regatta has the referrers API"),
        }
    }
}

/// Waits for two registries to have the same tags.
pub async fn equal(source: &Registry, destination: &Registry) {
    eventually("both have the same", async || {
        let (ours, theirs) = (source.tags().await, destination.tags().await);
        if ours == theirs { Ok(()) } else { Err((ours, theirs)) }
    })
    .await;
}
