//! Configuration: a change rolls, and builds nothing.

use anyhow::{Result, ensure};
use slipway_tests::case;

use crate::sources::{git_app, image_app};

#[test]
fn a_changed_variable_makes_a_release_and_no_build() {
    case::run("config", |case| async move {
        let repository = slipway_tests::fixtures::repository(&case.namespace, "worker")?;
        repository.write("Procfile", "web: python web.py\n")?;
        repository.write("app.json", "{}")?;
        repository.write("web.py", WEB)?;
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
        ensure!(case.builds("hello").await?.len() == 1, "a second build");
        Ok(())
    });
}

const WEB: &str = "
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ.get('WHO', 'nobody').encode())

http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Handler).serve_forever()
";

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
        let named = |app: &slipway_crds::v1alpha1::App| {
            let says = slipway_tests::app::says(app, "Ready");
            says.contains("ReferenceMissing") && says.contains("later")
        };
        case.app_until(
            "hello",
            slipway_tests::app::SOON,
            "naming the Secret",
            named,
        )
        .await?;
        let secret =
            "apiVersion: v1\nkind: Secret\nmetadata: {name: later}\nstringData: {word: there}\n";
        case.apply(secret).await?;
        case.ready("hello").await?;
        ensure!(case.answer("hello").await?.contains("there"));
        Result::Ok(())
    });
}
