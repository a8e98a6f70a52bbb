//! Hands the version of the Python at hand to the crate as `cfg(Py_3_12)` and so on.

use std::env;

use pyo3_build_config::BuildFlag;

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    println!("cargo:rustc-check-cfg=cfg(narrow_reference_counts)");
    if has_narrow_reference_counts() {
        println!("cargo:rustc-cfg=narrow_reference_counts");
    }
}

/// Whether reference counts are 32 bits, the lower half of the 64 that are theirs: see
/// `src/ffi/reference_count.rs`.
fn has_narrow_reference_counts() -> bool {
    let python = pyo3_build_config::get();
    let version = (python.version().major, python.version().minor);
    let counts_otherwise = [BuildFlag::Py_GIL_DISABLED, BuildFlag::Py_REF_DEBUG]
        .iter()
        .any(|flag| python.build_flags().0.contains(flag));
    let target_is =
        |what, value| env::var(format!("CARGO_CFG_TARGET_{what}")).as_deref() == Ok(value);
    ((3, 12)..(3, 14)).contains(&version)
        && !counts_otherwise
        && target_is("POINTER_WIDTH", "64")
        && target_is("ENDIAN", "little")
}
