//! Section 12: ADD. What it fetches is tried in `remote`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use super::build::Case;
use super::support::tool::{run, tool};

/// Makes `archives/p.tar` in the context: `in/one` (0640, 70:71, of 2001), `in/link`, and `in` itself (0711).
fn archive(context: &Path) {
    let mut builder = tar::Builder::new(Vec::new());
    let mut append = |path: &str, kind: tar::EntryType, mode: u32, text: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(70);
        header.set_gid(71);
        header.set_mtime(1_000_000_000);
        header.set_size(text.len() as u64);
        if kind == tar::EntryType::Symlink {
            header.set_link_name("one").expect("a target");
        }
        builder.append_data(&mut header, path, text).expect("an entry");
    };
    append("in/", tar::EntryType::Directory, 0o711, b"");
    append("in/one", tar::EntryType::Regular, 0o640, b"1\n");
    append("in/link", tar::EntryType::Symlink, 0o777, b"");
    let bytes = builder.into_inner().expect("an archive");
    fs::create_dir_all(context.join("archives")).expect("a directory");
    fs::write(context.join("archives/p.tar"), bytes).expect("an archive");
}

// language 12.1, 12.7
#[test]
fn archives_are_unpacked() {
    let case = Case::new(
        r#"FROM BUSYBOX
ADD archives/p.tar /plain
ADD archives/gz.dat archives/notes /gz/
ADD archives/bz /bz
ADD archives/xz /xz
ADD archives/zst /zst
ADD archives/p.t?r /wild/card
ADD link /linked
ADD archives/false.tar archives/empty.tar archives/text.gz /copied/
ADD archives /directory
ADD <<p.tar /heredoc/
text
p.tar
COPY archives/p.tar /copy
"#,
    );
    archive(case.context());
    let at = |name: &str| case.context().join("archives").join(name);
    for (program, name) in [("gzip", "gz.dat"), ("bzip2", "bz"), ("xz", "xz"), ("zstd", "zst")] {
        let packed = tool(program).arg("-c").arg(at("p.tar")).output().expect("a compressed archive");
        fs::write(at(name), packed.stdout).expect("a compressed archive");
    }
    fs::write(at("notes"), "no archive").expect("a file");
    fs::write(at("false.tar"), "PK\u{3}\u{4} not a tar at all").expect("a file");
    fs::write(at("empty.tar"), "").expect("a file");
    let packed = tool("gzip").arg("-c").arg(at("notes")).output().expect("a compressed text");
    fs::write(at("text.gz"), packed.stdout).expect("a file");
    std::os::unix::fs::symlink("archives/p.tar", case.context().join("link")).expect("a link");

    let built = case.build(&[]);
    for to in ["/plain", "/gz", "/bz", "/xz", "/zst", "/wild/card", "/linked"] {
        assert_eq!(built.text(&format!("{to}/in/one")), "1\n", "{to}");
        let top = &built.files[to];
        assert_eq!((top.kind, top.mode, top.uid), ("dir", 0o755, 0), "{to}");
        assert!(!built.files.contains_key(&format!("{to}/p.tar")), "{to}");
    }
    assert_eq!(built.text("/gz/notes"), "no archive");
    assert!(built.text("/copied/false.tar").starts_with("PK"));
    assert_eq!(built.files["/copied/empty.tar"].kind, "file");
    assert_eq!(built.files["/copied/text.gz"].data[..2], [0x1f, 0x8b]);
    for file in ["/directory/p.tar", "/directory/gz.dat", "/copy"] {
        assert_eq!(built.files[file].kind, "file", "{file}");
    }
    assert_eq!(built.text("/heredoc/p.tar"), "text\n");
}

