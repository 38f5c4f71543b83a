//! A model's shape, read from a Hugging Face `config.json`.
//!
//! Takes the form of transformers 4 (`rope_theta`, `rope_scaling`) and of transformers 5 (`rope_parameters`,
//! `layer_types`) and turns either into one plain [`Config`] that block code can follow without asking for the family.
//! What would change the computation and is not built is refused here, by name, before any long work.
//! Nothing here touches weights or a GPU.

mod fields;
mod parameter;
mod positions;
mod quantised;
mod refused;
mod rope;
mod windows;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

pub use super::family::Family;
use super::family::{FAMILIES, Switch};
use crate::graph::{ops::Activation, tensor::Format};
use fields::Fields;
pub use parameter::{Init, Parameter};
use positions::Positions;
pub use rope::{LongRope, Rope, RopeScaling};

/// Largest `config.json` that is read; real ones have a few KB.
const MAX_BYTES: u64 = 4 << 20;

/// A dense decoder-only transformer, as shapes and switches.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which family's names and defaults apply.
    pub family: &'static Family,
    /// `V`: rows of the embedding and of the head.
    pub vocab: usize,
    /// `C`: width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// `H`: query heads.
    pub heads: usize,
    /// `K`: key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// `D`: channels of a head, even.
    pub head_dim: usize,
    /// `F`: width inside the MLP.
    pub ffn: usize,
    /// Added to the mean square under the root of every RMS norm.
    pub eps: f32,
    /// Channels of a head that turn with the position, the first ones; even.
    pub rotary_dim: usize,
    /// Rotary positions.
    pub rope: Rope,
    /// Those of the layers with a window, where they differ.
    pub local_rope: Option<Rope>,
    /// Those of long texts, where they differ.
    pub long_rope: Option<LongRope>,
    /// Most keys that a query of each layer sees, its own included; `None`: all.
    pub windows: Vec<Option<usize>>,
    /// Multiplies the product of query and key.
    pub attention_scale: f32,
    /// Attention scores become `cap * tanh(score / cap)`.
    pub attention_softcap: Option<f32>,
    /// Logits become `cap * tanh(logit / cap)`.
    pub final_softcap: Option<f32>,
    /// Multiplies the embeddings of tokens (not the head, tied or not).
    pub embedding_scale: f32,
    /// The head is the embedding.
    pub tied: bool,
    /// Where a block has its norms.
    pub norms: Norms,
    /// Added to the weight of every norm.
    pub norm_offset: f32,
    /// RMS norm on queries and keys, before the rotation.
    pub qk_norm: QkNorm,
    /// What the gate of the MLP passes through.
    pub activation: Activation,
    /// The checkpoint holds query, key and value as one matrix, and gate and up as one.
    pub fused: bool,
    /// Bias on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on the attention's output projection.
    pub out_bias: bool,
    /// Bias on the three projections of the MLP.
    pub mlp_bias: bool,
    /// Standard deviation of freshly initialised weights.
    pub init_std: f32,
    /// The longest context that the model was made for.
    pub max_positions: usize,
    /// Token that starts a text.
    pub bos: Option<u32>,
    /// Tokens that end a text; may be empty, the first is the one to append.
    pub eos: Vec<u32>,
    /// Token that fills up a row.
    pub pad: Option<u32>,
    /// How its matrices are held on a device; as f32 or bfloat16 where they learn.
    pub held: Held,
    /// Those of them, by name, that are held otherwise, because a quantised checkpoint has them so.
    pub formats: BTreeMap<String, Format>,
    /// The checkpoint is quantised: its numbers cannot learn.
    pub quantised: bool,
}

/// How the matrices of a model are held. Those whose sizes do not allow it are held as f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Projections.
    pub linear: Format,
    /// Embedding and head.
    pub table: Format,
}

impl Held {
    /// As a checkpoint of bfloat16 has them: nothing is lost.
    pub const BF16: Self = Self { linear: Format::Bf16, table: Format::Bf16 };
    /// As a checkpoint of halves has them, likewise.
    pub const F16: Self = Self { linear: Format::F16, table: Format::F16 };
}

/// Where a block has its norms, and how checkpoints call them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// Before attention and before the MLP.
    Before,
    /// Behind attention and behind the MLP, before each joins the residual stream.
    After,
    /// Both.
    Around,
}

