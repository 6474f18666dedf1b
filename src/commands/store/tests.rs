//! Store files, and where credentials come from.

use super::*;

#[test]
fn no_store_is_none_rather_than_one_that_forgets() {
    let nowhere = StoreArgs { root: None, store: None };
    assert!(matches!(nowhere.place(), Err(OpenError::None)));
}

fn place(text: &str) -> Result<Place, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file::place(file.path()).map_err(|error| chain(&error).replace(&file.path().display().to_string(), "FILE"))
}

fn service(text: &str) -> Service {
    match place(text).unwrap() {
        Place::Bucket(service) => *service,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_file_names_one_store() {
    assert!(
        matches!(place("filesystem:\n  root: /data\n"), Ok(Place::Filesystem(it)) if it.root == Path::new("/data"))
    );
    assert!(matches!(place("memory: {}\n"), Ok(Place::Memory)));
    let everything = "s3:\n  bucket: b\n  prefix: p\n  endpoint: http://h:1\n  region: r\n  pathStyle: false\n  \
        encryption:\n    kms:\n      key: k\n  credentials:\n    file: /f\n  caFile: /ca\n  redirect: true\n";
    let Service::S3(it) = service(everything) else { panic!("not s3") };
    assert_eq!((it.bucket.as_str(), it.prefix.as_str(), it.region.as_str()), ("b", "p", "r"));
    assert!(it.redirect && it.path_style == Some(false));
    assert!(matches!(it.credentials, Credentials::File(path) if path == Path::new("/f")));
    assert!(matches!(service("s3: {bucket: b, encryption: AES256, credentials: environment}"), Service::S3(it)
        if it.encryption == Some(crate::store::config::S3Encryption::Aes256)
            && matches!(it.credentials, Credentials::Environment) && it.region.as_str() == "us-east-1"));
    for (text, name) in [
        ("gcs: {bucket: b}", "gcs"),
        ("azure: {container: b, account: a}", "azure"),
        ("swift: {container: b, endpoint: 'https://h/v1/AUTH_p', authUrl: 'https://h:5000/v3', project: p}", "swift"),
        ("oss: {bucket: b, endpoint: 'https://oss-cn-hangzhou.aliyuncs.com'}", "oss"),
        ("cos: {bucket: b, endpoint: 'https://cos.ap-guangzhou.myqcloud.com'}", "cos"),
        ("obs: {bucket: b, endpoint: 'https://obs.cn-north-4.myhuaweicloud.com'}", "obs"),
    ] {
        let service = service(text);
        assert_eq!((service.name(), service.bucket()), (name, "b"));
        assert!(matches!(service.credentials(), Credentials::Platform));
    }
}

#[test]
fn a_key_to_encrypt_with_is_in_a_file_of_its_own() {
    use base64::engine::general_purpose::STANDARD;
    use secrecy::ExposeSecret as _;

    let file = tempfile::NamedTempFile::new().unwrap();
    let encryption = format!("encryption: {{customer: {{keyFile: {}}}}}", file.path().display());
    for text in
        [format!("s3: {{bucket: b, {encryption}}}"), format!("azure: {{container: b, account: a, {encryption}}}")]
    {
        let service = service(&text);
        let named = service.customer_key().unwrap();
        assert_eq!(named.key_file, file.path());
        let key = STANDARD.encode([7; 32]);
        std::fs::write(file.path(), format!("{key}\n")).unwrap();
        assert_eq!(encryption_key(named).unwrap().expose_secret(), key);
        for wrong in [STANDARD.encode([7; 31]), "canary, which is not base64 at all".to_owned(), String::new()] {
            std::fs::write(file.path(), &wrong).unwrap();
            let error = encryption_key(named).unwrap_err().to_string();
            assert!(error.contains("32 bytes in base64"), "{error}");
            assert!(wrong.is_empty() || !error.contains(&wrong), "{error}");
        }
    }
    // Where the service or the library takes none.
    for text in [
        "azure: {container: b, account: a, encryption: AES256}".to_owned(),
        format!("oss: {{bucket: b, endpoint: 'https://h', {encryption}}}"),
        format!("gcs: {{bucket: b, {encryption}}}"),
        "s3: {bucket: b, encryption: {customer: {key: canary}}}".to_owned(),
    ] {
        assert!(place(&text).is_err(), "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, expected) in [
        ("s3:\n  bucket: b\n  buckets: c\n", ["buckets", "line 3"]),
        ("s3:\n  bucket: b\n  redirect: perhaps\n", ["`s3.redirect`", "line 3"]),
        ("s3:\n  region: r\n", ["bucket", "line"]),
        ("s3:\n  bucket: b\n  credentials: magic\n", ["magic", "line 3"]),
        ("s4:\n  bucket: b\n", ["s4", "line 1"]),
        ("{}\n", ["exactly one", "none is"]),
        ("memory: {}\nfilesystem:\n  root: /data\n", ["exactly one", "filesystem and memory"]),
    ] {
        let error = place(text).unwrap_err();
        assert!(expected.iter().all(|part| error.contains(part)), "{text:?}: {error}");
        assert!(error.matches("exactly one").count() <= 1, "it is said once: {error}");
    }
}

/// They were taken, and failed or misled later.
#[test]
fn a_value_without_sense_is_refused_with_its_line_and_field_and_not_shown() {
    let s3 = |line: &str| (format!("s3:\n  region: r\n  {line}\n  bucket: b\n"), 3);
    let of = |section: &str, line: &str| (format!("{section}:\n  {line}\n"), 2);
    for ((text, line), field) in [
        (s3("endpoint: http://user:canary@127.0.0.1:1"), "s3.endpoint"),
        (s3("endpoint: https://h/?sig=canary"), "s3.endpoint"),
        (s3("endpoint: ftp://canary"), "s3.endpoint"),
        (s3("endpoint: canary"), "s3.endpoint"),
        (s3("endpoint: ''"), "s3.endpoint"),
        (s3("stsEndpoint: 'https://canary@h'"), "s3.stsEndpoint"),
        (s3("prefix: ../canary"), "s3.prefix"),
        (s3("prefix: canary//a"), "s3.prefix"),
        (s3("encryption: {kms: {key: ''}}"), "s3.encryption.kms.key"),
        (of("s3", "bucket: ''"), "s3.bucket"),
        (of("s3", "bucket: can/ary"), "s3.bucket"),
        (of("s3", "region: ''"), "s3.region"),
        (of("gcs", "bucket: ''"), "gcs.bucket"),
        (of("gcs", "endpoint: 'http://canary@h'"), "gcs.endpoint"),
        (of("azure", "container: ''"), "azure.container"),
        (of("azure", "account: ''"), "azure.account"),
        (of("azure", "account: 'h@canary'"), "azure.account"),
        (of("azure", "endpoint: 'https://canary@h/account'"), "azure.endpoint"),
        (of("swift", "container: ''"), "swift.container"),
        (of("swift", "endpoint: 'https://canary@h/v1'"), "swift.endpoint"),
        (of("swift", "authUrl: 'https://canary@h/v3'"), "swift.authUrl"),
        (of("swift", "project: ''"), "swift.project"),
        (of("swift", "userDomain: ''"), "swift.userDomain"),
        (of("oss", "bucket: ''"), "oss.bucket"),
        (of("oss", "endpoint: 'https://h/canary'"), "oss.endpoint"),
        (of("cos", "bucket: ''"), "cos.bucket"),
        (of("cos", "endpoint: 'https://h/canary'"), "cos.endpoint"),
        (of("obs", "bucket: ''"), "obs.bucket"),
        (of("obs", "endpoint: 'https://h/canary'"), "obs.endpoint"),
        (of("obs", "endpoint: 'https://h:8443'"), "obs.endpoint"),
        (of("filesystem", "root: ''"), "filesystem.root"),
    ] {
        let error = place(&text).unwrap_err();
        let begin = format!("FILE is not a store file: line {line}: `{field}`: ");
        assert!(error.starts_with(&begin) && !error.contains("canary"), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    // What is wrong in one line does not show the next.
    let error = place("s3:\n  buckets: b\n  endpoint: http://user:canary@h\n").unwrap_err();
    assert!(error.contains("line 2") && !error.contains("canary"), "{error}");
    let error = place("s3:\n  bucket: b\n endpoint: http://user:canary@h\n").unwrap_err();
    assert!(error.contains("line 3") && !error.contains("canary"), "{error}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_told_with_the_field_that_names_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let store = StoreArgs { root: None, store: Some(file.path().to_path_buf()) };
    for (says, field) in [
        ("credentials: {file: /nonexist}", "s3.credentials.file"),
        ("credentials: {directory: /nonexist}", "s3.credentials.directory"),
        ("credentials: platform\n  encryption: {customer: {keyFile: /nonexist}}", "s3.encryption.customer.keyFile"),
        ("caFile: /nonexist", "s3.caFile"),
    ] {
        std::fs::write(file.path(), format!("s3:\n  bucket: b\n  endpoint: http://127.0.0.1:1\n  {says}\n")).unwrap();
        let error = chain(&store.open().await.unwrap_err());
        let begin = format!("{}: `{field}`: /nonexist cannot be read: ", file.path().display());
        assert!(error.starts_with(&begin), "{error}");
    }
}

#[test]
fn a_variable_that_is_no_url_is_named_and_not_shown() {
    let url = |said: &str| url_of_variable("AWS_ENDPOINT_URL_STS", &|_| Some(said.to_owned()));
    assert_eq!(url("").unwrap(), None);
    assert_eq!(url("http://sts:1").unwrap().unwrap().as_str(), "http://sts:1");
    let error = chain(&url("https://user:canary@sts").unwrap_err());
    assert!(error.starts_with("AWS_ENDPOINT_URL_STS: ") && !error.contains("canary"), "{error}");
}

#[test]
fn credentials_come_from_a_file_a_directory_or_the_environment() {
    use secrecy::ExposeSecret as _;

    let exposed = |secrets: &Secrets| {
        let get = |secret: &Option<SecretString>| secret.as_ref().map(|it| it.expose_secret().to_owned());
        (get(&secrets.access_key_id).unwrap(), get(&secrets.secret_access_key).unwrap())
    };
    let expected = ("id".to_owned(), "canary".to_owned());
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("accessKeyId"), "id").unwrap();
    std::fs::write(directory.path().join("secretAccessKey"), "canary\n").unwrap();
    std::fs::create_dir(directory.path().join("..data")).unwrap();
    let text = format!("s3: {{bucket: b, credentials: {{directory: {}}}}}", directory.path().display());
    let found = secrets(&service(&text), &|_| None).unwrap();
    assert_eq!(exposed(&found), expected);
    assert!(!format!("{found:?}").contains("canary"));

    let file = directory.path().join("..data/keys.yaml");
    std::fs::write(&file, "accessKeyId: id\nsecretAccessKey: canary\n").unwrap();
    let text = format!("s3: {{bucket: b, credentials: {{file: {}}}}}", file.display());
    assert_eq!(exposed(&secrets(&service(&text), &|_| None).unwrap()), expected);
    std::fs::write(&file, "accessKeyId: id\nsecretAccesKey: canary\n").unwrap();
    let error = secrets(&service(&text), &|_| None).unwrap_err().to_string();
    assert!(error.contains("line 2") && !error.contains("canary"), "{error}");

    let variables = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some("id".to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some("canary".to_owned()),
        _ => None,
    };
    let found = secrets(&service("s3: {bucket: b, credentials: environment}"), &variables).unwrap();
    assert_eq!(exposed(&found), expected);
}

/// The fields of every service, from each place that they may come from.
#[test]
fn every_services_credentials_are_taken_or_missed_by_name() {
    const BOTH: [&str; 2] = ["accessKeyId", "secretAccessKey"];
    let endpoint = "endpoint: 'https://h'";
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("google.json");
    std::fs::write(&key, "canary-GOOGLE_APPLICATION_CREDENTIALS").unwrap();
    for (section, fields, variables, needed) in [
        ("s3: {bucket: b", &BOTH[..], &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"][..], "accessKeyId"),
        ("gcs: {bucket: b", &["key.json"], &["GOOGLE_APPLICATION_CREDENTIALS"], "JSON key"),
        ("azure: {container: b, account: a", &["accountKey"], &["AZURE_STORAGE_KEY"], "accountKey or sasToken"),
        ("azure: {container: b, account: a", &["sasToken"], &["AZURE_STORAGE_SAS_TOKEN"], "accountKey or sasToken"),
        ("swift: {container: b", &["username", "password"], &["OS_USERNAME", "OS_PASSWORD"], "username and password"),
        (
            "swift: {container: b",
            &["applicationCredentialId", "applicationCredentialSecret"],
            &["OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_SECRET"],
            "applicationCredentialId",
        ),
        ("swift: {container: b", &["token"], &["OS_AUTH_TOKEN"], "token"),
        ("oss: {bucket: b", &BOTH, &["ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"], "accessKeyId"),
        ("cos: {bucket: b", &BOTH, &["TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"], "accessKeyId"),
        ("obs: {bucket: b", &BOTH, &["HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK"], "accessKeyId"),
    ] {
        let needs_endpoint = ["swift", "oss", "cos", "obs"].iter().any(|name| section.starts_with(name));
        let text = |credentials: &str| {
            let endpoint = if needs_endpoint { format!(", {endpoint}") } else { String::new() };
            format!("{section}{endpoint}, credentials: {credentials}}}")
        };
        let exposed = |secrets: &Secrets| {
            use secrecy::ExposeSecret as _;
            let Secrets {
                access_key_id,
                secret_access_key,
                session_token: _,
                account_key,
                sas_token,
                token,
                username,
                password,
                application_credential_id,
                application_credential_secret,
                service_account_key,
                encryption_key: _,
            } = secrets;
            let all = [
                access_key_id,
                secret_access_key,
                account_key,
                sas_token,
                token,
                username,
                password,
                application_credential_id,
                application_credential_secret,
                service_account_key,
            ];
            all.into_iter().flatten().map(|it| it.expose_secret().to_owned()).collect::<Vec<_>>()
        };
        let value = |name: &str| match name {
            "GOOGLE_APPLICATION_CREDENTIALS" => Some(key.display().to_string()),
            name => variables.contains(&name).then(|| format!("canary-{name}")),
        };
        let found = secrets(&service(&text("environment")), &value).unwrap();
        let expected: Vec<String> = variables.iter().map(|name| format!("canary-{name}")).collect();
        assert_eq!(exposed(&found), expected, "{section}");
        let error = secrets(&service(&text("environment")), &|_| None).unwrap_err().to_string();
        assert!(error.contains(needed) && error.contains("the environment"), "{error}");

        let mounted = tempfile::tempdir().unwrap();
        let credentials = format!("{{directory: {}}}", mounted.path().display());
        let error = secrets(&service(&text(&credentials)), &|_| None).unwrap_err().to_string();
        assert!(error.contains(needed), "{error}");
        for field in fields {
            std::fs::write(mounted.path().join(field), format!("canary-{field}\n")).unwrap();
        }
        let found = exposed(&secrets(&service(&text(&credentials)), &|_| None).unwrap());
        assert_eq!(found, fields.iter().map(|field| format!("canary-{field}")).collect::<Vec<_>>(), "{section}");

        let file = mounted.path().join("keys.yaml");
        let lines: Vec<String> = fields.iter().map(|field| format!("{field}: canary-{field}\n")).collect();
        let lines = lines.concat();
        std::fs::write(&file, &lines).unwrap();
        let credentials = format!("{{file: {}}}", file.display());
        let found = exposed(&secrets(&service(&text(&credentials)), &|_| None).unwrap());
        let whole = vec![lines.clone()];
        let each = fields.iter().map(|field| format!("canary-{field}")).collect::<Vec<_>>();
        assert_eq!(found, if section.starts_with("gcs") { whole } else { each }, "{section}");
    }
}