// language 12.7
#[test]
fn a_heredoc_that_is_an_archive_stays_a_file() {
    // A tar of text only: its header is printable but for the zero bytes, which a heredoc holds as they are.
    let case = Case::new("");
    archive(case.context());
    let bytes = fs::read(case.context().join("archives/p.tar")).expect("the archive");
    let text = String::from_utf8(bytes).expect("an archive of text");
    case.dockerfile(&format!("FROM BUSYBOX\nADD <<'EOF' /x\n{text}\nEOF\n"));
    assert_eq!(case.build(&[]).files["/x"].kind, "file");
}

// language 12.2
#[test]
fn what_unpacked_entries_are_like() {
    let case = Case::new(
        r#"FROM BUSYBOX
RUN mkdir -p /d/in && echo old > /d/in/one && echo keep > /d/in/keep && chmod 700 /d /d/in && mkdir /real && ln -s /real /lnk
ADD archives/p.tar /d
ADD archives/p.tar /lnk
ADD --chown=5:6 archives/p.tar /owned
ADD --chmod=0777 archives/p.tar /moded
"#,
    );
    archive(case.context());
    let built = case.build(&[]);
    let facts = |path: &str| {
        let node = &built.files[path];
        (node.mode, node.uid, node.gid)
    };
    assert_eq!(["/d/in", "/d/in/one"].map(facts), [(0o711, 70, 71), (0o640, 70, 71)]);
    assert_eq!(facts("/d"), (0o700, 0, 0));
    assert_eq!(["/d/in", "/d/in/one"].map(|path| built.files[path].mtime), [1_000_000_000; 2]);
    assert_eq!([built.text("/d/in/one"), built.text("/d/in/keep")], ["1\n", "keep\n"]);
    assert_eq!([&*built.files["/d/in/link"].target, &*built.files["/lnk"].target], ["one", "/real"]);
    assert_eq!(built.text("/real/in/one"), "1\n");
    assert_eq!(["/owned", "/owned/in", "/owned/in/one"].map(facts), [(0o755, 5, 6), (0o711, 5, 6), (0o640, 5, 6)]);
    assert_eq!(["/moded/in", "/moded/in/one"].map(facts), [(0o711, 70, 71), (0o640, 70, 71)]);
    case.dockerfile("FROM BUSYBOX\nRUN echo > /x\nADD archives/p.tar /x\n");
    case.fails(&["mkdir /x: not a directory", "Dockerfile:3"]);
}

/// Serves `body` to everyone who asks, as long as the test runs.
fn serve(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    format!("http://{address}")
}

// language 12.3, 12.5
#[test]
fn downloads_and_their_checksums() {
    let case = Case::new("");
    archive(case.context());
    let body = fs::read(case.context().join("archives/p.tar")).expect("the archive");
    let url = serve(body);
    let sum = run(tool("sha256sum").arg(case.context().join("archives/p.tar")));
    let sum = sum.split(' ').next().expect("a sum");
    case.dockerfile(&format!(
        "FROM BUSYBOX\nADD {url}/p.tar /down\nADD --unpack=true {url}/p.tar /unpacked\n\
         ADD --unpack=false archives/p.tar /local\nADD --checksum=sha256:{sum} {url}/p.tar /sum\n"
    ));
    let built = case.build(&[]);
    assert_eq!(["/down", "/local", "/sum"].map(|path| built.files[path].kind), ["file"; 3]);
    assert_eq!(built.text("/unpacked/in/one"), "1\n");
    let wrong = "0".repeat(64);
    for (words, message) in [
        (format!("--checksum=sha256:{wrong} {url}/p.tar /"), format!("digest mismatch sha256:{sum}: sha256:{wrong}")),
        (format!("--checksum=sha256:{wrong} archives/p.tar /"), "checksum requires HTTP(S) or Git sources".to_owned()),
        (
            format!("--checksum=sha256:{wrong} {url}/a {url}/b /x/"),
            "checksum can't be specified for multiple sources".to_owned(),
        ),
    ] {
        case.dockerfile(&format!("FROM BUSYBOX\nADD {words}\n"));
        case.fails(&[&message, "Dockerfile:2"]);
    }
}
