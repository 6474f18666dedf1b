//! The services that cannot run here: the suite over each, and how each is asked.

use std::sync::Arc;

use bytes::Bytes;
use regatta::store::bucket::Bucket;
use regatta::store::config::{Azure, Cos, Credentials, Gcs, Obs, Oss, Secrets, Service, Swift};
use regatta::store::{Backend as _, Durability, Exclusive, Key, Published, Store};

use crate::program::eventually;
use crate::stores_fake::{Asked, Dialect, Fake};
use crate::stores_suite::suite;
use crate::stores_support::patience;

const PREFIX: &str = "city";

fn service(dialect: Dialect) -> Service {
    let (bucket, prefix) = ("images".parse().unwrap(), PREFIX.parse().unwrap());
    let credentials = Credentials::Directory("unused".into());
    let (ca_file, redirect) = (None, false);
    match dialect {
        Dialect::Gcs => {
            let endpoint = Some("http://storage.example.test".parse().unwrap());
            Service::Gcs(Gcs { bucket, prefix, endpoint, credentials, ca_file, redirect })
        }
        Dialect::Azure => {
            let (account, endpoint) =
                ("account".parse().unwrap(), Some("http://account.blob.example.test".parse().unwrap()));
            let encryption = None;
            Service::Azure(Azure {
                container: bucket,
                account,
                prefix,
                endpoint,
                encryption,
                credentials,
                ca_file,
                redirect,
            })
        }
        Dialect::Oss => {
            let endpoint = "http://oss.example.test".parse().unwrap();
            let (path_style, encryption) = (false, None);
            Service::Oss(Oss { bucket, prefix, endpoint, path_style, encryption, credentials, ca_file, redirect })
        }
        Dialect::Cos => {
            let endpoint = "http://cos.example.test".parse().unwrap();
            Service::Cos(Cos { bucket, prefix, endpoint, credentials, ca_file, redirect })
        }
        Dialect::Obs => {
            // A name that is bound to the bucket.
            let endpoint = "http://images.example.test".parse().unwrap();
            Service::Obs(Obs { bucket, prefix, endpoint, credentials, ca_file, redirect })
        }
        Dialect::Swift => Service::Swift(Swift {
            container: "images".parse().unwrap(),
            prefix,
            endpoint: "http://swift.example.test/v1/AUTH_project".parse().unwrap(),
            auth_url: Some("http://keystone.example.test:5000/v3".parse().unwrap()),
            user_domain: "Default".into(),
            project: Some("project".into()),
            project_domain: "Default".into(),
            credentials,
            ca_file,
        }),
    }
}

fn secrets() -> Secrets {
    Secrets {
        access_key_id: Some("id".into()),
        secret_access_key: Some("canary-secret".into()),
        account_key: Some("Y2FuYXJ5LXNlY3JldA==".into()),
        username: Some("user".into()),
        password: Some("canary-secret".into()),
        ..Secrets::default()
    }
}

fn secrets_of(dialect: Dialect) -> Secrets {
    match dialect {
        // A token, so that nobody asks Google for one.
        Dialect::Gcs => Secrets { token: Some("canary-secret".into()), ..Secrets::default() },
        _ => secrets(),
    }
}

pub async fn open(fake: &Fake, dialect: Dialect) -> Bucket {
    let scratch = Key::new("tmp").unwrap();
    Bucket::open(&service(dialect), &secrets_of(dialect), fake.client(), scratch, patience()).await.unwrap()
}

/// The suite over a service; whether it refuses what exists; and what a creation, a publication, a listing and a read
/// look like on the wire.
async fn check(dialect: Dialect, exclusive: bool, wire: impl Fn(&Wire)) {
    let fake = Fake::start(dialect).await;
    let bucket = open(&fake, dialect).await;
    assert_eq!(bucket.abilities().exclusive == Exclusive::Yes, exclusive, "{:?}", bucket.abilities());
    suite::run(&(Arc::new(bucket.clone()) as Store)).await;
    fake.asked();
    let key = |text: &str| Key::new(text).unwrap();
    bucket.put_new(&key("dir/a b+!"), "value".into(), Durability::Durable).await.unwrap();
    let create = fake.asked();
    bucket.publish(&key("dir/a b+!"), &key("dir/copy"), Durability::Durable).await.unwrap();
    let publish = fake.asked();
    let children = bucket.children(&key("dir"), Some("a b+!"), 1).await.unwrap();
    assert_eq!(children.iter().map(|child| child.name.as_str()).collect::<Vec<_>>(), ["copy"]);
    let list = fake.asked();
    assert_eq!(bucket.read(&key("dir/copy")).await.unwrap().unwrap(), "value");
    let read = fake.asked();
    bucket.delete(&key("dir/copy")).await.unwrap();
    let delete = fake.asked();
    wire(&Wire { create, publish, list, read, delete });
}

