//! A small HTTP server on the loopback interface for the files of a case.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

/// Serves a directory until it is dropped.
pub(crate) struct FileServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
}

impl FileServer {
    /// Starts on a free port.
    pub(crate) fn start(root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the address of a listener");
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // A client that goes away in the middle is its own business.
                let _ = stream.and_then(|stream| answer(stream, &root));
            }
        });
        Self { address, stopping }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it should end.
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(stream: TcpStream, root: &Path) -> std::io::Result<()> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let mut words = request.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (head, body) = response(root, target);
    let mut stream = reader.into_inner();
    stream.write_all(head.as_bytes())?;
    if method != "HEAD" {
        stream.write_all(&body)?;
    }
    stream.flush()
}

/// The head and the body for a request target. A directory is answered with its `index.html`.
fn response(root: &Path, target: &str) -> (String, Vec<u8>) {
    let path = target.split('?').next().unwrap_or_default().trim_start_matches('/');
    let mut file = root.join(path);
    if file.is_dir() {
        file.push("index.html");
    }
    let contents = std::fs::read(&file).ok().filter(|_| !path.split('/').any(|part| part == ".."));
    let Some(body) = contents else {
        return ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(), Vec::new());
    };
    let modified = std::fs::metadata(&file).and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
    let seconds = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nLast-Modified: {}\r\n\
         Connection: close\r\n\r\n",
        body.len(),
        http_date(seconds)
    );
    (head, body)
}

/// RFC 9110 section 5.6.7, for example `Fri, 14 Jul 2017 02:40:00 GMT`.
fn http_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (mut day, rest) = (seconds / 86_400, seconds % 86_400);
    let weekday = DAYS[(day % 7) as usize];
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{weekday}, {:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", day + 1, MONTHS[month])
}
