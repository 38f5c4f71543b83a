//! What a phase trains with: its loss, the models beside the one that is kept, and the scalars of the loss.

use std::path::Path;

use super::{Context, Error, Source, choose, source::tuned};
use crate::{
    formats::is_adapter,
    graph::optim::Scalars,
    model::{self, Layout},
    objective,
    settings::{Config, LambdaSchedule, Method, WeakSource},
    train::{
        Mixing, Noise,
        engine::{Loss, Other, Supply},
    },
};

/// A model beside the one that is kept.
pub struct Companion {
    /// Its folder.
    pub source: Source,
    /// Its share in the weak logits.
    pub share: f64,
    /// Whether it learns too.
    pub learns: bool,
    /// Where its hidden states come from.
    pub supply: Supply,
}

/// What a phase trains with.
pub struct Recipe {
    /// What is computed of the models.
    pub loss: Loss,
    /// Weak models, or a teacher.
    pub others: Vec<Companion>,
    /// Scalars of the loss; those of the optimizer are the phase's.
    pub scalars: Scalars,
    /// How lambda moves.
    pub mixing: Mixing,
    /// Noise on embeddings.
    pub noise: Noise,
}

impl Recipe {
    /// Cross-entropy of the model alone.
    pub fn sft() -> Self {
        Self {
            loss: Loss::Sft { noisy: false },
            others: Vec::new(),
            scalars: Scalars::default(),
            mixing: Mixing::Constant,
            noise: Noise::default(),
        }
    }

    /// The joint phase of weak-driven learning with these weak models, of which each has the share that `config` gives.
    pub fn mix(config: &Config, weak: Vec<Source>) -> Self {
        let source = stand_in(config.weak_source);
        let (shares, learns, supply) = (shares(config, weak.len()), config.trains_weak(), supply(config));
        let companion = |(source, share)| Companion { source, share, learns, supply };
        let others = weak.into_iter().zip(shares).map(companion).collect();
        Self {
            loss: Loss::Mix(source),
            others,
            scalars: Scalars { lambda: config.lambda, label_smoothing: config.label_smoothing, ..Scalars::default() },
            mixing: mixing(config),
            ..Self::sft()
        }
    }

    /// What `config.method` says, with the models that it needs opened. `strong` is the model to train.
    ///
    /// # Errors
    /// If a folder cannot be opened, does not fit the method, or none can be chosen.
    pub fn open(context: &mut Context<'_>, config: &Config, strong: &Source) -> Result<Self, Error> {
        let smoothed = Scalars { label_smoothing: config.label_smoothing, ..Scalars::default() };
        let recipe = match config.method {
            Method::Sft => Self { scalars: smoothed, ..Self::sft() },
            Method::Neftune => Self {
                loss: Loss::Sft { noisy: true },
                scalars: smoothed,
                noise: Noise { alpha: config.noise_alpha, padded: config.noise_padded },
                ..Self::sft()
            },
            Method::Undial | Method::Distill | Method::SelfDistill => Self::distill(config, strong)?,
            Method::Mix | Method::Wmss => {
                let weak = match config.weak()? {
                    [_] if config.chooses_weak() => vec![choose::weak(context, config, strong)?],
                    folders => folders.iter().map(|folder| strong.beside(folder)).collect::<Result<_, _>>()?,
                };
                Self::mix(config, weak)
            }
        };
        recipe.others.iter().try_for_each(|other| same_tokens(&other.source, strong))?;
        Ok(recipe)
    }

    fn distill(config: &Config, strong: &Source) -> Result<Self, Error> {
        let method = config.method;
        let teacher = match (&config.teacher, method) {
            (Some(folder), _) => strong.beside(folder)?,
            (None, Method::Distill) => strong.beside(config.teacher()?)?,
            (None, _) => strong.untrained()?,
        };
        if method != Method::Distill && !teacher.config.same_shape(&strong.config) {
            return Err(Error::User(format!(
                "{}: the teacher of {method} is an earlier checkpoint of the model, and this one has another shape than {}; \
                 for other teachers use --method distill",
                teacher.path.display(),
                strong.path.display()
            )));
        }
        let undial = method == Method::Undial;
        let scalars = Scalars {
            temperature: if undial { 1.0 } else { config.temperature },
            hard: config.hard_share.unwrap_or(if undial { 0.0 } else { 0.5 }),
            lowered: if undial { config.undial_beta } else { 0.0 },
            ..Scalars::default()
        };
        let others = vec![Companion { source: teacher, share: 1.0, learns: false, supply: supply(config) }];
        Ok(Self { loss: Loss::Distill, others, scalars, ..Self::sft() })
    }

    /// The models of the phase, as an engine takes them.
    pub(crate) fn models(&self, config: &Config, strong: &Source) -> Models {
        let other = |&Companion { ref source, share, learns, supply }: &Companion| Other {
            learns,
            share,
            supply,
            ..other(source, strong)
        };
        let others = self.others.iter().map(other).collect();
        Models { adapter: strong.layout(), loss: sparing(self.loss, config), others }
    }

