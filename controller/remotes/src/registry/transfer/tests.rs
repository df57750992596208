//! Streams of files, and uploads to a slow server.

use crate::registry::transfer::push::pieces;
use crate::registry::{Descriptor, Registry, manifest::digest, wire::READ};
use futures::{StreamExt as _, TryStreamExt as _};
use slipway_base::zone::input::RegistryAccess;
use std::{fs::File, io::Write as _, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time,
};

fn file(content: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    Arc::new(file)
}

#[tokio::test]
async fn two_streams_of_a_file_do_not_disturb_each_other() {
    let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let file = file(&content);
    let mut dropped = Box::pin(pieces(Arc::clone(&file)));
    dropped.next().await.unwrap().unwrap();
    let mut whole = Box::pin(pieces(file));
    let mut read = whole.next().await.unwrap().unwrap().to_vec();
    dropped.next().await.unwrap().unwrap();
    for piece in whole.try_collect::<Vec<_>>().await.unwrap() {
        read.extend_from_slice(&piece);
    }
    assert!(read == content);
}

/// A registry that takes longer to accept a blob than an answer may take. Returns how many bytes arrived.
async fn slow(listener: TcpListener) -> usize {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let head = loop {
            let count = stream.read_buf(&mut request).await.unwrap();
            assert!(count > 0, "the client has given up");
            if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
                break String::from_utf8(request.drain(..end + 4).collect()).unwrap();
            }
        };
        let answer = match head.split(' ').next().unwrap() {
            "HEAD" => "404 Not Found",
            "POST" => "202 Accepted\r\nLocation: /v2/a/blobs/uploads/1",
            "PUT" => {
                time::pause();
                time::advance(READ + Duration::from_secs(5)).await;
                time::resume();
                let length = head
                    .to_ascii_lowercase()
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                    .unwrap();
                while request.len() < length {
                    let count = stream.read_buf(&mut request).await.unwrap();
                    assert!(count > 0, "the client has given up");
                }
                "201 Created\r\nLocation: /v2/a/blobs/1"
            }
            _ => "200 OK",
        };
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        if answer.contains("201") {
            return request.len();
        }
    }
}

#[tokio::test]
async fn an_upload_may_take_longer_than_an_answer() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut registry = Registry::new(&RegistryAccess {
        address: listener.local_addr().unwrap().to_string(),
        username: None,
        password: None,
        ca_pem: None,
        insecure: true,
    })
    .unwrap();
    registry.attempts = 1;
    let content = vec![7; 4 << 20];
    let blob = Descriptor {
        digest: digest(&content),
        size: content.len() as u64,
        ..Descriptor::default()
    };
    let file = file(&content);
    let upload = registry.push_file("a", &blob, &file);
    let (came, sent) = tokio::join!(slow(listener), upload);
    assert_eq!((came, sent.unwrap()), (content.len(), blob.size));
}
