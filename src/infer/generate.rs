//! Text from a model: prompts of several sequences into a key-value cache, then token after token for all of them.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{
    formats::{AdapterFolder, Folder},
    gpu::{Extents, Gpu, Kernel, Program},
    graph::{
        ops,
        plan::Plan,
        tape::Tape,
        tensor::{ELEMENT, Memory, Role, Store, Tensor},
    },
    model::{Adapter, Config, Inputs, Layout, LongTexts, Model},
    train::engine::Error,
};

/// Prompt tokens that go through at a time.
const PREFILL: usize = 64;

/// How tokens are chosen.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// 0: always the likeliest token.
    pub temperature: f64,
    /// Draw only from this many likeliest tokens; 0: from all.
    pub top_k: usize,
    /// Draw only from the likeliest tokens that make up this share.
    pub top_p: f64,
}

/// A text to be continued. What comes of it does not depend on the others that are continued beside it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its tokens so far.
    pub prompt: Vec<u32>,
    /// Where its randomness starts.
    pub seed: u64,
}

/// What to do after a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on with this text.
    More,
    /// This text has ended.
    End,
    /// All texts end.
    Stop,
}

/// The most texts, up to `wanted`, of `capacity` tokens that fit this device and `memory` bytes; 1 at least.
pub fn sequences(gpu: &Gpu, config: &Config, capacity: usize, wanted: usize, memory: Option<u64>) -> usize {
    let row = (config.kv_heads * config.head_dim) as u64 * ELEMENT;
    let cache = capacity as u64 * row;
    let weights = config.parameter_count() as u64 * ELEMENT;
    let each = 2 * config.layers as u64 * cache + config.vocab as u64 * ELEMENT;
    let by_memory = memory.map_or(u64::MAX, |bytes| bytes.saturating_sub(weights) / each.max(1));
    // A cache has one row more than its texts.
    let most = by_memory.min(gpu.max_binding().saturating_sub(row) / cache.max(1));
    usize::try_from(most).unwrap_or(usize::MAX).clamp(1, wanted.max(1))
}

/// The tensors of tokens on their way into the cache.
struct Lane {
    inputs: Inputs,
    /// `[1, T]` cache row of each token.
    rows: Tensor,
    program: Program,
    size: usize,
}

/// A token on its way: which, where in its text, and the first row of its text in the cache and in the rotary tables.
#[derive(Clone, Copy)]
struct Feed {
    token: u32,
    position: usize,
    first: usize,
    first_angle: usize,
}

/// A loaded model with room for several sequences.
pub struct Generator<'g> {
    gpu: &'g Gpu,
    memory: Memory,
    prefill: Lane,
    decode: Lane,
    logits: Tensor,
    sequences: usize,
    capacity: usize,
    long: Option<LongTexts>,
    /// First row of the rotary tables for each text.
    first_angles: Vec<usize>,
}

/// A model with room for several texts, declared and planned, nothing allocated.
pub struct Blueprint {
    store: Store,
    model: Model,
    /// Inputs, cache rows and plan of the prompt's lane and of the one that decodes.
    lanes: [(Inputs, Tensor, Plan); 2],
    logits: Tensor,
    sequences: usize,
    capacity: usize,
}

impl Blueprint {
    /// Declares and plans room for `sequences` texts of `capacity` tokens on a device that binds `max_binding` bytes.
    ///
    /// # Errors
    /// If something exceeds a binding.
    pub fn new(
        mut config: Config,
        adapter: Option<Layout>,
        sequences: usize,
        capacity: usize,
        max_binding: u64,
    ) -> Result<Self, Error> {
        if adapter.as_ref().is_some_and(|layout| layout.config.dora) {
            config.widen(); // the lengths of rows are read as f32
        }
        let mut store = Store::default();
        // One row more takes the keys of lanes that have nothing to say.
        let (rows, width) = (sequences * capacity + 1, config.kv_heads * config.head_dim);
        let mut cache = |name| store.declare(name, Role::Cache, rows, width);
        let caches: Vec<[Tensor; 2]> = (0..config.layers).map(|_| [cache("keys"), cache("values")]).collect();
        if caches.first().is_some_and(|[keys, _]| keys.bytes() > max_binding) {
            return Err(Error::Text { tokens: capacity });
        }
        let logits = store.declare("logits", Role::Inputs, sequences, config.vocab);
        let mut model = Model::declare(&mut store, config, Role::Weights, false, capacity, max_binding)?;
        if let Some(layout) = adapter {
            let adapter = Adapter::declare(&mut store, layout, Role::Weights, false, None, max_binding)?;
            model = model.view(Some(adapter));
        }
        let lanes = [(PREFILL, None), (sequences, Some(logits))].map(|(size, to)| {
            let inputs = Inputs::declare(&mut store, size);
            let rows = store.declare("cache rows", Role::Inputs, 1, size);
            let mut tape = Tape::new();
            let hidden = model.hidden_cached(&mut tape, inputs, rows, &caches);
            if let Some(to) = to {
                ops::head_loss::logits(&mut tape, model.head(hidden), to);
            }
            (inputs, rows, Plan::new(tape.finish()))
        });
        Ok(Self { store, model, lanes, logits, sequences, capacity })
    }