impl Norms {
    /// The modules before and behind attention, before and behind the MLP.
    pub(super) fn modules(self) -> [Option<&'static str>; 4] {
        let names = match self {
            Norms::Before => ["input_layernorm", "", "post_attention_layernorm", ""],
            Norms::After => ["", "post_attention_layernorm", "", "post_feedforward_layernorm"],
            Norms::Around => [
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ],
        };
        names.map(|name| (!name.is_empty()).then_some(name))
    }
}

/// What the norms of queries and keys run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// There are none.
    None,
    /// Each head, with one weight for all heads.
    Head,
    /// All heads together.
    Width,
}

/// Why a `config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read {}: {source}. A model folder must hold a config.json", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a JSON object.
    #[error("{}: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The file names an architecture that is not built, or none.
    #[error("{}: {found}; the architectures that can be trained are {known}", path.display())]
    Architecture {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: String,
        /// The names that would be taken.
        known: String,
    },
    /// The file asks for a computation that is not built.
    #[error("{}: `{field}` = {found} is not supported: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field that asks for it.
        field: String,
        /// Its value.
        found: String,
        /// Why not, and what would do.
        reason: String,
    },
    /// A field has a value that makes no sense.
    #[error("{}: `{field}` is {found}; it must be {wants}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// What would be taken.
        wants: String,
    },
}

