//! A namespace that looks for what is another's: by the references of its Apps, by the addresses that the operator
//! connects to for it, by the API, and from within its builds (`builds.rs` has the thief among buildpacks).

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::{Api, ResourceExt as _, api::PostParams};
use slipway_crds::v1alpha1::{App, Build};
use slipway_tests::{
    app::{READY, SOON, build_phase},
    case::{self, Case},
    cluster::{self, NAMESPACE},
    operator, wait,
};

use super::{Script, bound, create};
use slipway_tests::app::image_app;

const CANARY: &str = "canary-of-another-namespace";

/// All that the App says of itself.
fn says_anywhere(app: &App, part: &str) -> bool {
    let conditions = app.status.iter().flat_map(|s| &s.conditions);
    let mut messages = conditions.map(|c| c.message.as_str());
    messages.any(|message| message.contains(part))
}

/// Who asks, and at which port, for what of the cluster; why he does not get it.
async fn inside(case: &Case) -> Result<Vec<(String, &'static str)>> {
    let node = &case.cluster.facts.node_address;
    let services: Api<Service> = Api::namespaced(case.cluster.client.clone(), NAMESPACE);
    let service = services.get(cluster::OPERATOR).await?;
    let service = service.spec.and_then(|spec| spec.cluster_ip);
    let service = service.context("the operator's Service has an address")?;
    let pod = operator::pods(&case.cluster).await?.remove(0);
    let pod = pod.status.and_then(|status| status.pod_ip);
    let pod = pod.context("the operator's pod has an address")?;
    Ok(vec![
        (format!("{node}:6443"), "leads to the Kubernetes API server"),
        (
            format!("{node}:10250"),
            "leads to a part of Kubernetes on one of the nodes",
        ),
        (
            "127.0.0.1:8080".to_owned(),
            "leads to the operator's own machine",
        ),
        (
            "169.254.169.254:80".to_owned(),
            "leads to a link-local address",
        ),
        (
            format!("{service}:443"),
            "leads to a pod or Service of this cluster",
        ),
        (
            format!("{pod}:8080"),
            "leads to a pod or Service of this cluster",
        ),
    ])
}

/// An App of this name, with this source and these lines.
fn app(name: &str, source: &str, more: &str) -> String {
    format!(
        "apiVersion: slipway.dev/v1alpha1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  source: {source}\n{more}"
    )
}

#[test]
fn nothing_of_another_namespace_or_of_the_cluster_is_named_or_connected_to() {
    case::run("hostile-curious", |case| async move {
        let other = case.other_namespace().await?;
        let secrets: Api<Secret> = Api::namespaced(case.cluster.client.clone(), &other);
        let own = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: own}}\nstringData: {{key: {CANARY}}}\n"
        );
        let secret: Secret = serde_yaml::from_str(&own)?;
        secrets.create(&PostParams::default(), &secret).await?;

        // An App by name, and what it is told.
        let registry = &case.cluster.facts.registry;
        let foreign = "is an image that belongs to another namespace";
        let mut rows = Vec::new();
        for (number, host) in [&registry.push, &registry.pull].into_iter().enumerate() {
            for (kind, repository) in [
                ("app", format!("slipway/{other}/hello")),
                (
                    "stack",
                    "slipway/slipway.dev/stacks/default/build".to_owned(),
                ),
            ] {
                let source = format!("{{image: {{reference: '{host}/{repository}:latest'}}}}");
                rows.push((app(&format!("{kind}-{number}"), &source, ""), foreign));
            }
        }
        for (number, (address, why)) in inside(&case).await?.into_iter().enumerate() {
            let url = format!("{{git: {{url: 'https://{address}/x.git'}}}}");
            rows.push((app(&format!("git-{number}"), &url, ""), why));
            let image = format!("{{image: {{reference: '{address}/x/y:1'}}}}");
            rows.push((app(&format!("image-{number}"), &image, ""), why));
        }
        // What is only in the other namespace is not there, whatever else the reference says.
        let source = "{git: {url: 'https://git.invalid/x.git'}}";
        let by = |name: &str, reference: &str| {
            let env = format!(
                "  env: [{{name: KEY, valueFrom: {{secretKeyRef: {{name: {reference}, key: key}}}}}}]\n"
            );
            app(name, source, &env)
        };
        for reference in [format!("own, namespace: {other}"), format!("{other}/own")] {
            let taken = case.apply_dry(&by("named", &reference)).await;
            let said = format!("{:#}", taken.err().context("it was taken")?);
            let refused = said.contains("unknown field") || said.contains("Invalid value");
            ensure!(refused, "{reference}: {said}");
        }
        let pulls = format!(
            "{{image: {{reference: '{}/x/y:1', pullSecretRef: {{name: own}}}}}}",
            registry.push
        );
        rows.push((app("pulls", &pulls, ""), "Secret own"));

        for (app, _) in &rows {
            case.apply(app).await?;
        }
        for (app, why) in &rows {
            let parsed: App = serde_yaml::from_str(app)?;
            let name = parsed.name_any();
            let told = |app: &App| says_anywhere(app, why);
            case.app_until(&name, SOON, &format!("told that it {why}"), told)
                .await
                .with_context(|| app.clone())?;
        }
        ensure!(case.builds("git-0").await?.is_empty(), "it is built");
        Ok(())
    });
}

