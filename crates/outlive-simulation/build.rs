//! Makes the simulation's own `getrandom` visible to `dlsym`, which is how the crate of that name looks it up.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("CARGO_CFG_TARGET_OS");
    if target.is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=getrandom");
    }
}
