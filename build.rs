//! Turns every `shaders/*.wgsl` into typed Rust.
//!
//! For each file: expand `#import name` (from `shaders/lib/`), parse and validate with naga, reflect, and generate one
//! module with the source, one `Params` struct per immediate block, and for every entry point a struct with **named**
//! bindings. A binding renamed in WGSL stops Rust from compiling; nothing is declared twice.
//!
//! A file with `#import folder/*` becomes a module for each file of `shaders/lib/folder/`, named `file_each`; one with lines
//! `#instance each: ..` a module for each of these, in whose place stand the statements behind the colon.

use std::{
    collections::{HashMap, HashSet},
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use naga::{
    AddressSpace, Expression, Literal, Module, ScalarKind, ShaderStage, StorageAccess, TypeInner,
    back::pipeline_constants::process_overrides,
    valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator},
};

/// What every WebGPU device offers; wgpu does not check workgroup storage, so we do. Overrides count as their defaults
/// here: an alternative that sets others says itself what it takes.
const MAX_WORKGROUP_BYTES: u32 = 16 << 10;
const MAX_INVOCATIONS: u32 = 256;
const MAX_STORAGE_BUFFERS: usize = 8;
const MAX_IMMEDIATE_BYTES: u32 = 128;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=shaders");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("shaders");
    let mut out = String::new();
    let (mut modules, mut structs) = (Vec::new(), HashMap::new());
    for file in &shaders(&root)? {
        for (name, choice) in instances(file, &root.join("lib"))? {
            let source = expand(file, &root.join("lib"), &choice, &mut HashSet::new())?;
            out += &module(&name, &source, &mut structs).map_err(|e| format!("{}: {e}", file.display()))?;
            modules.push(format!("&{name}::MODULE"));
        }
    }
    writeln!(
        out,
        "/// Every shader module, in the order of its file name.\npub static MODULES: &[&Module] = &[{}];",
        modules.join(", ")
    )?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("kernels.rs"), out)?;
    Ok(())
}

fn stem(path: &Path) -> Result<String> {
    let stem = path.file_stem().and_then(|s| s.to_str());
    Ok(stem.ok_or_else(|| format!("{}: not a UTF-8 name", path.display()))?.to_owned())
}

/// The shaders of a folder, in the order of their names.
fn shaders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "wgsl"));
    files.sort();
    Ok(files)
}

/// The modules that a file becomes: the name of each, and what is chosen in it, a file for `folder/*` or an instance.
fn instances(file: &Path, lib: &Path) -> Result<Vec<(String, String)>> {
    let (name, text) = (stem(file)?, fs::read_to_string(file)?);
    let mut chosen = Vec::new();
    for line in text.lines() {
        if let Some((each, _)) = line.strip_prefix("#instance ").and_then(|line| line.split_once(':')) {
            chosen.push((format!("{name}_{each}"), each.to_owned()));
        } else if let Some(folder) = line.strip_prefix("#import ").and_then(|line| line.strip_suffix("/*")) {
            for each in shaders(&lib.join(folder))? {
                let each = stem(&each)?;
                chosen.push((format!("{name}_{each}"), format!("{folder}/{each}")));
            }
        }
    }
    Ok(if chosen.is_empty() { vec![(name, String::new())] } else { chosen })
}

/// The file's text with each `#import name` line replaced, once, by `lib/name.wgsl`, and what is chosen put in its place.
fn expand(file: &Path, lib: &Path, choice: &str, seen: &mut HashSet<String>) -> Result<String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("#instance ").and_then(|line| line.split_once(": ")) {
            None => lines.push(line.to_owned()),
            Some((each, statements)) if each == choice => {
                let end = |part: &str| if part.starts_with('#') { part.into() } else { format!("{part};") };
                lines.extend(statements.trim_end_matches(';').split("; ").map(end));
            }
            Some(_) => {}
        }
    }
    let mut out = String::new();
    for line in lines {
        let import = line.strip_prefix("#import ").map(|name| if name.ends_with("/*") { choice } else { name });
        match import {
            Some(name) if seen.insert(name.to_owned()) => {
                out += &expand(&lib.join(format!("{name}.wgsl")), lib, choice, seen)?;
            }
            Some(_) => {}
            None => {
                out += &line;
                out.push('\n');
            }
        }
    }
    Ok(out)
}

