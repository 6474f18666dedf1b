//! Mounts that do not say from where.

use super::{author, push_blob, registry, repository};
use crate::oci::RepositoryName;
use crate::registry::layout;

#[tokio::test]
async fn a_blob_whose_last_link_was_deleted_is_mounted_from_nowhere() {
    let registry = registry().await;
    let digest = push_blob(&registry, &repository("a/b"), b"deleted").await;
    assert!(registry.mount_from_anywhere(&repository("c"), &digest, &author()).await.unwrap());
    for name in ["a/b", "c"] {
        registry.delete_blob(&repository(name), &digest, &author()).await.unwrap();
    }
    assert!(registry.data(&digest).await.unwrap().is_some(), "its bytes are the collector's");
    assert!(!registry.mount_from_anywhere(&repository("d"), &digest, &author()).await.unwrap());
    assert!(registry.open_blob(&repository("d"), &digest).await.is_err());
}

/// Each namespace takes two listings before it is known what is in it.
#[tokio::test]
async fn a_blob_is_found_behind_300_namespaces() {
    let registry = registry().await;
    for number in 0..300 {
        push_blob(&registry, &repository(&format!("n{number:03}/app")), b"usual").await;
    }
    let digest = push_blob(&registry, &repository("n300/deep/app"), b"rare").await;
    let all = |_: &RepositoryName| true;
    let found = registry.find_link(vec![String::new()], &digest, &all, 512).await.unwrap();
    assert_eq!(found, Some(repository("n300/deep/app")));
    let found = registry.find_link(vec![String::new()], &digest, &all, 300).await.unwrap();
    assert_eq!(found, None, "that is one too few");
    let but_there = |name: &RepositoryName| name.as_str() != "n300/deep/app";
    assert_eq!(registry.find_link(vec![String::new()], &digest, &but_there, 512).await.unwrap(), None);
    assert!(registry.mount_from_anywhere(&repository("other"), &digest, &author()).await.unwrap());
    assert!(registry.data(&digest).await.unwrap().is_some_and(|meta| meta.size == 4));
    assert!(registry.store().head(&layout::blob_data(&digest)).await.unwrap().is_some());
}
