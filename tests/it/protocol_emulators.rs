//! The table of the specification over the emulators of Azure Blob Storage and Google Cloud Storage, in one way only: each takes
//! as long as the other stores together.

use std::sync::Arc;

use regatta::registry::layout;
use regatta::server::Settings;
use regatta::store::bucket::Bucket;
use regatta::store::config::{Secrets, Service};

use crate::protocol_contents::prepare;
use crate::protocol_rows::rows;
use crate::protocol_support::{Backend, World};
use crate::protocol_table::{Login, Run};
use crate::stores_emulators::{azure, google};
use crate::stores_support::{client, patience};

async fn check(name: &'static str, service: &Service, secrets: &Secrets) {
    let bucket = Bucket::open(service, secrets, client(), layout::temporaries(), patience()).await.unwrap();
    let backend = Backend::over(name, Arc::new(bucket));
    let world = World::start(backend, Settings::default(), false, "127.0.0.1:0").await;
    let mut run = Run::new(&world, Login::Basic);
    prepare(&mut run);
    for row in rows() {
        run.check(&row).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_holds_over_azure_blob_storage() {
    let (_emulator, service, secrets) = azure().await;
    check("Azure Blob Storage", &service, &secrets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_holds_over_google_cloud_storage() {
    let (_emulator, service, secrets) = google().await;
    check("Google Cloud Storage", &service, &secrets).await;
}
