//! burn's side: a training step as its book writes it.

use std::error::Error;

use burn::{
    nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Int, Tensor, TensorData},
};

use crate::{
    model::Model,
    workload::{self, Workload},
};

/// A model being trained on one row again and again.
pub struct Theirs {
    model: Option<Model>,
    optimizer: ModuleOptimizer,
    criterion: CrossEntropyLoss,
    tokens: Tensor<2, Int>,
    targets: Tensor<1, Int>,
    device: Device,
}

impl Theirs {
    /// Fills the model; `device` has autodiff on.
    pub fn load(device: Device, workload: &Workload) -> Self {
        let ids: Vec<i32> = workload.ids().into_iter().map(|id| id as i32).collect();
        // The last token predicts nothing: 0 is padding. The head keeps a round number of rows.
        let targets: Vec<i32> = ids[1..].iter().copied().chain([0]).collect();
        let [beta_1, beta_2] = workload::BETAS;
        let optimizer = AdamWConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(workload::ADAM_EPS)
            .with_weight_decay(0.0)
            .init();
        let tokens = workload.tokens;
        Self {
            model: Some(Model::new(workload, &device)),
            optimizer,
            criterion: CrossEntropyLossConfig::new().with_pad_tokens(Some(vec![0])).init(&device),
            tokens: Tensor::from_data(TensorData::new(ids, [1, tokens]), &device),
            targets: Tensor::from_data(TensorData::new(targets, [tokens]), &device),
            device,
        }
    }

    /// One step, waited for; returns the loss before its update.
    pub fn step(&mut self) -> Result<f64, Box<dyn Error>> {
        let model = self.model.take().ok_or("a step failed before")?;
        let loss = self.criterion.forward(model.forward(self.tokens.clone()), self.targets.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        self.model = Some(self.optimizer.step(workload::LR, model, gradients));
        self.device.sync().map_err(|error| format!("{error:?}"))?;
        Ok(f64::from(loss.into_scalar::<f32>()))
    }
}
