//! What is written once and not again: terms of operators, and what collections did.

use super::{registry, replicas};
use crate::registry::runs;

#[tokio::test]
async fn a_term_is_given_once_to_each_holder_and_grows() {
    let registry = registry().await;
    assert_eq!(registry.take_term("a").await.unwrap(), 1);
    assert_eq!(registry.take_term("a").await.unwrap(), 1);
    assert_eq!(registry.take_term("b").await.unwrap(), 2);
    assert_eq!(registry.take_term("a").await.unwrap(), 3);
    assert_eq!(registry.term().await.unwrap(), 3);
}

#[tokio::test]
async fn what_a_collection_did_is_kept_as_it_was_said_first_and_not_for_ever() {
    let (one, other) = replicas().await;
    assert_eq!(one.run("gc-1").await.unwrap(), None);
    assert!(one.keep_run("gc-1", "first".into()).await.unwrap());
    assert!(!other.keep_run("gc-1", "second".into()).await.unwrap());
    assert_eq!(other.run("gc-1").await.unwrap().unwrap(), "first");
    assert_eq!(one.forget_runs(runs::KEPT).await.unwrap(), 0);
    assert_eq!(one.forget_runs(std::time::Duration::ZERO).await.unwrap(), 1);
    assert_eq!(one.run("gc-1").await.unwrap(), None);
}

#[test]
fn the_name_of_a_run_is_that_of_a_job() {
    assert!(["a", "gc-0123456789abcdef", &"a".repeat(63)].into_iter().all(runs::is_run_name));
    for no_name in ["", "-a", "a-", "A", "a/b", "..", "a.b", &"a".repeat(64)] {
        assert!(!runs::is_run_name(no_name), "{no_name}");
    }
}
