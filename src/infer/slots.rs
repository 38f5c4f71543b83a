//! Text from a model, in slots of one key-value cache: [`Slots::admit`] takes a prompt, [`Slots::step`] writes a token of every
//! text, [`Slots::evict`] frees a slot. A text does not depend on those in other slots.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::Sampling;
use crate::{
    formats::TensorSource,
    gpu::{Extents, Gpu, Kernel, Program, Readback, Upload},
    graph::{
        ops,
        plan::{self, Plan},
        tape::Tape,
        tensor::{ELEMENT, Memory, Role, Store, Tensor},
    },
    model::{Adapter, Caches, Config, Inputs, Layout, LongTexts, Model, Room},
    train::engine::Error,
};

/// Prompt tokens that go through at a time.
const PREFILL: usize = 64;
/// Bytes that are written for a token on its way into the cache.
const FED: u64 = 5 * ELEMENT;

/// A text to be continued.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its tokens so far; at least one.
    pub prompt: Vec<u32>,
    /// Where its randomness starts.
    pub seed: u64,
    /// How its tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens that are written; at least one.
    pub most: usize,
}

/// A token that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The slot of its text.
    pub slot: usize,
    /// The token.
    pub token: u32,
    /// Whether the text is as long as it may become: its slot is free again.
    pub is_last: bool,
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

/// A model with room for several texts, declared and planned, nothing allocated.
pub struct SlotsPlan {
    store: Store,
    model: Model,
    /// Of prompts, and of the next token of every text.
    passes: [PlannedPass; 2],
    logits: Tensor,
    likeliest: Tensor,
    slots: usize,
    capacity: usize,
}

/// A pass of some tokens into the cache, planned.
struct PlannedPass {
    inputs: Inputs,
    /// `[1, T]`: the cache row of each token.
    rows: Tensor,
    plan: Plan,
}

/// A loaded model with room for several texts.
pub struct Slots<'g> {
    gpu: &'g Gpu,
    memory: Memory,
    prefill: Pass,
    decode: Pass,
    /// `[slots, V]`
    logits: Tensor,
    /// `[1, slots]`
    likeliest: Tensor,
    results: Readback,
    texts: Vec<Option<Text>>,
    capacity: usize,
    long: Option<LongTexts>,
}

struct Pass {
    inputs: Inputs,
    rows: Tensor,
    program: Program,
}

/// A text in a slot.
struct Text {
    /// Prompt tokens that are not in the cache yet, but for the last.
    unread: Vec<u32>,
    /// The token that goes in next, and where it stands.
    token: u32,
    position: usize,
    /// First row of the rotary tables.
    first_angle: usize,
    sampling: Sampling,
    random: ChaCha8Rng,
    /// Tokens that may still be written.
    left: usize,
}

/// A token on its way into the cache.
#[derive(Clone, Copy)]
struct Feed {
    token: u32,
    position: usize,
    /// First row of its text in the cache, and in the rotary tables.
    first: usize,
    first_angle: usize,
}

impl SlotsPlan {
    /// Declares and plans room for `slots` texts of `capacity` tokens on a device that binds `max_binding` bytes.
    ///
    /// # Errors
    /// If something exceeds a binding.
    pub fn new(
        mut config: Config,
        adapter: Option<Layout>,
        slots: usize,
        capacity: usize,
        max_binding: u64,
    ) -> Result<Self, Error> {
        if adapter.as_ref().is_some_and(|layout| layout.config.dora) {
            config.widen(); // the lengths of rows are read as f32
        }
        let mut store = Store::default();
        let caches = Caches::declare(&mut store, &config, Room { texts: slots, capacity, step: PREFILL });
        if caches.largest() > max_binding {
            return Err(Error::Text { tokens: capacity });
        }
        let logits = store.declare("logits", Role::Inputs, slots, config.vocab);
        let likeliest = store.declare("likeliest tokens", Role::Inputs, 1, slots);
        let mut model = Model::declare(&mut store, config, Role::Weights, false, capacity, max_binding)?;
        if let Some(layout) = adapter {
            let adapter = Adapter::declare(&mut store, layout, Role::Weights, false, None, max_binding)?;
            model = model.view(Some(adapter));
        }
        let passes = [(PREFILL, false), (slots, true)].map(|(size, decodes)| {
            let inputs = Inputs::declare(&mut store, size);
            let rows = store.declare("cache rows", Role::Inputs, 1, size);
            let mut tape = Tape::new();
            let hidden = model.hidden_cached(&mut tape, inputs, rows, &caches);
            if decodes {
                ops::head_loss::logits(&mut tape, model.head(hidden), logits);
                ops::likeliest(&mut tape, logits, likeliest);
            }
            PlannedPass { inputs, rows, plan: Plan::new(tape.finish()) }
        });
        Ok(Self { store, model, passes, logits, likeliest, slots, capacity })
    }

