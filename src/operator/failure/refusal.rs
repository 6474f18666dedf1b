//! What the API server finds wrong with a child, said of the field that a person can change: nobody has written the
//! child's own.

use kube::core::Status;

/// The API server's own words, the field that they come from, and what to do.
pub(super) fn explain(status: &Status) -> String {
    let details = status.details.as_ref();
    let kind = details.map(|details| details.kind.as_str()).unwrap_or_default();
    let mut fields = details.into_iter().flat_map(|details| &details.causes).map(|cause| cause.field.as_str());
    let (field, remedy) = fields.find_map(|field| origin(kind, field)).unwrap_or(("the spec", CORRECT));
    format!("{}; this comes from {field}: {remedy}", status.message.trim_end_matches('.'))
}

const CORRECT: &str = "correct it there";

/// Where a field of a child comes from, and what to do about it.
fn origin(kind: &str, field: &str) -> Option<(&'static str, &'static str)> {
    let found = match kind {
        "Service" if field.contains("nodePort") => (
            "spec.managed.expose.service.nodePort",
            "choose another port there, or leave it out and the cluster chooses one",
        ),
        "PersistentVolumeClaim" => ("spec.managed.storage.claimTemplate", CORRECT),
        "Deployment" | "Job" if field.contains(".resources") => ("spec.managed.resources of the Registry", CORRECT),
        "Deployment" | "Job" if field.contains(".image") => ("spec.managed.image of the Registry", CORRECT),
        "Deployment" | "Job" | "Service" | "ServiceAccount" | "PodDisruptionBudget" => {
            ("spec.managed of the Registry", CORRECT)
        }
        _ => return None,
    };
    Some(found)
}