    /// Bytes of device memory that [`Self::load`] takes.
    pub fn bytes(&self) -> u64 {
        let stored = [Role::Cache, Role::Weights, Role::Inputs].map(|role| self.store.bytes(role));
        stored.iter().sum::<u64>() + self.lanes.iter().map(|(_, _, plan)| plan.bytes()).sum::<u64>()
    }

    /// The dispatches of a step of either kind, for [`crate::gpu::tune`].
    pub fn work(&self) -> impl Iterator<Item = (&'static Kernel, Extents)> {
        self.lanes.iter().flat_map(|(_, _, plan)| plan.dispatches())
    }

    /// Allocates everything and reads the weights.
    ///
    /// # Errors
    /// If the weights cannot be read or the device has no room.
    pub fn load<'g>(
        self,
        gpu: &'g Gpu,
        folder: &Folder,
        adapter: Option<&AdapterFolder>,
    ) -> Result<Generator<'g>, Error> {
        let Self { store, model, lanes, logits, sequences, capacity } = self;
        let memory = Memory::allocate(gpu, &store)?;
        for (tensor, values) in model.rotary_tables() {
            memory.write(gpu, tensor, 0, &values);
        }
        model.weights.load(gpu, &memory, folder)?;
        if let Some((declared, folder)) = model.adapter.as_ref().zip(adapter) {
            declared.load(gpu, &memory, folder)?;
        }
        let lane = |(inputs, rows, plan): (Inputs, Tensor, Plan)| -> Result<Lane, Error> {
            Ok(Lane { inputs, rows, program: plan.load(gpu, &memory)?, size: inputs.tokens.len() })
        };
        let [prefill, decode] = lanes;
        let (prefill, decode) = (lane(prefill)?, lane(decode)?);
        let (long, first_angles) = (model.long_texts(), Vec::new());
        Ok(Generator { gpu, memory, prefill, decode, logits, sequences, capacity, long, first_angles })
    }
}

impl<'g> Generator<'g> {
    /// Loads a model with room for `sequences` texts of `capacity` tokens.
    ///
    /// # Errors
    /// If the weights cannot be read or the device has no room.
    pub fn new(
        gpu: &'g Gpu,
        config: Config,
        folder: &Folder,
        sequences: usize,
        capacity: usize,
    ) -> Result<Self, Error> {
        Blueprint::new(config, None, sequences, capacity, gpu.max_binding())?.load(gpu, folder, None)
    }

    /// Continues `requests` (one per sequence, no prompt empty) until one of the tokens `ends` ends a text, `each(sequence,
    /// token)` says so, `most` tokens are written or the capacity is reached. `each` sees tokens as they come, an ending one
    /// too. Where positions depend on the length of a text, it is taken to become as long as it may.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If a prompt is empty or longer than the capacity, or there are more requests than sequences.
    pub fn generate(
        &mut self,
        requests: &[Request],
        most: usize,
        sampling: Sampling,
        ends: &[u32],
        mut each: impl FnMut(usize, u32) -> Next,
    ) -> Result<Vec<Vec<u32>>, Error> {
        let fits = |request: &Request| (1..=self.capacity).contains(&request.prompt.len());
        assert!(requests.len() <= self.sequences && requests.iter().all(fits));
        let longest = requests.iter().map(|request| request.prompt.len().saturating_add(most).min(self.capacity));
        self.first_angles = longest.map(|length| self.long.map_or(0, |long| long.first_row(length))).collect();
        self.fill(requests)?;
        let mut random: Vec<ChaCha8Rng> = requests.iter().map(|r| ChaCha8Rng::seed_from_u64(r.seed)).collect();
        let mut written: Vec<Vec<u32>> = vec![Vec::new(); requests.len()];
        let last = |(i, r): (usize, &Request)| Some(self.feed(i, r.prompt.len() - 1, *r.prompt.last()?));
        let mut feeds: Vec<Option<Feed>> = requests.iter().enumerate().map(last).collect();
        for _ in 0..most {
            if feeds.iter().all(Option::is_none) {
                break;
            }
            let logits = self.step(&feeds)?;
            for (i, feed) in feeds.iter_mut().enumerate() {
                let Some(Feed { position, .. }) = *feed else { continue };
                let logits = &logits[i * self.logits.cols..(i + 1) * self.logits.cols];
                let token = choose(logits, sampling, &mut random[i]);
                written[i].push(token);
                let next = each(i, token);
                if next == Next::Stop {
                    return Ok(written);
                }
                let ended = next == Next::End || ends.contains(&token) || position + 2 > self.capacity;
                *feed = (!ended).then(|| self.feed(i, position + 1, token));
            }
        }
        Ok(written)
    }

