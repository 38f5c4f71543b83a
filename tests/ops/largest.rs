//! Every op at the largest shapes that models may have, recorded on no device: what `trips` holds against its bounds.

use underdog::{
    graph::{
        ops::{
            self, Activation, Decomposed, Dropout, Heads, Norm, Ring, Scores,
            head_loss::{self, Head, STATS, Second, Targets, head_loss},
        },
        optim::{AdamW, Width},
        scalars,
        tape::{Grid, Tape},
        tensor::{Format, Role, Store, Tensor},
    },
    kernels,
};

/// Tokens of a row, terms of a product.
pub(crate) const LONGEST: usize = ops::MAX_TERMS;
/// Rows of a shard of a table.
pub(crate) const SHARD: usize = 31 << 10;

pub(crate) const NORM: Norm = Norm { eps: 1e-6, offset: 0.0 };

/// Ops that take numbers one by one where sizes are not in fours, with weights that learn and that are frozen, on no device.
pub(crate) fn rows(store: &mut Store, tape: &mut Tape) {
    for (rows, head_dim) in [(LONGEST, 256), (LONGEST - 1, 254)] {
        for learns in [true, false] {
            let mut declare = |rows, cols, learns| {
                let [x, dx] = [0, 1].map(|_| store.declare("x", Role::Weights, rows, cols));
                if learns {
                    tape.train(x, dx);
                }
                x
            };
            let (cols, heads) = (rows, 3 * head_dim);
            let [tokens, table, a, q] =
                [(1, rows), (7, cols), (rows, cols), (rows, heads)].map(|(rows, cols)| declare(rows, cols, true));
            let [weight, head_weight] = [cols, head_dim].map(|cols| declare(1, cols, learns));
            let angles = declare(rows, head_dim / 2, false);
            let x = ops::embedding(tape, tokens, tokens, &[table], 1.0);
            let [sum, h] = ops::add_norm(tape, a, x, weight, NORM);
            let h = ops::rms_norm(tape, h, weight, NORM);
            let h = ops::gated_mlp(tape, h, sum, Activation::Silu);
            let h = ops::scale(tape, h, 0.5);
            let y = ops::add(tape, h, a);
            tape.gradient(y);
            let rotary = ops::Rotary { positions: tokens, cosines: angles, sines: angles, head_dim };
            let q = ops::rope(tape, q, rotary);
            let q = ops::norm_rope(tape, q, head_weight, NORM, rotary);
            tape.gradient(q);
        }
    }
    tape.backward();
}

