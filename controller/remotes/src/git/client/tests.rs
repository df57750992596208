//! The client against servers of the tests. `source/git/tests.rs` tests it against real ones.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    git::{
        Credentials,
        client::{Client, ClientError},
        packet::packet,
    },
    web::Web,
};
use slipway_base::outside::{Outside, policy::Policy};
use slipway_support::git_server::{Request, says, web};

const ME: Credentials<'static> = Credentials {
    username: "me",
    password: "hunter2",
};

fn client(allow: &[&str], env: &[(&str, &str)]) -> Client {
    let policy = Policy {
        allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
        ..Policy::default()
    };
    let env: BTreeMap<_, _> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let web = Web::new(Outside::new(policy), None, &env).unwrap();
    let protocols = ["https", "http", "git"].map(str::to_owned).to_vec();
    Client::new(web, protocols, Duration::from_secs(20))
}

fn here() -> Client {
    client(&["127.0.0.1", "localhost"], &[])
}

async fn ask(
    client: &Client,
    url: &str,
    credentials: Option<Credentials<'_>>,
) -> Result<Vec<String>, ClientError> {
    let mut refs = Vec::new();
    let mut see = |commit: &str, name: &str| refs.push(format!("{} {name}", &commit[..1]));
    client.refs(url, credentials, &[], &mut see).await?;
    Ok(refs)
}

/// A version 0 server's answer with these lines.
fn advertisement(lines: &[String]) -> String {
    let body: String = lines.iter().map(|line| packet(line)).collect();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nConnection: close\r\n\r\n{}0000{body}0000",
        packet("# service=git-upload-pack\n")
    )
}

fn one_ref() -> String {
    advertisement(&[format!("{} refs/heads/main\0caps\n", "a".repeat(40))])
}

fn at(address: SocketAddr) -> String {
    format!("http://{address}/x.git")
}

fn redirects(to: impl Fn(&Request) -> String + Send + Sync + 'static) -> SocketAddr {
    web(move |request, stream| {
        let to = to(request);
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        drop(stream.write_all(answer.as_bytes()));
    })
}

