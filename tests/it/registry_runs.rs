//! What a collection did, as the registry tells it afterwards.

use regatta::admin::ProblemCode;
use regatta::admin::client::{Client, ClientError, Credentials};

use crate::program::regatta;
use crate::replicate_support::{REPLICATOR, Registry};

/// Runs a collection under this name beside the registry.
fn collect(registry: &Registry, run: &str) -> bool {
    let mut collector = regatta();
    collector.arg("gc").arg("--root").arg(registry.root()).args(["--undelete-window=0s", "--run", run]);
    collector.status().expect("it runs").success()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collection_did_is_told_to_the_operator_and_to_nobody_else() {
    let registry = Registry::start().await;
    registry.push_image("app", "v1", &[b"one"]).await;
    assert!(collect(&registry, "gc-1"));
    let operator = registry.operator();
    let summary = operator.run("gc-1").await.unwrap().expect("it is kept");
    assert!(summary.succeeded && summary.scanned.blobs > 0, "{summary:?}");
    for unknown in ["gc-2", "..", "a%2Fb"] {
        assert_eq!(operator.run(unknown).await.unwrap(), None, "{unknown}");
    }
    assert!(collect(&registry, "gc-1"), "a name that was used is no reason to fail");
    assert_eq!(operator.run("gc-1").await.unwrap(), Some(summary));
    assert!(!collect(&registry, "no/name"));

    let authority = std::fs::read(registry.file("tls.crt")).unwrap();
    let credentials = Credentials::Basic { username: REPLICATOR.0.into(), password: REPLICATOR.1.to_owned().into() };
    let replicator = Client::at(&registry.internal_url, &authority, credentials).unwrap();
    let refused = replicator.run("gc-1").await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(_)), "{refused:?}");
    assert_eq!(refused.code(), Some(ProblemCode::Unauthorized));
}
