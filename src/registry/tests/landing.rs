//! Writers that were frozen between their journal record and their landing.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use super::time::Hands;
use super::watched::Watched;
use super::{author, image, push_blob, push_image, put, repository};
use crate::oci::Digest;
use crate::registry::{Register, RegistryError, layout, versions};
use crate::store::Backend as _;
use crate::store::faulty::Operation;

const BY_EITHER_CLOCK: [fn(&Hands, Duration); 2] = [Hands::turn_wall, Hands::turn_monotonic];

#[tokio::test]
async fn a_writer_that_was_frozen_for_56_minutes_after_its_record_lands_nothing() {
    let (too_long, not_too_long) = (Duration::from_mins(56), Duration::from_mins(54));
    for clock in BY_EITHER_CLOCK {
        let watched = Watched::open().await;
        let (registry, repository) = (&watched.registry, repository("a"));
        let digest = push_image(registry, &repository, "v1", b"layer").await;
        let config = Digest::sha256(b"{}");
        let tag = "v1".parse().unwrap();

        watched.freeze(clock, too_long);
        let refused = registry.delete_tag(&repository, &tag, &author()).await;
        assert!(matches!(refused, Err(RegistryError::TooLate)), "{refused:?}");
        watched.freeze(clock, too_long);
        let refused = registry.delete_manifest(&repository, &digest, &author()).await;
        assert!(matches!(refused, Err(RegistryError::TooLate)), "{refused:?}");
        watched.freeze(clock, too_long);
        let refused = registry.delete_blob(&repository, &config, &author()).await;
        assert!(matches!(refused, Err(RegistryError::TooLate)), "{refused:?}");
        assert_eq!(registry.tag(&repository, &tag).await.unwrap().version, 1);
        assert!(registry.manifest(&repository, &digest.into()).await.is_ok());
        assert!(registry.blob(&repository, &config).await.is_ok());

        watched.freeze(clock, too_long);
        let bytes = image(&config, &[]);
        let refused = put(registry, &repository, "v1", bytes.clone()).await;
        assert!(matches!(refused, Err(RegistryError::TooLate)), "{refused:?}");
        let register = Register::Manifest(repository.clone(), Digest::sha256(&bytes));
        assert_eq!(registry.head(&register).await.unwrap(), None);
        watched.freeze(clock, too_long);
        let there = super::repository("b");
        let refused = registry.mount(&there, &repository, &config, &author()).await;
        assert!(matches!(refused, Err(RegistryError::TooLate)), "{refused:?}");
        assert_eq!(registry.head(&Register::Link(there.clone(), config.clone())).await.unwrap(), None);

        watched.freeze(clock, not_too_long);
        put(registry, &repository, "v1", bytes).await.unwrap();
        watched.freeze(clock, not_too_long);
        assert!(registry.mount(&there, &repository, &config, &author()).await.unwrap());
    }
}

#[tokio::test]
async fn a_first_look_that_is_91_minutes_old_is_repeated() {
    for clock in BY_EITHER_CLOCK {
        let watched = Watched::open().await;
        let repository = repository("a");
        let layers = [
            push_blob(&watched.registry, &repository, b"1").await,
            push_blob(&watched.registry, &repository, b"2").await,
        ];
        let bytes = image(&Digest::sha256(b"1"), &[&layers[0], &layers[1]]);
        let (hands, memory) = (Arc::clone(&watched.hands), watched.memory.clone());
        let links = layers.map(|digest| Register::Link(repository.clone(), digest).key().join(versions::name(1)));
        watched.before(Operation::PutNew, &layout::blob_data(&Digest::sha256(&bytes)), move || {
            clock(&hands, Duration::from_mins(91));
            for link in links {
                assert!(memory.delete(&link).now_or_never().unwrap().unwrap());
            }
        });
        let refused = put(&watched.registry, &repository, "v1", bytes).await;
        // The look at the rescuing ends with the first thing that is missing; this one names them all.
        let Err(RegistryError::ReferencesUnknown { missing, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(missing.len(), 2);
    }
}
