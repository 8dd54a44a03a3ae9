//! What the project allows: licences, crates, C code, places for `unsafe`.

/// Licences whose terms allow shipping the binary under ours; a dependency's expression must be
/// satisfiable with these alone.
pub(crate) const LICENCES: &[&str] = &[
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that must not come in, and why.
pub(crate) const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "needs a system package; TLS goes through rustls"),
    ("openssl", "needs a system package; TLS goes through rustls"),
    ("native-tls", "needs a system package; TLS goes through rustls"),
    ("aws-lc-sys", "needs a C compiler; rustls runs on ring"),
    ("jemalloc-sys", "needs a C compiler"),
    (
        "protobuf-src",
        "needs a C++ compiler; protobuf is compiled by protox",
    ),
    ("serde_yaml", "unmaintained"),
    ("atty", "unmaintained; std has IsTerminal"),
];

/// Packages that may compile or link foreign code when they are built. `ring` compiles portable C with the
/// same `cc` that links Rust programs; nothing else may, so that a Rust toolchain and a linker suffice.
pub(crate) const FOREIGN_CODE: &[&str] = &["ring"];

/// Build dependencies that betray foreign code.
pub(crate) const FOREIGN_CODE_TOOLS: &[&str] =
    &["autotools", "bindgen", "cc", "cmake", "pkg-config", "vcpkg"];

/// The only files that may open `unsafe` for themselves; each states why in its head.
pub(crate) const UNSAFE_FILES: &[&str] = &[
    "crates/outlive-media/src/mapping.rs",
    // Test-only: docs/decisions.md says why.
    "crates/outlive-simulation/src/machine/interpose.rs",
];
