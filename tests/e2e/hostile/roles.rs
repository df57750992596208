//! What the cluster's own roles let people do.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use slipway_crds::v1alpha1::App;
use slipway_tests::case;

use super::{
    bound, may,
    records::{digest, release},
};

#[test]
fn the_clusters_own_roles_let_nobody_write_history() {
    case::run("hostile-roles", |case| async move {
        for role in ["view", "edit", "admin"] {
            let (name, role_of) = (format!("{role}ers"), format!("--clusterrole={role}"));
            let user = format!("--user={role}er");
            case.kubectl(&["create", "rolebinding", &name, &role_of, &user])
                .await?;
            bound(&case, &format!("{role}er"), "get", "apps").await?;
        }
        // Verb, resource, subresource; whether view, edit and admin may.
        let rows = [
            ("get", "apps", None, [true, true, true]),
            ("list", "builds", None, [true, true, true]),
            ("get", "releases", Some("status"), [true, true, true]),
            ("create", "apps", None, [false, true, true]),
            ("patch", "apps", Some("scale"), [false, true, true]),
            ("patch", "builds", None, [false, true, true]),
            ("delete", "releases", None, [false, true, true]),
            ("create", "revisions", None, [false; 3]),
            ("create", "builds", None, [false; 3]),
            ("create", "releases", None, [false; 3]),
            ("patch", "revisions", None, [false; 3]),
            ("update", "releases", None, [false; 3]),
            ("patch", "apps", Some("status"), [false; 3]),
            ("update", "builds", Some("status"), [false; 3]),
            ("patch", "releases", Some("status"), [false; 3]),
            ("patch", "revisions", Some("status"), [false; 3]),
            ("create", "stacks", None, [false; 3]),
            ("patch", "stacks", None, [false; 3]),
        ];
        for (verb, resource, subresource, allowed) in rows {
            for (role, wanted) in ["view", "edit", "admin"].into_iter().zip(allowed) {
                let found = may(&case, &format!("{role}er"), verb, resource, subresource).await?;
                let what = subresource.map_or_else(String::new, |s| format!("/{s}"));
                ensure!(
                    found == wanted,
                    "{role}: {verb} {resource}{what} is {found}"
                );
            }
        }
        // And by doing: an editor who makes a Release by hand is stopped before the policy has a say.
        let app: App = serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "metadata": {"name": "hello", "uid": "1"},
            "spec": {"source": {"image": {"reference": "x"}}},
        }))?;
        let image = json!({"reference": format!("evil.invalid/x@{}", digest()), "external": true});
        let forged = release(&app, 1, false, &image).to_string();
        let made = case
            .kubectl_as("editer", &["create", "--filename=-"], &forged)
            .await;
        let said = made
            .err()
            .map(|error| format!("{error:#}"))
            .context("it was taken")?;
        ensure!(said.contains("forbidden"), "{said}");
        Result::Ok(())
    });
}
