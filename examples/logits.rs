//! What underdog says of a model folder: `cargo run --release --example logits DIR TOKENS_JSON OUT.safetensors [ADAPTER]`
//!
//! The counterpart of `tests/reference/compare.py`, with the same arguments: TOKENS_JSON holds a list of lists of token ids;
//! OUT gets `logits.0` [T, V] and so on. It also shows how the rooms fit together below the command line.

use std::{collections::BTreeMap, error::Error, path::Path};

use safetensors::{Dtype, tensor::TensorView};
use underdog::{
    data::pack,
    formats::{AdapterFolder, Folder},
    gpu::Gpu,
    graph::{
        ops::head_loss::logits,
        plan::Plan,
        tape::Tape,
        tensor::{Memory, Role, Store},
    },
    model::{Adapter, Config, Held, Inputs, Layout, Model},
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ([folder, tokens, out], adapter) = match arguments.as_slice() {
        [folder, tokens, out] => ([folder, tokens, out], None),
        [folder, tokens, out, adapter] => ([folder, tokens, out], Some(AdapterFolder::open(Path::new(adapter))?)),
        _ => return Err("usage: logits DIR TOKENS_JSON OUT.safetensors [ADAPTER]".into()),
    };
    let documents: Vec<Vec<u32>> = serde_json::from_slice(&std::fs::read(tokens)?)?;
    let gpu = underdog::platform::open(None)?;
    let (mut config, weights) = (Config::open(Path::new(folder))?, Folder::open(Path::new(folder))?);
    config.held = Held::default(); // whatever the files hold, in full
    let mut found = BTreeMap::new();
    for (i, ids) in documents.iter().enumerate() {
        let values = forward(&gpu, &config, &weights, adapter.as_ref(), ids)?;
        found.insert(format!("logits.{i}"), ([ids.len(), config.vocab], values));
    }
    let views = found.iter().map(|(name, (dims, values))| {
        Ok((name, TensorView::new(Dtype::F32, dims.to_vec(), bytemuck::cast_slice(values))?))
    });
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    safetensors::serialize_to_file(views, None, Path::new(out))?;
    Ok(())
}

/// Logits `[T, V]` of one document.
fn forward(
    gpu: &Gpu,
    config: &Config,
    weights: &Folder,
    adapter: Option<&AdapterFolder>,
    ids: &[u32],
) -> Result<Vec<f32>, Box<dyn Error>> {
    let count = u32::try_from(ids.len())?;
    let mut store = Store::default();
    let inputs = Inputs::declare(&mut store, ids.len());
    let to = store.declare("logits", Role::Inputs, ids.len(), config.vocab);
    let mut model = Model::declare(&mut store, config.clone(), Role::Weights, false, ids.len(), gpu.max_binding())?;
    if let Some(folder) = adapter {
        let layout = Layout::of_folder(folder, config)?;
        model =
            model.view(Some(Adapter::declare(&mut store, layout, Role::Weights, false, None, gpu.max_binding())?));
    }

    let mut tape = Tape::new();
    let hidden = model.hidden(&mut tape, inputs, None, 0);
    logits(&mut tape, model.head(hidden), to);
    let plan = Plan::new(tape.finish());

    let memory = Memory::allocate(gpu, &store)?;
    for (tensor, values) in model.rotary_tables() {
        memory.write(gpu, tensor, 0, &values);
    }
    model.weights.load(gpu, &memory, weights)?;
    if let Some((declared, folder)) = model.adapter.as_ref().zip(adapter) {
        declared.load(gpu, &memory, folder)?;
    }
    memory.write(gpu, inputs.tokens, 0, ids);
    memory.write(gpu, inputs.order, 0, &pack::order(ids));
    memory.write(gpu, inputs.positions, 0, &(0..count).collect::<Vec<u32>>());
    memory.write(gpu, inputs.spans, 0, &(0..count).map(|i| [0, i + 1]).collect::<Vec<[u32; 2]>>());
    memory.write(gpu, inputs.ends, 0, &vec![count; ids.len()]);
    plan.load(gpu, &memory)?.run(gpu)?;
    Ok(memory.read(gpu, to)?)
}
