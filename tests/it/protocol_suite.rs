//! The table of the specification over every store, plain and over TLS, with and without authentication.

use regatta::server::Settings;

use crate::protocol_contents::prepare;
use crate::protocol_rows::rows;
use crate::protocol_support::{Backend, World, backends};
use crate::protocol_table::{Login, Run};
use crate::stores_swift::SwiftServer;

async fn check(tls: bool, login: Login) {
    for backend in backends().await {
        check_backend(backend, tls, login).await;
    }
}

async fn check_backend(backend: Backend, tls: bool, login: Login) {
    println!("{} {login:?}{}", backend.name, if tls { " over TLS" } else { "" });
    let world = World::start(backend, Settings::default(), tls, "127.0.0.1:0").await;
    let mut run = Run::new(&world, login);
    prepare(&mut run);
    for row in rows() {
        run.check(&row).await;
    }
}

/// In one way only: it takes as long as the others together.
#[tokio::test]
async fn every_row_holds_over_swift() {
    let server = SwiftServer::start().await;
    let store = std::sync::Arc::new(server.bucket().await);
    check_backend(Backend::over("Swift", store), false, Login::Basic).await;
}

#[tokio::test]
async fn every_row_holds_with_credentials() {
    check(false, Login::Basic).await;
}

#[tokio::test]
async fn every_row_holds_with_tokens_as_challenges_ask_for_them() {
    check(false, Login::Token).await;
}

#[tokio::test]
async fn every_row_that_reads_holds_for_anybody_in_a_public_project() {
    check(false, Login::Anonymous).await;
}

#[tokio::test]
async fn every_row_holds_over_tls_with_credentials() {
    check(true, Login::Basic).await;
}

#[tokio::test]
async fn every_row_holds_over_tls_with_tokens() {
    check(true, Login::Token).await;
}

#[tokio::test]
async fn every_row_that_reads_holds_over_tls_for_anybody_in_a_public_project() {
    check(true, Login::Anonymous).await;
}
