//! Compiles the protocol with protox, so that no system package is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "outlive/v1/common.proto",
        "outlive/v1/manager.proto",
        "outlive/v1/unit.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
