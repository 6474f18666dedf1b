//! The pages of the reference that are made from the code are those in the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prometheus_client::registry::Registry;
use regatta::operator::metrics::Metrics;
use regatta::server::route::Route;
use regex::Regex;
use serde_json::json;

use crate::program::{Program, eventually, like_main, regatta};

#[test]
fn the_pages_in_the_tree_are_those_that_the_code_gives() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    for (name, text) in regatta::cli::pages() {
        let found = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert!(found == text, "{name} is not what the code gives; run: regatta reference --write docs/reference");
    }
}

/// Type and labels of each metric of a part of the page, by the name that its series have.
type Described = BTreeMap<String, (String, Vec<String>)>;

fn documented(part: &str) -> Described {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md")).unwrap();
    let part = page.split("\n## ").find(|text| text.starts_with(part)).expect("the part is there");
    let rows = part.lines().filter(|line| line.starts_with("| `regatta_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").map(|label| label.trim_matches('`').to_owned()).filter(|it| !it.is_empty());
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), sorted(labels.collect())))
    })
    .collect()
}

fn sorted(mut labels: Vec<String>) -> Vec<String> {
    labels.sort();
    labels
}

/// The same, of what `/metrics` says.
fn served(text: &str) -> Described {
    let mut kinds = BTreeMap::new();
    let mut found = Described::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert(name.to_owned(), kind.to_owned());
        } else if let Some(sample) = Some(line).filter(|line| !line.starts_with('#')) {
            let (series, _) = sample.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
            let labels = labels.map(|(name, _)| name.to_owned()).filter(|name| name != "le");
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let plain = name.strip_suffix("_total").unwrap_or(name);
            let (name, kind) = match histogram.filter(|name| kinds.get(*name).is_some_and(|kind| kind == "histogram")) {
                Some(histogram) => (histogram, "histogram"),
                None => (name, kinds.get(plain).or(kinds.get(name)).map_or("unknown", String::as_str)),
            };
            found.insert(name.to_owned(), (kind.to_owned(), sorted(labels.collect())));
        }
    }
    found
}

#[tokio::test]
async fn a_registry_serves_the_metrics_that_are_documented_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = regatta();
    command.args(["registry", "--listen", "127.0.0.1:0", "--root"]).arg(directory.path());
    let (_program, authority) = Program::serving(&mut command).await;
    let url = format!("http://{authority}");
    like_main();
    let http = reqwest::Client::new();
    // One that is answered with a body, and one that has a body.
    http.get(format!("{url}/v2/")).send().await.unwrap().bytes().await.unwrap();
    http.post(format!("{url}/token")).body("grant_type=password").send().await.unwrap().bytes().await.unwrap();
    // The space is looked at just after the start.
    let text = eventually("the metrics are there", async || {
        let text = http.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
        if text.contains("store_free_bytes") { Ok(text) } else { Err(text) }
    })
    .await;
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(served(&text), documented("The registry"), "{text}");
}

#[test]
fn an_operator_serves_the_metrics_that_are_documented_and_no_others() {
    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    metrics.reconciled("Registry", true);
    metrics.unreadable("Registry");
    metrics.published("access");
    metrics.leading(true);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert_eq!(served(&text), documented("The operator"));
}

#[test]
fn a_replicator_serves_the_metrics_that_are_documented_and_no_others() {
    let edge = json!({
        "id": "0123456789abcdef", "policyGeneration": 1, "state": "Following", "lagSeconds": 7,
        "pending": 1, "inFlight": 2, "failed": 3,
    });
    let text = regatta::commands::replicate::follow::exposition(&[serde_json::from_value(edge).unwrap()]);
    assert_eq!(served(&text), documented("The replicator"));
}

#[test]
fn every_route_is_documented_and_every_class_of_them_with_the_metrics() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let class = Regex::new(r#"Self::[A-Z][^=]* => "([a-z]+)","#).unwrap();
    let source = read("src/server/route.rs");
    let classes: BTreeSet<&str> = class.captures_iter(&source).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(classes.len() > 8, "{classes:?}");

    let page = read("docs/reference/metrics.md");
    let line = page.split("- `route` is a class:").nth(1).unwrap().split("\n- ").next().unwrap();
    let documented: BTreeSet<&str> = line.split('`').skip(1).step_by(2).filter(|class| *class != "unknown").collect();
    assert_eq!(documented, classes);

    let page = read("docs/reference/registry-api.md");
    let digest = format!("sha256:{}", "0".repeat(64));
    let paths = Regex::new("`(/v2/[^`? ]*|/token)`").unwrap();
    let routed: BTreeSet<&str> = paths
        .captures_iter(&page.replace("<tag or digest>", "v1"))
        .map(|found| {
            found[1].replace("<name>", "a/b").replace("<digest>", &digest).replace("<id>", "0").replace("<edge>", "e")
        })
        .map(|path| Route::parse(&path).unwrap_or_else(|error| panic!("{path} is documented: {error}")).class())
        .collect();
    assert_eq!(routed, classes);
}
