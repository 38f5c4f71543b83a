//! The kernels that are measured, and at which shapes. A shape never changes under its name.

use super::{
    case::{Case, Limit, Tier},
    recorder::Recorder,
};
use crate::{
    gpu::{KernelGroup, Variant},
    graph::{
        ops::{
            self, Activation, Heads, Norm, Rotary, Scores,
            head_loss::{Head, STATS, Second, Targets, head_loss},
            matmul::{self, Product},
        },
        optim::{AdamW, Width},
        scalars::Scalars,
        tensor::{ELEMENT, Role, Tensor},
    },
};

/// Every kernel case, in the order of the table.
pub fn cases() -> Vec<Case> {
    let mut cases = gemms();
    cases.extend(other_variants());
    cases.extend(attentions());
    cases.extend(heads());
    cases.extend(elementwise());
    cases
}

/// Which operand of a product is transposed, as in [`matmul`].
#[derive(Clone, Copy)]
enum Form {
    Nt,
    Nn,
    Tn,
}

fn gemms() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |forms: &[Form], [m, n, k]: [usize; 3], what: &str, tier: Tier| {
        cases.extend(forms.iter().map(|form| gemm(*form, m, n, k, what, tier)));
    };
    let all = [Form::Nt, Form::Nn, Form::Tn];
    for (size, tier) in [(512, Tier::Always), (768, Tier::Always), (1024, Tier::Always), (2048, Tier::Gpu)] {
        add(&all, [size; 3], "", tier);
    }
    add(&all, [4096; 3], "", Tier::Full);
    // Tokens by what a layer of Qwen3-0.6B has, and as narrow as an adapter of rank 16.
    add(&[Form::Nt], [512, 2048, 1024], " (q of qwen3-0.6b)", Tier::Always);
    add(&[Form::Nt], [512, 3072, 1024], " (gate of qwen3-0.6b)", Tier::Always);
    add(&[Form::Nn], [512, 1024, 3072], " (its gradient)", Tier::Always);
    add(&[Form::Tn], [3072, 1024, 512], " (its weight's)", Tier::Always);
    add(&all, [2048, 3072, 1024], " (a longer row)", Tier::Gpu);
    add(&[Form::Nt], [1024, 16, 1024], " (narrow)", Tier::Always);
    add(&[Form::Nt, Form::Nn], [1024, 1024, 16], " (shallow)", Tier::Always);
    add(&[Form::Tn], [16, 1024, 1024], " (flat)", Tier::Always);
    cases
}

/// Each variant of a product by itself: what the device could take, at the shapes for which it is meant.
fn other_variants() -> Vec<Case> {
    let mut cases = Vec::new();
    let kernels = ["linear.nt", "linear_narrow.nt", "linear.nn", "linear.tn"];
    for (form, kernel) in [Form::Nt, Form::Nt, Form::Nn, Form::Tn].into_iter().zip(kernels) {
        let groups = ops::groups().filter(|group| group.kernel.name == kernel);
        for (group, other) in groups.flat_map(|group| group.variants.iter().map(move |a| (group, a))) {
            let mut add = |[m, n, k]: [usize; 3], what: &str, tier| {
                let case = gemm(form, m, n, k, what, tier);
                cases.push(as_variant(case, group, other));
            };
            if kernel == "linear_narrow.nt" {
                add([1024, 16, 1024], " (narrow)", Tier::Gpu);
                continue;
            }
            if other.name.starts_with("register") {
                add([512; 3], "", Tier::Always);
                continue;
            }
            add([2048; 3], "", Tier::Gpu);
            add([4096; 3], "", Tier::Full);
            match form {
                Form::Nt => {
                    add([1024, 1024, 16], " (shallow)", Tier::Gpu);
                }
                Form::Tn => add([16, 1024, 1024], " (flat)", Tier::Gpu),
                Form::Nn => {}
            }
        }
    }
    cases
}

