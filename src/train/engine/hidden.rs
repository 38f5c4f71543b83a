//! Hidden-state sources: where a micro-batch has the final hidden states of a frozen model from. They are computed in it, or
//! cached on disk, or streamed: the model's layers run before it, each read from the model's folder into the room of one.

use std::sync::Arc;

use super::Error;
use crate::{
    data::pack::Batch,
    events::BoxError,
    formats::TensorSource,
    gpu::{Gpu, Program, Upload},
    graph::{
        plan::{Plan, Slots},
        tape::Tape,
        tensor::{Memory, Role, Store, Tensor},
    },
    model::{Inputs, Model},
    objective::Hidden,
};

/// Where the final hidden states of a model come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HiddenSource {
    /// Its layers are part of the micro-batch.
    #[default]
    Computed,
    /// They were computed before and lie on disk: of the model there is only the head.
    Cached,
    /// Its layers run one after another before the micro-batch, each read from its folder: one is there at a time.
    Streamed,
}

/// Appends the hidden states of a sample to some bytes, as bf16.
pub type ReadStates = dyn Fn(u64, &mut Vec<u8>) -> Result<(), BoxError>;

/// A hidden-state source, planned.
pub(super) struct SourcePlan {
    /// What the micro-batch finds.
    pub(super) hidden: Hidden,
    /// What runs before a micro-batch: the embeddings, then each layer that is not alike to one before it.
    pub(super) plans: Vec<Plan>,
    /// Those layers.
    layers: Vec<usize>,
}

/// A hidden-state source, loaded.
pub(super) struct Source<'g> {
    hidden: Hidden,
    programs: Vec<Program>,
    layers: Vec<usize>,
    upload: Upload<'g>,
    /// Where cached states are read.
    pub(super) states: Option<Box<ReadStates>>,
    /// Where streamed layers are read.
    pub(super) weights: Option<Arc<dyn TensorSource>>,
}

impl SourcePlan {
    /// Declares and records what runs before a micro-batch over `inputs`.
    pub(super) fn new(store: &mut Store, model: &Model, source: HiddenSource, inputs: Inputs) -> Self {
        let (tokens, width) = (inputs.tokens.cols, model.config.hidden);
        let mut declare = |cols| store.declare("hidden states", Role::Inputs, tokens, cols);
        let (mut plans, mut layers) = (Vec::new(), Vec::new());
        let hidden = match source {
            HiddenSource::Computed => Hidden::Computed,
            // Whole words for numbers of two bytes each.
            HiddenSource::Cached => Hidden::Cached(declare(width.div_ceil(2))),
            HiddenSource::Streamed => {
                let x = declare(width);
                let mut plan = |record: &dyn Fn(&mut Tape) -> Tensor| {
                    let mut tape = Tape::new();
                    let made = record(&mut tape);
                    tape.copy(made, x);
                    plans.push(Plan::new(tape.finish()));
                };
                plan(&|tape| model.embeddings(tape, inputs));
                layers = (0..model.config.layers.len()).filter(|layer| model.alike(*layer) == *layer).collect();
                layers.iter().for_each(|layer| plan(&|tape| model.layer(tape, inputs, *layer, x)));
                Hidden::LastLayer(x)
            }
        };
        Self { hidden, plans, layers }
    }

    /// Bytes that a micro-batch writes through the queue for it.
    pub(super) fn written(&self) -> u64 {
        if let Hidden::Cached(words) = self.hidden { words.bytes() } else { 0 }
    }

    /// Bytes of the pieces through which layers of a model come.
    pub(super) fn staging(&self, model: &Model) -> u64 {
        match self.hidden {
            Hidden::LastLayer(_) => Upload::staging_parts(model.config.layers.len(), model.layer_bytes()),
            _ => 0,
        }
    }

    /// Makes its programs.
    pub(super) fn load<'g>(&self, gpu: &'g Gpu, memory: &Memory, slots: &Slots) -> Source<'g> {
        let programs = self.plans.iter().map(|plan| plan.load_over(gpu, memory, slots)).collect();
        let (hidden, layers, upload) = (self.hidden, self.layers.clone(), Upload::new(gpu));
        Source { hidden, programs, layers, upload, states: None, weights: None }
    }
}

impl Source<'_> {
    /// Provides the hidden states of a packed sequence that is uploaded already and has so many `targets`.
    pub(super) fn provide(
        &mut self,
        (gpu, memory): (&Gpu, &Memory),
        model: &Model,
        batch: &Batch,
        targets: usize,
    ) -> Result<(), Error> {
        match self.hidden {
            Hidden::Computed => {}
            Hidden::Cached(words) => {
                let mut bytes = Vec::new();
                for (read, placed) in batch.examples.iter().filter_map(|placed| Some((self.states.as_ref()?, placed)))
                {
                    read(placed.idx, &mut bytes)?;
                }
                let each = 2 * model.config.hidden;
                if bytes.len() != each * targets {
                    return Err(Error::NotCached { positions: bytes.len() / each, targets });
                }
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                memory.write(gpu, words, 0, &bytes);
            }
            // All layers are submitted; each is read while the one before runs.
            Hidden::LastLayer(_) => {
                let weights = self.weights.as_ref().ok_or(Error::NoLayers)?;
                self.programs[0].run(gpu)?;
                for layer in 0..model.config.layers.len() {
                    model.load_layer(&mut self.upload, memory, weights.as_ref(), layer)?;
                    self.upload.send();
                    let alike = model.alike(layer);
                    let at = self.layers.iter().position(|first| *first == alike);
                    at.map_or(Ok(()), |at| self.programs[1 + at].run(gpu))?;
                }
            }
        }
        Ok(())
    }
}