/// `structs`: the module in which each declaration of immediates stands. Modules that import one share its Rust type.
fn module(name: &str, source: &str, structs: &mut HashMap<String, String>) -> Result<String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string_with_path(source, name))?;
    let capabilities = Capabilities::IMMEDIATES | Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string_with_path(source, name))?;

    let mut out = String::new();
    writeln!(out, "/// Generated from `shaders/{name}.wgsl`.\npub mod {name} {{")?;
    writeln!(out, "use super::{{Binding, Kernel, Launch, Module}};")?;
    let enables = source.lines().filter_map(|line| line.trim().strip_prefix("enable ")?.strip_suffix(';'));
    let enables: Vec<&str> = enables.map(str::trim).collect();
    for (_, constant) in module.constants.iter() {
        if let (Some(name), Expression::Literal(Literal::U32(value))) =
            (&constant.name, &module.global_expressions[constant.init])
        {
            writeln!(out, "/// As in the shader.\npub const {name}: usize = {value};")?;
        }
    }
    let (mut own, mut kernels) = (HashSet::new(), Vec::new());
    for index in 0..module.entry_points.len() {
        let reflected = Reflected::new(&module, &info, index)?;
        if let Some(params) = &reflected.params
            && own.insert(params.name.clone())
        {
            let declaration = params.declaration()?;
            match structs.get(&declaration) {
                Some(module) => writeln!(out, "pub use super::{module}::{};", params.name)?,
                None => out += &declaration,
            }
            structs.entry(declaration).or_insert_with(|| name.to_owned());
        }
        out += &reflected.declaration(name)?;
        kernels.push(format!("&{}", reflected.constant()));
    }
    writeln!(
        out,
        "/// The expanded WGSL and its entry points.\npub static MODULE: Module = Module {{ name: {name:?}, source: {source:?}, enables: &{enables:?}, kernels: &[{}] }};\n}}",
        kernels.join(", ")
    )?;
    Ok(out)
}

/// The `var<immediate>` struct of an entry point: scalars of four bytes only, so Rust's layout is WGSL's.
struct Params {
    name: String,
    fields: Vec<(String, &'static str)>,
}

impl Params {
    fn new(module: &Module, ty: naga::Handle<naga::Type>) -> Result<Self> {
        let ty = &module.types[ty];
        let TypeInner::Struct { members, span } = &ty.inner else {
            return Err("an immediate must be a struct".into());
        };
        if *span > MAX_IMMEDIATE_BYTES {
            return Err(format!("immediates of {span} bytes; {MAX_IMMEDIATE_BYTES} are portable").into());
        }
        let fields = members
            .iter()
            .map(|member| {
                let name = member.name.clone().ok_or("a field without a name")?;
                let rust = match module.types[member.ty].inner {
                    TypeInner::Scalar(s) if s.width == 4 => match s.kind {
                        ScalarKind::Uint => "u32",
                        ScalarKind::Sint => "i32",
                        ScalarKind::Float => "f32",
                        _ => return Err(format!("{name}: not u32, i32 or f32").into()),
                    },
                    _ => return Err(format!("{name}: not a scalar of four bytes").into()),
                };
                Ok((name, rust))
            })
            .collect::<Result<Vec<_>>>()?;
        let name = ty.name.clone().ok_or("an immediate without a type name")?;
        Ok(Self { name, fields })
    }

