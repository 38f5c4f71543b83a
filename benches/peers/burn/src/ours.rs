//! underdog's side: the engine that `underdog train` runs, with weights by formula.

use std::{error::Error, path::Path, sync::Arc};

use underdog::{
    data::{Example, pack, random::StepKey},
    gpu::Gpu,
    graph::{
        ops::{groups, head_loss::LOSS},
        scalars::Scalars,
    },
    kernels::tuner::{Message, Options},
    model::Config,
    objective::{CrossEntropy, Draw},
    platform::{self, tuning_cache},
    session::effort,
    settings::Autotune,
    train::engine::{Engine, EnginePlan, LOGITS, Side, Spec},
};

use crate::workload::{self, Workload};

/// A model being trained on one row again and again.
pub struct Ours<'g> {
    engine: Engine<'g>,
    batch: pack::Batch,
    scalars: Scalars,
    step: u64,
}

impl<'g> Ours<'g> {
    /// Plans, allocates and fills the model.
    pub fn load(gpu: &'g Gpu, workload: &Workload) -> Result<Self, Box<dyn Error>> {
        let model = Config::from_json(&config(workload), Path::new("config.json"))?;
        let spec = Spec::new(model, Arc::new(CrossEntropy::default()), Vec::new(), gpu.max_binding());
        let spec = Spec { tokens: workload.tokens, logits: LOGITS, ..spec };
        let plan = EnginePlan::new(&spec)?;
        tune(gpu, &plan)?;
        let engine = plan.build(gpu)?;
        engine.fill(Side::Main, |parameter, start| {
            workload::values(&parameter.name, parameter.count()).split_off(start)
        })?;
        let trained = (0..workload.tokens).map(|i| i > 0).collect();
        let example = Example { idx: 0, line: 0, ids: workload.ids(), trained };
        let batch = pack::pack(&[&example], workload.tokens)?.remove(0);
        let [beta1, beta2] = workload::BETAS.map(f64::from);
        let scalars = Scalars {
            lr: workload::LR,
            betas: [beta1, beta2],
            eps: f64::from(workload::ADAM_EPS),
            ..Scalars::default()
        };
        Ok(Self { engine, batch, scalars, step: 0 })
    }

    /// One step, waited for; returns the loss before its update.
    pub fn step(&mut self) -> Result<f64, Box<dyn Error>> {
        self.engine.set_scalars(self.step, &self.scalars);
        let stats = self.engine.run(&self.batch, Draw::quiet(StepKey::new(0, self.step)))?;
        self.engine.update()?;
        self.step += 1;
        let weighted = stats.iter().zip(&self.batch.weights);
        Ok(weighted.map(|(stat, weight)| f64::from(stat[LOSS]) * f64::from(*weight)).sum())
    }
}

/// Chooses the variants of the kernels by trial, all of them, as burn does.
fn tune(gpu: &Gpu, plan: &EnginePlan) -> Result<(), Box<dyn Error>> {
    let planned = plan.footprint().total();
    let options = effort(Autotune::Full, gpu).map(|effort| Options { effort, half: false, planned });
    let cache = platform::cache_folder();
    Ok(tuning_cache::choose(
        gpu,
        groups(),
        plan.work(),
        options,
        cache.as_deref(),
        || true,
        |message| match message {
            Message::Note(text) | Message::Warning(text) => eprintln!("{text}"),
        },
    )?)
}

fn config(workload: &Workload) -> String {
    let Workload { hidden, layers, heads, kv_heads, head_dim, ffn, vocab, tokens } = workload;
    serde_json::json!({
        "model_type": "qwen3",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "intermediate_size": ffn,
        "max_position_embeddings": tokens,
        "rms_norm_eps": workload::EPS,
        "rope_theta": workload::THETA,
        "tie_word_embeddings": true,
    })
    .to_string()
}
