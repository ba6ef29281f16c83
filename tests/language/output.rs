//! Section 17: the image that comes out.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::build::{Built, Case};
use super::layout::Layout;
use super::support::image;

const EPOCH: &str = "--build-arg=SOURCE_DATE_EPOCH=1000000000";

/// Whether each entry of the history has a layer.
fn layers(built: &Built) -> Vec<bool> {
    let entries = built.config["history"].as_array().expect("a list");
    entries.iter().map(|entry| entry["empty_layer"].is_null()).collect()
}

// The order of keys, what is left out and what is escaped are those of Go's structs and its encoder.
#[test]
fn the_config_is_written_as_buildkit_writes_it() {
    let case = Case::new(
        "FROM scratch\nMAINTAINER a <b@c> & d\nENV A=1\nLABEL z=1 a=\"<\"\nEXPOSE 80 53/udp\nVOLUME /b /a\nUSER 1:2\nWORKDIR /\n\
         STOPSIGNAL 9\nSHELL [\"/s\"]\nHEALTHCHECK --interval=1m --retries=2 CMD x\nONBUILD RUN y\nCMD []\nENTRYPOINT [\"e\", \"\u{a0}\"]\n",
    );
    let entry = |text: &str| {
        format!(
            r#"{{"created":"2001-09-09T01:46:40Z","created_by":"{text}","comment":"buildkit.dockerfile.v0","empty_layer":true}}"#
        )
    };
    let history = [
        r"MAINTAINER a \u003cb@c\u003e \u0026 d",
        "ENV A=1",
        r"LABEL z=1 a=\u003c",
        "EXPOSE [53/udp 80/tcp]",
        "VOLUME [/b /a]",
        "USER 1:2",
        "WORKDIR /",
        "STOPSIGNAL 9",
        "SHELL [/s]",
        "HEALTHCHECK {Test:[CMD-SHELL x] Interval:1m0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}",
        "CMD []",
        r#"ENTRYPOINT [\"e\" \"\\u00a0\"]"#,
    ];
    let want = [
        r#"{"architecture":"arm64","author":"a \u003cb@c\u003e \u0026 d","config":{"User":"1:2","ExposedPorts":{"53/udp":{},"80/tcp":{}},"#,
        r#""Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=1"],"#,
        "\"Entrypoint\":[\"e\",\"\u{a0}\"],",
        r#""Volumes":{"/a":{},"/b":{}},"WorkingDir":"/","Labels":{"a":"\u003c","z":"1"},"StopSignal":"9","ArgsEscaped":true,"#,
        r#""Healthcheck":{"Test":["CMD-SHELL","x"],"Interval":60000000000,"Retries":2},"OnBuild":["RUN y"],"Shell":["/s"]},"#,
        r#""created":"2001-09-09T01:46:40Z","history":["#,
        &history.map(entry).join(","),
        r#"],"os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#,
    ];
    assert_eq!(case.build(&[EPOCH, "--platform=linux/arm64"]).config_text, want.concat());
    let nothing = concat!(
        r#"{"architecture":"arm","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"},"#,
        r#""created":null,"history":null,"os":"linux","rootfs":{"type":"layers","diff_ids":null},"variant":"v6"}"#,
    );
    case.dockerfile("FROM scratch\n");
    assert_eq!(case.build(&["--platform=linux/arm/v6"]).config_text, nothing);
}

#[test]
fn the_config_of_a_base_image_is_written_as_buildkit_writes_it() {
    let layout = Layout::of(json!({
        "architecture": "amd64", "variant": "v3", "os.version": "1", "os.features": ["f"], "author": "", "docker_version": "1",
        "created": "2009-01-01T00:00:00Z", "moby.buildkit.cache.v0": "x",
        "config": {"Hostname": "h", "Memory": 1, "Healthcheck": {}, "WorkingDir": "w", "Cmd": [], "Env": null},
        "history": [{"created": "2031-01-01T02:00:00.500+02:00", "created_by": "one", "comment": "", "x": 1},
                    {"created_by": "two", "empty_layer": true}],
    }));
    let case = Case::new("FROM base\nLABEL a=b\n");
    let built = case.build(&[&format!("--build-context=base=oci-layout://{}", layout.path().display()), EPOCH]);
    let diff_id = built.config["rootfs"]["diff_ids"][0].as_str().expect("a digest").to_owned();
    let want = [
        r#"{"architecture":"amd64","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/w/w","#,
        r#""Labels":{"a":"b"},"Healthcheck":{}},"created":"2001-09-09T01:46:40Z","history":["#,
        r#"{"created":"2031-01-01T02:00:00.5+02:00","created_by":"one"},{"created":"2001-09-09T01:46:40Z","created_by":"two","empty_layer":true},"#,
        r#"{"created":"2001-09-09T01:46:40Z","created_by":"LABEL a=b","comment":"buildkit.dockerfile.v0","empty_layer":true}],"#,
        r#""os":"linux","os.features":["f"],"os.version":"1","rootfs":{"type":"layers","diff_ids":["#,
        &format!("\"{diff_id}\"]}},\"variant\":\"v3\"}}"),
    ];
    assert_eq!(built.config_text, want.concat());
}