struct Wire {
    create: Vec<Asked>,
    publish: Vec<Asked>,
    list: Vec<Asked>,
    read: Vec<Asked>,
    delete: Vec<Asked>,
}

fn lines(asked: &[Asked]) -> Vec<String> {
    asked.iter().map(Asked::line).collect()
}

#[tokio::test]
async fn google_cloud_storage() {
    check(Dialect::Gcs, true, |wire| {
        // The library sends what is conditional as a resumable upload: begun, then sent.
        let upload = "storage.example.test/upload/storage/v1/b/images/o";
        assert_eq!(lines(&wire.create), [format!("POST {upload}"), format!("PUT {upload}")]);
        assert_eq!(wire.create[0].query["name"], "city/dir/a b+!");
        assert_eq!(wire.create[0].query["ifGenerationMatch"], "0");
        assert_eq!(wire.create[0].header("authorization"), "Bearer canary-secret");
        assert_eq!(wire.create[1].body, "value");
        let copy = wire.publish.last().unwrap();
        assert_eq!(
            copy.line(),
            "POST storage.example.test/storage/v1/b/images/o/city/dir/a b+!/rewriteTo/b/images/o/city/dir/copy"
        );
        assert_eq!(copy.query["ifGenerationMatch"], "0");
        assert_eq!(lines(&wire.list), ["GET storage.example.test/storage/v1/b/images/o"]);
        let list = &wire.list[0].query;
        assert_eq!((list["prefix"].as_str(), list["startOffset"].as_str()), ("city/dir/", "city/dir/a b+!"));
        assert_eq!(lines(&wire.read), ["GET storage.example.test/storage/v1/b/images/o/city/dir/copy"]);
        assert_eq!(
            wire.delete.last().unwrap().line(),
            "DELETE storage.example.test/storage/v1/b/images/o/city/dir/copy"
        );
    })
    .await;
}

#[tokio::test]
async fn azure_blob_storage() {
    check(Dialect::Azure, true, |wire| {
        assert_eq!(lines(&wire.create), ["PUT account.blob.example.test/images/city/dir/a b+!"]);
        assert_eq!(wire.create[0].header("if-none-match"), "*");
        let copy = wire.publish.last().unwrap();
        assert_eq!(copy.line(), "PUT account.blob.example.test/images/city/dir/copy");
        assert_eq!(copy.header("if-none-match"), "*");
        assert!(copy.header("x-ms-copy-source").starts_with("http://account.blob.example.test/images/city/dir/a%20b"));
        // It cannot begin after a name: what comes before is passed over.
        assert_eq!(wire.list[0].line(), "GET account.blob.example.test/images");
        assert_eq!(wire.list[0].query["prefix"], "city/dir/");
        assert_eq!(lines(&wire.read), ["GET account.blob.example.test/images/city/dir/copy"]);
        assert_eq!(wire.delete.last().unwrap().line(), "DELETE account.blob.example.test/images/city/dir/copy");
    })
    .await;
}

#[tokio::test]
async fn alibaba_oss() {
    check(Dialect::Oss, true, |wire| {
        assert_eq!(lines(&wire.create), ["PUT images.oss.example.test/city/dir/a b+!"]);
        assert_eq!(wire.create[0].header("x-oss-forbid-overwrite"), "true");
        // The library's copy has no condition: the bytes are sent again.
        let last = wire.publish.last().unwrap();
        assert_eq!(last.line(), "PUT images.oss.example.test/city/dir/copy");
        assert_eq!((last.header("x-oss-forbid-overwrite"), last.body.as_ref()), ("true", b"value".as_slice()));
        assert_eq!(lines(&wire.list), ["GET images.oss.example.test/"]);
        assert_eq!(wire.list[0].query["start-after"], "city/dir/a b+!");
        assert_eq!(wire.delete.last().unwrap().line(), "DELETE images.oss.example.test/city/dir/copy");
    })
    .await;
}

