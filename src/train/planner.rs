//! The memory planner: chooses what changes memory and time, and the result by rounding alone: tokens of a packed sequence,
//! here a row, how many blocks are computed twice, and how many logits exist at a time. Of what fits, the plan that is
//! estimated to be fastest.

mod time;

use crate::{
    data::{Example, pack},
    graph::ops::head_loss,
    report,
    train::engine::{EnginePlan, Error, LOGITS, Spec},
};

/// Rows are multiples of this many tokens, so that few shapes occur.
pub const ROW_ALIGN: usize = 64;
/// Longest row that is chosen unless an example is longer: beyond it, longer rows save little and cost memory.
const ROW_MOST: usize = 2048;
/// What starting a pass costs, in tokens.
const PASS_COST: usize = 64;
/// Optimizer steps that are looked at to choose a row.
const STEPS_LOOKED_AT: usize = 32;

/// What the choice is bound by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Most bytes of device memory; `None`: unknown.
    pub memory: Option<u64>,
    /// Tokens of a row, if the user says so.
    pub tokens: Option<usize>,
    /// Blocks that are computed twice, if the user says so.
    pub recompute: Option<usize>,
    /// Bytes of logits at a time, if a run that goes on had some.
    pub logits: Option<u64>,
}

/// A row length that could be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    tokens: usize,
    /// What the steps looked at take in rows of this length, in tokens.
    price: usize,
}

/// A plan, and what it was chosen from.
pub struct Choice {
    /// With everything chosen.
    pub spec: Spec,
    /// Of `spec`.
    pub plan: EnginePlan,
    /// The row that computes fewest tokens, and the one that was taken.
    rows: [Row; 2],
    /// Bytes of logits where there is room.
    logits: u64,
}

/// What parts of a plan cost, as shares of the time of a step with the fastest one, by estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Costs {
    /// Rows that pack worse.
    pub rows: f64,
    /// Computing blocks twice.
    pub recompute: f64,
    /// Fewer logits at a time.
    pub logits: f64,
}

impl Choice {
    /// Rows and blocks, in a few words.
    pub fn describe(&self) -> String {
        let Spec { tokens, recompute, model, .. } = &self.spec;
        let rows = format!("rows of {} tokens", report::count(*tokens as u64));
        match (*recompute, model.layers.len()) {
            (0, _) => rows,
            (blocks, layers) if blocks >= layers => format!("{rows}, activations computed twice"),
            (blocks, layers) => format!("{rows}, activations of {blocks} of {layers} blocks computed twice"),
        }
    }

    /// The same with no block, the blocks chosen and all of them computed twice: how many, bytes of device memory, and by how
    /// much longer a step takes than with none, by estimate.
    pub fn recomputed(&self) -> Result<Vec<(usize, u64, f64)>, Error> {
        let mut blocks = vec![0, self.spec.recompute, blocks(&self.spec)];
        blocks.dedup();
        let plan = |blocks| EnginePlan::new(&Spec { recompute: blocks, ..self.spec.clone() });
        let least = time::of_micro_batch(&plan(0)?);
        let line = |blocks| {
            let plan = plan(blocks)?;
            Ok((blocks, plan.footprint().total(), time::of_micro_batch(&plan) / least - 1.0))
        };
        blocks.into_iter().map(line).collect()
    }

    /// What the plan costs.
    pub fn costs(&self) -> Result<Costs, Error> {
        let time = |spec: &Spec| EnginePlan::new(spec).map(|plan| time::of_micro_batch(&plan));
        let kept = Spec { recompute: 0, ..self.spec.clone() };
        let (full, chosen) = (time(&Spec { logits: self.logits, ..kept.clone() })?, time(&kept)?);
        Ok(Costs {
            rows: self.rows[1].price as f64 / self.rows[0].price.max(1) as f64 - 1.0,
            recompute: (time::of_micro_batch(&self.plan) - chosen) / full,
            logits: chosen / full - 1.0,
        })
    }
}

