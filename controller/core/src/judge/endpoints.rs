//! EndpointSlices of the Service in front of `web`, and pods → which Release's pods get its requests. Pure.
//!
//! The slices follow the pods with a delay: a Deployment may have no old pod any more while the Service still names
//! one. When nodes apply a slice cannot be seen from here, so they get some time.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use k8s_openapi::api::{
    core::v1::Pod,
    discovery::v1::{Endpoint, EndpointSlice},
};
use slipway_crds::v1alpha1::Release;

use crate::judge::{
    pods::{changed, is_made_from},
    seen::Seen,
};

/// Whether `slices` send requests to pods of `release` only: to no other pod and, if pods are `wanted`, to at least one
/// of its own. Endpoints that are not pods are ignored.
pub(crate) fn reach_only(
    release: &Release,
    wanted: i32,
    slices: &[EndpointSlice],
    pods: &[Pod],
) -> bool {
    // Its terminating pods count as its own, until the slices drop them.
    let own: BTreeSet<&str> = pods
        .iter()
        .filter(|pod| is_made_from(pod, release))
        .filter_map(|pod| pod.metadata.uid.as_deref())
        .collect();
    let mut reached = slices
        .iter()
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| receives(endpoint))
        .filter_map(|endpoint| endpoint.target_ref.as_ref())
        .filter(|target| target.kind.as_deref() == Some("Pod"))
        .map(|pod| pod.uid.as_deref().unwrap_or_default())
        .peekable();
    (wanted == 0 || reached.peek().is_some()) && reached.all(|uid| own.contains(uid))
}

/// How long after its last pod became ready a Release that replaces another one is said to serve. By then nodes have
/// applied the slices: kube-proxy collects changes for a second. Transition times are whole seconds.
const FOLLOWED: SignedDuration = SignedDuration::from_secs(3);

/// How much of that time is left; `None` if nothing is, or if no Release was there before.
pub(crate) fn left_to_follow(seen: &Seen<'_>) -> Option<SignedDuration> {
    if seen.release.spec.number <= 1 {
        return None;
    }
    let own = seen
        .pods
        .iter()
        .filter(|pod| is_made_from(pod, seen.release));
    let newest = own.filter_map(|pod| changed(pod, "True")).max()?;
    let left = FOLLOWED.saturating_sub(seen.now.duration_since(newest));
    (left > SignedDuration::ZERO).then_some(left)
}

/// Whether an endpoint gets requests. A condition that is not set counts in its favor.
fn receives(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    ready && !terminating
}

#[cfg(test)]
mod tests {
    use super::reach_only;
    use k8s_openapi::api::{core::v1::Pod, discovery::v1::EndpointSlice};
    use serde_json::{Value, json};
    use slipway_crds::v1alpha1::{Release, ReleaseSpec};

    fn pod(uid: &str, release: &str, deleted: Option<&str>) -> Pod {
        serde_json::from_value(json!({"metadata": {
            "name": uid, "uid": uid, "deletionTimestamp": deleted, "labels": {"slipway.dev/process": "web", "slipway.dev/release": release},
        }}))
        .unwrap()
    }

    fn endpoint(uid: &str, conditions: &Value) -> Value {
        let target = json!({"kind": "Pod", "name": uid, "uid": uid});
        json!({"addresses": ["10.0.0.7"], "conditions": conditions, "targetRef": target})
    }

    fn slice(endpoints: &Value) -> EndpointSlice {
        serde_json::from_value(json!({"addressType": "IPv4", "endpoints": endpoints})).unwrap()
    }

    #[test]
    fn a_release_is_reached_alone_when_no_other_pod_receives() {
        let spec = ReleaseSpec {
            number: 2,
            ..ReleaseSpec::default()
        };
        let release = Release::new("hello-v2", spec);
        let pods = [
            pod("new", "2", None),
            pod("ends", "2", Some("2026-01-01T00:00:00Z")),
            pod("old", "1", None),
        ];
        let ready = json!({"ready": true, "serving": true, "terminating": false});
        let unready = json!({"ready": false, "serving": false, "terminating": false});
        let drains = json!({"ready": false, "serving": true, "terminating": true});
        let published = json!({"ready": true, "serving": true, "terminating": true});
        let unsaid = json!({});
        let alone = |wanted, endpoints: &[(&str, &Value)]| {
            // One slice for each endpoint: Kubernetes makes one for each port and address family.
            let slices: Vec<EndpointSlice> = endpoints
                .iter()
                .map(|(uid, conditions)| slice(&json!([endpoint(uid, conditions)])))
                .collect();
            let together: Vec<Value> = endpoints.iter().map(|(u, c)| endpoint(u, c)).collect();
            let one = reach_only(&release, wanted, &[slice(&json!(together))], &pods);
            assert_eq!(reach_only(&release, wanted, &slices, &pods), one);
            one
        };
        for (wanted, endpoints, expected) in [
            (1, [].as_slice(), false),
            (1, &[("new", &unready)], false),
            (1, &[("new", &ready)], true),
            (2, &[("new", &ready)], true),
            (1, &[("new", &unsaid)], true),
            (1, &[("new", &ready), ("ends", &ready)], true),
            // Pods of another Release; pods that are gone, or of an earlier App of this name.
            (1, &[("old", &ready)], false),
            (1, &[("new", &ready), ("old", &ready)], false),
            (1, &[("new", &ready), ("old", &unsaid)], false),
            (1, &[("new", &ready), ("gone", &ready)], false),
            (1, &[("old", &unready), ("new", &ready)], true),
            (1, &[("old", &drains), ("new", &ready)], true),
            (1, &[("old", &published), ("new", &ready)], true),
            (1, &[("old", &drains)], false),
            // Scaled to zero.
            (0, &[], true),
            (0, &[("old", &drains)], true),
            (0, &[("old", &ready)], false),
        ] {
            assert_eq!(alone(wanted, endpoints), expected, "{wanted} {endpoints:?}");
        }
    }

    #[test]
    fn what_somebody_put_beside_the_pods_is_nobodys_release() {
        let release = Release::new("hello-v2", ReleaseSpec::default());
        let pods = [pod("new", "0", None)];
        let new = slice(&json!([endpoint("new", &json!({"ready": true}))]));
        let address = slice(&json!([
            {"addresses": ["10.0.0.9"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.9"], "targetRef": {"kind": "Node", "name": "n", "uid": "n"}},
        ]));
        let none = slice(&Value::Null);
        assert!(!reach_only(
            &release,
            1,
            std::slice::from_ref(&address),
            &pods
        ));
        assert!(!reach_only(&release, 1, std::slice::from_ref(&none), &pods));
        assert!(reach_only(&release, 1, &[none, address, new], &pods));
    }
}