fn as_variant(case: Case, group: &'static KernelGroup, variant: &'static Variant) -> Case {
    let (limit, number) = match variant.cooperative {
        Some(unit) if unit.half => (Limit::UnitsF16, "f16"),
        Some(_) => (Limit::UnitsF32, "f32"),
        // Factors of f16 without matrix units are multiplied in f32.
        None if variant.half => (Limit::FmaF32, "f16"),
        None => (Limit::FmaF32, "f32"),
    };
    let name = format!("{} as {} {number}", case.name.trim_end_matches(" f32"), variant.name);
    Case { name, limit, variant: Some((group, variant)), ..case }
}

fn gemm(form: Form, m: usize, n: usize, k: usize, what: &str, tier: Tier) -> Case {
    let name = match form {
        Form::Nt => "nt",
        Form::Nn => "nn",
        Form::Tn => "tn",
    };
    Case {
        name: format!("gemm {name} {m}x{n}x{k}{what} f32"),
        group: "gemm",
        work: 2.0 * (m * n * k) as f64,
        limit: Limit::FmaF32,
        tier,
        variant: None,
        record: Box::new(move |r| product(r, form, m, n, k)),
    }
}

fn product(r: &mut Recorder, form: Form, m: usize, n: usize, k: usize) {
    let y = r.empty(m, n);
    match form {
        Form::Nt => {
            let (x, w) = (r.random(m, k), r.random(n, k));
            matmul::nt(&mut r.tape, x, w, None, y, Product::dense(m, n, k));
        }
        Form::Nn => {
            let (x, w) = (r.random(m, k), r.random(k, n));
            matmul::nn(&mut r.tape, x, w, y, Product::dense(m, n, k));
        }
        Form::Tn => {
            let (x, w) = (r.random(k, m), r.random(k, n));
            matmul::tn(&mut r.tape, x, w, y, Product::dense(m, n, k));
        }
    }
}

fn attentions() -> Vec<Case> {
    let plain = |heads, kv_heads, head_dim| Heads { heads, kv_heads, head_dim };
    let mut cases = Vec::new();
    for (tokens, document, heads, tier) in [
        (512, 512, plain(16, 8, 128), Tier::Always),
        (1024, 256, plain(9, 3, 64), Tier::Always),
        (4096, 2048, plain(16, 8, 128), Tier::Gpu),
    ] {
        cases.extend([false, true].map(|backward| attention(tokens, document, heads, backward, tier)));
    }
    cases
}

/// A forward pass has two products of half a square each, a backward pass five.
fn attention(tokens: usize, document: usize, heads: Heads, backward: bool, tier: Tier) -> Case {
    let Heads { heads: h, kv_heads, head_dim } = heads;
    let product = (tokens * document * h * head_dim) as f64;
    let passes = if backward { " forward+backward" } else { " forward" };
    Case {
        name: format!("attention{passes} {tokens}/{document} {h}:{kv_heads}x{head_dim} f32"),
        group: "attention",
        work: product * if backward { 7.0 } else { 2.0 },
        limit: Limit::FmaF32,
        tier,
        variant: None,
        record: Box::new(move |r| attend(r, tokens, document, heads, backward)),
    }
}

fn attend(r: &mut Recorder, tokens: usize, document: usize, heads: Heads, backward: bool) {
    let starts = (0..tokens).map(|t| t / document * document);
    let spans = starts.clone().zip(1..).flat_map(|(start, end)| [start as u32, end]).collect();
    let spans = r.words(tokens, 2, spans);
    let ends = r.words(1, tokens, starts.map(|start| (start + document) as u32).collect());
    let qkv = [heads.heads, heads.kv_heads, heads.kv_heads].map(|h| r.random(tokens, h * heads.head_dim));
    if backward {
        qkv.iter().for_each(|x| _ = r.train(*x));
    }
    let y = ops::attention(&mut r.tape, qkv, heads, Scores::plain(heads.head_dim), spans, ends);
    if backward {
        r.backward(y);
    }
}

