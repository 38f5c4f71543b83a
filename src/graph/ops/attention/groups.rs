//! The kernels of attention that have variants, and how those are tried: see [`crate::kernels::tuner`].

use std::sync::LazyLock;

use super::{Heads, Scores};
use crate::{
    gpu::{Extents, Kernel, KernelGroup, Trial},
    graph::{
        tape::{Command, Tape},
        tensor::{Role, Store, size},
    },
    kernels::{
        attention::{self, Params},
        variants::attention::{Pass, decoding, variants},
    },
};

/// Attention's kernels with variants: one has two products, the next three, the last four.
pub(in crate::graph::ops) static GROUPS: LazyLock<Vec<KernelGroup>> = LazyLock::new(|| {
    let group = |kernel, pass, work, ragged| KernelGroup {
        kernel,
        class,
        variants: variants(pass),
        trial: Trial { work, fill, ragged },
    };
    vec![
        group(&attention::FORWARD, Pass::Forward, |params| 2.0 * work(params), || ragged(&attention::FORWARD)),
        group(
            &attention::BACKWARD_Q,
            Pass::BackwardQ,
            |params| 3.0 * work(params),
            || ragged(&attention::BACKWARD_Q),
        ),
        group(
            &attention::BACKWARD_KV,
            Pass::BackwardKv,
            |params| 4.0 * work(params),
            || ragged(&attention::BACKWARD_KV),
        ),
    ]
});

fn params(bytes: &[u8]) -> Option<Params> {
    bytemuck::try_pod_read_unaligned(bytes).ok()
}

/// Head size, heads that share a kv head, and how many tokens, to a power of two.
fn class(bytes: &[u8]) -> String {
    params(bytes).map_or_else(String::new, |p| {
        let decoding = if decoding(&p) { ", one query at a time" } else { "" };
        format!("{}x{} of {}{decoding}", p.head_dim, p.q_heads / p.kv_heads, p.q_len.next_power_of_two())
    })
}

/// Multiply-adds of one of a kernel's products, of half a square.
fn work(bytes: &[u8]) -> f64 {
    params(bytes).map_or(0.0, |p| {
        [p.q_len, p.q_heads, p.head_dim, p.end - p.begin].map(f64::from).iter().product::<f64>() / 2.0
    })
}

/// Indices of a row of documents of two fifths of its length, so that blocks begin and end inside of them.
fn fill(bytes: &[u8], binding: &str, words: usize) -> Option<Vec<u32>> {
    let p = params(bytes)?;
    let document = (p.q_len * 2 / 5).max(1);
    let words = size(words);
    match binding {
        "spans" => {
            Some((0..words / 2).flat_map(|i| [i / document * document, i + 1].map(|j| j.min(p.kv_len))).collect())
        }
        "ends" => Some((0..words).map(|j| ((j / document + 1) * document).min(p.q_len)).collect()),
        _ => None,
    }
}

/// A kernel's dispatches for a few tokens and heads of every class of variants, each also for a part of the range, adding.
fn ragged(kernel: &Kernel) -> Vec<Extents> {
    let (mut store, mut tape) = (Store::default(), Tape::new());
    let plain: fn(usize) -> Scores = Scores::plain;
    let capped = |head_dim| Scores { softcap: Some(2.0), window: Some(33), ..Scores::plain(head_dim) };
    for (heads, kv_heads, head_dim, scores) in
        [(4, 2, 64, plain), (3, 1, 48, capped), (2, 1, 128, plain), (3, 3, 80, capped), (2, 1, 256, capped)]
    {
        let scores = scores(head_dim);
        let heads = Heads { heads, kv_heads, head_dim };
        let mut declare = |cols| store.declare("ragged", Role::Inputs, 130, cols);
        let qkv = [heads.heads, kv_heads, kv_heads].map(|h| declare(h * head_dim));
        let [spans, ends] = [2, 1].map(&mut declare);
        for x in qkv {
            let dx = declare(x.cols);
            tape.train(x, dx);
        }
        let y = super::attention(&mut tape, qkv, heads, scores, spans, ends);
        tape.gradient(y);
        tape.backward();
    }
    let recording = tape.finish();
    let own = recording.commands.iter().filter_map(Command::dispatch).filter(|(of, _)| of.name == kernel.name);
    let with = |extents: &Extents, begin, accumulate| {
        let p = params(&extents.params).map(|p| Params { begin, accumulate, ..p });
        Extents { params: p.map_or_else(Vec::new, |p| bytemuck::bytes_of(&p).to_vec()), ..extents.clone() }
    };
    own.flat_map(|(_, extents)| [with(&extents, 0, 0), with(&extents, 37, 1)]).collect()
}
