//! Certificates that are renewed in their files are shown without a word from anybody.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use weir_tests::config::config;
use weir_tests::tls::{Authority, Dial, Identity, is};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

fn serving(upstream: &Upstream, folder: &Path) -> String {
    let mut config = config(upstream);
    let certificate = json!({ "cert": folder.join("tls.crt"), "key": folder.join("tls.key") });
    config["listeners"][0]["tls"] = json!({ "certificates": [certificate] });
    Value::to_string(&config)
}

fn write(folder: &Path, identity: &Identity) {
    fs::write(folder.join("tls.crt"), &identity.cert).expect("written");
    fs::write(folder.join("tls.key"), &identity.key).expect("written");
}

#[track_caller]
fn assert_comes(weir: &Weir, authority: &Authority, identity: &Identity) {
    eventually("it is shown", || {
        let session = Dial::to(authority, "a.example").connect(weir.proxy());
        let shown = session.expect("a handshake").certificate();
        is(&shown, identity).then_some(())
    });
}

#[test]
fn a_certificate_that_is_renewed_in_its_files_is_shown() {
    let authority = Authority::default();
    let [first, second, third, fourth, fifth] = [(); 5].map(|()| authority.issue(&["a.example"]));
    let upstream = Upstream::hello();
    let [here, there] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    write(here.path(), &first);
    let weir = Weir::watching(&serving(&upstream, here.path()));
    assert_comes(&weir, &authority, &first);

    // One file after the other: while they are no pair, nothing changes.
    fs::write(here.path().join("tls.crt"), &second.cert).expect("written");
    weir.says("reload changed nothing");
    assert_comes(&weir, &authority, &first);
    fs::write(here.path().join("tls.key"), &second.key).expect("written");
    assert_comes(&weir, &authority, &second);
    assert!(weir.logged("a file of the configuration has changed"));

    // In a folder that the file names since, and not any more where it was.
    write(there.path(), &third);
    weir.write(&serving(&upstream, there.path()));
    assert_comes(&weir, &authority, &third);
    let generation = "weir_config_generation";
    let before = weir.count(generation);
    write(here.path(), &first);
    write(there.path(), &fourth);
    assert_comes(&weir, &authority, &fourth);
    assert_eq!(weir.count(generation), before + 1);

    // As Kubernetes does: the files are links through `..data`, which is swapped.
    let place = |version: &str, identity: &Identity| {
        let folder = there.path().join(version);
        fs::create_dir(&folder).expect("a folder");
        write(&folder, identity);
        symlink(version, there.path().join("..new")).expect("a link");
        fs::rename(there.path().join("..new"), there.path().join("..data")).expect("a swap");
    };
    place("version-1", &fourth);
    for file in ["tls.crt", "tls.key"] {
        let link = there.path().join("link");
        symlink(format!("..data/{file}"), &link).expect("a link");
        fs::rename(&link, there.path().join(file)).expect("a link in place of the file");
    }
    place("version-2", &fifth);
    assert_comes(&weir, &authority, &fifth);
    assert_eq!(weir.count(generation), before + 2);
}