fn heads() -> Vec<Case> {
    let mut cases = Vec::new();
    for (tokens, width, vocab, tier) in
        [(256, 512, 6400, Tier::Always), (512, 576, 49_152, Tier::Gpu), (2048, 1024, 151_936, Tier::Full)]
    {
        let forms = [Mixing::None, Mixing::Bare, Mixing::Full];
        cases.extend(forms.map(|mixing| head(tokens, width, vocab, mixing, tier)));
    }
    cases
}

/// Whether there is a second set of logits, and whether the statistics of each set alone are computed.
#[derive(Clone, Copy, PartialEq)]
enum Mixing {
    None,
    Bare,
    Full,
}

/// Logits, the gradient of hidden states and that of the head: three products a model.
fn head(tokens: usize, width: usize, vocab: usize, mixing: Mixing, tier: Tier) -> Case {
    let (what, models) = match mixing {
        Mixing::None => ("", 1.0),
        Mixing::Bare => ("mixed, without each model's entropy, ", 2.0),
        Mixing::Full => ("mixed ", 2.0),
    };
    Case {
        name: format!("head loss {what}{tokens}x{width}x{vocab} f32"),
        group: "head loss",
        work: 6.0 * (tokens * width * vocab) as f64 * models,
        limit: Limit::FmaF32,
        tier,
        variant: None,
        record: Box::new(move |r| losses(r, tokens, width, vocab, mixing)),
    }
}

/// Rows of a shard, as `model` splits tables.
const SHARD: usize = 31 << 10;
/// Bytes of logits at a time, as in `engine`.
const LOGITS: u64 = 96 << 20;

fn losses(r: &mut Recorder, tokens: usize, width: usize, vocab: usize, mixing: Mixing) {
    let mixed = mixing != Mixing::None;
    let row = Scalars { lambda: if mixed { 0.5 } else { 1.0 }, ..Scalars::default() }.row(0);
    let schedule = r.floats(1, row.len(), &row);
    let ids = r.words(1, tokens, (0..tokens).map(|t| (t * 7919 % vocab) as u32).collect());
    let weights = r.floats(1, tokens, &vec![1.0 / tokens as f32; tokens]);
    let [offsets, watched] = [0; 2].map(|_| r.empty(1, tokens));
    let stats = r.empty(tokens, STATS);
    let targets = Targets { ids, weights, scalars: schedule, offsets, watched, stats };
    let mut side = || -> (Tensor, Vec<Tensor>) {
        let hidden = r.random(tokens, width);
        r.train(hidden);
        // Hidden states come from an op: the loss writes their gradient.
        let hidden = ops::scale(&mut r.tape, hidden, 0.1);
        let shard = |first: usize| {
            let shard = r.random(SHARD.min(vocab - first), width);
            r.train(shard);
            shard
        };
        (hidden, (0..vocab).step_by(SHARD).map(shard).collect())
    };
    let (strong, weak) = (side(), mixed.then(side));
    fn head((hidden, weight): &(Tensor, Vec<Tensor>)) -> Head<'_> {
        Head { hidden: *hidden, weight, softcap: None }
    }
    let second = weak.as_ref().map_or(Second::None, |weak| Second::Weak(vec![head(weak)]));
    let chunk = ops::head_loss::chunk_rows(tokens, vocab, LOGITS);
    head_loss(&mut r.tape, head(&strong), &second, targets, chunk);
}

/// Rows of tokens and columns: 64 MiB, more than most caches hold.
const TOKENS: usize = 8192;
const WIDTH: usize = 2048;