#[test]
fn a_value_that_cannot_be_used_is_not_shown() {
    case::run("hostile-values", |case| async move {
        let long = CANARY.repeat(6000);
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own"},
            "stringData": {"long": long}, "data": {"binary": "Y2FuYXJ5LW9mLWFub3RoZXItbmFtZXNwYWNl/w=="},
        });
        let secrets: Api<Secret> = case.api();
        let secret = serde_json::from_value(secret)?;
        secrets.create(&PostParams::default(), &secret).await?;
        for (key, why) in [
            ("long", "bytes; a variable of this name"),
            ("binary", "is not UTF-8"),
        ] {
            let env = format!(
                "  env: [{{name: KEY, valueFrom: {{secretKeyRef: {{name: own, key: {key}}}}}}}]\n"
            );
            let app = image_app(&case, key, &env).await?;
            case.apply(&app).await?;
            let told = |app: &App| says_anywhere(app, why);
            case.app_until(key, SOON, &format!("told that it {why}"), told)
                .await?;
        }
        let kinds = "apps,revisions,builds,releases,configmaps,events";
        let told = case.kubectl(&["get", kinds, "--output=yaml"]).await?;
        ensure!(!told.contains(CANARY), "a Secret's value is shown");
        Ok(())
    });
}

#[test]
fn a_log_is_read_by_nobody_who_may_not_get_its_build() {
    case::run("hostile-logs", |case| async move {
        let other = case.other_namespace().await?;
        let script = Script::new(&case.namespace, &format!("echo {CANARY}\n"))?;
        create(&case, &other, &script.app("hello")).await?;
        let builds: Api<Build> = Api::namespaced(case.cluster.client.clone(), &other);
        let over = |b: &Build| b.status.as_ref().is_some_and(|s| s.log.is_some());
        let build = wait::any(&builds, READY, "over", over).await?;
        ensure!(build_phase(&build).is_over());
        let name = build.name_any();
        let path = |namespace: &str, build: &str| {
            format!("/apis/logs.slipway.dev/v1alpha1/namespaces/{namespace}/builds/{build}/log")
        };
        let readable = cluster::request(&case.cluster.client, &path(&other, &name)).await?;
        ensure!(readable.body.contains(CANARY), "{readable:?}");

        let binding = [
            "create",
            "rolebinding",
            "editors",
            "--clusterrole=edit",
            "--user=curious",
        ];
        case.kubectl(&binding).await?;
        bound(&case, "curious", "get", "builds").await?;
        let climbing = format!("..%2F..%2F{other}%2Fbuilds%2F{name}");
        for path in [
            path(&other, &name),
            format!("{}?follow=true", path(&other, &name)),
            path(&case.namespace, &name),
            path(&case.namespace, &climbing),
        ] {
            let raw = ["get", "--raw", path.as_str()];
            let said = match case.kubectl_as("curious", &raw, "").await {
                Ok(said) => anyhow::bail!("{path}: {said}"),
                Err(error) => format!("{error:#}"),
            };
            ensure!(!said.contains(CANARY), "{path}: {said}");
            let foreign = path.contains(&other) && !path.contains("%2F");
            ensure!(!foreign || said.contains("Forbidden"), "{path}: {said}");
        }
        // Past the API server, whoever he says he is.
        for pod in operator::pods(&case.cluster).await? {
            let address = pod.status.and_then(|status| status.pod_ip);
            let url = format!(
                "https://{}:8443{}",
                address.context("an address")?,
                path(&other, &name)
            );
            let output = tokio::process::Command::new("curl")
                .args(["--silent", "--insecure", "--max-time", "10"])
                .args(["--header", "X-Remote-User: kubernetes-admin"])
                .args(["--header", "X-Remote-Group: system:masters", &url])
                .output()
                .await?;
            let said = String::from_utf8_lossy(&output.stdout);
            ensure!(!output.status.success() && said.is_empty(), "{url}: {said}");
        }
        Ok(())
    });
}
