//! Outputs as they are typed.

use std::path::PathBuf;

use super::*;

fn read(text: &str) -> String {
    let environment = Environment { directory: PathBuf::from("/w"), ..Environment::default() };
    match output(text, &environment) {
        Ok((Output::Image { push, attributes }, _)) if attributes == ImageAttributes::default() => {
            format!("Image push={push}")
        }
        Ok((Output::Oci { destination, tar, .. }, _)) => format!("Oci {destination:?} tar={tar}"),
        Ok((Output::Docker { destination, .. }, _)) => format!("Docker {destination:?}"),
        Ok((Output::Load { into, .. }, _)) => format!("Load {:?} {}", into.engine, into.docker_host),
        Ok((Output::Local(local), _)) => format!("{local:?}"),
        Ok((output, _)) => format!("{output:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn each_type_has_its_own_rules() {
    for (text, want) in [
        ("out", "LocalDirectory { path: \"/w/out\", split: None, delete: false }"),
        ("-", "Tar { destination: Stdout, split: None }"),
        ("type=local,dest=out", "LocalDirectory { path: \"/w/out\", split: None, delete: false }"),
        ("type=local", "invalid value `type=local` for --output: dest=DIR is required for local"),
        ("type=tar,dest=o.tar", "Tar { destination: File(\"/w/o.tar\"), split: None }"),
        ("type=tar", "Tar { destination: Stdout, split: None }"),
        ("type=oci,dest=/o.tar", "Oci File(\"/o.tar\") tar=true"),
        ("type=oci,tar=false,dest=o", "Oci File(\"/w/o\") tar=false"),
        ("type=oci,tar=false", "invalid value `type=oci,tar=false` for --output: tar=false needs dest=DIR"),
        ("type=docker", "Load Any unix:///var/run/docker.sock"),
        (
            "type=local,dest=out,mode=delete,platform-split=false",
            "LocalDirectory { path: \"/w/out\", split: Some(false), delete: true }",
        ),
        ("type=local,dest=out,mode=x", "invalid value `type=local,dest=out,mode=x` for --output: unknown mode `x`"),
        ("type=tar,platform-split", "Tar { destination: Stdout, split: Some(true) }"),
        ("type=docker,dest=-", "Docker Stdout"),
        ("type=docker,dest=/o,tar=false", "Oci File(\"/o\") tar=false"),
        (
            "type=oci,compression=zstd,compression-level=23",
            "invalid value `type=oci,compression=zstd,compression-level=23` for --output: compression-level of zstd is 0 to 22",
        ),
        (
            "type=oci,compression-level=10",
            "invalid value `type=oci,compression-level=10` for --output: compression-level of gzip is 0 to 9",
        ),
        (
            "type=image,unpack=true,rewrite-timestamp=true",
            "invalid value `type=image,unpack=true,rewrite-timestamp=true` for --output: unpack=true and rewrite-timestamp=true \
             exclude each other: what is unpacked has the times of the build",
        ),
        (
            "type=image,source-date-epoch=1",
            "--output source-date-epoch= is not supported yet: use the build argument SOURCE_DATE_EPOCH, which is for the whole build",
        ),
        (
            "type=oci,unpack=true",
            "invalid value `type=oci,unpack=true` for --output: `unpack` is no attribute of type=oci",
        ),
        ("type=image", "Image push=false"),
        ("type=image,push=true", "Image push=true"),
        ("type=registry", "Image push=true"),
        ("type=cacheonly", "CacheOnly"),
        ("dest=a", "invalid value `dest=a` for --output: type is required for output"),
        ("type=imge", "invalid value `type=imge` for --output: unknown type `imge`: did you mean `image`?"),
        (
            "type=image,compresion=gzip",
            "invalid value `type=image,compresion=gzip` for --output: unknown attribute `compresion`: \
             did you mean `compression`?",
        ),
        (
            "type=image,compression=estargz,oci-mediatypes=false",
            "invalid value `type=image,compression=estargz,oci-mediatypes=false` for --output: compression=estargz conflicts with \
             oci-mediatypes=false: the table is found by an annotation",
        ),
    ] {
        assert_eq!(read(text), want, "{text}");
    }
}

#[test]
fn attributes_are_read() {
    let text = "type=image,\"name=a:1,b\",compression=zstd,compression-level=9,force-compression=true,\
                oci-mediatypes=false,rewrite-timestamp=true,push-by-digest=true,annotation.k=v,name-canonical=true,store=false,\
                dangling-name-prefix=p,registry.insecure=true";
    let environment = Environment::default();
    let (Output::Image { push: false, attributes }, true) = output(text, &environment).unwrap() else {
        panic!("not an image")
    };
    let names: Vec<String> = attributes.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["docker.io/library/a:1", "docker.io/library/b:latest"]);
    assert_eq!((attributes.compression, attributes.compression_level), (Some(LayerCompression::Zstd), Some(9)));
    assert_eq!((attributes.force_compression, attributes.oci_media_types), (true, Some(false)));
    assert_eq!((attributes.rewrite_timestamp, attributes.push_by_digest), (true, true));
    assert_eq!((attributes.name_canonical, attributes.discard, attributes.unpack), (true, true, false));
    assert_eq!(attributes.dangling_prefix.unwrap().to_string(), "docker.io/library/p");
    let annotations = attributes.annotations;
    assert_eq!((annotations[0].key.as_str(), annotations[0].value.as_str()), ("k", "v"));
}

#[test]
fn push_and_load_add_an_image() {
    let environment = Environment { directory: PathBuf::from("/w"), ..Environment::default() };
    let shown = |typed: &[&str], push, load: bool| {
        let typed: Vec<String> = typed.iter().map(ToString::to_string).collect();
        let all = outputs(&typed, push, load.then_some("true"), &environment).unwrap().outputs;
        let word = |output: &Output| match output {
            Output::Image { push: true, .. } => "pushed",
            Output::Image { push: false, .. } => "kept",
            Output::Load { .. } => "loaded",
            _ => "other",
        };
        all.iter().map(word).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown(&[], false, false), "kept");
    assert_eq!(shown(&[], true, false), "pushed");
    assert_eq!(shown(&["o"], false, false), "other");
    assert_eq!(shown(&["o"], false, true), "other loaded");
    assert_eq!(shown(&["o"], true, true), "other pushed loaded");
    assert_eq!(shown(&["type=docker"], false, true), "loaded");
    assert_eq!(shown(&["type=image"], true, false), "pushed");
    assert!(super::outputs(&["-".into(), "type=oci".into()], false, None, &environment).is_err());
}