    fn declaration(&self) -> Result<String> {
        let mut out = String::from(
            "/// Immediates, as the WGSL struct of this name declares them.\n#[repr(C)]\n\
             #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]\n",
        );
        writeln!(out, "pub struct {} {{", self.name)?;
        for (name, ty) in &self.fields {
            writeln!(out, "    #[allow(missing_docs, reason = \"documented in the shader\")] pub {name}: {ty},")?;
        }
        writeln!(out, "}}")?;
        Ok(out)
    }
}

struct Reflected {
    entry: String,
    workgroup: [u32; 3],
    params: Option<Params>,
    /// (binding index, name, declared writable, read by this entry point, written by it)
    bindings: Vec<(u32, String, bool, bool, bool)>,
}

impl Reflected {
    fn new(module: &Module, info: &ModuleInfo, index: usize) -> Result<Self> {
        let name = module.entry_points[index].name.clone();
        let (module, info) =
            process_overrides(module, info, Some((ShaderStage::Compute, &name)), &Default::default())
                .map_err(|e| format!("{name}: every override needs a default: {e}"))?;
        // Only the entry point asked for is left.
        let (entry, uses) = (&module.entry_points[0], info.get_entry_point(0));
        let mut bindings = Vec::new();
        let mut params = None;
        let mut workgroup_bytes = 0;
        for (handle, global) in module.global_variables.iter() {
            let usage = uses[handle];
            if usage.is_empty() {
                continue;
            }
            let name = global.name.clone().unwrap_or_default();
            match global.space {
                AddressSpace::Storage { access } => {
                    let at = global.binding.ok_or_else(|| format!("{name}: no binding"))?;
                    if at.group != 0 {
                        return Err(format!("{name}: only @group(0) is used").into());
                    }
                    bindings.push((
                        at.binding,
                        name,
                        access.contains(StorageAccess::STORE),
                        usage.contains(GlobalUse::READ),
                        usage.contains(GlobalUse::WRITE),
                    ));
                }
                AddressSpace::Immediate => params = Some(Params::new(&module, global.ty)?),
                AddressSpace::WorkGroup => {
                    workgroup_bytes += module.types[global.ty].inner.size(module.to_ctx());
                }
                _ => {}
            }
        }
        bindings.sort();
        let checks = [
            (workgroup_bytes <= MAX_WORKGROUP_BYTES, "too much workgroup memory"),
            (entry.workgroup_size.iter().product::<u32>() <= MAX_INVOCATIONS, "workgroup too large"),
            (bindings.len() <= MAX_STORAGE_BUFFERS, "too many storage buffers"),
            (bindings.windows(2).all(|w| w[0].0 != w[1].0), "two bindings share an index"),
        ];
        if let Some((_, why)) = checks.iter().find(|(ok, _)| !ok) {
            return Err(format!("{}: {why}", entry.name).into());
        }
        Ok(Self { workgroup: entry.workgroup_size, entry: name, params, bindings })
    }

    fn constant(&self) -> String {
        self.entry.to_uppercase()
    }

    fn declaration(&self, module: &str) -> Result<String> {
        let mut out = String::new();
        let (constant, name) = (self.constant(), camel(&self.entry));
        let params = self.params.as_ref().map_or("()", |p| p.name.as_str());
        writeln!(
            out,
            "/// Entry point `{0}`.\npub static {constant}: Kernel = Kernel {{ name: \"{module}.{0}\", module: &MODULE, entry: \"{0}\", \
             workgroup: {1:?}, params_size: size_of::<{params}>(), bindings: &[",
            self.entry, self.workgroup
        )?;
        for (index, name, writable, reads, writes) in &self.bindings {
            writeln!(
                out,
                "    Binding {{ index: {index}, name: {name:?}, writable: {writable}, reads: {reads}, writes: {writes} }},"
            )?;
        }
        writeln!(out, "] }};")?;
        let fields: Vec<&str> = self.bindings.iter().map(|b| b.1.as_str()).collect();
        writeln!(
            out,
            "/// The bindings of `{}`, by name.\n#[derive(Clone, Copy, Debug)]\npub struct {name}<B> {{",
            self.entry
        )?;
        for field in &fields {
            writeln!(out, "    #[allow(missing_docs, reason = \"documented in the shader\")] pub {field}: B,")?;
        }
        let list: Vec<String> = fields.iter().map(|f| format!("self.{f}")).collect();
        writeln!(
            out,
            "}}\nimpl<B> Launch<B> for {name}<B> {{\n    type Params = {params};\n    const KERNEL: &'static Kernel = &{constant};\n    \
             fn bindings(self) -> Vec<B> {{ vec![{}] }}\n}}",
            list.join(", ")
        )?;
        Ok(out)
    }
}

/// `backward_kv` -> `BackwardKv`
fn camel(name: &str) -> String {
    name.split('_')
        .flat_map(|part| {
            let mut chars = part.chars();
            chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars)
        })
        .collect()
}
