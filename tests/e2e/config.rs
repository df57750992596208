//! Configuration: a change rolls, and builds nothing.

use anyhow::{Result, ensure};
use slipway_crds::{conditions::types, v1alpha1::App};
use slipway_tests::{
    app::{SOON, says},
    case::{self, Case},
    fixtures,
    git::Repository,
};

use slipway_tests::app::{git_app, image_app};

const WEB: &str = "
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ.get('WHO', 'nobody').encode())

http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Handler).serve_forever()
";

/// An app that answers with `$WHO` and needs nothing from a package index, in a folder of the repository.
pub(crate) fn who(repository: &Repository, folder: &str) -> Result<()> {
    repository.write(&format!("{folder}/requirements.txt"), "")?;
    repository.write(&format!("{folder}/Procfile"), "web: python web.py\n")?;
    repository.write(&format!("{folder}/web.py"), WEB)
}

#[test]
fn a_changed_variable_makes_a_release_and_no_build() {
    case::run("config", |case| async move {
        let repository = fixtures::repository(&case.namespace, "worker")?;
        repository.write("app.json", "{}")?;
        who(&repository, ".")?;
        repository.commit("a web process")?;
        let app = git_app("hello", &repository.url);
        case.apply(&app).await?;
        case.released("hello", "hello-v1").await?;
        ensure!(case.answer("hello").await?.trim() == "nobody");
        let with = |value: &str| format!("{app}  env: [{{name: WHO, value: '{value}'}}]\n");
        case.apply(&with("world $(PATH) \"x\"")).await?;
        case.released("hello", "hello-v2").await?;
        let body = case.answer("hello").await?;
        ensure!(body.trim() == "world $(PATH) \"x\"", "to the byte: {body}");
        suspended(&case, &with("later")).await?;
        ensure!(case.builds("hello").await?.len() == 1, "a second build");
        Ok(())
    });
}

/// What is changed while the App is suspended waits until it no longer is.
async fn suspended(case: &Case, changed: &str) -> Result<()> {
    let before = case.answer("hello").await?;
    case.apply(&format!("{changed}  suspend: true\n")).await?;
    let told = |a: &App| {
        let ready = says(a, types::READY);
        ready.starts_with("False Suspended") && ready.contains("spec.suspend")
    };
    case.app_until("hello", SOON, "suspended", told).await?;
    ensure!(case.releases("hello").await?.len() == 2, "a third release");
    ensure!(case.answer("hello").await? == before, "it serves on");
    case.apply(changed).await?;
    case.released("hello", "hello-v3").await?;
    ensure!(case.answer("hello").await?.trim() == "later");
    Ok(())
}

/// A ConfigMap, a tag, a commit and a folder of the repository, whose root is no app that could be built.
#[test]
fn a_tag_then_a_commit_of_a_folder_runs_with_what_a_config_map_says() {
    case::run("folder", |case| async move {
        let repository = fixtures::repository(&case.namespace, "broken")?;
        who(&repository, "shops/first")?;
        repository.commit("a shop")?;
        repository.tag("v1.0")?;
        let louder = WEB.replace(".encode()", ".upper().encode()");
        repository.write("shops/first/web.py", &louder)?;
        let commit = repository.commit("louder")?;
        let names = |who: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: names}}\ndata: {{who: {who}, WHOLE: all-{who}}}\n"
            )
        };
        let app = |r: &str| {
            let app = git_app("hello", &repository.url);
            let app = app.replace("ref: main", &format!("ref: '{r}', subPath: shops/first"));
            format!(
                "{app}  env: [{{name: WHO, valueFrom: {{configMapKeyRef: {{name: names, key: who}}}}}}]
  envFrom: [{{configMapRef: {{name: names}}}}]
"
            )
        };
        case.apply(&names("alice")).await?;
        case.apply(&app("v1.0")).await?;
        case.released("hello", "hello-v1").await?;
        ensure!(case.answer("hello").await?.trim() == "alice");
        let pod = ["exec", "deployment/hello-web", "--", "printenv", "WHOLE"];
        ensure!(case.kubectl(&pod).await?.trim() == "all-alice");
        case.apply(&names("bob")).await?;
        case.released("hello", "hello-v2").await?;
        ensure!(case.answer("hello").await?.trim() == "bob");
        ensure!(case.builds("hello").await?.len() == 1, "a second build");
        case.apply(&app(&commit)).await?;
        case.released("hello", "hello-v3").await?;
        ensure!(case.answer("hello").await?.trim() == "BOB");
        ensure!(case.builds("hello").await?.len() == 2);
        Ok(())
    });
}

#[test]
fn a_changed_secret_makes_a_release() {
    case::run("secret", |case| async move {
        let secret = |value: &str| {
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: account}}\nstringData: {{password: {value}}}\n"
            )
        };
        let env = "  env:
    - name: GREETING
      valueFrom: {secretKeyRef: {name: account, key: password}}
  envFrom:
    - secretRef: {name: account}
      prefix: ALL_
";
        let app = image_app(&case, "hello", env).await?;
        case.apply(&secret("first-canary")).await?;
        case.apply(&app).await?;
        case.released("hello", "hello-v1").await?;
        ensure!(case.answer("hello").await?.contains("first-canary"));
        case.apply(&secret("second-canary")).await?;
        case.released("hello", "hello-v2").await?;
        ensure!(case.answer("hello").await?.contains("second-canary"));
        let body = case.answer_at("hello", "/env/ALL_password").await?;
        ensure!(body.contains("second-canary"), "{body}");
        let kinds = "apps,revisions,builds,releases,deployments,replicasets,pods,configmaps,events";
        let told = case.kubectl(&["get", kinds, "--output=yaml"]).await?;
        ensure!(!told.contains("canary"), "a secret value outside Secrets");
        Ok(())
    });
}

#[test]
fn a_missing_secret_is_named_and_waited_for() {
    case::run("missing", |case| async move {
        let env =
            "  env: [{name: GREETING, valueFrom: {secretKeyRef: {name: later, key: word}}}]\n";
        let app = image_app(&case, "hello", env).await?;
        case.apply(&app).await?;
        let named = |app: &App| {
            let says = says(app, "Ready");
            says.contains("ReferenceMissing") && says.contains("later")
        };
        case.app_until("hello", SOON, "naming the Secret", named)
            .await?;
        let secret =
            "apiVersion: v1\nkind: Secret\nmetadata: {name: later}\nstringData: {word: there}\n";
        case.apply(secret).await?;
        case.ready("hello").await?;
        ensure!(case.answer("hello").await?.contains("there"));
        Result::Ok(())
    });
}