// language 17.2, 17.3
#[test]
fn what_makes_a_layer() {
    let case =
        Case::new("FROM BUSYBOX\nARG A\nENV B=1\nRUN true\nCOPY f /\nADD f /g\nWORKDIR /w\nWORKDIR /\nUSER 1\nCMD x\n")
            .file("f", "");
    let built = case.build(&[]);
    let own = &layers(&built)[2..];
    assert_eq!(own, [false, false, true, true, true, true, false, false, false]);
    let layers = built.manifest["layers"].as_array().map(Vec::len);
    assert_eq!((layers, built.config["rootfs"]["diff_ids"].as_array().map(Vec::len)), (Some(5), Some(5)));
    let marked: Vec<bool> = built.history()[2..].iter().map(|text| text.ends_with(" # buildkit")).collect();
    assert_eq!(marked, [false, false, true, true, true, false, false, false, false]);
}

// language 17.4
#[test]
fn media_types() {
    let case = Case::new("FROM scratch\nCOPY f /\n").file("f", "");
    let types = |output: &str| {
        let archive = case.kiln.out().join("typed.tar");
        let output = format!("{output},dest={}", archive.display());
        case.kiln.build(case.context(), &["-o", &output]).succeeded();
        let mut manifest = image::read(&archive).expect("an archive").manifest;
        let manifest = manifest.take().unwrap_or_default();
        let of = |value: &Value| value["mediaType"].as_str().unwrap_or("none").to_owned();
        [of(&manifest), of(&manifest["config"]), of(&manifest["layers"][0])].join(" ")
    };
    let oci = "application/vnd.oci.image.manifest.v1+json application/vnd.oci.image.config.v1+json application/vnd.oci.image.layer.v1.tar+gzip";
    let docker = "application/vnd.docker.distribution.manifest.v2+json application/vnd.docker.container.image.v1+json \
                  application/vnd.docker.image.rootfs.diff.tar.gzip";
    assert_eq!((types("type=oci"), types("type=docker")), (oci.to_owned(), oci.to_owned()));
    assert_eq!(types("type=oci,oci-mediatypes=false"), docker);
}

/// Serves one file over HTTP that was last modified a billion seconds after 1970; returns its URL.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/file", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nLast-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\nContent-Length: 4\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(format!("{head}file").as_bytes());
        }
    });
    url
}

