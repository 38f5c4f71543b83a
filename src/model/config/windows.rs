//! Which layers see only a window, by the rules of transformers: from `layer_types` where a file has them, else from the
//! older fields.

use serde_json::Value;

use super::fields::{Error, Fields};

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// Which layers of a class see only a window.
pub(crate) enum Windows {
    /// None.
    Never,
    /// All, where `sliding_window` is given.
    Every,
    /// With `use_sliding_window`: those in `layer_types`, or these.
    Switched(Vec<bool>),
    /// Those in `layer_types`, or these.
    Listed(Vec<bool>),
}

impl Fields<'_> {
    /// Number of layers.
    pub(crate) fn layers(&self) -> Result<usize, Error> {
        self.size("num_hidden_layers", 1 << 10)
    }

    /// The window of each layer: most keys that a query sees, its own included.
    pub(crate) fn windows(&self, windows: Windows) -> Result<Vec<Option<usize>>, Error> {
        let layers = self.layers()?;
        let types = self.layer_types(layers)?;
        let given = self.stated("sliding_window");
        let off = matches!(windows, Windows::Switched(_)) && !self.flag("use_sliding_window")?;
        let sliding: Vec<bool> = match windows {
            Windows::Never if self.flag("use_sliding_window")? => {
                let reason = "models of this type have no window";
                return Err(self.unsupported("use_sliding_window", &true.into(), reason));
            }
            Windows::Never => vec![false; layers],
            Windows::Every => vec![given.is_some(); layers],
            Windows::Switched(usual) => types.clone().unwrap_or_else(|| {
                let used = given.is_some() && !off;
                usual.into_iter().map(|sliding| sliding && used).collect()
            }),
            Windows::Listed(usual) => types.clone().unwrap_or(usual),
        };
        if types.is_some_and(|types| types != sliding) {
            let found = self.get("layer_types").unwrap_or(&Value::Null);
            return Err(self.unsupported("layer_types", found, "models of this type have one kind of attention"));
        }
        if !sliding.contains(&true) {
            return Ok(vec![None; layers]);
        }
        let Some(_) = given.filter(|_| !off) else {
            let wants = "a number of tokens and in use, as `layer_types` names layers with a window";
            return Err(self.wrong("sliding_window", given.unwrap_or(&Value::Null), wants));
        };
        let window = self.size("sliding_window", 1 << 30)?;
        Ok(sliding.into_iter().map(|sliding| sliding.then_some(window)).collect())
    }

    /// Which layers `layer_types` says have a window.
    fn layer_types(&self, layers: usize) -> Result<Option<Vec<bool>>, Error> {
        let Some(found) = self.get("layer_types") else { return Ok(None) };
        let Some(types) = found.as_array().filter(|types| types.len() == layers) else {
            let wants = format!("a list of `num_hidden_layers` = {layers} names");
            return Err(self.wrong("layer_types", found, wants));
        };
        let sliding = |name: &Value| match name.as_str() {
            Some(FULL) => Ok(false),
            Some(SLIDING) => Ok(true),
            _ => {
                let reason = "models of this type have full_attention and sliding_attention";
                Err(self.unsupported("layer_types", name, reason))
            }
        };
        types.iter().map(sliding).collect::<Result<_, _>>().map(Some)
    }
}
