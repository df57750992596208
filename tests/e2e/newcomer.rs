//! A language that nobody knew here before: a folder and a line, as `docs/buildpacks.md` tells a newcomer.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use kube::{Api, api::DeleteParams};
use slipway_crds::v1alpha1::Stack;
use slipway_tests::{
    case::{self, Case},
    dev::stack,
    fixtures,
    git::{Repository, Server},
    root,
};

use slipway_tests::app::git_app;

#[test]
fn a_new_buildpack_is_a_folder_and_a_line() {
    case::run("newcomer", |case| async move {
        let folder = tempfile::tempdir()?;
        fixtures::copy_to(&root().join("controller/buildpacks"), folder.path())?;
        let pack = root().join("tests/fixtures/packs/static");
        as_documented(&pack)?;
        fixtures::copy_to(&pack, &folder.path().join("static"))?;
        let list = folder.path().join("stack.yaml");
        fs::write(&list, fs::read_to_string(&list)? + "  - static\n")?;
        let repository = Server::shared()?.repository(&case.namespace)?;
        // Its name is the case's: other Apps go on with the Stack that they have.
        stack::publish(&list, &case.namespace)?;
        let outcome = answers(&case, &repository).await;
        let stacks: Api<Stack> = Api::all(case.cluster.client.clone());
        let now = DeleteParams::default();
        stacks.delete(&case.namespace, &now).await?;
        outcome
    });
}

/// It is the very pack that the docs show.
fn as_documented(pack: &Path) -> Result<()> {
    let docs = fs::read_to_string(root().join("docs/buildpacks.md"))?;
    for program in ["detect", "compile", "release"] {
        let text = fs::read_to_string(pack.join("bin").join(program))?;
        let shown = format!("    {}\n", text.trim_end().replace('\n', "\n    "));
        ensure!(docs.contains(&shown), "docs/buildpacks.md: no {shown}");
    }
    Ok(())
}

async fn answers(case: &Case, repository: &Repository) -> Result<()> {
    repository.write("index.html", "<h1>Hello from a page</h1>\n")?;
    repository.commit("a page")?;
    let app = git_app("hello", &repository.url);
    case.apply(&format!("{app}  build: {{stack: {}}}\n", case.namespace))
        .await?;
    case.ready("hello").await?;
    let body = case.answer("hello").await?;
    ensure!(body.trim() == "<h1>Hello from a page</h1>", "{body}");
    let build = case.builds("hello").await?.remove(0);
    let packs = build.status.unwrap_or_default().packs;
    ensure!(packs.len() == 1 && packs[0].name == "static", "{packs:?}");
    Ok(())
}