#[tokio::test]
async fn tencent_cos() {
    check(Dialect::Cos, true, |wire| {
        assert_eq!(lines(&wire.create), ["PUT images.cos.example.test/city/dir/a b+!"]);
        assert_eq!(wire.create[0].header("x-cos-forbid-overwrite"), "true");
        let copy = wire.publish.last().unwrap();
        assert_eq!(copy.line(), "PUT images.cos.example.test/city/dir/copy");
        assert_eq!(copy.header("x-cos-forbid-overwrite"), "true");
        assert!(copy.header("x-cos-copy-source").contains("/city/dir/a%20b"));
        assert_eq!(wire.list[0].line(), "GET images.cos.example.test/");
        assert_eq!(wire.delete.last().unwrap().line(), "DELETE images.cos.example.test/city/dir/copy");
    })
    .await;
}

#[tokio::test]
async fn huawei_obs() {
    check(Dialect::Obs, false, |wire| {
        // Looked for first, by the only process that writes.
        let create = lines(&wire.create);
        assert_eq!(create, ["GET images.example.test/city/dir/a b+!", "PUT images.example.test/city/dir/a b+!"]);
        let copy = wire.publish.last().unwrap();
        assert_eq!(copy.line(), "PUT images.example.test/city/dir/copy");
        assert!(copy.header("x-obs-copy-source").contains("/city/dir/a%20b"));
        assert_eq!(wire.delete.last().unwrap().line(), "DELETE images.example.test/city/dir/copy");
    })
    .await;
}

#[tokio::test]
async fn openstack_swift_with_keystone() {
    check(Dialect::Swift, false, |wire| {
        let place = "swift.example.test/v1/AUTH_project/images";
        assert_eq!(lines(&wire.create), [format!("GET {place}/city/dir/a b+!"), format!("PUT {place}/city/dir/a b+!")]);
        assert_eq!(wire.publish.last().unwrap().line(), format!("PUT {place}/city/dir/copy"));
        assert!(wire.publish.last().unwrap().header("x-copy-from").contains("images/city/dir/a%20b"));
        assert_eq!(wire.list[0].query["marker"], "city/dir/a b+!");
        assert_eq!(wire.delete.last().unwrap().line(), format!("DELETE {place}/city/dir/copy"));
    })
    .await;
}

/// The password goes to Keystone and nowhere else, and its token is used until it ends.
#[tokio::test]
async fn keystone_is_asked_once() {
    let fake = Fake::start(Dialect::Swift).await;
    let bucket = open(&fake, Dialect::Swift).await;
    bucket.now().await.unwrap();
    let (keystone, swift): (Vec<_>, Vec<_>) =
        fake.asked().into_iter().partition(|asked| asked.host == "keystone.example.test");
    assert_eq!(lines(&keystone), ["POST keystone.example.test/v3/auth/tokens"]);
    let body: serde_json::Value = serde_json::from_slice(&keystone[0].body).unwrap();
    assert_eq!(body["auth"]["identity"]["password"]["user"]["name"], "user");
    assert_eq!(body["auth"]["scope"]["project"]["name"], "project");
    assert!(swift.len() > 3 && swift.iter().all(|asked| !format!("{asked:?}").contains("canary")));
}

/// An object above the size of a part: sent in parts, published, read, and deleted without a rest.
#[tokio::test]
async fn large_objects_come_and_go_in_parts() {
    for dialect in [Dialect::Gcs, Dialect::Oss, Dialect::Cos, Dialect::Obs, Dialect::Swift] {
        let fake = Fake::start(dialect).await;
        let bucket = open(&fake, dialect).await;
        let before = fake.left();
        let key = |text: &str| Key::new(text).unwrap();
        let (temporary, name) = (key("tmp/large"), key("data/large"));
        let content: Vec<u8> = (0..20_000_000_usize).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect();
        for published in [Published::Created, Published::Exists] {
            let mut writer = bucket.temporary(&temporary).await.unwrap();
            for chunk in content.chunks(1_000_000) {
                writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
            }
            assert_eq!(writer.finish(Durability::Durable).await.unwrap(), 20_000_000, "{dialect:?}");
            let outcome = bucket.publish(&temporary, &name, Durability::Durable).await.unwrap();
            assert_eq!(outcome, published, "{dialect:?}");
            assert!(bucket.delete(&temporary).await.unwrap());
        }
        assert!(bucket.read(&name).await.unwrap().unwrap() == content, "{dialect:?}");
        assert!(bucket.delete(&name).await.unwrap());
        assert_eq!(fake.left(), before, "{dialect:?}");
        // What is given up leaves nothing either.
        let mut writer = bucket.temporary(&temporary).await.unwrap();
        writer.write(content.into()).await.unwrap();
        drop(writer);
        eventually("nothing is left", async || {
            let left = fake.left();
            if left == before { Ok(()) } else { Err((dialect, left)) }
        })
        .await;
    }
}

