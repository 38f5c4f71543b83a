//! Every shader as the three backends see it: naga translates each module to SPIR-V, MSL and HLSL.

#[path = "kernels/translate.rs"]
mod translate;

use std::{collections::HashSet, fs, path::Path};

use translate::{Translated, translate};
use underdog::gpu::{Kernel, kernels::MODULES};

/// `void name(` with anything that is no part of a name before it.
fn defines(source: &str, entry: &str) -> bool {
    source.match_indices(&format!(" {entry}(")).next().is_some()
}

/// A module's translation, checked for every entry point.
fn checked(module: &underdog::gpu::kernel::Module) -> Translated {
    let translated = translate(module.source, module.name).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(translated.spv.first(), Some(&0x0723_0203), "{}: no SPIR-V", module.name);
    assert_eq!(entry_points(&translated.spv), module.kernels.iter().map(|k| k.entry).collect::<HashSet<_>>());
    for (kernel, hlsl_name) in module.kernels.iter().zip(&translated.hlsl_entry_points) {
        let Kernel { name, entry, .. } = kernel;
        assert!(
            defines(&translated.msl, entry) || defines(&translated.msl, &format!("{entry}_")),
            "{name}: not in the MSL"
        );
        assert!(defines(&translated.hlsl, hlsl_name), "{name}: not in the HLSL");
    }
    translated
}

/// The names in a SPIR-V module's `OpEntryPoint`s.
fn entry_points(spv: &[u32]) -> HashSet<&str> {
    const HEADER: usize = 5;
    const OP_ENTRY_POINT: u32 = 15;
    let mut names = HashSet::new();
    let mut at = HEADER;
    while at < spv.len() {
        let (words, op) = ((spv[at] >> 16) as usize, spv[at] & 0xffff);
        if op == OP_ENTRY_POINT {
            let name: &[u8] = bytemuck::cast_slice(&spv[at + 3..at + words]);
            let end = name.iter().position(|byte| *byte == 0).expect("a terminated name");
            names.insert(std::str::from_utf8(&name[..end]).expect("a name in ASCII"));
        }
        at += words.max(1);
    }
    names
}

/// Where `UNDERDOG_TRANSLATIONS` is set, the translations stay there for other compilers.
fn keep(folder: &Path, name: &str, wgsl: &str, translated: &Translated) {
    fs::create_dir_all(folder).expect("the folder of translations");
    let spv: &[u8] = bytemuck::cast_slice(&translated.spv);
    let files = [
        ("wgsl", wgsl.as_bytes()),
        ("spv", spv),
        ("metal", translated.msl.as_bytes()),
        ("hlsl", translated.hlsl.as_bytes()),
    ];
    for (extension, bytes) in files {
        fs::write(folder.join(format!("{name}.{extension}")), bytes).expect("a translation");
    }
}

#[test]
fn every_module_translates_to_every_backend() {
    assert!(!MODULES.is_empty());
    let folder = std::env::var_os("UNDERDOG_TRANSLATIONS");
    for module in MODULES {
        let translated = checked(module);
        if let Some(folder) = &folder {
            keep(Path::new(folder), module.name, module.source, &translated);
        }
    }
}

#[test]
fn names_are_unique_and_limits_kept() {
    let mut names = HashSet::new();
    for module in MODULES {
        assert!(names.insert(module.name), "two modules `{}`", module.name);
        for kernel in module.kernels {
            assert!(names.insert(kernel.name), "two kernels `{}`", kernel.name);
            assert!(kernel.bindings.len() <= 8, "{}: {} bindings", kernel.name, kernel.bindings.len());
            assert!(kernel.workgroup.iter().product::<u32>() <= 256, "{}: {:?}", kernel.name, kernel.workgroup);
            assert!(kernel.params_size <= 128, "{}: {} bytes of immediates", kernel.name, kernel.params_size);
        }
    }
}

#[test]
fn broken_shaders_do_not_translate() {
    for source in ["fn", "@compute @workgroup_size(1) fn main() { let x: u32 = 1.5; }"] {
        assert!(translate(source, "broken").is_err(), "`{source}` translates");
    }
}
