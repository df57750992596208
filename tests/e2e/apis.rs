//! What the API server lets in, by the rules of our schemas: `tests/fixtures/cel`, written by the tests of the API types.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use slipway_tests::{
    case::{self, Case},
    root,
};

#[test]
fn the_api_server_takes_what_is_good() {
    case::run("cel-good", |case| async move {
        let files = files("good")?;
        for file in &files {
            let text = here(&case, &fs::read_to_string(file)?);
            let taken = case.apply_dry(&text).await;
            taken.with_context(|| file.display().to_string())?;
        }
        case.say(&format!("{} objects taken", files.len()));
        ensure!(!files.is_empty());
        Result::Ok(())
    });
}

/// Every document of a file but the last is taken; the last is refused with the message in the file's first line.
#[test]
fn the_api_server_refuses_what_is_bad_and_says_why() {
    case::run("cel-bad", |case| async move {
        let files = files("bad")?;
        for file in &files {
            let refused = refused(&case, &here(&case, &fs::read_to_string(file)?)).await;
            refused.with_context(|| file.display().to_string())?;
        }
        case.say(&format!("{} objects refused", files.len()));
        ensure!(!files.is_empty());
        Result::Ok(())
    });
}

/// The objects of a file, in the case's own namespace.
fn here(case: &Case, text: &str) -> String {
    let namespace = format!("namespace: {}", case.namespace);
    text.replace("namespace: default", &namespace)
}

async fn refused(case: &Case, text: &str) -> Result<()> {
    let (first, rest) = text.split_once('\n').context("a message")?;
    let message = first.trim_start_matches('#').trim();
    let documents: Vec<&str> = rest.split("\n---\n").collect();
    let (bad, good) = documents.split_last().context("a document")?;
    for document in good {
        case.apply(document).await?;
    }
    let said = match case.apply_dry(bad).await {
        Ok(said) => anyhow::bail!("it was taken: {said}"),
        Err(error) => format!("{error:#}"),
    };
    for document in good {
        case.delete(document).await?;
    }
    ensure!(said.contains(message), "not {message:?} but: {said}");
    Ok(())
}

fn files(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = root().join("tests/fixtures/cel").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    Ok(files)
}
