//! Hidden-state sources: where a micro-batch has the final hidden states of a frozen model from. They are computed in it, or
//! cached on disk, or streamed: the model's layers run before it, each read from the model's folder into the room of one.

use std::sync::Arc;

use super::Error;
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

/// A hidden-state source, planned.
pub(super) enum SourcePlan {
    Computed,
    /// Words of two numbers, `[T, C / 2]`.
    Cached(Tensor),
    /// Layers over `x` `[T, C]`.
    Streamed {
        x: Tensor,
        embeddings: Plan,
        /// Of each layer that is the first to be computed as it is.
        layers: Vec<(usize, Plan)>,
    },
}

/// A hidden-state source, loaded.
pub(super) enum Source<'g> {
    Computed,
    Cached { words: Tensor, states: Option<States> },
    Streamed(Stream<'g>),
}

/// The layers of a model, one at a time.
pub(super) struct Stream<'g> {
    embeddings: Program,
    layers: Vec<(usize, Program)>,
    upload: Upload<'g>,
    source: Option<Arc<dyn TensorSource>>,
}

impl SourcePlan {
    /// Declares and records what runs before a micro-batch over `inputs`.
    pub(super) fn new(store: &mut Store, model: &Model, source: HiddenSource, inputs: Inputs) -> Self {
        let (tokens, width) = (inputs.tokens.cols, model.config.hidden);
        let mut declare = |cols| store.declare("hidden states", Role::Inputs, tokens, cols);
        match source {
            HiddenSource::Computed => Self::Computed,
            // Whole words for numbers of two bytes each.
            HiddenSource::Cached => Self::Cached(declare(width.div_ceil(2))),
            HiddenSource::Streamed => {
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

    /// What the micro-batch finds.
    pub(super) fn hidden(&self) -> Hidden {
        match *self {
            Self::Computed => Hidden::Computed,
            Self::Cached(words) => Hidden::Cached(words),
            Self::Streamed { x, .. } => Hidden::LastLayer(x),
        }
    }

    /// The plans of what runs before a micro-batch.
    pub(super) fn plans(&self) -> Vec<&Plan> {
        match self {
            Self::Streamed { embeddings, layers, .. } => {
                [embeddings].into_iter().chain(layers.iter().map(|(_, plan)| plan)).collect()
            }
            Self::Computed | Self::Cached(_) => Vec::new(),
        }
    }

    /// Bytes that a micro-batch writes through the queue for it.
    pub(super) fn written(&self) -> u64 {
        if let Self::Cached(words) = self { words.bytes() } else { 0 }
    }

    /// Bytes of the pieces through which layers of a model come.
    pub(super) fn staging(&self, model: &Model) -> u64 {
        let streams = matches!(self, Self::Streamed { .. });
        if streams { Upload::staging_parts(model.config.layers, model.layer_bytes()) } else { 0 }
    }

    /// Makes its programs.
    pub(super) fn load<'g>(&self, gpu: &'g Gpu, memory: &Memory, slots: &Slots) -> Source<'g> {
        let load = |plan: &Plan| plan.load_over(gpu, memory, slots);
        match self {
            Self::Computed => Source::Computed,
            Self::Cached(words) => Source::Cached { words: *words, states: None },
            Self::Streamed { embeddings, layers, .. } => Source::Streamed(Stream {
                embeddings: load(embeddings),
                layers: layers.iter().map(|(layer, plan)| (*layer, load(plan))).collect(),
                upload: Upload::new(gpu),
                source: None,
            }),
        }
    }
}

impl Source<'_> {
    /// Takes the states of the samples to come.
    pub(super) fn cache(&mut self, from: States) {
        if let Self::Cached { states, .. } = self {
            *states = Some(from);
        }
    }

    /// Takes the source of the layers.
    pub(super) fn stream(&mut self, from: Arc<dyn TensorSource>) {
        if let Self::Streamed(Stream { source, .. }) = self {
            *source = Some(from);
        }
    }

    /// Provides the hidden states of a packed sequence that is uploaded already and has so many `targets`.
    pub(super) fn provide(
        &mut self,
        (gpu, memory): (&Gpu, &Memory),
        model: &Model,
        batch: &Batch,
        targets: usize,
    ) -> Result<(), Error> {
        match self {
            Self::Computed => Ok(()),
            Self::Cached { words, states } => {
                let mut bytes = Vec::new();
                let in_sequence = batch.examples.iter().filter_map(|placed| Some((states.as_ref()?, placed.idx)));
                for (states, sample) in in_sequence {
                    states.read(sample, &mut bytes).map_err(model::Error::from)?;
                }
                let each = 2 * model.config.hidden;
                if bytes.len() != each * targets {
                    return Err(Error::NotCached { positions: bytes.len() / each, targets });
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
