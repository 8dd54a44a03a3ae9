//! Compiles the protocol with protox, so that no system package is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "outlive/v1/common.proto",
        "outlive/v1/manager.proto",
        "outlive/v1/unit.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    // Written by hand, without their secrets: `src/secrets.rs`.
    let secret = ["Opened", "AdmitRequest", "AttachRequest"].map(|name| format!(".outlive.v1.{name}"));
    tonic_prost_build::configure()
        .skip_debug(secret)
        .compile_fds(descriptors)?;
    Ok(())
}
