//! Which of the console's pages a build embeds.

#[path = "../build/pages.rs"]
mod pages;

#[test]
fn a_release_has_the_pages_and_a_debug_build_says_how_to_make_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let console = folder.path();
    let refused = pages::choose(console, true).expect_err("there is nothing to embed");
    assert!(refused.contains("make console"), "{refused}");
    assert_eq!(pages::choose(console, false), Ok(console.join("unbuilt")));
    std::fs::create_dir(console.join("dist")).expect("a folder");
    std::fs::write(console.join("dist/index.html"), "").expect("a file");
    for release in [true, false] {
        assert_eq!(pages::choose(console, release), Ok(console.join("dist")));
    }
}