    /// Everything of it that decides the result, by name.
    ///
    /// # Errors
    /// If a model cannot be read.
    pub(crate) fn identity(&self) -> Result<serde_json::Map<String, serde_json::Value>, Error> {
        let Scalars { lambda, label_smoothing, temperature, hard, lowered, .. } = self.scalars;
        // A model that learns is part of the checkpoint; any other is read from its folder again.
        let other = |c: &Companion| -> Result<serde_json::Value, Error> {
            let weights = if c.learns { None } else { Some(c.source.fingerprint()?) };
            Ok(match c.supply {
                Supply::Pass | Supply::Streamed => serde_json::json!([c.share, c.learns, weights]),
                Supply::Kept => serde_json::json!([c.share, c.learns, weights, "states kept as bf16"]),
            })
        };
        let others = self.others.iter().map(other).collect::<Result<Vec<_>, _>>()?;
        let values = serde_json::json!({
            "others": others,
            "lambda": lambda,
            "mixing": format!("{:?}", self.mixing),
            "label_smoothing": label_smoothing,
            "temperature": temperature,
            "hard_share": hard,
            "undial_beta": lowered,
            "noise": format!("{:?}", self.noise),
        });
        Ok(values.as_object().cloned().unwrap_or_default())
    }
}

/// What an engine is made of beside the shape of the strong model.
pub struct Models {
    /// What changes the strong model.
    pub adapter: Option<Layout>,
    /// What is computed of the models.
    pub loss: Loss,
    /// Those beside the strong one.
    pub others: Vec<Other>,
}

/// A model beside `strong`, frozen: a view of the same weights where it can be.
pub(crate) fn other(source: &Source, strong: &Source) -> Other {
    let shares_base = strong.shares_base(source);
    Other { adapter: source.layout(), shares_base, ..Other::frozen(source.config.clone()) }
}

/// The models that `config.method` has in its largest phase, beside one of shape `strong`, whose folders need only a
/// `config.json`.
///
/// # Errors
/// If one of them cannot be read.
pub fn outline(config: &Config, strong: &model::Config) -> Result<Models, Error> {
    let adapter = tuned(config, strong)?.map(|tuned| tuned.layout);
    // With an adapter, a model that is not named or is none of its own is a view of the same weights.
    let own = || Other { shares_base: adapter.is_some(), ..Other::frozen(strong.clone()) };
    let shape = |folder: Option<&Path>| match folder {
        Some(folder) if !is_adapter(folder) && folder != Path::new("base") => {
            model::Config::open(folder).map(Other::frozen)
        }
        _ => Ok(own()),
    };
    let (loss, others) = match config.method {
        Method::Sft => (Loss::Sft { noisy: false }, Vec::new()),
        Method::Neftune => (Loss::Sft { noisy: true }, Vec::new()),
        Method::Undial | Method::Distill | Method::SelfDistill => {
            let supply = supply(config);
            (Loss::Distill, vec![Other { supply, ..shape(config.teacher.as_deref())? }])
        }
        Method::Mix | Method::Wmss => {
            let source = stand_in(config.weak_source);
            let shapes = match config.weak.as_slice() {
                _ if source == objective::Source::Uniform => Vec::new(),
                folders if folders.is_empty() || config.chooses_weak() => vec![own()],
                folders => folders.iter().map(|w| shape(Some(w))).collect::<Result<_, _>>()?,
            };
            let (shares, learns, supply) = (shares(config, shapes.len()), config.trains_weak(), supply(config));
            let others = shapes.into_iter().zip(shares);
            (Loss::Mix(source), others.map(|(other, share)| Other { learns, share, supply, ..other }).collect())
        }
    };
    Ok(Models { adapter, loss: sparing(loss, config), others })
}

/// The loss that costs least where nobody asks for statistics of each model alone. Only beside an adapter do models share a
/// frozen head.
pub(crate) fn sparing(loss: Loss, config: &Config) -> Loss {
    let asked = config.diagnostics > 0 || config.lambda_schedule == LambdaSchedule::Adaptive;
    match loss {
        Loss::Mix(objective::Source::Real) if config.trains_adapter() && !asked => {
            Loss::Mix(objective::Source::Blended)
        }
        loss => loss,
    }
}

/// Checks that the logits of two models are of the same tokens; that there are as many of them does not tell.
///
/// # Errors
/// Names the first token that differs.
pub(crate) fn same_tokens(other: &Source, strong: &Source) -> Result<(), Error> {
    match other.tokenizer.difference(&strong.tokenizer) {
        None => Ok(()),
        Some(id) => Err(Error::User(format!(
            "{}: token {id} is another one than in {}; logits that meet need one vocabulary: choose a model with the same \
             tokenizer",
            other.path.display(),
            strong.path.display()
        ))),
    }
}

/// Each weak model's share in the weak logits.
fn shares(config: &Config, count: usize) -> Vec<f64> {
    let total: f64 = config.weak_share.iter().sum();
    (0..count).map(|i| config.weak_share.get(i).map_or(1.0 / count as f64, |share| share / total)).collect()
}

/// Where the hidden states of models that do not learn come from.
fn supply(config: &Config) -> Supply {
    if config.cache_weak { Supply::Kept } else { Supply::Pass }
}

fn stand_in(source: WeakSource) -> objective::Source {
    match source {
        WeakSource::Real => objective::Source::Real,
        WeakSource::Shuffled => objective::Source::Shuffled,
        WeakSource::Uniform => objective::Source::Uniform,
        WeakSource::EntropyMatched => objective::Source::EntropyMatched,
    }
}

fn mixing(config: &Config) -> Mixing {
    match config.lambda_schedule {
        LambdaSchedule::Constant => Mixing::Constant,
        LambdaSchedule::Linear => Mixing::Linear { end: config.lambda_end },
        LambdaSchedule::Cosine => Mixing::Cosine { end: config.lambda_end },
        LambdaSchedule::Adaptive => Mixing::Adaptive { amplification: config.amplification },
    }
}
