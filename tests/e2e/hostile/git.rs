//! Git servers that answer without end or never.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use anyhow::Result;
use kube::Api;
use slipway_crds::{conditions::types, v1alpha1::App};
use slipway_tests::{
    app::{READY, SOON, says},
    case::{self, Case},
    fixtures, wait,
};

use super::{TOO_MUCH, create, server, unharmed};
use slipway_tests::app::git_app;

/// A list of branches that goes on for longer than anybody reads.
fn endless(mut stream: TcpStream) -> std::io::Result<()> {
    // The request is of no interest, but a connection that is closed before it was read is reset.
    let _ = stream.read(&mut [0; 4096])?;
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nConnection: close\r\n\r\n001e# service=git-upload-pack\n0000",
    )?;
    let mut sent = 0;
    for number in 0.. {
        let line = format!("{} refs/heads/b{number:08}\n", "e".repeat(40));
        let packet = format!("{:04x}{line}", line.len() + 4);
        stream.write_all(packet.as_bytes())?;
        sent += packet.len();
        if sent > TOO_MUCH {
            break;
        }
    }
    Ok(())
}

/// Takes a connection, and never says a word.
fn silent(mut stream: TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

/// Apps of this namespace that come from such servers.
pub(crate) async fn servers(case: &Case, namespace: &str) -> Result<()> {
    let (endless, silent) = (server(case, endless)?, server(case, silent)?);
    for number in 0..12 {
        let (kind, address) = if number % 3 == 0 {
            ("endless", &endless)
        } else {
            ("silent", &silent)
        };
        let url = format!("http://{address}/{number}.git");
        create(case, namespace, &git_app(&format!("{kind}-{number}"), &url)).await?;
    }
    Ok(())
}

#[test]
fn git_servers_without_end_or_word_cost_nobody_else_anything() {
    case::run("hostile-git", |case| async move {
        let other = case.other_namespace().await?;
        servers(&case, &other).await?;
        let api: Api<App> = Api::namespaced(case.cluster.client.clone(), &other);
        // Whoever has a server that answers waits for none of these.
        let repository = fixtures::repository(&case.namespace, "worker")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        let found = |app: &App| says(app, types::SOURCE_READY).starts_with("True");
        case.app_until("hello", SOON, "with a source", found)
            .await?;

        for (app, wanted) in [
            ("endless-0", "is longer than the 64 MB that are read"),
            ("silent-1", "no whole answer in"),
        ] {
            let told = |app: &App| says(app, types::SOURCE_READY).contains(wanted);
            wait::until(&api, app, READY, wanted, told).await?;
        }
        unharmed(&case).await
    });
}