    /// The plan with the most slots, up to `wanted`, that takes no more than `memory` bytes.
    ///
    /// # Errors
    /// If not even one slot fits.
    pub fn fitting(
        config: &Config,
        adapter: Option<&Layout>,
        wanted: usize,
        capacity: usize,
        max_binding: u64,
        memory: Option<u64>,
    ) -> Result<Self, Error> {
        let plan = |slots| Self::new(config.clone(), adapter.cloned(), slots, capacity, max_binding);
        let fits = |plan: &Self| memory.is_none_or(|most| plan.bytes() <= most);
        let mut best = plan(1)?;
        if let Some(available) = memory.filter(|_| !fits(&best)) {
            let least = format!("one text of {capacity} tokens");
            return Err(Error::memory(
                best.bytes(),
                available,
                least,
                "lower --max-new-tokens, or take a smaller model",
            ));
        }
        let (mut fewest, mut most) = (1, wanted.max(1));
        let mut tried = most;
        while fewest < most {
            match plan(tried) {
                Ok(plan) if fits(&plan) => (best, fewest) = (plan, tried),
                Ok(_) | Err(Error::Text { .. }) => most = tried - 1,
                Err(error) => return Err(error),
            }
            tried = (fewest + most).div_ceil(2);
        }
        Ok(best)
    }

    /// Bytes of device memory that [`Self::load`] and what follows take.
    pub fn bytes(&self) -> u64 {
        let stored = [Role::Cache, Role::Weights, Role::Inputs].map(|role| self.store.bytes(role));
        let tables = self.model.rotary_tensors().iter().map(Tensor::bytes).sum();
        // All prompts may be on their way at once.
        let tokens = (self.slots * self.capacity).next_multiple_of(PREFILL) + self.slots;
        let stepping = FED * tokens as u64 + Gpu::read_staging(self.logits.bytes());
        let staging = [Upload::staging(self.store.bytes(Role::Weights)), tables, stepping];
        let passes = self.passes.each_ref().map(|pass| &pass.plan);
        stored.iter().sum::<u64>()
            + plan::Slots::bytes(&passes)
            + Readback::staging(1, self.likeliest.bytes())
            + staging.into_iter().max().unwrap_or(0)
    }

    /// The dispatches of a pass of either kind, for [`crate::kernels::tuner`].
    pub fn work(&self) -> impl Iterator<Item = (&'static Kernel, Extents)> {
        self.passes.iter().flat_map(|pass| pass.plan.dispatches())
    }

    /// Allocates everything and reads the weights.
    ///
    /// # Errors
    /// If the weights cannot be read or the device has no room.
    pub fn load<'g>(
        self,
        gpu: &'g Gpu,
        source: &dyn TensorSource,
        adapter: Option<&dyn TensorSource>,
    ) -> Result<Slots<'g>, Error> {
        let Self { store, model, passes, logits, likeliest, slots, capacity } = self;
        gpu.flush()?; // what was dropped before is gone now
        let memory = Memory::allocate(gpu, &store)?;
        for (tensor, values) in model.rotary_tables() {
            memory.write(gpu, tensor, 0, &values);
        }
        gpu.flush()?;
        model.weights.load(gpu, &memory, source)?;
        if let Some((declared, values)) = model.adapter.as_ref().zip(adapter) {
            declared.load(gpu, &memory, values)?;
        }
        let shared = plan::Slots::allocate(gpu, &passes.each_ref().map(|pass| &pass.plan))?;
        let [prefill, decode] = passes.map(|PlannedPass { inputs, rows, plan }| Pass {
            inputs,
            rows,
            program: plan.load_over(gpu, &memory, &shared),
        });
        let results = Readback::new(gpu, 1, likeliest.bytes());
        let texts = (0..slots).map(|_| None).collect();
        let long = model.long_texts();
        Ok(Slots { gpu, memory, prefill, decode, logits, likeliest, results, texts, capacity, long })
    }
}