impl Config {
    /// Reads `config.json` of a model folder.
    ///
    /// # Errors
    /// As [`Config::from_json`], and [`Error::Read`] where the file cannot be read.
    pub fn open(folder: &Path) -> Result<Config, Error> {
        let path = folder.join("config.json");
        let read = || {
            let bytes = std::fs::metadata(&path)?.len();
            if bytes > MAX_BYTES {
                return Err(std::io::Error::other(format!("{bytes} bytes is no config.json")));
            }
            std::fs::read_to_string(&path)
        };
        match read() {
            Ok(text) => Config::from_json(&text, &path),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Reads the text of a `config.json`; `origin` is the file that errors name.
    ///
    /// A missing field takes the default of the transformers class, as it would there.
    ///
    /// # Errors
    /// The text is no JSON object, names an architecture or asks for a computation that is not built, or holds a value
    /// that makes no sense.
    pub fn from_json(text: &str, origin: &Path) -> Result<Config, Error> {
        let json = |reason: String| Error::Json { path: origin.into(), reason };
        let value: Value = serde_json::from_str(text).map_err(|error| json(error.to_string()))?;
        let map = value.as_object().ok_or_else(|| json("not a JSON object".into()))?;
        let fields = Fields::new(map, origin);
        let family = find_family(map, origin)?;
        refused::check(&fields, family)?;
        let config = read(&fields, family)?;
        check_heads(&fields, &config)?;
        Ok(config)
    }
}

impl Config {
    /// Has its matrices held as f32 where they do not learn, too.
    pub fn widen(&mut self) {
        self.held = Held::default();
        self.formats.clear();
    }

    /// Whether two models have the same parameters: names and shapes.
    pub fn same_shape(&self, other: &Self) -> bool {
        let shapes = |config: &Self| config.parameters().into_iter().map(|p| (p.name, p.dims)).collect::<Vec<_>>();
        self.family == other.family && shapes(self) == shapes(other)
    }
}

/// The family by `model_type`, or by `architectures` where that is missing.
fn find_family(map: &Map<String, Value>, origin: &Path) -> Result<&'static Family, Error> {
    let model_type = map.get("model_type").and_then(Value::as_str);
    let architectures: Vec<&str> = match map.get("architectures") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let matches = |family: &&&Family| match model_type {
        Some(name) => name == family.model_type,
        None => architectures.contains(&family.architecture),
    };
    FAMILIES.iter().find(matches).copied().ok_or_else(|| Error::Architecture {
        path: origin.into(),
        found: match (model_type, architectures.first()) {
            (Some(name), _) => format!("unknown architecture (`model_type` = {name:?}){}", refused::reason(map)),
            (None, Some(name)) => {
                format!("unknown architecture (`architectures` = {name:?}){}", refused::reason(map))
            }
            (None, None) => format!("neither `model_type` nor `architectures` names one{}", refused::reason(map)),
        },
        known: FAMILIES.iter().map(|family| family.model_type).collect::<Vec<_>>().join(", "),
    })
}

fn read(fields: &Fields, family: &'static Family) -> Result<Config, Error> {
    let class = &family.defaults;
    let hidden = fields.size("hidden_size", class.hidden, 1 << 16)?;
    let heads = fields.size("num_attention_heads", class.heads, 1 << 12)?;
    let switch = |switch: &Switch| match switch {
        Switch::Always => Ok(true),
        Switch::Never => Ok(false),
        Switch::Field(name) => fields.flag(name, false),
    };
    let layers = fields.size("num_hidden_layers", class.layers, 1 << 10)?;
    let head_dim = fields.size("head_dim", class.head_dim.unwrap_or(hidden / heads), 1 << 10)?;
    let scalar = match family.query_scalar {
        true => fields.number("query_pre_attn_scalar", 256.0, 1e-3..=1e9)?,
        false => head_dim as f64,
    };
    let max_positions = fields.size("max_position_embeddings", class.max_positions, 1 << 30)?;
    let Positions { rotary_dim, rope, local_rope, long_rope } = fields.positions(family, head_dim, max_positions)?;
    let plain = held(fields);
    let quantised = quantised::read(fields, plain.table)?;
    Ok(Config {
        family,
        vocab: fields.size("vocab_size", class.vocab, 1 << 21)?,
        hidden,
        layers,
        heads,
        // An explicit null asks for plain multi-head attention in every class.
        kv_heads: match fields.is_null("num_key_value_heads") {
            true => heads,
            false => fields.size("num_key_value_heads", class.kv_heads.unwrap_or(heads), 1 << 12)?,
        },
        head_dim,
        ffn: fields.size("intermediate_size", class.ffn, 1 << 20)?,
        eps: fields.number("rms_norm_eps", class.eps, 1e-12..=0.1)? as f32,
        rotary_dim,
        rope,
        local_rope,
        long_rope,
        windows: fields.windows(family, layers)?,
        attention_scale: (1.0 / scalar.sqrt()) as f32,
        attention_softcap: match family.attention_softcap {
            Some(_) => fields.cap("attn_logit_softcapping", family.attention_softcap)?,
            None => None,
        },
        final_softcap: match family.query_scalar {
            true => fields.cap("final_logit_softcapping", family.final_softcap)?,
            false => None,
        },
        embedding_scale: if family.scaled_embeddings { (hidden as f64).sqrt() as f32 } else { 1.0 },
        tied: fields.flag("tie_word_embeddings", class.tied)?,
        norms: family.norms,
        norm_offset: family.norm_offset,
        qk_norm: family.qk_norm,
        activation: activation(fields, family)?,
        fused: family.fused,
        qkv_bias: switch(&family.qkv_bias)?,
        out_bias: switch(&family.out_bias)?,
        mlp_bias: switch(&family.mlp_bias)?,
        init_std: fields.number("initializer_range", 0.02, 0.0..=10.0)? as f32,
        max_positions,
        bos: fields.id("bos_token_id")?.or(class.bos.filter(|_| !fields.has("bos_token_id"))),
        eos: fields.ids("eos_token_id", class.eos)?,
        pad: fields.id("pad_token_id")?.or(class.pad.filter(|_| !fields.has("pad_token_id"))),
        held: quantised.unwrap_or(plain),
        formats: BTreeMap::new(),
        quantised: quantised.is_some(),
    })
}

/// What transformers would load it as; the weights themselves decide where they are at hand.
fn held(fields: &Fields) -> Held {
    let dtype = fields.get("dtype").or(fields.get("torch_dtype"));
    match dtype.and_then(Value::as_str) {
        Some("bfloat16") => Held::BF16,
        Some("float16") => Held::F16,
        _ => Held::default(),
    }
}

fn activation(fields: &Fields, family: &Family) -> Result<Activation, Error> {
    let (field, default) = family.activation;
    let Some(value) = fields.get(field) else { return Ok(default) };
    match value.as_str() {
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        _ => Err(fields.unsupported(field, value, "the activations built are silu and gelu_pytorch_tanh")),
    }
}

fn check_heads(fields: &Fields, config: &Config) -> Result<(), Error> {
    let Config { hidden, heads, kv_heads, head_dim, .. } = *config;
    if !heads.is_multiple_of(kv_heads) {
        let wants = format!("a divisor of `num_attention_heads` = {heads}");
        return Err(fields.wrong("num_key_value_heads", kv_heads, wants));
    }
    let derived = fields.get("head_dim").is_none() && config.family.defaults.head_dim.is_none();
    if derived && !hidden.is_multiple_of(heads) {
        let wants = format!("a divisor of `hidden_size` = {hidden}, as there is no `head_dim`");
        return Err(fields.wrong("num_attention_heads", heads, wants));
    }
    if !head_dim.is_multiple_of(4) {
        let wants = "a multiple of 4: attention reads that many channels at a time";
        return Err(fields.wrong("head_dim", head_dim, wants));
    }
    Ok(())
}
