//! What to change where a run does not fit: formats and lengths change the result, so they are named and never taken.

use super::{error::Error, outline::outline};
use crate::{
    data::{Example, Overlength},
    model,
    report::bytes,
    settings::{Config, Quantize, Recompute},
    train::{engine::Spec, planner::Choice},
};

/// Of the settings that would fit, how many are named.
const NAMED: usize = 3;
/// Rank that adapters are proposed with.
const RANK: usize = 16;
/// Longest examples are not proposed to become shorter than this.
const SHORTEST: usize = 64;

/// Other settings, as flags, with what they come to.
struct Proposal {
    flags: String,
    config: Config,
}

/// The proposals that fit, as a sentence for the user; `None` if none does. Those that change the result least come first.
/// `plan` plans models under other settings for some examples.
pub(super) fn advice(
    config: &Config,
    main: &model::Config,
    batches: &[Vec<&Example>],
    plan: impl Fn(&Config, Spec, &[Vec<&Example>]) -> Result<Choice, Error>,
) -> Option<String> {
    let fitting = |Proposal { flags, config }: Proposal| {
        let cut: Vec<Vec<Example>> = batches.iter().map(|batch| cut(batch, config.max_length)).collect();
        let cut: Vec<Vec<&Example>> = cut.iter().map(|batch| batch.iter().collect()).collect();
        let choice = plan(&config, outline(&config, main).ok()?, &cut).ok()?;
        Some(format!("{flags} ({})", bytes(choice.plan.footprint().total())))
    };
    let longest = batches.iter().flatten().map(|example| example.ids.len()).max().unwrap_or(0);
    let allowed = proposals(config, longest).filter(|proposal| proposal.config.is_sound());
    let named: Vec<String> = allowed.filter_map(fitting).take(NAMED).collect();
    (!named.is_empty()).then(|| format!("it would fit with {}, or give more --memory", named.join(", with ")))
}

/// In the order of how much they change.
fn proposals(config: &Config, longest: usize) -> impl Iterator<Item = Proposal> {
    let with = |flags: &str, change: &dyn Fn(&mut Config)| {
        let mut config = config.clone();
        change(&mut config);
        Proposal { flags: flags.into(), config }
    };
    let mut all = Vec::new();
    // What changes a result by rounding alone comes first.
    if config.recompute != Recompute::Auto {
        all.push(with("--recompute auto", &|config| config.recompute = Recompute::Auto));
    }
    if config.tokens_per_pass > 0 {
        all.push(with("--tokens-per-pass 0", &|config| config.tokens_per_pass = 0));
        all.push(with("--tokens-per-pass 0 --recompute auto", &|config| {
            (config.tokens_per_pass, config.recompute) = (0, Recompute::Auto);
        }));
    }
    let formats = [("--quantize 8bit", Quantize::Bits8), ("--quantize 4bit", Quantize::Bits4)];
    if config.quantize == Quantize::None {
        all.extend(formats.map(|(flags, quantize)| with(flags, &|config| config.quantize = quantize)));
    }
    for bits in [16, 8] {
        if config.optimizer_bits > bits && !config.trains_adapter() {
            all.push(with(&format!("--optimizer-bits {bits}"), &|config| config.optimizer_bits = bits));
        }
    }
    let mut length = longest.next_power_of_two() / 2;
    while length >= SHORTEST && config.overlength == Overlength::Truncate {
        all.push(with(&format!("--max-length {length}"), &|config| config.max_length = length));
        length /= 2;
    }
    if !config.freeze_weak {
        all.push(with("--freeze-weak", &|config| config.freeze_weak = true));
    }
    if !config.trains_adapter() {
        let rank = format!("--lora-rank {RANK}");
        all.push(with(&rank, &|config| config.lora_rank = Some(RANK)));
        all.extend(formats.map(|(flags, quantize)| {
            with(&format!("{rank} {flags}"), &|config| {
                (config.lora_rank, config.quantize) = (Some(RANK), quantize);
            })
        }));
    }
    all.into_iter()
}

/// Examples as a shorter `max_length` would leave them.
fn cut(batch: &[&Example], length: usize) -> Vec<Example> {
    let cut = |example: &&Example| {
        let mut example = (*example).clone();
        example.ids.truncate(length);
        example.trained.truncate(length);
        example
    };
    batch.iter().map(cut).collect()
}