impl Slots<'_> {
    /// Texts at a time.
    pub fn count(&self) -> usize {
        self.texts.len()
    }

    /// Takes a text into a free slot and says which; `None` if there is none. Where positions depend on the length of a text,
    /// it is taken to become as long as it may.
    ///
    /// # Panics
    /// If the prompt is empty or longer than the capacity, or nothing may be written.
    pub fn admit(&mut self, request: Request) -> Option<usize> {
        let Request { mut prompt, seed, sampling, most } = request;
        assert!((1..=self.capacity).contains(&prompt.len()) && most > 0);
        let slot = self.texts.iter().position(Option::is_none)?;
        let longest = prompt.len().saturating_add(most).min(self.capacity);
        // A token that is written need not fit: only tokens that were read lie in the cache.
        let left = most.min(self.capacity + 1 - prompt.len());
        let position = prompt.len() - 1;
        let token = prompt.pop()?;
        let first_angle = self.long.map_or(0, |long| long.first_row(longest));
        let random = ChaCha8Rng::seed_from_u64(seed);
        self.texts[slot] = Some(Text { unread: prompt, token, position, first_angle, sampling, random, left });
        Some(slot)
    }

    /// Frees a slot.
    pub fn evict(&mut self, slot: usize) {
        self.texts[slot] = None;
    }

    /// Writes the next token of every text, in the order of their slots.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(&mut self) -> Result<Vec<Written>, Error> {
        self.fill()?;
        let feeds: Vec<Option<Feed>> = (0..self.texts.len()).map(|slot| self.feed(slot)).collect();
        let scratch = self.texts.len() * self.capacity;
        self.decode.give(self.gpu, &self.memory, &feeds, scratch);
        let likeliest = self.memory.slice(self.likeliest);
        let ticket = self.decode.program.run_then_read(self.gpu, usize::MAX, &likeliest, &mut self.results, None)?;
        let likeliest: Vec<u32> = bytemuck::pod_collect_to_vec(&self.results.fetch(self.gpu, ticket)?);
        let draws = self.texts.iter().flatten().any(|text| !text.sampling.is_greedy());
        let logits: Vec<f32> = if draws { self.memory.read(self.gpu, self.logits)? } else { Vec::new() };
        let mut written = Vec::new();
        for (slot, place) in self.texts.iter_mut().enumerate() {
            let Some(text) = place else { continue };
            let token = if text.sampling.is_greedy() {
                likeliest[slot]
            } else {
                let vocab = self.logits.cols;
                text.sampling.draw(&logits[slot * vocab..][..vocab], &mut text.random)
            };
            (text.token, text.position, text.left) = (token, text.position + 1, text.left - 1);
            let is_last = text.left == 0;
            if is_last {
                *place = None;
            }
            written.push(Written { slot, token, is_last });
        }
        Ok(written)
    }

    /// Continues all `requests`, as many at a time as there are slots, until one of the tokens `ends` ends a text, `each(request,
    /// token)` says so, or a text is as long as it may become. `each` sees tokens as they come, an ending one too.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// As [`Self::admit`].
    pub fn generate(
        &mut self,
        requests: &[Request],
        ends: &[u32],
        mut each: impl FnMut(usize, u32) -> Next,
    ) -> Result<Vec<Vec<u32>>, Error> {
        self.texts.fill_with(|| None);
        let mut written: Vec<Vec<u32>> = vec![Vec::new(); requests.len()];
        let mut waiting = requests.iter().enumerate();
        let mut request_of = vec![0; self.texts.len()];
        loop {
            while self.texts.iter().any(Option::is_none) {
                let Some((i, request)) = waiting.next() else { break };
                if let Some(slot) = self.admit(request.clone()) {
                    request_of[slot] = i;
                }
            }
            if self.texts.iter().all(Option::is_none) {
                return Ok(written);
            }
            for Written { slot, token, .. } in self.step()? {
                let i = request_of[slot];
                written[i].push(token);
                let next = each(i, token);
                if next == Next::Stop {
                    return Ok(written);
                }
                if next == Next::End || ends.contains(&token) {
                    self.evict(slot);
                }
            }
        }
    }

    fn feed(&self, slot: usize) -> Option<Feed> {
        let Text { token, position, first_angle, .. } = *self.texts[slot].as_ref()?;
        Some(Feed { token, position, first: slot * self.capacity, first_angle })
    }

    /// Puts what is unread of every prompt into the cache.
    fn fill(&mut self) -> Result<(), Error> {
        let mut feeds = Vec::new();
        for (slot, text) in self.texts.iter_mut().enumerate().filter_map(|(slot, text)| Some((slot, text.as_mut()?)))
        {
            let (first, first_angle) = (slot * self.capacity, text.first_angle);
            let unread = std::mem::take(&mut text.unread).into_iter().enumerate();
            feeds.extend(unread.map(|(position, token)| Some(Feed { token, position, first, first_angle })));
        }
        let scratch = self.texts.len() * self.capacity;
        for some in feeds.chunks(PREFILL) {
            self.prefill.give(self.gpu, &self.memory, some, scratch);
            self.prefill.program.run(self.gpu)?;
        }
        Ok(())
    }
}

impl Pass {
    /// Writes the inputs of these tokens; those that are none go to the cache row `scratch`.
    fn give(&self, gpu: &Gpu, memory: &Memory, feeds: &[Option<Feed>], scratch: usize) {
        let size = self.inputs.tokens.len();
        let (mut tokens, mut positions) = (vec![0u32; size], vec![0u32; size]);
        let (mut rows, mut spans) = (vec![scratch as u32; size], vec![[0u32; 2]; size]);
        for (i, feed) in feeds.iter().enumerate().filter_map(|(i, feed)| Some((i, (*feed)?))) {
            let row = (feed.first + feed.position) as u32;
            (tokens[i], positions[i], rows[i]) = (feed.token, (feed.first_angle + feed.position) as u32, row);
            spans[i] = [feed.first as u32, row + 1];
        }
        memory.write(gpu, self.inputs.tokens, 0, &tokens);
        memory.write(gpu, self.inputs.positions, 0, &positions);
        memory.write(gpu, self.inputs.spans, 0, &spans);
        memory.write(gpu, self.rows, 0, &rows);
    }
}
