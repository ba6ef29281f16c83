//! A small HTTP server on the loopback interface, for files, repositories and hostile answers.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a client asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// What it gets.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status; 0 is 200.
    pub status: u16,
    /// Headers besides the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the body is repeated until the client has enough.
    pub endless: bool,
}

impl Response {
    /// A file.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Answer = dyn Fn(&Request) -> Response + Send + Sync;

/// Answers requests until it is dropped, and remembers them.
pub struct HttpServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<(Request, u16)>>>,
}

impl HttpServer {
    /// Starts on a free port.
    pub fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the address of a listener");
        let (stopping, requests) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stop, seen) = (Arc::clone(&stopping), Arc::clone(&requests));
        let answer: Arc<Answer> = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (answer, seen, stop) = (Arc::clone(&answer), Arc::clone(&seen), Arc::clone(&stop));
                // A client that goes away in the middle is its own business.
                std::thread::spawn(move || stream.and_then(|stream| serve(stream, &*answer, &seen, &stop)));
            }
        });
        Self { address, stopping, requests }
    }

    /// `http://host:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `host:port`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The requests since the last call, with the statuses of their answers.
    pub fn requests(&self) -> Vec<(Request, u16)> {
        std::mem::take(&mut self.requests.lock().expect("no panic while held"))
    }

    /// The statuses of the answers since the last call.
    pub fn statuses(&self) -> Vec<u16> {
        self.requests().iter().map(|(_, status)| *status).collect()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it should end.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: TcpStream,
    answer: &Answer,
    seen: &Mutex<Vec<(Request, u16)>>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let request = read(&mut reader)?;
    let response = answer(&request);
    let status = if response.status == 0 { 200 } else { response.status };
    seen.lock().expect("no panic while held").push((request.clone(), status));
    let mut head = format!("HTTP/1.1 {status} Answer\r\nConnection: close\r\n");
    let has_length = response.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !response.endless && !has_length {
        head += &format!("Content-Length: {}\r\n", response.body.len());
    }
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let mut stream = reader.into_inner();
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    while response.endless && !stop.load(Ordering::Relaxed) {
        stream.write_all(&response.body)?;
    }
    if request.method != "HEAD" {
        stream.write_all(&response.body)?;
    }
    stream.flush()
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Request> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request { method, target, ..Request::default() };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if request.header("transfer-encoding").is_some() {
        request.body = read_chunks(reader)?;
    } else if let Some(length) = request.header("content-length").and_then(|length| length.parse().ok()) {
        reader.by_ref().take(length).read_to_end(&mut request.body)?;
    }
    Ok(request)
}

fn read_chunks(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let (mut body, mut line) = (Vec::new(), String::new());
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        reader.by_ref().take(size).read_to_end(&mut body)?;
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// Answers what another server says, at `HOST:PORT`; where it is gone, 502.
pub fn forwarded(to: &str, request: &Request) -> Response {
    forward(to, request).unwrap_or_else(|_| Response::status(502))
}

fn forward(to: &str, request: &Request) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(to)?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    let own = ["connection", "content-length", "transfer-encoding"];
    for (name, value) in request.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())) {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\nconnection: close\r\n\r\n", request.body.len());
    stream.write_all(&[head.as_bytes(), &request.body].concat())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(502);
    let mut response = Response::status(status);
    let mut is_chunked = false;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "connection" => {}
            "transfer-encoding" => is_chunked = true,
            _ => response = response.with(name, value),
        }
    }
    if is_chunked {
        response.body = read_chunks(&mut reader)?;
    } else if request.method != "HEAD" {
        reader.read_to_end(&mut response.body)?;
    }
    Ok(response)
}

/// Answers for the bare repositories below `root`, with git's own server program (git-http-backend(1)).
pub fn repositories(root: &Path, request: &Request) -> Response {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("PATH_INFO", path);
    command.env("QUERY_STRING", query).env("REQUEST_METHOD", &request.method).env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    command.env("CONTENT_LENGTH", request.body.len().to_string());
    for (name, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("git-protocol", "GIT_PROTOCOL"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
    ] {
        command.env(variable, request.header(name).unwrap_or_default());
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("git is installed");
    let mut stdin = child.stdin.take().expect("a pipe");
    let _ = stdin.write_all(&request.body);
    drop(stdin);
    let output = child.wait_with_output().expect("git ends").stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0);
    let mut response = Response::of(output.get(end + 4..).unwrap_or_default());
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        match line.split_once(": ") {
            Some(("Status", status)) => response.status = status[..3].parse().unwrap_or(500),
            Some((name, value)) => response = response.with(name, value),
            None => {}
        }
    }
    response
}
