//! Every shader as the three backends see it: naga translates each module to SPIR-V, MSL and HLSL.

#[path = "kernels/translate.rs"]
mod translate;

use std::{collections::HashSet, fs, path::Path};

use translate::{Hlsl, Translated, specialize, translate};
use underdog::{
    gpu::{Kernel, KernelGroup, Variant},
    graph::ops,
    kernels::MODULES,
};

/// The extension by which WGSL names a device's matrix units.
const UNITS: &str = "wgpu_cooperative_matrix";

/// `void name(` with anything that is no part of a name before it.
fn defines(source: &str, entry: &str) -> bool {
    source.match_indices(&format!(" {entry}(")).next().is_some()
}

/// A module's translation, checked for every entry point.
fn checked(module: &underdog::gpu::kernel::Module) -> Translated {
    let translated = translate(module.source, module.name).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(translated.spv.first(), Some(&0x0723_0203), "{}: no SPIR-V", module.name);
    assert_eq!(entry_points(&translated.spv), module.kernels.iter().map(|k| k.entry).collect::<HashSet<_>>());
    assert_eq!(translated.hlsl.is_none(), module.enables.contains(&UNITS), "{}: HLSL", module.name);
    for Kernel { name, entry, .. } in module.kernels {
        assert!(
            defines(&translated.msl, entry) || defines(&translated.msl, &format!("{entry}_")),
            "{name}: not in the MSL"
        );
    }
    if let Some(Hlsl { source, entry_points }) = &translated.hlsl {
        assert_eq!(entry_points.len(), module.kernels.len(), "{}: HLSL", module.name);
        for entry in entry_points {
            assert!(defines(source, entry), "{}.{entry}: not in the HLSL", module.name);
        }
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
    let hlsl = translated.hlsl.as_ref().map(|hlsl| ("hlsl", hlsl.source.as_bytes()));
    let files = [("wgsl", wgsl.as_bytes()), ("spv", spv), ("metal", translated.msl.as_bytes())];
    for (extension, bytes) in files.into_iter().chain(hlsl) {
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

/// Every other variant of a kernel.
fn variants() -> impl Iterator<Item = (&'static KernelGroup, &'static Variant)> {
    ops::groups().flat_map(|group| group.variants.iter().map(move |variant| (group, variant)))
}

#[test]
fn every_variant_translates_and_takes_what_it_says() {
    let folder = std::env::var_os("UNDERDOG_TRANSLATIONS");
    for (group, variant) in variants() {
        let Variant { name, kernel, constants, workgroup_bytes, invocations, .. } = variant;
        let what = format!("{} as `{name}`", group.kernel.name);
        let made = specialize(kernel.module.source, kernel.module.name, kernel.entry, constants);
        let made = made.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        // Those of attention state the most that the device must have.
        let exact = kernel.module.name.starts_with("linear");
        let taken = made.workgroup_bytes;
        assert!(
            taken == *workgroup_bytes || !exact && taken < *workgroup_bytes,
            "{what}: {taken} bytes, not {workgroup_bytes}"
        );
        assert_eq!(made.workgroup.iter().product::<u32>(), *invocations, "{what}: invocations");
        assert_eq!(made.translated.hlsl.is_none(), kernel.module.enables.contains(&UNITS), "{what}: HLSL");
        if let Some(folder) = &folder {
            let folder = Path::new(folder).join("variants");
            fs::create_dir_all(&folder).expect("the folder of other variants");
            // The module tells matrix units by its name.
            let file = format!("{} {} {name}.spv", group.kernel.name, kernel.module.name).replace(' ', "-");
            let spv: &[u8] = bytemuck::cast_slice(&made.translated.spv);
            fs::write(folder.join(file), spv).expect("a translation");
        }
    }
}

#[test]
fn variants_stand_in_for_their_kernels() {
    for group in ops::groups() {
        let names: HashSet<_> = group.variants.iter().map(|variant| variant.name).collect();
        assert_eq!(names.len(), group.variants.len(), "{}: two variants of one name", group.kernel.name);
    }
    for (group, variant) in variants() {
        let what = format!("{} as `{}`", group.kernel.name, variant.name);
        let bindings = |kernel: &Kernel| -> Vec<_> {
            kernel.bindings.iter().map(|b| (b.index, b.writable, b.reads, b.writes)).collect()
        };
        assert_eq!(bindings(variant.kernel), bindings(group.kernel), "{what}: bindings");
        assert_eq!(variant.kernel.params_size, group.kernel.params_size, "{what}: immediates");
        assert!(variant.workgroup_bytes <= 48 << 10, "{what}: {} bytes of workgroup memory", variant.workgroup_bytes);
        assert!(variant.invocations <= 1024, "{what}: {} invocations", variant.invocations);
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
