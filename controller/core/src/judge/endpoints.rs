//! EndpointSlices of the Service in front of `web`, and pods → whose pods it sends requests to. Pure.
//!
//! The slices follow the pods late: a Deployment may have no old pod any more while the Service still names one. What
//! a node does with a slice that it has seen, nobody can see from here: it gets some time.

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

/// Whether `slices` send requests to pods of `release` alone: to no other pod and, where some are `wanted`, to one of
/// its own. What is no pod is no other Release either.
pub(crate) fn reach_only(
    release: &Release,
    wanted: i32,
    slices: &[EndpointSlice],
    pods: &[Pod],
) -> bool {
    // One that ends is its own as well, as long as the slices do not know.
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

/// How long after the last of its pods became ready a Release that takes the place of another is said to serve. Nodes
/// follow the slices by then: kube-proxy gathers changes for a second. Transition times are whole seconds.
const FOLLOWED: SignedDuration = SignedDuration::from_secs(3);

/// How much of that time is left; none where no other Release can have been sent requests.
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

/// What is not said of an endpoint speaks for it.
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
            // As many slices: there is one for each port and family of addresses.
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
            // Another Release's; one that is gone, or of another App that had the name.
            (1, &[("old", &ready)], false),
            (1, &[("new", &ready), ("old", &ready)], false),
            (1, &[("new", &ready), ("old", &unsaid)], false),
            (1, &[("new", &ready), ("gone", &ready)], false),
            (1, &[("old", &unready), ("new", &ready)], true),
            (1, &[("old", &drains), ("new", &ready)], true),
            (1, &[("old", &published), ("new", &ready)], true),
            (1, &[("old", &drains)], false),
            // Scaled to none.
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
