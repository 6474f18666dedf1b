//! What the API server finds wrong with a child, said of the field that a person can change: nobody has written the
//! child's own.

use kube::core::Status;

/// Where something comes from, and what to do about it.
type Origin = (&'static str, &'static str);

/// The API server's own words, the field that they come from, and what to do.
pub(super) fn explain(status: &Status) -> String {
    let details = status.details.as_ref();
    let kind = details.map(|details| details.kind.as_str()).unwrap_or_default();
    let mut fields = details.into_iter().flat_map(|details| &details.causes).map(|cause| cause.field.as_str());
    let (field, remedy) = if is_by_rule(status) {
        ruled_out(kind, &status.message)
    } else {
        fields.find_map(|field| origin(kind, field)).unwrap_or(("the spec", CORRECT))
    };
    format!("{}; this comes from {field}: {remedy}", status.message.trim_end_matches('.'))
}

/// Whether a rule of the cluster (a quota, a limit range, a class of storage, a policy) lets nobody have this. That the
/// operator lacks a right is another matter, and so is a quota that the API server has not counted yet.
pub(super) fn is_by_rule(status: &Status) -> bool {
    status.code == 403 && !status.message.contains(" cannot ") && !status.message.contains("status unknown for quota")
}

const CORRECT: &str = "correct it there";

/// A claim cannot be changed, and its template neither.
const ANOTHER: &str = "a claim cannot be changed: delete this Registry and make it again with what the cluster has";

const RESOURCES: &str = "write there what the API server takes: cpu, memory, ephemeral-storage, or another resource by \
                         its whole name, such as nvidia.com/gpu";

const GROW: &str = "set allowVolumeExpansion: true on the claim's StorageClass if its volumes can grow; otherwise make a \
                    new Registry with a larger claim and replicate to it";

/// What a rule of the cluster is about.
fn ruled_out(kind: &str, message: &str) -> Origin {
    let size = "spec.managed.storage.claimTemplate.resources.requests.storage";
    match kind {
        "persistentvolumeclaims" if message.contains("resize") => (size, GROW),
        "persistentvolumeclaims" => (size, "have the quota or limit raised, or make the Registry again with less"),
        "services" => ("spec.managed.expose.service.type", "have the quota raised, or choose another type there"),
        _ => ("a rule of the cluster", "have it changed, or do as it says"),
    }
}

/// Where a field of a child comes from, and what to do about it.
fn origin(kind: &str, field: &str) -> Option<Origin> {
    let found = match kind {
        "Service" if field.contains("nodePort") => (
            "spec.managed.expose.service.nodePort",
            "choose another port there, or leave it out and the cluster chooses one",
        ),
        "PersistentVolumeClaim" if field.contains("storageClassName") => {
            ("spec.managed.storage.claimTemplate.storageClassName", ANOTHER)
        }
        "PersistentVolumeClaim" => ("spec.managed.storage.claimTemplate", ANOTHER),
        "Deployment" | "Job" if field.contains(".resources") => ("spec.managed.resources of the Registry", RESOURCES),
        "Deployment" | "Job" if field.contains(".image") => (
            "spec.managed.image of the Registry",
            "write an image's name there, such as registry.example/regatta:0.1.0",
        ),
        "Deployment" | "Job" | "Service" | "ServiceAccount" | "PodDisruptionBudget" => {
            ("spec.managed of the Registry", CORRECT)
        }
        _ => return None,
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden(kind: &str, message: &str) -> Status {
        let details = serde_json::from_value(serde_json::json!({ "kind": kind })).unwrap();
        Status { code: 403, message: message.to_owned(), details: Some(details), ..Status::default() }
    }

    #[test]
    fn a_right_that_the_operator_lacks_is_no_rule_about_the_spec() {
        let lacks =
            "persistentvolumeclaims \"a\" is forbidden: User \"u\" cannot patch resource \"persistentvolumeclaims\"";
        assert!(!is_by_rule(&forbidden("persistentvolumeclaims", lacks)));
        let unknown = "services \"a\" is forbidden: status unknown for quota: q, resources: services";
        assert!(!is_by_rule(&forbidden("services", unknown)));
    }

    #[test]
    fn a_quota_is_told_with_the_field_that_is_counted() {
        let said = "persistentvolumeclaims \"a\" is forbidden: exceeded quota: q, requested: requests.storage=1Gi";
        let status = forbidden("persistentvolumeclaims", said);
        assert!(is_by_rule(&status));
        let message = explain(&status);
        assert!(message.contains("resources.requests.storage: have the quota"), "{message}");
    }
}
