//! Turns the .proto files into Rust. protox reads them, so no protoc has to be installed; nothing generated is committed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["enroll", "sync", "blobs", "backups", "fleet"].map(|name| format!("offhook/v1/{name}.proto"));
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    // The transport is whoever's who opens the connection: only messages and services are made here.
    let services = tonic_prost_build::configure().build_transport(false).codec_path("crate::codec::SmallBuffers");
    services.bytes(".").compile_fds(descriptors)?;
    Ok(())
}
