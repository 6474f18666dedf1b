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
    let message = &status.message;
    is_denied(message)
        || (status.code == 403 && !lacks_a_right(message) && !message.contains("status unknown for quota"))
}

/// Whether a policy has said no, in whatever words and with whatever code: webhooks choose theirs.
fn is_denied(message: &str) -> bool {
    let said_by = |who: &str| message.find(who).map(|at| &message[at + who.len()..]);
    said_by("admission webhook \"").is_some_and(|rest| rest.contains("\" denied the request"))
        || said_by("ValidatingAdmissionPolicy '").is_some_and(|rest| rest.contains(" denied request"))
}

/// Whether it is in the words in which the API server says that the caller may not: `User "u" cannot get resource "r"`,
/// or that it may not own what it asks for. Other rules say "cannot" of what they forbid.
fn lacks_a_right(message: &str) -> bool {
    let after = message.split_once(": User \"").and_then(|(_, user)| user.split_once("\" cannot "));
    let what = after.and_then(|(_, verb)| verb.split_once(' ')).map(|(_, what)| what);
    what.is_some_and(|what| what.starts_with("resource \"") || what.starts_with("path \""))
        || message.contains(": cannot set blockOwnerDeletion ")
}

const CORRECT: &str = "correct it there";

/// A claim cannot be changed, and its template neither.
const ANOTHER: &str = "a claim cannot be changed: delete this Registry and make it again with what the cluster has";

const RESOURCES: &str = "write there what the API server takes: cpu, memory, ephemeral-storage, or another resource by \
                         its whole name, such as nvidia.com/gpu";

const GROW: &str = "set allowVolumeExpansion: true on the claim's StorageClass if its volumes can grow; otherwise make a \
                    new Registry with a larger claim and replicate to it";

const BY_RULE: Origin = ("a rule of the cluster", "have it changed, or do as it says");

/// What a rule of the cluster is about.
fn ruled_out(kind: &str, message: &str) -> Origin {
    if is_denied(message) {
        return BY_RULE;
    }
    let size = "spec.managed.storage.claimTemplate.resources.requests.storage";
    match kind {
        "persistentvolumeclaims" if message.contains("resize") => (size, GROW),
        "persistentvolumeclaims" => (size, "have the quota or limit raised, or make the Registry again with less"),
        "services" => ("spec.managed.expose.service.type", "have the quota raised, or choose another type there"),
        _ => BY_RULE,
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
        let with_reason = "secrets \"a\" is forbidden: User \"system:serviceaccount:n:u\" cannot get resource \"secrets\" \
                           in API group \"\" in the namespace \"n\": RBAC: clusterrole.rbac.authorization.k8s.io \"r\" not \
                           found";
        assert!(!is_by_rule(&forbidden("secrets", with_reason)));
        assert!(!is_by_rule(&forbidden("", "forbidden: User \"u\" cannot get path \"/version\"")));
        let owner = "services \"a\" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource \
                     you can't set finalizers on: , <nil>";
        assert!(!is_by_rule(&forbidden("services", owner)));
    }

    #[test]
    fn what_a_policy_says_cannot_be_is_a_rule_and_no_lack_of_a_right() {
        let of_nobody = "deployments.apps \"a\" is forbidden: containers cannot run as root";
        assert!(is_by_rule(&forbidden("deployments", of_nobody)));
        let of_a_user = "deployments.apps \"a\" is forbidden: User \"root\" cannot be what containers run as";
        assert!(is_by_rule(&forbidden("deployments", of_a_user)));
    }

    #[test]
    fn what_is_denied_at_admission_is_a_rule_with_whatever_code() {
        let said = [
            "admission webhook \"policy.example\" denied the request: containers cannot run as root",
            "admission webhook \"policy.example\" denied the request without explanation",
            "admission webhook \"policy.example\" denied the request: a: User \"u\" cannot use resource \"b\"",
            "services \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no such type",
        ];
        for (message, code) in said.into_iter().flat_map(|said| [400, 403, 409, 422].map(|code| (said, code))) {
            let status = Status { code, ..forbidden("services", message) };
            assert!(is_by_rule(&status), "{code} {message}");
            let explained = explain(&status);
            assert!(explained.contains("this comes from a rule of the cluster"), "{explained}");
        }
        let failed = "failed calling webhook \"policy.example\": context deadline exceeded";
        assert!(!is_by_rule(&Status { code: 500, ..forbidden("services", failed) }), "it is not there: asked again");
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