fn elementwise() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, tensors: f64, record: fn(&mut Recorder)| {
        cases.push(Case {
            name: format!("{name} f32"),
            group: "elementwise",
            work: tensors * (TOKENS * WIDTH) as f64 * ELEMENT as f64,
            limit: Limit::Copy,
            tier: Tier::Always,
            variant: None,
            record: Box::new(record),
        });
    };
    // Tensors that must be read or written at least, those of one row or column left out. Gradients are added to what is
    // there, which is read as well.
    add("rms_norm forward", 2.0, |r| norm(r, false));
    add("rms_norm forward+backward", 6.0, |r| norm(r, true));
    add("add_norm forward", 4.0, join);
    add("rope", 2.0, rotate);
    add("norm_rope forward", 2.0, |r| turn(r, false));
    add("norm_rope forward+backward", 6.0, |r| turn(r, true));
    add("gated_mlp forward", 3.0, |r| gate(r, false));
    add("gated_mlp forward+backward", 10.0, |r| gate(r, true));
    add("embedding forward", 2.0, |r| embed(r, false));
    add("embedding forward+backward", 5.0, |r| embed(r, true));
    add("adamw", 9.0, adamw);
    cases
}

fn norm(r: &mut Recorder, backward: bool) {
    let (x, weight) = (r.random(TOKENS, WIDTH), r.random(1, WIDTH));
    if backward {
        [x, weight].iter().for_each(|x| _ = r.train(*x));
    }
    let y = ops::rms_norm(&mut r.tape, x, weight, Norm { eps: 1e-6, offset: 0.0 });
    if backward {
        r.backward(y);
    }
}

fn join(r: &mut Recorder) {
    let ([a, b], weight) = ([0; 2].map(|_| r.random(TOKENS, WIDTH)), r.random(1, WIDTH));
    ops::add_norm(&mut r.tape, a, b, weight, Norm { eps: 1e-6, offset: 0.0 });
}

fn rotary(r: &mut Recorder) -> Rotary {
    let head_dim = 128;
    let positions = r.words(1, TOKENS, (0..TOKENS as u32).collect());
    let [cosines, sines] = [0; 2].map(|_| r.random(TOKENS, head_dim / 2));
    Rotary { positions, cosines, sines, head_dim }
}

fn rotate(r: &mut Recorder) {
    let x = r.random(TOKENS, WIDTH);
    let rotary = rotary(r);
    ops::rope(&mut r.tape, x, rotary);
}

fn turn(r: &mut Recorder, backward: bool) {
    let rotary = rotary(r);
    let (x, weight) = (r.random(TOKENS, WIDTH), r.random(1, rotary.head_dim));
    if backward {
        [x, weight].iter().for_each(|x| _ = r.train(*x));
    }
    let y = ops::norm_rope(&mut r.tape, x, weight, Norm { eps: 1e-6, offset: 0.0 }, rotary);
    if backward {
        r.backward(y);
    }
}

fn gate(r: &mut Recorder, backward: bool) {
    let [gate, up] = [0; 2].map(|_| r.random(TOKENS, WIDTH));
    if backward {
        [gate, up].iter().for_each(|x| _ = r.train(*x));
    }
    let y = ops::gated_mlp(&mut r.tape, gate, up, Activation::Silu);
    if backward {
        r.backward(y);
    }
}

/// Every row of the table once, in an order that is not its own.
fn embed(r: &mut Recorder, backward: bool) {
    let ids: Vec<u32> = (0..TOKENS).map(|t| (t * 4001 % TOKENS) as u32).collect();
    let order = crate::data::pack::order(&ids);
    let (tokens, order) = (r.words(1, TOKENS, ids), r.words(1, TOKENS, order));
    let table = r.random(TOKENS, WIDTH);
    if backward {
        r.train(table);
    }
    let y = ops::embedding(&mut r.tape, tokens, order, &[table], 1.0);
    if backward {
        r.backward(y);
    }
}

/// Four matrices and what lies between them in a model: weights, gradients and both moments are read and written, the
/// gradient once more for its norm.
fn adamw(r: &mut Recorder) {
    let row = Scalars::default().row(0);
    let schedule = r.floats(1, row.len(), &row);
    let mut pairs = Vec::new();
    for _ in 0..4 {
        for rows in [TOKENS / 4, 1] {
            let declared = [Role::Weights, Role::Gradients].map(|role| r.stored(role, rows, WIDTH));
            pairs.push(declared.into());
        }
    }
    AdamW::declare(&mut r.store, &pairs, schedule, Width::Bits32).record(&mut r.tape);
}