/// COS and OBS answer a copy with 200 when they begin it, and what came of it is in the body.
#[tokio::test]
async fn a_copy_that_failed_after_its_200_is_made_again() {
    for dialect in [Dialect::Cos, Dialect::Obs] {
        let fake = Fake::start(dialect).await;
        let bucket = open(&fake, dialect).await;
        let (temporary, name) = (Key::new("tmp/a").unwrap(), Key::new("data/a").unwrap());
        let mut writer = bucket.temporary(&temporary).await.unwrap();
        writer.write("value".into()).await.unwrap();
        writer.finish(Durability::Durable).await.unwrap();
        fake.fail_late();
        let published = bucket.publish(&temporary, &name, Durability::Durable).await.unwrap();
        assert_eq!(published, Published::Created, "{dialect:?}");
        assert_eq!(bucket.read(&name).await.unwrap().unwrap(), "value", "{dialect:?}");
    }
}

/// Swift answers so where it deletes a large object with its parts.
#[tokio::test]
async fn a_deletion_that_failed_after_its_200_is_made_again() {
    let fake = Fake::start(Dialect::Swift).await;
    let bucket = open(&fake, Dialect::Swift).await;
    let before = fake.left();
    let name = Key::new("tmp/large").unwrap();
    let mut writer = bucket.temporary(&name).await.unwrap();
    writer.write(vec![1; 20_000_000].into()).await.unwrap();
    writer.finish(Durability::Durable).await.unwrap();
    fake.fail_late();
    assert!(bucket.delete(&name).await.unwrap());
    assert_eq!(fake.left(), before);
}

/// What OSS is told of how objects are encrypted, whatever makes them; and where it looks for the bucket.
#[tokio::test]
async fn alibaba_oss_is_told_how_to_encrypt_and_where_the_bucket_is() {
    use regatta::store::config::OssEncryption;

    let oss = |configure: &dyn Fn(Oss) -> Oss| match service(Dialect::Oss) {
        Service::Oss(it) => Service::Oss(configure(it)),
        other => panic!("{other:?}"),
    };
    for (encryption, algorithm, id) in [
        (OssEncryption::Aes256, "AES256", ""),
        (OssEncryption::Kms { key: None }, "KMS", ""),
        (OssEncryption::Kms { key: Some("key-2".into()) }, "KMS", "key-2"),
    ] {
        let fake = Fake::start(Dialect::Oss).await;
        let service = oss(&|it| Oss { encryption: Some(encryption.clone()), ..it });
        let key = |text: &str| Key::new(text).unwrap();
        let bucket = Bucket::open(&service, &secrets(), fake.client(), key("tmp"), patience()).await.unwrap();
        fake.asked();
        bucket.put_new(&key("small"), "value".into(), Durability::Durable).await.unwrap();
        let mut writer = bucket.temporary(&key("tmp/large")).await.unwrap();
        writer.write(vec![7; 20_000_000].into()).await.unwrap();
        writer.finish(Durability::Durable).await.unwrap();
        bucket.publish(&key("small"), &key("data/small"), Durability::Durable).await.unwrap();
        let makes = |asked: &&Asked| match asked.method.as_str() {
            "PUT" => !asked.query.contains_key("uploadId"),
            "POST" => asked.query.contains_key("uploads"),
            _ => false,
        };
        let asked = fake.asked();
        let made: Vec<&Asked> = asked.iter().filter(makes).collect();
        assert!(made.len() >= 3, "{asked:?}");
        for asked in made {
            assert_eq!(asked.header("x-oss-server-side-encryption"), algorithm, "{asked:?}");
            assert_eq!(asked.header("x-oss-server-side-encryption-key-id"), id, "{asked:?}");
        }
    }
    let fake = Fake::start(Dialect::Oss).await;
    // A name that the fake has; it knows the other style only, and what it is asked first is of interest here.
    let service =
        oss(&|it| Oss { path_style: true, endpoint: "http://images.oss.example.test".parse().unwrap(), ..it });
    let _ = Bucket::open(&service, &secrets(), fake.client(), Key::new("tmp").unwrap(), patience()).await;
    let first = fake.asked()[0].line();
    assert!(first.starts_with("PUT images.oss.example.test/images/city/tmp/"), "{first}");
}

