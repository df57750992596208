//! The discovery documents that the API server reads before it passes requests on: groups, versions and resources.
//! Pure.

use serde_json::{Value, json};

use crate::logs::{GROUP, VERSION};

/// `/apis`.
pub fn groups() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]})
}

/// `/apis/logs.slipway.dev`.
pub fn group() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version], "preferredVersion": version})
}

/// `/apis/logs.slipway.dev/v1alpha1`. Only the log: the Build itself is in another group.
pub fn resources() -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"), "resources": [
        {"name": "builds/log", "singularName": "", "namespaced": true, "kind": "Build", "group": "slipway.dev",
         "version": "v1alpha1", "verbs": ["get"]},
    ]})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIGroupList, APIResourceList};

    #[test]
    fn the_documents_are_what_the_api_server_reads() {
        let groups: APIGroupList = serde_json::from_value(super::groups()).unwrap();
        let group: APIGroup = serde_json::from_value(super::group()).unwrap();
        let resources: APIResourceList = serde_json::from_value(super::resources()).unwrap();
        assert_eq!(groups.groups[0].name, group.name);
        assert_eq!(resources.group_version, group.versions[0].group_version);
        assert_eq!(resources.resources[0].verbs, ["get"]);
    }
}