    fn feed(&self, sequence: usize, position: usize, token: u32) -> Feed {
        Feed { token, position, first: sequence * self.capacity, first_angle: self.first_angles[sequence] }
    }

    /// Puts all but the last token of every prompt into the cache.
    fn fill(&mut self, requests: &[Request]) -> Result<(), Error> {
        let all: Vec<Option<Feed>> = requests
            .iter()
            .enumerate()
            .flat_map(|(i, Request { prompt, .. })| {
                let before_last = prompt[..prompt.len() - 1].iter().enumerate();
                before_last.map(|(position, token)| Some(self.feed(i, position, *token))).collect::<Vec<_>>()
            })
            .collect();
        let scratch = self.sequences * self.capacity;
        for some in all.chunks(PREFILL) {
            self.prefill.run(self.gpu, &self.memory, some, scratch)?;
        }
        Ok(())
    }

    /// One token of every sequence; the logits `[sequences, V]` that follow.
    fn step(&mut self, feeds: &[Option<Feed>]) -> Result<Vec<f32>, Error> {
        self.decode.run(self.gpu, &self.memory, feeds, self.sequences * self.capacity)?;
        Ok(self.memory.read(self.gpu, self.logits)?)
    }
}

impl Lane {
    fn run(&mut self, gpu: &Gpu, memory: &Memory, feeds: &[Option<Feed>], scratch: usize) -> Result<(), Error> {
        let (mut tokens, mut positions) = (vec![0u32; self.size], vec![0u32; self.size]);
        let (mut rows, mut spans) = (vec![scratch as u32; self.size], vec![[0u32; 2]; self.size]);
        for (i, feed) in feeds.iter().enumerate().filter_map(|(i, feed)| Some((i, (*feed)?))) {
            let row = (feed.first + feed.position) as u32;
            (tokens[i], positions[i], rows[i]) = (feed.token, (feed.first_angle + feed.position) as u32, row);
            spans[i] = [feed.first as u32, row + 1];
        }
        memory.write(gpu, self.inputs.tokens, 0, &tokens);
        memory.write(gpu, self.inputs.positions, 0, &positions);
        memory.write(gpu, self.inputs.spans, 0, &spans);
        memory.write(gpu, self.rows, 0, &rows);
        Ok(self.program.run(gpu)?)
    }
}

/// The next token by its logits.
fn choose(logits: &[f32], sampling: Sampling, random: &mut ChaCha8Rng) -> u32 {
    // The first of equals, as in PyTorch.
    let best = logits.iter().enumerate().fold(0, |best, (i, z)| if *z > logits[best] { i } else { best });
    if sampling.temperature == 0.0 {
        return best as u32;
    }
    let most = f64::from(logits[best]);
    let mut shares: Vec<(usize, f64)> =
        logits.iter().map(|z| ((f64::from(*z) - most) / sampling.temperature).exp()).enumerate().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if sampling.top_k > 0 {
        shares.truncate(sampling.top_k);
    }
    let total: f64 = shares.iter().map(|(_, share)| share).sum();
    let mut kept = 0.0;
    let reached = shares.iter().position(|(_, share)| {
        kept += share;
        kept >= sampling.top_p * total
    });
    shares.truncate(reached.map_or(shares.len(), |last| last + 1));
    let mut rest = kept * (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    for (token, share) in &shares {
        rest -= share;
        if rest < 0.0 {
            return *token as u32;
        }
    }
    shares.last().map_or(best as u32, |(token, _)| *token as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_logits() {
        let logits = [0.0, 1.0, 1.0, -1.0f32];
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |temperature, top_k, top_p| -> Vec<u32> {
            let sampling = Sampling { temperature, top_k, top_p };
            let mut counts = vec![0; 4];
            (0..4000).for_each(|_| counts[choose(&logits, sampling, &mut random) as usize] += 1);
            counts
        };
        assert_eq!(draw(0.0, 0, 1.0), [0, 4000, 0, 0]);
        assert_eq!(draw(1.0, 1, 1.0), [0, 4000, 0, 0]);
        let two = draw(1.0, 0, 0.7);
        assert!(two[0] == 0 && two[3] == 0 && two[1].abs_diff(2000) < 150, "{two:?}");
        let all = draw(1.0, 0, 1.0);
        let total: f64 = logits.iter().map(|z| f64::from(*z).exp()).sum();
        for (count, z) in all.iter().zip(logits) {
            let want = 4000.0 * f64::from(z).exp() / total;
            assert!((f64::from(*count) - want).abs() < 130.0, "{all:?}");
        }
    }
}