// language 17.5
#[test]
fn the_epoch_is_the_time_of_what_is_new() {
    let then = "2001-09-09T01:46:40Z";
    let case = Case::new(
        "FROM BUSYBOX\nARG SOURCE_DATE_EPOCH\nLABEL e=${SOURCE_DATE_EPOCH-unset}\nWORKDIR /w\nRUN echo > /made\n",
    );
    let text = std::fs::read_to_string(case.context().join("Dockerfile")).expect("the Dockerfile");
    let base = case.build(&[]).config["history"].as_array().expect("a list")[..2].to_vec();
    let holds = |built: &Built| {
        assert_eq!(built.config["created"], then);
        let history = built.config["history"].as_array().expect("a list");
        assert_eq!(history[..2], base);
        assert!(history[2..].iter().all(|entry| entry["created"] == then), "{history:?}");
        assert_eq!(built.config["config"]["Labels"]["e"], "1000000000");
        assert_eq!(built.files["/w"].mtime, 1_000_000_000);
    };
    let built = case.build(&[EPOCH]);
    holds(&built);
    assert!(built.files["/made"].mtime > 1_500_000_000);
    // As a global ARG; from a server, for a stage and for a named context.
    case.dockerfile(&format!("ARG SOURCE_DATE_EPOCH=+1000000000\n{text}"));
    holds(&case.build(&[]));
    let url = serve();
    case.dockerfile(&format!("FROM scratch AS Source\nARG URL\nADD ${{URL}} /\n{text}"));
    holds(&case.build(&["--build-arg=SOURCE_DATE_EPOCH=source", &format!("--build-arg=URL={url}")]));
    // A directory has no time, and ARG sees none.
    case.dockerfile(&text);
    for (name, context) in [("context", "unused=."), ("named", "named=.")] {
        let context = format!("--build-context={}", context.replace('.', &case.context().display().to_string()));
        let built = case.build(&[&format!("--build-arg=SOURCE_DATE_EPOCH={name}"), &context]);
        assert_ne!(built.config["created"], then);
        assert_eq!(built.config["config"]["Labels"]["e"], "unset");
    }
    // New layers only, and only what is later.
    let archive = case.kiln.out().join("rewritten.tar");
    let output = format!("type=oci,rewrite-timestamp=true,dest={}", archive.display());
    case.kiln.build(case.context(), &[EPOCH, "-o", &output]).succeeded();
    let rewritten = image::read(&archive).expect("an archive");
    let files = image::flatten(&rewritten.layers).expect("layers");
    assert_eq!(files["/made"].mtime, 1_000_000_000);
    let of_base = |files: &image::Files| files["/bin/busybox"].mtime;
    assert_eq!(of_base(&files), of_base(&built.files));
}

// language 17.5
#[test]
fn an_epoch_that_names_no_time_is_an_error() {
    let case = Case::new("");
    let fails = |stage: &str, words: &str| {
        case.dockerfile(&format!("FROM {stage}\nFROM scratch\nLABEL a=b\n"));
        let output = case.kiln.build(case.context(), &["--build-arg=SOURCE_DATE_EPOCH=src", "-o", "type=cacheonly"]);
        output.failed_saying(&[words]);
    };
    fails("scratch", "invalid SOURCE_DATE_EPOCH: src");
    fails("BUSYBOX AS src", "SOURCE_DATE_EPOCH stage must use FROM scratch");
    fails("scratch AS src", "must contain exactly one remote ADD");
    fails("scratch AS src\nADD http://a/b /\nADD http://a/b /", "must contain exactly one remote ADD");
    fails("scratch AS src\nADD http://a/b http://a/c /", "exactly one remote ADD source");
    fails("scratch AS src\nADD f /", "source must be a single HTTP(S) or Git ADD");
    fails("scratch AS src\nCOPY f /", "does not meet source-only requirements: unsupported COPY instruction");
}

// language 17.7
#[test]
fn what_is_removed_is_a_whiteout() {
    let case = Case::new(
        "FROM BUSYBOX\nRUN mkdir -p /d/sub && touch /gone /d/old /d/sub/x\nRUN rm -r /gone /d && mkdir /d && touch /d/new\n",
    );
    let archive = case.kiln.out().join("whiteouts.tar");
    case.kiln.build(case.context(), &["-o", &format!("type=oci,dest={}", archive.display())]).succeeded();
    let image = image::read(&archive).expect("an archive");
    let mut last = tar::Archive::new(image.layers.last().expect("layers").as_slice());
    let names = last.entries().expect("a tar").map(|entry| entry.expect("an entry").path_bytes().into_owned());
    let names: Vec<String> = names.map(|name| image::normal(&String::from_utf8_lossy(&name))).collect();
    assert!(names.contains(&"/.wh.gone".to_owned()), "{names:?}");
    let opaque = names.contains(&"/d/.wh..wh..opq".to_owned());
    let each = ["/d/.wh.old", "/d/.wh.sub"].iter().all(|name| names.contains(&(*name).to_owned()));
    assert!(opaque || each, "{names:?}");
    let files = image::flatten(&image.layers).expect("layers");
    let left: Vec<&str> =
        files.keys().map(String::as_str).filter(|name| name.starts_with("/d") && !name.starts_with("/dev")).collect();
    assert_eq!(left, ["/d", "/d/new"]);
    assert!(!files.contains_key("/gone"));
}
