//! Rotary positions, read from the form of transformers 4 (`rope_theta`, `rope_scaling`, `rope_local_base_freq`) or of
//! transformers 5 (`rope_parameters`, one for all layers or one for each of their types).

use std::ops::RangeInclusive;

use serde_json::Value;

use super::{
    super::rope::{LongRope, Rope, RopeScaling, Rotation},
    fields::{Error, Fields},
};

const THETA: RangeInclusive<f64> = 1.0..=1e12;

impl<'a> Fields<'a> {
    /// How queries and keys turn, in all layers alike.
    pub(crate) fn rotation(&self) -> Result<Rotation, Error> {
        // transformers 5 prefers the old name where a file has both.
        let parameters = match self.object("rope_scaling", "rope_scaling.")? {
            Some(old) => Some(old),
            None => self.object("rope_parameters", "rope_parameters.")?,
        };
        let dim = self.rotary_dim(parameters.as_ref(), self.heads()?.head_dim)?;
        match parameters.as_ref().filter(|parameters| matches!(parameters.kind(), Some("longrope" | "su"))) {
            Some(parameters) => self.longrope(parameters, dim),
            None => Ok(Rotation { dim, rope: self.rope(parameters.as_ref(), "rope_theta")?, long: None }),
        }
    }

    /// How they turn in layers that see everything, and in those with a window.
    pub(crate) fn rotations(&self) -> Result<[Rotation; 2], Error> {
        let (of_full, of_window) = self.by_layer_type()?;
        let dim = self.heads()?.head_dim;
        let rotation = |rope| Rotation { dim, rope, long: None };
        let full = self.rope(of_full.as_ref(), "rope_theta")?;
        Ok([full, self.rope(of_window.as_ref(), "rope_local_base_freq")?].map(rotation))
    }

    /// The parameters of layers that see everything, and of those with a window.
    fn by_layer_type(&self) -> Result<(Option<Self>, Option<Self>), Error> {
        let Some(both) = self.object("rope_parameters", "rope_parameters.")? else {
            return Ok((self.object("rope_scaling", "rope_scaling.")?, None));
        };
        if let Some(value) = self.get("rope_scaling") {
            return Err(self.unsupported("rope_scaling", value, "`rope_parameters` is there too; leave one of them"));
        }
        let flat =
            ["rope_type", "type", "rope_theta", "factor"].into_iter().find_map(|name| Some((name, both.get(name)?)));
        if let Some((name, value)) = flat {
            let reason = "give one object for full_attention and one for sliding_attention";
            return Err(both.unsupported(name, value, reason));
        }
        let full = both.object("full_attention", "rope_parameters.full_attention.")?;
        Ok((full, both.object("sliding_attention", "rope_parameters.sliding_attention.")?))
    }

    /// The base that stands outside of rotary parameters, in `field`, or within them. They must not contradict each other.
    fn theta(&self, parameters: Option<&Self>, field: &str) -> Result<f64, Error> {
        let default = self.class(field).and_then(Value::as_f64).unwrap_or(10_000.0);
        let outer = self.given(field).map(|_| self.number(field, default, THETA)).transpose()?;
        let Some(parameters) = parameters else { return Ok(outer.unwrap_or(default)) };
        let inner = parameters.number("rope_theta", outer.unwrap_or(default), THETA)?;
        match outer.filter(|outer| *outer != inner) {
            Some(outer) => Err(parameters.wrong("rope_theta", inner, format!("the same as outside, {outer}"))),
            None => Ok(inner),
        }
    }

    fn rope(&self, parameters: Option<&Self>, field: &str) -> Result<Rope, Error> {
        let theta = self.theta(parameters, field)?;
        Ok(Rope { theta, scaling: parameters.map_or(Ok(RopeScaling::Default), Self::scaling)? })
    }

    /// The channels of a head that turn: all, but for classes with a factor.
    fn rotary_dim(&self, parameters: Option<&Self>, head_dim: usize) -> Result<usize, Error> {
        const FIELD: &str = "partial_rotary_factor";
        let within = parameters.filter(|parameters| parameters.get(FIELD).is_some()).unwrap_or(self);
        let share = within.number(FIELD, 1.0, 0.0..=1.0)?;
        let turning = (head_dim as f64 * share) as usize;
        if turning == head_dim {
            return Ok(head_dim);
        }
        if self.class(FIELD).is_none() {
            return Err(within.unsupported(FIELD, &share.into(), "only whole heads turn in models of this type"));
        }
        if turning == 0 || !turning.is_multiple_of(2) {
            let wants = format!("a share that makes an even number of a head's {head_dim} channels turn");
            return Err(within.wrong(FIELD, share, wants));
        }
        Ok(turning)
    }

