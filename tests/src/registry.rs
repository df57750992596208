//! A proxy to the cluster's registry that can refuse requests, while the registry itself still serves everybody else.
//! It is plain HTTP on localhost, which nodes accept without configuration.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result};

use crate::cluster::Cluster;

/// The proxy; it runs until the tests end.
pub struct Way {
    /// Host and port.
    pub address: String,
    gate: Arc<Gate>,
}

struct Gate {
    is_open: AtomicBool,
    away: String,
    locked: String,
    registry: String,
    account: String,
    ca: String,
}

impl Way {
    /// A shut proxy: it gives no answer about repositories that begin with `away`, and refuses every account for those
    /// that begin with `locked`. It lets other requests through.
    pub fn shut(cluster: &Cluster, away: &str, locked: &str) -> Result<Self> {
        let registry = &cluster.facts.registry;
        let password = fs::read_to_string(&registry.password_file)?;
        let gate = Arc::new(Gate {
            is_open: AtomicBool::new(false),
            away: format!("/v2/{away}/"),
            locked: format!("/v2/{locked}/"),
            registry: format!("https://{}", registry.push),
            account: format!("{}:{}", registry.username, password.trim()),
            ca: registry.ca_file.clone(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("listening on localhost")?;
        let address = format!("localhost:{}", listener.local_addr()?.port());
        let guard = Arc::clone(&gate);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let guard = Arc::clone(&guard);
                // A client may close its connection at any time.
                thread::spawn(move || guard.answer(stream));
            }
        });
        Ok(Self { address, gate })
    }

    /// Lets all requests through.
    pub fn open(&self) {
        self.gate.is_open.store(true, Ordering::SeqCst);
    }
}

impl Gate {
    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let head = head(&mut stream)?;
        let Some(head) = head else {
            // A client that tries TLS first needs an answer to see that this is plain HTTP.
            return stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        };
        let mut words = head.split_whitespace();
        let (method, path) = (words.next(), words.next().unwrap_or_default());
        let is_shut = !self.is_open.load(Ordering::SeqCst);
        if is_shut && path.starts_with(&self.away) {
            return Ok(());
        }
        if is_shut && path.starts_with(&self.locked) {
            return stream.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"registry\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--http1.1", "--include", "--raw", "--cacert"])
            .args([&self.ca, "--user", &self.account]);
        if method == Some("HEAD") {
            curl.arg("--head");
        }
        for accept in head.lines().filter(|line| line.starts_with("Accept:")) {
            curl.args(["--header", accept]);
        }
        let output = curl.arg(format!("{}{path}", self.registry)).output()?;
        let (status, rest) = output.stdout.split_at(
            output
                .stdout
                .iter()
                .take_while(|byte| **byte != b'\n')
                .count(),
        );
        stream.write_all(status)?;
        stream.write_all(b"\nConnection: close\r")?;
        stream.write_all(rest)
    }
}

/// The head of a request; `None` if it is not HTTP.
fn head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut part = [0; 4096];
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut part)?;
        head.extend(part.iter().take(read));
        if read == 0 || !head.first().is_some_and(u8::is_ascii_alphabetic) {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}
