//! The models of a phase: those that its objective needs beside the main one.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{choose, context::Context, error::Error, key, outline, planned, source::Source};
use crate::{
    objective::{self, Auxiliary, CrossEntropy, Objective, Origin},
    settings::{self, Config},
    train::engine::Spec,
};

/// An objective with its auxiliary models opened.
pub struct Models {
    /// What is minimised.
    pub objective: Arc<dyn Objective>,
    /// The models that it needs, in their order.
    pub auxiliaries: Vec<Source>,
}

impl Models {
    /// Cross-entropy of the main model alone.
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
                Origin::Missing { key, what } => return Err(missing(key, what)),
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

    /// The shapes of these models beside `main` where they train.
    pub(super) fn spec(&self, config: &Config, main: &Source) -> Spec {
        outline::cached(config, planned::spec(main, self.objective.clone(), &self.auxiliaries))
    }

    /// Everything of them that decides the result, by name.
    ///
    /// # Errors
    /// If a model cannot be read.
    pub(super) fn key(&self, config: &Config) -> Result<Map<String, Value>, Error> {
        let method = objective::method(config);
        let mut key = Map::from_iter([("method".to_owned(), method.name.into())]);
        let auxiliary = |(Auxiliary { role, learns, .. }, source): (Auxiliary, &Source)| -> Result<Value, Error> {
            let states = if config.cache_weak && !learns { "bf16" } else { "f32" };
            Ok(json!({ "role": role, "learns": learns, "hidden_states": states, "model": key::of_model(source)? }))
        };
        let auxiliaries = self.objective.auxiliaries().into_iter().zip(&self.auxiliaries);
        let auxiliaries = auxiliaries.map(auxiliary).collect::<Result<Vec<_>, _>>()?;
        key.insert("auxiliary_models".into(), auxiliaries.into());
        Ok(key)
    }
}

pub(crate) fn missing(key: &'static str, what: &'static str) -> Error {
    settings::Error::Missing { key, value_name: "DIR", what }.into()
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