/// As OSS and COS do in buckets with versions.
#[tokio::test]
async fn services_that_forget_the_condition_are_found_out() {
    for dialect in [Dialect::Gcs, Dialect::Azure, Dialect::Oss, Dialect::Cos] {
        let fake = Fake::start(dialect).await;
        fake.forget_conditions();
        let bucket = open(&fake, dialect).await;
        assert!(matches!(bucket.abilities().exclusive, Exclusive::No(_)), "{dialect:?}");
        suite::run(&(Arc::new(bucket) as Store)).await;
    }
}

/// What a client is sent to is one object's URL, for a while, and says nothing that the registry was given.
#[tokio::test]
async fn clients_are_sent_to_one_object_and_are_given_no_secret() {
    for (dialect, place, ends) in [
        (Dialect::Oss, "images.oss.example.test/city/data/a%20b", "&Expires="),
        (Dialect::Cos, "images.cos.example.test/city/data/a%20b", "q-sign-time="),
        (Dialect::Obs, "images.example.test/city/data/a%20b", "&Expires="),
        (Dialect::Azure, "account.blob.example.test/images/city/data/a%20b", "&sp=r&se="),
    ] {
        let fake = Fake::start(dialect).await;
        let bucket = open_redirecting(&fake, dialect, &secrets_of(dialect)).await.unwrap();
        fake.asked();
        let url = bucket.redirect(&Key::new("data/a b").unwrap()).await.unwrap().unwrap();
        assert_eq!(fake.asked().len(), 0, "{dialect:?}: signed here");
        let (path, query) = url.split_once('?').unwrap();
        assert!(path.ends_with(place), "{dialect:?}: {url}");
        assert!(format!("&{query}").contains(ends), "{dialect:?}: {url}");
        for secret in ["canary", "Y2FuYXJ5", "BEGIN"] {
            assert!(!url.contains(secret), "{dialect:?}: {url}");
        }
    }
}

/// Its library hands on the signature that it was given, by which anybody could list and delete.
#[tokio::test]
async fn no_client_is_sent_away_where_that_needs_more_than_there_is() {
    let with_sas = Secrets { sas_token: Some("sv=2021&sp=rwdl&sig=canary-secret".into()), ..Secrets::default() };
    let with_token = Secrets { token: Some("canary-secret".into()), ..Secrets::default() };
    for (dialect, secrets, expected) in
        [(Dialect::Azure, with_sas, "azure.redirect"), (Dialect::Gcs, with_token, "`redirect`")]
    {
        let fake = Fake::start(dialect).await;
        let error = open_redirecting(&fake, dialect, &secrets).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("canary"), "{error}");
    }
}

async fn open_redirecting(
    fake: &Fake,
    dialect: Dialect,
    secrets: &Secrets,
) -> Result<Bucket, regatta::store::StoreError> {
    let service = match service(dialect) {
        Service::Gcs(it) => Service::Gcs(Gcs { redirect: true, ..it }),
        Service::Azure(it) => Service::Azure(Azure { redirect: true, ..it }),
        Service::Oss(it) => Service::Oss(Oss { redirect: true, ..it }),
        Service::Cos(it) => Service::Cos(Cos { redirect: true, ..it }),
        Service::Obs(it) => Service::Obs(Obs { redirect: true, ..it }),
        other @ (Service::S3(_) | Service::Swift(_)) => panic!("{other:?}"),
    };
    Bucket::open(&service, secrets, fake.client(), Key::new("tmp").unwrap(), patience()).await
}