    fn kind(&self) -> Option<&'a str> {
        self.get("rope_type").or_else(|| self.get("type"))?.as_str()
    }

    fn scaling(&self) -> Result<RopeScaling, Error> {
        if let Some((field, value)) = self.any_object() {
            return Err(self.unsupported(field, value, "positions must be the same in all layers"));
        }
        let kind = self.get("rope_type").or_else(|| self.get("type"));
        match kind.map(|kind| (kind, kind.as_str())) {
            None | Some((_, Some("default"))) => Ok(RopeScaling::Default),
            Some((_, Some("linear"))) => {
                self.require("linear", &["factor"])?;
                Ok(RopeScaling::Linear { factor: self.number("factor", 1.0, 1.0..=1e6)? })
            }
            Some((_, Some("llama3"))) => self.llama3(),
            Some((kind, _)) => {
                let reason = "the supported types are default, linear, llama3 and, for all layers alike, longrope";
                Err(self.unsupported("rope_type", kind, reason))
            }
        }
    }

    fn require(&self, kind: &str, fields: &[&str]) -> Result<(), Error> {
        match fields.iter().find(|field| self.get(field).is_none()) {
            Some(field) => Err(self.wrong(field, "missing", format!("given for rope_type {kind}"))),
            None => Ok(()),
        }
    }

    fn llama3(&self) -> Result<RopeScaling, Error> {
        let fields = ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"];
        self.require("llama3", &fields)?;
        let low_freq_factor = self.number("low_freq_factor", 1.0, 1e-3..=1e6)?;
        let high_freq_factor = self.number("high_freq_factor", 4.0, 1e-3..=1e6)?;
        if high_freq_factor <= low_freq_factor {
            let wants = format!("more than low_freq_factor = {low_freq_factor}");
            return Err(self.wrong("high_freq_factor", high_freq_factor, wants));
        }
        Ok(RopeScaling::Llama3 {
            factor: self.number("factor", 1.0, 1.0..=1e6)?,
            low_freq_factor,
            high_freq_factor,
            original_max_positions: self.size("original_max_position_embeddings", 1 << 30)?,
        })
    }

    /// LongRoPE (Ding et al. 2024): factors for each pair of channels, others for long texts than for short ones, and one
    /// factor on all cosines and sines.
    fn longrope(&self, parameters: &Self, dim: usize) -> Result<Rotation, Error> {
        const FACTORS: RangeInclusive<f64> = 1e-6..=1e6;
        let theta = self.theta(Some(parameters), "rope_theta")?;
        let max_positions = self.size("max_position_embeddings", 1 << 30)?;
        let beyond = self.original_positions(parameters, max_positions)?;
        let factor = parameters.number("factor", max_positions as f64 / beyond as f64, FACTORS)?;
        let attention = match factor > 1.0 {
            true => (1.0 + factor.ln() / (beyond as f64).ln()).sqrt(),
            false => 1.0,
        };
        let attention = parameters.number("attention_factor", attention, FACTORS)?;
        let rope = |field| {
            let factors = parameters.numbers(field, dim / 2, FACTORS)?;
            Ok(Rope { theta, scaling: RopeScaling::Each { factors, attention } })
        };
        let long = Some(LongRope { beyond, rope: rope("long_factor")? });
        Ok(Rotation { dim, rope: rope("short_factor")?, long })
    }

    /// The context before stretching: outside the parameters or, for classes without the field, within them.
    fn original_positions(&self, parameters: &Self, max_positions: usize) -> Result<usize, Error> {
        const FIELD: &str = "original_max_position_embeddings";
        let outer = self.get(FIELD).map(|_| self.size(FIELD, 1 << 30)).transpose()?;
        let original = parameters.size_or(FIELD, outer.unwrap_or(max_positions), 1 << 30)?;
        if let Some(outer) = outer.filter(|outer| *outer != original) {
            return Err(parameters.wrong(FIELD, original, format!("the same as outside, {outer}")));
        }
        match original {
            1 => Err(self.wrong(FIELD, original, "at least 2")),
            _ => Ok(original),
        }
    }
}
