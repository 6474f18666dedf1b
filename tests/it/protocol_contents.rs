//! What the rows of the distribution specification send, by name.

use serde_json::{Value, json};

use crate::protocol_table::Run;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
pub const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

fn described(media_type: &str, bytes: &str) -> Value {
    json!({ "mediaType": media_type, "digest": regatta::oci::Digest::sha256(bytes.as_bytes()), "size": bytes.len() })
}

fn image(config: &str, layers: &[&str]) -> Value {
    let layer = |layer: &&str| described("application/vnd.oci.image.layer.v1.tar", layer);
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described("application/vnd.oci.image.config.v1+json", config),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

fn index(manifests: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}

/// What rows send.
pub fn prepare(run: &mut Run<'_>) {
    for (name, text) in [
        ("empty", ""),
        ("digits", "0123456789"),
        ("config", "{}"),
        ("layer", "a layer"),
        ("none", "nowhere"),
        ("other", "another"),
    ] {
        run.content(name, text);
    }
    let plain = image("{}", &["a layer"]).to_string();
    images(run, &plain);
    indexes(run, &plain);
    other_kinds(run);
    referrers(run, &plain);
    beyond_bounds(run);
}

fn images(run: &mut Run<'_>, plain: &str) {
    // Byte for byte: nobody would write it like this.
    let odd = format!("\n {}\n\n", plain.replace(',', " ,\t"));
    run.content("odd", odd);
    run.content("image", plain.to_owned());
    run.content("no-layers", image("{}", &[]).to_string());
    run.content("missing", image("{}", &["nowhere", "a layer"]).to_string());
    let mut foreign = image("{}", &[]);
    foreign["layers"] = json!([
        described("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign"),
        described("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "non-distributable"),
    ]);
    run.content("foreign", foreign.to_string());
    let mut both = image("{}", &["a layer"]);
    both["manifests"] = json!([]);
    run.content("both", both.to_string());
    let mut almost = image("{}", &["a layer"]);
    almost["Manifests"] = json!([]);
    run.content("almost both", almost.to_string());
    let mut unheard = image("{}", &["a layer"]);
    unheard["annotations"] = json!({ "org.example.nothing": null });
    run.content("null annotation", unheard.to_string());
    let mut fields = image("{}", &["a layer"]);
    fields["x-custom"] = json!({ "a": [1, 2, { "b": null }] });
    fields["layers"][0]["data"] = "YSBsYXllcg==".into();
    run.content("custom", fields.to_string());
}

fn indexes(run: &mut Run<'_>, plain: &str) {
    let inner = index(&[described(MANIFEST, plain)]);
    run.content("index", inner.to_string());
    run.content("nested", index(&[described(INDEX, &inner.to_string())]).to_string());
    run.content(
        "foreign-child",
        index(&[described("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign")]).to_string(),
    );
    // BuildKit's cache: an index that lists layers.
    run.content(
        "build-cache",
        index(&[described("application/vnd.oci.image.layer.v1.tar+gzip", "a layer")]).to_string(),
    );
    run.content("no-children", index(&[]).to_string());
}

fn other_kinds(run: &mut Run<'_>) {
    let artifact =
        json!({ "mediaType": ARTIFACT, "artifactType": "example/a", "blobs": [described("example/x", "a layer")] });
    run.content("artifact", artifact.to_string());
    let unheard =
        json!({ "mediaType": "application/vnd.example.unheard+json", "layers": [described("example/x", "a layer")] });
    run.content("unheard", unheard.to_string());
    let page =
        json!({ "mediaType": "text/html", "annotations": { "page": "<script>alert(document.domain)</script>" } });
    run.content("page", page.to_string());
}

fn referrers(run: &mut Run<'_>, plain: &str) {
    for (name, kind, note) in
        [("sbom", Some("example/sbom"), "1"), ("signature", Some("example/signature"), "2"), ("untyped", None, "3")]
    {
        let mut referrer = image("{}", &[]);
        referrer["subject"] = described(MANIFEST, plain);
        referrer["annotations"] = json!({ "note": note });
        if let Some(kind) = kind {
            referrer["artifactType"] = kind.into();
        }
        run.content(name, referrer.to_string());
    }
    let mut index_of = index(&[]);
    index_of["subject"] = described(MANIFEST, plain);
    run.content("referring-index", index_of.to_string());
    let mut early = image("{}", &[]);
    early["subject"] = described(MANIFEST, "a manifest that nobody has");
    run.content("early", early.to_string());
    run.content("nobody", "a manifest that nobody has");
}

/// What is no manifest, and what is nearly or quite too much of one.
fn beyond_bounds(run: &mut Run<'_>) {
    run.content("schema-1", r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[]}"#);
    run.content("no-json", "{");
    run.content("deep", format!("{{\"schemaVersion\":2,\"x\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000)));
    run.content("too-long", " ".repeat(4 * 1024 * 1024 + 1));
    let mut long = image("{}", &["a layer"]);
    long["annotations"] = json!({ "long": "x".repeat(4 * 1024 * 1024 - 1024) });
    run.content("long", long.to_string());
}
