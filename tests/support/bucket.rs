//! A store of buckets that speaks S3: moto, whose bucket lives as long as its process. What it answers is signed by an account that it
//! knows, which `bucket.py` checks with the code of AWS's own client.

use std::ffi::OsStr;
use std::net::TcpStream;
use std::process::Child;
use std::sync::OnceLock;
use std::time::Duration;

use super::http::{self, Request, Response};
use super::{python, registry};

/// Id and key of an account.
pub const KEY: (&str, &str) = ("AKIDEXAMPLE", "not-a-secret");
/// Id, key and token of one that holds for a while.
pub const SESSION: (&str, &str, &str) = ("ASIDEXAMPLE", "hardly-a-secret", "a+token/of=it");

const SERVER: &str = include_str!("bucket.py");

/// A running store with one bucket.
pub struct Buckets {
    /// `127.0.0.1:PORT`.
    pub address: String,
    child: Child,
}

impl Buckets {
    /// The one that tests of this process share, if it can be had here.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Buckets>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// Starts one, if it can be had here.
    pub fn start() -> Option<Self> {
        let program = python::bucket_programs()?.join("python");
        // Between the choice of a port and its use, somebody else may take it.
        Some((0..5).find_map(|_| Self::try_start(program.as_ref())).expect("moto to answer on a free port"))
    }

    fn try_start(program: &OsStr) -> Option<Self> {
        let address = registry::free_address();
        let port = address.rsplit_once(':').expect("a port").1.to_owned();
        let accounts = (format!("{}:{}", KEY.0, KEY.1), format!("{}:{}:{}", SESSION.0, SESSION.1, SESSION.2));
        let (code, own) = (["-c", SERVER, &port], [&accounts.0, &accounts.1]);
        let arguments: Vec<&OsStr> =
            [program].into_iter().chain(code.map(AsRef::as_ref)).chain(own.map(AsRef::as_ref)).collect();
        let child = registry::spawn_with_this_process(&arguments);
        let mut started = Self { address, child };
        for _ in 0..600 {
            if started.child.try_wait().expect("the state of moto").is_some() {
                return None;
            }
            if TcpStream::connect(&started.address).is_ok() {
                assert_eq!(started.ask("PUT", "/kiln", &[]).status, 200);
                return Some(started);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// Where its bucket is, as attributes of `type=s3`.
    pub fn attributes(&self) -> String {
        format!("bucket=kiln,region=us-east-1,endpoint_url=http://{},use_path_style=true", self.address)
    }

    /// The names of all objects.
    pub fn names(&self) -> Vec<String> {
        let listed = String::from_utf8(self.ask("GET", "/kiln?list-type=2", &[]).body).expect("UTF-8");
        let names = listed.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        names.map(str::to_owned).collect()
    }

    /// Reads an object.
    pub fn get(&self, name: &str) -> Vec<u8> {
        self.ask("GET", &format!("/kiln/{name}"), &[]).body
    }

    /// Writes an object over what is there.
    pub fn put(&self, name: &str, body: &[u8]) {
        assert_eq!(self.ask("PUT", &format!("/kiln/{name}"), body).status, 200, "{name}");
    }

    /// Removes an object, as a rule of the bucket does.
    pub fn remove(&self, name: &str) {
        assert_eq!(self.ask("DELETE", &format!("/kiln/{name}"), &[]).status, 204, "{name}");
    }

    fn ask(&self, method: &str, target: &str, body: &[u8]) -> Response {
        let headers = [("host", self.address.as_str()), ("authorization", "AWS test")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let (method, target, body) = (method.to_owned(), target.to_owned(), body.to_vec());
        http::forwarded(&self.address, &Request { method, target, headers, body })
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
