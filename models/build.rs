//! Completes the link line of espeak-ng, which espeak-rs-sys builds from source but leaves without its libsonic.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_ENGINES").is_some() {
        println!("cargo:rustc-link-lib=dylib=sonic");
    }
}