#[tokio::test]
async fn what_servers_answer_has_a_meaning() {
    const TYPE: &str =
        "Content-Type: application/x-git-upload-pack-advertisement\r\nConnection: close\r\n\r\n";
    let refused: [(&str, &str); 12] = [
        ("HTTP/1.1 401 No\r\nConnection: close\r\n\r\n", "Denied"),
        ("HTTP/1.1 403 No\r\nConnection: close\r\n\r\n", "Denied"),
        (
            "HTTP/1.1 404 No\r\nConnection: close\r\n\r\n",
            "NoRepository",
        ),
        (
            "HTTP/1.1 429 No\r\nConnection: close\r\n\r\n",
            "Away(\"the server answered 429",
        ),
        (
            "HTTP/1.1 502 No\r\nConnection: close\r\n\r\n",
            "Away(\"the server answered 502",
        ),
        (
            "HTTP/1.1 418 No\r\nConnection: close\r\n\r\n",
            "Other(\"the server answered 418",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>",
            "Other(\"what answers there is no git",
        ),
        (
            "HTTP/1.1 200 OK\r\nTYPE001fERR repository not exported",
            "NoRepository",
        ),
        (
            "HTTP/1.1 200 OK\r\nTYPE0015ERR out of paper\u{1b}",
            "Other(\"the server said: out of paper\")",
        ),
        ("HTTP/1.1 200 OK\r\nTYPE0032", "Away(\"the server broke off"),
        (
            "HTTP/1.1 200 OK\r\nTYPE0009hello0000",
            "Other(\"what it sends is not git's",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTYPE0000",
            "Other(\"the server compresses",
        ),
    ];
    for (answer, expected) in refused {
        let answer: &'static str = answer.replace("TYPE", TYPE).leak();
        let error = ask(&here(), &at(says(answer)), None).await.unwrap_err();
        let said = format!("{error:?}");
        assert!(said.starts_with(expected), "{answer:?}: {said}");
    }
    // The two answers of old servers for an empty repository.
    for lines in [
        vec![],
        vec![format!("{} capabilities^{{}}\0caps", "0".repeat(40))],
    ] {
        let answer: &'static str = advertisement(&lines).leak();
        assert!(
            ask(&here(), &at(says(answer)), None)
                .await
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn an_endless_list_is_given_up_and_not_kept() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let address = web(move |_, stream| {
        let head = advertisement(&[]);
        drop(stream.write_all(head.trim_end_matches("0000").as_bytes()));
        for n in 0.. {
            let line = packet(&format!("{} refs/heads/{n}\n", "a".repeat(40)));
            if stream.write_all(line.as_bytes()).is_err() {
                return;
            }
            count.fetch_add(line.len(), Ordering::Relaxed);
        }
    });
    let mut client = here();
    client.answer = 100_000;
    let mut seen = 0;
    let mut see = |_: &str, _: &str| seen += 1;
    let error = client.refs(&at(address), None, &[], &mut see).await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    assert!(seen < 2_000, "{seen}");
    // Only as much was sent as fits into the sockets' buffers.
    assert!(sent.load(Ordering::Relaxed) < 32 << 20);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = here();
    client.timeout = Duration::from_millis(300);
    let began = Instant::now();
    for url in [at(address), format!("git://{address}/x.git")] {
        let error = ask(&client, &url, None).await.unwrap_err();
        assert!(error.to_string().contains("no whole answer"), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_they_may_lead() {
    let answer: &'static str = one_ref().leak();
    let server = says(answer);
    let moved = redirects(move |request| format!("http://{server}{}", request.target));
    assert_eq!(
        ask(&here(), &at(moved), None).await.unwrap(),
        ["a refs/heads/main"]
    );
    for (to, expected) in [
        (
            "http://169.254.169.254/info/refs?service=git-upload-pack".to_owned(),
            "Refused",
        ),
        (
            "http://127.0.0.2/info/refs?service=git-upload-pack".to_owned(),
            "Refused",
        ),
        (
            "file:///etc/passwd".to_owned(),
            "Other(\"file:// is not allowed",
        ),
        (
            format!("http://{server}/login"),
            "Other(\"it redirects to where no git",
        ),
    ] {
        let address = redirects(move |_| to.clone());
        let error = ask(&here(), &at(address), None).await.unwrap_err();
        let said = format!("{error:?}");
        assert!(said.starts_with(expected), "{said}");
    }
    let round = redirects(|request| request.target.clone());
    let error = ask(&here(), &at(round), None).await.unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
}

/// A server that demands credentials and records those that it gets.
fn strict(answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let given = Arc::new(Mutex::new(Vec::new()));
    let remember = Arc::clone(&given);
    let address = web(move |request, stream| {
        let answer = match request.header("authorization") {
            Some(authorization) => {
                remember.lock().unwrap().push(authorization.to_owned());
                answer
            }
            None => "HTTP/1.1 401 No\r\nConnection: close\r\n\r\n",
        };
        drop(stream.write_all(answer.as_bytes()));
    });
    (address, given)
}

#[tokio::test]
async fn credentials_go_to_the_server_that_the_address_names() {
    let (server, given) = strict(one_ref().leak());
    assert!(ask(&here(), &at(server), Some(ME)).await.is_ok());
    // "me:hunter2"
    assert_eq!(*given.lock().unwrap(), ["Basic bWU6aHVudGVyMg=="]);
    given.lock().unwrap().clear();
    let moved = redirects(move |request| format!("http://{server}{}", request.target));
    let error = ask(&here(), &at(moved), Some(ME)).await.unwrap_err();
    assert!(matches!(error, ClientError::Denied), "{error}");
    // The same machine under another name counts as another server.
    let moved =
        redirects(move |request| format!("http://localhost:{}{}", server.port(), request.target));
    assert!(ask(&here(), &at(moved), Some(ME)).await.is_err());
    assert!(given.lock().unwrap().is_empty());
}

#[tokio::test]
async fn credentials_are_not_sent_for_everybody_to_read() {
    // The proxy could answer in the name of any server, and no administrator has named this one.
    let (proxy, given) = strict(one_ref().leak());
    let proxy = format!("http://{proxy}");
    let client = client(&[], &[("http_proxy", &proxy)]);
    let url = "http://198.51.100.7/x.git";
    let error = ask(&client, url, Some(ME)).await.unwrap_err();
    assert!(matches!(error, ClientError::Readable), "{error}");
    assert!(given.lock().unwrap().is_empty());
    let error = ask(&client, url, None).await.unwrap_err();
    assert!(matches!(error, ClientError::Denied), "{error}");
}
