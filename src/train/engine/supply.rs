//! What a pass is given of the models beside the strong one: hidden states that were kept on disk, or what the layers leave that
//! run before the pass, each read from the model's folder. Of these, one is on the device at a time.

use std::sync::Arc;

use super::{Error, Supply};
use crate::{
    data::pack::Batch,
    formats::{States, TensorSource},
    gpu::{Gpu, Program, Upload},
    graph::{
        plan::{Plan, Slots},
        tape::Tape,
        tensor::{Memory, Role, Store, Tensor},
    },
    model::{self, Inputs, Model},
    objective::Given,
};

/// Where what a model is given comes from, planned.
pub(super) enum Planned {
    /// Nowhere: the pass computes all.
    Pass,
    /// Words of two numbers, `[T, C / 2]`.
    Kept(Tensor),
    /// Layers over `x` `[T, C]`.
    Streamed {
        x: Tensor,
        embeddings: Plan,
        /// Of each layer that is the first to be computed as it is.
        layers: Vec<(usize, Plan)>,
    },
}

/// Where what a model is given comes from.
pub(super) enum Feed<'g> {
    /// Nowhere.
    Pass,
    /// A file.
    Kept { words: Tensor, states: Option<States> },
    /// Layers.
    Streamed(Stream<'g>),
}

/// The layers of a model, one at a time.
pub(super) struct Stream<'g> {
    embeddings: Program,
    layers: Vec<(usize, Program)>,
    upload: Upload<'g>,
    source: Option<Arc<dyn TensorSource>>,
}

impl Planned {
    /// Declares and records what runs before a pass over `inputs`.
    pub(super) fn new(store: &mut Store, model: &Model, supply: Supply, inputs: Inputs) -> Self {
        let (tokens, width) = (inputs.tokens.cols, model.config.hidden);
        let mut declare = |cols| store.declare("hidden states", Role::Inputs, tokens, cols);
        match supply {
            Supply::Pass => Self::Pass,
            // Whole words for numbers of two bytes each.
            Supply::Kept => Self::Kept(declare(width.div_ceil(2))),
            Supply::Streamed => {
                let x = declare(width);
                let plan = |record: &dyn Fn(&mut Tape) -> Tensor| {
                    let mut tape = Tape::new();
                    let made = record(&mut tape);
                    tape.copy(made, x);
                    Plan::new(tape.finish())
                };
                let embeddings = plan(&|tape| model.embeddings(tape, inputs));
                let firsts = (0..model.config.layers).filter(|layer| model.alike(*layer) == *layer);
                let layers = firsts.map(|layer| (layer, plan(&|tape| model.layer(tape, inputs, layer, x)))).collect();
                Self::Streamed { x, embeddings, layers }
            }
        }
    }

    /// What the pass finds.
    pub(super) fn given(&self) -> Given {
        match *self {
            Self::Pass => Given::Nothing,
            Self::Kept(words) => Given::Kept(words),
            Self::Streamed { x, .. } => Given::LastLayer(x),
        }
    }

    /// The plans of what runs before a pass.
    pub(super) fn plans(&self) -> Vec<&Plan> {
        match self {
            Self::Streamed { embeddings, layers, .. } => {
                [embeddings].into_iter().chain(layers.iter().map(|(_, plan)| plan)).collect()
            }
            Self::Pass | Self::Kept(_) => Vec::new(),
        }
    }

    /// Bytes that a pass writes through the queue for it.
    pub(super) fn written(&self) -> u64 {
        if let Self::Kept(words) = self { words.bytes() } else { 0 }
    }

    /// Bytes of the pieces through which layers of a model come.
    pub(super) fn staging(&self, model: &Model) -> u64 {
        let streams = matches!(self, Self::Streamed { .. });
        if streams { Upload::staging_parts(model.config.layers, model.layer_bytes()) } else { 0 }
    }

    /// Makes its programs.
    pub(super) fn load<'g>(&self, gpu: &'g Gpu, memory: &Memory, slots: &Slots) -> Feed<'g> {
        let load = |plan: &Plan| plan.load_over(gpu, memory, slots);
        match self {
            Self::Pass => Feed::Pass,
            Self::Kept(words) => Feed::Kept { words: *words, states: None },
            Self::Streamed { embeddings, layers, .. } => Feed::Streamed(Stream {
                embeddings: load(embeddings),
                layers: layers.iter().map(|(layer, plan)| (*layer, load(plan))).collect(),
                upload: Upload::new(gpu),
                source: None,
            }),
        }
    }
}

impl Feed<'_> {
    /// Takes the states of the samples to come.
    pub(super) fn keep(&mut self, from: States) {
        if let Self::Kept { states, .. } = self {
            *states = Some(from);
        }
    }

    /// Takes the source of the layers.
    pub(super) fn stream(&mut self, from: Arc<dyn TensorSource>) {
        if let Self::Streamed(Stream { source, .. }) = self {
            *source = Some(from);
        }
    }

    /// Gives the pass what it wants of a row that is uploaded already and has so many `targets`.
    pub(super) fn give(
        &mut self,
        (gpu, memory): (&Gpu, &Memory),
        model: &Model,
        batch: &Batch,
        targets: usize,
    ) -> Result<(), Error> {
        match self {
            Self::Pass => Ok(()),
            Self::Kept { words, states } => {
                let mut bytes = Vec::new();
                let in_row = batch.examples.iter().filter_map(|placed| Some((states.as_ref()?, placed.idx)));
                for (states, sample) in in_row {
                    states.read(sample, &mut bytes).map_err(model::Error::from)?;
                }
                let each = 2 * model.config.hidden;
                if bytes.len() != each * targets {
                    return Err(Error::NotKept { positions: bytes.len() / each, targets });
                }
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                memory.write(gpu, *words, 0, &bytes);
                Ok(())
            }
            Self::Streamed(stream) => stream.run((gpu, memory), model),
        }
    }
}

impl Stream<'_> {
    /// Submits all layers, and reads each while the one before runs.
    fn run(&mut self, (gpu, memory): (&Gpu, &Memory), model: &Model) -> Result<(), Error> {
        let source = self.source.as_ref().ok_or(Error::NoLayers)?;
        self.embeddings.run(gpu)?;
        for layer in 0..model.config.layers {
            model.load_layer(&mut self.upload, memory, source.as_ref(), layer)?;
            self.upload.send();
            let alike = model.alike(layer);
            if let Some((_, program)) = self.layers.iter_mut().find(|(first, _)| *first == alike) {
                program.run(gpu)?;
            }
        }
        Ok(())
    }
}