/// The fastest plan of `spec` that fits. `batches` are the examples of some optimizer steps, the longest of all among
/// them. `spec`'s own `tokens`, `recompute` and `logits` are ignored.
///
/// # Errors
/// If the models do not go together, or nothing fits; says what the least plan needs.
pub fn choose(spec: &Spec, batches: &[Vec<&Example>], bounds: Bounds) -> Result<Choice, Error> {
    let group = spec.objective.group();
    let tokens = |examples: &[&Example]| examples.iter().map(|example| example.ids.len()).sum::<usize>();
    let longest = batches.iter().flat_map(|batch| batch.chunks(group)).map(tokens).max().unwrap_or(1);
    let rows = match bounds.tokens {
        Some(tokens) if tokens < longest => return Err(Error::ShortRow { tokens, longest }),
        Some(tokens) => vec![Row { tokens, price: price(batches, group, tokens) }],
        None => row_lengths(batches, group, longest),
    };
    let blocks = blocks(spec);
    let recompute = match bounds.recompute {
        Some(given) => [given.min(blocks); 2],
        None if spec.train => [0, blocks],
        None => [0; 2],
    };
    let logits = bounds.logits.map_or_else(|| logits(spec, longest), |given| vec![given]);
    Search { spec, rows, recompute, logits, memory: bounds.memory }.run()
}

/// What there is to choose from.
struct Search<'a> {
    spec: &'a Spec,
    /// Those that compute fewest tokens first; at least one.
    rows: Vec<Row>,
    /// The least and the most blocks.
    recompute: [usize; 2],
    /// The most first; at least one.
    logits: Vec<u64>,
    memory: Option<u64>,
}

impl Search<'_> {
    fn run(self) -> Result<Choice, Error> {
        let (fewest, most_logits, least_logits) = (self.rows[0], self.logits[0], self.logits[self.logits.len() - 1]);
        match self.plan(fewest, self.recompute[0], most_logits)? {
            Some(fastest) if self.fits(&fastest) => return Ok(fastest),
            _ => {}
        }
        let shortest = self.rows.iter().copied().min_by_key(|row| row.tokens).unwrap_or(fewest);
        let least = self.spec(shortest, self.recompute[1], least_logits);
        let least = self.choice(EnginePlan::new(&least)?, least, shortest);
        let mut best: Option<(f64, Choice)> = None;
        for row in self.rows.iter().filter(|_| self.fits(&least)) {
            if best.as_ref().is_some_and(|(time, _)| *time <= row.price as f64) {
                break;
            }
            for logits in &self.logits {
                let Some(choice) = self.least_recompute(*row, *logits)? else { continue };
                let costs = choice.costs()?;
                let time = row.price as f64 * (1.0 + costs.recompute + costs.logits);
                if best.as_ref().is_none_or(|(least, _)| time < *least) {
                    best = Some((time, choice));
                }
            }
        }
        best.map(|(_, choice)| choice).ok_or_else(|| self.refused(&least))
    }

    /// With as few blocks computed twice as fit; `None` if even all are not enough, or a tensor exceeds a binding. Each block
    /// that is kept adds about as many bytes as any other, so that few tries find the number.
    fn least_recompute(&self, row: Row, logits: u64) -> Result<Option<Choice>, Error> {
        let [mut least, mut most] = self.recompute;
        let Some(mut found) = self.plan(row, most, logits)?.filter(|choice| self.fits(choice)) else {
            return Ok(None);
        };
        let (blocks, all) = (most, found.plan.footprint().total());
        let mut guess = least;
        while least < most {
            match self.plan(row, guess, logits)? {
                Some(choice) if self.fits(&choice) => (found, most, guess) = (choice, guess, least.midpoint(guess)),
                Some(choice) if guess == self.recompute[0] => {
                    let each = choice.plan.footprint().total().saturating_sub(all) / (blocks - guess) as u64;
                    let room = self.memory.unwrap_or(u64::MAX).saturating_sub(all) / each.max(1);
                    least = guess + 1;
                    guess = blocks.saturating_sub(usize::try_from(room).unwrap_or(blocks)).clamp(least, most);
                }
                _ => {
                    least = guess + 1;
                    guess = least.min(most);
                }
            }
            guess = guess.min(most.saturating_sub(1)).max(least);
        }
        Ok(Some(found))
    }

    /// `None`: a tensor exceeds a binding.
    fn plan(&self, row: Row, recompute: usize, logits: u64) -> Result<Option<Choice>, Error> {
        let spec = self.spec(row, recompute, logits);
        match EnginePlan::new(&spec) {
            Err(Error::Row { .. }) => Ok(None),
            plan => Ok(Some(self.choice(plan?, spec, row))),
        }
    }

    fn spec(&self, row: Row, recompute: usize, logits: u64) -> Spec {
        Spec { tokens: row.tokens, recompute, logits, ..self.spec.clone() }
    }

    fn choice(&self, plan: EnginePlan, spec: Spec, row: Row) -> Choice {
        Choice { spec, plan, rows: [self.rows[0], row], logits: self.logits[0] }
    }

    fn fits(&self, choice: &Choice) -> bool {
        self.memory.is_none_or(|most| choice.plan.footprint().total() <= most)
    }

    fn refused(&self, least: &Choice) -> Error {
        let recompute = if least.spec.train && least.spec.recompute == 0 { "allow --recompute, " } else { "" };
        let advice = format!("{recompute}lower --max-length, take a smaller model, or give more --memory");
        Error::memory(least.plan.footprint().total(), self.memory.unwrap_or(0), least.describe(), advice)
    }
}

