//! Git servers for tests, on sockets of this machine: the real `git http-backend` and `git daemon`, and servers whose
//! answers a test writes.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(n, _)| n == name);
        header.map(|(_, value)| value.as_str())
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut from = BufReader::new(stream);
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        let mut words = line.split(' ');
        let mut request = Self {
            method: words.next()?.to_owned(),
            target: words.next()?.to_owned(),
            ..Self::default()
        };
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(':') else {
                break;
            };
            let header = (name.to_ascii_lowercase(), value.trim().to_owned());
            request.headers.push(header);
        }
        let length = request.header("content-length").unwrap_or("0");
        request.body = vec![0; length.parse().ok()?];
        from.read_exact(&mut request.body).ok()?;
        Some(request)
    }
}

/// A web server that calls a function for each request; the function writes the whole answer.
pub fn web(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    listen(move |mut stream| {
        if let Some(request) = Request::read(&stream) {
            answer(&request, &mut stream);
        }
    })
}

/// A web server that gives the same answer, head and body, to every request.
pub fn says(answer: &'static str) -> SocketAddr {
    web(move |_, stream| drop(stream.write_all(answer.as_bytes())))
}

fn listen(each: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let each = Arc::new(each);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = Arc::clone(&each);
            thread::spawn(move || each(stream));
        }
    });
    address
}

/// `git http-backend` over a folder.
#[derive(Clone, Debug, Default)]
pub struct Backend {
    /// Where repositories are.
    pub root: PathBuf,
    /// Whether it knows version 2.
    pub version2: bool,
    /// The `Authorization` header that it requires.
    pub authorization: Option<&'static str>,
    /// Whether it requires the header only for requests for objects.
    pub late: bool,
    /// The requests that it got.
    pub asked: Arc<Mutex<Vec<Request>>>,
}

impl Backend {
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            version2: true,
            ..Self::default()
        }
    }

    pub fn start(&self) -> SocketAddr {
        let this = self.clone();
        web(move |request, stream| this.answer(request, stream))
    }

    pub fn requests(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, request: &Request, stream: &mut TcpStream) {
        self.asked.lock().unwrap().push(request.clone());
        let asks = self.authorization.is_some() && !(self.late && request.method == "GET");
        if asks && self.authorization != request.header("authorization") {
            let refused = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            drop(stream.write_all(refused.as_bytes()));
            return;
        }
        // A request to a proxy has the whole address.
        let host = request.target.strip_prefix("http://");
        let path = host.and_then(|host| Some(&host[host.find('/')?..]));
        let target = path.unwrap_or(&request.target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut command = Command::new("git");
        command
            .arg("http-backend")
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", &request.method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("CONTENT_TYPE", request.header("content-type").unwrap_or(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(protocol) = request.header("git-protocol").filter(|_| self.version2) {
            command.env("GIT_PROTOCOL", protocol);
        }
        let mut child = command.spawn().unwrap();
        drop(child.stdin.take().unwrap().write_all(&request.body));
        let output = child.wait_with_output().unwrap().stdout;
        let end = output.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let (head, body) = output.split_at(end + 4);
        let head = String::from_utf8(head.to_vec()).unwrap();
        let mut status = "200 OK".to_owned();
        let mut headers = String::new();
        for line in head.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("Status: ") {
                Some(other) => other.clone_into(&mut status),
                None => writeln!(headers, "{line}\r").unwrap(),
            }
        }
        let head = format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n");
        drop(stream.write_all(head.as_bytes()));
        drop(stream.write_all(body));
    }
}

/// `git daemon` over a folder.
pub fn daemon(root: &Path) -> SocketAddr {
    let root = root.to_owned();
    listen(move |stream| {
        let output = stream.try_clone().unwrap();
        let ended = Command::new("git")
            .args(["daemon", "--inetd", "--export-all"])
            .arg(format!("--base-path={}", root.display()))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(std::os::fd::OwnedFd::from(stream))
            .stdout(std::os::fd::OwnedFd::from(output))
            .stderr(Stdio::null())
            .status();
        drop(ended);
    })
}

/// Runs a script in a folder. Returns what it prints.
pub fn shell(folder: &Path, script: &str) -> String {
    let output = Command::new("bash")
        .arg("-euc")
        .arg(format!(
            "export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=a@b\n{script}"
        ))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