/// Every op at its largest, on no device.
pub(crate) fn largest(store: &mut Store, tape: &mut Tape) {
    let mut trained = |tape: &mut Tape, rows, cols| {
        let [x, dx] = [0, 1].map(|_| store.declare("x", Role::Weights, rows, cols));
        tape.train(x, dx);
        x
    };
    let vocab = 152_064;
    let shards = |tape: &mut Tape, trained: &mut dyn FnMut(&mut Tape, usize, usize) -> Tensor, c| -> Vec<Tensor> {
        (0..vocab).step_by(SHARD).map(|first| trained(tape, SHARD.min(vocab - first), c)).collect()
    };
    let schedule = trained(tape, 1, kernels::adamw::SCALARS);
    let row = trained(tape, 1, LONGEST);

    let table = shards(tape, &mut trained, 64);
    let x = ops::embedding(tape, row, row, &table, 1.0);
    let x = ops::noise(tape, x, ops::Noise { keys: row, amplitudes: row });
    let x = ops::scale(tape, x, 0.5);
    let norm = trained(tape, 1, 64);
    let x = ops::rms_norm(tape, x, norm, NORM);
    let (w, b) = (trained(tape, LONGEST, 64), trained(tape, 1, LONGEST));
    let wide = ops::linear(tape, x, w, Some(b)); // nn over 32,000 columns, tn and the bias over 32,000 rows
    let wide = ops::gated_mlp(tape, wide, wide, Activation::GeluTanh);
    let (w, odd) = (trained(tape, 64, LONGEST), trained(tape, 63, LONGEST));
    let narrow = ops::linear(tape, wide, w, None);
    let mut x = ops::add(tape, x, narrow);
    let parameter = trained(tape, LONGEST, 64);
    x = ops::add(tape, x, parameter);
    ops::linear(tape, wide, odd, None);
    let few = trained(tape, 1, LONGEST);
    ops::linear(tape, few, w, None);

    let dropout = Some(Dropout { keys: row, salt: 1, rate: 0.1 });
    let [a, b, m] = [(1024, LONGEST), (1024, 64), (1, 64)].map(|(rows, cols)| trained(tape, rows, cols));
    let down = ops::lora_down(tape, wide, a, 0.5, dropout);
    let adapted = ops::lora_up(tape, wide, w, None, [down, b]);
    x = ops::add(tape, x, adapted);
    let [low, b_low] = [(LONGEST, 32), (32, 64)].map(|(rows, cols)| trained(tape, rows, cols));
    let adapted = ops::lora_up(tape, wide, w, None, [low, b_low]);
    x = ops::add(tape, x, adapted);
    let parts = Decomposed { a, down, b, magnitude: m, scale: 0.5, dropout };
    let adapted = ops::dora(tape, wide, w, None, parts);
    x = ops::add(tape, x, adapted);

    let heads = Heads { heads: 64, kv_heads: 8, head_dim: 128 };
    let [wq, wk, wv] = [64, 8, 8].map(|h| trained(tape, h * 128, 64));
    let [mut q, k, v] = [wq, wk, wv].map(|w| ops::linear(tape, x, w, None));
    let head_norm = trained(tape, 1, 128);
    q = ops::rms_norm(tape, q, head_norm, NORM); // 2,048,000 rows
    let angles = trained(tape, LONGEST, 64);
    let spans = trained(tape, LONGEST, 2);
    let positions = ops::text_positions(tape, row, [spans, row], 4096, LONGEST);
    let rotary = ops::Rotary { positions, cosines: angles, sines: angles, head_dim: 128 };
    q = ops::rope(tape, q, rotary);
    q = ops::norm_rope(tape, q, head_norm, NORM, rotary);
    let scores = Scores { window: Some(4096), softcap: Some(50.0), ..Scores::plain(128) };
    let attended = ops::attention(tape, [q, k, v], heads, scores, spans, row);
    for (heads, kv_heads, head_dim) in [(2, 2, 4), (4, 2, 32), (32, 1, 40), (3, 3, 64), (4, 1, 80), (8, 4, 256)] {
        let heads = Heads { heads, kv_heads, head_dim };
        let [q, k, v] = [heads.heads, kv_heads, kv_heads].map(|h| trained(tape, LONGEST, h * head_dim));
        let y = ops::attention(tape, [q, k, v], heads, Scores::plain(head_dim), spans, row);
        tape.gradient(y);
    }
    let cache = trained(tape, LONGEST, 8 * 128);
    ops::append(tape, k, row, cache);
    ops::attention_forward(tape, [q, cache, cache], heads, scores, spans);

    let [x, taps, bias] = [(LONGEST, 64), (64, 64), (1, 64)].map(|(rows, cols)| trained(tape, rows, cols));
    let y = ops::causal_conv(tape, x, taps, Some(bias), [spans, row]);
    tape.gradient(y);
    let ring = Ring { cache: trained(tape, LONGEST, 64), rows: row, capacity: LONGEST, kept: LONGEST - 1 };
    ops::causal_conv_cached(tape, x, taps, Some(bias), spans, ring);

    let back = trained(tape, 64, 64 * 128);
    let hidden = ops::linear(tape, attended, back, None);
    let hidden = ops::pick(tape, hidden, row, row);
    let stats = trained(tape, LONGEST, STATS);
    let targets = Targets { ids: row, weights: row, scalars: schedule, offsets: row, watched: row, stats };
    let table = shards(tape, &mut trained, 64);
    let head = |hidden| Head { hidden, weight: &table, softcap: Some(30.0) };
    let again = |tape: &mut Tape| head(ops::linear(tape, attended, back, None));
    for second in [
        |weak| Second::Weak(vec![weak]),
        |weak| Second::Turned(vec![weak]),
        |weak| Second::Synthetic(vec![weak]),
        Second::Teacher,
    ] {
        let (strong, other) = (again(tape), again(tape));
        head_loss(tape, strong, &second(other), targets, 1024);
    }
    let logits = tape.transient(100, vocab);
    head_loss::logits(tape, head(hidden.slice_rows(0, 100)), logits);
    let ids = tape.transient(1, 100);
    ops::likeliest(tape, logits, ids);
    let odd_back = trained(tape, 63, 64 * 128);
    let odd_hidden = ops::linear(tape, attended, odd_back, None);
    let other_hidden = ops::linear(tape, attended, odd_back, None);
    let odd_hidden = ops::blend(tape, odd_hidden, other_hidden, 1.0, targets.scalars);
    let odd_table = shards(tape, &mut trained, 63);
    let odd_head = Head { hidden: odd_hidden, weight: &odd_table, softcap: None };
    head_loss(tape, odd_head, &Second::None, targets, LONGEST);
    tape.backward();

    let (few, many) = (trained(tape, 1, LONGEST), trained(tape, 40, LONGEST));
    let narrow = trained(tape, 40, 64);
    let (x4, y4) = (trained(tape, 4, 4), trained(tape, 64, 4));
    ops::dequantize(tape, x4, 4);
    let params = kernels::ceiling::Params { n: underdog::bench::MOST_TRIPS as u32 };
    tape.run(kernels::ceiling::MultiplyAdd { y4, x4 }, params, Grid::linear(1));
    let half = kernels::ceiling_half::Params { n: params.n };
    tape.run(kernels::ceiling_half::MultiplyAdd { y4, x4 }, half, Grid::linear(1));
    let units = kernels::ceiling_coop_8_f16::Params { n: params.n };
    tape.run(kernels::ceiling_coop_8_f16::MultiplyAdd { y: y4, x4 }, units, Grid::linear(1));
    let units = kernels::ceiling_coop_8_f32::Params { n: params.n };
    tape.run(kernels::ceiling_coop_8_f32::MultiplyAdd { y: y4, x4 }, units, Grid::linear(1));
    let units = kernels::ceiling_coop_16_f16::Params { n: params.n };
    tape.run(kernels::ceiling_coop_16_f16::MultiplyAdd { y: y4, x4 }, units, Grid::linear(1));
    tape.run(kernels::ceiling::Copy { y4, x4 }, params, Grid::linear(1));
    tape.run(kernels::ceiling::Touch { y4 }, params, Grid::linear(1));

    let pairs: Vec<_> = (0..2).map(|_| (trained(tape, 4000, 1_000_000), trained(tape, 4000, 1_000_000))).collect();
    let schedule = scalars::declare(store);
    for width in [Width::Bits32, Width::Bits16, Width::Bits8] {
        AdamW::declare(store, &pairs, schedule, width).record(tape);
    }
    let mut halves = || store.declare_packed("w", Role::Weights, LONGEST, 64, Format::Bf16);
    let halves = [(halves(), halves())];
    for width in [Width::Bits16, Width::Bits8] {
        AdamW::declare(store, &halves, schedule, width).record(tape);
    }
    let [(table, gradient)] = halves;
    tape.round_by(row);
    tape.train(table, gradient);
    let (found, y) = (ops::embedding(tape, row, row, &[table], 1.0), ops::linear(tape, narrow, table, None));
    tape.gradient(found);
    tape.gradient(y);

    for format in [Format::Bf16, Format::F16, Format::Q8, Format::Q4, Format::Nf4] {
        let mut frozen = |rows, cols| store.declare_packed("w", Role::Weights, rows, cols, format);
        let (wide, tall) = (frozen(64, LONGEST), frozen(LONGEST, 64));
        ops::linear(tape, few, wide, None);
        ops::embedding(tape, row, row, &[tall], 1.0);
        for (x, w) in [(many, wide), (narrow, tall)] {
            let y = ops::linear(tape, x, w, None);
            tape.gradient(y);
        }
    }
    tape.backward();
}