/// Of the model that has most.
fn blocks(spec: &Spec) -> usize {
    let auxiliaries = spec.auxiliaries.iter().map(|auxiliary| auxiliary.config.layers.len());
    auxiliaries.fold(spec.model.layers.len(), usize::max)
}

/// Bytes of logits that make a difference for rows of at least `tokens`: all there is room for, half, a quarter.
fn logits(spec: &Spec, tokens: usize) -> Vec<u64> {
    let most = LOGITS.min(spec.max_binding);
    let mut sizes: Vec<u64> = (0..3).map(|halved| most >> halved).collect();
    let tokens = tokens.next_multiple_of(ROW_ALIGN);
    sizes.dedup_by_key(|bytes| head_loss::chunk_rows(tokens, spec.model.vocab, *bytes));
    sizes
}

/// What the first steps take in rows of `tokens` tokens.
fn price(batches: &[Vec<&Example>], group: usize, tokens: usize) -> usize {
    let passes = |batch: &Vec<&Example>| pack::pack_groups(batch, group, tokens).map_or(0, |rows| rows.len());
    batches.iter().take(STEPS_LOOKED_AT).map(passes).sum::<usize>() * (tokens + PASS_COST)
}

/// Candidate row lengths, those that compute fewest tokens first.
fn row_lengths(batches: &[Vec<&Example>], group: usize, longest: usize) -> Vec<Row> {
    let tokens = |batch: &Vec<&Example>| batch.iter().map(|example| example.ids.len()).sum::<usize>();
    let shortest = longest.next_multiple_of(ROW_ALIGN);
    let most = batches.iter().map(tokens).max().unwrap_or(1).next_multiple_of(ROW_ALIGN).min(ROW_MOST);
    let candidates = (shortest..=most.max(shortest)).step_by(ROW_ALIGN);
    let mut rows: Vec<Row> = candidates.map(|tokens| Row { tokens, price: price(batches, group, tokens) }).collect();
    rows.sort_unstable_by_key(|row| (row.price, row.tokens));
    // After the cheapest, those that save memory worth a try: each a quarter shorter than those before, and the shortest.
    let mut least = usize::MAX;
    rows.retain(|row| {
        let saves =
            least == usize::MAX || row.tokens * 4 <= least * 3 || (row.tokens == shortest && least > shortest);
        least = if saves { row.tokens } else { least };
        saves
    });
    rows
}
