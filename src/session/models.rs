//! The models of a phase: those that its objective needs beside the trained one, opened or by their shapes alone.

use std::{path::Path, sync::Arc};

use serde_json::{Map, Value, json};

use super::{Context, Error, Source, choose, source::tuned};
use crate::{
    formats::is_adapter,
    model,
    objective::{self, Auxiliary, CrossEntropy, Objective, Origin},
    settings::{self, Config},
    train::engine::{AuxiliaryModel, HiddenSource, Spec},
};

/// An objective with its auxiliary models opened.
pub struct Models {
    /// What is minimised.
    pub objective: Arc<dyn Objective>,
    /// The models that it needs, in their order.
    pub auxiliaries: Vec<Source>,
}

impl Models {
    /// Cross-entropy of the model alone.
    pub fn plain() -> Self {
        Self { objective: Arc::new(CrossEntropy::default()), auxiliaries: Vec::new() }
    }

    /// Of what `config.method` says; `main` is the model to train.
    ///
    /// # Errors
    /// If a folder cannot be opened, does not fit the method, or none can be chosen.
    pub fn open(context: &mut Context<'_>, config: &Config, main: &Source) -> Result<Self, Error> {
        let objective = objective::of(config);
        let mut auxiliaries = Vec::new();
        for Auxiliary { role, origin, same_shape, .. } in objective.auxiliaries() {
            let source = match origin {
                Origin::Folder(folder) => main.beside(&folder)?,
                Origin::Start => main.untrained()?,
                Origin::Candidates => choose::weak(context, config, main)?,
                Origin::Missing { key, what } => {
                    return Err(settings::Error::Missing { key, value_name: "DIR", what }.into());
                }
            };
            if same_shape && !source.config.same_shape(&main.config) {
                return Err(Error::User(format!(
                    "{}: the {role} of {} is an earlier checkpoint of the model, and this one has another shape than {}; \
                     for other teachers use --method distill",
                    source.path.display(),
                    config.method,
                    main.path.display()
                )));
            }
            same_tokens(&source, main)?;
            auxiliaries.push(source);
        }
        Ok(Self { objective, auxiliaries })
    }

    /// The shapes of these models, as an engine that trains `main` takes them.
    pub(crate) fn spec(&self, config: &Config, main: &Source) -> Spec {
        let of = self.auxiliaries.iter().map(|source| auxiliary(source, main)).collect();
        let spec = Spec { adapter: main.layout(), ..Spec::new(main.config.clone(), self.objective.clone(), of, 0) };
        cached(config, spec)
    }

    /// Of each auxiliary model, whether its hidden states are cached.
    pub(crate) fn caches(&self, config: &Config) -> impl Iterator<Item = bool> {
        let cached = config.cache_weak;
        self.objective.auxiliaries().into_iter().map(move |auxiliary| cached && !auxiliary.learns)
    }

    /// Everything of them that decides the result, by name.
    ///
    /// # Errors
    /// If a model cannot be read.
    pub(crate) fn key(&self, config: &Config) -> Result<Map<String, Value>, Error> {
        let method = objective::method(config);
        let mut key = Map::from_iter([("method".to_owned(), method.name.into())]);
        let settings = config.result_values();
        key.extend(
            method.settings.iter().map(|name| ((*name).to_owned(), settings.get(*name).cloned().unwrap_or_default())),
        );
        let auxiliaries = self.objective.auxiliaries().into_iter().zip(&self.auxiliaries).zip(self.caches(config));
        let auxiliary = |((auxiliary, source), cached): ((Auxiliary, &Source), bool)| -> Result<Value, Error> {
            let Auxiliary { role, learns, .. } = auxiliary;
            // A model that learns is part of the checkpoint; any other is read from its folder again.
            let weights = if learns { None } else { Some(source.fingerprint()?) };
            let states = if cached { "bf16" } else { "f32" };
            Ok(json!({ "role": role, "learns": learns, "weights": weights, "hidden_states": states }))
        };
        key.insert("auxiliary_models".into(), auxiliaries.map(auxiliary).collect::<Result<Vec<_>, _>>()?.into());
        Ok(key)
    }
}

/// An auxiliary model: a view of the weights of `main` where it can be.
pub(crate) fn auxiliary(source: &Source, main: &Source) -> AuxiliaryModel {
    let shares_base = main.shares_base(source);
    AuxiliaryModel { adapter: source.layout(), shares_base, ..AuxiliaryModel::new(source.config.clone()) }
}

/// With the hidden states of what does not learn cached, if the settings want that.
fn cached(config: &Config, mut spec: Spec) -> Spec {
    let learning: Vec<bool> = spec.learning().collect();
    let frozen = spec.auxiliaries.iter_mut().zip(learning).filter(|(_, learns)| !learns && config.cache_weak);
    frozen.for_each(|(auxiliary, _)| auxiliary.hidden = HiddenSource::Cached);
    spec
}

/// The shapes of the models that `config.method` has in its largest phase, beside one of shape `main`: folders need only a
/// `config.json`.
///
/// # Errors
/// If one of them cannot be read.
pub fn outline(config: &Config, main: &model::Config) -> Result<Spec, Error> {
    let adapter = tuned(config, main)?.map(|tuned| tuned.layout);
    let objective = objective::of(config);
    let shape = |Auxiliary { origin, .. }: Auxiliary| match origin {
        Origin::Folder(folder) if !is_adapter(&folder) && folder != Path::new("base") => {
            model::Config::open(&folder).map(AuxiliaryModel::new)
        }
        // With an adapter, a model that is not named or is none of its own is a view of the same weights.
        _ => Ok(AuxiliaryModel { shares_base: adapter.is_some(), ..AuxiliaryModel::new(main.clone()) }),
    };
    let auxiliaries = objective.auxiliaries().into_iter().map(shape).collect::<Result<_, _>>()?;
    Ok(cached(config, Spec { adapter, ..Spec::new(main.clone(), objective, auxiliaries, 0) }))
}

/// Checks that the logits of two models are of the same tokens; that there are as many of them does not show it.
///
/// # Errors
/// Names the first token that differs.
pub(crate) fn same_tokens(other: &Source, main: &Source) -> Result<(), Error> {
    match other.tokenizer.difference(&main.tokenizer) {
        None => Ok(()),
        Some(id) => Err(Error::User(format!(
            "{}: token {id} is another one than in {}; logits that meet need one vocabulary: choose a model with the same \
             tokenizer",
            other.path.display(),
            main.path.display()
        ))),
    }
}
